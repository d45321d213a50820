"""Tables derived from a sweep, for other programs: CSV, Parquet, Markdown and JSON.

One row a case, or one row a launch; the numbers are those of the report, in milliseconds, bytes,
joules and watts. What is missing is null (in Markdown a dash), and a column has the same type in every
sweep. Not here: how the numbers are worked out (`report/summary.py`).
"""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.analysis.case_energy import CaseEnergy, describe_source
from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.launches import Launch, Numbers
from harness.analysis.memory import Growth
from harness.analysis.stats import Estimate
from harness.analysis.summary import summarise
from harness.analysis.words import DASH
from harness.errors import PlanError
from harness.export_worker import formats
from harness.results.folder import read_sweep
from harness.schema.artifact import Fidelity
from harness.schema.energy import Energy, EnergyTrouble
from harness.schema.validity import Reason

FORMATS = ("csv", "parquet", "md", "json")
TABLES = ("cases", "launches")

Row = dict[str, Any]
Kind = Literal["string", "int64", "float64", "bool"]


@dataclass(frozen=True)
class CaseSource:
    """What a row of the cases table is made from."""

    summary: SweepSummary
    device: DeviceSummary
    case: CaseSummary


@dataclass(frozen=True)
class LaunchSource:
    """What a row of the launches table is made from."""

    summary: SweepSummary
    device: DeviceSummary
    launch: Launch


@dataclass(frozen=True)
class Column:
    """One column: its name, its type (as Parquet's), and how its value is found."""

    name: str
    kind: Kind
    value: Callable[[Any], Any]


def write_table(folder: Path, table: str, form: str) -> bytes:
    """Return a table of a sweep folder as the bytes of a file; the same sweep, the same bytes.

    `table` is one of TABLES and `form` one of FORMATS. Raises SweepError for a folder that is no
    sweep, PlanError for another table or format.
    """
    if table not in TABLES or form not in FORMATS:
        raise PlanError(
            f"there is no {table} table as {form}",
            f"Formats: {', '.join(FORMATS)}; tables: {', '.join(TABLES)}.",
        )
    summary = summarise(read_sweep(folder))
    columns = CASE_COLUMNS if table == "cases" else LAUNCH_COLUMNS
    rows = cases_table(summary) if table == "cases" else launches_table(summary)
    writers = {"csv": _csv, "json": _json, "md": _markdown, "parquet": _parquet}
    return writers[form](columns, rows)


def table_rows(folder: Path, table: str) -> list[Row]:
    """Return a table of a sweep folder as a list of mappings, ready for JSON."""
    summary = summarise(read_sweep(folder))
    return cases_table(summary) if table == "cases" else launches_table(summary)


def cases_table(summary: SweepSummary) -> list[Row]:
    """Return one row a case and device, in the order of the report."""
    sources = [
        CaseSource(summary, device, case) for device in summary.devices for case in device.cases
    ]
    return [{column.name: column.value(one) for column in CASE_COLUMNS} for one in sources]


def launches_table(summary: SweepSummary) -> list[Row]:
    """Return one row a launch, those that do not count included, in the ledger's order."""
    sources = [
        LaunchSource(summary, device, launch)
        for device in summary.devices
        for launch in device.launches
    ]
    return [{column.name: column.value(one) for column in LAUNCH_COLUMNS} for one in sources]


