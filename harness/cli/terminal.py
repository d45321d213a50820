"""What the terminal shows: tables, for which 80 columns are enough.

Names of models and devices are printed as they are, never as markup, and are broken over lines only
where one alone is wider than the terminal. Not here: numbers, and progress (`progress.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from harness.analysis import metrics
from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary, deciding_launches
from harness.analysis.words import (
    DASH,
    bounds,
    fidelity_words,
    megabytes,
    name_some,
    percent,
    plural,
    quantity,
    scale_of,
    speed_words,
)
from harness.devices.base import Attached
from harness.runners.inventory import InventoryItem
from harness.schema.artifact import Artifact, ExportedModel
from harness.schema.device import LEVELS, DeviceFinding
from harness.schema.plan import Case, Plan

_PIPED_WIDTH = 160


def show(content: RenderableType) -> None:
    """Print to stdout: in the terminal's width, or wide enough for whole names when piped."""
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False).print(content)


class _Table(Table):
    """A table without lines. Names are not broken over lines, unless they leave no room for the rest."""

    def __init__(self, names: Sequence[str], title: str | None) -> None:
        super().__init__(
            title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
        )
        self._names = names

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        widths = [
            max(cell_len(str(cell)) for cell in column.cells) + 2
            if column.no_wrap
            else _LEAST_WIDTH
            for column in self.columns
        ]
        if sum(widths) > options.max_width:
            for column in self.columns:
                column.no_wrap = column.no_wrap and column.header not in self._names
        yield from super().__rich_console__(console, options)


_LEAST_WIDTH = 8


def _table(
    *columns: str, right: Sequence[str] = (), names: Sequence[str] = (), title: str | None = None
) -> Table:
    """Make a table; `right` holds the columns of numbers, `names` those of names."""
    table = _Table(names, title)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        whole = column in right or column in names
        table.add_column(column, justify=justify, no_wrap=whole, overflow="fold")
    return table


def devices_table(seen: Sequence[Attached]) -> RenderableType:
    """Show devices, a row each; the first column is the name to use. Below, those of no use yet."""
    table = _table(
        "device", "what it is", "ABI", "cores", "memory",
        right=("cores", "memory"), names=("device", "ABI"),
    )  # fmt: skip
    others = []
    for found in seen:
        if found.info is None:
            others.append(Text(f"{found.id} is {found.state}. {found.advice}", style="yellow"))
            continue
        info = found.info
        cells = (info.id, info.name, info.abi, str(info.cores), megabytes(info.memory_total_bytes))
        table.add_row(*map(Text, cells))
    return Group(table, *([Text(), *others] if others else []))


def examination_table(findings: Mapping[str, Sequence[DeviceFinding]]) -> RenderableType:
    """Show what was found on each device, the gravest first, and what to do under each."""
    parts: list[RenderableType] = []
    for device, found in findings.items():
        columns = ("", "finding", "what was found, and what to do")
        table = _table(*columns, names=columns[:2], title=device)
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
    """Show runner packs, a row each, and those that could be built; how, below."""
    table = _table("engine", "for", "version", "size", "state", "key", right=("size",))
    missing, how = [], []
    for row in rows:
        pack = row.pack
        cells = (
            row.engine,
            "this computer" if row.kind == "local" else row.abi,
            pack.engine_version if pack else "",
            megabytes(pack.total_bytes) if pack else "",
            row.state,
            pack.key if pack else "",
        )
        table.add_row(*map(Text, cells))
        if row.state == "not here":
            missing.append(Text(f"{row.engine} for {row.abi} is not here: {row.note}"))
        elif row.state == "not built":
            how.append(Text(f"  {row.note}"))
    building = [Text("to build one beforehand:"), *how] if how else []
    return Group(table, *([Text()] if missing or how else []), *missing, *building)


