"""The parts of the docs that the code itself tells: rooms, recipes, numbers, columns, questions, rules.

    python -m tools.generated_docs           write them anew
    python -m tools.generated_docs --check   exit code 1 if a page is not as the code is

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. A new part is a function and a line
in `PARTS`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import grimp

from harness.analysis.columns import case_columns, launch_columns
from harness.analysis.frames import SAMPLE_COLUMNS, TRACE_COLUMNS
from harness.analysis.metrics import METRICS
from harness.analysis.validity import RULES
from harness.doctor.checks import COMMON, Check
from harness.doctor.checks_android import ANDROID
from harness.doctor.checks_computer import COMPUTER
from harness.doctor.checks_phone import PHONE
from harness.export_worker.recipes import STEPS

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _rooms() -> list[str]:
    folders = (path.parent for path in (REPOSITORY / "harness").glob("*/__init__.py"))
    return sorted(folder.name for folder in folders)


def _imports_of_rooms() -> dict[str, set[str]]:
    """Return which rooms each room imports, deferred imports and those for types counted."""
    graph = grimp.build_graph("harness", cache_dir=None)
    rooms = _rooms()
    return {
        room: {
            other
            for other in rooms
            if other != room
            and graph.find_shortest_chain(f"harness.{room}", f"harness.{other}", as_packages=True)
        }
        for room in rooms
    }


def house() -> str:
    """Draw the rooms: an arrow where one imports another, left out where a longer way says it."""
    reach = _imports_of_rooms()
    lines = ["```mermaid", "flowchart TD"]
    for room in sorted(reach, key=lambda room: (-len(reach[room]), room)):
        between = {far for near in reach[room] for far in reach[near]}
        lines += [f"    {room} --> {other}" for other in sorted(reach[room] - between)]
    return "\n".join([*lines, "```"]) + "\n"


def rooms() -> str:
    """List the rooms with their first sentences, those that import most first."""
    reach = _imports_of_rooms()
    lines = ["| room | what it is |", "| --- | --- |"]
    for room in sorted(reach, key=lambda room: (-len(reach[room]), room)):
        tree = ast.parse((REPOSITORY / "harness" / room / "__init__.py").read_text())
        first = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ")
        lines.append(f"| `{room}/` | {first.split('. Not here')[0].rstrip('.')} |")
    return "\n".join(lines) + "\n"


def checks() -> str:
    """List what the doctor asks."""
    asked = {"every device": COMMON, "phones": PHONE, "Android": ANDROID, "this computer": COMPUTER}
    lines = ["| key | of | serious | warning | why |", "| --- | --- | --- | --- | --- |"]
    lines += [_check_row(check, of) for of, found in asked.items() for check in found]
    return "\n".join(lines) + "\n"


def _check_row(check: Check, of: str) -> str:
    return f"| `{check.key}` | {of} | {check.serious} | {check.warning} | {check.why} |"


def rules() -> str:
    """List what may speak against a launch."""
    lines = ["| key | level | passing | when |", "| --- | --- | --- | --- |"]
    lines += [
        f"| `{rule.key}` | {', '.join(rule.levels)} | "
        f"{rule.passing_words or ('yes' if rule.passing else 'no')} | {rule.when} |"
        for rule in RULES
    ]
    return "\n".join(lines) + "\n"


def numbers() -> str:
    """List every number that is measured of a launch."""
    lines = [
        "| name | in a report | pass | better | what it is |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{metric.name}` | {metric.label} | {metric.measured_pass or 'every'} | {metric.better} "
        f"| {metric.definition} |"
        for metric in METRICS
    ]
    return "\n".join(lines) + "\n"


def recipes() -> str:
    """List the steps of recipes."""
    lines = ["| recipe | what it does | what it needs | least SQNR |", "| --- | --- | --- | --- |"]
    for step in STEPS:
        floor = "not judged" if step.min_sqnr_db is None else f"{step.min_sqnr_db:g} dB"
        lines.append(f"| `{step.name}` | {step.does} | {step.needs} | {floor} |")
    return "\n".join(lines) + "\n"


_ENDS = ("_low", "_high", "_basis", "_launches")


def _columns(columns: Iterable[tuple[str, str, str]]) -> str:
    """List columns; those that only tell the ends of another are named in the text above."""
    known = list(columns)
    names = {name for name, _, _ in known}
    lines = ["| column | type | what it holds |", "| --- | --- | --- |"]
    lines += [
        f"| `{name}` | {kind} | {meaning} |"
        for name, kind, meaning in known
        if not any(name.endswith(end) and name.removesuffix(end) in names for end in _ENDS)
    ]
    return "\n".join(lines) + "\n"


def columns_of_launches() -> str:
    """List the columns of the data frame of launches."""
    return _columns((column.name, column.kind, column.meaning) for column in launch_columns())


def columns_of_cases() -> str:
    """List the columns of the data frame of cases."""
    return _columns((column.name, column.kind, column.meaning) for column in case_columns())


PARTS: dict[str, Callable[[], str]] = {
    "house": house,
    "rooms": rooms,
    "checks": checks,
    "rules": rules,
    "recipes": recipes,
    "numbers": numbers,
    "launches": columns_of_launches,
    "cases": columns_of_cases,
    "samples": lambda: _columns(SAMPLE_COLUMNS),
    "traces": lambda: _columns(TRACE_COLUMNS),
}


def fill(text: str) -> str:
    """Return a page with its generated parts as the code tells them now."""
    return _PART.sub(lambda m: m.group(1) + PARTS[m.group(2)]() + m.group(3), text)


def main(arguments: list[str]) -> int:
    """Write the pages, or say which are not as they should be."""
    stale = [page for page in PAGES if page.exists() and fill(page.read_text()) != page.read_text()]
    if "--check" in arguments:
        for page in stale:
            print(f"{page.relative_to(REPOSITORY)} is stale: run make docs", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(fill(page.read_text()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
