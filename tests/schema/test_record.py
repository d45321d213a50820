from __future__ import annotations

import contextlib
import json
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import BadRecord
from harness.schema import record as records
from harness.schema.job import Channel, Job, Loop, Probe, TensorSource
from harness.schema.record import Interrupted, LaunchRecord, Trace, parse_record, read_record
from tests.fakes.inputs import generate
from tests.fakes.native_programs import build_program
from tests.places import GOLDEN, REPOSITORY

NAMES = ("ok", "failed", "refused", "signal")
WHOLE = {name: (GOLDEN / f"{name}.jsonl").read_bytes() for name in NAMES}


def read_whole(name: str) -> LaunchRecord:
    record = read_record(GOLDEN / f"{name}.jsonl")
    assert isinstance(record, LaunchRecord)
    return record


def with_end(body: bytes, status: str = "ok") -> bytes:
    """Finish a result as the runner would."""
    end = {
        "type": "end",
        "status": status,
        "time_ns": 8000000,
        "records": body.count(b"\n") + 1,
        "bytes": len(body),
        "crc32": zlib.crc32(body),
    }
    return body + json.dumps(end).encode() + b"\n"


def body_of(content: bytes) -> bytes:
    return content[: content.rindex(b"\n", 0, len(content) - 1) + 1]


@pytest.mark.slow
def test_the_runner_writes_the_golden_files_byte_for_byte_also_as_cpp17(tmp_path: Path) -> None:
    program = build_program("golden_records", standard=17)
    subprocess.run([program, GOLDEN / "job.json", tmp_path], check=True)
    for name in NAMES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == WHOLE[name]


def test_the_golden_job_is_a_job_and_comes_back_in_the_header() -> None:
    job = Job.model_validate_json((GOLDEN / "job.json").read_bytes())
    assert read_whole("ok").header.job == job


def test_a_whole_result_is_read_with_everything_in_it() -> None:
    record = read_whole("ok")
    assert record.end.status == "ok"
    assert record.error is None
    assert record.durations_ns("steady").tolist() == [1500, 1600, 1400]
    assert record.durations_ns("cold_load").tolist() == []
    assert record.samples["steady"].counters is not None
    assert record.samples["steady"].counters.minor_faults == 3
    assert record.samples["steady"].counters.iterations == 3
    assert record.actual is not None
    assert record.actual.affinity == (4, 5)
    assert record.operators is not None
    assert record.operators.operators[0].name == "aten::linear"
    assert record.traces[0].values == [31.5, 32.25]
    assert record.sampling is not None
    assert record.sampling.failures[0].reason == "Permission denied"
    mark = record.mark("steady_done")
    assert mark is not None
    assert mark.pss_bytes == 90 << 20
    assert record.mark("never reached") is None


def test_seeded_inputs_are_the_same_bits_in_cpp_and_in_python() -> None:
    record = read_whole("ok")
    assert record.header.job is not None
    assert {output.dtype for output in record.outputs} == {
        "float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"
    }  # fmt: skip
    for output in record.outputs:
        made = generate(record.header.job.inputs[output.index])
        assert made.tobytes() == output.values().tobytes()


def test_a_failure_says_its_kind_and_phase_and_survives_any_bytes_in_the_message() -> None:
    error = read_whole("failed").error
    assert error is not None
    assert (error.kind, error.phase) == ("model_load", "cold_load")
    assert error.message == '"quotes", \\ and \n, Größe, and \ufffd'


def test_a_refused_job_leaves_a_header_without_a_job() -> None:
    record = read_whole("refused")
    assert record.header.job is None
    assert record.error is not None
    assert record.error.kind == "job"


def test_a_crash_leaves_an_error_that_names_the_signal_and_the_phase() -> None:
    error = read_whole("signal").error
    assert error is not None
    assert (error.kind, error.phase) == ("signal", "steady")
    assert "SIGSEGV" in error.message


@pytest.mark.parametrize("name", NAMES)
def test_a_result_cut_at_any_byte_is_interrupted(name: str) -> None:
    content = WHOLE[name]
    for length in range(len(content)):
        assert isinstance(parse_record(content[:length], "cut"), Interrupted), length


@pytest.mark.parametrize("name", NAMES)
def test_a_byte_changed_before_the_end_record_is_found(name: str) -> None:
    content = WHOLE[name]
    for at in range(len(body_of(content)) - 1):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        with pytest.raises(BadRecord):
            parse_record(changed, "changed")


