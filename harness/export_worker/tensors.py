"""Tensors: flattening outputs, memory formats, and files of raw values. Not here: comparing anything."""

from __future__ import annotations

import ctypes
import dataclasses
import math
from typing import Any, Iterator, List, Mapping, Sequence, Tuple

from .messages import TensorFile, TensorPlace
from .problems import Problem


def tensors_of(output: Any) -> Iterator[Any]:
    """Yield the tensors of an output: lists in order, mappings in insertion order, None left out."""
    import torch

    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_of(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors_of(value)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from tensors_of(getattr(output, field.name))
    elif output is not None:
        raise Problem(
            f"the model returns a {type(output).__name__} among its outputs, which is no tensor",
            "Return tensors, or tuples, lists and dicts of tensors.",
        )


def flatten(output: Any) -> List[Any]:
    """Return the outputs as plain tensors: quantized ones dequantized, floats as float32."""
    import torch

    flat = []
    for tensor in tensors_of(output):
        tensor = tensor.detach()
        if tensor.is_quantized:
            tensor = tensor.dequantize()
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor)
        flat.append(tensor.to(torch.float32) if tensor.is_floating_point() else tensor)
    if not flat:
        raise Problem("the model returns no tensor", "Return at least one.")
    return flat


def formatted(inputs: Tuple[Any, ...], memory_format: str) -> Tuple[Any, ...]:
    """Return the inputs in a memory format (only 4-D tensors have channels_last)."""
    import torch

    if memory_format != "channels_last":
        return inputs
    return tuple(
        x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x for x in inputs
    )


def write_tensors(path: str, samples: Sequence[Sequence[Any]]) -> TensorFile:
    """Write tensors as raw little-endian values, row-major; return where each one lies."""
    layout: List[List[TensorPlace]] = []
    with open(path, "wb") as file:
        for tensors in samples:
            places = []
            for tensor in tensors:
                tensor = tensor.detach().contiguous()
                file.write(b"\0" * (-file.tell() % 64))
                dtype = str(tensor.dtype)[len("torch.") :]
                places.append(TensorPlace(list(tensor.shape), dtype, file.tell()))
                if tensor.numel():
                    size = tensor.numel() * tensor.element_size()
                    file.write(ctypes.string_at(tensor.data_ptr(), size))
            layout.append(places)
    return TensorFile(path, layout)


def read_tensors(file: TensorFile) -> List[Tuple[Any, ...]]:
    """Read what `write_tensors` wrote."""
    with open(file.path, "rb") as opened:
        raw = bytearray(opened.read())
    return [tuple(_read_tensor(raw, place) for place in places) for places in file.layout]


def _read_tensor(raw: bytearray, place: TensorPlace) -> Any:
    import torch

    dtype, count = getattr(torch, place.dtype), math.prod(place.shape)
    if not count:
        return torch.empty(place.shape, dtype=dtype)
    values = torch.frombuffer(raw, dtype=dtype, count=count, offset=place.offset_bytes)
    return values.reshape(place.shape).clone()
