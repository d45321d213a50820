"""Whole sweep folders with invented numbers, written through the real models of the harness.

The noise has the shape of the real one: iterations are autocorrelated (AR(1)), launches differ
from one another, a few iterations are slow. The truth behind a case is `true_latency_ns`.
Not here: anything that the harness itself would need.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from harness.export.artifact import Accuracy, Artifact, ExportedModel, Fidelity, Manifest
from harness.job import Job, Loop, Pass, TensorSource
from harness.ledger import (
    SWEEP_VERSION,
    ArtifactsFile,
    Conditions,
    DeviceInfo,
    Host,
    LaunchError,
    LedgerEntry,
    PlannedLaunch,
    SweepFile,
)
from harness.plan import Case, Plan, make_plan, slug
from harness.records import (
    RECORD_VERSION,
    Actual,
    Clock,
    Counters,
    End,
    Engine,
    Header,
    Mark,
    Operator,
    Operators,
    Phase,
    Runner,
    Samples,
    SeenDevice,
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
    threads_in_force: int | None = None
    resident_fraction: float = 0.0
    involuntary_switches_per_second: float = 2.0
    load_1min: float = 0.3
    governor: str | None = "performance"
    clocks_are_known: bool = True
    evaluation_samples: int = 360
    outputs_are_wrong: bool = False
    operator_names: tuple[str, ...] = ()
    note: str = "2 of 5 layers are quantized"
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
    devices = tuple(_device(name, place) for place, name in enumerate(shape.device_names))
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


def _device(name: str, place: int) -> DeviceInfo:
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


def _refused(variant: str, model: str, recipe: str) -> Artifact:
    return Artifact(
        variant=variant, model=model, recipe=recipe, container="zip", memory_format="contiguous",
        status="skipped", reason="int8-static needs calibration data, and this model names none",
        advice='Add calibration = "module:callable" to the model.',
    )  # fmt: skip


def _artifact(variant: str, model: str, recipe: str, shape: Shape) -> Artifact:
    small = model == shape.models[0]
    parameters = 28_000 if small else 3_504_872
    manifest = Manifest(
        sha256=hashlib.sha256(variant.encode()).hexdigest(),
        size_bytes=int(4 * parameters * SHRINKING.get(recipe, 1.0)) + 9_000,
        bytecode_version=8,
        operators=("aten::_convolution", "aten::linear", "aten::relu_"),
        parameters=parameters,
        nonzero_parameters=parameters - 12,
        flops=1_400_000 if small else 601_617_664,
        torch_version="2.13.0+cpu",
        python_version="3.11.2",
        recipe=recipe,
        container="zip",
        memory_format="contiguous",
        quantized_engine="qnnpack" if recipe.startswith("int8") else None,
        seed=7,
        export_seconds=1.5,
        created_unix=CREATED_UNIX,
        notes=(shape.note,) if recipe == "int8-dynamic" else (),
    )
    return Artifact(
        variant=variant, model=model, recipe=recipe, container="zip", memory_format="contiguous",
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
    conditions = Conditions(
        unix=started_unix,
        load_1min=shape.load_1min + 0.05 * float(rng.random()),
        memory_available_bytes=5_000 * MEGABYTE,
        temperature_celsius=None if local else 31.0 + 0.02 * launch.index,
        clocks_khz=(2_800_000,) * device.cores if shape.clocks_are_known else None,
        governor=shape.governor,
    )
    entry = LedgerEntry(
        device=device.id, case=case.id, status="ok", index=launch.index, round=launch.round,
        measured_pass=launch.measured_pass, fidelity=_fidelity(case.variant.recipe),
        before=conditions, after=conditions, started_unix=started_unix,
        host_ns=2_400_000_000, runner_ns=2_370_000_000,
    )  # fmt: skip
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
    return entry.model_copy(update={"file": name, "sha256": hashlib.sha256(content).hexdigest()})


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
    records: list[Header | Mark | Actual | Samples | Operators] = [
        _header(plan, device, case, launch, main_ns, shape),
        _mark("main", main_ns, 9 * MEGABYTE, in_memory_pass),
        _mark("engine_ready", main_ns + 30_000_000, resident, in_memory_pass),
        Actual(
            type="actual",
            threads=shape.threads_in_force or case.threads,
            affinity=tuple(range(device.cores)),
            memory_format="contiguous",
            quantized_engine="qnnpack",
            model_resident_fraction=shape.resident_fraction,
        ),
        _samples("cold_load", iterations_ns(latency_ns * 6, 1, rng), main_ns + 31_000_000),
        _mark("model_loaded", main_ns + 60_000_000, peak - 3_000_000, in_memory_pass),
        _samples("first_inference", iterations_ns(latency_ns * 2.4, 1, rng), main_ns + 61_000_000),
    ]
    if launch.measured_pass == "profile":
        records.append(_operators(latency_ns, shape.operator_names))
    else:
        count = shape.samples if launch.measured_pass == "latency" else 10
        steady = iterations_ns(latency_ns, count, rng)
        switches = shape.involuntary_switches_per_second
        records.append(_samples("steady", steady, main_ns + 200_000_000, switches))
    records.append(_mark("steady_done", main_ns + 2_000_000_000, peak, in_memory_pass))
    if launch.measured_pass == "latency":
        loads = iterations_ns(latency_ns * 4, 3, rng)
        records.append(_samples("warm_load", loads, main_ns + 2_100_000_000))
    records.append(_mark("end", main_ns + 2_300_000_000, peak, in_memory_pass))
    body = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
    end = End(
        type="end",
        status="ok",
        time_ns=main_ns + 2_310_000_000,
        records=len(records) + 1,
        bytes=len(body),
        crc32=zlib.crc32(body),
    )
    return body + end.model_dump_json().encode() + b"\n"


def _header(
    plan: Plan, device: DeviceInfo, case: Case, launch: PlannedLaunch, main_ns: int, shape: Shape
) -> Header:
    loop = Loop(min_iterations=5, min_seconds=0.2, max_iterations=1000, max_seconds=10)
    return Header(
        type="header",
        record_version=RECORD_VERSION,
        launch=f"{launch.index:04d}-{case.id}",
        engine=Engine(name="lite", version="2.13.0"),
        runner=Runner(version="0.1.0", compiler="g++ 12.2.0"),
        device=SeenDevice(
            machine="x86_64",
            kernel="6.1.0",
            cpus_online=device.cores,
            page_bytes=4096,
            memory_total_bytes=device.memory_total_bytes,
            cpuset=None,
        ),
        clock=Clock(name="CLOCK_MONOTONIC", resolution_ns=1, read_cost_ns=22),
        exec_ns=main_ns - 21_000_000,
        main_ns=main_ns,
        unix_ns=int(CREATED_UNIX * 1e9) + main_ns,
        job=Job(
            launch=f"{launch.index:04d}-{case.id}",
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


def _mark(name: str, time_ns: int, resident_bytes: int, with_pss: bool) -> Mark:
    return Mark(
        type="mark",
        name=name,
        time_ns=time_ns,
        cost_ns=40_000,
        rss_bytes=resident_bytes - 500_000,
        vm_hwm_bytes=resident_bytes,
        swap_bytes=0,
        pss_bytes=resident_bytes - 2_000_000 if with_pss else None,
        os_threads=2,
    )


def _samples(
    phase: Phase,
    durations: npt.NDArray[np.int64],
    begin_ns: int,
    switches_per_second: float = 0.0,
) -> Samples:
    starts = begin_ns + np.concatenate([[0], np.cumsum(durations[:-1] + 300)])
    wall_ns = int(durations.sum())
    return Samples(
        type="samples",
        phase=phase,
        start_ns=starts.astype(int).tolist(),
        duration_ns=durations.tolist(),
        counters=Counters(
            iterations=len(durations),
            wall_ns=wall_ns,
            cpu_ns=int(wall_ns * 0.99),
            voluntary_switches=3,
            involuntary_switches=int(wall_ns * 1e-9 * switches_per_second),
            minor_faults=12,
            major_faults=0,
        )
        if phase == "steady"
        else None,
    )


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
