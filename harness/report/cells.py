"""The tables of a page as cells, ready to be printed: words, what to sort by, and what is small.

Columns of numbers are the rows of `metrics.METRICS` that stand in a table; the rest are facts of a
case. Not here: markup, and how numbers are worked out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.analysis import metrics
from harness.analysis.case_energy import shares_words
from harness.analysis.cases import CaseSummary, DeviceSummary
from harness.analysis.comparisons import Comparison
from harness.analysis.doubts import LABELS
from harness.analysis.metrics import Metric
from harness.analysis.stats import Estimate
from harness.analysis.words import (
    DASH,
    UnitScale,
    bounds,
    count,
    fidelity_order,
    fidelity_words,
    megabytes,
    percent,
    quantity,
    ratio_words,
    scale_of,
    significant,
    speed_words,
)
from harness.report.readable import shorten

_WIDE = 11  # columns; more of them are set smaller
_MOST_REASONS = 4


@dataclass(frozen=True)
class Note:
    """Something small below a cell's text; `css` is its class."""

    text: str
    css: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell: `sort` is what the column is sorted by, None for nothing to sort.

    `tags` are words on a coloured ground, each with a text behind it; `folded` unfolds below the
    text; `title` says more to who points at it.
    """

    text: str = ""
    sort: float | str | None = None
    notes: tuple[Note, ...] = ()
    title: str = ""
    css: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    quiet: str = ""
    folded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """One row of a table. `colour` is the class of its dot, "" for none; `tags` stand at its head.

    A row without numbers has a single cell, over all columns.
    """

    head: str
    cells: tuple[Cell, ...]
    small: str = ""
    colour: str = ""
    tags: tuple[str, ...] = ()
    key: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Table:
    """A table. `text_heading` heads a last column of sentences, "" for none."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    text_heading: str = ""
    css: str = ""

    @property
    def width(self) -> int:
        """How many columns there are behind the first."""
        return len(self.headings) - 1 + bool(self.text_heading)


Column = tuple[str, Callable[[CaseSummary], Cell]]


def cases_table(
    model: str, cases: Sequence[CaseSummary], device: DeviceSummary, colour: dict[str, str]
) -> Table:
    """Return the table of a model's cases on a device, a row a case."""
    numbers = [
        (m.label, _number(m, cases)) for m in metrics.METRICS if _is_shown(m, "cases", device)
    ]
    versus = f"Versus {shorten(cases[0].baseline_recipe, 24)}"
    columns: list[Column] = [
        *numbers[:1],
        (versus, _versus),
        ("Valid", _validity),
        *numbers[1:],
        ("Size", _size),
        ("Accuracy", _accuracy),
        ("Fidelity", _fidelity),
    ]
    fastest = min((case.latency.median for case in cases if case.latency), default=None)

    def row(case: CaseSummary) -> Row:
        cells = tuple(cell(case) for _, cell in columns)
        return Row(
            case.label,
            cells if case.has_numbers else (_status(case),),
            small=case.setting,
            colour=colour[case.case.variant.recipe],
            tags=tuple(LABELS[flag] for flag in _own_flags(case, device)),
            key=case.id,
            is_best=case.latency is not None and case.latency.median == fastest,
        )

    return Table(
        name=f"Cases of {model} on {device.info.name}",
        headings=("Variant", *(heading for heading, _ in columns)),
        rows=tuple(map(row, cases)),
        css="cases sortable wide" if len(columns) > _WIDE else "cases sortable",
    )


def more_table(
    model: str, cases: Sequence[CaseSummary], device: DeviceSummary, colour: dict[str, str]
) -> Table | None:
    """Return the table of what the process did, for the cases that have numbers."""
    shown = [case for case in cases if case.has_numbers]
    if not shown:
        return None
    columns: list[Column] = [
        (
            "Launches",
            lambda case: Cell(f"{len(case.launches)} of {case.planned}", len(case.launches)),
        ),
        *(
            (metric.label, _number(metric, shown))
            for metric in metrics.METRICS
            if _is_shown(metric, "more", device)
            and any(metric.name in case.estimates for case in shown)
        ),
        ("FLOPs", _flops),
        ("FLOPs per second", _flops_per_second),
    ]
    return Table(
        name=f"Process, processor and memory of {model} on {device.info.name}",
        headings=("Variant", *(heading for heading, _ in columns)),
        rows=tuple(
            Row(
                case.label,
                tuple(cell(case) for _, cell in columns),
                small=case.setting,
                colour=colour[case.case.variant.recipe],
            )
            for case in shown
        ),
        css="sortable",
    )


# --- numbers -------------------------------------------------------------------------------------


def _is_shown(metric: Metric, place: str, device: DeviceSummary) -> bool:
    """Tell whether a number stands in a table: a pass that did not run has no columns."""
    if metric.place != place:
        return False
    ran = {launch.measured_pass for launch in device.launches}
    return metric.name == metrics.LATENCY or metric.measured_pass in ran


def _number(metric: Metric, cases: Sequence[CaseSummary]) -> Callable[[CaseSummary], Cell]:
    """Return what makes the cells of a number's column; all are in the same unit."""
    known = [case.estimates[metric.name] for case in cases if metric.name in case.estimates]
    scale = scale_of(metric.unit, [estimate.median for estimate in known])
    below = [other for other in metrics.METRICS if other.under == metric.name]

    def cell(case: CaseSummary) -> Cell:
        estimate = case.estimates.get(metric.name)
        if estimate is None:
            return _missing(metric, case)
        notes = [_interval(metric, estimate, scale)] if metric.shows_interval else []
        notes += [note for other in below for note in _below(other, case)]
        if metric.compared and metric.name != metrics.LATENCY:
            notes += _ratio(metric, case.comparisons.get(metric.name))
        title = shares_words(case.energy) if metric.name == metrics.ENERGY and case.energy else ""
        return Cell(quantity(estimate.median, scale), estimate.median, tuple(notes), title)

    return cell


