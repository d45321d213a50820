"""Hold a physical phone to the contract, and say what to report when it fails.

    python -m tests.on_a_phone SERIAL          (or: make test-device SERIAL=...)

What is asked of it is in `tests/contract/test_device.py`; docs/testing-on-a-phone.md tells how to prepare one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import adbutils
import pytest

from harness.devices.android.adb import Adb
from harness.devices.android.device import Timing, discover
from harness.devices.registry import find_devices
from harness.errors import DeviceNotFound, HarnessError

_CONTRACT = Path(__file__).with_name("contract") / "test_device.py"


class _Failures:
    """Collects the names of the tests that fail (a pytest plugin)."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.names.append(f"{report.nodeid} ({report.when})")


def describe_phone(serial: str) -> list[str]:
    """Return what a report must say of the phone and of adb, as far as it can be found out."""
    found = next((found for found in discover() if found.id == serial), None)
    lines = [f"phone: {serial}, {found.state if found else 'not attached'}"]
    if found is not None and found.info is not None:
        info = found.info
        lines += [f"model: {info.name}, {info.cpu}, {info.abi}, {info.cores} cores",
                  f"system: {info.system}",
                  f"build: {info.details['build']}",
                  f"kernel: {info.details['kernel']}, {info.details['page_bytes']} bytes a page",
                  f"fingerprint: {info.fingerprint}"]  # fmt: skip
    version = subprocess.run([adbutils.adb_path(), "version"], capture_output=True, check=False)
    lines.append("adb: " + "; ".join(version.stdout.decode(errors="replace").splitlines()[:2]))
    try:
        toybox = Adb(serial).try_shell("toybox --version; echo $KSH_VERSION").text
        lines.append("shell: " + "; ".join(toybox.splitlines()))
    except HarnessError as error:
        lines.append(f"shell: {error.message}")
    return lines


def main() -> None:
    """Run the contract, print the report if it fails, and exit as pytest does."""
    if len(sys.argv) != 2:
        sys.exit("Name the phone, as `adb devices` does: python -m tests.on_a_phone SERIAL")
    serial = os.environ["PHONEBENCH_TEST_SERIAL"] = sys.argv[1]
    try:
        find_devices([serial])
    except DeviceNotFound as error:
        sys.exit(str(error))
    failures = _Failures()
    code = pytest.main([str(_CONTRACT), "-q", "-p", "no:cacheprovider"], plugins=[failures])
    if code == pytest.ExitCode.OK:
        print(f"{serial} keeps the contract.")
        sys.exit(code)
    print("\nPlease report this, with the output above:\n")
    for line in describe_phone(serial):
        print(f"  {line}")
    for name in failures.names:
        print(f"  failed: {name}")
    print(
        f"\n  adb -s {serial} bugreport     collects the phone's own logs: look into the file before"
        "\n  you pass it on, it holds personal data. docs/testing-on-a-phone.md says how to clean up."
        f"\n  A test that was cut short leaves the phone locked for {Timing().lock_expires_seconds} s."
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