def _csv(columns: Sequence[Column], rows: Sequence[Row]) -> bytes:
    content = io.StringIO()
    writer = csv.DictWriter(content, [column.name for column in columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode()


def _json(_: Sequence[Column], rows: Sequence[Row]) -> bytes:
    return (json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _parquet(columns: Sequence[Column], rows: Sequence[Row]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([(c.name, pyarrow.type_for_alias(c.kind)) for c in columns])
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), content)
    return content.getvalue()


def _markdown(columns: Sequence[Column], rows: Sequence[Row]) -> bytes:
    names = [column.name for column in columns]
    lines = [names, ["---"] * len(names), *([_cell(row[name]) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode()


def _cell(value: Any) -> str:
    """Write a value for Markdown, escaped so that no name becomes markup or another column."""
    if value is None:
        return DASH
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return html.escape(text, quote=False).replace("\\", "\\\\").replace("|", "\\|")


def _estimate(
    name: str, estimate: Callable[[CaseSummary], Estimate | None], scale: float = 1.0
) -> tuple[Column, ...]:
    """Make the columns of an estimate; `NAME_basis` says what low and high are."""

    def part(
        suffix: str, kind: Kind, get: Callable[[Estimate], Any], factor: float | None = None
    ) -> Column:
        def value(source: CaseSource) -> Any:
            found = estimate(source.case)
            raw = get(found) if found is not None else None
            return raw if raw is None or factor is None else raw * factor

        return Column(name + suffix, kind, value)

    return (
        part("", "float64", lambda e: e.median, scale),
        part("_low", "float64", lambda e: e.low, scale),
        part("_high", "float64", lambda e: e.high, scale),
        part("_basis", "string", lambda e: e.basis),
        part("_launches", "int64", lambda e: e.launches),
    )


def _energy(case: CaseSummary, get: Callable[[CaseEnergy], Any]) -> Any:
    return None if case.energy is None else get(case.energy)


def _launch_energy(name: str, kind: Kind, get: Callable[[Energy], Any]) -> Column:
    """Make a column of a launch's own energy, whether it counts or not; null without one."""

    def value(source: LaunchSource) -> Any:
        energy = source.launch.numbers.energy if source.launch.numbers else None
        return get(energy) if isinstance(energy, Energy) else None

    return Column(name, kind, value)


def _energy_trouble(source: LaunchSource) -> str | None:
    energy = source.launch.numbers.energy if source.launch.numbers else None
    return energy.text if isinstance(energy, EnergyTrouble) else None


def _growth(growth: Callable[[Any], Growth | None]) -> tuple[Column, ...]:
    """Make the columns of how fast memory grows with each inference."""

    def part(name: str, kind: Kind, get: Callable[[Growth], Any]) -> Column:
        def value(source: Any) -> Any:
            found = growth(source)
            return None if found is None else get(found)

        return Column(name, kind, value)

    return (
        part("growth_bytes_per_inference", "float64", lambda g: g.bytes_per_inference),
        part("growth_bytes_per_inference_low", "float64", lambda g: g.low),
        part("growth_bytes_per_inference_high", "float64", lambda g: g.high),
        part("memory_grows", "bool", lambda g: g.grows),
    )


def _reasons(launch: Launch, get: Callable[[Reason], str], separator: str) -> str | None:
    return separator.join(map(get, launch.validity.reasons)) or None


def _fidelity(where: str, fidelity: Callable[[CaseSummary], Fidelity | None]) -> tuple[Column, ...]:
    def part(name: str, kind: Kind, get: Callable[[Fidelity], Any]) -> Column:
        def value(source: CaseSource) -> Any:
            found = fidelity(source.case)
            return None if found is None else get(found)

        return Column(f"{where}_{name}", kind, value)

    return (
        part("outputs_exact", "bool", lambda f: f.exact),
        part("sqnr_db", "float64", lambda f: f.sqnr_db),
        part("max_abs_error", "float64", lambda f: f.max_abs_error),
        part("cosine", "float64", lambda f: f.cosine),
        part("top1_agreement", "float64", lambda f: f.top1_agreement),
    )


def _number(
    name: str, kind: Kind, get: Callable[[Numbers], float | None], scale: float | None = None
) -> Column:
    """Make a column of a launch's own numbers, null for one that did not end well."""

    def value(source: LaunchSource) -> Any:
        raw = None if source.launch.numbers is None else get(source.launch.numbers)
        return raw if raw is None or scale is None else raw * scale

    return Column(name, kind, value)


def _milliseconds(duration_ns: float | None) -> float | None:
    return None if duration_ns is None else duration_ns * 1e-6


_DEVICE_COLUMNS = (
    Column("sweep", "string", lambda s: s.summary.file.id),
    Column("device", "string", lambda s: s.device.info.id),
    Column("device_name", "string", lambda s: s.device.info.name),
    Column("device_fingerprint", "string", lambda s: s.device.info.fingerprint),
)


def _file_details(case: CaseSummary) -> str | None:
    """Return what only files of the artifact's format have."""
    manifest = case.artifact.manifest if case.artifact else None
    details = manifest.details if manifest else {}
    return "; ".join(f"{label} {value}" for label, value in details.items()) or None


def _format_option(name: str) -> Column:
    """Make a column of an option of one format, null for files of other formats."""
    return Column(name, "string", lambda s: dict(s.case.case.variant.options).get(name))


CASE_COLUMNS: tuple[Column, ...] = (
    *_DEVICE_COLUMNS,
    Column("case", "string", lambda s: s.case.id),
    Column("model", "string", lambda s: s.case.case.variant.model),
    Column("recipe", "string", lambda s: s.case.case.variant.recipe),
    Column("format", "string", lambda s: s.case.case.variant.format),
    *(_format_option(name) for format in formats.FORMATS.values() for name in format.OPTIONS),
    Column("memory_format", "string", lambda s: s.case.case.variant.memory_format),
    Column("engine", "string", lambda s: s.case.case.engine),
    Column("threads", "int64", lambda s: s.case.case.threads),
    Column("affinity", "string", lambda s: s.case.case.affinity),
    Column("status", "string", lambda s: s.case.status),
    Column("reason", "string", lambda s: s.case.reason or None),
    Column("launches_planned", "int64", lambda s: s.case.planned),
    Column("launches_lost", "int64", lambda s: len(s.case.bad_launches())),
    Column("launches_not_valid", "int64", lambda s: len(s.case.doubtful_launches())),
    Column("launches_valid", "int64", lambda s: s.case.valid_launches),
    *_estimate("latency_ms", lambda case: case.latency_ns, 1e-6),
    *_estimate("p90_ms", lambda case: case.p90_ns, 1e-6),
    *_estimate("speedup", lambda case: case.speedup),
    Column("speedup_baseline", "string", lambda s: s.case.baseline),
    *_estimate("first_inference_ms", lambda case: case.first_inference_ns, 1e-6),
    *_estimate("cold_load_ms", lambda case: case.cold_load_ns, 1e-6),
    *_estimate("warm_load_ms", lambda case: case.warm_load_ns, 1e-6),
    *_estimate("process_start_ms", lambda case: case.process_start_ns, 1e-6),
    *_estimate("peak_bytes", lambda case: case.peak_bytes),
    Column("peak_definition", "string", lambda s: s.case.peak_definition),
    *_estimate("model_bytes", lambda case: case.model_bytes),
    *_estimate("rss_bytes", lambda case: case.rss_bytes),
    *_estimate("pss_bytes", lambda case: case.pss_bytes),
    *_estimate("swap_bytes", lambda case: case.swap_bytes),
    *_growth(lambda s: s.case.growth),
    *_estimate("energy_joules", lambda case: _energy(case, lambda e: e.joules)),
    *_estimate("net_watts", lambda case: _energy(case, lambda e: e.net_watts)),
    *_estimate("block_watts", lambda case: _energy(case, lambda e: e.block_watts)),
    Column("energy_source", "string", lambda s: _energy(s.case, lambda e: e.source.kind)),
    Column(
        "energy_source_name",
        "string",
        lambda s: _energy(s.case, lambda e: describe_source(e.source)),
    ),
    Column("energy_trouble", "string", lambda s: s.case.energy_trouble or None),
    *_estimate("energy_ratio", lambda case: case.energy_ratio.ratio if case.energy_ratio else None),
    Column(
        "energy_ratio_withheld",
        "string",
        lambda s: s.case.energy_ratio and (s.case.energy_ratio.withheld or None),
    ),
    Column("size_bytes", "int64", lambda s: s.case.size_bytes),
    Column("file_details", "string", lambda s: _file_details(s.case)),
    Column("parameters", "int64", lambda s: s.case.parameters),
    Column("flops", "int64", lambda s: s.case.flops),
    Column("accuracy", "float64", lambda s: s.case.accuracy and s.case.accuracy.top1),
    Column("accuracy_samples", "int64", lambda s: s.case.accuracy and s.case.accuracy.samples),
    *_fidelity("device", lambda case: case.device_fidelity),
    *_fidelity("host", lambda case: case.host_fidelity),
    *_estimate("clock_khz", lambda case: case.clock_khz),
    *_estimate("cpu_per_wall", lambda case: case.cpu_per_wall),
    *_estimate(
        "involuntary_switches_per_second", lambda case: case.involuntary_switches_per_second
    ),
    Column("flags", "string", lambda s: " ".join(s.case.flags) or None),
)

LAUNCH_COLUMNS: tuple[Column, ...] = (
    *_DEVICE_COLUMNS,
    Column("case", "string", lambda s: s.launch.case),
    Column("index", "int64", lambda s: s.launch.index),
    Column("round", "int64", lambda s: s.launch.round),
    Column("pass", "string", lambda s: s.launch.measured_pass),
    Column("attempt", "int64", lambda s: s.launch.attempt),
    Column("status", "string", lambda s: s.launch.status),
    Column("reason", "string", lambda s: s.launch.reason or None),
    Column("valid", "bool", lambda s: s.launch.counts),
    Column("validity", "string", lambda s: s.launch.numbers and s.launch.validity.level),
    Column("validity_keys", "string", lambda s: _reasons(s.launch, lambda r: r.key, " ")),
    Column("validity_reasons", "string", lambda s: _reasons(s.launch, lambda r: r.text, "; ")),
    Column("started_unix", "float64", lambda s: s.launch.started_unix),
    Column("cooled_seconds", "float64", lambda s: s.launch.cooled_seconds),
    _number("iterations", "int64", lambda n: n.iterations),
    _number("latency_ms", "float64", lambda n: n.median_ns, 1e-6),
    _number("p90_ms", "float64", lambda n: n.p90_ns, 1e-6),
    _number("cold_load_ms", "float64", lambda n: n.cold_load_ns, 1e-6),
    _number("warm_load_ms", "float64", lambda n: n.warm_load_ns, 1e-6),
    _number("first_inference_ms", "float64", lambda n: n.first_inference_ns, 1e-6),
    _number("process_start_ms", "float64", lambda n: n.process_start_ns, 1e-6),
    _number("peak_bytes", "int64", lambda n: n.peak_bytes),
    _number("model_bytes", "int64", lambda n: n.model_bytes),
    _number("rss_bytes", "int64", lambda n: n.rss_bytes),
    _number("pss_bytes", "int64", lambda n: n.pss_bytes),
    _number("swap_bytes", "int64", lambda n: n.swap_bytes),
    *_growth(lambda s: s.launch.numbers and s.launch.numbers.growth),
    _launch_energy("energy_joules", "float64", lambda e: e.joules_per_inference),
    _launch_energy("energy_joules_low", "float64", lambda e: e.low_joules),
    _launch_energy("energy_joules_high", "float64", lambda e: e.high_joules),
    _launch_energy("block_watts", "float64", lambda e: e.block_watts),
    _launch_energy("idle_before_watts", "float64", lambda e: e.idle_before_watts),
    _launch_energy("idle_after_watts", "float64", lambda e: e.idle_after_watts),
    Column("energy_trouble", "string", _energy_trouble),
    Column("energy_source", "string", lambda s: s.launch.power and s.launch.power.kind),
    Column(
        "energy_source_name",
        "string",
        lambda s: s.launch.power and describe_source(s.launch.power),
    ),
    _number("clock_khz", "float64", lambda n: n.clock_khz),
    _number("sampling_share", "float64", lambda n: n.sampling_share),
    _number("cpu_per_wall", "float64", lambda n: n.cpu_per_wall),
    _number(
        "involuntary_switches_per_second", "float64", lambda n: n.involuntary_switches_per_second
    ),
    Column("runner_ms", "float64", lambda s: _milliseconds(s.launch.runner_ns)),
    Column("host_ms", "float64", lambda s: _milliseconds(s.launch.host_ns)),
    Column("load_1min_before", "float64", lambda s: s.launch.before and s.launch.before.load_1min),
    Column(
        "temperature_celsius_before",
        "float64",
        lambda s: s.launch.before and s.launch.before.temperature_celsius,
    ),
    Column("file", "string", lambda s: s.launch.file),
)
