"""The shell scripts that a phone runs, made ready to be sent: what they are told stands in front.

They are files (`android_runner/scripts/`), and run as they are, but for comments and blank lines, which
are not sent. Not here: sending them (`shell.py`), and who sends which.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cache

from harness.storage.shipped import shipped_folder

ROOT = "/data/local/tmp/phonebench"
"""Everything of ours on a phone lies here."""
LOST_LOCK = 77
"""The exit code of a script that found another holder in the lock (lock/guard.sh)."""
REFUSED = 3
"""The exit code of a setting that the phone does not let be changed (changes/make.sh)."""


@dataclass(frozen=True)
class Script:
    """A script with what it is told in front of it: `name` is for errors, `text` for a shell."""

    name: str
    text: str


def script(name: str, /, *arguments: str, **variables: object) -> Script:
    """Return a script, named by its path without the suffix, with its arguments and variables."""
    told = " ".join(
        f"{variable}={shlex.quote(str(value))}"
        for variable, value in {"root": ROOT, **variables}.items()
    )
    return Script(name, f"{told}\nset -- {shlex.join(arguments)}\n{load(name)}")


def guard(token: str) -> Script:
    """Return what stands in front of a script that only the lock's holder may run."""
    return script("lock/guard", token=token)


def program(*scripts: Script) -> str:
    """Return what a shell runs: the library, and the scripts one after the other.

    The first line is a comment that names them: it is what errors show.
    """
    names = [one.name for one in scripts]
    shown = [name for name in names if name != "lock/guard"] or names
    return "\n".join([f"# {' + '.join(shown)}", load("lib"), *(one.text for one in scripts)])


@cache
def load(name: str) -> str:
    """Return a script without its comments and blank lines."""
    path = shipped_folder("android_runner") / "scripts" / f"{name}.sh"
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
