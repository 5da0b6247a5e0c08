"""A net out of a folder: sizes from its JSON, within bounds and as its arrays have them, before anything is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from lightmeter.assets.saving import insist
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.types import Array

MOST_COUNT = 1 << 16
"""No size of a net is more."""
MOST_LAYERS = 256
"""Nor does any have more blocks of one sort: each takes a millisecond to make."""


def saved_plan(made: type[Any], told: Any, kind: str) -> Any:
    """The sizes of a net, a frozen dataclass, from what `dataclasses.asdict` and JSON made of it.

    Every field must be there and no other; counts are whole numbers from 0 to MOST_COUNT, no true or false.
    Raises RejectedFileError for anything else, and for what the dataclass itself refuses.
    """
    hints = get_type_hints(made)
    known = [field.name for field in dataclasses.fields(made)]
    got = sorted(told) if isinstance(told, dict) else told
    insist(got == sorted(known), f"the plan of a {kind} must hold {', '.join(known)}, got {got!s:.80}")
    values = {name: _value(f"{name} in the plan of a {kind}", told[name], hints[name], kind) for name in known}
    try:
        return made(**values)
    except InvalidValueError as error:
        raise RejectedFileError("damaged", f"the plan of a {kind} must fit: {str(error)[:200]}") from error


def _value(name: str, told: Any, hint: Any, kind: str) -> Any:
    """One field as its type has it."""
    origin, args = get_origin(hint), get_args(hint)
    if NoneType in args:
        return None if told is None else _value(name, told, args[0], kind)
    if dataclasses.is_dataclass(hint):
        return saved_plan(cast(type[Any], hint), told, kind)
    if origin is tuple:
        insist(
            isinstance(told, list) and len(told) == len(args), f"{name} must be {len(args)} numbers, got {told!s:.80}"
        )
        return tuple(_value(name, each, wanted, kind) for each, wanted in zip(told, args, strict=True))
    if origin is Literal:
        insist(isinstance(told, str) and told in args, f"{name} must be one of {', '.join(args)}, got {told!s:.80}")
        return told
    if hint is float:
        insist(type(told) in (int, float) and abs(told) <= MOST_COUNT, f"{name} must be a number, got {told!s:.80}")
        return float(told)
    return size_of(told, name)


def size_of(told: Any, name: str, least: int = 0) -> int:
    """A whole number from `least` to MOST_COUNT; else RejectedFileError."""
    insist(
        type(told) is int and least <= told <= MOST_COUNT,
        f"{name} must be a whole number from {least} to {MOST_COUNT:,}, got {told!s:.80}",
    )
    return int(told)


def unfilled(make: Callable[[], Any], arrays: Mapping[str, Array], layers: Mapping[str, int]) -> Any:
    """A net on torch's meta device, made only where its counts of blocks are those of the arrays.

    layers: how many blocks of each sort its plan has, by the pattern of a name that every such block has, `{}` for its
    number. Raises RejectedFileError where they differ, or where a net of such sizes cannot be.
    """
    import torch

    for pattern, count in layers.items():
        found = next((at for at in range(MOST_LAYERS + 1) if pattern.format(at) not in arrays), MOST_LAYERS + 1)
        insist(found == count <= MOST_LAYERS, f"a net must have the {count} of {pattern} in its plan, got {found}")
    try:
        with torch.device("meta"):
            return make()
    except (ValueError, RuntimeError, TypeError, OverflowError) as error:
        raise RejectedFileError("damaged", f"a net must be of sizes that go together: {str(error)[:200]}") from error
