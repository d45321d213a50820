"""The columns of the data frames of launches and cases: name, type, what it holds, how it is found.

Those of measured numbers are made from `metrics.METRICS`, the others are facts. Absent values are
NA, never 0; a status is always there. Not here: the frames (`frames.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from harness.analysis import metrics
from harness.analysis.case_energy import describe_source
from harness.analysis.cases import CaseSummary, DeviceSummary
from harness.analysis.launches import Launch
from harness.analysis.stats import Estimate
from harness.export_worker.formats import FORMATS
from harness.schema.artifact import Fidelity
from harness.schema.energy import EnergyTrouble
from harness.schema.plan import Case
from harness.schema.validity import Reason

# pandas' names: those with a capital, and string and boolean, may be absent (NA).
Kind = Literal["string", "category", "Int64", "Float64", "boolean", "int64", "float64", "bool"]


@dataclass(frozen=True)
class CaseRow:
    """What a row of the cases is made from."""

    sweep: str
    device: DeviceSummary
    summary: CaseSummary

    @property
    def case(self) -> Case:
        """The case as it was planned."""
        return self.summary.case


@dataclass(frozen=True)
class LaunchRow:
    """What a row of the launches is made from."""

    sweep: str
    device: DeviceSummary
    case: Case
    launch: Launch


@dataclass(frozen=True)
class Column:
    """One column: its name, its type, what it holds, and how its value is found in a row."""

    name: str
    kind: Kind
    meaning: str
    value: Callable[[Any], Any]


def case_columns() -> tuple[Column, ...]:
    """Return the columns of the cases, in order."""
    numbers = [
        column
        for metric in metrics.METRICS
        if metric.measured_pass is not None
        for column in (*_estimate(metric), *(_ratio(metric) if metric.compared else ()))
    ]
    return (*_WHERE, *_CASE, *_STANDING, *numbers, *_FACTS)


def launch_columns() -> tuple[Column, ...]:
    """Return the columns of the launches, in order."""
    numbers = [column for metric in metrics.METRICS for column in _value(metric)]
    return (*_WHERE, *_CASE, *_LAUNCH, *numbers, *_AROUND)


# --- measured numbers ----------------------------------------------------------------------------


def _value(metric: metrics.Metric) -> Iterator[Column]:
    """Yield the column of a launch's number, and of its own interval if it has one."""

    def end(place: int) -> Callable[[LaunchRow], float | None]:
        def value(row: LaunchRow) -> float | None:
            measured = row.launch.measured
            interval = measured.intervals.get(metric.name) if measured else None
            return interval[place] if interval else None

        return value

    meaning = f"{metric.label} ({metric.measured_pass or 'every'} pass)"
    yield Column(metric.name, "Float64", meaning, lambda row: row.launch.values.get(metric.name))
    if metric.interval is not None:
        yield Column(f"{metric.name}_low", "Float64", "the launch's own 95% interval", end(0))
        yield Column(f"{metric.name}_high", "Float64", "its upper end", end(1))


def _parts(
    name: str, label: str, estimate: Callable[[CaseRow], Estimate | None]
) -> tuple[Column, ...]:
    """Return the columns of an estimate; `NAME_basis` says what low and high are."""

    def part(
        suffix: str, kind: Kind, meaning: str, get: Callable[[Estimate], float | str | None]
    ) -> Column:
        def value(row: CaseRow) -> float | str | None:
            found = estimate(row)
            return None if found is None else get(found)

        return Column(name + suffix, kind, meaning, value)

    return (
        part("", "Float64", label, lambda e: e.median),
        part("_low", "Float64", "its lower end", lambda e: e.low),
        part("_high", "Float64", "its upper end", lambda e: e.high),
        part(
            "_basis",
            "string",
            "what the ends are: interval (95%), range (of too few launches), single (none)",
            lambda e: e.basis,
        ),
        part("_launches", "Int64", "how many launches it rests on", lambda e: e.launches),
    )


def _estimate(metric: metrics.Metric) -> tuple[Column, ...]:
    label = f"{metric.label} ({metric.measured_pass} pass)"
    return _parts(metric.name, label, lambda row: row.summary.estimates.get(metric.name))


