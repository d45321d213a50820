"""The verbs about devices: devices, doctor, clean, calibrate. Not here: measuring on them (`run.py`)."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from harness.cli.options import Json, examples
from harness.cli.output import DONE, INCOMPLETE, print_json, say
from harness.errors import PlanError

app = typer.Typer()


@app.command(epilog=examples("phonebench devices", "phonebench devices --json"))
def devices(as_json: Json = False) -> None:
    """List the devices that can be measured now.

    What stands in the first column is the name to use in a plan or with --device.
    """
    from harness.cli.terminal import devices_table, show
    from harness.devices import registry

    seen = registry.discover()
    if as_json:
        rows = [
            (found, found.info.model_dump() if found.info else {"id": found.id}) for found in seen
        ]
        print_json([{**row, "state": found.state, "advice": found.advice} for found, row in rows])
    else:
        show(devices_table(seen))


@app.command(
    short_help="Say whether devices are fit to be measured.",
    epilog=examples(
        "phonebench doctor", "phonebench doctor 28051FDH3000AB", "phonebench doctor local --json"
    ),
)
def doctor(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="DEVICE", help="A device (default: all that are attached).", show_default=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether devices are fit to be measured, and what to do about it if not.

    What is serious keeps `phonebench run` from starting, unless --accept names
    it. Nothing is changed on the device. Exit code 3 if anything is serious.
    """
    from harness.cli.terminal import examination_table, show
    from harness.devices import registry
    from harness.doctor.examine import examine_attached

    seen = registry.discover() if device is None else [registry.find_attached(device)]
    findings = examine_attached(seen, measure_link=True)
    if as_json:
        print_json(
            [
                {"id": name, "findings": [finding.model_dump() for finding in found]}
                for name, found in findings.items()
            ]
        )
    else:
        show(examination_table(findings))
    serious = any(one.level == "serious" for found in findings.values() for one in found)
    raise typer.Exit(INCOMPLETE if serious else DONE)


@app.command(
    short_help="Remove everything of phonebench from a device.",
    epilog=examples("phonebench clean 28051FDH3000AB"),
)
def clean(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove everything of phonebench from a device: models, runners, jobs.

    Nothing else is touched. It is refused while a device is in use. What has
    been measured and not been collected is lost.
    """
    from contextlib import closing

    from harness.devices import registry

    (info,) = registry.find_devices([device])
    if not yes:
        if not sys.stdin.isatty():
            raise PlanError("there is nobody to ask", f"phonebench clean {device} --yes")
        typer.confirm(f"Remove everything of phonebench from {info.id} ({info.name})?", abort=True)
    with closing(registry.open_device(info, "clean")) as opened:
        freed_bytes = opened.clean()
    print(f"{info.id}: {freed_bytes / 1e6:.1f} MB freed")


@app.command(
    short_help="Find out what a phone's fuel gauge means.",
    epilog=examples(
        "phonebench calibrate 28051FDH3000AB",
        "phonebench calibrate 192.168.1.20:5555 --seconds 60",
        "phonebench calibrate 28051FDH3000AB --json",
    ),
)
def calibrate(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The phone.")],
    seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=5.0,
            max=600.0,
            help="How long it rests before and after the load; the load is twice as long.",
        ),
    ] = 15.0,
    as_json: Json = False,
) -> None:
    """Find out what a phone's fuel gauge means: sign, unit, period and step.

    Phones disagree on whether a positive current charges or discharges, and
    whether it is in uA or mA. A known load tells; energy from a fuel gauge is
    refused without it. It takes a minute, or two with a cable, where charging
    is suspended for the second one and put back. Let the phone rest before,
    and do not touch it. What is found is kept for this phone, and used by
    every later run.

    Exit code 2 if there is no such device, 3 if its gauge does not tell.
    """
    from contextlib import closing

    from harness import runners
    from harness.analysis.gauge import describe
    from harness.cancellation import Cancellation
    from harness.devices import registry
    from harness.devices.calibrations import store_calibration
    from harness.measure import gauge_calibration

    (info,) = registry.find_devices([device])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        closing(registry.open_device(info, "calibrate")) as opened,
        closing(Cancellation()) as cancellation,
    ):
        found = gauge_calibration.calibrate(
            opened,
            lambda: runners.pack_for("synthetic", info, progress=say),
            say,
            cancellation,
            gauge_calibration.Pace(idle_seconds=seconds, load_seconds=2 * seconds),
        )
    path = store_calibration(found)
    if as_json:
        print_json({**found.model_dump(), "file": str(path)})
    else:
        print(describe(found))
        print(f"kept in {path}")
