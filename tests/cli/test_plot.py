"""`phonebench plot`: figures as files, and what it says when one cannot be made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness import cli
from tests.fakes.sweeps import Shape, write_sweep


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with two sweeps: `mine` of two devices and two models, and `small`."""
    folder = tmp_path_factory.mktemp("plot")
    write_sweep(folder / "mine", Shape(rounds=2, passes=("latency", "memory", "energy")))
    small = Shape(
        models=("digits",), recipes=("fp32",), threads=(1,), rounds=1, passes=("latency",),
        device_names=("desk",), troubles=False,
    )  # fmt: skip
    write_sweep(folder / "small", small)
    return folder


def plot(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["phonebench", "plot", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


FIGURES = {
    "pareto": ["--device", "phone-1", "--model", "digits"],
    "latency": ["--device", "Pixel 6", "--model", "mobilenet"],
    "energy": ["--device", "phone-1", "--model", "digits"],
    "energy-plane": ["--device", "phone-1", "--model", "digits"],
    "threads": ["--device", "local", "--model", "digits"],
    "order": ["--device", "phone-1"],
    "timeline": ["--device", "phone-1"],
}


@pytest.mark.parametrize("figure", FIGURES)
def test_each_figure_becomes_a_file_and_its_name_is_printed(
    figure: str, sweeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "new" / f"{figure}.svg"
    assert plot(
        monkeypatch, str(sweeps / "mine"), "--figure", figure, *FIGURES[figure], "-o", str(file)
    ) == 0  # fmt: skip
    assert capsys.readouterr().out.strip() == str(file)
    root = ElementTree.fromstring(file.read_bytes())
    assert root.get("width") == "540pt"


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".SVG", b"<?xml")]
)
def test_the_end_of_the_name_decides_what_it_becomes(
    suffix: str, begins: bytes, sweeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"one{suffix}"
    assert plot(
        monkeypatch, str(sweeps / "small"), "--figure", "latency", "-o", str(file),
        "--size", "3.5x2.5", "--dark",
    ) == 0  # fmt: skip
    assert file.read_bytes().startswith(begins)


def test_a_launch_can_be_named(
    sweeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for name in ("phone-1:3", "phone-1:40"):
        file = tmp_path / "launch.svg"
        assert plot(
            monkeypatch, str(sweeps / "mine"), "--figure", "timeline", "--launch", name, "-o", str(file)
        ) == 0  # fmt: skip
        drawn.append(file.read_text())
    assert "Launch 3 of" in drawn[0]
    assert "Launch 40 of" in drawn[1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine", "--figure", "pie", "-o", "x.png"], "there is no figure 'pie'"),
        (["mine", "--figure", "pareto", "-o", "x.gif"], "End its name in .png, .pdf, .svg."),
        (["mine", "--figure", "pareto", "-o", "x"], "does not say what it is to be"),
        ([".", "--figure", "order", "-o", "x.png"], "is not a sweep folder"),
        (["none", "--figure", "order", "-o", "x.png"], "is not a sweep folder"),
        (["mine", "--figure", "order", "-o", "x.png"], "Name one with --device: local, phone-1."),
        (["mine", "--figure", "order", "--device", "me", "-o", "x.png"], "no device 'me'"),
        (
            ["mine", "--figure", "pareto", "--device", "local", "-o", "x.png"],
            "--model: digits, mob",
        ),
        (["small", "--figure", "pareto", "--model", "nets", "-o", "x.png"], "no model 'nets'"),
        (["small", "--figure", "pareto", "-o", "x.png"], "nothing for the figure pareto"),
        (["small", "--figure", "energy", "-o", "x.png"], "launches of the energy pass"),
        (["small", "--figure", "threads", "-o", "x.png"], "matrix.threads"),
        (["small", "--figure", "timeline", "-o", "x.png"], "nothing for the figure timeline"),
        (["small", "--figure", "timeline", "--launch", "99", "-o", "x.png"], "no launch '99'"),
        (["mine", "--figure", "timeline", "--launch", "5", "-o", "x.png"], "local:5, phone-1:5"),
        (["mine", "--figure", "timeline", "--launch", "local:5", "-o", "x.png"], "left no result"),
        (["small", "--figure", "latency", "--launch", "1", "-o", "x.png"], "not for latency"),
        (["small", "--figure", "order", "--model", "digits", "-o", "x.png"], "of a whole device"),
        (["small", "--figure", "latency", "--size", "wide", "-o", "x.png"], "is not a size"),
        (["small", "--figure", "latency", "--size", "1x1", "-o", "x.png"], "2.5 to 100.0 inches"),
        (["small", "--figure", "latency", "--size", "5x0.1", "-o", "x.png"], "1.5 to 100.0 tall"),
        (["small", "--figure", "latency", "--size", "nanx5", "-o", "x.png"], "--size 3.4x2.5"),
        (
            ["mine", "--figure", "order", "--device", "local", "--size", "3x1.5", "-o", "x.png"],
            "needs a height of",
        ),
        (["small", "--figure", "latency", "-o", "small/sweep.json/x.png"], "Name another place"),
        (["small", "--figure", "latency", "-o", "/proc/none/x.png"], "cannot write"),
    ],
)
def test_what_cannot_be_drawn_exits_with_2_and_says_why(
    arguments: list[str], says: str, sweeps: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(sweeps)
    assert plot(monkeypatch, *arguments) == 2
    told = capsys.readouterr()
    assert says in " ".join(told.err.split())
    assert told.out == ""
    assert not (sweeps / "x.png").exists()


def test_help_teaches_with_examples_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from harness.cli import app\n"
        "shown = CliRunner().invoke(app, ['plot', '--help'])\n"
        "assert shown.exit_code == 0\n"
        "assert 'phonebench plot SWEEP --figure timeline' in ' '.join(shown.output.split())\n"
        "heavy = ('matplotlib', 'numpy', 'torch', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
