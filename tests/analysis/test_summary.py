"""Summing a sweep up: what counts, what does not, what is doubted, and how it is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import doubts, metrics
from harness.analysis.case_energy import compare_energies, describe_source
from harness.analysis.cases import SweepSummary
from harness.analysis.comparisons import by_round
from harness.analysis.stats import Estimate
from harness.analysis.summary import estimate_all, summarise
from harness.analysis.validity import LABELS, REASON_ADVICE
from harness.analysis.words import (
    Unit,
    bounds,
    estimate_words,
    percent,
    plural,
    quantity,
    ratio_words,
    scale_of,
    significant,
    speed_words,
)
from harness.report.verdict import judge
from harness.results.folder import Sweep, read_sweep
from harness.schema.energy import Energy
from harness.schema.job import Pass
from harness.schema.record import LaunchRecord, read_record
from harness.schema.sweep import LedgerEntry, PlannedLaunch
from harness.schema.validity import Validity
from tests.fakes.sweeps import (
    IDLE_WATTS,
    NET_WATTS,
    GaugeTrouble,
    Shape,
    make_device,
    make_source,
    true_joules,
    true_latency_ns,
    write_sweep,
)

QUIET = Shape(
    models=("digits",),
    recipes=("fp32", "int8-static"),
    threads=(1,),
    device_names=("desk",),
    troubles=False,
)


ENERGY = replace(QUIET, passes=("latency", "memory", "energy"), device_names=("desk", "Pixel 6"))


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return read_sweep(write_sweep(tmp_path_factory.mktemp("sweep") / "troubled", Shape()))


def summed(folder: Path, shape: Shape) -> SweepSummary:
    return summarise(read_sweep(write_sweep(folder / "sweep", shape)))


def latency_medians(sweep: Sweep, device: str, case: str) -> list[float]:
    """Read the launches again, without the code under test."""
    medians = []
    for entry in sweep.entries:
        if (entry.device, entry.case, entry.status) != (device, case, "ok"):
            continue
        if entry.measured_pass == "latency" and entry.file is not None:
            record = read_record(sweep.folder / entry.file)
            assert isinstance(record, LaunchRecord)
            medians.append(float(np.median(record.durations_ns("steady"))))
    return medians


def test_every_case_of_the_plan_has_a_row_on_every_device(troubled: Sweep) -> None:
    summary = summarise(troubled)
    for device in summary.devices:
        assert [case.id for case in device.cases] == list(troubled.cases())


def test_a_latency_is_the_median_of_the_medians_of_the_ok_launches(troubled: Sweep) -> None:
    for device in summarise(troubled).devices:
        for case in device.cases:
            medians = latency_medians(troubled, device.info.id, case.id)
            if case.latency is None:
                assert not medians
                continue
            assert case.latency.median * 1e6 == pytest.approx(np.median(medians))
            assert case.latency.launches == len(medians)


def test_latencies_lie_near_the_truth_behind_them(troubled: Sweep) -> None:
    for place, device in enumerate(summarise(troubled).devices):
        for case in device.cases:
            if case.latency is not None:
                truth = true_latency_ns(Shape(), case.case, place)
                assert case.latency.median * 1e6 == pytest.approx(truth, rel=0.03)


def test_a_launch_that_failed_or_was_interrupted_stays_and_does_not_count(troubled: Sweep) -> None:
    device = summarise(troubled).devices[0]
    bad = [launch for launch in device.launches if launch.measured is None]
    assert {launch.entry.status for launch in bad} == {"failed", "interrupted"}
    for launch in bad:
        assert launch.reason
        case = next(case for case in device.cases if case.id == launch.entry.case)
        assert case.status == "ok"
        assert case.latency is not None
        assert case.latency.launches == 9


def test_a_skipped_case_says_why_and_what_to_do(troubled: Sweep) -> None:
    skipped = [case for case in summarise(troubled).devices[0].cases if case.status == "skipped"]
    assert len(skipped) == 2
    assert all("calibration data" in case.reason and case.advice for case in skipped)


def test_memory_comes_from_the_memory_pass_and_times_from_the_latency_pass(
    troubled: Sweep,
) -> None:
    case = summarise(troubled).devices[0].cases[0]
    assert case.latency is not None
    assert (case.estimates["peak_bytes"].launches, case.latency.launches) == (3, 10)
    assert metrics.PEAK_DEFINITION == "max(vm_hwm, rss + swap)"
    assert case.estimates["model_bytes"].median == 20e6


def test_speedups_are_over_the_first_recipe_with_all_else_equal(troubled: Sweep) -> None:
    for case in summarise(troubled).devices[1].cases:
        assert case.baseline_recipe == "fp32"
        if case.case.variant.recipe == "fp32":
            assert case.baseline == case.id
            assert not case.comparisons
        elif case.case.variant.recipe == "fp32-frozen" and case.latency is not None:
            assert case.baseline == case.id.replace("fp32-frozen", "fp32")
            faster = case.comparisons["latency_p50_ms"]
            assert faster.ratio is not None
            assert 1 / faster.ratio.median == pytest.approx(1.3, rel=0.03)
            assert faster.outcome == "better"


def test_a_case_whose_only_launches_are_lost_has_their_status(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    for path in (folder / "launches").rglob("*int8*"):
        path.write_bytes(path.read_bytes()[:-30])
    case = summarise(read_sweep(folder)).devices[0].cases[1]
    assert case.status == "interrupted"
    assert "sha256" in case.reason
    assert case.latency is None


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_text("nonsense\n")],
    ids=["gone", "empty", "changed"],
)
def test_a_result_that_is_not_what_the_ledger_saw_does_not_count(
    tmp_path: Path, damage: object
) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    damage(min((folder / "launches").rglob("*fp32*.jsonl")))  # type: ignore[operator]
    case = summarise(read_sweep(folder)).devices[0].cases[0]
    assert case.latency is not None
    assert case.latency.launches == 9
    assert "lost_launches" in case.flags


def test_a_sweep_that_has_not_begun_has_rows_that_say_so(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    (folder / "ledger.jsonl").unlink()
    (folder / "artifacts.json").unlink()
    summary = summarise(read_sweep(folder))
    assert {case.status for case in summary.devices[0].cases} == {"not run"}
    assert summary.findings[0].key == "unfinished"
    assert judge(summary.devices[0], "digits").headline == "nothing was measured"


def test_a_retry_is_counted_once_and_both_attempts_are_kept(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    first = read_sweep(folder).entries[0]
    lost = LedgerEntry(
        device=first.device, case=first.case, status="interrupted", index=first.index,
        round=first.round, measured_pass=first.measured_pass, attempt=1,
    )  # fmt: skip
    again = first.model_copy(update={"attempt": 2})
    lines = (folder / "ledger.jsonl").read_text().splitlines()[1:]
    texts = [entry.model_dump_json(exclude_defaults=True) for entry in (lost, again)]
    (folder / "ledger.jsonl").write_text("\n".join([*texts, *lines]) + "\n")
    device = summarise(read_sweep(folder)).devices[0]
    case = next(case for case in device.cases if case.id == first.case)
    assert device.unfinished == 0
    assert len(case.bad_launches()) == 1
    assert case.latency is not None
    assert case.latency.launches == 10


DOUBTS = {
    "few_launches": replace(QUIET, rounds=4),
    "varying_launches": replace(QUIET, launch_noise=0.2),
    "drifting_device": replace(QUIET, drift_per_round=0.01),
    "drifting_cases": replace(QUIET, drift_per_round=0.01),
    "bimodal_cases": replace(QUIET, two_groups=True),
    "busy_cores": replace(QUIET, samples=300, involuntary_switches_per_second=60.0),
    "wrong_outputs": replace(QUIET, outputs_are_wrong=True),
    "warm_cold_loads": replace(QUIET, resident_fraction=1.0),
    "few_iterations": replace(QUIET, samples=20),
    "no_memory_pass": replace(QUIET, passes=("latency",)),
    "host_is_no_phone": QUIET,
    "clocks_vary": replace(QUIET, governor="schedutil"),
    "clocks_unknown": replace(QUIET, governor=None, clocks_are_known=False),
    "loaded_at_start": replace(QUIET, load_1min=3.0),
    "unfinished": replace(QUIET, launches_missing=2),
    "few_evaluation_samples": replace(QUIET, evaluation_samples=50),
    "lost_launches": replace(QUIET, troubles=True),
    "not_valid": replace(QUIET, not_valid_every=4),
    "leaks": replace(QUIET, leak_bytes_per_inference=1024.0),
    "energy_refused": replace(ENERGY, energy_is_refused=True),
    "no_energy": replace(ENERGY, gauge_trouble="nothing"),
    "energy_not_compared": replace(ENERGY, gauge_trouble="no idle to tell"),
    "sampling_costs": replace(QUIET, sampling_share=0.02),
}


@pytest.mark.parametrize("key", DOUBTS)
def test_a_doubt_is_found_in_data_that_have_it_and_comes_with_advice(
    tmp_path: Path, key: str
) -> None:
    findings = {finding.key: finding for finding in summed(tmp_path, DOUBTS[key]).findings}
    assert key in findings
    assert findings[key].advice
    if findings[key].cases:
        assert key in doubts.LABELS
        assert findings[key].details


def test_a_quiet_sweep_raises_no_warning(tmp_path: Path) -> None:
    summary = summed(tmp_path, QUIET)
    assert [finding.key for finding in summary.findings] == ["host_is_no_phone"]
    assert all(case.flags == () for case in summary.devices[0].cases)


def test_only_valid_launches_count_and_the_others_stay_with_their_reasons(tmp_path: Path) -> None:
    shape = replace(QUIET, not_valid_every=5)
    sweep = read_sweep(write_sweep(tmp_path / "sweep", shape))
    valid = {(e.case, e.index) for e in sweep.entries if e.validity and e.validity.level == "valid"}
    for case in summarise(sweep).devices[0].cases:
        timed = [one for one in case.launches if one.measured_pass == "latency"]
        counting = [one for one in timed if (one.entry.case, one.index) in valid]
        medians = [one.values["latency_p50_ms"] for one in counting]
        assert case.latency is not None
        assert case.latency.launches == len(counting) == 8
        assert case.latency.median == np.median(np.array(medians, dtype=float))
        latency = metrics.find("latency_p50_ms")
        assert set(by_round(latency, case.launches)) == {one.round for one in counting}
        doubtful = case.doubtful_launches()
        assert len(doubtful) + case.valid_launches == len(case.launches)
        assert all(one.measured and one.validity.reasons for one in doubtful)


def test_a_case_without_a_valid_launch_is_a_row_with_the_commonest_reason(tmp_path: Path) -> None:
    shape = replace(QUIET, rounds=1, not_valid_every=2)
    for case in summed(tmp_path, shape).devices[0].cases:
        assert case.status == "no valid launch"
        told = {reason.text for one in case.launches for reason in one.validity.reasons}
        assert case.reason in told
        assert case.advice
        assert case.latency is None


UNTIMED = replace(
    ENERGY, rounds=3, not_valid_every=1, not_valid_passes=("latency",), device_names=("desk",)
)


def test_memory_and_energy_stand_where_no_latency_launch_counts(tmp_path: Path) -> None:
    summary = summed(tmp_path, UNTIMED)
    for case in summary.devices[0].cases:
        assert case.status == "no valid latency"
        assert case.reason in {
            reason.text
            for one in case.launches
            if one.measured_pass == "latency"
            for reason in one.validity.reasons
        }
        assert case.advice
        assert case.valid_launches == 6
        assert case.latency is None
        assert "latency_p50_ms" not in case.comparisons
        assert "peak_bytes" in case.estimates
        assert case.energy is not None
        assert ("energy_joules" in case.comparisons) == (case.baseline != case.id)
    verdict = judge(summary.devices[0], "digits")
    assert verdict.headline == "no latency launch counts"
    assert verdict.rest == summary.devices[0].cases[0].reason


def test_a_case_whose_latency_launches_alone_are_lost_has_the_numbers_of_the_others(
    tmp_path: Path,
) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    for entry in read_sweep(folder).entries:
        if entry.measured_pass == "latency" and entry.file is not None:
            path = folder / entry.file
            path.write_bytes(path.read_bytes()[:-30])
    device = summarise(read_sweep(folder)).devices[0]
    for case in device.cases:
        assert case.status == "no valid latency"
        assert "sha256" in case.reason
        assert "peak_bytes" in case.estimates
    assert judge(device, "digits").headline == "no latency launch counts"


@pytest.mark.parametrize("measured_pass", ["memory", "energy", "profile"])
def test_a_verdict_on_a_sweep_without_a_latency_pass_says_that_alone(
    tmp_path: Path, measured_pass: Pass
) -> None:
    device = summed(tmp_path, replace(QUIET, passes=(measured_pass,), rounds=1)).devices[0]
    assert {case.status for case in device.cases} == {"ok"}
    verdict = judge(device, "digits")
    assert (verdict.headline, verdict.rest) == ("latency was not measured", "")


def test_a_valid_retry_counts_beside_the_attempt_that_does_not(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", replace(QUIET, not_valid_every=5))
    lines = list(read_sweep(folder).entries)
    retries = [
        entry.model_copy(update={"attempt": 2, "validity": Validity(level="valid")})
        for entry in lines
        if entry.validity and entry.validity.level != "valid"
    ]
    texts = [entry.model_dump_json(exclude_defaults=True) + "\n" for entry in lines + retries]
    (folder / "ledger.jsonl").write_text("".join(texts))
    for case in summarise(read_sweep(folder)).devices[0].cases:
        assert case.latency is not None
        assert case.latency.launches == 10
        assert len(case.launches) - case.valid_launches == len(case.doubtful_launches()) > 0


def test_energies_are_net_of_idle_and_their_intervals_hold_the_truth(tmp_path: Path) -> None:
    for place, device in enumerate(summed(tmp_path, ENERGY).devices):
        for case in device.cases:
            assert case.energy is not None
            joules = case.energy.joules
            assert joules.median == pytest.approx(true_joules(ENERGY, case.case, place), rel=0.03)
            assert joules.launches == 3
            assert case.estimates["energy_joules"] == joules
            watts = {name: case.estimates[name].median for name in ("net_watts", "block_watts")}
            assert watts["net_watts"] == pytest.approx(NET_WATTS, rel=0.02)
            assert watts["block_watts"] == pytest.approx(NET_WATTS + IDLE_WATTS, rel=0.02)
            assert case.energy.source.kind == ("rapl" if place == 0 else "gauge")
            if case.baseline == case.id:
                assert not case.comparisons
            else:
                ratio = case.comparisons["energy_joules"].ratio
                assert ratio is not None
                assert ratio.median == pytest.approx(1 / 2.1, rel=0.05)


def test_many_launches_do_not_make_the_scale_of_a_gauge_any_surer(tmp_path: Path) -> None:
    launches = summed(tmp_path, ENERGY).devices[1].cases[0].launches
    measured = [one for one in launches if one.measured_pass == "energy"]
    alike = estimate_all([measured[0]] * 100)["energy_joules"]
    assert measured[0].measured is not None
    alone = measured[0].measured.energy
    assert isinstance(alone, Energy)
    assert alike.launches == 100
    assert alike.low == pytest.approx(alone.low_joules)
    assert alike.high == pytest.approx(alone.high_joules)


def test_the_scale_of_a_gauge_cancels_where_two_cases_share_it(tmp_path: Path) -> None:
    cases = summed(tmp_path, ENERGY).devices[1].cases
    unsure = []
    for case in cases:
        assert case.energy is not None
        joules = case.energy.joules
        wide = 0.5 * joules.median
        assert joules.low is not None
        assert joules.high is not None
        unsure.append(
            replace(
                case.energy,
                shares={"scale": wide},
                joules=replace(
                    joules,
                    low=joules.median - float(np.hypot(wide, joules.median - joules.low)),
                    high=joules.median + float(np.hypot(wide, joules.high - joules.median)),
                ),
            )
        )
    compared = compare_energies(metrics.find("energy_joules"), unsure[0], unsure[1])
    assert compared is not None
    ratio = compared.ratio
    assert ratio is not None
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.high / ratio.low < 1.2


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("other source", "other sources of power"),
        ("recalibrated", "another calibration"),
        ("no idle to tell", "not told from idle"),
    ],
)
def test_energies_that_differ_in_kind_are_not_compared(
    tmp_path: Path, trouble: GaugeTrouble, words: str
) -> None:
    shape = replace(ENERGY, gauge_trouble=trouble, rounds=1)
    sweep = read_sweep(write_sweep(tmp_path / "sweep", shape))
    cases = summarise(sweep).devices[1].cases
    compared = [case.comparisons["energy_joules"] for case in cases if case.comparisons]
    assert compared
    assert compared[0].ratio is None
    assert words in compared[0].withheld


@pytest.mark.parametrize("trouble", ["nothing", "constant"])
def test_a_gauge_that_cannot_be_believed_gives_no_energy_but_a_reason(
    tmp_path: Path, trouble: GaugeTrouble
) -> None:
    for case in summed(tmp_path, replace(ENERGY, gauge_trouble=trouble)).devices[1].cases:
        assert case.status == "ok"
        assert case.energy is None
        assert case.energy_trouble


def test_energy_that_was_refused_is_told_once_and_with_the_way_out(tmp_path: Path) -> None:
    summary = summed(tmp_path, replace(ENERGY, energy_is_refused=True, device_names=("desk",)))
    told = [finding for finding in summary.findings if "refused" in finding.text]
    assert [finding.key for finding in told] == ["energy_refused"]
    assert "phonebench calibrate" in told[0].advice
    assert "lost_launches" not in {finding.key for finding in summary.findings}


def test_a_leak_is_stated_an_inference_and_a_steady_memory_is_not(tmp_path: Path) -> None:
    leaking = replace(QUIET, leak_bytes_per_inference=1024.0)
    case = summed(tmp_path / "leaking", leaking).devices[0].cases[0]
    growth = case.estimates["growth_bytes_per_inference"]
    assert case.grows
    assert growth.median == pytest.approx(1024, rel=0.05)
    words = estimate_words(growth, "bytes/inference")
    assert re.fullmatch(r"1\.0\d KB an inference \[[\d., ]+\]", words)
    steady = summed(tmp_path / "steady", QUIET).devices[0].cases[0]
    assert not steady.grows


def test_there_is_advice_on_everything_that_can_speak_against_a_launch() -> None:
    assert set(LABELS) <= set(REASON_ADVICE)


def test_a_source_of_power_is_named_with_what_is_known_of_it() -> None:
    phone = make_device("Pixel 6", 1)
    gauge = make_source(
        ENERGY, phone, PlannedLaunch(index=2, round=1, case="", measured_pass="energy")
    )
    assert describe_source(gauge) == (
        "fuel gauge (/sys/class/power_supply/battery), calibrated 2025-10-08, refresh 1.0 s, "
        "quantum 1.0 mA"
    )
    assert describe_source(gauge.model_copy(update={"calibration": None})).endswith(
        "not calibrated"
    )


@pytest.mark.parametrize(
    ("joules", "unit"),
    [([2.0, 0.1], "J"), ([0.02], "mJ"), ([2e-5], "µJ"), ([0.0], "µJ"), ([], "µJ")],
)
def test_energies_of_a_model_share_a_unit_that_suits_the_largest(
    joules: list[float], unit: str
) -> None:
    assert scale_of("J", joules).name == unit


def test_a_torn_ledger_is_the_first_thing_said(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", QUIET)
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    findings = summarise(read_sweep(folder)).findings
    assert [finding.key for finding in findings[:2]] == ["torn_ledger", "unfinished"]


def test_the_verdict_names_the_fastest_and_by_how_much(troubled: Sweep) -> None:
    verdict = judge(summarise(troubled).devices[0], "digits")
    assert verdict.headline == "int8-static (lite, 2 threads) is the fastest"
    assert re.fullmatch(r"0\.2\d\d ms \[0\.2\d\d, 0\.2\d\d\]", verdict.latency)
    assert "faster than fp32 with as many threads" in verdict.rest
    assert "accuracy 96.9% (fp32: 98.1%)" in verdict.rest


def test_the_verdict_does_not_choose_between_equals(tmp_path: Path) -> None:
    shape = replace(QUIET, recipes=("fp32", "prune-l1-50"))
    verdict = judge(summed(tmp_path, shape).devices[0], "digits")
    assert "has the least median" in verdict.headline
    assert "no difference shown to" in verdict.rest


def test_few_launches_make_no_winner(tmp_path: Path) -> None:
    verdict = judge(summed(tmp_path, replace(QUIET, rounds=3)).devices[0], "digits")
    assert "has the least median" in verdict.headline
    assert "range" in verdict.latency
    assert "too few launches to tell it from 1 other" in verdict.rest
    assert (
        " ;"
        not in judge(summed(tmp_path / "one", replace(QUIET, rounds=1)).devices[0], "digits").rest
    )
    assert "no difference shown" not in verdict.rest


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0"), (12.345, "12.3"), (9.999, "10.0"), (0.012345, "0.0123"), (12345.0, "12300"),
     (-1.5, "-1.50"), (99.96, "100"), (999.9, "1000")],
)  # fmt: skip
def test_numbers_have_three_significant_digits(value: float, words: str) -> None:
    assert significant(value) == words


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_a_shown_number_is_within_half_a_percent_of_the_real_one(value: float) -> None:
    assert float(significant(value)) == pytest.approx(value, rel=0.0051)


def test_words_for_speedups_say_which_way_and_how_sure() -> None:
    assert speed_words(Estimate(1 / 1.834, 1 / 1.88, 1 / 1.79, "interval", 10)) == (
        "1.83× faster",
        "[1.79, 1.88]",
    )
    assert speed_words(Estimate(2.0, 1.25, 2.5, "interval", 10)) == (
        "2.00× slower",
        "[1.25, 2.50]",
    )
    assert speed_words(Estimate(0.99, 0.97, 1.01, "interval", 10))[0] == "no difference shown"
    assert speed_words(Estimate(1 / 2.0, 1 / 2.1, 1 / 1.9, "range", 3)) == (
        "2.00× faster",
        "range 1.90–2.10",
    )


def test_words_for_other_ratios_say_the_ratio() -> None:
    assert ratio_words(Estimate(0.483, 0.46, 0.51, "interval", 10)) == ("0.483×", "[0.460, 0.510]")
    assert ratio_words(Estimate(0.99, 0.97, 1.01, "interval", 10))[0] == "no difference shown"


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (12.34, "ms", "12.3 ms"), (60_000_000, "bytes", "60.0 MB"), (2_800_000, "kHz", "2.80 GHz"),
        (1024, "bytes/inference", "1.02 KB an inference"), (0.99, "1", "0.990"),
        (48, "bytes/inference", "48.0 B an inference"), (0.0021, "J", "2.10 mJ"),
    ],
)  # fmt: skip
def test_a_number_is_written_in_a_unit_that_suits_it(value: float, unit: Unit, words: str) -> None:
    assert quantity(value, scale_of(unit, [value])) == words


def test_small_words() -> None:
    assert (plural(1, "case"), plural(2, "case"), plural(2, "launch", "launches")) == (
        "1 case",
        "2 cases",
        "2 launches",
    )
    assert (percent(0.0312), percent(1.0)) == ("3.1%", "100.0%")
    assert bounds(Estimate(1.0, None, None, "single", 1)) == ""
