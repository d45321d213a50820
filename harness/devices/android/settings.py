"""The settings of a phone that a sweep may change, and how the phone is left as it was found.

Each setting is a script that reads, changes and undoes it (`android_runner/scripts/settings/`). How to undo a
change is on the phone before it is made: for this host, for the next one if this dies, and for a watchdog on
the phone if none comes. Not here: which settings a plan wants and why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.devices.android.scripts import REFUSED, ROOT, load, program, script
from harness.devices.android.shell import GuardedShell
from harness.errors import CommandFailed, NotSupported
from harness.schema.plan import DeviceSettings

_RESTORE_SECONDS = 60.0


@dataclass(frozen=True)
class Change:
    """One setting, by the name of its script; `told` is what the script wants to know."""

    name: str
    advice: str
    told: dict[str, str] = field(default_factory=dict)


_STAY_AWAKE = Change("stay_awake", "Leave out device.stay_awake, and keep the screen on by hand.")
_STAY_AWAKE_UNPLUGGED = Change(
    "screen_timeout", "Set the longest screen timeout in the phone's own settings."
)
_FIXED_PERFORMANCE = Change(
    "fixed_performance",
    "It needs Android 11 and a vendor that implements it: leave out device.fixed_performance.",
)
_SUSPEND_CHARGING = Change(
    "suspend_charging",
    "The vendor does not let the shell suspend charging: leave out device.suspend_charging.",
)


def wanted_changes(settings: DeviceSettings) -> list[Change]:
    """Return the changes that a plan asks for."""
    changes = []
    if settings.stay_awake:
        changes += [_STAY_AWAKE, _STAY_AWAKE_UNPLUGGED]
    if settings.fixed_performance:
        changes.append(_FIXED_PERFORMANCE)
    if settings.suspend_charging:
        changes.append(_SUSPEND_CHARGING)
    if settings.governor is not None:
        advice = "Changing the governor needs root: leave out device.governor."
        changes.append(Change("governor", advice, {"governor": settings.governor}))
    return changes


class PhoneSettings:
    """The settings of one phone.

    The watchdog looks every `watchdog_seconds`, and undoes all when the host has been silent for
    `silent_seconds`.
    """

    def __init__(self, shell: GuardedShell, watchdog_seconds: int, silent_seconds: int) -> None:
        self._shell = shell
        self._watchdog_seconds, self._silent_seconds = watchdog_seconds, silent_seconds
        self._wanted = DeviceSettings()

    def apply(self, settings: DeviceSettings) -> None:
        """Change settings. Raises NotSupported for one that the phone does not let be changed."""
        before, self._wanted = self._wanted, settings
        try:
            self._change(wanted_changes(settings))
        except NotSupported:  # nor is it after a reboot
            self._wanted = before
            raise

    def apply_again(self) -> None:
        """Change the settings anew after a reboot: some do not survive one."""
        self.apply(self._wanted)

    def stay_awake_unplugged(self) -> None:
        """Keep the phone awake without a cable."""
        self._change([_STAY_AWAKE_UNPLUGGED])

    def restore(self) -> None:
        """Undo every changed setting, also those that a host which died had changed."""
        self._wanted = DeviceSettings()
        restore = script("changes/restore")
        left = self._shell.run(restore, seconds=_RESTORE_SECONDS).text.split()
        if left:
            raise CommandFailed(
                f"{self._shell.serial}: could not undo: {', '.join(left)}",
                f"The scripts in {ROOT}/changes on the phone say what to do; run one with adb shell.",
            )

    def _change(self, changes: Sequence[Change]) -> None:
        """Change settings, each with its undo on the phone first."""
        if changes:
            self._start_watchdog()
        for change in changes:
            name = change.name.replace("_", "-")
            setting = load(f"settings/{change.name}")
            made = self._shell.try_run(
                script("changes/make", name=name, setting=setting, **change.told)
            )
            if made.exit_code == REFUSED:
                raise NotSupported(
                    f"{self._shell.serial}: {name} cannot be switched on", change.advice
                )
            if made.exit_code != 0:
                raise CommandFailed(f"{self._shell.serial}: {name}: {made.last_words}")

    def _start_watchdog(self) -> None:
        watchdog = script(
            "changes/watchdog",
            period_seconds=self._watchdog_seconds,
            silent_seconds=self._silent_seconds,
        )
        self._shell.run(script("changes/start_watchdog", watchdog=program(watchdog)))
