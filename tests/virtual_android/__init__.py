"""A virtual Android phone that speaks ADB's device side to a real adb server.

`python -m tests.virtual_android --help` starts one to play with; docs/virtual-phone.md says what it is.
"""

from tests.virtual_android.adb_server import AdbServer
from tests.virtual_android.faults import RUNNER, Fault, random_fault
from tests.virtual_android.phone import VirtualPhone
from tests.virtual_android.spec import CALM, Battery, Core, PhoneSpec, Thermal

__all__ = [
    "CALM",
    "RUNNER",
    "AdbServer",
    "Battery",
    "Core",
    "Fault",
    "PhoneSpec",
    "Thermal",
    "VirtualPhone",
    "random_fault",
]
