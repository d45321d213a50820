"""What a phone costs the host: time around each launch, and time for many phones at once.

    extra_ms_median      per launch, wall time minus the life of the runner process: over adb, minus
                         the same on this computer; goal: at most 150 ms
    eight_phones_ratio   the wall time of a sweep on eight phones at once, whose jobs sleep, against
                         that on one; goal: at most 1.25

The runner is made up and answers at once, or sleeps; the phones are virtual, behind a real adb
server. Opening a phone and bringing files to it is not in these times.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.devices import registry as devices
from harness.measure.device_run import Services
from harness.measure.progress import Progress
from harness.measure.sweep import create_sweep, hold, is_complete, run_sweep
from harness.results.folder import read_sweep
from harness.schema.plan import make_plan
from tests.fakes.packs import fake_runner_pack, made_up_model
from tests.fakes.phones import SMALL, own_adb_server, plugged_in


def _run(names: list[str], folder: Path, launches: int, sleep_ms: int) -> tuple[Path, float]:
    """Run a sweep on these devices; return its folder, and the seconds that measuring took."""
    plan = make_plan(
        {
            "plan": {"name": "overhead", "rounds": launches, "devices": names},
            "model": [{"name": "net", "source": "nowhere:net", "inputs": [{"shape": [1, 3]}]}],
            "measure": {"passes": ["latency"]},
        },
        "the benchmark's plan",
    )
    infos = devices.find_devices(names)
    sweep = create_sweep(folder / "sweeps", plan, infos, ["benchmark"])
    model = made_up_model(folder, plan, sleep_ms=sleep_ms)
    steps: list[tuple[float, Progress]] = []
    services = Services(
        open_device=devices.open_device,
        runner_pack=lambda engine, info: fake_runner_pack(
            "local" if info.kind == "local" else "android"
        ),
        observe=lambda progress: steps.append((time.monotonic(), progress)),
        warn=print,
    )
    with hold(sweep) as held:
        run_sweep(held, (model,), services)
    assert is_complete(read_sweep(sweep))
    return sweep, steps[-1][0] - steps[0][0]


def _overheads_ms(sweep: Path) -> list[float]:
    """Return, per launch, the time from its begin to the next one's that the runner did not live."""
    entries = read_sweep(sweep).entries
    overheads = []
    for this, following in itertools.pairwise(entries):
        assert this.started_unix is not None
        assert following.started_unix is not None
        assert this.runner_ns is not None
        wall_ms = (following.started_unix - this.started_unix) * 1e3
        overheads.append(wall_ms - this.runner_ns / 1e6)
    return overheads


def _extra_ms(serial: str, folder: Path, launches: int) -> float:
    overheads: dict[str, list[float]] = {serial: [], "local": []}
    for name in (serial, "local", "local", serial):
        sweep, _ = _run([name], folder, launches // 2, sleep_ms=0)
        overheads[name] += _overheads_ms(sweep)
    for name, values in overheads.items():
        print(f"{name}: {statistics.median(values):.1f} ms around a launch, in the median")
    return statistics.median(overheads[serial]) - statistics.median(overheads["local"])


def _phones_ratio(serials: list[str], folder: Path, launches: int, sleep_ms: int) -> float:
    _, one_seconds = _run(serials[:1], folder, launches, sleep_ms)
    _, all_seconds = _run(serials, folder, launches, sleep_ms)
    print(f"{launches} launches that sleep {sleep_ms} ms: {one_seconds:.1f} s on one phone, "
          f"{all_seconds:.1f} s on {len(serials)} at once")  # fmt: skip
    return all_seconds / one_seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--launches", type=int, default=40)
    parser.add_argument("--phones", type=int, default=8)
    parser.add_argument("--sleep-seconds", type=float, default=3.0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        adb = stack.enter_context(own_adb_server())
        specs = [replace(SMALL, serialno=f"VP{n:04}") for n in range(options.phones)]
        phones = [stack.enter_context(plugged_in(adb, spec)) for spec in specs]
        serials = [phone.serial for phone in phones]
        figures = {
            "extra_ms_median": round(_extra_ms(serials[0], folder, options.launches), 1),
            "eight_phones_ratio": round(
                _phones_ratio(serials, folder, 5, int(1000 * options.sleep_seconds)), 3
            ),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