@given(
    name=st.sampled_from(NAMES),
    place=st.floats(0, 1, exclude_max=True),
    remove=st.integers(0, 200),
    insert=st.binary(max_size=200),
)
def test_random_damage_never_changes_what_is_read(
    name: str, place: float, remove: int, insert: bytes
) -> None:
    content = WHOLE[name]
    at = int(place * len(content))
    damaged = content[:at] + insert + content[at + remove :]
    try:
        record = parse_record(damaged, "damaged")
    except BadRecord:
        return
    if isinstance(record, Interrupted):
        return
    # What the checksum cannot cover is the end record itself: of it only the time may differ.
    whole = read_whole(name)
    assert record.end.model_copy(update={"time_ns": whole.end.time_ns}) == whole.end
    assert body_of(damaged) == body_of(content)


@given(st.binary(max_size=300))
def test_random_bytes_are_never_a_result(content: bytes) -> None:
    with contextlib.suppress(BadRecord):
        assert isinstance(parse_record(content, "noise"), Interrupted)


def test_a_result_of_another_version_is_refused_and_says_which() -> None:
    content = WHOLE["ok"].replace(b'"record_version":3', b'"record_version":7', 1)
    with pytest.raises(BadRecord, match="record version 7; this phonebench reads version 3"):
        parse_record(with_end(body_of(content)), "newer.jsonl")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"duration_ns":[1500,1600,1400]', b'"duration_ns":[1500,1600]'),
        (b'"phase":"steady"', b'"phase":"idle"'),
        (b'"minor_faults":3', b'"minor_faults":NaN'),
        (b'"swap_bytes":0,', b""),
        (b'"unit":"celsius"', b'"unit":"celsius","colour":"red"'),
        (b'"type":"trace"', b'"type":"poem"'),
    ],
)
def test_a_whole_result_that_breaks_the_schema_is_refused(old: bytes, new: bytes) -> None:
    body = body_of(WHOLE["ok"])
    assert old in body
    with pytest.raises(BadRecord):
        parse_record(with_end(body.replace(old, new)), "wrong.jsonl")


def test_a_result_without_header_or_with_two_or_with_a_silent_failure_is_refused() -> None:
    body = body_of(WHOLE["ok"])
    header = body[: body.index(b"\n") + 1]
    for wrong in (body[len(header) :], header + body):
        with pytest.raises(BadRecord):
            parse_record(with_end(wrong), "wrong.jsonl")
    with pytest.raises(BadRecord, match="ends as failed with 0 error"):
        parse_record(with_end(body, "failed"), "wrong.jsonl")


def test_an_output_whose_bytes_do_not_fill_its_shape_is_refused() -> None:
    output = read_whole("ok").outputs[0]
    with pytest.raises(BadRecord, match="output 0 of check sample 0"):
        output.model_copy(update={"shape": (3, 5)}).values()


def test_the_documentation_names_every_record_and_every_field() -> None:
    text = (REPOSITORY / "docs" / "record-format.md").read_text()
    models = (
        Job, TensorSource, Loop, Probe, Channel, records.Header, records.Engine, records.Runner,
        records.SeenDevice, records.Clock, records.Mark, records.Actual, records.Samples,
        records.Counters, records.Operators, records.Operator, records.Trace, records.Sampling,
        records.ProbeFailure, records.Output, records.RunnerFault, records.End,
    )  # fmt: skip
    undocumented = {
        f"{model.__name__}.{field}"
        for model in models
        for field in model.model_fields
        if field not in {"type", "low", "high"} and f"`{field}`" not in text
    }
    assert undocumented == set()


# --- what is read off a result -------------------------------------------------------------------


def counter(*readings: tuple[float, float]) -> Trace:
    """Return a counter by (seconds, value)."""
    return Trace(
        type="trace",
        name="cpu0_cycles",
        unit="kilohertz_seconds",
        time_ns=[round(seconds * 1e9) for seconds, _ in readings],
        values=[value for _, value in readings],
    )


def rate(trace: Trace, begin: float, end: float) -> float | None:
    return trace.rate(round(begin * 1e9), round(end * 1e9))


def test_a_counters_rate_over_a_span_is_that_between_the_readings_of_its_ends() -> None:
    # As at marks: just after each of them.
    at_marks = counter((0.1, 0.0), (1.1, 100.0), (3.1, 700.0), (9.0, 701.0))
    assert rate(at_marks, 1.0, 3.0) == pytest.approx(300.0)


def test_a_reading_long_after_the_end_of_a_span_does_not_count_where_one_within_it_does() -> None:
    series = counter((1.0, 100.0), (2.0, 400.0), (3.0, 700.0), (9.0, 701.0))
    assert rate(series, 1.0, 3.5) == pytest.approx(300.0)


def test_a_counter_that_was_not_read_at_both_ends_of_a_span_has_no_rate() -> None:
    assert rate(counter(), 1.0, 3.0) is None
    assert rate(counter((2.0, 5.0)), 1.0, 3.0) is None
    assert rate(counter((4.0, 5.0), (5.0, 6.0)), 6.0, 7.0) is None
    assert rate(counter((2.0, 5.0), (2.0, 6.0)), 1.0, 3.0) is None
