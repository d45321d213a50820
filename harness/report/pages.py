"""What a page shows, section by section, in words: templates only print it.

Not here: the cells of the tables (`cells.py`), pictures (`figures/`), and markup.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tomli_w

from harness.analysis.case_energy import describe_source
from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.launches import Launch
from harness.analysis.words import (
    DASH,
    count,
    megabytes,
    moment,
    percent,
    plural,
    quantity,
    scale_of,
    significant,
)
from harness.report.cells import (
    Cell,
    Note,
    Row,
    Table,
    cases_table,
    more_table,
)
from harness.report.definitions import definitions
from harness.report.figures.page import MOST_TIMELINES, Drawn, PageFigures, Timeline
from harness.report.figures.style import colours_of
from harness.report.readable import shorten
from harness.report.verdict import Verdict, judge
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.device import DeviceInfo
from harness.schema.sweep import Host

_MOST_OPERATORS = 10


@dataclass(frozen=True)
class FindingView:
    """A doubt, with the name of the device it is about where there are several."""

    level: str
    text: str
    advice: str
    place: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class ModelPage:
    """One model on one device."""

    name: str
    verdict: Verdict
    cases: Table
    more: Table | None
    figures: tuple[Drawn, ...]


@dataclass(frozen=True)
class OperatorRow:
    """One operator of a profile: its share of all is a bar, too."""

    name: str
    calls: str
    self_time: str
    share: float
    percent: str


@dataclass(frozen=True)
class Profile:
    """The costliest operators of a case."""

    model: str
    case: str
    operators: tuple[OperatorRow, ...]


@dataclass(frozen=True)
class DevicePage:
    """One device: its models, and what it did and was like meanwhile."""

    info: DeviceInfo
    facts: str
    models: tuple[ModelPage, ...]
    order: Drawn | None
    timelines: tuple[Timeline, ...]
    timelines_note: str
    profiles: tuple[Profile, ...]
    lost: Table | None
    environment: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class ArtifactsPage:
    """What became of one model."""

    model: ExportedModel
    accuracy: str
    table: Table | None


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    measured: str
    launches: str
    findings: tuple[FindingView, ...]
    devices: tuple[DevicePage, ...]
    artifacts: tuple[ArtifactsPage, ...]
    definitions: tuple[tuple[str, str], ...]
    again: str
    facts: tuple[tuple[str, str], ...]
    plan_sha256: str
    plan_toml: str
    colour: dict[str, str]


def make_page(summary: SweepSummary, figures: PageFigures) -> Page:
    """Put a summed-up sweep into words, around its figures. The same sweep gives the same page."""
    file = summary.file
    colour = colours_of(summary)
    launches = sum(len(device.launches) for device in summary.devices)
    devices = tuple(_device_page(device, colour, figures) for device in summary.devices)
    plan = file.plan.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return Page(
        title=file.plan_name,
        measured=moment(file.created_unix),
        launches=plural(launches, "launch", "launches"),
        findings=tuple(_findings(summary)),
        devices=devices,
        artifacts=tuple(_artifacts_page(model) for model in summary.models),
        definitions=definitions(),
        again=f"cd {shlex.quote(file.directory)}\n{shlex.join(file.command)}",
        facts=(("Sweep", file.id), ("Host", _host_words(file.host))),
        plan_sha256=file.plan_sha256,
        plan_toml=tomli_w.dumps(plan),
        colour=colour,
    )


def _findings(summary: SweepSummary) -> Iterator[FindingView]:
    names = {device.info.id: device.info.name for device in summary.devices}
    for one in summary.findings:
        place = shorten(names.get(one.where, ""), 60) if len(names) > 1 else ""
        yield FindingView(one.level, one.text, one.advice, place, one.details)


def _host_words(host: Host) -> str:
    git = f" ({host.git})" if host.git else ""
    return (
        f"{host.system}, Python {host.python}, torch {host.torch}, phonebench {host.harness}{git}"
    )


# The figures of one model on one device, in the order of the page.
_OF_A_MODEL = ("latency", "energy", "pareto", "energy-plane", "threads")

# --- a device ------------------------------------------------------------------------------------


def _device_page(device: DeviceSummary, colour: dict[str, str], figures: PageFigures) -> DevicePage:
    info = device.info
    cores = plural(info.cores, "core")
    memory = f"{significant(info.memory_total_bytes / 1e9)} GB"
    cases = plural(figures.left_out, "case is", "cases are")
    return DevicePage(
        info=info,
        facts=" · ".join((info.system, info.cpu, info.abi, cores, memory)),
        models=tuple(
            _model_page(device, model, colour, figures)
            for model in dict.fromkeys(case.case.variant.model for case in device.cases)
        ),
        order=figures.of("order", info.id),
        timelines=tuple(figures.timelines.get(info.id, ())),
        timelines_note=f"A report shows {MOST_TIMELINES} of them at most; {cases} left out."
        if figures.left_out
        else "",
        profiles=tuple(_profiles(device)),
        lost=_lost_launches(device),
        environment=(
            ("Device", f"{info.name} ({info.kind}, id {info.id})", ""),
            ("Fingerprint", info.fingerprint, ""),
            ("System", f"{info.system}, {info.abi}", ""),
            ("Processor", f"{info.cpu}, {cores}", ""),
            ("Memory", memory, ""),
            *(("Engine", words, "") for words in _engines(device)),
            *(("Source of power", words, "") for words in _power_sources(device)),
            *((name, words, "around the launches") for name, words in _conditions(device)),
            *((name, words, "") for name, words in _efforts(device)),
            *((name, words, "") for name, words in info.details.items()),
        ),
    )


def _model_page(
    device: DeviceSummary, model: str, colour: dict[str, str], figures: PageFigures
) -> ModelPage:
    cases = [case for case in device.cases if case.case.variant.model == model]
    drawn = (figures.of(kind, device.info.id, model) for kind in _OF_A_MODEL)
    return ModelPage(
        name=model,
        verdict=judge(device, model),
        cases=cases_table(model, cases, device, colour),
        more=more_table(model, cases, device, colour),
        figures=tuple(figure for figure in drawn if figure is not None),
    )


def _conditions(device: DeviceSummary) -> list[tuple[str, str]]:
    """Return the range of what the device told of itself around its launches."""
    around = [c for one in device.launches for c in (one.entry.before, one.entry.after)]
    told = [c for c in around if c is not None]
    rows: list[tuple[str, str]] = []

    def add(name: str, values: list[float], unit: str) -> None:
        if values:
            low, high = significant(min(values)), significant(max(values))
            rows.append((name, f"{low} {unit}" if low == high else f"{low} to {high} {unit}"))

    add("Temperature", [c.temperature_celsius for c in told if c.temperature_celsius], "°C")
    add("Load average, 1 minute", [c.load_1min for c in told if c.load_1min is not None], "")
    add(
        "Memory available",
        [c.memory_available_bytes / 1e9 for c in told if c.memory_available_bytes],
        "GB",
    )
    add("Clocks", [khz / 1e6 for c in told for khz in c.clocks_khz or ()], "GHz")
    add("Clock limits", [khz / 1e6 for c in told for khz in c.clock_limits_khz or ()], "GHz")
    add("Thermal status", [c.thermal_status for c in told if c.thermal_status is not None], "")
    add("Battery", [c.battery_percent for c in told if c.battery_percent is not None], "%")
    governors = sorted({c.governor for c in told if c.governor})
    if governors:
        rows.append(("Governor", ", ".join(governors)))
    return rows


def _power_sources(device: DeviceSummary) -> list[str]:
    """Name each source of power that was used on this device."""
    used = [one.entry.power for one in device.launches if one.entry.power is not None]
    return list(dict.fromkeys(map(describe_source, used)))


def _efforts(device: DeviceSummary) -> list[tuple[str, str]]:
    """Return what was done for the launches' sake, and what watching them cost."""
    rows = []
    cooled = [one.entry.cooled_seconds for one in device.launches if one.entry.cooled_seconds]
    if cooled:
        waits = plural(len(cooled), "launch", "launches")
        rows.append(("Cooled down", f"{significant(sum(cooled))} s in all, before {waits}"))
    shares = device.sampling_shares()
    if shares:
        told = ", ".join(f"{name} pass {100 * share:.2g}%" for name, share in shares.items())
        rows.append(("Sampling", f"{told} of one core"))
    return rows


