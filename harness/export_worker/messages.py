"""What the host and an export worker say to one another, as dataclasses and as lines of JSON.

The host writes one `Request`; the worker answers with one line for each thing that happened:

    Phase       what the process is about to do: a crash is blamed on it
    Checks      the check inputs are written
    Inspected   a ready file was looked into, and not run yet
    Accepted    the model is good: what it depends on
    Reference   it ran: the outputs that all others are compared with are written
    Finisher    this interpreter is there to finish what another one traced
    Started     a variant was begun; then exactly one of Delivered, Staged and Refused
    Failed      instead of the rest: the model itself is no good
    Done

Not here: doing anything about it (`worker.py`, and the host's `model_export.py`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import (
    Any,
    Dict,
    List,
    Literal,
    Optional,
    Type,
    TypeVar,
    Union,
    get_args,
    get_type_hints,
)

Message = TypeVar("Message")


@dataclass
class TensorPlace:
    """Where one tensor lies in a file of raw little-endian values."""

    shape: List[int]
    dtype: str
    offset_bytes: int


@dataclass
class TensorFile:
    """A file of tensors: `layout` has a list for each sample, with a place for each tensor."""

    path: str
    layout: List[List[TensorPlace]]


@dataclass
class StagedEvaluation:
    """The evaluation set, written down for another interpreter."""

    inputs: TensorFile
    labels: List[List[int]]


@dataclass
class Accuracy:
    """Top-1 accuracy over the evaluation set."""

    top1: float
    samples: int


@dataclass
class Counts:
    """Counted after pruning and before quantization; None where nothing is found."""

    parameters: Optional[int] = None
    nonzero_parameters: Optional[int] = None
    flops: Optional[int] = None


@dataclass
class Inspection:
    """What a file says of itself.

    `options` are those of its format that it was saved with; `details` holds what only files of
    this format have, by a label for people.
    """

    size_bytes: int
    options: Dict[str, str]
    operators: List[str]
    is_quantized: bool
    details: Dict[str, Union[int, str]] = field(default_factory=dict)


# --- the request -------------------------------------------------------------------------------


@dataclass
class TensorSpec:
    """One input of the model. Random values are uniform in [low, high)."""

    shape: List[int]
    dtype: str
    low: float
    high: float


@dataclass
class VariantSpec:
    """One file to be made: the recipe, the format, the format's options, the memory format."""

    id: str
    recipe: str
    format: str
    options: Dict[str, str]
    memory_format: str


@dataclass
class Request:
    """What one worker shall do. `work` is export, finish or ready; `folder` is for what it writes.

    `have` maps variants that are known already to the identity of the model that they were made
    of: they are made again only if it changed. `staged` and `checks` are for the work "finish".
    """

    work: str
    root: str
    folder: str
    source: str
    inputs: List[TensorSpec]
    calibration: Optional[str]
    evaluation: Optional[str]
    seed: int
    check_samples: int
    quantized_engine: str
    has_mobile_python: bool
    variants: List[VariantSpec] = field(default_factory=list)
    have: Dict[str, str] = field(default_factory=dict)
    staged: List[Staged] = field(default_factory=list)
    checks: Optional[Checks] = None


# --- the answers -------------------------------------------------------------------------------


@dataclass
class Phase:
    """The process is about to do this."""

    doing: str


@dataclass
class Checks:
    """The check inputs are written; `inputs_are_real` if they are the user's own data."""

    inputs: TensorFile
    inputs_are_real: bool
    evaluation: Optional[StagedEvaluation] = None


@dataclass
class Inspected:
    """A ready file is sound, as far as can be seen without running it."""

    seen: Inspection
    torch_version: str
    python_version: str


@dataclass
class Accepted:
    """The model is good. `dependencies` maps the files that it depends on to their sha256.

    `identity` is one hash over these, the check inputs and what came of them.
    """

    identity: str
    dependencies: Dict[str, str]


@dataclass
class Reference:
    """The model ran on the check inputs."""

    outputs: TensorFile
    accuracy: Optional[Accuracy]


@dataclass
class Finisher:
    """This interpreter is there to finish variants, which depend on these files of it."""

    dependencies: Dict[str, str]


@dataclass
class Started:
    """A variant was begun."""

    variant: str


@dataclass
class Delivered:
    """A variant is a file, which was run on the check inputs."""

    variant: str
    path: str
    seen: Inspection
    outputs: TensorFile
    accuracy: Optional[Accuracy]
    counts: Counts
    torch_version: str
    python_version: str
    export_seconds: float
    created_unix: float
    notes: List[str]


@dataclass
class Staged:
    """A variant is traced, to be finished under the interpreter that has XNNPACK."""

    variant: str
    traced: str
    counts: Counts
    seconds: float
    notes: List[str]


@dataclass
class Refused:
    """A variant has no file. `status` is skipped (it cannot apply) or failed (it was tried)."""

    variant: str
    status: Literal["skipped", "failed"]
    reason: str
    advice: str


@dataclass
class Failed:
    """The model itself is no good."""

    reason: str
    advice: str


@dataclass
class Done:
    """All that was asked is done."""


Answer = Union[
    Phase, Checks, Inspected, Accepted, Reference, Finisher,
    Started, Delivered, Staged, Refused, Failed, Done,
]  # fmt: skip
_KINDS = {kind.__name__: kind for kind in get_args(Answer)}


# --- as JSON -----------------------------------------------------------------------------------


def write_answer(answer: Answer) -> str:
    """Return an answer as one line of JSON, which names its type."""
    return json.dumps({"type": type(answer).__name__, **dataclasses.asdict(answer)}) + "\n"


def read_answer(line: Union[str, bytes]) -> Answer:
    """Read what `write_answer` wrote."""
    content = json.loads(line)
    answer: Answer = _build(_KINDS[content.pop("type")], content)
    return answer


def write_request(request: Request) -> str:
    """Return a request as JSON."""
    return json.dumps(dataclasses.asdict(request))


def read_request(text: str) -> Request:
    """Read what `write_request` wrote."""
    return _build_message(Request, json.loads(text))


def _build_message(kind: Type[Message], content: Dict[str, Any]) -> Message:
    hints = get_type_hints(kind)
    return kind(**{name: _build(hints[name], value) for name, value in content.items()})


def _build(kind: Any, value: Any) -> Any:
    """Return what JSON says as the type that was written: lists, dicts, Optional, dataclasses."""
    if dataclasses.is_dataclass(kind):
        return _build_message(kind, value)  # type: ignore[arg-type]
    within = get_args(kind)
    if type(None) in within:  # Optional[...]
        return None if value is None else _build(within[0], value)
    if isinstance(value, list):
        return [_build(within[0], item) for item in value]
    if isinstance(value, dict):
        return {key: _build(within[1], item) for key, item in value.items()}
    return value
