"""What the terminal shows: tables and the progress of a sweep. 80 columns are enough for all of it.

Names of models and devices are printed as they are, never as markup. Not here: numbers.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from harness.analysis.case_energy import joule_unit
from harness.analysis.cases import CaseSummary, SweepSummary, deciding_launches
from harness.analysis.stats import Estimate
from harness.analysis.words import (
    DASH,
    bounds,
    fidelity_words,
    megabytes,
    milliseconds,
    name_some,
    percent,
    plural,
    significant,
    speedup_words,
)
from harness.devices.base import Attached
from harness.results.folder import Sweep
from harness.runners.inventory import InventoryItem
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.device import LEVELS, DeviceFinding
from harness.schema.plan import Plan

if TYPE_CHECKING:
    from harness.measure import progress
    from harness.measure.cooldown import Cooldown

_PIPED_WIDTH = 160


def show(content: RenderableType) -> None:
    """Print to stdout: in the terminal's width, or wide enough for whole names when piped."""
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False).print(content)


def _table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        justify = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column in right, overflow="fold")  # type: ignore[arg-type]
    return table


def devices_table(seen: Sequence[Attached]) -> RenderableType:
    """Show devices, a row each; the first column is the name to use."""
    table = _table("device", "what it is", "ABI", "cores", "memory", right=("cores", "memory"))
    for found in seen:
        if found.info is None:
            table.add_row(Text(found.id), Text(f"{found.state}. {found.advice}", style="yellow"))
            continue
        info = found.info
        cells = (info.id, info.name, info.abi, str(info.cores), megabytes(info.memory_total_bytes))
        table.add_row(*map(Text, cells))
    return table


def examination_table(findings: Mapping[str, Sequence[DeviceFinding]]) -> RenderableType:
    """Show what was found on each device, the gravest first, and what to do under each."""
    parts: list[RenderableType] = []
    for device, found in findings.items():
        table = _table("", "finding", "what was found, and what to do", title=device)
        for finding in found:
            text = Text(finding.text)
            if finding.advice:
                text.append(f"\n{finding.advice}", style="dim")
            table.add_row(
                Text(finding.level, style=_LEVEL_STYLES[finding.level]), finding.key, text
            )
        counts = (f"{sum(f.level == level for f in found)} {level}" for level in LEVELS)
        parts += [table, Text(", ".join(counts)), Text()]
    return Group(*parts[:-1])


_LEVEL_STYLES = {"serious": "bold red", "warning": "yellow", "ok": "green"}


def runners_table(rows: Sequence[InventoryItem]) -> RenderableType:
    """Show runner packs, a row each, and those that could be built."""
    table = _table("engine", "for", "version", "size", "state", "key, or how", right=("size",))
    for row in rows:
        pack = row.pack
        cells = (
            row.engine,
            "this computer" if row.kind == "local" else row.abi,
            pack.engine_version if pack else "",
            megabytes(pack.total_bytes) if pack else "",
            row.state,
            pack.key if pack else row.note,
        )
        table.add_row(*map(Text, cells))
    return table


def plan_table(plan: Plan, launches: int, seconds: float) -> RenderableType:
    """Show a plan's cases, a row each, and how long they will take."""
    table = _table("model", "recipe", "options", "engine", "threads", right=("threads",))
    for case in plan.cases():
        variant = case.variant
        cores = "all" if case.affinity == "all" else f"cores {case.affinity}"
        settings = (variant.container, variant.memory_format, cores)
        options = [setting for setting in settings if setting not in _USUAL]
        cells = (variant.model, variant.recipe, ", ".join(options), case.engine, str(case.threads))
        table.add_row(*map(Text, cells))
    devices = ", ".join(plan.plan.devices)
    cases = len(plan.cases())
    total = (
        f"{plural(cases, 'case')} on {devices}: {plural(launches, 'launch', 'launches')} a device in "
        f"{plural(plan.plan.rounds, 'round')}, about {minutes(seconds)}, and the exports"
    )
    return Group(table, Text(), Text(total))


_USUAL = ("zip", "contiguous", "all")


def artifacts_table(models: Sequence[ExportedModel]) -> RenderableType:
    """Show what became of each variant."""
    table = _table("variant", "status", "size", "SQNR", "top-1", "accuracy", right=("size", "SQNR"))
    troubles: list[Text] = []
    for model in models:
        if model.status != "ok":
            troubles.append(_trouble(model.name, model.status, model.reason, model.advice))
        for artifact in model.artifacts:
            table.add_row(*map(Text, _artifact_cells(artifact)))
            if artifact.status != "ok":
                troubles.append(
                    _trouble(artifact.variant, artifact.status, artifact.reason, artifact.advice)
                )
            elif artifact.manifest:
                notes = (f"{artifact.variant}: {note}" for note in artifact.manifest.notes)
                troubles += [Text(note, style="dim") for note in notes]
    return Group(table, *([Text(), *troubles] if troubles else []))


