"""What all tests share: tools that may be missing, and a cache of their own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.virtual_android import AdbServer, VirtualPhone

# A job started in the background ignores these, and so would every process that it starts: but
# tests send them, and virtual phones end programs with them.
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )

# Runners and artifacts that tests build are kept between runs, apart from the user's own.
os.environ["PHONEBENCH_CACHE"] = str(Path(__file__).parent.parent / "build" / "test-cache")


def require_tool(name: str) -> str:
    """Return the path of a program; without it, skip the test, or fail it in CI."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    assert path is not None
    return path


def missing(reason: str) -> None:
    """Skip the test for this reason; in CI, where nothing may be missing, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must have it")
    pytest.skip(reason)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty cache of its own."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("PHONEBENCH_CACHE", str(cache))
    return cache


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start one real browser for all tests of a module."""
    from tests.report.browser import start_browser  # here, for most tests need none

    require_tool("chromium")
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def adb() -> Iterator[AdbServer]:
    """Start an adb server for the tests of a module; the user's is left alone."""
    from tests.fakes.phones import own_adb_server  # here, for most tests need none

    with own_adb_server() as server:
        yield server


@pytest.fixture(scope="module")
def shared_phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """Attach a phone that tests leave as it was."""
    from tests.fakes.phones import plugged_in

    with plugged_in(adb) as phone:
        yield phone


@pytest.fixture
def phone(adb: AdbServer) -> Iterator[VirtualPhone]:
    """Attach a phone of the test's own, to break."""
    from tests.fakes.phones import plugged_in

    with plugged_in(adb) as phone:
        yield phone
