"""Play with virtual phones by hand: start some, break them, look inside.

python -m tests.virtual_android start --phones 2
python -m tests.virtual_android fault PORT unplug --seconds 5
python -m tests.virtual_android state PORT
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
from contextlib import ExitStack
from dataclasses import MISSING, fields
from typing import get_args

from tests.virtual_android import AdbServer, Battery, Fault, PhoneSpec, VirtualPhone
from tests.virtual_android.control import PhoneControl
from tests.virtual_android.faults import Kind


def main() -> None:
    """Do what the command line says."""
    arguments = _parser().parse_args()
    if arguments.verb == "start":
        _start(arguments)
        return
    control = PhoneControl(arguments.port)
    if arguments.verb == "fault":
        given = {name.name: getattr(arguments, name.name) for name in fields(Fault)}
        fault = Fault(**{name: value for name, value in given.items() if value is not None})
        control.order("fault", fault=fault.to_fields())
    else:
        print(json.dumps(control.order("state"), indent=2))
    control.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.virtual_android",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    start = verbs.add_parser("start", help="start phones and an adb server of their own")
    start.add_argument("--phones", type=int, default=1)
    start.add_argument("--abi", choices=("x86_64", "arm64-v8a"), default="x86_64")
    start.add_argument("--data-mb", type=int, default=2048, help="the size of /data")
    start.add_argument("--level", type=float, default=80.0, help="the battery's charge in percent")
    start.add_argument("--time-scale", type=float, default=1.0, help="battery seconds per second")
    fault = verbs.add_parser("fault", help="break a phone; docs/virtual-phone.md lists the kinds")
    fault.add_argument("port", type=int, help="the phone's port")
    fault.add_argument("kind", choices=get_args(Kind))
    for name in fields(Fault):
        if name.name != "kind":
            default = None if name.default is MISSING else name.default
            kind = type(default) if default is not None else _trigger_type(name.name)
            fault.add_argument(f"--{name.name.replace('_', '-')}", type=kind)
    state = verbs.add_parser("state", help="print all that is true of a phone")
    state.add_argument("port", type=int, help="the phone's port")
    return parser


def _trigger_type(name: str) -> type[int] | type[float] | type[str]:
    return {"after_bytes": int, "after_seconds": float}.get(name, str)


def _start(arguments: argparse.Namespace) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(AdbServer())
        phones = []
        for number in range(arguments.phones):
            spec = PhoneSpec(
                serialno=f"VP{number + 1:04}",
                abi=arguments.abi,
                data_bytes=arguments.data_mb * 1024**2,
                battery=Battery(level_percent=arguments.level),
                time_scale=arguments.time_scale,
            )
            phone = stack.enter_context(VirtualPhone(spec))
            phone.plug_in(server)
            phones.append(phone)
        _print_advice(server, phones)
        # Ctrl-C and a polite kill both end here, and take everything away.
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def _print_advice(server: AdbServer, phones: list[VirtualPhone]) -> None:
    print("In another terminal:\n")
    for name, value in server.environment.items():
        print(f"  export {name}={shlex.quote(value)}")
    for phone in phones:
        print(f"\n  adb -s {phone.serial} shell        # {phone.spec.serialno}, {phone.spec.abi}")
        print(f"  python -m tests.virtual_android state {phone.port}")
        print(f"  python -m tests.virtual_android fault {phone.port} unplug --seconds 5")
    print("\nCtrl-C takes all of it away.", flush=True)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