def _artifact_cells(artifact: Artifact) -> tuple[str, ...]:
    manifest, fidelity = artifact.manifest, artifact.fidelity
    agreement = fidelity.top1_agreement if fidelity else None
    return (
        artifact.variant,
        "cached" if artifact.cached and artifact.status == "ok" else artifact.status,
        megabytes(manifest.size_bytes) if manifest else DASH,
        fidelity_words(fidelity) if fidelity else DASH,
        percent(agreement) if agreement is not None else DASH,
        percent(artifact.accuracy.top1) if artifact.accuracy else DASH,
    )


def _trouble(name: str, status: str, reason: str, advice: str) -> Text:
    text = Text(f"{name} {status}: {reason}")
    if advice:
        text.append(f"\n  {advice}", style="dim")
    return text


def summary_table(summary: SweepSummary) -> RenderableType:
    """Show a sweep's result: per device a row a case, then what limits trust."""
    parts: list[RenderableType] = []
    names = _names(summary)
    for device in summary.devices:
        energy = [one.energy.joules.median for one in device.cases if one.energy is not None]
        joules = joule_unit(energy) if energy else None
        # 80 columns have room for one of them; the report shows both.
        table = _table(
            "case", "latency [95%]", "n", "vs first", "energy [95%]" if joules else "size",
            "peak", "acc.",
            right=("n", "size", "peak", "acc."),
            title=f"{device.info.id}: {device.info.name}",
        )  # fmt: skip
        model = ""
        for case in device.cases:
            if case.case.variant.model != model:
                model = case.case.variant.model
                table.add_row(Text(model, style="bold"))
            table.add_row(*map(Text, _case_cells(case, names[case.id], joules)))
        parts += [table, Text()]
    bad = [case for device in summary.devices for case in device.cases if case.status != "ok"]
    troubles: dict[tuple[str, str, str], list[str]] = {}
    for case in bad:
        troubles.setdefault((case.status, case.reason, case.advice), []).append(names[case.id])
    parts += [
        _trouble(name_some(list(dict.fromkeys(whose))), *trouble)
        for trouble, whose in troubles.items()
    ]
    parts += [Text(f"{f.level}: {f.title}", style="dim") for f in summary.findings]
    return Group(*parts)


def _case_cells(case: CaseSummary, name: str, joules: tuple[str, float] | None) -> tuple[str, ...]:
    """Return a case's row; `joules` is the unit of energies and its size, if any were measured."""
    if not case.has_numbers:
        return (f"  {name}", case.status)
    return (
        f"  {name}",
        _latency(case),
        _counting(case),
        _speedup(case.speedup) if case.speedup else "",
        _energy(case, *joules) if joules else _size(case),
        megabytes(case.peak_bytes.median) if case.peak_bytes else DASH,
        percent(case.accuracy.top1) if case.accuracy else DASH,
    )


def _size(case: CaseSummary) -> str:
    return megabytes(case.size_bytes) if case.size_bytes else DASH


def _names(summary: SweepSummary) -> dict[str, str]:
    """Map each case to its name below its model's, with its engine where there are several."""
    cases = [case for device in summary.devices for case in device.cases]
    several = len({case.case.engine for case in cases}) > 1
    return {case.id: _name(case, f" · {case.case.engine}" if several else "") for case in cases}


def _name(case: CaseSummary, engine: str) -> str:
    cores = "" if case.case.affinity == "all" else f" · cores {case.case.affinity}"
    return f"{case.label}{engine} · t{case.case.threads}{cores}"


def _counting(case: CaseSummary) -> str:
    """Return how many launches count, of the latency pass if it ran, and of how many if not all do."""
    launches = deciding_launches(case.launches)
    counting = sum(launch.counts for launch in launches)
    return str(counting) if counting == len(launches) else f"{counting} of {len(launches)}"


def _energy(case: CaseSummary, unit: str, size: float) -> str:
    if case.energy is None:
        return DASH
    joules = case.energy.joules
    return f"{significant(joules.median / size)} {unit} {bounds(joules, 1 / size)}"