def _ratio(metric: metrics.Metric) -> Iterator[Column]:
    """Yield the columns of a number over the baseline's."""

    def ratio(row: CaseRow) -> Estimate | None:
        found = row.summary.comparisons.get(metric.name)
        return found.ratio if found else None

    def withheld(row: CaseRow) -> str | None:
        found = row.summary.comparisons.get(metric.name)
        return (found.withheld or None) if found else None

    name = f"{metric.name}_ratio"
    yield from _parts(name, f"{metric.label}, over the baseline's", ratio)
    yield Column(f"{name}_withheld", "string", "why there is no ratio", withheld)


# --- facts ---------------------------------------------------------------------------------------

_WHERE = (
    Column("sweep", "string", "the sweep's id", lambda r: r.sweep),
    Column("device", "string", "the device's id", lambda r: r.device.info.id),
    Column("device_name", "string", "what a person calls it", lambda r: r.device.info.name),
    Column("device_fingerprint", "string", "the same for the same device with the same system",
           lambda r: r.device.info.fingerprint),
)  # fmt: skip


def _format_option(name: str) -> Column:
    """Make a column of an option of one format, null for files of other formats."""

    def value(row: CaseRow) -> str | None:
        return dict(row.case.variant.options).get(name)

    return Column(name, "string", "of the artifact's file, as its format has it", value)


_CASE = (
    Column("case", "string", "the case's id, unique on a device", lambda r: r.case.id),
    Column("model", "string", "the model's name in the plan", lambda r: r.case.variant.model),
    Column("recipe", "string", "how it was exported", lambda r: r.case.variant.recipe),
    Column("format", "string", "of the artifact's file", lambda r: r.case.variant.format),
    *(_format_option(name) for form in FORMATS.values() for name in form.OPTIONS),
    Column("memory_format", "string", "of inputs and weights",
           lambda r: r.case.variant.memory_format),
    Column("engine", "string", "what ran it", lambda r: r.case.engine),
    Column("threads", "Int64", "that the engine may use", lambda r: r.case.threads),
    Column("affinity", "string", "the cores it may use", lambda r: r.case.affinity),
)  # fmt: skip

_STANDING = (
    Column("status", "string", "ok; no valid latency (other passes have numbers); no valid launch; "
           "failed, interrupted, skipped, not run", lambda r: r.summary.status),
    Column("reason", "string", "why it is not ok", lambda r: r.summary.reason or None),
    Column("launches_planned", "Int64", "by the schedule", lambda r: r.summary.planned),
    Column("launches_lost", "Int64", "that left no result",
           lambda r: len(r.summary.bad_launches())),
    Column("launches_not_valid", "Int64", "that have a result and do not count",
           lambda r: len(r.summary.doubtful_launches())),
    Column("launches_valid", "Int64", "that count", lambda r: r.summary.valid_launches),
    Column("baseline", "string", "the case it is compared with: the model's first recipe, all else "
           "equal", lambda r: r.summary.baseline),
)  # fmt: skip


def _fidelity(where: str, fidelity: Callable[[CaseRow], Fidelity | None]) -> tuple[Column, ...]:
    def part(name: str, kind: Kind, meaning: str, get: Callable[[Fidelity], Any]) -> Column:
        def value(row: CaseRow) -> Any:
            found = fidelity(row)
            return None if found is None else get(found)

        return Column(f"{where}_{name}", kind, f"{meaning}, on the {where}", value)

    return (
        part("outputs_exact", "boolean", "equal to the eager model's", lambda f: f.exact),
        part("sqnr_db", "Float64", "signal to error power, dB", lambda f: f.sqnr_db),
        part("max_abs_error", "Float64", "the largest error", lambda f: f.max_abs_error),
        part("cosine", "Float64", "cosine of the outputs", lambda f: f.cosine),
        part("top1_agreement", "Float64", "share with the same argmax", lambda f: f.top1_agreement),
    )  # fmt: skip


def _file_details(row: CaseRow) -> str | None:
    manifest = row.summary.artifact.manifest if row.summary.artifact else None
    details = manifest.details if manifest else {}
    return "; ".join(f"{label} {value}" for label, value in details.items()) or None


def _grows(row: LaunchRow) -> bool | None:
    growth = row.launch.measured.growth if row.launch.measured else None
    return growth.grows if growth else None


