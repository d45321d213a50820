"""Figures without a browser: what is in them, how they stand in a page, and what they become as files."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib
import numpy as np
import numpy.typing as npt
import pytest

from harness.analysis import metrics
from harness.analysis.cases import CaseSummary, DeviceSummary, SweepSummary
from harness.analysis.launches import Launch
from harness.analysis.stats import Estimate
from harness.analysis.summary import summarise
from harness.errors import PlanError, SweepError
from harness.report import render
from harness.report.figures.axes import span_of
from harness.report.figures.catalogue import KINDS, Choice, choose_plot
from harness.report.figures.files import draw_file
from harness.report.figures.moments import moments_of
from harness.report.figures.page import PageFigures, draw_both, draw_page
from harness.report.figures.plane import pareto_plot
from harness.report.figures.plot import Plot
from harness.report.figures.sheet import Sheet, drawing
from harness.report.figures.strips import latency_plot
from harness.report.figures.style import (
    DARK,
    LIGHT,
    NARROW,
    WIDE,
    Palette,
    Pen,
    Type,
    colours_of,
    layout_of_file,
)
from harness.report.figures.svg import inline_svg, small_path
from harness.report.figures.threads import threads_plot
from harness.report.figures.timeline import representative
from harness.report.html import PAGE
from harness.results.folder import read_sweep
from harness.results.launches import read_checked
from harness.schema.job import Pass
from harness.schema.record import LaunchRecord, Trace
from tests.fakes.sweeps import Shape, write_sweep

HOSTILE = "\"'><script>hit()</script> $x_1^2$ \\frac{1}{2} {{7*7}} & %s"
REVERSED = "\u202egnp.exe\u2066 \x00\x07\x1b[31m 📱👩‍🔬 שלום 小米" + "long-name" * 30
PASSES: tuple[Pass, ...] = ("latency", "memory", "energy")


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> SweepSummary:
    recipes = ("fp32", "fp32-frozen", "int8-dynamic", "int8-static")  # the last one is refused
    shape = Shape(models=("digits",), recipes=recipes, passes=PASSES, rounds=5, not_valid_every=4)
    return summarise(read_sweep(write_sweep(tmp_path_factory.mktemp("figures") / "sweep", shape)))


@pytest.fixture(scope="module")
def page(summary: SweepSummary) -> PageFigures:
    return draw_page(summary)


def phone(summary: SweepSummary) -> DeviceSummary:
    return summary.devices[1]


def svgs(markup: str) -> list[Element]:
    """Return the SVGs of a figure of the page, as a strict parser reads them."""
    return list(ElementTree.fromstring(f"<figure>{markup}</figure>"))


def wide(page: PageFigures, kind: str, model: str = "digits") -> Element:
    figure = page.of(kind, "phone-1", model)
    assert figure is not None
    return svgs(figure.svg)[0]


def all_figures(page: PageFigures) -> list[str]:
    timelines = [one.figure.svg for own in page.timelines.values() for one in own]
    return [*(figure.svg for figure in page.figures.values()), *timelines]


def marks(svg: Element, name: str) -> list[Element]:
    return [path for path in svg.iter("path") if path.get("class") == name]


def words(svg: Element, name: str) -> list[str]:
    found = [text for text in svg.iter("text") if name in (text.get("class") or "").split()]
    return [text.text or "" for text in found]


def moves(path: Element) -> int:
    return len(re.findall("[Mm]", path.get("d") or ""))


def draw_svg(plot: Plot, width: int = 0) -> Element:
    return svgs(draw_both(plot, "one").svg)[width]


# --- what is in them ---------------------------------------------------------------------------------


def test_a_page_has_every_figure_that_its_sweep_has_numbers_for(
    summary: SweepSummary, page: PageFigures
) -> None:
    kinds = {kind for kind, device, _ in page.figures if device == "phone-1"}
    assert kinds == {"latency", "energy", "pareto", "energy-plane", "threads", "order"}
    timed = [case for case in phone(summary).cases if case.latency]
    assert [one.case for one in page.timelines["phone-1"]] == timed


def test_a_lane_has_a_dot_a_launch_and_says_its_case_and_its_number(
    summary: SweepSummary, page: PageFigures
) -> None:
    svg = wide(page, "latency")
    cases = [case for case in phone(summary).cases if case.latency]
    counting = [len(case.of_pass("latency")) for case in cases]
    assert [moves(path) for path in marks(svg, "launch")] == counting
    hollow = sum(moves(path) for path in marks(svg, "hollow rim"))
    assert hollow == sum(
        one.measured_pass == "latency" for case in cases for one in case.doubtful_launches()
    )
    assert hollow > 0
    assert words(svg, "name") == [case.label for case in cases]
    assert words(svg, "setting") == [case.setting for case in cases]
    assert words(svg, "axis") == ["latency, ms"]
    assert len(words(svg, "tick")) >= 3


def test_the_dots_of_a_launch_lie_where_its_latency_is(page: PageFigures) -> None:
    svg = wide(page, "latency")
    ticks = [text for text in svg.iter("text") if text.get("class") == "tick"]
    scale = [(float(tick.text or ""), float(tick.get("x") or "")) for tick in ticks]
    (low, left), (high, right) = scale[0], scale[-1]
    for path, value in zip(marks(svg, "median"), words(svg, "value"), strict=True):
        place = float(re.findall(r"[\d.]+", path.get("d") or "")[0])
        shown = low + (place - left) / (right - left) * (high - low)
        assert shown == pytest.approx(float(value.split(" ms")[0]), abs=0.01 * high)


def test_energies_have_whiskers_and_a_unit(page: PageFigures, summary: SweepSummary) -> None:
    svg = wide(page, "energy")
    assert words(svg, "axis")[0].startswith("energy an inference, mJ")
    known = [case for case in phone(summary).cases if case.energy]
    assert len(marks(svg, "whisker")) == len(known)


def test_the_order_has_a_dot_a_launch_a_step_a_round_and_lost_launches(
    summary: SweepSummary, page: PageFigures
) -> None:
    svg = wide(page, "order", "")
    device = phone(summary)
    latency = [one for one in device.launches if one.measured_pass == "latency"]
    dots = sum(moves(path) for path in marks(svg, "launch"))
    assert dots == sum(one.counts for one in latency)
    lost = sum(moves(path) for path in marks(svg, "lost"))
    assert lost == sum(one.measured is None for one in latency) > 0
    rounds = {one.round for one in latency if one.counts}
    assert sum(moves(path) for path in marks(svg, "round-median")) == len(rounds)
    assert {"fp32", "int8-dynamic", "does not count", "lost launch"} <= set(words(svg, "key"))


def test_a_plane_numbers_its_cases_and_lists_what_they_are(
    summary: SweepSummary, page: PageFigures
) -> None:
    svg = wide(page, "pareto")
    cases = [case for case in phone(summary).cases if case.latency]
    assert len(marks(svg, "bubble")) == len(cases)
    numbers = Counter(words(svg, "number"))
    assert numbers == {str(number): 2 for number in range(1, len(cases) + 1)}
    assert "fp32-frozen, 2 threads" in words(svg, "name")
    assert words(svg, "axis")[0] == "median latency, ms"


@pytest.mark.parametrize("width", [0, 1], ids=["wide", "narrow"])
def test_no_number_of_a_plane_covers_another(tmp_path: Path, width: int) -> None:
    # Ten cases in nearly the same place, and as many in another one.
    shape = Shape(models=("digits",), recipes=("fp32", "fp16"), threads=tuple(range(1, 11)))
    read = summarise(
        read_sweep(write_sweep(tmp_path / "sweep", replace(shape, rounds=1, troubles=False)))
    )
    device = read.devices[0]
    cases = [_moved(case, 1 + 1e-4 * place) for place, case in enumerate(device.cases)]
    plot = pareto_plot(cases, colours_of(read), "")
    assert plot is not None
    drawn = [
        text for text in draw_svg(plot, width).iter("text") if "number" in text.get("class", "")
    ]
    listed = draw_svg(plot, width).findall("text[@class='name ink']")
    in_plane = drawn[: len(drawn) - len(listed)]
    assert len(in_plane) == len(cases)
    for one, other in combinations(in_plane, 2):
        across = abs(float(one.get("x", "")) - float(other.get("x", "")))
        down = abs(float(one.get("y", "")) - float(other.get("y", "")))
        assert across > 12 or down > 9.5


def _moved(case: CaseSummary, latency_ms: float) -> CaseSummary:
    moved = Estimate(latency_ms, None, None, "single", 1)
    return replace(case, estimates={**case.estimates, metrics.LATENCY: moved})


def test_threads_have_a_curve_a_variant_and_names_that_do_not_touch(
    summary: SweepSummary, page: PageFigures
) -> None:
    svg = wide(page, "threads")
    recipes = {case.case.variant.recipe for case in phone(summary).cases if case.latency}
    assert len(marks(svg, "curve")) == len(recipes)
    assert set(words(svg, "name")) == recipes
    assert words(svg, "tick")[-2:] == ["1", "2"]
    names = [text for text in svg.iter("text") if "name" in (text.get("class") or "").split()]
    heights = sorted(float(text.get("y") or "") for text in names)
    assert min(np.diff(heights)) > 13
    assert "on 2 threads" in words(svg, "value")[0]


def test_one_thread_count_makes_no_figure_of_threads(summary: SweepSummary) -> None:
    cases = [case for case in phone(summary).cases if case.case.threads == 1]
    assert threads_plot(cases, colours_of(summary), "") is None


def test_a_timeline_has_its_panels_phases_and_units(page: PageFigures) -> None:
    svg = svgs(page.timelines["phone-1"][0].figure.svg)[0]
    assert words(svg, "title") == [
        "Latency, ms", "Memory, MB", "Power, W", "Temperature, °C", "Clocks, GHz"
    ]  # fmt: skip
    assert words(svg, "phase") == ["idle", "steady", "idle"]
    assert words(svg, "axis") == ["seconds"]
    assert {"readings", "mean of the phase", "skin", "battery", "cores 0–3"} <= set(
        words(svg, "key")
    )
    assert len(marks(svg, "steady")) == 5
    assert len(marks(svg, "idle")) == 10


def test_a_gap_in_the_readings_is_a_gap_in_the_line(summary: SweepSummary) -> None:
    launch, record = _energy_launch(summary)
    gapped = replace(
        record, traces=tuple(_without(trace, 20.0, 40.0, record) for trace in record.traces)
    )
    whole, broken = moments_of(launch, record, ()), moments_of(launch, gapped, ())
    for title in ("Memory", "Temperature", "Clocks"):
        (before,) = [panel for panel in whole.panels if panel.title == title]
        (after,) = [panel for panel in broken.panels if panel.title == title]
        for line in before.lines:
            assert not np.isnan(line.seconds).any()
        for line in after.lines:
            (gap,) = np.flatnonzero(np.isnan(line.seconds))
            assert line.seconds[gap - 1] <= 20.5
            assert line.seconds[gap + 1] >= 39.5
    (power,) = [panel for panel in broken.panels if panel.title == "Power"]
    assert power.lines[0].ends is not None
    inside = (power.lines[0].seconds > 21.5) & (power.lines[0].ends < 39.5)
    assert not inside.any()


def test_a_reading_between_two_gaps_is_still_seen(summary: SweepSummary) -> None:
    launch, record = _energy_launch(summary)
    lonely = [
        _without(_without(trace, 20.0, 30.0, record), 30.6, 40.0, record)
        for trace in record.traces
        if trace.name == "temperature:skin"
    ]
    moments = moments_of(launch, replace(record, traces=tuple(lonely)), ())
    (panel,) = [panel for panel in moments.panels if panel.title == "Temperature"]
    seconds = panel.lines[0].seconds
    seen = seconds[(seconds > 29) & (seconds < 32)]
    assert len(seen) >= 2
    assert seen.max() > seen.min()


def _energy_launch(summary: SweepSummary) -> tuple[Launch, LaunchRecord]:
    case = phone(summary).cases[0]
    launch = representative(case)
    assert launch is not None
    assert launch.measured_pass == "energy"
    return launch, read_checked(summary.folder, launch.entry)


def _without(trace: Trace, begin: float, end: float, record: LaunchRecord) -> Trace:
    """Return a trace without its readings within some seconds of the launch."""
    seconds = (np.asarray(trace.time_ns) - record.header.main_ns) / 1e9
    kept = np.flatnonzero((seconds < begin) | (seconds > end))
    return trace.model_copy(
        update={
            "time_ns": [trace.time_ns[place] for place in kept],
            "values": [trace.values[place] for place in kept],
        }
    )


# --- axes --------------------------------------------------------------------------------------------


def test_an_axis_begins_at_zero_unless_that_would_waste_most_of_it() -> None:
    assert span_of([3.0, 10.0]).low == 0.0
    assert not span_of([3.0, 10.0]).cut
    late = span_of([9.0, 10.0])
    assert late.cut
    assert 8.5 < late.low < 9.0
    assert span_of([-1.0, 10.0]).low < -1.0
    assert span_of([0.0, 0.0]).high > 0.0
    wide_apart = span_of([1.0, 100.0], may_be_logarithmic=True)
    assert wide_apart.logarithmic


def test_an_axis_that_does_not_begin_at_zero_says_so_and_begins_at_a_tick(
    summary: SweepSummary,
) -> None:
    timed = [case for case in phone(summary).cases if case.latency]
    cases = [_moved(case, 10 + 0.1 * place) for place, case in enumerate(timed)]
    plot = pareto_plot(cases, colours_of(summary), "")
    assert plot is not None
    svg = draw_svg(plot)
    for title in words(svg, "axis"):
        begin = re.search(r"the axis begins at ([\d.]+%?)", title)
        assert begin is not None, title
        assert begin[1] in words(svg, "tick")


# --- how they stand in a page ------------------------------------------------------------------------


def test_colours_are_the_pages_and_none_of_what_they_were_drawn_in_is_left(
    page: PageFigures,
) -> None:
    known = {f"var(--{name})" for name in LIGHT}
    for markup in all_figures(page):
        assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgb\(", markup)
        for svg in svgs(markup):
            for element in svg.iter("path"):
                inks = {element.get("fill"), element.get("stroke")} - {None, "none"}
                assert inks
                assert inks <= known
    used = set(re.findall(r"var\(--(\w+)\)", "".join(all_figures(page))))
    assert {"c0", "c1", "c2", "c3", "line", "paper"} <= used


def test_the_palettes_are_the_variables_of_the_page() -> None:
    css = (PAGE / "report.css").read_text()
    light, dark = css.split("prefers-color-scheme: dark", 1)
    for part, palette in ((light, LIGHT), (dark.split("}", 1)[0], DARK)):
        values = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", part))
        for name, colour in palette.items():
            assert values[name] in (colour, colour[:4]), name
        assert len(set(palette.values())) == len(palette)


def test_ids_are_unique_in_a_page_and_every_reference_leads_to_one(
    summary: SweepSummary, tmp_path: Path
) -> None:
    html = render([summary.folder], tmp_path / "report.html").path.read_text()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'aria-describedby="([^"]+)"', html)) <= set(ids)
    assert 'href="#' in html
    assert not re.search(r"url\(|xlink|<use|<image|clip-path|<metadata|<style[^>]*>\s*\*", html)


def test_every_svg_is_spoken_of_and_drawn_for_two_widths(page: PageFigures) -> None:
    for markup in all_figures(page):
        both = svgs(markup)
        assert [svg.get("class") for svg in both] == ["wide", "narrow"]
        for svg in both:
            assert svg.get("role") == "img"
            assert svg.get("aria-label")
            (desc,) = svg.findall("desc")
            assert desc.get("id") == svg.get("aria-describedby")
            assert len(desc.text or "") > 20
        boxes = [float((svg.get("viewBox") or "").split()[2]) for svg in both]
        assert boxes == [WIDE.width, NARROW.width]


def test_nothing_is_drawn_outside_of_its_figure(page: PageFigures) -> None:
    for markup in all_figures(page):
        for svg in svgs(markup):
            width, height = map(float, (svg.get("viewBox") or "").split()[2:])
            for text in svg.iter("text"):
                assert -1 <= float(text.get("x") or "") <= width + 1, text.text
                assert 0 <= float(text.get("y") or "") <= height, text.text


def test_the_same_figures_are_the_same_bytes_however_many_processes_draw_them(
    summary: SweepSummary, page: PageFigures
) -> None:
    assert draw_page(summary, processes=2) == page


def test_threads_may_draw_at_the_same_time(summary: SweepSummary) -> None:
    plot = latency_plot(phone(summary).cases, colours_of(summary), "")
    assert plot is not None
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw_both(plot, "one").svg, range(6)))
    assert len(set(drawn)) == 1


def test_the_users_own_settings_change_nothing_and_stay_as_they_were(
    summary: SweepSummary, monkeypatch: pytest.MonkeyPatch
) -> None:
    plot = threads_plot(phone(summary).cases, colours_of(summary), "")
    assert plot is not None
    before = draw_both(plot, "one").svg
    settings: Any = matplotlib.rcParams
    for key, value in (
        ("font.size", 30.0), ("axes.facecolor", "red"), ("svg.fonttype", "path"), ("lines.marker", "o"),
    ):  # fmt: skip
        monkeypatch.setitem(settings, key, value)
    assert draw_both(plot, "one").svg == before
    assert matplotlib.rcParams["svg.fonttype"] == "path"
    assert "matplotlib.pyplot" not in sys.modules


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    shape = Shape(
        models=(HOSTILE,), device_names=(HOSTILE, REVERSED), passes=PASSES, rounds=2, threads=(1, 2),
        zone_names=(HOSTILE, REVERSED, "_hidden"), evaluated=(HOSTILE,), gauge_name=HOSTILE + REVERSED,
    )  # fmt: skip
    page = draw_page(summarise(read_sweep(write_sweep(tmp_path / "sweep", shape))))
    whole = "".join(all_figures(page))
    assert "<script" not in whole
    assert not set("\u202e\u2066\x00\x07\x1b") & set(whole)
    keys = [
        key for svg in svgs(page.timelines["phone-1"][0].figure.svg) for key in words(svg, "key")
    ]
    assert HOSTILE[:27] + "…" in keys
    assert "_hidden" in keys
    assert any("�[31m" in key for key in keys)
    longest = max(
        len(text.text or "")
        for markup in all_figures(page)
        for svg in svgs(markup)
        for text in svg.iter("text")
    )
    assert longest < 130


def test_mathematics_in_a_name_is_not_typeset() -> None:
    with drawing():
        sheet = Sheet(WIDE, words=1, planes=2)
        sheet.words(5, 20, r"$x_1^2$ $\frac{1}{2}$ $\broken", Type("name"))
        drawn = sheet.write("svg", on_paper=False)
    svg = inline_svg(drawn, key="one", role="wide", title="t", spoken="s")
    assert r"$x_1^2$ $\frac{1}{2}$ $\broken" in svg


def test_what_is_not_understood_is_an_error_not_left_out() -> None:
    def svg_of(draw: object) -> bytes:
        with drawing():
            sheet = Sheet(WIDE, words=1, planes=2)
            axes = sheet.axes(0, 0, 100, 30)
            draw(sheet, axes)  # type: ignore[operator]
            return sheet.write("svg", on_paper=False)

    def inline(drawn: bytes) -> str:
        return inline_svg(drawn, key="one", role="wide", title="t", spoken="s")

    with pytest.raises(ValueError, match="cannot make a small SVG"):
        inline(svg_of(lambda _, axes: axes.plot([0, 1], [0, 1], "o", color=LIGHT["c1"])))
    with pytest.raises(KeyError):
        inline(svg_of(lambda _, axes: axes.plot([0, 1], [0, 1], color="#abcdef", clip_on=False)))
    known = Pen("line", "c1", 0.1)
    assert "var(--c1)" in inline(
        svg_of(lambda sheet, axes: sheet.line(axes, [(0, 0), (1, 1)], known))
    )


@pytest.mark.parametrize(
    ("steps", "small"),
    [
        ("M 1 2 \nL 3 2 \nL 3 4.5 \n", "M1 2h2v2.5"),
        ("M 0.04 10 L 0.06 10", "M0 10h.1"),
        ("M 5 5 L 5.0001 5 M 7 4 L 7.0001 4", "M5 5h0m2-1h0"),
        ("M 0 0 L 1 1 L 0 1 z M 2 2 L 3 3", "M0 0l1 1h-1zM2 2l1 1"),
        ("M 0 0 C 1 0 2 1 2 2 Q 3 3 4 2", "M0 0c1 0 2 1 2 2q1 1 2 0"),
        ("M -1.25 1e-5 L -2.5 0", "M-1.2 0h-1.3"),
    ],
)
def test_paths_are_told_in_few_letters(steps: str, small: str) -> None:
    assert small_path(steps) == small


# --- colours for everyone ----------------------------------------------------------------------------

# Machado, Oliveira & Fernandes 2009, severity 1; Björn Ottosson 2020 (Oklab).
NO_RED = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]
NO_GREEN = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
NO_BLUE = [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.303900],
]
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_OKLAB = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099], [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def linear(colour: str) -> npt.NDArray[np.float64]:
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "vision", [np.eye(3), NO_RED, NO_GREEN, NO_BLUE], ids=["all", "no red", "no green", "no blue"]
)
def test_everyone_can_tell_the_colours_of_recipes_apart(
    palette: Palette, vision: npt.ArrayLike
) -> None:
    seen = [np.clip(np.array(vision) @ linear(palette[f"c{n}"]), 0, 1) for n in range(8)]
    shown = [np.array(TO_OKLAB) @ np.cbrt(np.array(TO_CONES) @ colour) for colour in seen]
    distances = [float(np.linalg.norm(one - other)) for one, other in combinations(shown, 2)]
    assert min(distances) > 0.06


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_of_a_mark_stands_out_from_paper(palette: Palette) -> None:
    def light(name: str) -> float:
        return float(linear(palette[name]) @ [0.2126, 0.7152, 0.0722])

    for number in range(8):
        low, high = sorted((light(f"c{number}"), light("paper")))
        assert (high + 0.05) / (low + 0.05) > 3.0


# --- as files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plots(summary: SweepSummary) -> dict[str, Plot]:
    sweep = read_sweep(summary.folder)
    return {kind: choose_plot(kind, sweep, summary, Choice("phone-1")) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_becomes_a_png_of_the_size_that_was_asked_for(
    plots: dict[str, Plot], kind: str
) -> None:
    content = draw_file(plots[kind], layout_of_file(8.0, 6.5), "png")
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", content[16:24]) == (1600, 1300)
    assert b"matplotlib" not in content


@pytest.mark.parametrize("kind", KINDS)
def test_a_height_that_has_no_room_for_the_words_is_refused_with_one_that_has(
    plots: dict[str, Plot], kind: str
) -> None:
    with pytest.raises(PlanError, match="needs a height of") as refused:
        draw_file(plots[kind], layout_of_file(4.0, 1.5), "svg")
    (inches,) = re.findall(r"[\d.]+", refused.value.message)
    svg = draw_file(plots[kind], layout_of_file(4.0, float(inches)), "svg")
    root = ElementTree.fromstring(svg)
    height = float((root.get("height") or "").removesuffix("pt"))
    assert height == pytest.approx(72 * float(inches), abs=0.1)
    places = [float(text.get("y") or "") for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert max(places) <= height


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_becomes_a_pdf_and_an_svg_that_say_nothing_of_when(
    plots: dict[str, Plot], kind: str
) -> None:
    pdf = draw_file(plots[kind], layout_of_file(3.4, dark=True), "pdf")
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert b"CreationDate" not in pdf
    svg = draw_file(plots[kind], layout_of_file(7.5), "svg")
    assert svg == draw_file(plots[kind], layout_of_file(7.5), "svg")
    root = ElementTree.fromstring(svg)
    assert root.get("width") == "540pt"
    assert [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert set(re.findall(rb"https?://[^\"]+", svg)) == {b"http://www.w3.org/2000/svg"}
    assert b"var(" not in svg
    assert LIGHT["paper"].encode() in svg


def test_a_dark_file_is_dark(plots: dict[str, Plot]) -> None:
    svg = draw_file(plots["threads"], layout_of_file(5, dark=True), "svg").decode()
    inks = set(re.findall(r"#[0-9a-f]{6}", svg))
    assert {DARK["paper"], DARK["ink"], DARK["c0"]} <= inks <= set(DARK.values())


def test_a_figure_that_a_sweep_has_nothing_for_is_refused_with_what_it_needs(
    tmp_path: Path,
) -> None:
    shape = Shape(
        models=("digits",), recipes=("fp32",), threads=(1,), passes=("latency",), rounds=1
    )
    folder = write_sweep(tmp_path / "sweep", replace(shape, device_names=("desk",), troubles=False))
    sweep = read_sweep(folder)
    for kind in ("energy", "pareto", "energy-plane", "threads", "timeline"):
        with pytest.raises(SweepError, match=f"nothing for the figure {kind}") as refused:
            choose_plot(kind, sweep, summarise(sweep), Choice())
        assert refused.value.advice.startswith("It needs")


def test_the_report_alone_loads_matplotlib(summary: SweepSummary, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import harness.report, harness.report.figures.page, harness.report.figures.catalogue\n"
        "import harness.report.html, harness.cli\n"
        "print('matplotlib' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