def _speedup(speedup: Estimate) -> str:
    """Return how two cases differ; few pairs, which have no interval, are told."""
    words, _ = speedup_words(speedup)
    few = "" if speedup.basis == "interval" else f" ({plural(speedup.launches, 'pair')})"
    return f"{words}{few}"


def _latency(case: CaseSummary) -> str:
    if case.latency_ns is None:
        return DASH if case.status == "ok" else "none valid"
    return f"{milliseconds(case.latency_ns.median)} {bounds(case.latency_ns, 1e-6)}".rstrip()


def what_does_not_count(sweep: Sweep) -> str:
    """Say in a line how many launches do not count, and why; "" if all do."""
    from harness.analysis.validity import LABELS
    from harness.measure.resume import settled_launches

    ended = [e for info in sweep.file.devices for e in settled_launches(sweep, info.id).values()]
    bad = [e.validity for e in ended if e.validity is not None and e.validity.level != "valid"]
    if not bad:
        return ""
    labels = (LABELS.get(v.reasons[0].key, v.reasons[0].key) for v in bad)
    reasons = ", ".join(f"{label} {count}" for label, count in Counter(labels).most_common())
    do = "does" if len(bad) == 1 else "do"
    return f"{len(bad)} of {plural(len(ended), 'launch', 'launches')} {do} not count: {reasons}"


def minutes(seconds: float) -> str:
    """Return a time span as people say it: 40 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"


def cooldown_words(cooldown: Cooldown) -> str:
    """Say what a device waits for, and since when: "cooling: 38.4 -> 35.0 °C, 40 s"."""
    parts = []
    if cooldown.celsius is not None and cooldown.target_celsius is not None:
        parts.append(f"{cooldown.celsius:.1f} -> {cooldown.target_celsius:.1f} °C")
    if cooldown.thermal_status:
        parts.append(f"thermal status {cooldown.thermal_status}")
    return f"cooling: {', '.join([*parts, minutes(cooldown.waited_seconds)])}"


class SweepProgress:
    """A bar on stderr while a sweep runs; a line a launch where stderr is no terminal.

    It is drawn when a launch begins or ends and while a device cools, never while one runs: on this
    computer, drawing would take time from what is being measured.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._console.soft_wrap = not self._live  # a log has no edge: a line a launch
        self._progress = Progress(
            TextColumn("{task.fields[device]}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()
        self._lock = Lock()  # devices are measured in parallel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        self._progress.stop()

    def warn(self, message: str) -> None:
        """Tell something above the bar."""
        self._console.print(Text(message))

    def observe(self, step: progress.Progress) -> None:
        """Show where the sweep stands; trouble is told at once, above the bar."""
        with self._lock:
            left = "" if step.seconds_left is None else f"{minutes(step.seconds_left)} left"
            again = f"{step.again} tried again" if step.again else ""
            left = ", ".join(part for part in (left, again) if part)
            self._tell_trouble(step)
            self._tell_validity(step)
            if self._live:
                self._draw(step, left)
            elif step.entry is not None:
                line = f"{step.device} [{step.done}/{step.total}] {step.current}: "
                self._console.print(Text(f"{line}{step.entry.status}; {left}"))
            elif step.cooldown is not None and step.cooldown.waited_seconds == 0:
                self._console.print(Text(f"{step.device}: {cooldown_words(step.cooldown)}"))

    def _tell_trouble(self, step: progress.Progress) -> None:
        """Tell each trouble of a case in full once, and then in a line."""
        if step.entry is None or step.entry.error is None:
            return
        error = step.entry.error
        known = f"{step.device}/{error.message}"
        if known in self._told:
            self.warn(f"{step.current} {step.entry.status}, as before")
            return
        self._told.add(known)
        trouble = _trouble(step.current, step.entry.status, error.message, error.advice)
        self._console.print(trouble)

    def _tell_validity(self, step: progress.Progress) -> None:
        """Tell why a launch that ended well does not count."""
        entry = step.entry
        if entry is None or entry.status != "ok" or entry.validity is None:
            return
        if entry.validity.level != "valid":
            reason = entry.validity.reasons[0].text
            self.warn(f"{step.device}: {step.current} is {entry.validity.level}: {reason}")

    def _draw(self, step: progress.Progress, left: str) -> None:
        if not self._tasks:
            self._progress.start()
        if step.device not in self._tasks:
            self._tasks[step.device] = self._progress.add_task(
                "", total=step.total, device=step.device, left=""
            )
        self._progress.update(
            self._tasks[step.device],
            completed=step.done,
            description=cooldown_words(step.cooldown) if step.cooldown else step.current,
            left=left,
        )
        self._progress.refresh()
