"""Whole sweep folders with invented numbers, written through the real models of the harness.

The noise has the shape of the real one: iterations are autocorrelated (AR(1)), launches differ
from one another, a few iterations are slow. The truth behind a case is `true_latency_ns`.
Not here: anything that the harness itself would need.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from harness.analysis.energy import measure_energy
from harness.schema.artifact import Accuracy, Artifact, ExportedModel, Fidelity, Manifest
from harness.schema.device import Conditions, DeviceInfo
from harness.schema.job import Job, Loop, Pass, TensorSource
from harness.schema.plan import Case, Plan, make_plan, slug
from harness.schema.power import (
    CURRENT,
    METER_POWER,
    RAPL_ENERGY,
    VOLTAGE,
    Calibration,
    PowerSource,
)
from harness.schema.record import (
    Clock,
    Counters,
    Header,
    LaunchRecord,
    Operator,
    Operators,
    Phase,
    Runner,
    Samples,
    Trace,
    parse_record,
    write_sidecar,
)
from harness.schema.sweep import (
    SWEEP_VERSION,
    ArtifactsFile,
    Host,
    LaunchError,
    LedgerEntry,
    PlannedLaunch,
    SweepFile,
)
from harness.schema.validity import Reason, Validity
from tests.fakes.records import (
    RecordBuilder,
    make_counters,
    make_header,
    make_samples,
    make_seen_device,
)

CREATED_UNIX = 1_760_000_000.0
MEGABYTE = 1_000_000
SPEEDUP = {
    "fp32": 1.0,
    "fp32-frozen": 1.3,
    "fp16": 0.9,
    "int8-dynamic": 1.05,
    "int8-static": 2.1,
    "prune-channels-50": 1.7,
}
SHRINKING = {"int8-dynamic": 0.6, "int8-static": 0.27, "fp16": 0.5, "prune-channels-50": 0.3}
ACCURACY = {"int8-dynamic": 0.978, "int8-static": 0.969, "prune-channels-50": 0.931}


GaugeTrouble = Literal["nothing", "constant", "recalibrated", "other source", "no idle to tell"]

IDLE_WATTS = 0.8
NET_WATTS = 2.5
BASELINE_SECONDS, BLOCK_SECONDS = 15, 60


@dataclass(frozen=True)
class Shape:
    """What a synthetic sweep holds."""

    models: tuple[str, ...] = ("digits", "mobilenet")
    recipes: tuple[str, ...] = ("fp32", "fp32-frozen", "int8-dynamic", "int8-static")
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 10
    samples: int = 120
    passes: tuple[Pass, ...] = ("latency", "memory")
    device_names: tuple[str, ...] = ("build-server", "Pixel 6")
    plan_name: str = "mobilenet, four recipes"
    evaluated: tuple[str, ...] = ("digits",)
    troubles: bool = True
    launches_missing: int = 0
    drift_per_round: float = 0.0
    launch_noise: float = 0.015
    two_groups: bool = False
    resident_fraction: float = 0.0
    involuntary_switches_per_second: float = 2.0
    load_1min: float = 0.3
    governor: str | None = "performance"
    clocks_are_known: bool = True
    evaluation_samples: int = 360
    outputs_are_wrong: bool = False
    operator_names: tuple[str, ...] = ()
    note: str = "2 of 5 layers are quantized"
    gauge_trouble: GaugeTrouble | None = None
    gauge_name: str = "fuel gauge (/sys/class/power_supply/battery)"
    energy_is_refused: bool = False
    leak_bytes_per_inference: float = 0.0
    not_valid_every: int = 0
    not_valid_passes: tuple[Pass, ...] = ("latency", "memory", "energy", "profile")
    zone_names: tuple[str, ...] = ("skin", "battery", "cpu-1-0-usr")
    cores_followed: int = 8
    sampling_share: float = 0.001
    seed: int = 7


def make_synthetic_plan(shape: Shape) -> Plan:
    """Return the plan that a sweep of this shape claims to have run."""
    return make_plan(
        {
            "plan": {"name": shape.plan_name, "rounds": shape.rounds, "seed": shape.seed},
            "model": [
                {
                    "name": name,
                    "source": "examples.digits:trained",
                    "inputs": [{"shape": [1, 1, 32, 32]}],
                    "evaluation": "examples.digits:test_set" if name in shape.evaluated else None,
                }
                for name in shape.models
            ],
            "matrix": {"recipe": list(shape.recipes), "threads": list(shape.threads)},
            "measure": {"passes": list(shape.passes), "min_iterations": shape.samples},
        },
        "the synthetic plan",
    )


def true_latency_ns(shape: Shape, case: Case, device: int = 0) -> float:
    """Return the latency that the noise of a case lies around."""
    size = 0.9e6 if case.variant.model == shape.models[0] else 21e6
    threads = 1 + 0.7 * (case.threads - 1)
    return size / SPEEDUP.get(case.variant.recipe, 1.0) / threads * (1.0 if device == 0 else 2.3)


def write_sweep(folder: Path, shape: Shape = Shape()) -> Path:
    """Write a sweep folder and return it. The same shape gives the same bytes."""
    rng = np.random.default_rng(shape.seed)
    plan = make_synthetic_plan(shape)
    devices = tuple(make_device(name, place) for place, name in enumerate(shape.device_names))
    skipped = {c.id for c in plan.cases() if shape.troubles and c.variant == _unexported(plan)}
    schedule = {
        device.id: _schedule(plan, shape, skipped, np.random.default_rng([shape.seed, place]))
        for place, device in enumerate(devices)
    }
    folder.mkdir(parents=True)
    _write_model(folder / "sweep.json", _sweep_file(plan, devices, schedule))
    _write_model(folder / "artifacts.json", ArtifactsFile(models=_models(plan, shape)))
    cases = {case.id: case for case in plan.cases()}
    entries: list[LedgerEntry] = []
    for place, device in enumerate(devices):
        entries += [_skipped_entry(device, case) for case in sorted(skipped)]
        planned = schedule[device.id]
        for launch in planned[: len(planned) - shape.launches_missing]:
            case = cases[launch.case]
            truth = true_latency_ns(shape, case, place)
            truth *= (1 + shape.drift_per_round) ** launch.round
            entries.append(_run(folder, shape, plan, device, case, launch, truth, rng))
    ledger = "".join(entry.model_dump_json(exclude_defaults=True) + "\n" for entry in entries)
    (folder / "ledger.jsonl").write_text(ledger)
    return folder


def _unexported(plan: Plan) -> object:
    """Return the variant whose export was refused: the last one of the last model."""
    return plan.variants(plan.model[-1])[-1]


def _write_model(path: Path, model: SweepFile | ArtifactsFile) -> None:
    path.write_text(model.model_dump_json(indent=1))


def make_device(name: str, place: int) -> DeviceInfo:
    """Return this computer (place 0) or a phone."""
    local = place == 0
    return DeviceInfo(
        id="local" if local else f"phone-{place}",
        name=name,
        kind="local" if local else "android",
        fingerprint=hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:16],
        system="Debian GNU/Linux 12, Linux 6.1.0" if local else "Android 14 (API 34)",
        abi="x86_64" if local else "arm64-v8a",
        cpu="a processor of two cores" if local else "Cortex-X1, Cortex-A76, Cortex-A55",
        cores=2 if local else 8,
        memory_total_bytes=8_000 * MEGABYTE,
        details={} if local else {"serial": "0A1B2C3D"},
    )


def _schedule(
    plan: Plan, shape: Shape, skipped: set[str], rng: np.random.Generator
) -> tuple[PlannedLaunch, ...]:
    cases = [case.id for case in plan.cases() if case.id not in skipped]
    planned: list[PlannedLaunch] = []
    for round_number in range(1, shape.rounds + 1):
        for measured_pass in shape.passes:
            if measured_pass != "latency" and round_number > 3:
                continue
            for place in rng.permutation(len(cases)):
                planned.append(
                    PlannedLaunch(
                        index=len(planned) + 1,
                        round=round_number,
                        case=cases[place],
                        measured_pass=measured_pass,
                    )
                )
    return tuple(planned)


def _sweep_file(
    plan: Plan, devices: tuple[DeviceInfo, ...], schedule: dict[str, tuple[PlannedLaunch, ...]]
) -> SweepFile:
    return SweepFile(
        sweep_version=SWEEP_VERSION,
        id="20251009-0853-synthetic",
        created_unix=CREATED_UNIX,
        command=("phonebench", "run", "plans/my plan.toml", "--out", "sweeps"),
        directory="/home/somebody/work",
        plan_name=plan.plan.name,
        plan_sha256=plan.sha256(),
        plan=plan,
        host=Host(
            system="Debian GNU/Linux 12", python="3.11.2", harness="0.1.0", torch="2.13.0+cpu",
            git="0123456789abcdef",
        ),
        devices=devices,
        schedule=schedule,
    )  # fmt: skip


def _models(plan: Plan, shape: Shape) -> tuple[ExportedModel, ...]:
    return tuple(
        ExportedModel(
            name=model.name,
            status="ok",
            inputs_are_real=model.name in shape.evaluated,
            eager_accuracy=Accuracy(top1=0.981, samples=shape.evaluation_samples)
            if model.name in shape.evaluated
            else None,
            artifacts=tuple(
                _refused(variant.id, model.name, variant.recipe)
                if shape.troubles and variant == _unexported(plan)
                else _artifact(variant.id, model.name, variant.recipe, shape)
                for variant in plan.variants(model)
            ),
        )
        for model in plan.model
    )


SAVED_AS: Any = {
    "format": "ptl",
    "options": {"container": "zip"},
    "memory_format": "contiguous",
}


def _refused(variant: str, model: str, recipe: str) -> Artifact:
    return Artifact(
        variant=variant, model=model, recipe=recipe, **SAVED_AS,
        status="skipped", reason="int8-static needs calibration data, and this model names none",
        advice='Add calibration = "module:callable" to the model.',
    )  # fmt: skip


def _artifact(variant: str, model: str, recipe: str, shape: Shape) -> Artifact:
    small = model == shape.models[0]
    parameters = 28_000 if small else 3_504_872
    manifest = Manifest(
        sha256=hashlib.sha256(variant.encode()).hexdigest(),
        size_bytes=int(4 * parameters * SHRINKING.get(recipe, 1.0)) + 9_000,
        details={"bytecode version": 8},
        operators=("aten::_convolution", "aten::linear", "aten::relu_"),
        parameters=parameters,
        nonzero_parameters=parameters - 12,
        flops=1_400_000 if small else 601_617_664,
        torch_version="2.13.0+cpu",
        python_version="3.11.2",
        recipe=recipe,
        **SAVED_AS,
        quantized_engine="qnnpack" if recipe.startswith("int8") else None,
        seed=7,
        export_seconds=1.5,
        created_unix=CREATED_UNIX,
        notes=(shape.note,) if recipe == "int8-dynamic" else (),
    )
    return Artifact(
        variant=variant, model=model, recipe=recipe, **SAVED_AS,
        status="ok", path=Path("/cache") / f"{manifest.sha256}.ptl", manifest=manifest,
        fidelity=_fidelity(recipe),
        accuracy=Accuracy(top1=ACCURACY.get(recipe, 0.981), samples=shape.evaluation_samples)
        if model in shape.evaluated
        else None,
    )  # fmt: skip


def _fidelity(recipe: str) -> Fidelity:
    if recipe.startswith("int8"):
        return Fidelity(
            samples=8, exact=False, max_abs_error=0.21, sqnr_db=24.6, cosine=0.998,
            top1_agreement=0.875,
        )  # fmt: skip
    if recipe == "fp32":
        return Fidelity(
            samples=8, exact=True, max_abs_error=0.0, sqnr_db=None, cosine=1.0, top1_agreement=1.0
        )
    return Fidelity(
        samples=8, exact=False, max_abs_error=2e-6, sqnr_db=118.2, cosine=1.0, top1_agreement=1.0
    )


def _skipped_entry(device: DeviceInfo, case: str) -> LedgerEntry:
    return LedgerEntry(
        device=device.id,
        case=case,
        status="skipped",
        error=LaunchError(
            kind="ExportError",
            message="int8-static needs calibration data, and this model names none",
            advice='Add calibration = "module:callable" to the model.',
        ),
    )


def _run(
    folder: Path,
    shape: Shape,
    plan: Plan,
    device: DeviceInfo,
    case: Case,
    launch: PlannedLaunch,
    truth_ns: float,
    rng: np.random.Generator,
) -> LedgerEntry:
    started_unix = CREATED_UNIX + 60 + 2.5 * launch.index
    local = device.kind == "local"
    power = None
    if launch.measured_pass == "energy":
        power = make_source(shape, device, launch)
    conditions = Conditions(
        unix=started_unix,
        load_1min=shape.load_1min + 0.05 * float(rng.random()),
        memory_available_bytes=5_000 * MEGABYTE,
        temperature_celsius=None if local else 31.0 + 0.02 * launch.index,
        clocks_khz=(2_800_000,) * device.cores if shape.clocks_are_known else None,
        clock_limits_khz=None if local else (2_800_000,) * device.cores,
        governor=shape.governor,
    )
    entry = LedgerEntry(
        device=device.id, case=case.id, status="ok", index=launch.index, round=launch.round,
        measured_pass=launch.measured_pass, fidelity=_fidelity(case.variant.recipe),
        before=conditions, after=conditions, started_unix=started_unix,
        host_ns=2_400_000_000, runner_ns=2_370_000_000, power=power,
        cooled_seconds=None if local else 4.0 * (launch.index % 3),
        validity=_validity(shape, launch, case),
    )  # fmt: skip
    if shape.energy_is_refused and launch.measured_pass == "energy":
        return entry.model_copy(update={"status": "failed", "fidelity": None, "power": None, "error":
            LaunchError(kind="EnergyRefused", message="the fuel gauge is not calibrated",
                        advice="Calibrate it: `phonebench calibrate phone-1`.")})  # fmt: skip
    if shape.troubles and launch.index == 5:
        return entry.model_copy(update={"status": "interrupted", "fidelity": None, "error":
            LaunchError(kind="RunnerCrashed", message="the runner was killed by signal 9")})  # fmt: skip
    if shape.troubles and launch.index == 11:
        return entry.model_copy(update={"status": "failed", "fidelity": None, "error":
            LaunchError(kind="RunnerTimeout", message="the runner was still busy after 60 s",
                        advice="Raise measure.timeout_seconds.")})  # fmt: skip
    if shape.outputs_are_wrong and launch.round == 2:
        return entry.model_copy(update={"status": "failed", "error":
            LaunchError(kind="WrongOutput", message="the outputs are at 3.1 dB, below 8 dB")})  # fmt: skip
    latency_ns = truth_ns * float(np.exp(shape.launch_noise * rng.standard_normal()))
    if shape.two_groups and launch.round % 3 == 0:
        latency_ns *= 1.4
    content = record_bytes(plan, shape, device, case, launch, latency_ns, rng)
    name = f"launches/{slug(device.id)}/{launch.index:04d}-{case.id[:80]}.jsonl"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    told: dict[str, Any] = {"file": name, "sha256": hashlib.sha256(content).hexdigest()}
    sidecar = []
    if power is not None and power.kind == "meter":
        sidecar = [_meter(case, content)]
        told["sidecar_file"] = name.replace(".jsonl", ".sidecar.jsonl")
        (folder / told["sidecar_file"]).write_bytes(write_sidecar(sidecar))
    if power is not None:
        record = parse_record(content, name)
        assert isinstance(record, LaunchRecord)
        told["energy"] = measure_energy(record, sidecar, power)
    return entry.model_copy(update=told)


def _meter(case: Case, content: bytes) -> Trace:
    """Return what an external meter saw of a launch, ten times a second."""
    record = parse_record(content, "the launch")
    assert isinstance(record, LaunchRecord)
    begin, end = record.mark("idle_before_done"), record.mark("steady_done")
    assert begin is not None
    assert end is not None
    polled = np.arange(record.header.main_ns, record.end.time_ns, 100_000_000)
    busy = (polled >= begin.time_ns) & (polled < end.time_ns)
    watts = IDLE_WATTS + NET_WATTS * math.sqrt(case.threads) * busy
    return _trace(METER_POWER, "W", polled, watts + 0.01 * np.sin(np.arange(len(polled))))


def _validity(shape: Shape, launch: PlannedLaunch, case: Case) -> Validity:
    every = shape.not_valid_every
    chosen = bool(every) and launch.round % every == 1 % every
    if not chosen or launch.measured_pass not in shape.not_valid_passes:
        return Validity(level="valid")
    heat = Reason(
        key="status-rose", level="invalid", passing=True,
        text="the thermal status rose from none to moderate while it ran",
    )  # fmt: skip
    load = Reason(
        key="competing-load", level="suspect", passing=True,
        text=f"something else kept 0.6 cores busy while {case.id} was timed",
    )  # fmt: skip
    if launch.index % 2:
        return Validity(level="invalid", reasons=(heat, load))
    return Validity(level="suspect", reasons=(load,))


def make_source(shape: Shape, device: DeviceInfo, launch: PlannedLaunch) -> PowerSource:
    """Return the source of power that an energy launch claims to have used."""
    if device.kind == "local":
        return PowerSource(kind="rapl", name="RAPL package-0", wraps_at=262_143_328_850.0)
    if shape.gauge_trouble == "other source" and launch.index % 2:
        return PowerSource(kind="meter", name="Monsoon HVPM 12345", clock_uncertainty_ns=2_000_000)
    other = shape.gauge_trouble == "recalibrated" and launch.index % 2
    return PowerSource(
        kind="gauge",
        name=shape.gauge_name,
        sees_charging=True,
        calibration=Calibration(
            fingerprint=device.fingerprint,
            made_unix=CREATED_UNIX - 86_400,
            sign=-1,
            amperes_per_unit=2e-6 if other else 1e-6,
            refresh_seconds=1.0,
            quantum=1000.0,
            charge_ratio=1.004,
        ),
    )


def true_joules(shape: Shape, case: Case, device: int = 0) -> float:
    """Return the energy of an inference that the power traces of a case tell."""
    return NET_WATTS * math.sqrt(case.threads) * true_latency_ns(shape, case, device) / 1e9


def iterations_ns(latency_ns: float, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw the iterations of one launch: AR(1) with rho 0.8 and 2% noise, and some slow ones."""
    noise = np.empty(count)
    noise[0] = rng.standard_normal()
    steps = rng.standard_normal(count) * np.sqrt(1 - 0.8**2)
    for place in range(1, count):
        noise[place] = 0.8 * noise[place - 1] + steps[place]
    slow = np.where(rng.random(count) < 0.01, rng.exponential(0.4, count), 0.0)
    durations: npt.NDArray[np.int64] = (latency_ns * (1 + 0.02 * noise + slow)).astype(np.int64)
    return durations


