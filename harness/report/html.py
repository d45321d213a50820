"""Turns a summed-up sweep into one self-contained HTML file.

Names of models and devices are hostile input: everything is escaped by Jinja, and characters
that would hide, reorder or break text are made visible first. The page asks the network for
nothing, its Content-Security-Policy forbids it, and it reads the same without its script.
The same sweep gives the same bytes. Not here: what the numbers are.
"""

from __future__ import annotations

import base64
import hashlib
import shlex
import unicodedata
from pathlib import Path
from typing import Any

import tomli_w
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.analysis import case_energy, words
from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.doubts import sampling_shares
from harness.analysis.launches import Launch
from harness.analysis.stats import Estimate, difference_is_shown
from harness.report import plots
from harness.report.definitions import DEFINITIONS, FLAG_WORDS
from harness.report.timeline import MOST_TIMELINES, draw_timelines
from harness.report.verdict import judge

PAGE = Path(__file__).parent / "page"
COLOURS = 8


def render_html(summary: SweepSummary) -> str:
    """Return the whole report as HTML."""
    script = (PAGE / "report.js").read_text(encoding="utf-8")
    template = _environment(summary).get_template("report.html.j2")
    timelines, left_out = draw_timelines(summary)
    return template.render(
        summary=summary,
        file=summary.file,
        style=Markup((PAGE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        command=shlex.join(summary.file.command),
        directory=shlex.quote(summary.file.directory),
        plan_toml=tomli_w.dumps(
            summary.file.plan.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
        ),
        definitions=DEFINITIONS,
        flag_words=FLAG_WORDS,
        timelines=timelines,
        timelines_left_out=left_out,
        launches=sum(len(device.launches) for device in summary.devices),
    )


def _environment(summary: SweepSummary) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_readable,
    )
    environment.globals.update(
        judge=judge,
        draw_strips=plots.draw_strips,
        draw_order=plots.draw_order,
        draw_pareto=plots.draw_pareto,
        draw_energies=plots.draw_energies,
        draw_energy_plane=plots.draw_energy_plane,
        frame=plots.FRAME,
        models_of=_models_of,
        own_flags=_own_flags,
        conditions_of=_conditions_of,
        engines_of=_engines_of,
        profiles_of=_profiles_of,
        power_sources_of=_power_sources_of,
        efforts_of=_efforts_of,
        energy_unit=_energy_unit,
        ran_pass=_ran_pass,
        most=MOST_TIMELINES,
        why_not=_why_not,
        why_missing=_why_missing,
        colour=_colours(summary),
        dash=words.DASH,
    )
    environment.filters.update(
        milliseconds=words.milliseconds,
        megabytes=words.megabytes,
        seconds=words.seconds,
        significant=words.significant,
        percent=words.percent,
        plural=words.plural,
        shortly=words.count,
        bounds=words.bounds,
        speedup_words=words.speedup_words,
        growth_words=words.growth_words,
        ratio_words=case_energy.ratio_words,
        shares_words=case_energy.shares_words,
        ratio_colour=_ratio_colour,
        fidelity_words=words.fidelity_words,
        fidelity_order=words.fidelity_order,
        moment=words.moment,
        shorten=_shorten,
    )
    return environment


def _readable(value: Any) -> Any:
    """Return text with what would hide, reorder or break it replaced by a visible mark.

    That is control characters, lone surrogates, and the invisible characters that change the
    direction of what follows (UAX #9); joiners inside emoji stay.
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    if value.isprintable():
        return value
    return "".join(character if _is_harmless(character) else "�" for character in value)


def _is_harmless(character: str) -> bool:
    return character in "\n\u200c\u200d" or unicodedata.category(character)[0] != "C"


def _shorten(text: str, length: int = 40) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _colours(summary: SweepSummary) -> dict[str, str]:
    """Give every recipe one colour, the same in every plot and table."""
    recipes = dict.fromkeys(
        case.case.variant.recipe for device in summary.devices for case in device.cases
    )
    return {recipe: f"c{place % COLOURS}" for place, recipe in enumerate(recipes)}


def _models_of(device: DeviceSummary) -> list[str]:
    return list(dict.fromkeys(case.case.variant.model for case in device.cases))


def _own_flags(case: CaseSummary, device: DeviceSummary) -> list[str]:
    """Return a case's flags, without those that all cases have: these are said once, on top."""
    timed = [set(other.flags) for other in device.cases if other.latency_ns is not None]
    shared = set.intersection(*timed) if len(timed) > 1 else set()
    return [flag for flag in case.flags if flag not in shared]


def _conditions_of(device: DeviceSummary) -> list[tuple[str, str]]:
    """Return the range of what the device told of itself around its launches."""
    told = [c for one in device.launches for c in (one.before, one.after) if c is not None]
    rows: list[tuple[str, str]] = []

    def add(name: str, values: list[float], unit: str) -> None:
        if values:
            low, high = words.significant(min(values)), words.significant(max(values))
            rows.append((name, f"{low} {unit}" if low == high else f"{low} to {high} {unit}"))

    add("Temperature", [c.temperature_celsius for c in told if c.temperature_celsius], "°C")
    add("Load average, 1 minute", [c.load_1min for c in told if c.load_1min is not None], "")
    add(
        "Memory available",
        [c.memory_available_bytes / 1e9 for c in told if c.memory_available_bytes],
        "GB",
    )
    add("Clocks", [khz / 1e6 for c in told for khz in c.clocks_khz or ()], "GHz")
    add("Clock limits", [khz / 1e6 for c in told for khz in c.clock_limits_khz or ()], "GHz")
    add("Thermal status", [c.thermal_status for c in told if c.thermal_status is not None], "")
    add("Battery", [c.battery_percent for c in told if c.battery_percent is not None], "%")
    governors = sorted({c.governor for c in told if c.governor})
    if governors:
        rows.append(("Governor", ", ".join(governors)))
    return rows


def _power_sources_of(device: DeviceSummary) -> list[str]:
    """Name each source of power that was used on this device."""
    used = [one.power for one in device.launches if one.power is not None]
    return list(dict.fromkeys(map(case_energy.describe_source, used)))


def _efforts_of(device: DeviceSummary) -> list[tuple[str, str]]:
    """Return what was done for the launches' sake, and what watching them cost."""
    rows = []
    cooled = [one.cooled_seconds for one in device.launches if one.cooled_seconds]
    if cooled:
        waits = words.plural(len(cooled), "launch", "launches")
        rows.append(("Cooled down", f"{words.significant(sum(cooled))} s in all, before {waits}"))
    shares = sampling_shares(device)
    if shares:
        told = ", ".join(f"{name} pass {100 * share:.2g}%" for name, share in shares.items())
        rows.append(("Sampling", f"{told} of one core"))
    return rows


def _energy_unit(cases: list[CaseSummary]) -> tuple[str, float]:
    return case_energy.joule_unit([one.energy.joules.median for one in cases if one.energy])


def _ran_pass(device: DeviceSummary, measured_pass: str) -> bool:
    return any(one.measured_pass == measured_pass for one in device.launches)


def _ratio_colour(ratio: Estimate) -> str:
    """Return the class of a ratio of energies: coloured only where an interval shows it."""
    if not difference_is_shown(ratio):
        return ""
    return "faster" if ratio.median < 1 else "slower"


def _why_not(launch: Launch) -> str:
    """Say in one line why a launch does not count."""
    if launch.numbers is None:
        return f"{launch.status}: {launch.reason}" if launch.reason else launch.status
    reasons = "; ".join(reason.text for reason in launch.validity.reasons)
    return f"{launch.validity.level}: {reasons}" if reasons else launch.validity.level


def _why_missing(case: CaseSummary, measured_pass: str) -> str:
    """Say in a few words why a case lacks the numbers of a pass."""
    ran = [launch for launch in case.launches if launch.measured_pass == measured_pass]
    if any(launch.counts for launch in ran):
        return "not measured"
    return f"no {measured_pass} launch counts" if ran else f"no {measured_pass} pass"


def _engines_of(device: DeviceSummary) -> list[str]:
    """Return each engine, runner and compiler that wrote a result on this device."""
    headers = [one.numbers.header for one in device.launches if one.numbers is not None]
    return sorted(
        {
            f"{h.engine.name} {h.engine.version}, runner {h.runner.version} ({h.runner.compiler})"
            for h in headers
        }
    )


def _profiles_of(device: DeviceSummary) -> list[tuple[Any, list[tuple[str, float, float, float]]]]:
    """Return each profiled case with its ten costliest operators.

    An operator is (name, calls an inference, self time in ns an inference, share of all).
    """
    profiles = []
    for case in device.cases:
        profile = next((n.operators for n in case.of_pass("profile") if n.operators), None)
        if profile is None or not profile.iterations:
            continue
        whole = sum(one.self_ns for one in profile.operators) or 1
        costly = sorted(profile.operators, key=lambda one: (-one.self_ns, one.name))[:10]
        rows = [
            (
                one.name,
                one.calls / profile.iterations,
                one.self_ns / profile.iterations,
                one.self_ns / whole,
            )
            for one in costly
        ]
        profiles.append((case, rows))
    return profiles
