"""Is a device fit to be measured? Its health, judged: one function a question, one table of limits.

Not here: how a device is asked (`devices/*_health.py`), and how findings are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.analysis.energy import needed_phases
from harness.analysis.power_source import explain_none, find_usable
from harness.analysis.validity import LIMITS as VALIDITY_LIMITS
from harness.devices import registry as devices
from harness.devices.base import Attached
from harness.devices.health import Health, Link
from harness.errors import DeviceError, DeviceUnfit, PlanError
from harness.schema.device import LEVELS, DeviceFinding, DeviceInfo, Level
from harness.schema.plan import Measure, Plan
from harness.schema.power import PowerSource

ACCEPT_ALL = "all"


@dataclass(frozen=True)
class Limits:
    """Where a reason to worry begins, and where that number comes from."""

    # What makes every launch suspect is better told before.
    battery_percent: float = VALIDITY_LIMITS.battery_percent
    # Android's PowerManager: 1 (light) limits nothing that a user would notice, 2 (moderate) does.
    throttling_status: int = 2
    # Pixels' own thermal configuration calls a skin of 39 degrees light, and 41 moderate.
    warm_celsius: float = 37
    hot_celsius: float = 41
    # Desktop and server processors throttle from 90 to 100 degrees.
    computer_warm_celsius: float = 85
    # A whole core is what one thread of the model would have had.
    busy_cores: float = 1.0
    some_load_cores: float = 0.3
    # From 500 MB on (StorageManager) Android clears caches while it is used; the runtime of one
    # engine with a model takes about 200 MB.
    low_space_bytes: int = 500_000_000
    full_bytes: int = 256_000_000
    # Below it a core has been limited by more than the steps of its clock.
    clock_cap: float = 0.95
    # USB 2 carries 35 to 40 MB/s at best: a link below 5 is a bad cable, a hub, or weak Wi-Fi.
    slow_link_bytes_per_second: float = 5e6
    usb2_bytes_per_second: float = 45e6


LIMITS = Limits()

_Verdict = tuple[Level, str, str]
_Judge = Callable[[Health], _Verdict | None]
_UNREADABLE = "cannot be read"


def _unreadable(advice: str) -> _Verdict:
    return "warning", _UNREADABLE, advice


def _in_use(health: Health) -> _Verdict:
    match health.holder:
        case None:
            return _unreadable("Whether another host measures on it is known when it is opened.")
        case "":
            return "ok", "nobody else measures on it", ""
    return (
        "serious",
        f"it is in use by {health.holder}",
        "Wait until that is done; a host that has died lets go by itself after a minute.",
    )


def _emulator(health: Health) -> _Verdict:
    if health.virtual_signs is None:
        return _unreadable("Times measured on an emulator say nothing about a phone.")
    if health.virtual_signs:
        return (
            "serious",
            f"it is an emulator ({health.virtual_signs})",
            "Measure on a phone: an emulator's times say nothing about one.",
        )
    return "ok", "a physical phone, by all it says", ""


def _virtualised(health: Health) -> _Verdict:
    if health.virtual_signs is None:
        return _unreadable("A virtual machine shares its processor with neighbours.")
    if health.virtual_signs:
        return (
            "warning",
            f"a virtual machine or container ({health.virtual_signs})",
            "Neighbours come and go: trust comparisons within one sweep only, or measure on "
            "hardware of your own.",
        )
    return "ok", "no virtual machine, no container", ""


def _build_type(health: Health) -> _Verdict:
    match health.build_type:
        case None:
            return _unreadable("Engineering builds of Android are slower than what users have.")
        case "user":
            return "ok", "a user build, as it is sold", ""
        case "eng":
            return (
                "serious",
                "an engineering build (eng), full of checks that cost time",
                "Install a user or userdebug build.",
            )
    return (
        "warning",
        f"a debuggable build ({health.build_type})",
        "Its numbers may differ from those of the user build that is sold.",
    )


def _battery_low(health: Health) -> _Verdict:
    percent = health.conditions.battery_percent
    if percent is None:
        return _unreadable("See that it is charged: phones save power on a low battery.")
    if percent < LIMITS.battery_percent:
        return (
            "serious",
            f"the battery is at {percent:.0f}%",
            f"Charge it to {LIMITS.battery_percent:.0f}% or more: phones save power below.",
        )
    return "ok", f"the battery is at {percent:.0f}%", ""


def _battery_frozen(health: Health) -> _Verdict | None:
    if not health.battery_frozen:
        return None
    return (
        "serious",
        "the battery's readings are made up (`dumpsys battery set` or `unplug`)",
        "adb shell dumpsys battery reset",
    )


def _battery_saver(health: Health) -> _Verdict:
    if health.battery_saver is None:
        return _unreadable("See that the battery saver is off: it lowers the clocks.")
    if health.battery_saver:
        return (
            "serious",
            "the battery saver is on: it lowers the clocks",
            "adb shell settings put global low_power 0",
        )
    return "ok", "the battery saver is off", ""


def _charging(health: Health) -> _Verdict:
    match health.conditions.charging:
        case None:
            return _unreadable("Charging warms the phone, and hides what a model consumes.")
        case True:
            return (
                "warning",
                "it charges, which warms it and hides what a model consumes",
                "Charge it fully first, or set device.suspend_charging = true in the plan.",
            )
    return "ok", "it does not charge", ""


def _throttling(health: Health) -> _Verdict:
    status = health.conditions.thermal_status
    if status is None:
        return _unreadable("Throttling would show only as drift in the launches.")
    if status == 0:
        return "ok", "it does not throttle (thermal status 0)", ""
    level: Level = "serious" if status >= LIMITS.throttling_status else "warning"
    return level, f"it throttles (thermal status {status} of 6)", "Let it cool down."


def _temperature(health: Health) -> _Verdict:
    celsius = health.conditions.temperature_celsius
    if celsius is None:
        return _unreadable("Throttling would show only as drift in the launches.")
    found = f"{celsius:.0f} °C"
    cool = "Let it cool down: out of its case, off the charger, out of the sun."
    if not health.is_phone:
        if celsius >= LIMITS.computer_warm_celsius:
            return "warning", found, "See to its cooling, or stop what else it computes."
        return "ok", found, ""
    if celsius >= LIMITS.hot_celsius:
        return "serious", found, cool
    return ("warning", found, cool) if celsius >= LIMITS.warm_celsius else ("ok", found, "")


def _busy(health: Health) -> _Verdict:
    if health.load is None:
        return _unreadable("See that nothing else runs.")
    cores = health.load.cores
    names = ", ".join(f"{busy.name} {busy.cores:.1f}" for busy in health.load.top)
    found = f"{cores:.1f} cores are busy" + (f": {names}" if names else "")
    if cores < LIMITS.some_load_cores:
        return "ok", found, ""
    # A computer in use is seldom quiet; what that does to the launches is told with the result.
    serious = cores >= LIMITS.busy_cores and health.is_phone
    return "serious" if serious else "warning", found, "Stop it, or wait until it is done."


def _space(health: Health) -> _Verdict:
    if health.free_bytes is None:
        return _unreadable("Files that do not fit are refused before they are sent.")
    found = f"{health.free_bytes / 1e6:.0f} MB are free"
    advice = (
        "Free some space; `phonebench clean DEVICE` removes what is ours."
        if health.is_phone
        else "Free some space: artifacts, runners and sweeps need it."
    )
    if health.free_bytes < LIMITS.full_bytes:
        return "serious", found, advice
    return ("warning", found, advice) if health.free_bytes < LIMITS.low_space_bytes else (
        "ok", found, "",
    )  # fmt: skip


def _tools(health: Health) -> _Verdict:
    if health.missing_tools is None:
        return _unreadable("Its shell does not answer as Android's does.")
    if health.missing_tools:
        return (
            "serious",
            f"its shell lacks {', '.join(health.missing_tools)}",
            "Android 8 and later have them (toybox): update it, or put a toybox on its PATH.",
        )
    return "ok", "its shell has every tool that is needed", ""


def _governor(health: Health) -> _Verdict:
    if health.governors is None:
        return _unreadable("A changing clock would show only as drift or as groups of launches.")
    found = f"governor {', '.join(health.governors)}"
    if health.governors == ("performance",):
        return "ok", found, ""
    advice = (
        "sudo cpupower frequency-set -g performance"
        if not health.is_phone
        else 'Set device.fixed_performance = true in the plan, or, with root, device.governor = '
        '"performance".'
    )  # fmt: skip
    return "warning", f"the clocks are not fixed ({found})", advice


def _clock_cap(health: Health) -> _Verdict:
    if health.clock_cap is None:
        return _unreadable("Clocks that are held down would show only as slower launches.")
    if health.clock_cap < LIMITS.clock_cap:
        return (
            "warning",
            f"a core is held at {health.clock_cap:.0%} of its highest clock",
            "Let it cool down; see that no power mode is on.",
        )
    return "ok", "no core's clock is held down", ""


def _cores_offline(health: Health) -> _Verdict:
    if health.offline_cores is None:
        return _unreadable("Cores that are switched off would show only as slower launches.")
    if health.offline_cores:
        numbers = ", ".join(map(str, health.offline_cores))
        return (
            "warning",
            f"cores offline: {numbers}",
            "Threads crowd on the others. Let it cool down, or reboot it.",
        )
    return "ok", "every core is online", ""


def _screen(health: Health) -> _Verdict:
    if health.screen_on is None:
        return _unreadable("Keep it awake: a phone that dozes pauses what it runs.")
    if health.screen_on:
        return "ok", "the screen is on", ""
    return (
        "warning",
        "the screen is off: the phone may doze, and pause what it runs",
        "Set device.stay_awake = true in the plan, and wake it: adb shell input keyevent WAKEUP",
    )


def _selinux(health: Health) -> _Verdict:
    match health.selinux:
        case None:
            return _unreadable("It only matters for what the phone lets be read.")
        case "Enforcing":
            return "ok", "SELinux enforces, as on every phone that is sold", ""
    return (
        "warning",
        f"SELinux is {health.selinux.lower()}: a changed system",
        "Say so where you publish its numbers.",
    )


def _adb(health: Health) -> _Verdict:
    link = health.link
    if link is None or link.client_version is None or link.server_version is None:
        return _unreadable("Which adb is used: adb version.")
    if link.client_version != link.server_version:
        return (
            "warning",
            f"the adb server speaks version {link.server_version}, phonebench's adb "
            f"{link.client_version}: each restarts the other's server",
            "Set ADBUTILS_ADB_PATH to the adb that you use otherwise.",
        )
    return "ok", f"adb speaks version {link.server_version} throughout", ""


def _link(health: Health) -> _Verdict:
    link = health.link
    if link is None:
        return _unreadable("Files may take long.")
    found = f"attached by {'USB' if link.kind == 'usb' else 'network'}{_speeds(link)}"
    speeds = [s for s in (link.push_bytes_per_second, link.pull_bytes_per_second) if s is not None]
    if speeds and min(speeds) < LIMITS.slow_link_bytes_per_second:
        return "warning", f"{found}: slow", "Try another cable or port, without a hub."
    if link.kind == "network":
        return (
            "warning",
            found,
            "The radio takes power and processor time while it is used; a cable does not.",
        )
    if speeds and max(speeds) < LIMITS.usb2_bytes_per_second:
        found += ", as USB 2 allows"
    return "ok", found, ""


def _speeds(link: Link) -> str:
    if link.push_bytes_per_second is None or link.pull_bytes_per_second is None:
        return ", speed not measured"
    push, pull = link.push_bytes_per_second / 1e6, link.pull_bytes_per_second / 1e6
    return f", {push:.1f} MB/s to it and {pull:.1f} MB/s from it"


def _compiler(health: Health) -> _Verdict:
    if health.compiler is None:
        return (
            "warning",
            "there is no C++ compiler",
            "Install one (Debian: g++): the runner is built on first use.",
        )
    return "ok", f"C++ compiler {health.compiler}", ""


_COMMON: dict[str, _Judge] = {
    "in-use": _in_use,
    "temperature": _temperature,
    "busy": _busy,
    "space-low": _space,
    "clocks-vary": _governor,
    "clocks-held": _clock_cap,
    "cores-offline": _cores_offline,
}
_PHONES: dict[str, _Judge] = {
    "emulator": _emulator,
    "debuggable": _build_type,
    "battery-low": _battery_low,
    "battery-frozen": _battery_frozen,
    "battery-saver": _battery_saver,
    "battery-charging": _charging,
    "throttling": _throttling,
    "tools-missing": _tools,
    "screen-off": _screen,
    "selinux": _selinux,
    "adb": _adb,
    "link": _link,
}
_COMPUTERS: dict[str, _Judge] = {"virtualised": _virtualised, "compiler": _compiler}
# Of a device that is attached and cannot be asked.
NOT_READY = "not-ready"
# Of its sources of power: judged apart from its health, and in a run only if the plan wants energy.
ENERGY = "energy"
KEYS = frozenset({*_COMMON, *_PHONES, *_COMPUTERS, NOT_READY, ENERGY})


def judge(health: Health) -> tuple[DeviceFinding, ...]:
    """Return what was found on a device, the gravest first."""
    judges = _COMMON | (_COMPUTERS if not health.is_phone else _PHONES)
    findings = [
        DeviceFinding(key=key, level=verdict[0], found=verdict[1], advice=verdict[2])
        for key, look in judges.items()
        if (verdict := look(health)) is not None
    ]
    return _sorted(findings)


def _sorted(findings: Iterable[DeviceFinding]) -> tuple[DeviceFinding, ...]:
    return tuple(sorted(findings, key=lambda finding: LEVELS.index(finding.level)))


def examine(info: DeviceInfo, measure_link: bool) -> tuple[DeviceFinding, ...]:
    """Examine a device that is ready, for whatever it may be used. Raises DeviceError."""
    found = judge(devices.read_health(info, measure_link))
    return _sorted((*found, judge_energy(devices.read_power_sources(info))))


def examine_for(info: DeviceInfo, plan: Plan) -> tuple[DeviceFinding, ...]:
    """Examine a device for what a plan wants of it, energy too. Raises DeviceError."""
    found = judge(devices.read_health(info, measure_link=False))
    if "energy" not in plan.measure.passes:
        return found
    return _sorted((*found, judge_energy(devices.read_power_sources(info), plan)))


def judge_energy(sources: Sequence[PowerSource], plan: Plan | None = None) -> DeviceFinding:
    """Tell which source of power a plan takes on a device, or why it has none that will do.

    Without a plan: what one with the defaults would take, and nothing is serious.
    """
    measure = plan.measure if plan is not None else Measure()
    usable, refused = find_usable(sources, measure)
    needed = needed_phases(usable) if usable is not None else None
    if usable is not None and not (needed and needed.exceed(measure)):
        return DeviceFinding(key=ENERGY, level="ok", found=f"energy comes from: {usable.name}")
    if usable is not None:
        found = (
            f"{usable.name} is refreshed too seldom for measure.baseline_seconds = "
            f"{measure.baseline_seconds:g} and measure.energy_seconds = {measure.energy_seconds:g}"
        )
        ways = [f"give the plan {needed} (--baseline-seconds, --energy-seconds)"]
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
    return DeviceFinding(key=ENERGY, level=level, found=found, advice="; or: ".join(ways))


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
    return DeviceFinding(key=NOT_READY, level="serious", found=found, advice=advice)


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
    lines = [f"  {device}: {f.key}: {f.found}\n    {f.advice}" for device, f in refused]
    keys = ",".join(dict.fromkeys([*accepted, *(finding.key for _, finding in refused)]))
    raise DeviceUnfit(
        "not fit to be measured; nothing was started\n" + "\n".join(lines),
        f"Or measure all the same, and have it written into the sweep: --accept {keys}",
    )