def _interval(metric: Metric, estimate: Estimate, scale: UnitScale) -> Note:
    """Say what is known of a number: of how many launches, where it is one that decides."""
    launches = f" n = {estimate.launches}" if metric.compared else ""
    return Note(f"{bounds(estimate, scale)}{launches}".strip())


def _below(metric: Metric, case: CaseSummary) -> Iterable[Note]:
    """Yield what stands in small below another number. Growth is told where there is some."""
    estimate = case.estimates.get(metric.name)
    if estimate is None or (metric.name == metrics.GROWTH and not case.grows):
        return
    scale = scale_of(metric.unit, [estimate.median])
    interval = f" {bounds(estimate, scale)}" if metric.shows_interval else ""
    css = "worse wrap" if metric.name == metrics.GROWTH else ""
    yield Note(f"{metric.note} {quantity(estimate.median, scale)}{interval}", css)


def _ratio(metric: Metric, comparison: Comparison | None) -> list[Note]:
    if comparison is None:
        return []
    if comparison.ratio is None:
        return [Note(comparison.withheld, "wrap")]
    how, interval = ratio_words(comparison.ratio)
    words = f"{how} {interval}" if metric.shows_interval else how
    return [Note(words, f"{_colour(comparison)} wrap".strip())]


def _colour(comparison: Comparison) -> str:
    """Return the class of a comparison: coloured only where an interval shows it."""
    return comparison.outcome if comparison.outcome in ("better", "worse") else ""


def _missing(metric: Metric, case: CaseSummary) -> Cell:
    """Say in a few words why a case lacks a number."""
    if metric.name == metrics.LATENCY and case.status != "ok":
        return Cell(notes=(Note(case.reason),), css="text", tags=((case.status, ""),))
    if metric.measured_pass == "energy" and case.energy_trouble is not None:
        return Cell(DASH, notes=(Note("refused"),), title=case.energy_trouble.text)
    ran = [one for one in case.launches if one.measured_pass == metric.measured_pass]
    if any(launch.counts for launch in ran):
        return Cell(DASH, title=metric.absent)
    name = metric.measured_pass
    return Cell(DASH, title=f"no {name} launch counts" if ran else f"no {name} pass")


def _versus(case: CaseSummary) -> Cell:
    if case.baseline == case.id:
        return Cell("baseline", 1, css="quiet")
    if case.latency is None:
        return Cell(DASH, title="there is no latency to compare")
    comparison = case.comparisons.get(metrics.LATENCY)
    if comparison is None or comparison.ratio is None:
        return Cell(DASH, title="the baseline has no launches to compare with")
    how, interval = speed_words(comparison.ratio)
    css = f"versus {_colour(comparison)}".strip()
    return Cell(how, comparison.ratio.median, (Note(interval),), css=css)


# --- facts of a case -----------------------------------------------------------------------------


def _status(case: CaseSummary) -> Cell:
    return Cell(css="text", tags=((case.status, case.reason),), quiet=case.advice)


def _own_flags(case: CaseSummary, device: DeviceSummary) -> list[str]:
    """Return a case's flags, without those that all cases have: these are said once, on top."""
    timed = [set(other.flags) for other in device.cases if other.latency is not None]
    shared = set.intersection(*timed) if len(timed) > 1 else set()
    return [flag for flag in case.flags if flag not in shared]


def _validity(case: CaseSummary) -> Cell:
    ran, counting = len(case.launches), case.valid_launches
    if not ran:
        return Cell(DASH, title="no launch has run")
    bad = [launch for launch in case.launches if not launch.counts]
    told = [
        f"Launch {launch.index}"
        f"{f', attempt {launch.entry.attempt}' if launch.entry.attempt > 1 else ''} "
        f"({launch.measured_pass}): {launch.objection}"
        for launch in bad[:_MOST_REASONS]
    ]
    if len(bad) > _MOST_REASONS:
        told.append(f"and {len(bad) - _MOST_REASONS} more: see “Launches that do not count”")
    css = "validity" if bad else ""
    return Cell(f"{counting} of {ran}", counting / ran, css=css, folded=tuple(told))


def _size(case: CaseSummary) -> Cell:
    if case.size_bytes is None:
        return Cell(DASH, title="no manifest")
    notes = (Note(f"{count(case.parameters)} params"),) if case.parameters is not None else ()
    return Cell(megabytes(case.size_bytes), case.size_bytes, notes)


def _accuracy(case: CaseSummary) -> Cell:
    if case.accuracy is None:
        return Cell(DASH, title="the plan names no evaluation set")
    return Cell(percent(case.accuracy.top1), case.accuracy.top1)


def _fidelity(case: CaseSummary) -> Cell:
    on_device, on_host = case.device_fidelity, case.host_fidelity
    notes = (Note(f"host {fidelity_words(on_host)}"),) if on_host is not None else ()
    if on_device is not None:
        return Cell(fidelity_words(on_device), fidelity_order(on_device), notes)
    if on_host is not None:
        return Cell(DASH, fidelity_order(on_host), notes, title="no launch on the device counts")
    return Cell(DASH, title="there is nothing to compare the outputs with")


def _flops(case: CaseSummary) -> Cell:
    if not case.flops:
        return Cell(DASH, title="not counted")
    return Cell(count(case.flops), case.flops)


def _flops_per_second(case: CaseSummary) -> Cell:
    if not case.flops or case.latency is None:
        return Cell(DASH, title="it takes FLOPs and a latency")
    billions = case.flops / (case.latency.median * 1e6)
    return Cell(f"{significant(billions)} G", billions)
