"""Install phonebench, from the checkout, into the environment of the Python that runs this.

    .venv/bin/python -m tools.install run      what a run and the examples need
    .venv/bin/python -m tools.install dev      also what tests and lint need

Versions are those of constraints.txt. All that pip says goes to a log in the environment; shown are
the large parts with their sizes, signs of life, and what went wrong. TORCH_INDEX names an index
that torch is taken from, where the ordinary one has a build for CUDA.

Not here: making the environment (Makefile), what the system needs (system-packages.sh).
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD_TOOLS = ("hatchling", "editables")
"""In the environment itself, for what pip fetches to build with knows no constraints."""

EXTRAS = {"run": "examples", "dev": "dev"}
WHAT = {
    "run": "what a run needs (once: one to three minutes, 1.7 GB)",
    "dev": "what tests and lint need (once: about a minute, 0.6 GB more)",
}

SIGN_OF_LIFE_SECONDS = 15.0
LARGE_BYTES = 10e6
_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
_SIZED = re.compile(r"\s*(Downloading|Using cached) (\S+)\.(?:whl|tar\.gz) \(([\d.]+) (kB|MB|GB)\)")
_LOCAL = re.compile(r"\s*Processing (\S+\.whl)(?: \(from|$)")
_UNPACKED = re.compile(r"\s*Installing collected packages: (.+)")
_TROUBLE = re.compile(r"\s*(WARNING|ERROR): ")
# Of an index in a folder that lacks a project: another index has it, else there is an ERROR.
_NO_TROUBLE = re.compile(r"\s*WARNING: Location '\S+' is ignored: it is neither a file nor a dir")


def main() -> None:
    """Install what is asked for, and say how large the environment is then."""
    group = sys.argv[1]
    print(f"setup: {WHAT[group]}", flush=True)
    began = time.monotonic()
    log = Path(sys.prefix, f"setup-{group}.log")
    log.unlink(missing_ok=True)
    for arguments in plan_steps(EXTRAS[group], os.environ.get("TORCH_INDEX")):
        if run_pip(arguments, log, began) != 0:
            sys.exit(explain_failure(log))
    seconds = time.monotonic() - began
    size_gb = measure_size(Path(sys.prefix))
    print(f"setup: {size_gb:.1f} GB in {sys.prefix}, {seconds:.0f} s")
    if is_for_cuda():
        print(
            "setup: this torch is a build for CUDA: gigabytes that nothing here uses, and no runner "
            "for x86_64 phones can be made of it.\nsetup: The index of CPU builds that torch's own "
            "instructions name has another: make clean setup TORCH_INDEX=..."
        )


def plan_steps(extra: str, torch_index: str | None) -> Iterator[list[str]]:
    """Yield the arguments of each `pip install`."""
    yield list(BUILD_TOOLS)
    if torch_index:  # such an index has no other project in the versions that are pinned
        yield ["--index-url", torch_index, "--no-deps", "torch"]
    yield ["--no-build-isolation", "--editable", f".[{extra}]"]


def run_pip(arguments: list[str], log: Path, began: float) -> int:
    """Run `pip install` and tell of it as it goes; add all that it says to the log. Return its code."""
    command = [
        sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input",
        "--progress-bar", "off", "--constraint", "constraints.txt", *arguments,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (
        log.open("a") as written,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as pip,
    ):
        told: set[str] = set()
        for line in read_lines(pip):
            if line is None:
                size_gb = measure_size(Path(sys.prefix))
                _tell(f"still at it: {size_gb:.1f} GB in the environment", began)
                continue
            written.write(line + "\n")
            if (news := describe(line)) and news not in told:
                _tell(news, began)
                told.add(news)
    return pip.returncode


def _tell(news: str, began: float) -> None:
    print(f"{time.monotonic() - began:6.0f} s  {news}", flush=True)


def read_lines(process: subprocess.Popen[bytes]) -> Iterator[str | None]:
    """Yield what a process says, line by line, and None whenever it was silent for a while."""
    assert process.stdout is not None
    rest = b""
    while True:
        if not select.select([process.stdout], [], [], SIGN_OF_LIFE_SECONDS)[0]:
            yield None
            continue
        content = os.read(process.stdout.fileno(), 1 << 16)
        if not content:
            break
        *lines, rest = (rest + content).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


def describe(line: str) -> str | None:
    """Return what a person should know of a line that pip printed; None if it is nothing."""
    if found := _SIZED.match(line):
        how, file, number, unit = found.groups()
        size_bytes = float(number) * _UNITS[unit]
        return _name_large(file, size_bytes, "downloading" if how == "Downloading" else "unpacking")
    if (found := _LOCAL.match(line)) and Path(found[1]).is_file():
        path = Path(found[1])
        return _name_large(path.stem, path.stat().st_size, "taking")
    if found := _UNPACKED.match(line):
        return f"installing {len(found[1].split(', '))} packages"
    if _TROUBLE.match(line) and not _NO_TROUBLE.match(line):
        return textwrap.shorten(line, 160)
    return None


def _name_large(file: str, size_bytes: float, verb: str) -> str | None:
    name = " ".join(file.split("-")[:2])
    return f"{verb} {name} ({size_bytes / 1e6:.0f} MB)" if size_bytes >= LARGE_BYTES else None


def explain_failure(log: Path) -> str:
    """Return the end of what pip said, without the warnings that were told, and where the rest is."""
    lines = log.read_text(errors="replace").splitlines()
    told = [line for line in lines if line.strip() and "WARNING: " not in line]
    return "\n".join([*told[-15:], f"setup: pip failed; all that it said is in {log}"])


def measure_size(folder: Path) -> float:
    """Return how many GB of the disk a folder takes; files may come and go meanwhile."""
    done = subprocess.run(["du", "-sk", folder], stdout=subprocess.PIPE, check=False)
    return int(done.stdout.split()[0]) * 1024 / 1e9


def is_for_cuda() -> bool:
    """Tell whether the torch of this environment is a build for CUDA, without importing it."""
    written = list(Path(sys.prefix).glob("lib/python*/site-packages/torch/version.py"))
    return any(re.search(r"^cuda\b[^=]*= *['\"]", p.read_text(), re.MULTILINE) for p in written)


if __name__ == "__main__":
    main()