def record_bytes(
    plan: Plan,
    shape: Shape,
    device: DeviceInfo,
    case: Case,
    launch: PlannedLaunch,
    latency_ns: float,
    rng: np.random.Generator,
) -> bytes:
    """Return one whole result file of an ok launch."""
    main_ns = 1_000_000_000 * launch.index
    resident = 40 * MEGABYTE
    peak = resident + int(6e6 + 14 * SHRINKING.get(case.variant.recipe, 1.0) * MEGABYTE)
    in_memory_pass = launch.measured_pass == "memory"
    loaded_ns = main_ns + 32_000_000 + int(1.5 * latency_ns)
    first_ns = loaded_ns + 1_000_000 + int(3 * latency_ns)
    begin_ns = first_ns + 100_000_000 + int(8 * latency_ns)
    loop = _loop(shape, launch.measured_pass, latency_ns, begin_ns, rng)
    builder = RecordBuilder(_header(plan, device, case, launch, main_ns, shape))

    def mark(name: str, time_ns: int, resident_bytes: int) -> None:
        builder.mark(name, time_ns, **_memory(resident_bytes, in_memory_pass))

    mark("main", main_ns, 9 * MEGABYTE)
    mark("engine_ready", main_ns + 30_000_000, resident)
    builder.actual(
        threads=case.threads,
        affinity=tuple(range(device.cores)),
        quantized_engine="qnnpack",
        model_resident_fraction=shape.resident_fraction,
    )
    builder.add(
        _samples("cold_load", iterations_ns(latency_ns * 1.2, 1, rng), main_ns + 31_000_000)
    )
    mark("model_loaded", loaded_ns, peak - 3_000_000)
    first = iterations_ns(latency_ns * 2.4, 1, rng)
    builder.add(_samples("first_inference", first, loaded_ns + 100_000))
    mark("first_inference_done", first_ns, peak)
    builder.add(_samples("warmup", iterations_ns(latency_ns, 5, rng), first_ns + 1_000_000))
    mark("warmup_done", begin_ns, peak)
    if launch.measured_pass == "profile":
        builder.add(_operators(latency_ns, shape.operator_names))
    else:
        builder.add(loop.steady)
    for name, time_ns in loop.marks:
        grown = int(shape.leak_bytes_per_inference * loop.iterations) if in_memory_pass else 0
        mark(name, time_ns, peak + grown)
    done_ns = loop.marks[-1][1]
    if launch.measured_pass == "latency":
        loads = iterations_ns(latency_ns * 4, 3, rng)
        builder.add(_samples("warm_load", loads, done_ns + 100_000_000))
    mark("end", done_ns + 300_000_000, peak)
    if launch.measured_pass in ("memory", "energy"):
        builder.add(*follow(shape, device, case, launch, main_ns, loop, peak, rng))
        wall_ns = done_ns + 300_000_000 - main_ns
        share = shape.sampling_share
        builder.sampling(900, int(share * wall_ns), int(2 * share * wall_ns))
    return builder.write(done_ns + 310_000_000)


