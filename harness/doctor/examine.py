"""Is a device fit to be measured? Asked, judged, refused.

Not here: the questions (`checks*.py`), how a device is asked (`devices/*/health.py`), and printing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.analysis.energy import needed_phases
from harness.analysis.power_source import explain_none, find_usable
from harness.devices import registry
from harness.devices.base import Attached
from harness.devices.health import Health
from harness.doctor.checks import COMMON, Check
from harness.doctor.checks_android import ANDROID
from harness.doctor.checks_computer import COMPUTER
from harness.doctor.checks_phone import PHONE
from harness.errors import DeviceError, DeviceUnfit, PlanError
from harness.schema.device import LEVELS, DeviceFinding, DeviceInfo, Level
from harness.schema.plan import Measure, Plan
from harness.schema.power import PowerSource

ACCEPT_ALL = "all"


# Of a device that is attached and cannot be asked.
NOT_READY = "not-ready"
# Of its sources of power: judged apart from its health, and in a run only if the plan wants energy.
ENERGY = "energy"
CHECKS: dict[str, tuple[Check, ...]] = {
    "local": COMMON + COMPUTER,
    "android": COMMON + PHONE + ANDROID,
}
"""What is asked of each kind of device: a new driver is a line here."""
KEYS = frozenset(check.key for checks in CHECKS.values() for check in checks) | {NOT_READY, ENERGY}


def judge(health: Health) -> tuple[DeviceFinding, ...]:
    """Return what was found on a device, the gravest first."""
    findings = [
        DeviceFinding(key=check.key, level=verdict[0], text=verdict[1], advice=verdict[2])
        for check in CHECKS[health.kind]
        if (verdict := check.look(health)) is not None
    ]
    return _sorted(findings)


def _sorted(findings: Iterable[DeviceFinding]) -> tuple[DeviceFinding, ...]:
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))


def examine(info: DeviceInfo, measure_link: bool) -> tuple[DeviceFinding, ...]:
    """Examine a device that is ready, for whatever it may be used. Raises DeviceError."""
    found = judge(registry.read_health(info, measure_link))
    return _sorted((*found, judge_energy(registry.read_power_sources(info))))


def examine_for(info: DeviceInfo, plan: Plan) -> tuple[DeviceFinding, ...]:
    """Examine a device for what a plan wants of it, energy too. Raises DeviceError."""
    found = judge(registry.read_health(info, measure_link=False))
    if "energy" not in plan.measure.passes:
        return found
    return _sorted((*found, judge_energy(registry.read_power_sources(info), plan)))


def judge_energy(sources: Sequence[PowerSource], plan: Plan | None = None) -> DeviceFinding:
    """Tell which source of power a plan takes on a device, or why it has none that will do.

    Without a plan: what one with the defaults would take, and nothing is serious.
    """
    measure = plan.measure if plan is not None else Measure()
    usable, refused = find_usable(sources, measure)
    needed = needed_phases(usable) if usable is not None else None
    if usable is not None and not (needed and needed.exceed(measure)):
        return DeviceFinding(key=ENERGY, level="ok", text=f"energy comes from: {usable.name}")
    if usable is not None:
        found = (
            f"{usable.name} is refreshed too seldom for measure.baseline_seconds = "
            f"{measure.baseline_seconds:g} and measure.energy_seconds = {measure.energy_seconds:g}"
        )
        enough = {
            key: max(getattr(needed, key), getattr(measure, key))
            for key in ("baseline_seconds", "energy_seconds")
        }
        options = " ".join(f"--set measure.{key}={value:g}" for key, value in enough.items())
        ways = [f"give the plan {needed} ({options})"]
    elif refused:
        reasons = "; ".join(f"{source.name}: {source.refusal}" for source in refused)
        found = f"nothing can measure energy ({reasons})"
        ways = [source.advice.rstrip(".") for source in refused if source.advice]
    else:
        found = f"nothing can measure energy: {explain_none(sources, measure)}"
        ways = ['take one of these, or measure.energy_source = "best"']
    if plan is not None:
        ways.append("leave energy out of measure.passes")
    level: Level = "serious" if plan is not None else "warning"
    return DeviceFinding(key=ENERGY, level=level, text=found, advice="; or: ".join(ways))


def examine_attached(
    seen: Sequence[Attached], measure_link: bool
) -> dict[str, tuple[DeviceFinding, ...]]:
    """Examine devices one after the other; one that cannot be asked is a finding itself."""
    return {found.id: _examine_attached(found, measure_link) for found in seen}


def _examine_attached(found: Attached, measure_link: bool) -> tuple[DeviceFinding, ...]:
    if found.info is None:
        return (_not_ready(f"it is {found.state}", found.advice),)
    try:
        return examine(found.info, measure_link)
    except DeviceError as error:
        return (_not_ready(error.message, error.advice),)


def _not_ready(found: str, advice: str) -> DeviceFinding:
    return DeviceFinding(key=NOT_READY, level="serious", text=found, advice=advice)


def examine_before(infos: Sequence[DeviceInfo], plan: Plan) -> dict[str, tuple[DeviceFinding, ...]]:
    """Examine all devices of a run at once, without slowing what is measured elsewhere.

    Raises the first DeviceError.
    """
    with ThreadPoolExecutor(max_workers=len(infos) or 1) as pool:
        found = pool.map(lambda info: examine_for(info, plan), infos)
        return dict(zip((info.id for info in infos), found, strict=True))


def parse_accepted(text: str | None) -> tuple[str, ...]:
    """Read the keys of --accept. Raises PlanError, naming those there are."""
    keys = tuple(dict.fromkeys(key.strip() for key in (text or "").split(",") if key.strip()))
    for key in keys:
        if key not in KEYS | {ACCEPT_ALL}:
            raise PlanError(
                f"--accept {key}: there is no such finding",
                f"Findings: {', '.join(sorted(KEYS))}; or {ACCEPT_ALL}.",
            )
    return keys


def is_accepted(finding: DeviceFinding, accepted: Collection[str]) -> bool:
    """Tell whether a finding does not stand in the way, or was accepted."""
    return finding.level != "serious" or ACCEPT_ALL in accepted or finding.key in accepted


def refuse_unfit(
    findings: Mapping[str, Iterable[DeviceFinding]], accepted: Collection[str]
) -> None:
    """Raise DeviceUnfit, naming every serious finding that was not accepted and its way out."""
    refused = [
        (device, finding)
        for device, found in findings.items()
        for finding in found
        if not is_accepted(finding, accepted)
    ]
    if not refused:
        return
    lines = [f"  {device}: {f.key}: {f.text}\n    {f.advice}" for device, f in refused]
    keys = ",".join(dict.fromkeys([*accepted, *(finding.key for _, finding in refused)]))
    raise DeviceUnfit(
        "not fit to be measured; nothing was started\n" + "\n".join(lines),
        f"Or measure all the same, and have it written into the sweep: --accept {keys}",
    )
