"""plan.toml -> Plan -> cases, refusing what cannot work before a device is touched.

Every error names the key and says what would be right. Not here: doing anything with a plan.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from harness.errors import PlanError
from harness.export_worker.formats import FORMATS, usual_options
from harness.export_worker.recipes import parse_recipe
from harness.schema.base import Frozen
from harness.schema.engines import FORMAT_READ
from harness.schema.job import Dtype, MemoryFormat, Pass

USUAL_ENGINE = next(iter(FORMAT_READ))


@dataclass(frozen=True)
class _OneOf:
    """Checks and documents a word as `Literal` does, of words that stand in a table elsewhere."""

    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        return core_schema.literal_schema(list(self.words))


def _option_values(option: str) -> tuple[str, ...]:
    """Return what the format that has this option allows for it, the usual value first."""
    return next(f.OPTIONS[option] for f in FORMATS.values() if option in f.OPTIONS)


EngineName = Annotated[str, _OneOf(tuple(FORMAT_READ))]
Container = Annotated[str, _OneOf(_option_values("container"))]
Threads = Annotated[int, Field(ge=1, le=256)]


class InputSpec(Frozen):
    """One input of a model. Random values are uniform in [low, high)."""

    shape: tuple[Annotated[int, Field(ge=1)], ...]
    dtype: Dtype = "float32"
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        return self


class Matrix(Frozen):
    """The lists that multiply into cases."""

    recipe: tuple[str, ...] = Field(("fp32",), min_length=1)
    engine: tuple[EngineName, ...] = Field((USUAL_ENGINE,), min_length=1)
    threads: tuple[Threads, ...] = Field((1,), min_length=1)
    container: tuple[Container, ...] = Field(_option_values("container")[:1], min_length=1)
    memory_format: tuple[MemoryFormat, ...] = Field(("contiguous",), min_length=1)
    affinity: tuple[str, ...] = Field(("all",), min_length=1)

    @field_validator("recipe")
    @classmethod
    def _recipes_exist(cls, recipes: tuple[str, ...]) -> tuple[str, ...]:
        for recipe in recipes:
            parse_recipe(recipe)  # raises ValueError, with what would be right
        return recipes

    @field_validator("affinity")
    @classmethod
    def _affinities_are_known(cls, affinities: tuple[str, ...]) -> tuple[str, ...]:
        for affinity in affinities:
            if not re.fullmatch(r"all|big|little|\d+(-\d+)?(,\d+(-\d+)?)*", affinity):
                raise ValueError(
                    f'{affinity!r} is none of "all", "big", "little", or cores like "0,2-3"'
                )
        return affinities

    def options(self, format: str) -> Iterator[tuple[tuple[str, str], ...]]:
        """Yield each way in which files of a format are asked for: pairs of an option and a value."""
        names = FORMATS[format].OPTIONS
        for values in itertools.product(*(getattr(self, name) for name in names)):
            yield tuple(zip(names, values, strict=True))

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        for key in Matrix.model_fields:
            values = getattr(self, key)
            if len(set(values)) != len(values):
                raise ValueError(f"{key} lists a value twice: {', '.join(map(str, values))}")
        return self


class Model(Frozen):
    """One model, and optionally its own values for keys of the matrix."""

    name: str = Field(min_length=1, max_length=80)
    source: str = Field(min_length=1)
    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    calibration: str | None = None
    evaluation: str | None = None
    recipe: tuple[str, ...] | None = None
    engine: tuple[EngineName, ...] | None = None
    threads: tuple[Threads, ...] | None = None
    container: tuple[Container, ...] | None = None
    memory_format: tuple[MemoryFormat, ...] | None = None
    affinity: tuple[str, ...] | None = None

    @field_validator("name")
    @classmethod
    def _name_is_printable(cls, name: str) -> str:
        if not name.isprintable():
            raise ValueError("must be printable, on one line")
        return name

    @field_validator("calibration", "evaluation")
    @classmethod
    def _is_a_callable(cls, value: str | None) -> str | None:
        if value is not None and not is_callable_name(value):
            raise ValueError(f'{value!r} must read "module:callable"')
        return value

    @model_validator(mode="after")
    def _overrides_are_valid(self) -> Self:
        Matrix(**self._overrides())
        return self

    def _overrides(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in Matrix.model_fields}
        return {key: value for key, value in values.items() if value is not None}

    def matrix(self, common: Matrix) -> Matrix:
        """Return the plan's matrix with this model's own lists in their places."""
        return common.model_copy(update=self._overrides())


class Measure(Frozen):
    """How one launch measures. Seconds and iterations are per launch.

    An energy launch works for `energy_seconds` between two baselines. An invalid launch is
    repeated up to `retries` times; before each launch the device may cool for `cooldown_seconds`.
    """

    passes: tuple[Pass, ...] = Field(("latency", "memory"), min_length=1)
    min_iterations: int = Field(50, ge=1)
    min_seconds: float = Field(1.0, ge=0)
    max_iterations: int = Field(100_000, ge=1, le=1_000_000)
    max_seconds: float = Field(60.0, gt=0)
    warmup_iterations: int = Field(5, ge=0)
    warmup_seconds: float = Field(0.2, ge=0)
    warm_loads: int = Field(3, ge=0, le=1000)
    energy_seconds: float = Field(60.0, gt=0)
    baseline_seconds: float = Field(15.0, gt=0)
    energy_source: Literal["best", "rails", "gauge", "meter", "rapl"] = "best"
    retries: int = Field(2, ge=0, le=20)
    cooldown_seconds: float = Field(300.0, ge=0)
    delay_seconds: float = Field(0.0, ge=0)
    check_samples: int = Field(8, ge=1, le=64)
    min_sqnr_db: float | None = None
    timeout_seconds: float | None = Field(None, gt=0)

    @field_validator("passes")
    @classmethod
    def _no_pass_twice(cls, passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
        if len(set(passes)) != len(passes):
            raise ValueError(f"passes lists a value twice: {', '.join(passes)}")
        return passes

    @model_validator(mode="after")
    def _maxima_leave_room(self) -> Self:
        if self.max_iterations < max(self.min_iterations, self.warmup_iterations):
            raise ValueError("max_iterations must not be below min_iterations or warmup_iterations")
        if self.max_seconds < max(self.min_seconds, self.warmup_seconds):
            raise ValueError("max_seconds must not be below min_seconds or warmup_seconds")
        return self


class Export(Frozen):
    """How models become artifacts.

    `mobile_python` is an interpreter whose torch (2.12 or older) has XNNPACK, for `fp32-mobile`.
    """

    mobile_python: str | None = None
    quantized_engine: Literal["qnnpack", "x86", "onednn", "fbgemm"] = "qnnpack"


class DeviceSettings(Frozen):
    """What is changed on phones while they are measured, and put back afterwards.

    `fixed_performance` (Android 11 and later) holds clocks at a point that can be sustained;
    `governor` needs root. `energy_charging` is how charging is kept from the energy pass, where the
    source of power is the battery: "auto" takes the first of suspend, usb-port and by-hand that works.
    """

    stay_awake: bool = False
    fixed_performance: bool = False
    suspend_charging: bool = False
    energy_charging: Literal["auto", "suspend", "usb-port", "by-hand", "as-is"] = "auto"
    governor: str | None = Field(None, pattern=r"^[a-z_]+$")


class Header(Frozen):
    """The `[plan]` table."""

    name: str = Field(min_length=1, max_length=200)
    rounds: int = Field(10, ge=1, le=10_000)
    seed: int = Field(0, ge=0, lt=2**32)
    devices: tuple[str, ...] = Field(("local",), min_length=1)


@dataclass(frozen=True)
class Variant:
    """What is exported once: a model, a recipe, the format of the file, and the options of that.

    `options` has a value for each option of the format, as pairs: variants are told apart by hash.
    """

    model: str
    recipe: str
    format: str
    options: tuple[tuple[str, str], ...]
    memory_format: MemoryFormat = "contiguous"

    @property
    def id(self) -> str:
        """A readable name, unique within a plan."""
        return ".".join([slug(self.model), self.recipe, *self.unusual])

    @property
    def unusual(self) -> list[str]:
        """What is not as usual in the file."""
        return unusual_settings(self.format, dict(self.options), self.memory_format)


def unusual_settings(format: str, options: Mapping[str, str], memory_format: str) -> list[str]:
    """Return what is not as usual in a file, for names that people read."""
    usual = FORMAT_READ[USUAL_ENGINE], *usual_options(format).values(), "contiguous"
    return [
        setting for setting in (format, *options.values(), memory_format) if setting not in usual
    ]


@dataclass(frozen=True)
class Case:
    """One model, recipe, engine, thread count (and other settings), on any one device."""

    variant: Variant
    engine: EngineName
    threads: int
    affinity: str = "all"

    @property
    def id(self) -> str:
        """A readable name, unique within a plan and safe in a file name."""
        parts = [self.variant.id, self.engine, f"t{self.threads}"]
        if self.affinity != "all":
            parts.append(f"cpu-{self.affinity.replace(',', '_')}")
        return ".".join(parts)


class Plan(Frozen):
    """A whole plan, valid by construction."""

    plan: Header
    model: tuple[Model, ...] = Field(min_length=1)
    matrix: Matrix = Matrix()
    measure: Measure = Measure()
    export: Export = Export()
    device: DeviceSettings = DeviceSettings()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [model.name for model in self.model]
        slugs = [slug(name) for name in names]
        for name, own in zip(names, slugs, strict=True):
            if slugs.count(own) > 1:
                raise ValueError(f"two models are called {name!r}; names must differ")
        return self

    def find_model(self, name: str) -> Model:
        """Return the model of that name (it exists: cases come from this plan)."""
        return next(model for model in self.model if model.name == name)

    def variants(self, model: Model) -> tuple[Variant, ...]:
        """Return what must be exported of one model, in the plan's order."""
        matrix = model.matrix(self.matrix)
        formats = dict.fromkeys(FORMAT_READ[engine] for engine in matrix.engine)
        return tuple(
            Variant(model.name, recipe, format, options, memory_format)
            for recipe, format in itertools.product(matrix.recipe, formats)
            for options, memory_format in itertools.product(
                matrix.options(format), matrix.memory_format
            )
        )

    def cases(self) -> tuple[Case, ...]:
        """Return every case, in the plan's order. Lists multiply."""
        return tuple(
            Case(variant, engine, threads, affinity)
            for model in self.model
            for matrix in (model.matrix(self.matrix),)
            for variant in self.variants(model)
            for engine, threads, affinity in itertools.product(
                matrix.engine, matrix.threads, matrix.affinity
            )
            if FORMAT_READ[engine] == variant.format
        )

    def sha256(self) -> str:
        """Return the hash of everything the plan says, whatever its spelling in TOML."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def slug(name: str) -> str:
    """Return `name` as a safe file name: hostile or long ones get a hash to stay unique."""
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:48]
    if safe == name:
        return safe
    return f"{safe or 'model'}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def is_callable_name(source: str) -> bool:
    """Tell whether `source` reads "module:callable"."""
    return re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", source) is not None


def load_plan(path: Path) -> Plan:
    """Read and check a plan file. Raises PlanError, naming every wrong key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise PlanError(
            f"cannot read the plan {path}: {reason}",
            "Name an existing plan, or make one with `phonebench init`.",
        ) from error
    return parse_plan(text, str(path))


