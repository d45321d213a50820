"""The options that verbs share, and the plan that they ask for.

A verb takes a group of options as one dataclass (`grouped`). Those that say something that a plan
says too are short for its keys (`SHORT_FOR`); `--set` reaches every other one (`settings.py`).
Not here: validation. What the options say goes through the same checks as a plan file.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from harness.errors import PlanError

if TYPE_CHECKING:
    from harness.cli.settings import Setting
    from harness.schema.plan import Plan


def examples(*commands: str) -> str:
    """Return what stands below a verb's help: commands to start from, each on a line of its own."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {command}" for command in commands)


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Let a verb take a dataclass in place of many options: each of its fields is one.

    typer reads the signature of a function. Here it reads one in which the fields stand in the
    place of the dataclass that they are put together to when the verb is called.
    """
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if name not in groups:
            parameters.append(
                parameter.replace(kind=parameter.KEYWORD_ONLY, annotation=hints[name])
            )
            continue
        declared = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=declared[field.name],
            )
            for field in fields(groups[name])
        ]

    @wraps(verb)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        verb(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    return call


SWEEPS = Path("sweeps")
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the plan, such as measure.warm_loads=5; may be repeated.",
    ),
]


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured, where and how often."""

    device: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Devices, with commas; all: every phone.")
    ] = None
    rounds: Annotated[int | None, typer.Option(metavar="N", help="Launches of each case (10).")] = (
        None
    )
    passes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="latency, memory, energy, profile, with commas (latency,memory).",
        ),
    ] = None
    engine: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Engines, with commas (lite).")
    ] = None
    threads: Annotated[
        str | None, typer.Option(metavar="COUNTS", help="Thread counts, with commas (1).")
    ] = None
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Of the order and of random inputs (0).")
    ] = None


@dataclass(frozen=True)
class PlanOptions:
    """Which models are exported, and how."""

    recipe: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Recipes, with commas (fp32).")
    ] = None
    shape: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHAPE",
            help="Of a model's input, once an input: 1x3x224x224, or 1x128:int64:0..30522.",
        ),
    ] = None
    calibration: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="module:callable of a model's inputs, for int8-static."),
    ] = None
    evaluation: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="module:callable of (input, label) pairs, for accuracy."),
    ] = None
    settings: Settings = None
    mobile_python: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="An interpreter with torch 2.12 or older, for the recipe fp32-mobile.",
        ),
    ] = None
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Export anew, whatever the cache holds.")
    ] = False


# An option, and the key of a plan that it is short for.
SHORT_FOR = {
    "device": "plan.devices",
    "rounds": "plan.rounds",
    "seed": "plan.seed",
    "recipe": "matrix.recipe",
    "engine": "matrix.engine",
    "threads": "matrix.threads",
    "passes": "measure.passes",
    "mobile_python": "export.mobile_python",
}
# An option that only a model without a plan has, and the key of a model that it fills.
_OF_A_MODEL = {"shape": "inputs", "calibration": "calibration", "evaluation": "evaluation"}


def choose_plan(target: str, options: PlanOptions, measured: MeasureOptions | None = None) -> Plan:
    """Return the plan that `target` names, or one of the model that it names, as options change it.

    Raises PlanError, in the same words as for a plan file.
    """
    from harness.cli.settings import change_plan, make_plan_with
    from harness.schema.plan import load_plan

    settings = _settings(options, measured)
    if not target.endswith(".toml"):
        name = target if settings else "the command line"
        return make_plan_with(settings, _plan_of_model(target, options), name)
    for name, key in _OF_A_MODEL.items():
        if getattr(options, name):
            raise PlanError(
                f"--{name} is for a model without a plan, and {target} is a plan",
                f"Write it into the plan, or --set model.NAME.{key}=...",
            )
    return change_plan(load_plan(Path(target)), settings, target)


def refuse_changes(options: PlanOptions, measured: MeasureOptions) -> None:
    """Raise PlanError if an option would change the plan of a sweep that is resumed."""
    given = {**vars(measured), **vars(options)}
    for name, value in given.items():
        # Where another interpreter lies may differ between hosts: that is no change of the plan.
        if value not in (None, []) and name not in ("mobile_python", "fresh"):
            option = "--set" if name == "settings" else f"--{name}"
            raise PlanError(
                f"--resume goes on with the sweep's own plan: {option} cannot change it",
                "Leave the option out, or start a new sweep.",
            )


def _settings(options: PlanOptions, measured: MeasureOptions | None) -> list[Setting]:
    """Return what the options say of a plan's keys, those that are short for one first."""
    from harness.cli.settings import Setting, read_setting

    given = {**(vars(measured) if measured else {}), **vars(options)}
    short = [
        Setting(f"--{name.replace('_', '-')} {given[name]}", key, str(given[name]), everywhere=True)
        for name, key in SHORT_FOR.items()
        if given.get(name) is not None
    ]
    return [*short, *map(read_setting, options.settings or ())]


def _plan_of_model(source: str, options: PlanOptions) -> dict[str, Any]:
    """Return a plan of one model, unchecked, with what belongs to that model."""
    if not options.shape:
        raise PlanError(
            f"the shape of {source}'s input is not known",
            "Add --shape 1x3x224x224 (once an input, in the order that the model takes them); "
            "a plan file ends in .toml.",
        )
    name = source.rpartition(":")[2] if ":" in source else Path(source).stem
    inputs = [parse_shape(text) for text in options.shape]
    model: dict[str, Any] = {"name": name, "source": source, "inputs": inputs}
    for key in ("calibration", "evaluation"):
        if getattr(options, key) is not None:
            model[key] = getattr(options, key)
    return {
        "plan": {"name": name},
        "model": [model],
        "matrix": _own_options(source),
        "measure": {},
    }


def parse_shape(text: str) -> dict[str, Any]:
    """Return the input that "1x3x224x224", "1x128:int64" or "1x128:int64:0..30522" describes."""
    form = r"(\d+(?:x\d+)*)(?::([a-z]\w*))?(?::(-?[\d.]+?)\.\.(-?[\d.]+))?"
    match = re.fullmatch(form, text)
    if match is None:
        raise PlanError(
            f"--shape {text} is not a shape",
            "Write 1x3x224x224; with a type and a range of values: 1x128:int64:0..30522.",
        )
    shape, dtype, low, high = match.groups()
    given: dict[str, Any] = {"shape": [int(size) for size in shape.split("x")]}
    if dtype is not None:
        given["dtype"] = dtype
    if low is not None:
        given.update(low=float(low), high=float(high))
    return given


def _own_options(source: str) -> dict[str, list[str]]:
    """Return the options that a ready file was saved with: it is measured as it is."""
    from harness.export_worker.formats import FORMATS, format_of

    name = format_of(source)
    if not name or not Path(source).is_file():
        return {}
    return {key: [value] for key, value in FORMATS[name].read_options(source).items()}
