"""The engines there are: the runner's name, the files it reads, and the library it is linked with.

Not here: how a runner is built (`runners/`), and what a format is (`export_worker/formats/`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Engine:
    """One engine.

    `runner` is the name of its program, and `format` the files that it reads: a name in `FORMATS`;
    None if it reads files of its own, so that no plan can name it. `library` is the distribution
    that its runner is linked with, whose version is the engine's; None: the C library is enough.
    """

    name: str
    runner: str
    format: str | None
    library: str | None


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("lite", "runner_lite", format="ptl", library="torch"),
        Engine("synthetic", "runner_synthetic", format=None, library=None),
    )
}

# Those that a plan may name, with the format that each reads; the first is the usual one.
FORMAT_READ = {engine.name: engine.format for engine in ENGINES.values() if engine.format}