def parse_plan(text: str, name: str) -> Plan:
    """Parse a plan from TOML text; `name` is what errors call it."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{name} is not valid TOML: {error}") from error
    return make_plan(content, name)


def make_plan(content: dict[str, Any], name: str) -> Plan:
    """Build a plan from a mapping. Raises PlanError, naming every wrong key."""
    # As JSON, for there a strict check takes lists for tuples; no key takes a date.
    text = json.dumps(content, default=lambda date: {"date": str(date)})
    try:
        return Plan.model_validate_json(text, strict=True)
    except ValidationError as error:
        problems = _explain(error.errors(include_url=False))
        raise PlanError(
            f"{name} is not a valid plan:\n" + "\n".join(f"  {line}" for line in problems),
            "docs/plan.md explains every key; `phonebench init` writes a plan to start from.",
        ) from error


def _explain(errors: list[Any]) -> list[str]:
    """Put pydantic's findings in the plan's own words, one line a key."""
    lines = []
    for problem in errors:
        location = problem["loc"]
        # A list whose items are wrong is also reported as too short: only the items matter.
        within = any(
            other["loc"][: len(location)] == location for other in errors if other is not problem
        )
        if problem["type"] == "too_short" and within:
            continue
        key = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join(map(str, location))) or "plan"
        lines.append(f"{key}: {_explain_one(problem)}")
    return lines


def _explain_one(problem: Any) -> str:
    match problem["type"]:
        case "missing":
            return "this key is missing"
        case "extra_forbidden":
            return f"unknown key{_suggest([str(part) for part in problem['loc']])}"
        case "too_short":
            return "must not be empty"
        case "value_error":
            return str(problem["ctx"]["error"])
        case "tuple_type":
            return _ask_for_list(problem["loc"], problem["input"])
        case "model_type":
            return "must be a table, not a single value or a list"
        case "bool_type":
            return f"must be true or false (given: {problem['input']!r})"
    given = repr(problem["input"])
    return f"{problem['msg']} (given: {given if len(given) < 60 else given[:57] + '...'})"


def _ask_for_list(location: tuple[str | int, ...], given: object) -> str:
    if location == ("model",):
        return "write [[model]], once a model"
    if isinstance(given, dict):
        return "must be a list: [{ ... }]"
    return f"must be a list: [{json.dumps(given)}]"


def _suggest(location: list[str]) -> str:
    import difflib

    sections: dict[str, type[BaseModel]] = {
        "plan": Header, "model": Model, "matrix": Matrix, "measure": Measure, "export": Export,
        "inputs": InputSpec, "device": DeviceSettings,
    }  # fmt: skip
    owner = next((sections[part] for part in reversed(location[:-1]) if part in sections), Plan)
    close = difflib.get_close_matches(location[-1], owner.model_fields, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(owner.model_fields)}"
