"""What host and worker say to one another arrives as it was sent."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from harness.export_worker.messages import (
    Accepted,
    Accuracy,
    Answer,
    Checks,
    Counts,
    Delivered,
    Done,
    Failed,
    Finisher,
    Inspected,
    Inspection,
    Phase,
    Reference,
    Refused,
    Request,
    Staged,
    StagedEvaluation,
    Started,
    TensorFile,
    TensorPlace,
    TensorSpec,
    VariantSpec,
    read_answer,
    read_request,
    write_answer,
    write_request,
)

FILE = TensorFile(
    "/w/x.bin", [[TensorPlace([1, 8], "float32", 0), TensorPlace([], "bool", 64)], []]
)
SEEN = Inspection(12, {"container": "zip"}, ["aten::add"], True, {"bytecode version": 8, "by": "x"})
STAGED = Staged("net.fp32", "/w/net.pt", Counts(1, None, 3), 0.5, ["a note"])
CHECKS = Checks(FILE, True, StagedEvaluation(FILE, [[1, 2], [3]]))

ANSWERS: list[Answer] = [
    Phase("importing torch"),
    CHECKS,
    Checks(FILE, False),
    Inspected(SEEN, "2.13", "3.11"),
    Accepted("ab12", {"/a/model.py": "cd"}),
    Reference(FILE, Accuracy(0.5, 4)),
    Reference(FILE, None),
    Finisher({"/t/version.py": "ef"}),
    Started("net.fp32"),
    Delivered("net.fp32", "/w/n", SEEN, FILE, None, Counts(), "2", "3", 1.5, 2.0, ["ü\n"]),
    STAGED,
    Refused("net.fp32", "skipped", "why", "how"),
    Failed("why", ""),
    Done(),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_is_one_line_and_is_read_as_it_was_written(answer: Answer) -> None:
    line = write_answer(answer)
    assert line.count("\n") == 1
    assert line.endswith("\n")
    assert read_answer(line) == answer
    assert json.loads(line)["type"] == type(answer).__name__


def test_every_kind_of_answer_is_among_them() -> None:
    assert {type(answer) for answer in ANSWERS} == set(get_args(Answer))


@pytest.mark.parametrize("checks", [None, CHECKS])
def test_a_request_is_read_as_it_was_written(checks: Checks | None) -> None:
    request = Request(
        work="finish", root="/r", folder="/w", source="models:net",
        inputs=[TensorSpec([1, 8], "float32", 0.0, 1.0)], calibration=None,
        evaluation="models:test_set", seed=7, check_samples=8, quantized_engine="qnnpack",
        has_mobile_python=True,
        variants=[VariantSpec("net.fp32", "fp32", "ptl", {"container": "zip"}, "contiguous")],
        have={"net.fp32": "ab"}, staged=[STAGED], checks=checks,
    )  # fmt: skip
    assert read_request(write_request(request)) == request
