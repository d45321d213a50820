"""Write constraints.txt: one exact version of every package that phonebench can need.

    make lock

pip resolves all extras anew, as if nothing were installed, and installs nothing. The file holds
names and versions only: no index, no hash, no build of one index (such as `+cpu`), so that it is
good for whoever has another index. It is resolved for the Python that runs this.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tools.install import BUILD_TOOLS

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
# What torch's builds for CUDA bring, and no other package: they differ from index to index.
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def main() -> None:
    """Resolve, and write the file."""
    packages = find_packages(resolve())
    if cuda := [name for name in packages if CUDA.match(name)]:
        sys.exit(
            f"lock: torch is a build for CUDA here ({', '.join(cuda)}): make lock needs an index "
            "with its CPU build, as pip is configured"
        )
    heading = (
        f"# Made by `make lock`, for Python {platform.python_version()} on {platform.system()} "
        f"{platform.machine()}.\n# `make setup` installs these versions; what is asked for is in "
        "pyproject.toml.\n"
    )
    lines = [f"{name}=={version}\n" for name, version in sorted(packages.items())]
    CONSTRAINTS.write_text(heading + "".join(lines))
    print(f"lock: {len(lines)} packages in {CONSTRAINTS.name}")


def resolve() -> dict[str, Any]:
    """Return pip's report on what it would install of all extras, with the tools of the build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = ",".join(project["optional-dependencies"])
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--no-input",
            "--disable-pip-version-check", "--dry-run", "--ignore-installed",
            "--report", str(report), *BUILD_TOOLS, f".[{extras}]",
        ]  # fmt: skip
        print("lock: resolving (a few minutes: pip downloads what it would install)", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            sys.exit("lock: pip found no set of versions; constraints.txt is as it was")
        content: dict[str, Any] = json.loads(report.read_text())
    return content


def find_packages(report: dict[str, Any]) -> dict[str, str]:
    """Return names and public versions of what a report of pip lists, but for phonebench."""
    packages = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name != "phonebench":
            packages[name] = item["metadata"]["version"].partition("+")[0]
    return packages


if __name__ == "__main__":
    main()