def _engines(device: DeviceSummary) -> list[str]:
    """Return each engine, runner and compiler that wrote a result on this device."""
    headers = [one.measured.header for one in device.launches if one.measured is not None]
    return sorted(
        {
            f"{h.engine.name} {h.engine.version}, runner {h.runner.version} ({h.runner.compiler})"
            for h in headers
        }
    )


def _profiles(device: DeviceSummary) -> Iterator[Profile]:
    """Yield each profiled case with its costliest operators."""
    for case in device.cases:
        found = (one.measured.operators for one in case.of_pass("profile") if one.measured)
        profile = next(filter(None, found), None)
        if profile is None or not profile.iterations:
            continue
        whole = sum(one.self_ns for one in profile.operators) or 1
        costly = sorted(profile.operators, key=lambda one: (-one.self_ns, one.name))
        yield Profile(
            case.case.variant.model,
            _name(case),
            tuple(
                OperatorRow(
                    one.name,
                    f"{one.calls / profile.iterations:.4g}",
                    quantity(one.self_ns / profile.iterations / 1e6, scale_of("ms", ())),
                    one.self_ns / whole,
                    percent(one.self_ns / whole),
                )
                for one in costly[:_MOST_OPERATORS]
            ),
        )


def _name(case: CaseSummary) -> str:
    return f"{case.label} ({case.setting})"