@dataclass(frozen=True)
class _Loop:
    """The steady loop of a launch: when it ran, its samples, and the marks from its end on."""

    begin_ns: int
    end_ns: int
    iterations: int
    steady: Samples | None
    marks: tuple[tuple[str, int], ...]


def _loop(
    shape: Shape, measured_pass: Pass, latency_ns: float, begin_ns: int, rng: np.random.Generator
) -> _Loop:
    switches = shape.involuntary_switches_per_second
    if measured_pass == "energy":
        begin_ns += BASELINE_SECONDS * 1_000_000_000
        end_ns = begin_ns + BLOCK_SECONDS * 1_000_000_000
        iterations = int((end_ns - begin_ns) / (latency_ns + 300))
        steady = _thinned(latency_ns, iterations, begin_ns, end_ns, rng)
        marks = (
            ("idle_before_done", begin_ns),
            ("steady_done", end_ns),
            ("idle_after_done", end_ns + BASELINE_SECONDS * 1_000_000_000),
        )
        return _Loop(begin_ns, end_ns, iterations, steady, marks)
    if measured_pass == "memory" and shape.leak_bytes_per_inference:
        end_ns = begin_ns + 3_000_000_000
        iterations = int((end_ns - begin_ns) / (latency_ns + 300))
        steady = _thinned(latency_ns, iterations, begin_ns, end_ns, rng)
        return _Loop(begin_ns, end_ns, iterations, steady, (("steady_done", end_ns),))
    count = shape.samples if measured_pass == "latency" else 10
    steady = _samples("steady", iterations_ns(latency_ns, count, rng), begin_ns, switches)
    end_ns = begin_ns + 1_800_000_000
    return _Loop(begin_ns, end_ns, count, steady, (("steady_done", end_ns),))