def plan_table(plan: Plan, launches: int, seconds: float) -> RenderableType:
    """Show a plan's cases, a row each below its model, and how long they will take."""
    cases = plan.cases()
    options = {case: _unusual(case) for case in cases}
    columns = ["recipe", "engine", "threads", *(["options"] if any(options.values()) else [])]
    table = _table(*columns, right=("threads",), names=("recipe", "engine"))
    model = ""
    for case in cases:
        if case.variant.model != model:
            model = case.variant.model
            table.add_row(Text(model, style="bold"))
        cells = (f"  {case.variant.recipe}", case.engine, str(case.threads), options[case])
        table.add_row(*map(Text, cells[: len(columns)]))
    devices = ", ".join(plan.plan.devices)
    total = (
        f"{plural(len(cases), 'case')} on {devices}: "
        f"{plural(launches, 'launch', 'launches')} a device in "
        f"{plural(plan.plan.rounds, 'round')}, about {minutes(seconds)}, and the exports"
    )
    return Group(table, Text(), Text(total))


def _unusual(case: Case) -> str:
    cores = [] if case.affinity == "all" else [f"cores {case.affinity}"]
    return ", ".join([*case.variant.unusual, *cores])


def artifacts_table(models: Sequence[ExportedModel]) -> RenderableType:
    """Show what became of each variant, a row each below its model."""
    table = _table(
        "variant", "status", "size", "SQNR", "top-1", "accuracy",
        right=("size", "SQNR", "top-1", "accuracy"), names=("variant", "status"),
    )  # fmt: skip
    troubles: list[Text] = []
    for model in models:
        table.add_row(Text(model.name, style="bold"))
        if model.status != "ok":
            troubles.append(trouble_words(model.name, model.status, model.reason, model.advice))
        for artifact in model.artifacts:
            table.add_row(*map(Text, _artifact_cells(artifact)))
            if artifact.status != "ok":
                troubles.append(
                    trouble_words(
                        artifact.variant, artifact.status, artifact.reason, artifact.advice
                    )
                )
            elif artifact.manifest:
                notes = (f"{artifact.variant}: {note}" for note in artifact.manifest.notes)
                troubles += [Text(note, style="dim") for note in notes]
    return Group(table, *([Text(), *troubles] if troubles else []))


def _artifact_cells(artifact: Artifact) -> tuple[str, ...]:
    manifest, fidelity = artifact.manifest, artifact.fidelity
    agreement = fidelity.top1_agreement if fidelity else None
    return (
        f"  {artifact.label}",
        "cached" if artifact.cached and artifact.status == "ok" else artifact.status,
        megabytes(manifest.size_bytes) if manifest else DASH,
        fidelity_words(fidelity) if fidelity else DASH,
        percent(agreement) if agreement is not None else DASH,
        percent(artifact.accuracy.top1) if artifact.accuracy else DASH,
    )


def trouble_words(name: str, status: str, reason: str, advice: str) -> Text:
    """Say what is wrong with something, and below it what to do."""
    text = Text(f"{name} {status}: {reason}")
    if advice:
        text.append(f"\n  {advice}", style="dim")
    return text


def summary_table(summary: SweepSummary) -> RenderableType:
    """Show a sweep's result: per device a row a case, then what limits trust."""
    parts: list[RenderableType] = []
    names = _names(summary)
    for device in summary.devices:
        parts += [_CaseTable(device, names), Text()]
    bad = [case for device in summary.devices for case in device.cases if case.status != "ok"]
    troubles: dict[tuple[str, str, str], list[str]] = {}
    for case in bad:
        troubles.setdefault((case.status, case.reason, case.advice), []).append(names[case.id])
    parts += [
        trouble_words(name_some(list(dict.fromkeys(whose))), *trouble)
        for trouble, whose in troubles.items()
    ]
    parts += [Text(f"{f.level}: {f.text}", style="dim") for f in summary.findings]
    return Group(*parts)


@dataclass(frozen=True)
class _Row:
    """A row of cases: `words` say how it compares, or why it has no numbers. A model has neither."""

    name: str
    words: str = ""
    numbers: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, *cells: str) -> Self:
        if len(cells) == 1:
            return cls(name, *cells)
        latency, counting, words, *others = cells
        return cls(name, words, (latency, counting, *others))

    def cells(self, *, with_words: bool) -> tuple[str, ...]:
        if not self.numbers:
            return (self.name, self.words)
        return (
            self.name,
            *self.numbers[:2],
            *([self.words] if with_words else []),
            *self.numbers[2:],
        )

    @property
    def style(self) -> str:
        return "" if self.words or self.numbers else "bold"


