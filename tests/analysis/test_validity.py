"""Validity: what was recorded around a launch, and what it is worth. Every reason, and its absence."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from harness.analysis.rules.rule import LIMITS
from harness.analysis.validity import RULES, judge, may_pass
from harness.schema.device import Conditions
from harness.schema.energy import EnergyTrouble, TroubleKey
from harness.schema.job import Channel, Job, Loop, Pass, Probe, TensorSource
from harness.schema.plan import Plan, parse_plan
from harness.schema.power import CHARGING, PowerSource
from harness.schema.record import LaunchRecord, ProbeFailure, Trace, parse_record
from harness.schema.sweep import LaunchError, LedgerEntry
from harness.schema.validity import Validity
from tests.fakes.device import COUNTERS, LOOP_BEGIN_NS, LOOP_END_NS, good_record
from tests.places import REPOSITORY
from tools.generated_docs import rules

PLAN = parse_plan(
    """
    [plan]
    name = "fake"
    [[model]]
    name = "net"
    source = "nowhere:net"
    inputs = [{ shape = [1, 3] }]
    """,
    "fake.toml",
)
CALM = Conditions(
    unix=1000.0,
    temperature_celsius=30.0,
    clocks_khz=(1_800_000, 2_400_000),
    clock_limits_khz=(1_800_000, 2_400_000),
    battery_percent=80.0,
    charging=True,
    thermal_status=0,
)
WARM_NS, MIDDLE_NS, AFTER_NS = 800_000_001, 1_500_000_000, LOOP_END_NS + 1
SECOND = 1_000_000_000


def make_job(measured_pass: Pass = "latency", threads: int = 1, **changes: Any) -> Job:
    loop = Loop(min_iterations=1, min_seconds=0.0, max_iterations=100, max_seconds=1.0)
    return Job(
        launch="fake-0001-1",
        engine="lite",
        measured_pass=measured_pass,
        model_file="net.ptl",
        threads=threads,
        inputs=(TensorSource(shape=(1, 3)),),
        warmup=loop,
        steady=loop,
        **changes,
    )


def make_record(job: Job | None = None, **changes: Any) -> LaunchRecord:
    record = parse_record(good_record(job or make_job(), **changes), "fake")
    assert isinstance(record, LaunchRecord)
    return record


def make_entry(before: Conditions = CALM, after: Conditions = CALM, **changes: Any) -> LedgerEntry:
    fields: dict[str, Any] = {
        "device": "fake", "case": "net.fp32.lite.t1", "status": "ok", "index": 1, "round": 1,
        "measured_pass": "latency", "before": before, "after": after,
        "started_unix": after.unix - 1.0, "host_ns": SECOND,
    }  # fmt: skip
    return LedgerEntry(**{**fields, **changes})


def hot(**changes: Any) -> Conditions:
    return CALM.model_copy(update=changes)


def trace(name: str, *points: tuple[int, float], unit: str = "kHz") -> Trace:
    times, values = zip(*points, strict=True)
    return Trace(type="trace", name=name, unit=unit, time_ns=list(times), values=list(values))


def keys(validity: Validity) -> list[str]:
    return [reason.key for reason in validity.reasons]


def assert_reason(validity: Validity, key: str, level: str, *, passing: bool) -> None:
    assert keys(validity) == [key]
    (reason,) = validity.reasons
    assert (validity.level, reason.level, reason.passing) == (level, level, passing)
    assert may_pass(validity) == passing
    assert reason.text


def test_a_calm_launch_is_valid_and_needs_no_other_try() -> None:
    validity = judge(make_entry(), make_record(), (), PLAN, (), CALM)
    assert validity == Validity(level="valid")
    assert not may_pass(validity)


def test_a_device_that_tells_nothing_gives_no_reason() -> None:
    nothing = Conditions(unix=1000.0)
    entry = make_entry(before=nothing, after=nothing)
    assert judge(entry, make_record(), (), PLAN, (), nothing).level == "valid"
    assert judge(entry, make_record(), (), PLAN, (), None).level == "valid"


@pytest.mark.parametrize(
    ("kind", "key"), [("WrongOutput", "output-mismatch"), ("RunnerCrashed", "failed")]
)
def test_a_failed_launch_is_invalid_for_good(kind: str, key: str) -> None:
    error = LaunchError(kind=kind, message="it went wrong")
    validity = judge(make_entry(status="failed", error=error), None, (), PLAN)
    assert_reason(validity, key, "invalid", passing=False)


@pytest.mark.parametrize(
    "actual",
    [{"threads": 2}, {"affinity": (0, 1)}, {"memory_format": "channels_last"},
     {"quantized_engine": "fbgemm"}],
)  # fmt: skip
def test_what_is_in_force_must_be_what_was_asked(actual: dict[str, Any]) -> None:
    job = make_job(affinity=(1,), quantized_engine="qnnpack")
    assert judge(make_entry(), make_record(job), (), PLAN).level == "valid"
    validity = judge(make_entry(), make_record(job, actual=actual), (), PLAN)
    assert_reason(validity, "requested-not-actual", "invalid", passing=False)


@pytest.mark.parametrize(
    ("before", "after", "baseline"),
    [
        (CALM, hot(thermal_status=1), CALM),
        (CALM, hot(thermal_status=1), None),
        (hot(thermal_status=1), hot(thermal_status=1), CALM),
        (hot(thermal_status=2), CALM, CALM),
    ],
)
def test_a_thermal_status_that_rose_makes_a_launch_invalid(
    before: Conditions, after: Conditions, baseline: Conditions | None
) -> None:
    validity = judge(make_entry(before, after), make_record(), (), PLAN, (), baseline)
    assert_reason(validity, "status-rose", "invalid", passing=True)


def test_a_device_that_was_warm_when_the_sweep_began_may_stay_so() -> None:
    warm = hot(thermal_status=1)
    assert judge(make_entry(warm, warm), make_record(), (), PLAN, (), warm).level == "valid"


@pytest.mark.parametrize(
    ("before", "after", "baseline"),
    [
        (CALM, hot(clock_limits_khz=(1_800_000, 2_000_000)), CALM),
        (hot(clock_limits_khz=(1_500_000, 2_400_000)), CALM, CALM),
    ],
)
def test_a_limit_on_a_clock_makes_a_launch_invalid(
    before: Conditions, after: Conditions, baseline: Conditions
) -> None:
    validity = judge(make_entry(before, after), make_record(), (), PLAN, (), baseline)
    assert_reason(validity, "clock-limited", "invalid", passing=True)


def test_a_limit_that_came_and_went_within_a_launch_is_found_in_its_traces() -> None:
    limit = trace("cpu1_clock_limit", (WARM_NS, 2.4e6), (MIDDLE_NS, 2.0e6), (AFTER_NS, 2.4e6))
    validity = judge(make_entry(), make_record(traces=[limit]), (), PLAN, (), CALM)
    assert_reason(validity, "clock-limited", "invalid", passing=True)


def test_a_limit_that_moves_by_less_than_what_a_comparison_calls_is_none() -> None:
    less = hot(clock_limits_khz=(1_800_000, 2_340_000))
    assert judge(make_entry(CALM, less), make_record(), (), PLAN, (), CALM).level == "valid"


def _cycles(core: int, warm_khz: float, loop_khz: float) -> Trace:
    begin = 0.2 * warm_khz
    return trace(
        f"cpu{core}_cycles",
        (WARM_NS, 0.0), (LOOP_BEGIN_NS + 1, begin), (AFTER_NS, begin + loop_khz),
        unit="kcycles",
    )  # fmt: skip


def test_a_mean_clock_that_falls_while_measuring_makes_a_launch_invalid() -> None:
    slower = [_cycles(0, 600e3, 600e3), _cycles(1, 2.4e6, 1.9e6)]
    validity = judge(make_entry(), make_record(traces=slower), (), PLAN)
    assert_reason(validity, "clock-moved", "invalid", passing=True)
    steady = [_cycles(0, 600e3, 600e3), _cycles(1, 2.3e6, 2.4e6)]
    assert judge(make_entry(), make_record(traces=steady), (), PLAN).level == "valid"


def test_a_mean_clock_is_no_surer_than_its_ticks_and_never_above_the_highest() -> None:
    """Read over 0.2 s the clock seems 20% too high: its counter had just been brought up to date."""
    cycles = _cycles(0, 2.88e6, 2.35e6)
    assert judge(make_entry(), make_record(traces=[cycles]), (), PLAN).level == "invalid"
    limit = trace("cpu0_clock_limit", (WARM_NS, 2.4e6), (AFTER_NS, 2.4e6))
    assert judge(make_entry(), make_record(traces=[cycles, limit]), (), PLAN).level == "valid"
    within = _cycles(0, 2.4e6, 2.1e6)
    assert judge(make_entry(), make_record(traces=[within]), (), PLAN).level == "valid"


def test_the_clocks_of_cores_that_the_launch_may_not_use_do_not_matter() -> None:
    traces = [_cycles(0, 1.8e6, 1.8e6), _cycles(1, 2.4e6, 600e3)]
    record = make_record(make_job(affinity=(0,)), traces=traces)
    assert judge(make_entry(), record, (), PLAN).level == "valid"


def test_a_mean_clock_that_falls_late_in_a_long_loop_is_found() -> None:
    step = SECOND // 10
    times = [LOOP_BEGIN_NS + n * step for n in range(12)]
    speeds = [0.0] + [2.4e6] * 5 + [1.6e6] * 6
    values = [sum(speeds[: n + 1]) * 0.1 for n in range(12)]
    points = list(zip(times, values, strict=True))
    record = make_record(traces=[trace("cpu0_cycles", *points, unit="kcycles")])
    validity = judge(make_entry(), record, (), PLAN)
    assert_reason(validity, "clock-moved", "invalid", passing=True)


def test_without_time_in_state_the_clocks_that_were_read_are_compared() -> None:
    def read(late_khz: float) -> LaunchRecord:
        points = ((LOOP_BEGIN_NS + 1, 2.4e6), (AFTER_NS, late_khz))
        return make_record(traces=[trace("cpu0_clock", *points)])

    validity = judge(make_entry(), read(1.6e6), (), PLAN)
    assert_reason(validity, "clock-moved", "invalid", passing=True)
    assert judge(make_entry(), read(2.2e6), (), PLAN).level == "valid"


def test_where_clocks_are_counted_a_single_reading_of_one_decides_nothing() -> None:
    half = SECOND // 2
    times = (LOOP_BEGIN_NS + 1, LOOP_BEGIN_NS + half, AFTER_NS)
    read = trace("cpu0_clock", *zip(times, (2.4e6, 1.2e6, 2.4e6), strict=True))
    cycles = trace("cpu0_cycles", *zip(times, (0.0, 1.2e6, 2.4e6), strict=True), unit="kcycles")
    record = make_record(make_job("memory"), traces=[read, cycles])
    assert judge(make_entry(measured_pass="memory"), record, (), PLAN).level == "valid"


def test_clocks_that_fall_after_the_loop_are_no_fall_in_it() -> None:
    """A series is read twice a second: the next reading after the work may be one at rest."""
    step = SECOND // 10
    times = [LOOP_BEGIN_NS + 1 + n * step for n in range(11)]
    speeds = [2.4e6] * 10 + [300e3]
    read = trace("cpu0_clock", *zip(times, speeds, strict=True))
    counted = [sum(speeds[:n]) * 0.1 for n in range(11)]
    counted[10] = counted[9]  # at rest the core stood still
    cycles = trace("cpu0_cycles", *zip(times, counted, strict=True), unit="kcycles")
    for measured_pass in ("memory", "energy"):
        for series in (read, cycles):
            record = make_record(make_job(measured_pass), traces=[series])
            entry = make_entry(measured_pass=measured_pass)
            assert judge(entry, record, (), PLAN).level == "valid"


def test_a_core_that_went_offline_makes_a_launch_invalid_unless_that_was_accepted() -> None:
    fewer = hot(clocks_khz=(1_800_000,), clock_limits_khz=(1_800_000,))
    validity = judge(make_entry(CALM, fewer), make_record(), (), PLAN, (), CALM)
    assert_reason(validity, "cores-offline", "invalid", passing=True)
    accepted = judge(make_entry(CALM, fewer), make_record(), (), PLAN, ("cores-offline",), CALM)
    assert accepted.level == "valid"


def test_a_launch_that_began_before_the_device_had_cooled_is_suspect() -> None:
    validity = judge(make_entry(cooled_seconds=300.0), make_record(), (), PLAN)
    assert_reason(validity, "not-cooled", "suspect", passing=False)
    assert judge(make_entry(cooled_seconds=40.0), make_record(), (), PLAN).level == "valid"


@pytest.mark.parametrize(
    ("threads", "busy_cores", "level"),
    [
        (1, 1.02, "valid"),
        (1, 1.9, "valid"),  # there is a core for the others
        (1, 2.3, "suspect"),
        (2, 1.1, "valid"),
        (2, 1.3, "suspect"),
        (2, 1.9, "invalid"),
    ],
)
def test_others_matter_as_far_as_they_take_cores_from_the_launch(
    threads: int, busy_cores: float, level: str
) -> None:
    busy = trace("cpu_busy", (LOOP_BEGIN_NS, 0.0), (LOOP_END_NS, busy_cores * 1e9), unit="ns")
    record = make_record(make_job(threads=threads), traces=[busy])
    validity = judge(make_entry(), record, (), PLAN)
    assert validity.level == level
    assert keys(validity) == ([] if level == "valid" else ["competing-load"])
    assert judge(make_entry(), record, (), PLAN, ("busy",)).level == "valid"
    assert judge(make_entry(measured_pass="memory"), record, (), PLAN).level == "valid"


def test_a_launch_with_more_threads_than_cores_to_run_on_leaves_the_other_cores_to_others() -> None:
    busy = trace("cpu_busy", (LOOP_BEGIN_NS, 0.0), (LOOP_END_NS, 1.9e9), unit="ns")
    record = make_record(make_job(threads=2, affinity=(0,)), traces=[busy])
    assert judge(make_entry(), record, (), PLAN).level == "valid"


@pytest.mark.parametrize(
    ("threads", "switches", "iterations", "level"),
    [
        (1, 300, 60, "suspect"),
        (1, 300, 100_000, "valid"),  # hardly an inference was hit
        (1, 10, 5, "valid"),  # a second a switch: long inferences
        (2, 5000, 60, "valid"),  # threads that yield to each other
    ],
)
def test_switches_matter_where_they_hit_many_inferences(
    threads: int, switches: int, iterations: int, level: str
) -> None:
    changed = {"involuntary_switches": switches, "iterations": iterations}
    counters = COUNTERS.model_copy(update=changed)
    record = make_record(make_job(threads=threads), counters=counters)
    validity = judge(make_entry(), record, (), PLAN)
    assert validity.level == level
    assert keys(validity) == ([] if level == "valid" else ["involuntary-switches"])
    assert judge(make_entry(), record, (), PLAN, ("busy",)).level == "valid"


def test_a_low_battery_is_suspect_unless_it_was_accepted() -> None:
    low = hot(battery_percent=20.0)
    validity = judge(make_entry(low, low), make_record(), (), PLAN)
    assert_reason(validity, "battery-low", "suspect", passing=False)
    for accepted in ("battery-low", "all"):
        assert judge(make_entry(low, low), make_record(), (), PLAN, (accepted,)).level == "valid"


def test_accepting_what_was_found_before_excuses_no_throttling() -> None:
    validity = judge(make_entry(CALM, hot(thermal_status=2)), make_record(), (), PLAN, ("all",))
    assert keys(validity) == ["status-rose"]


def test_too_few_samples_are_suspect_unless_the_plan_asks_for_no_more() -> None:
    record = make_record(duration_ns=(5, 6, 7))
    assert_reason(
        judge(make_entry(), record, (), PLAN), "too-few-samples", "suspect", passing=False
    )
    content = PLAN.model_dump(exclude_unset=True) | {"measure": {"min_iterations": 3}}
    assert judge(make_entry(), record, (), Plan.model_validate(content)).level == "valid"


@pytest.mark.parametrize(
    ("late", "level"), [(1.3, "suspect"), (0.7, "suspect"), (1.04, "valid"), (1.0, "valid")]
)
def test_times_that_drift_within_a_launch_are_suspect(late: float, level: str) -> None:
    base = [1000 + 7 * (n % 5) for n in range(30)]
    durations = [*base, *base, *(int(late * d) for d in base)]
    validity = judge(make_entry(), make_record(duration_ns=durations), (), PLAN)
    assert validity.level == level
    assert keys(validity) == ([] if level == "valid" else ["drift-within"])


@pytest.mark.parametrize(
    ("measured_pass", "share", "level"),
    [("memory", 0.02, "valid"), ("memory", 0.08, "suspect"), ("latency", 0.05, "valid")],
)
def test_probes_that_cost_much_are_suspect(measured_pass: Pass, share: float, level: str) -> None:
    record = make_record(make_job(measured_pass), sampling_cpu_ns=int(share * 2.2e9))
    validity = judge(make_entry(measured_pass=measured_pass), record, (), PLAN)
    assert validity.level == level
    assert keys(validity) == ([] if level == "valid" else ["probe-cost"])


def test_a_clock_of_the_host_that_stepped_is_suspect() -> None:
    entry = make_entry(started_unix=CALM.unix - 3601.0)
    validity = judge(entry, make_record(), (), PLAN)
    assert_reason(validity, "clock-stepped", "suspect", passing=True)


def test_times_of_a_device_that_go_back_make_a_launch_invalid() -> None:
    back = trace("temperature:skin", (MIDDLE_NS, 30.0), (LOOP_BEGIN_NS, 31.0), unit="celsius")
    for record, sidecar in ((make_record(traces=[back]), ()), (make_record(), (back,))):
        validity = judge(make_entry(), record, sidecar, PLAN)
        assert_reason(validity, "clock-stepped", "invalid", passing=True)


def test_of_two_reasons_of_one_kind_the_graver_counts() -> None:
    back = trace("temperature:skin", (MIDDLE_NS, 30.0), (LOOP_BEGIN_NS, 31.0), unit="celsius")
    entry = make_entry(started_unix=CALM.unix - 3601.0)
    validity = judge(entry, make_record(traces=[back]), (), PLAN)
    assert_reason(validity, "clock-stepped", "invalid", passing=True)


def test_a_sensor_that_stops_is_suspect_and_one_that_never_worked_is_not() -> None:
    failures = [ProbeFailure(channel="temperature:skin", count=3, reason="No such file")]
    early = trace("temperature:skin", (WARM_NS, 30.0), unit="celsius")
    late = trace("temperature:skin", (WARM_NS, 30.0), (AFTER_NS, 31.0), unit="celsius")
    stopped = judge(make_entry(), make_record(traces=[early], failures=failures), (), PLAN)
    assert_reason(stopped, "sensor-lost", "suspect", passing=True)
    for traces in ([], [late]):  # a gap is no loss
        record = make_record(traces=traces, failures=failures)
        assert judge(make_entry(), record, (), PLAN).level == "valid"


def test_a_series_with_a_gap_is_not_lost_because_no_reading_was_due_when_the_loop_ended() -> None:
    channel = Channel(name="temperature:skin", unit="celsius")
    probe = Probe(file="temp", period_seconds=0.5, channels=(channel,))
    failures = [ProbeFailure(channel="temperature:skin", count=1, reason="No such file")]

    def judge_last(last_ns: int) -> Validity:
        skin = trace("temperature:skin", (WARM_NS, 30.0), (last_ns, 30.0), unit="celsius")
        job = make_job("memory", probes=(probe,))
        record = make_record(job, traces=[skin], failures=failures)
        return judge(make_entry(measured_pass="memory"), record, (), PLAN)

    assert judge_last(LOOP_END_NS - 400_000_000).level == "valid"
    assert keys(judge_last(LOOP_END_NS - 600_000_000)) == ["sensor-lost"]


GAUGE = PowerSource(
    kind="gauge",
    name="fuel gauge (made up)",
    sees_charging=True,
    probes=(Probe(file="current_now", channels=(Channel(name="battery_current", unit="raw"),)),),
)


def judge_energy(answer: EnergyTrouble | None, entry: LedgerEntry, **changes: Any) -> Validity:
    entry = entry.model_copy(update={"energy": answer})
    return judge(entry, make_record(make_job("energy"), **changes), (), PLAN)


@pytest.mark.parametrize(
    ("key", "passing"),
    [("gauge-gaps", True), ("gauge-jump", True), ("baseline-moved", True),
     ("gauge-constant", False), ("not-calibrated", False), ("no-power-trace", False)],
)  # fmt: skip
def test_trouble_with_energy_makes_a_launch_invalid(key: TroubleKey, passing: bool) -> None:
    entry = make_entry(hot(charging=False), hot(charging=False), power=GAUGE)
    entry = entry.model_copy(update={"measured_pass": "energy"})
    trouble = EnergyTrouble(key=key, text="what was seen")
    validity = judge_energy(trouble, entry)
    assert_reason(validity, key, "invalid", passing=passing)


def test_energy_from_a_battery_that_charges_is_invalid_and_the_trace_knows_best() -> None:
    entry = make_entry(measured_pass="energy", power=GAUGE)  # CALM says: charging
    validity = judge_energy(None, entry)
    assert_reason(validity, "charging", "invalid", passing=False)
    for status in (0.0, 1.0):  # 1 is what a phone says, too, whose charging is suspended
        told = trace(CHARGING, (WARM_NS, status), (AFTER_NS, status), unit="boolean")
        assert judge_energy(None, entry, traces=[told]).level == "valid"
    trouble = EnergyTrouble(key="charging", text="see its current")
    assert keys(judge_energy(trouble, entry, traces=[told])) == ["charging"]
    charged = judge(entry, make_record(make_job("energy")), (), PLAN, ("all",))
    assert keys(charged) == ["charging"], "what was not measured cannot be accepted"
    alone = entry.model_copy(update={"before": None})
    assert judge_energy(None, alone).level == "valid", "it is back on its cable"
    rails = GAUGE.model_copy(update={"kind": "rails", "sees_charging": False})
    behind = entry.model_copy(update={"power": rails})
    assert judge_energy(None, behind).level == "valid"


@pytest.mark.parametrize(("charging", "passing"), [("auto", True), ("as-is", False)])
def test_a_charger_that_came_may_go_unless_the_plan_left_it_there(
    charging: str, passing: bool
) -> None:
    device = PLAN.device.model_copy(update={"energy_charging": charging})
    plan = PLAN.model_copy(update={"device": device})
    off, trouble = hot(charging=False), EnergyTrouble(key="charging", text="plugged in")
    entry = make_entry(off, off, measured_pass="energy", power=GAUGE, energy=trouble)
    validity = judge(entry, make_record(make_job("energy")), (), plan)
    assert_reason(validity, "charging", "invalid", passing=passing)


def test_a_recorder_that_failed_may_work_at_another_try() -> None:
    source = GAUGE.model_copy(update={"sees_charging": False})
    entry = make_entry(measured_pass="energy", power=source)
    trouble = EnergyTrouble(key="recorder-failed", text="the meter is gone")
    assert_reason(judge_energy(trouble, entry), "recorder-failed", "invalid", passing=True)


def test_whatever_keeps_a_launch_from_an_energy_is_a_rule() -> None:
    entry = make_entry(measured_pass="energy", power=GAUGE.model_copy(update={"sees_charging": 0}))
    for key in get_args(TroubleKey):
        trouble = EnergyTrouble(key=key, text="what was seen")
        assert keys(judge_energy(trouble, entry)) == [key]


def test_the_gravest_reason_stands_first_and_one_that_stays_forbids_another_try() -> None:
    entry = make_entry(hot(battery_percent=5.0), hot(thermal_status=2))
    validity = judge(entry, make_record(), (), PLAN)
    assert keys(validity) == ["status-rose", "battery-low"]
    assert validity.level == "invalid"
    assert not may_pass(validity)


def test_every_rule_has_one_row_with_all_its_words() -> None:
    assert len({rule.key for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.key)
        assert rule.label
        assert rule.advice.endswith(".")


def test_the_docs_name_every_reason_and_every_limit() -> None:
    page = (REPOSITORY / "docs/validity.md").read_text()
    assert rules() in page
    accepted = page.partition("## What can be accepted")[2]
    excused = {key for rule in RULES if rule.excused_by for key in (rule.key, rule.excused_by)}
    assert set(re.findall(r"`([\w-]+)`", accepted)) - {"all", "--accept"} == excused
    limits = [
        f"{LIMITS.clock_fall:.0%} of a highest clock",
        f"{LIMITS.mean_clock_fall:.0%} of a mean clock",
        f"{LIMITS.clock_reading_fall:.0%} of a clock that was read",
        f"{LIMITS.skin_celsius:g} °C, {LIMITS.die_celsius:g} °C",
        f"{LIMITS.battery_percent:g}% of the battery",
        f"{LIMITS.crowded_cores:g} and {LIMITS.overrun_cores:g} of a core",
        f"{LIMITS.involuntary_switches:g} switches a second",
        f"once in {1 / LIMITS.interrupted_share:g} inferences",
        f"{LIMITS.samples} samples",
        f"{LIMITS.probe_share_beside:.0%} of a core for probes",
        f"{LIMITS.drift_share:.0%} of drift",
        f"{LIMITS.clock_step_seconds:g} s",
    ]
    told = re.findall(r"^\| ([^`|]+) \| [^|]+ \|$", page, flags=re.MULTILINE)
    assert [limit for limit in told if limit not in ("limit", "---")] == limits
