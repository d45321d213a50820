"""The set-up: what it installs is pinned, what it says is short, and what is documented exists."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.places import REPOSITORY
from tools.install import BUILD_TOOLS, describe, explain_failure, plan_steps, run_pip
from tools.lock import CUDA, find_packages

MAKEFILE = (REPOSITORY / "Makefile").read_text()
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
LINES = (REPOSITORY / "constraints.txt").read_text().splitlines()
PINNED = dict(line.split("==") for line in LINES if not line.startswith("#"))


def asked_for() -> list[Requirement]:
    """Return all that pyproject.toml asks for, in every extra."""
    lists = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values(), BUILD_TOOLS]
    every = [Requirement(text) for texts in lists for text in texts]
    return [requirement for requirement in every if requirement.name != "phonebench"]


def needed_by(name: str, extras: frozenset[str]) -> list[Requirement]:
    """Return what an installed package needs here; nothing of one that is not installed."""
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return []
    # torch's build for CUDA is not what is pinned, and not refused either.
    found = [r for r in map(Requirement, texts) if not CUDA.match(r.name)]
    wanted = [{"extra": extra} for extra in extras or {""}]
    return [r for r in found if r.marker is None or any(map(r.marker.evaluate, wanted))]


# --- constraints.txt -----------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", asked_for(), ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_to_a_version_that_is_asked_for(
    requirement: Requirement,
) -> None:
    assert requirement.specifier.contains(PINNED[canonicalize_name(requirement.name)])


def test_what_the_dependencies_need_is_pinned_too() -> None:
    waiting = {(r.name, frozenset(r.extras)) for r in asked_for()}
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, extras = waiting.pop()
        seen.add((name, extras))
        assert canonicalize_name(name) in PINNED
        waiting |= {(r.name, frozenset(r.extras)) for r in needed_by(name, extras)} - seen
    assert len(seen) > len(asked_for())


def test_constraints_hold_names_and_public_versions_only() -> None:
    for name, pinned in PINNED.items():
        assert canonicalize_name(name) == name
        assert re.fullmatch(r"\d[\w.!]*", pinned), f"{name} {pinned}: one index's own build?"


def test_a_lock_leaves_out_the_package_itself_and_what_only_one_index_has() -> None:
    found = {"phonebench": "0.1.0", "Torch": "2.13.0+cpu", "typing_extensions": "4.16.0"}
    items = [{"metadata": {"name": name, "version": v}} for name, v in found.items()]
    packages = find_packages({"install": items})
    assert packages == {"torch": "2.13.0", "typing-extensions": "4.16.0"}


# --- what is said while pip works ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("  Downloading pyarrow-26.0.1-cp311-cp311-linux_x86_64.whl (55.6 MB)", "pyarrow 26.0.1"),
        ("Downloading pyarrow-26.0.1-cp311-cp311-linux_x86_64.whl (55.6 MB)", "(56 MB)"),
        ("  Using cached cmake-4.4.5-py3-none-linux_x86_64.whl (30.1 MB)", "unpacking cmake"),
        ("Downloading torch-2.13.0-cp311-cp311-linux_x86_64.whl (1.1 GB)", "2.13.0 (1100 MB)"),
        ("Installing collected packages: mpmath, sympy, torch", "installing 3 packages"),
        ("WARNING: Retrying (Retry(total=4)) after connection broken", "Retrying"),
        ("ERROR: No matching distribution found for torch==2.13.0", "No matching distribution"),
    ],
)
def test_what_is_large_or_goes_wrong_is_told(line: str, told: str) -> None:
    assert told in (describe(line) or "")


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: Location 'file:///srv/simple/rich/' is ignored: it is neither a file nor a directory.",
        "Collecting rich==15.0.0",
        "  Downloading rich-15.0.0-py3-none-any.whl (310 kB)",
        "Requirement already satisfied: pip in ./.venv/lib/python3.11/site-packages (23.2.1)",
        "Successfully installed rich-15.0.0",
        "",
    ],
)
def test_what_a_person_cannot_use_is_in_the_log_alone(line: str) -> None:
    assert describe(line) is None


def test_a_large_wheel_of_a_folder_is_told_with_its_size(tmp_path: Path) -> None:
    wheel = tmp_path / "torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl"
    with wheel.open("wb") as file:
        file.truncate(191_794_682)
    told = describe(f"Processing {wheel} (from phonebench==0.1.0)")
    assert told == "taking torch 2.13.0+cpu (192 MB)"


def test_a_package_that_cannot_be_had_ends_with_pips_own_words_and_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "setup.log"
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert run_pip(["--no-index", "no-such-package"], log, 0.0) != 0
    assert "No matching distribution found for no-such-package" in capsys.readouterr().out
    told = explain_failure(log)
    assert "No matching distribution found for no-such-package" in told
    assert told.endswith(f"all that it said is in {log}")


def test_only_torch_is_taken_from_an_index_of_its_own() -> None:
    build_tools, torch, rest = plan_steps("dev", "INDEX")
    assert torch == ["--index-url", "INDEX", "--no-deps", "torch"]
    assert not {"--index-url"} & {*build_tools, *rest}
    assert len(list(plan_steps("dev", None))) == 2


# --- make, and what runs it ----------------------------------------------------------------------

PHONY = set(re.search(r"^\.PHONY: ((?:.+\\\n)*.+)$", MAKEFILE, re.MULTILINE)[1].split()) - {"\\"}  # type: ignore[index]


def test_the_help_of_make_lists_its_targets() -> None:
    helped = re.findall(r"^# make ([a-z0-9-]+)", MAKEFILE, re.MULTILINE)
    assert sorted(helped) == sorted(PHONY - {"help"})
    assert sorted(PHONY) == sorted(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("target", ["setup", "demo"])
def test_a_run_installs_nothing_that_only_tests_or_phones_need(target: str) -> None:
    assert _prerequisites(target) <= {"setup", "$(VENV)/installed"}
    assert "system-packages.sh run\n" in _recipe("setup")
    assert "tools.install run\n" in _recipe("$(VENV)/installed")


def test_every_group_of_system_packages_that_make_asks_for_exists() -> None:
    script = (REPOSITORY / "tools" / "system-packages.sh").read_text()
    table = script.split('"')[1]
    groups = {line.split()[0] for line in table.strip().splitlines()}
    asked = re.findall(r"system-packages\.sh((?: [a-z]+)+)", MAKEFILE)
    assert {"run", "virtual"} <= {group for words in asked for group in words.split()} <= groups
    (every,) = re.findall(r"\$\{\*:-([a-z ]+)\}", script)
    assert set(every.split()) == groups


def _prerequisites(target: str) -> set[str]:
    found = re.search(rf"^{re.escape(target)}: (.*)$", MAKEFILE, re.MULTILINE)
    assert found
    return set(found[1].split())


def _recipe(target: str) -> str:
    return MAKEFILE.split(f"\n{target}:")[1].split("\n\n")[0] + "\n"


def test_the_workflow_makes_targets_that_exist() -> None:
    workflow = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    made = re.findall(r"run: make (\S+)", workflow)
    assert {"check", "test"} <= set(made) <= PHONY


@pytest.mark.parametrize("form", ["bug", "numbers", "phone"])
def test_a_report_of_a_problem_asks_what_the_doctor_says(form: str) -> None:
    text = (REPOSITORY / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text()
    assert re.search(r"phonebench doctor (SERIAL )?--json", text)


# --- the version ---------------------------------------------------------------------------------


def test_the_package_has_the_version_of_the_file_that_says_it() -> None:
    written = (REPOSITORY / "runner_core" / "version.txt").read_text()
    assert written == f"{version('phonebench')}\n"
    assert PROJECT["dynamic"] == ["version"]