def _lost_launches(device: DeviceSummary) -> Table | None:
    lost = [launch for launch in device.launches if not launch.counts]
    if not lost:
        return None
    return Table(
        name=f"Launches that do not count on {device.info.name}",
        headings=("Launch", "Round", "Attempt", "Pass"),
        text_heading="What happened",
        rows=tuple(
            Row(
                str(launch.index),
                (
                    Cell(str(launch.round)),
                    Cell(str(launch.entry.attempt)),
                    Cell(launch.measured_pass),
                    _what_happened(launch),
                ),
                small=launch.entry.case,
            )
            for launch in lost
        ),
        css="lost",
    )


def _what_happened(launch: Launch) -> Cell:
    if launch.measured is None:
        error = launch.entry.error
        advice = error.advice if error else ""
        return Cell(css="text", tags=((launch.entry.status, launch.reason),), quiet=advice)
    reasons = [(one.level, one.text) for one in launch.validity.reasons]
    return Cell(css="text", tags=tuple(reasons or [(launch.validity.level, "")]))


# --- artifacts -----------------------------------------------------------------------------------


def _artifacts_page(model: ExportedModel) -> ArtifactsPage:
    eager = model.eager_accuracy
    return ArtifactsPage(
        model,
        f"The eager model's accuracy is {percent(eager.top1)} on {eager.samples} samples."
        if eager
        else "",
        _artifacts_table(model.name, model.artifacts) if model.artifacts else None,
    )


def _artifacts_table(model: str, artifacts: Iterable[Artifact]) -> Table:
    return Table(
        name=f"Artifacts of {model}",
        headings=("Variant", "Size", "Format", "Operators", "Parameters", "FLOPs", "torch"),
        text_heading="Notes and sha256",
        rows=tuple(
            Row(
                artifact.label,
                _artifact_cells(artifact),
            )
            for artifact in artifacts
        ),
    )


def _artifact_cells(artifact: Artifact) -> tuple[Cell, ...]:
    m = artifact.manifest
    if m is None:
        tags = ((artifact.status, artifact.reason),)
        return (Cell(css="text", tags=tags, quiet=artifact.advice),)
    left = m.nonzero_parameters
    is_pruned = left is not None and left != m.parameters
    details = tuple(Note(f"{label} {value}") for label, value in m.details.items())
    zeros = (Note(f"{count(left or 0)} not zero"),) if is_pruned else ()
    return (
        Cell(megabytes(m.size_bytes)),
        Cell(m.format, notes=details),
        Cell(str(len(m.operators))),
        Cell(DASH if m.parameters is None else count(m.parameters), notes=zeros),
        Cell(DASH if m.flops is None else count(m.flops)),
        Cell(m.torch_version),
        Cell(" ".join(f"{note}." for note in m.notes), notes=(Note(m.sha256, "code"),), css="text"),
    )