def _thinned(
    latency_ns: float, iterations: int, begin_ns: int, end_ns: int, rng: np.random.Generator
) -> Samples:
    """Return the samples of a long loop, of which few have room."""
    kept = min(iterations, 400)
    durations = iterations_ns(latency_ns, kept, rng)
    starts = np.linspace(begin_ns, end_ns - latency_ns, kept).astype(int)
    wall_ns = end_ns - begin_ns
    counters = _counters(iterations, wall_ns, 2)
    return make_samples("steady", starts.tolist(), durations.tolist(), counters)


def follow(
    shape: Shape,
    device: DeviceInfo,
    case: Case,
    launch: PlannedLaunch,
    main_ns: int,
    loop: _Loop,
    peak: int,
    rng: np.random.Generator,
) -> list[Trace]:
    """Return what probes saw of a launch: memory, temperatures, clocks, and power if asked."""
    last_ns = loop.marks[-1][1]
    fast = np.arange(main_ns, last_ns, max((last_ns - main_ns) // 900, 10_000_000))
    slow = np.arange(main_ns, last_ns, 500_000_000)
    busy = (slow >= loop.begin_ns) & (slow < loop.end_ns)
    since = np.clip((fast - loop.begin_ns) / (loop.end_ns - loop.begin_ns), 0, 1)
    loaded = np.clip((fast - main_ns) / 60_000_000, 0, 1)
    grown = shape.leak_bytes_per_inference * loop.iterations * since
    rss = (9 * MEGABYTE + loaded * (peak - 9 * MEGABYTE) + grown) // 4096 * 4096
    traces = [_trace("rss", "byte", fast, rss), _trace("swap", "byte", fast, 0 * rss)]
    for place, name in enumerate(shape.zone_names):
        heat = 31 + place + np.cumsum(np.where(busy, 0.05, -0.02)).clip(0) / (place + 1)
        traces.append(_trace(f"temperature:{name}", "celsius", slow, np.round(heat, 1)))
    for core in range(min(device.cores, shape.cores_followed)):
        top = 2_800_000 if core >= 6 else 2_250_000 if core >= 4 else 1_800_000
        khz = np.where(busy & (core >= 4), top, 300_000 + 300_000 * (core // 4))
        traces.append(_trace(f"cpu{core}_clock", "kHz", slow, khz))
        traces.append(_trace(f"cpu{core}_clock_limit", "kHz", slow, np.full(len(slow), top)))
    if launch.measured_pass == "energy":
        traces += _power_traces(shape, device, case, launch, loop, main_ns, last_ns, rng)
    return traces


def _power_traces(
    shape: Shape,
    device: DeviceInfo,
    case: Case,
    launch: PlannedLaunch,
    loop: _Loop,
    main_ns: int,
    last_ns: int,
    rng: np.random.Generator,
) -> list[Trace]:
    polled = np.arange(main_ns, last_ns, 100_000_000)
    net = 1e-4 if shape.gauge_trouble == "no idle to tell" else NET_WATTS * math.sqrt(case.threads)
    if device.kind == "local":
        busy_ns = np.clip(polled, loop.begin_ns, loop.end_ns) - loop.begin_ns
        joules = (IDLE_WATTS * (polled - main_ns) + net * busy_ns) / 1e9
        joules += np.cumsum(rng.exponential(0.001, len(polled)))
        return [_trace(RAPL_ENERGY, "uJ", polled, np.round(1e6 * joules + 5e6))]
    if shape.gauge_trouble == "nothing":
        return []
    if make_source(shape, device, launch).kind == "meter":
        return []  # recorded beside the launch
    # The gauge shows the mean since its last refresh, in steps of 1 mA, charging positive.
    refreshes = np.arange(main_ns + int(rng.integers(1_000_000_000)), last_ns, 1_000_000_000)
    begins, ends = refreshes - 1_000_000_000, refreshes
    worked = np.clip(ends, loop.begin_ns, loop.end_ns) - np.clip(begins, loop.begin_ns, loop.end_ns)
    watts = IDLE_WATTS + net * worked / 1e9 + 0.02 * rng.standard_normal(len(refreshes))
    raw = -np.round(watts / 3.9 * 1e3) * 1e3
    if shape.gauge_trouble == "constant":
        raw[:] = raw[0]
    shown = np.searchsorted(refreshes, polled, side="right") - 1
    polled, shown = polled[shown >= 0], shown[shown >= 0]
    return [
        _trace(CURRENT, "raw", polled, raw[shown]),
        _trace(VOLTAGE, "V", polled, np.full(len(polled), 3.9)),
    ]


def _trace(name: str, unit: str, time_ns: npt.NDArray[np.int64], values: npt.NDArray[Any]) -> Trace:
    return Trace(
        type="trace", name=name, unit=unit, time_ns=time_ns.tolist(),
        values=[float(value) for value in values],
    )  # fmt: skip


def _counters(iterations: int, wall_ns: int, switches: int) -> Counters:
    return make_counters(
        iterations, wall_ns, cpu_ns=int(wall_ns * 0.99), voluntary_switches=3,
        involuntary_switches=switches, minor_faults=12,
    )  # fmt: skip


def _header(
    plan: Plan, device: DeviceInfo, case: Case, launch: PlannedLaunch, main_ns: int, shape: Shape
) -> Header:
    loop = Loop(min_iterations=5, min_seconds=0.2, max_iterations=1000, max_seconds=10)
    name = f"{launch.index:04d}-{case.id}"
    return make_header(
        name,
        main_ns,
        engine_version="2.13.0",
        runner=Runner(version="0.1.0", compiler="g++ 12.2.0"),
        device=make_seen_device(
            machine="x86_64",
            kernel="6.1.0",
            cpus_online=device.cores,
            memory_total_bytes=device.memory_total_bytes,
        ),
        clock=Clock(name="CLOCK_MONOTONIC", resolution_ns=1, read_cost_ns=22),
        exec_ns=main_ns - 21_000_000,
        unix_ns=int(CREATED_UNIX * 1e9) + main_ns,
        job=Job(
            launch=name,
            engine=case.engine,
            measured_pass=launch.measured_pass,
            model_file="model.ptl",
            threads=case.threads,
            quantized_engine="qnnpack",
            inputs=(TensorSource(shape=plan.model[0].inputs[0].shape),),
            warmup=loop,
            steady=loop,
        ),
    )


def _memory(resident_bytes: int, with_pss: bool) -> dict[str, int | None]:
    """Return what a mark says of a process with so much in memory."""
    return {
        "cost_ns": 40_000,
        "rss_bytes": resident_bytes - 500_000,
        "rss_anon_bytes": resident_bytes - 7_500_000,
        "rss_file_bytes": 7_000_000,
        "vm_hwm_bytes": resident_bytes,
        "pss_bytes": resident_bytes - 2_000_000 if with_pss else None,
        "os_threads": 2,
    }


def _samples(
    phase: Phase,
    durations: npt.NDArray[np.int64],
    begin_ns: int,
    switches_per_second: float = 0.0,
) -> Samples:
    starts = begin_ns + np.concatenate([[0], np.cumsum(durations[:-1] + 300)])
    wall_ns = int(durations.sum())
    counters = None
    if phase == "steady":
        counters = _counters(len(durations), wall_ns, int(wall_ns * 1e-9 * switches_per_second))
    return make_samples(phase, starts.astype(int).tolist(), durations.tolist(), counters)


def _operators(latency_ns: float, more: tuple[str, ...]) -> Operators:
    shares = {
        "aten::mkldnn_convolution": 0.62, "aten::linear": 0.14, "aten::relu_": 0.08,
        "aten::max_pool2d_with_indices": 0.07, "aten::add_": 0.03, "aten::flatten": 0.01,
        **dict.fromkeys(more, 0.02),
    }  # fmt: skip
    return Operators(
        type="operators",
        iterations=50,
        operators=[
            Operator(
                name=name,
                calls=50 * (place + 1),
                self_ns=int(50 * latency_ns * share),
                total_ns=int(50 * latency_ns * share * 1.1),
            )
            for place, (name, share) in enumerate(shares.items())
        ],
    )
