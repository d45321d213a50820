"""The report in a real browser: what it shows is what the files say, and it asks for nothing."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from harness.analysis.summary import summarise
from harness.errors import StorageError, SweepError
from harness.report import render
from harness.results.folder import read_sweep
from harness.schema.plan import parse_plan
from tests.fakes.sweeps import GaugeTrouble, Shape, write_sweep
from tests.report.browser import open_page

pytestmark = pytest.mark.slow  # a real browser

HOSTILE = "\"'><script>window.hit=1</script><img src=x onerror='window.hit=2'>$x_1^2$ {{7*7}} "
REVERSED = "\u202egnp.exe\u2066 \x00\x07\x1b[31m 📱👩‍🔬 " + "long-name" * 30

CONTRASTS = """() => {
  const parse = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
  const light = ([r, g, b]) => {
    const f = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] > 0) return c;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (["SCRIPT", "TITLE", "title"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const ink = light(parse(element.closest("svg") ? style.fill : style.color));
    const paper = light(behind(element));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push([walker.currentNode.data.trim(), ratio]);
  }
  return poor;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = Shape(passes=("latency", "memory", "energy", "profile"), not_valid_every=5)
    return write_sweep(tmp_path_factory.mktemp("report") / "sweep", shape)


@pytest.fixture(scope="module")
def html(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render([folder], tmp_path_factory.mktemp("page") / "report.html").path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    shape = Shape(
        models=("digits", HOSTILE[:78]),
        device_names=(HOSTILE, REVERSED),
        plan_name=HOSTILE + REVERSED[:60],
        evaluated=("digits", HOSTILE[:78]),
        passes=("latency", "memory", "energy", "profile"),
        operator_names=(HOSTILE, REVERSED),
        gauge_name=HOSTILE + REVERSED,
        zone_names=(HOSTILE, REVERSED, "skin"),
        leak_bytes_per_inference=1024.0,
        not_valid_every=2,
        note=HOSTILE + REVERSED,
        rounds=5,
    )
    return render([write_sweep(place / "sweep", shape)], place / "report.html").path


def text_of(page: Page) -> str:
    return str(page.evaluate("document.body.innerText"))


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


def count_moves(path: str | None) -> int:
    """Return how many strokes or dots a path has."""
    return len(re.findall("[Mm]", path or ""))


@pytest.mark.parametrize("page_of", ["html", "hostile"])
def test_it_asks_for_nothing_and_complains_of_nothing(
    browser: Browser, page_of: str, request: pytest.FixtureRequest
) -> None:
    opened = open_page(browser, request.getfixturevalue(page_of))
    assert opened.requests == []
    assert opened.complaints == []


def test_hostile_names_are_shown_and_do_nothing(browser: Browser, hostile: Path) -> None:
    page = open_page(browser, hostile).page
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    shown = text_of(page)
    assert "<script>window.hit=1</script>" in shown
    assert "{{7*7}}" in shown
    assert "📱👩‍🔬" in shown
    assert not set("\u202e\u2066\x00\x07\x1b") & set(hostile.read_text(encoding="utf-8"))


def test_the_table_shows_the_numbers_of_the_files(
    browser: Browser, html: Path, folder: Path
) -> None:
    page = open_page(browser, html).page
    devices = summarise(read_sweep(folder)).devices
    for place, device in enumerate(devices, 1):
        for case in device.cases:
            row = page.locator(f"#device-{place} tr[data-case='{case.id}']")
            assert row.count() == 1
            if case.latency is None:
                assert case.reason in row.inner_text()
                continue
            cell = row.locator("td").first
            medians = [one.values["latency_p50_ms"] for one in case.of_pass("latency")]
            assert float(cell.get_attribute("data-v") or "") == np.median(medians)
            shown = float(cell.inner_text().split(" ms")[0])
            assert shown == pytest.approx(case.latency.median, rel=0.0051)
            assert f"n = {len(medians)}" in cell.inner_text()


def test_what_is_missing_is_a_dash_and_says_why(browser: Browser, html: Path) -> None:
    page = open_page(browser, html).page
    dashes = page.locator("table.cases td", has_text=re.compile(r"^\s*–")).all()
    assert dashes
    assert all(cell.get_attribute("title") for cell in dashes)
    words = text_of(page).split()
    assert not {"nan", "NaN", "None", "inf", "undefined"} & set(words)


def test_lost_and_skipped_launches_are_shown_with_their_reasons(
    browser: Browser, html: Path
) -> None:
    shown = text_of(open_page(browser, html).page)
    assert "RunnerTimeout: the runner was still busy after 60 s" in shown
    assert "RunnerCrashed: the runner was killed by signal 9" in shown
    assert "int8-static needs calibration data" in shown


def test_the_command_to_run_it_again_is_there_quoted(browser: Browser, html: Path) -> None:
    shown = text_of(open_page(browser, html).page)
    assert "cd /home/somebody/work" in shown
    assert "phonebench run 'plans/my plan.toml' --out sweeps" in shown


def test_the_plan_in_the_report_is_the_plan_of_the_sweep(
    browser: Browser, html: Path, folder: Path
) -> None:
    page = open_page(browser, html).page
    shown = page.locator("#again details pre").text_content() or ""
    assert parse_plan(shown, "the report") == read_sweep(folder).file.plan


def test_it_reads_the_same_without_its_script(browser: Browser, html: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(html.as_uri())
    without = page.locator("main").inner_text()
    context.close()
    assert without == open_page(browser, html).page.locator("main").inner_text()


def test_a_click_on_a_heading_sorts_and_another_turns_it(browser: Browser, html: Path) -> None:
    page = open_page(browser, html).page
    table = page.locator("table.cases").first

    def values() -> list[float]:
        cells: list[Any] = table.locator("tbody tr").evaluate_all(
            "rows => rows.map(row => Number(row.cells[1].dataset.v))"
        )
        return [float(value) for value in cells]

    heading = table.get_by_role("button", name="Median latency")
    heading.click()
    assert values() == sorted(values())
    heading.click()
    assert values() == sorted(values(), reverse=True)


@pytest.mark.parametrize("page_of", ["html", "hostile"])
@pytest.mark.parametrize("width", [320, 390, 768, 1400])
def test_no_width_makes_the_page_scroll_sideways(
    browser: Browser, page_of: str, width: int, request: pytest.FixtureRequest
) -> None:
    page = open_page(browser, request.getfixturevalue(page_of), width=width).page
    assert overflow(page) <= 0


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_stands_out_from_what_is_behind_it(
    browser: Browser, html: Path, dark: bool
) -> None:
    page = open_page(browser, html, dark=dark).page
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    assert page.evaluate(CONTRASTS) == []


def test_the_dark_page_is_dark_and_its_plots_change_with_it(browser: Browser, html: Path) -> None:
    script = """() => [getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector("path.launch")).stroke]"""
    light = open_page(browser, html).page.evaluate(script)
    dark = open_page(browser, html, dark=True).page.evaluate(script)
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(20, 23, 26)"
    assert light[1] != dark[1]


OVERLAPS = """() => {
  const found = [];
  for (const svg of document.querySelectorAll("figure svg")) {
    if (!svg.checkVisibility()) continue;
    const boxes = [...svg.querySelectorAll("text")].map((t) => [t.textContent, t.getBBox()]);
    const frame = svg.viewBox.baseVal;
    for (const [i, [word, a]] of boxes.entries()) {
      if (a.x < -1 || a.x + a.width > frame.width + 1 || a.y + a.height > frame.height + 2)
        found.push([word, "beyond the edge"]);
      for (const [other, b] of boxes.slice(i + 1)) {
        const wide = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
        const high = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
        // Boxes are as tall as a line: letters have room above and below.
        if (wide > 1 && high > 0.45 * Math.min(a.height, b.height)) found.push([word, other]);
      }
    }
  }
  return found;
}"""
SMALLEST = """() => Math.min(...[...document.querySelectorAll("figure svg text")]
  .filter((text) => text.checkVisibility())
  .map((text) => text.getScreenCTM().a * parseFloat(getComputedStyle(text).fontSize)))"""


@pytest.mark.parametrize("page_of", ["html", "hostile"])
@pytest.mark.parametrize("width", [390, 961, 1400])
def test_the_words_of_figures_are_legible_and_cover_one_another_nowhere(
    browser: Browser, page_of: str, width: int, request: pytest.FixtureRequest
) -> None:
    page = open_page(browser, request.getfixturevalue(page_of), width=width).page
    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(SMALLEST) >= 9


@pytest.mark.parametrize("width", [390, 1400])
def test_a_figure_is_shown_for_one_width_at_a_time(
    browser: Browser, html: Path, width: int
) -> None:
    page = open_page(browser, html, width=width).page
    shown = page.locator("figure.latency svg:visible")
    roles = {one.get_attribute("class") for one in shown.all()}
    assert roles == {"narrow" if width <= 960 else "wide"}
    assert page.locator("figure.latency").count() == shown.count()


def test_figures_on_paper_are_the_wide_ones_in_light_colours(browser: Browser, html: Path) -> None:
    page = open_page(browser, html, width=390, dark=True).page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator("figure.latency svg.wide").first.is_visible()
    assert not page.locator("figure.latency svg.narrow").first.is_visible()
    ink = page.locator("svg.wide text.ink").first
    assert ink.evaluate("text => getComputedStyle(text).fill") == "rgb(28, 32, 36)"


def test_it_prints_with_its_doubts_unfolded(browser: Browser, html: Path) -> None:
    page = open_page(browser, html).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert "1 of 19; the last: RunnerTimeout" in text_of(page)
    assert not page.locator("nav").is_visible()
    paper = page.pdf(prefer_css_page_size=True, print_background=True)
    assert paper.startswith(b"%PDF")


def test_every_plot_and_table_can_be_read_aloud(browser: Browser, html: Path) -> None:
    page = open_page(browser, html).page
    plots = page.locator("svg").all()
    assert plots
    assert all(p.get_attribute("role") == "img" and p.get_attribute("aria-label") for p in plots)
    assert page.locator("thead th:not([scope=col])").count() == 0
    assert page.locator("tbody th:not([scope=row])").count() == 0
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(low - high <= 1 for high, low in itertools.pairwise(levels))


def test_the_dots_of_a_strip_are_the_medians_of_its_launches(
    browser: Browser, html: Path, folder: Path
) -> None:
    page = open_page(browser, html).page
    strips = page.locator("#device-1 figure", has_text="Latency of every launch")
    paths = strips.locator("svg.wide path.launch").all()
    cases = [case for case in summarise(read_sweep(folder)).devices[0].cases if case.latency]
    assert len(paths) == len(cases)
    for path, case in zip(paths, cases, strict=True):
        assert count_moves(path.get_attribute("d")) == len(case.of_pass("latency"))


def test_launches_that_do_not_count_are_hollow_and_told_in_the_row_of_their_case(
    browser: Browser, html: Path, folder: Path
) -> None:
    page = open_page(browser, html).page
    case = summarise(read_sweep(folder)).devices[1].cases[0]
    row = page.locator(f"#device-2 tr[data-case='{case.id}']")
    summary = row.locator(".validity summary")
    assert summary.inner_text() == f"{case.valid_launches} of {len(case.launches)}"
    summary.click()
    told = row.locator(".validity li").all_inner_texts()
    first = case.doubtful_launches()[0]
    assert told[0].startswith(
        f"Launch {first.index} ({first.measured_pass}): {first.validity.level}"
    )
    assert "something else kept 0.6 cores busy" in told[0]
    strips = page.locator("#device-2 figure", has_text="Latency of every launch").first
    hollow = strips.locator("svg.wide path.hollow.rim").first.get_attribute("d")
    doubtful = [one for one in case.doubtful_launches() if one.measured_pass == "latency"]
    assert count_moves(hollow) == len(doubtful) == 2


def test_energies_are_shown_with_interval_power_and_source(
    browser: Browser, html: Path, folder: Path
) -> None:
    page = open_page(browser, html).page
    case = summarise(read_sweep(folder)).devices[1].cases[0]
    assert case.energy is not None
    headings = page.locator("#device-2 table.cases").first.locator("thead th").all_inner_texts()
    cells = page.locator(f"#device-2 tr[data-case='{case.id}'] > *")
    cell = cells.nth(headings.index("Energy"))
    assert float(cell.get_attribute("data-v") or "") == case.energy.joules.median
    shown = float(cell.inner_text().split(" mJ")[0])
    assert shown == pytest.approx(case.energy.joules.median * 1e3, rel=0.0051)
    power = cells.nth(headings.index("Power")).inner_text()
    net_watts = case.estimates["net_watts"].median
    assert float(power.split(" W")[0]) == pytest.approx(net_watts, rel=0.0051)
    text = text_of(page)
    assert "fuel gauge (/sys/class/power_supply/battery), calibrated 2025-10-08" in text
    assert "refresh 1.0 s, quantum 1.0 mA" in text
    assert "Latency against energy" in text


def test_a_launch_is_shown_over_time_on_one_axis_and_its_power_is_the_gauges(
    browser: Browser, html: Path
) -> None:
    page = open_page(browser, html).page
    figure = page.locator("#device-2 .timeline").first
    drawn = figure.locator("svg.wide")
    titles = drawn.locator("text.title")
    assert titles.all_text_contents() == [
        "Latency, ms", "Memory, MB", "Power, W", "Temperature, °C", "Clocks, GHz"
    ]  # fmt: skip
    phases = figure.locator("figcaption").inner_text()
    assert "idle 15.0 s, steady 60.0 s, idle 15.0 s" in phases
    bands = [band.bounding_box() for band in drawn.locator("path.steady").all()]
    assert len(bands) == 5
    assert len({(band["x"], band["width"]) for band in bands if band}) == 1
    above, below = titles.nth(2).bounding_box(), titles.nth(3).bounding_box()
    assert above
    assert below
    lines = [(line, line.bounding_box()) for line in drawn.locator("path.line").all()]
    (power,) = [line for line, box in lines if box and above["y"] < box["y"] < below["y"]]
    assert 80 <= count_moves(power.get_attribute("d")) <= 92  # one a refresh, of 90 s


def test_no_more_launches_are_drawn_than_a_page_can_bear(browser: Browser, tmp_path: Path) -> None:
    shape = Shape(
        models=("a", "b", "c"), threads=(1, 2, 3, 4), rounds=1, samples=5, passes=("memory",),
        evaluated=(), device_names=("desk",), troubles=False,
    )  # fmt: skip
    page = open_page(
        browser, render([write_sweep(tmp_path / "sweep", shape)], tmp_path / "report.html").path
    ).page
    assert page.locator(".timeline").count() == 40
    assert "8 cases are left out" in text_of(page)
    # As before, a step is counted by where it leads to, not by how high it is.
    points = page.locator(".timeline path.line").evaluate_all(
        "paths => paths.map(path => path.getAttribute('d').split(/[Mmlh]/).length)"
    )
    assert len(points) >= 2 * 40
    assert max(points) <= 202


TROUBLED = {
    "nothing": "no reading of battery_current",
    "constant": "all the time, at work as at rest",
    "other source": "other sources of power are left out",
    "no idle to tell": "not told from idle",
}


@pytest.mark.parametrize("trouble", TROUBLED)
def test_energy_that_cannot_be_believed_or_compared_is_told_not_drawn(
    browser: Browser, tmp_path: Path, trouble: GaugeTrouble
) -> None:
    shape = Shape(
        models=("digits",), threads=(1,), rounds=3, passes=("latency", "memory", "energy"),
        gauge_trouble=trouble, troubles=False,
    )  # fmt: skip
    page = render([write_sweep(tmp_path / "sweep", shape)], tmp_path / "report.html").path
    opened = open_page(browser, page)
    opened.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert opened.complaints == []
    assert TROUBLED[trouble] in text_of(opened.page)


def test_energy_that_was_refused_leaves_a_dash_that_says_why(
    browser: Browser, tmp_path: Path
) -> None:
    shape = Shape(models=("digits",), passes=("latency", "energy"), energy_is_refused=True)
    folder = write_sweep(tmp_path / "sweep", shape)
    page = open_page(browser, render([folder], tmp_path / "report.html").path).page
    cell = page.locator("#device-2 td[title]", has_text="refused").first
    assert "not calibrated" in (cell.get_attribute("title") or "")
    assert "Energy was refused: the fuel gauge is not calibrated" in text_of(page)


def test_a_case_without_a_valid_launch_is_a_row_with_its_reason(
    browser: Browser, tmp_path: Path
) -> None:
    shape = Shape(models=("digits",), rounds=1, not_valid_every=2, troubles=False)
    folder = write_sweep(tmp_path / "sweep", shape)
    page = open_page(browser, render([folder], tmp_path / "report.html").path).page
    row = page.locator("tr[data-case]").first.inner_text()
    assert "no valid launch" in row
    assert "0.6 cores busy" in row or "thermal status rose" in row


def test_a_case_without_a_valid_latency_shows_its_other_numbers_and_what_befell(
    browser: Browser, tmp_path: Path
) -> None:
    shape = Shape(
        models=("digits",), threads=(1,), rounds=1, passes=("latency", "memory", "energy"),
        not_valid_every=1, not_valid_passes=("latency",), device_names=("desk",), troubles=False,
    )  # fmt: skip
    folder = write_sweep(tmp_path / "sweep", shape)
    page = open_page(browser, render([folder], tmp_path / "report.html").path).page
    headings = page.locator("table.cases thead th").all_inner_texts()
    for case in summarise(read_sweep(folder)).devices[0].cases:
        cells = page.locator(f"tr[data-case='{case.id}'] > *")
        row = dict(zip(headings, cells.all_inner_texts(), strict=True))
        assert "no valid latency" in row["Median latency"]
        assert case.reason in row["Median latency"]
        assert row["p90"] == "–"
        assert row["Valid"] == "2 of 3"
        assert "mJ" in row["Energy"]
        assert "MB" in row["Peak memory"]
        assert "%" in row["Accuracy"]
        title = cells.nth(headings.index("Load, cold")).get_attribute("title")
        assert title == "no latency launch counts"
    page.get_by_text("Process, processor and memory").click()
    memory = page.locator("details.more[open] tbody tr").first.inner_text()
    assert "MB" in memory
    assert "no latency launch counts" in text_of(page)


def test_the_same_sweep_gives_the_same_bytes(folder: Path, html: Path, tmp_path: Path) -> None:
    again = render([folder], tmp_path / "again.html").path
    assert again.read_bytes() == html.read_bytes()


@pytest.mark.parametrize(
    "shape",
    [
        Shape(passes=("memory",)),
        Shape(passes=("energy",), rounds=1),
        Shape(passes=("profile",)),
        Shape(rounds=1, models=("one",), recipes=("fp32",), threads=(1,), evaluated=()),
        Shape(models=("one",), recipes=("fp32", "fp32-frozen"), launch_noise=0.0, samples=1),
    ],
    ids=["only memory", "only energy", "only profile", "one case", "one sample"],
)
def test_sparse_sweeps_render_too(browser: Browser, tmp_path: Path, shape: Shape) -> None:
    page = render([write_sweep(tmp_path / "sweep", shape)], tmp_path / "report.html").path
    opened = open_page(browser, page)
    assert opened.complaints == []
    assert "What limits trust" in text_of(opened.page)


def test_a_difference_that_rests_on_few_launches_is_not_coloured(
    browser: Browser, tmp_path: Path
) -> None:
    coloured = []
    for rounds in (1, 10):
        shape = Shape(rounds=rounds, models=("digits",), troubles=False)
        folder = write_sweep(tmp_path / f"sweep{rounds}", shape)
        opened = open_page(browser, render([folder], tmp_path / f"{rounds}.html").path)
        coloured.append(opened.page.locator(".better, .worse").count() > 0)
    assert coloured == [False, True]


def test_a_sweep_that_has_not_begun_renders(browser: Browser, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", replace(Shape(), models=("digits",)))
    (folder / "ledger.jsonl").unlink()
    (folder / "artifacts.json").unlink()
    page = render([folder], tmp_path / "report.html").path
    assert "the sweep ended before its first launch" in text_of(open_page(browser, page).page)


def test_latencies_of_very_different_sizes_get_a_logarithmic_axis(
    browser: Browser, tmp_path: Path
) -> None:
    shape = replace(Shape(), two_groups=True, launch_noise=2.0, models=("digits",))
    page = render([write_sweep(tmp_path / "sweep", shape)], tmp_path / "report.html").path
    assert "axis is logarithmic" in text_of(open_page(browser, page).page)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="not a sweep folder"):
        render([tmp_path], tmp_path / "report.html")


def test_two_sweeps_at_once_are_refused_for_now(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="one sweep"):
        render([folder, folder], tmp_path / "report.html")


def test_a_report_that_cannot_be_written_says_where(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        render([folder], tmp_path / "file" / "report.html")
