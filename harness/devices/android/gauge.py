"""The fuel gauge of an Android phone: read by the runner, from sysfs or by asking the battery service.

Not here: power rails (`rails.py`), what a gauge's numbers mean on a phone
(`harness/measure/gauge_calibration.py`), and what is made of them (`harness/analysis/energy.py`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.devices.android.facts import quote
from harness.devices.android.scripts import Script, load, script
from harness.schema.job import Channel, Probe
from harness.schema.power import (
    CHARGE,
    CHARGING,
    CURRENT,
    SLOWEST_POLL_SECONDS,
    VOLTAGE,
    Calibration,
    PowerSource,
)

# Those of the kernel's power_supply that power_sources.sh reads.
_FILES = ("current_now", "voltage_now", "charge_counter", "status")
_UNKNOWN_PERIOD_SECONDS = 0.25
_SHORTEST_PERIOD_SECONDS = 0.05
_STATUS_PERIOD_SECONDS = 0.5


@dataclass(frozen=True)
class Supply:
    """One battery in /sys/class/power_supply: what each of its files answered."""

    folder: str
    answers: Mapping[str, str]

    def number(self, file: str) -> int | None:
        """Return what a file reads, None if it does not read as a number."""
        return _number(self.answers.get(file, ""))

    @property
    def missing(self) -> tuple[str, ...]:
        """The files that power is made of, and that do not read as numbers."""
        return tuple(f for f in ("current_now", "voltage_now") if self.number(f) is None)


def describe_source(
    found: Mapping[str, str], calibration: Calibration | None, device: str
) -> PowerSource:
    """Return the gauge as it can best be read, from the answer to power_sources.sh.

    One that cannot be read at all says why.
    """
    supplies = parse_supplies(found.get("supplies", ""))
    asked = _number(found.get("asked", ""))
    refusal, advice = _judge_calibration(calibration, device)
    if supplies and not supplies[0].missing:
        name, probes = supplies[0].folder, _sysfs_probes(supplies[0], calibration)
    elif asked is not None:
        name, probes = "cmd battery", (_asked_probe(),)
    else:
        name, probes = "hidden", ()
        refusal = _explain_hidden(supplies, found.get("asked", ""))
        advice = (
            "The vendor hides the gauge from adb: energy needs power rails or an external meter."
        )
    return PowerSource(
        kind="gauge",
        name=f"fuel gauge ({name})",
        probes=probes,
        sees_charging=True,
        calibration=calibration,
        refusal=refusal,
        advice=advice,
    )


def parse_supplies(text: str) -> tuple[Supply, ...]:
    """Return the batteries, those that tell most of what matters first."""
    answers: dict[str, dict[str, str]] = defaultdict(dict)
    for line in text.splitlines():
        match = re.match(rf"(/sys/class/power_supply/\S+) (type|{'|'.join(_FILES)}) ?(.*)$", line)
        if match:
            answers[match[1]][match[2]] = match[3].strip()
    found = [
        Supply(folder, told)
        for folder, told in answers.items()
        if told.get("type") in ("Battery", "") and "current_now" in told
    ]

    def rank(supply: Supply) -> tuple[int, int]:
        silent = sum(supply.number(file) is None for file in _FILES)
        return len(supply.missing), silent

    return tuple(sorted(found, key=rank))


def _judge_calibration(calibration: Calibration | None, device: str) -> tuple[str, str]:
    if calibration is not None:
        return "", ""
    return (
        "its fuel gauge is not calibrated: nobody knows the sign and the unit of its current",
        f"phonebench calibrate {device}",
    )


def _explain_hidden(supplies: Sequence[Supply], asked: str) -> str:
    """Say what was tried to read the current and the voltage, and what came back."""
    tried = [
        f"{supply.folder}/{file} answers {quote(supply.answers.get(file, ''))}"
        for supply in supplies
        for file in supply.missing
    ]
    tried.append(f"`cmd battery get -f current_now` answers {quote(asked)}")
    return f"its fuel gauge cannot be read: {'; '.join(tried)}"


def _sysfs_probes(supply: Supply, calibration: Calibration | None) -> tuple[Probe, ...]:
    """Return the probes of a gauge in sysfs; units of power_supply: uV, and uAh for the counter."""
    period = _gauge_period(calibration)
    channels = {
        "current_now": Channel(name=CURRENT, unit="raw"),
        "voltage_now": Channel(name=VOLTAGE, unit="V", scale=1e-6),
        "charge_counter": Channel(name=CHARGE, unit="uAh"),
    }
    numbers = [
        Probe(file=f"{supply.folder}/{file}", period_seconds=period, channels=(channel,))
        for file, channel in channels.items()
        if supply.number(file) is not None
    ]
    if not supply.answers.get("status", "").replace(" ", "").isalpha():
        return tuple(numbers)
    status = Probe(
        file=f"{supply.folder}/status",
        period_seconds=_STATUS_PERIOD_SECONDS,
        reading="charging",
        channels=(Channel(name=CHARGING, unit="boolean"),),
    )
    return (*numbers, status)


def _gauge_period(calibration: Calibration | None) -> float:
    """Return how often a gauge is read: four times as often as it changes, within reason."""
    if calibration is None:
        return _UNKNOWN_PERIOD_SECONDS
    wanted = calibration.refresh_seconds / 4
    return min(max(wanted, _SHORTEST_PERIOD_SECONDS), SLOWEST_POLL_SECONDS)


def _asked_probe() -> Probe:
    """Return the probe of a gauge that sysfs hides: a script that asks the battery service."""
    return Probe(
        command=("sh", "-c", load("power/gauge")),
        period_seconds=SLOWEST_POLL_SECONDS,  # each reading starts two programs
        channels=(
            Channel(name=CURRENT, unit="raw", after="current "),
            Channel(name=VOLTAGE, unit="V", after="\n  voltage:", scale=1e-3),
            Channel(name=CHARGE, unit="uAh", after="Charge counter:"),
            Channel(name=CHARGING, unit="boolean", after="plugged "),
        ),
    )


def make_reading(source: PowerSource) -> Script | None:
    """Return what reads the gauge's current once; None if the source has no such probe."""
    probe = source.current_probe
    if probe is None:
        return None
    return script("power/gauge_once", *(probe.command or ("cat", str(probe.file))))


def parse_reading(source: PowerSource, answer: str) -> float | None:
    """Return the raw current in the answer to `make_reading`."""
    probe = source.current_probe
    if probe is None:
        return None
    after = re.escape(probe.channels[0].after)
    match = re.search(rf"{after}\s*([+-]?\d+)(?![\w.])", answer)
    return float(match[1]) if match else None


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"[+-]?\d+", text) else None
