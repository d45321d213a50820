"""The source of power of this computer: RAPL, the processor's own energy counters.

Where they can be read: since Linux 5.10 usually by root alone (CVE-2020-8694). Not here: what the
numbers mean (`harness/analysis/energy.py`).
"""

from __future__ import annotations

from pathlib import Path

from harness.schema.job import Channel, Probe
from harness.schema.power import RAPL_ENERGY, PowerSource

POWERCAP = Path("/sys/class/powercap")
_PERIOD_SECONDS = 0.1  # the counters advance every millisecond, and wrap after a minute or more


def describe_sources(powercap: Path = POWERCAP) -> tuple[PowerSource, ...]:
    """Return RAPL's packages as one source; where they cannot be read it says why.

    A package holds its parts (core, uncore): only packages are read (Linux, powercap.rst). Of
    several packages (sockets) the first is `rapl_energy`, the others have their number behind it.
    """
    packages = sorted(
        (zone for zone in powercap.glob("intel-rapl:*") if zone.name.count(":") == 1),
        key=lambda zone: (len(zone.name), zone.name),
    )
    packages = [zone for zone in packages if _read(zone / "name").startswith("package")]
    if not packages:
        return (
            _refused(
                "it shows no energy counters of its processor (RAPL)",
                "Virtual machines hide them. On real hardware with Linux: sudo modprobe "
                "intel_rapl_msr; root reads them then.",
            ),
        )
    closed = [zone for zone in packages if not _read(zone / "energy_uj").isdigit()]
    if closed:
        return (
            _refused(
                f"{closed[0]}/energy_uj cannot be read by this user",
                f"As root: chmod a+r {powercap}/intel-rapl:*/energy_uj",
            ),
        )
    ranges = [_read(zone / "max_energy_range_uj") for zone in packages]
    wraps_at = float(ranges[0]) if ranges[0].isdigit() else None
    return (
        PowerSource(
            kind="rapl",
            name=f"RAPL ({', '.join(_read(zone / 'name') for zone in packages)})",
            probes=tuple(_probe(zone, number) for number, zone in enumerate(packages)),
            wraps_at=wraps_at,
        ),
    )


def _probe(zone: Path, number: int) -> Probe:
    name = RAPL_ENERGY if number == 0 else f"{RAPL_ENERGY}:{number}"
    return Probe(
        file=str(zone / "energy_uj"),
        period_seconds=_PERIOD_SECONDS,
        channels=(Channel(name=name, unit="uJ"),),
    )


def _refused(refusal: str, advice: str) -> PowerSource:
    return PowerSource(kind="rapl", name="RAPL", refusal=refusal, advice=advice)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