class _CaseTable:
    """A device's cases: a row each; in a terminal that is too narrow for that, two lines each."""

    def __init__(self, device: DeviceSummary, names: Mapping[str, str]) -> None:
        columns = _columns(device.cases)
        self._title = f"{device.info.id}: {device.info.name}"
        self._heading = _Row.of("case", *(heading for heading, _ in columns))
        self._rows: list[_Row] = []
        model = ""
        for case in device.cases:
            if case.case.variant.model != model:
                model = case.case.variant.model
                self._rows.append(_Row(model))
            cells = [cell(case) for _, cell in columns] if case.has_numbers else [case.status]
            self._rows.append(_Row.of(f"  {names[case.id]}", *cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        compared = any(row.words and row.numbers for row in self._rows)
        columns = self._heading.cells(with_words=compared)
        table = _table(*columns, right=_RIGHT, title=self._title)
        for row in self._rows:
            table.add_row(*(Text(cell, row.style) for cell in row.cells(with_words=compared)))
        unbroken = console.measure(table, options=options.update(max_width=_PIPED_WIDTH)).maximum
        yield table if unbroken <= options.max_width else self._in_two_lines()

    def _in_two_lines(self) -> RenderableType:
        """Lay out each case as a line of words, its name and how it compares, and one of numbers."""
        rows = [self._heading, *self._rows]
        longest = max(cell_len(row.name) for row in rows if row.words or row.numbers)
        numbers = [row.numbers for row in rows if row.numbers]
        latency, *others = [max(map(cell_len, column)) for column in zip(*numbers, strict=True)]
        lines = [Text(self._title, "italic")]
        for row in rows:
            style = "bold" if row is self._heading else row.style
            lines.append(Text(f"{_pad(row.name, longest)}  {row.words}".rstrip(), style))
            if row.numbers:
                cells = map(_pad, row.numbers, [latency, *(-width for width in others)])
                lines.append(Text("    " + "  ".join(cells), style))
        return Group(*lines)


def _pad(text: str, width: int) -> str:
    """Fill up with blanks: behind the text, before it where the width is below zero."""
    blanks = " " * (abs(width) - cell_len(text))
    return blanks + text if width < 0 else text + blanks


_Column = tuple[str, Callable[[CaseSummary], str]]
_RIGHT = ("n", "size", "peak", "acc.")


def _columns(cases: Sequence[CaseSummary]) -> list[_Column]:
    """Return the columns of a device's cases: those numbers that any of them has, and facts.

    80 columns have room for the energy or the size: the report shows both.
    """
    known = {name for case in cases for name in case.estimates}
    first, *others = [
        (f"{metric.short} [95%]" if metric.shows_interval else metric.short, _number(metric, cases))
        for metric in metrics.METRICS
        if metric.short and (metric.name in known or metric.name == metrics.LATENCY)
    ]
    size: list[_Column] = [] if metrics.ENERGY in known else [("size", _size)]
    return [first, ("n", _counting), ("vs first", _versus), *size, *others, ("acc.", _accuracy)]


def _number(metric: metrics.Metric, cases: Sequence[CaseSummary]) -> Callable[[CaseSummary], str]:
    """Return what writes the cells of a number's column, all in one unit."""
    known = [case.estimates[metric.name] for case in cases if metric.name in case.estimates]
    scale = scale_of(metric.unit, [estimate.median for estimate in known])

    def cell(case: CaseSummary) -> str:
        estimate = case.estimates.get(metric.name)
        if estimate is None:
            is_lost = metric.name == metrics.LATENCY and case.status != "ok"
            return "none valid" if is_lost else DASH
        interval = f" {bounds(estimate, scale)}" if metric.shows_interval else ""
        return f"{quantity(estimate.median, scale)}{interval}".rstrip()

    return cell


def _accuracy(case: CaseSummary) -> str:
    return percent(case.accuracy.top1) if case.accuracy else DASH


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


def _versus(case: CaseSummary) -> str:
    """Return how a latency differs from the baseline's; few pairs, which have no interval, are told."""
    comparison = case.comparisons.get(metrics.LATENCY)
    ratio = comparison.ratio if comparison is not None else None
    if ratio is None:
        return ""
    few = "" if ratio.basis == "interval" else f" ({plural(ratio.launches, 'pair')})"
    return f"{speed_words(ratio)[0]}{few}"


def minutes(seconds: float) -> str:
    """Return a time span as people say it: 40 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
