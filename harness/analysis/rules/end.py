"""Rules on how a launch ended, and whether what ran is what was asked for."""

from __future__ import annotations

from collections.abc import Iterable

from harness.analysis.rules.rule import Around, Breach, Rule
from harness.errors import WrongOutput


def _message(around: Around) -> str:
    error = around.entry.error
    return error.message if error else "no reason was given"


def _has_wrong_output(around: Around) -> bool:
    error = around.entry.error
    return error is not None and error.kind == WrongOutput.__name__


def _failed(around: Around) -> Iterable[Breach]:
    if around.entry.status not in ("ok", "interrupted") and not _has_wrong_output(around):
        yield Breach(_message(around))


def _interrupted(around: Around) -> Iterable[Breach]:
    if around.entry.status == "interrupted":
        yield Breach(_message(around))


def _output_mismatch(around: Around) -> Iterable[Breach]:
    if around.entry.status == "failed" and _has_wrong_output(around):
        yield Breach(_message(around))


def _requested_not_actual(around: Around) -> Iterable[Breach]:
    record = around.record
    if record is None or record.actual is None or record.header.job is None:
        return
    asked, actual = record.header.job, record.actual
    wanted: dict[str, tuple[object, object]] = {
        "threads": (asked.threads, actual.threads),
        "memory format": (asked.memory_format, actual.memory_format),
    }
    if asked.affinity is not None:
        wanted["cores"] = (sorted(asked.affinity), sorted(actual.affinity))
    if asked.quantized_engine is not None:
        wanted["quantized kernels"] = (asked.quantized_engine, actual.quantized_engine)
    wrong = [
        f"{name}: {got} instead of {want}" for name, (want, got) in wanted.items() if got != want
    ]
    if wrong:
        yield Breach("; ".join(wrong))


RULES = (
    Rule(
        key="failed",
        levels=("invalid",),
        label="failed",
        advice="See what happened in the table of launches that do not count.",
        when="the launch ended without a good result",
        check=_failed,
    ),
    Rule(
        key="interrupted",
        levels=("invalid",),
        label="interrupted",
        advice="Go on with `phonebench run --resume FOLDER`.",
        when="it was cut short",
        check=_interrupted,
        passing=True,
    ),
    Rule(
        key="output-mismatch",
        levels=("invalid",),
        label="wrong output",
        advice="Look at the recipe's fidelity on the host, then at the engine.",
        when="its outputs are too far from the reference",
        check=_output_mismatch,
    ),
    Rule(
        key="requested-not-actual",
        levels=("invalid",),
        label="not as requested",
        advice="Ask for settings that the device can give.",
        when="threads, cores, memory format or quantized kernels in force are not those of the job",
        check=_requested_not_actual,
    ),
)