_FACTS = (
    Column("peak_definition", "string", "what peak_bytes is: others are not compared with it",
           lambda _: metrics.PEAK_DEFINITION),
    Column("memory_grows", "boolean", "in most memory launches, beyond doubt",
           lambda r: r.summary.grows),
    Column("energy_source", "string", "rails, gauge, meter or rapl",
           lambda r: r.summary.energy and r.summary.energy.source.kind),
    Column("energy_source_name", "string", "which, and how it was calibrated",
           lambda r: r.summary.energy and describe_source(r.summary.energy.source)),
    Column("energy_trouble", "string", "why an energy that was asked for is missing",
           lambda r: r.summary.energy_trouble and r.summary.energy_trouble.text),
    Column("size_bytes", "Int64", "of the artifact", lambda r: r.summary.size_bytes),
    Column("file_details", "string", "what only files of the artifact's format have", _file_details),
    Column("parameters", "Int64", "after pruning, before quantization",
           lambda r: r.summary.parameters),
    Column("flops", "Int64", "of one inference, a multiply and an add being two",
           lambda r: r.summary.flops),
    Column("accuracy", "Float64", "top-1, on the host",
           lambda r: r.summary.accuracy and r.summary.accuracy.top1),
    Column("accuracy_samples", "Int64", "that the accuracy rests on",
           lambda r: r.summary.accuracy and r.summary.accuracy.samples),
    *_fidelity("device", lambda row: row.summary.device_fidelity),
    *_fidelity("host", lambda row: row.summary.host_fidelity),
    Column("flags", "string", "the doubts that name it, by key",
           lambda r: " ".join(r.summary.flags) or None),
)  # fmt: skip


def _reasons(get: Callable[[Reason], str], separator: str) -> Callable[[LaunchRow], str | None]:
    return lambda row: separator.join(map(get, row.launch.validity.reasons)) or None


def _trouble(row: LaunchRow) -> str | None:
    energy = row.launch.measured.energy if row.launch.measured else None
    return energy.text if isinstance(energy, EnergyTrouble) else None


def _milliseconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e6


_LAUNCH = (
    Column("index", "Int64", "its place in the device's schedule", lambda r: r.launch.index),
    Column("round", "Int64", "launches of one round are compared", lambda r: r.launch.round),
    Column("pass", "string", "what it was to measure", lambda r: r.launch.measured_pass),
    Column("attempt", "Int64", "from 1", lambda r: r.launch.entry.attempt),
    Column("status", "string", "ok, failed or interrupted", lambda r: r.launch.entry.status),
    Column("error_kind", "string", "what ended it", lambda r: r.launch.error_kind or None),
    Column("reason", "string", "why it has no result", lambda r: r.launch.reason or None),
    Column("valid", "boolean", "whether it counts", lambda r: r.launch.counts),
    Column("validity", "string", "valid, suspect or invalid, if it has a result",
           lambda r: r.launch.validity.level if r.launch.measured else None),
    Column("validity_keys", "string", "what speaks against it", _reasons(lambda r: r.key, " ")),
    Column("validity_reasons", "string", "the same in words", _reasons(lambda r: r.text, "; ")),
    Column("started_unix", "Float64", "when, in seconds", lambda r: r.launch.entry.started_unix),
    Column("cooled_seconds", "Float64", "how long the device cooled before it",
           lambda r: r.launch.entry.cooled_seconds),
)  # fmt: skip

_AROUND = (
    Column("memory_grows", "boolean", "beyond doubt (memory pass)", _grows),
    Column("energy_trouble", "string", "why its energy is missing", _trouble),
    Column("energy_source", "string", "rails, gauge, meter or rapl",
           lambda r: r.launch.entry.power and r.launch.entry.power.kind),
    Column("energy_source_name", "string", "which, and how it was calibrated",
           lambda r: r.launch.entry.power and describe_source(r.launch.entry.power)),
    Column("runner_ms", "Float64", "the life of the runner's process",
           lambda r: _milliseconds(r.launch.entry.runner_ns)),
    Column("host_ms", "Float64", "the whole launch, as the host saw it",
           lambda r: _milliseconds(r.launch.entry.host_ns)),
    Column("load_1min_before", "Float64", "the device's load average before it",
           lambda r: r.launch.entry.before and r.launch.entry.before.load_1min),
    Column("temperature_celsius_before", "Float64", "the device's temperature before it",
           lambda r: r.launch.entry.before and r.launch.entry.before.temperature_celsius),
    Column("file", "string", "its result, in the sweep folder", lambda r: r.launch.entry.file),
)  # fmt: skip
