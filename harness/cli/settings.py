"""`--set KEY=VALUE`: which key of a plan is meant, and what is written into it.

A key is `measure.warm_loads`, or of one model `model.NAME.threads`. A value is TOML; what is none is
taken as text, and a list may be written with commas: `matrix.threads=1,2`. What a key may hold, and
whether all keys fit together, the plan's own schema checks.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.errors import PlanError
from harness.schema.plan import Matrix, Model, Plan, make_plan

_SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Plan.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
_ADVICE = "docs/plan.md explains every key; `phonebench plan --schema` prints them all."


@dataclass(frozen=True)
class Setting:
    """A key of a plan and the text that stands for its value; `said` is how the person said it.

    `everywhere`: a list of the matrix takes the place of models' own lists too.
    """

    said: str
    key: str
    text: str
    everywhere: bool = False


def read_setting(text: str) -> Setting:
    """Read the argument of --set. Raises PlanError if it is not KEY=VALUE."""
    key, equals, value = (part.strip() for part in text.partition("="))
    said = f"--set {text}"
    if not key or not value:
        missing = "no key" if not key else "no value" if equals else "no = and no value"
        raise PlanError(f"{said}: there is {missing}", "Write --set measure.warm_loads=5.")
    return Setting(said, key, value)


def change_plan(plan: Plan, settings: Sequence[Setting], name: str) -> Plan:
    """Return a plan with settings in it; `name` is what errors call the plan. Raises PlanError."""
    return make_plan_with(settings, plan.model_dump(exclude_unset=True), name)


def make_plan_with(settings: Sequence[Setting], content: dict[str, Any], name: str) -> Plan:
    """Build a plan from a mapping and settings; of one key, the last one given holds.

    `content` is changed. `name` is what errors call what it came from. Raises PlanError.
    """
    _refuse_doubles(settings)
    for setting in settings:
        table, key, kind = _find(content, setting)
        table[key] = _read_value(setting, key, kind)
        if setting.everywhere and key in Matrix.model_fields:
            for model in content["model"]:
                model.pop(key, None)
    said = " ".join(dict.fromkeys(setting.said for setting in settings))
    return make_plan(content, f"{name} with {said}" if said else name)


def _refuse_doubles(settings: Sequence[Setting]) -> None:
    """Refuse an option beside a --set of the same key: nothing tells which of the two is meant."""
    short = {setting.key: setting for setting in settings if setting.everywhere}
    for setting in settings:
        if not setting.everywhere and setting.key in short:
            raise PlanError(
                f"{short[setting.key].said} and {setting.said} both set {setting.key}",
                "Leave one of them out.",
            )


def _find(content: dict[str, Any], setting: Setting) -> tuple[dict[str, Any], str, Any]:
    """Return the table that a key lies in, its name there, and what it may hold."""
    section, _, key = setting.key.partition(".")
    if section == "model":
        name, _, key = key.rpartition(".")
        table = next((model for model in content["model"] if model.get("name") == name), None)
        if table is not None and key in Model.model_fields:
            return table, key, Model.model_fields[key].annotation
    elif section in _SECTIONS and key in _SECTIONS[section].model_fields:
        kind = _SECTIONS[section].model_fields[key].annotation
        return content.setdefault(section, {}), key, kind
    raise _unknown_key(setting, [model["name"] for model in content["model"]])


def _unknown_key(setting: Setting, models: Iterable[str]) -> PlanError:
    own = [f"model.{name}.{key}" for name in models for key in Model.model_fields]
    shared = [
        f"{section}.{key}" for section, kind in _SECTIONS.items() for key in kind.model_fields
    ]
    below = [key for key in [*shared, *own] if key.startswith(f"{setting.key}.")]
    if below:
        return PlanError(
            f"{setting.said}: {setting.key} is a table; its keys: {', '.join(below)}", _ADVICE
        )
    near = _nearest(setting.key, shared, own)
    section = setting.key.partition(".")[0]
    known = [key for key in [*shared, *own] if key.startswith(f"{section}.")]
    hint = f"did you mean {near}?" if near else f"known: {', '.join(known or _SECTIONS)}"
    return PlanError(f"{setting.said}: a plan has no key {setting.key}; {hint}", _ADVICE)


def _nearest(key: str, shared: Sequence[str], own: Sequence[str]) -> str | None:
    """Return the known key that is most like `key`, which may lack its section."""
    for known in (shared, own):
        by_name = {one.rpartition(".")[2]: one for one in reversed(known)}
        by_key = {one: one for one in known}
        for names in (by_key, by_name):
            found = difflib.get_close_matches(key, names, n=1, cutoff=0.75)
            if found:
                return names[found[0]]
    return None


def _read_value(setting: Setting, key: str, kind: Any) -> Any:
    """Return what a setting's text stands for, in a key that may hold `kind`."""
    items = [get_args(arm)[0] for arm in _arms(kind) if get_origin(arm) is tuple]
    if not items:
        return _read_one(setting.text, kind)
    (item,) = items
    value = _read_toml(setting.text)
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and (not _takes_text(item) or _is_text(value)):
        return value
    inside = re.fullmatch(r"\[(.*)\]", setting.text)
    # Cores are themselves listed with commas: without brackets an affinity is a single one.
    whole = key == "affinity" and not inside
    texts = [setting.text] if whole else _split(inside[1] if inside else setting.text)
    return [_read_one(text, item) for text in texts]


def _is_text(values: Iterable[Any]) -> bool:
    """Tell whether a list's texts still have their quotes: a shell takes them away."""
    return all(isinstance(value, str) for value in values)


def _split(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _read_one(text: str, kind: Any) -> Any:
    """Return a single value: text where `kind` is text, else TOML, else the text as it is."""
    value = _read_toml(text)
    if value is None or (_takes_text(kind) and not isinstance(value, str)):
        return text
    return value


def _read_toml(text: str) -> Any:
    """Return the TOML value that a text is; None if it is none."""
    try:
        content = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return None
    return content["value"] if len(content) == 1 else None  # a line break may bring other keys


def _takes_text(kind: Any) -> bool:
    return any(arm is str or get_origin(arm) is Literal for arm in _arms(kind))


def _arms(kind: Any) -> Iterator[Any]:
    """Yield the alternatives of a type, without what is only said about it."""
    if get_origin(kind) is Annotated:
        yield from _arms(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for arm in get_args(kind):
            yield from _arms(arm)
    else:
        yield kind
