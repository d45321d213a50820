"""The docs: what they tell people to type exists, and where they point to is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli import app
from tests.places import REPOSITORY
from tools.generated_docs import fill

PAGES = [
    *sorted(REPOSITORY.glob("*.md")),
    *sorted(REPOSITORY.glob("*_runner/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def commands(page: Path) -> list[str]:
    """Return what a page tells people to type for phonebench: in code blocks, and in `code`."""
    text = page.read_text()
    fenced = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    indented = "\n".join(re.findall(r"^ {4}(.*)$", text, flags=re.MULTILINE))
    code = f"{fenced}\n{indented}"
    blocks = re.findall(r"^(?:\$ )?(?:\.venv/bin/)?(phonebench [^#\n]+)", code, flags=re.MULTILINE)
    inline = re.findall(r"`(phonebench [^`]+)`", text)
    return [" ".join(command.split()) for command in blocks + inline]


def examples(verb: Any) -> list[str]:
    """Return what the help of a verb, and of those below it, gives as examples."""
    own = re.findall(r"^ *(phonebench .+)$", verb.epilog or "", flags=re.MULTILINE)
    below = getattr(verb, "commands", {}).values()
    return own + [example for one in below for example in examples(one)]


IN_HELP = examples(typer.main.get_command(app))
ALL_COMMANDS = sorted(
    {(page.name, command) for page in PAGES for command in commands(page)}
    | {("--help", command) for command in IN_HELP}
)


@pytest.mark.parametrize(("page", "command"), ALL_COMMANDS)
def test_every_command_in_the_docs_exists_with_its_options(page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    known: Any = typer.main.get_command(app)
    while words and hasattr(known, "commands") and words[0] in known.commands:
        known = known.commands[words.pop(0)]
    assert not hasattr(known, "commands") or not words or words[0].startswith("-"), command
    options = {name for param in known.params for name in [*param.opts, *param.secondary_opts]}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in {*options, "--help"}, f"{command}: {word}"


def test_there_are_commands_to_check() -> None:
    assert len(ALL_COMMANDS) - len(IN_HELP) > 10
    assert len(IN_HELP) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_in_the_docs_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, anchor = target.partition("#")
        path = (page.parent / file) if file else page
        assert path.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_make_target_in_the_docs_is_in_the_makefile(page: Path) -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"(?:^ {4}|`)make ([a-z0-9-]+)", page.read_text(), flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page.name}: {target}"


@pytest.mark.parametrize("name", ["how-numbers-are-made.md", "data-frames.md"])
def test_every_number_and_column_is_in_the_docs_as_it_is_in_the_code(name: str) -> None:
    page = (REPOSITORY / "docs" / name).read_text()
    assert "<!-- generated:" in page
    assert page == fill(page), "run make docs"
