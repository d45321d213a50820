"""Figures by the names that people give them, each of what they choose of a sweep.

Not here: the page, which shows all of them (`page.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.launches import Launch
from harness.errors import BadRecord, SweepError
from harness.report.figures.order import order_plot
from harness.report.figures.plane import energy_plane_plot, pareto_plot
from harness.report.figures.plot import Plot
from harness.report.figures.strips import energy_plot, latency_plot
from harness.report.figures.style import colours_of, label
from harness.report.figures.threads import threads_plot
from harness.report.figures.timeline import representative, timeline_plot
from harness.results.folder import Sweep
from harness.results.launches import find_launch


@dataclass(frozen=True)
class Choice:
    """What of a sweep is to be shown. Where there is only one, it need not be named."""

    device: str | None = None
    model: str | None = None
    launch: str | None = None


def choose_plot(kind: str, sweep: Sweep, summary: SweepSummary, choice: Choice) -> Plot:
    """Return a figure of a sweep. Raises SweepError if it has nothing for it, or several things."""
    if kind == "timeline":
        return _timeline(sweep, summary, choice)
    device = _device(summary, choice.device)
    colours, on = colours_of(summary), f" on {label(device.info.name)}"
    if kind == "order":
        plot = order_plot(device, colours, on)
    else:
        cases = _cases(device, choice.model)
        about = f" of {label(cases[0].case.variant.model)}{on}"
        plot = _OF_A_MODEL[kind](cases, colours, about)
    if plot is None:
        raise SweepError(f"{summary.folder} has nothing for the figure {kind}", _NEEDS[kind])
    return plot


_OF_A_MODEL: dict[str, Callable[[Sequence[CaseSummary], Mapping[str, str], str], Plot | None]] = {
    "latency": latency_plot,
    "energy": energy_plot,
    "pareto": pareto_plot,
    "energy-plane": energy_plane_plot,
    "threads": threads_plot,
}
_NEEDS = {
    "latency": "It needs launches of the latency pass that count.",
    "energy": "It needs launches of the energy pass that count: measure.passes of the plan.",
    "pareto": "It needs two cases with a latency and a file.",
    "energy-plane": "It needs two cases with a latency and an energy of one source.",
    "threads": "It needs a variant that was timed with two numbers of threads: matrix.threads of the plan.",
    "order": "It needs launches of the latency pass.",
    "timeline": "It needs a launch of the energy or the memory pass, or the name of another: --launch.",
}
KINDS = tuple(_NEEDS)


def _device(summary: SweepSummary, name: str | None) -> DeviceSummary:
    found = [one for one in summary.devices if name in (None, one.info.id, one.info.name)]
    if len(found) == 1:
        return found[0]
    ids = ", ".join(label(one.info.id) for one in summary.devices)
    if not found:
        raise SweepError(f"{summary.folder} has no device {name!r}", f"It has: {ids}.")
    raise SweepError(
        f"{summary.folder} has {len(found)} devices", f"Name one with --device: {ids}."
    )


def _cases(device: DeviceSummary, name: str | None) -> list[CaseSummary]:
    """Return the cases of the model of this name, or of the only one."""
    models = list(dict.fromkeys(case.case.variant.model for case in device.cases))
    names = ", ".join(label(model, 80) for model in models)
    if name is not None and name not in models:
        raise SweepError(f"the sweep has no model {name!r}", f"It has: {names}.")
    if name is None and len(models) != 1:
        raise SweepError(f"the sweep has {len(models)} models", f"Name one with --model: {names}.")
    return [case for case in device.cases if case.case.variant.model == (name or models[0])]


def _timeline(sweep: Sweep, summary: SweepSummary, choice: Choice) -> Plot:
    case, launch = _named(sweep, summary, choice) if choice.launch else _chosen(summary, choice)
    if launch.measured is None:
        raise SweepError(
            f"launch {launch.index} of {label(launch.entry.device)} left no result to be shown; it is "
            f"{launch.entry.status}: {launch.reason}",
            "Name another one.",
        )
    try:
        return timeline_plot(summary.folder, case, launch)
    except BadRecord as error:
        raise SweepError(error.message, error.advice) from error


def _named(sweep: Sweep, summary: SweepSummary, choice: Choice) -> tuple[CaseSummary, Launch]:
    name = choice.launch or ""
    entry = find_launch(sweep, f"{choice.device}:{name}" if choice.device else name)
    for device in summary.devices:
        for case in device.cases:
            for launch in case.launches:
                if (launch.entry.device, launch.index, launch.entry.attempt) == (
                    entry.device, entry.index, entry.attempt,
                ):  # fmt: skip
                    return case, launch
    raise SweepError(f"the plan of {summary.folder} has no case {entry.case}")


def _chosen(summary: SweepSummary, choice: Choice) -> tuple[CaseSummary, Launch]:
    """Return the launch that stands for the first case that has one."""
    device = _device(summary, choice.device)
    cases = device.cases if choice.model is None else _cases(device, choice.model)
    for case in cases:
        launch = representative(case)
        if launch is not None:
            return case, launch
    raise SweepError(f"{summary.folder} has nothing for the figure timeline", _NEEDS["timeline"])
