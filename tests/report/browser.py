"""A real browser for tests: what it shows, what it asks the network for, what it complains of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@dataclass
class OpenPage:
    """A page, with the requests it made beyond its own file and the errors of its console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start Debian's chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(
    browser: Browser, html: Path, *, width: int = 1400, height: int = 900, dark: bool = False
) -> OpenPage:
    """Open a file at a width, in light or dark."""
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    opened = OpenPage(page)
    address = html.resolve().as_uri()
    page.on("request", lambda r: None if r.url == address else opened.requests.append(r.url))
    page.on("console", lambda message: opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.goto(address)
    return opened


def screenshot(
    html: Path, png: Path, *, width: int = 1400, height: int | None = None, dark: bool = False
) -> None:
    """Save a picture of the whole page, or of its first `height` pixels."""
    with start_browser() as browser:
        page = open_page(browser, html, width=width, height=height or 900, dark=dark).page
        page.screenshot(path=png, full_page=height is None)
