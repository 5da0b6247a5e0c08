"""What a recipe of a network is: blocks and classes in, fresh weights out; the trainer does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block, BlockKind, Examples
from lightmeter.parts import build, table


class Reader(Protocol):
    """A recipe that says what it reads."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    @property
    def takes(self) -> tuple[BlockKind, ...]:
        """Which kinds of block it reads."""
        ...


@runtime_checkable
class NetHead(Protocol):
    """A frozen dataclass in `heads.table` whose network reads blocks and answers with probabilities.

    The module's `forward(values, present, lengths)` takes values by name of block, presence bool [B, M] and frames an
    item int64 [B] (None without frames) and gives float32 [B, K] in 0..1. It may have
    `hidden(…)` → [B, H], the activations before the last layer · `stages(…)`: every supervised output, the answer last
    `decayed()`: what l2 weighs (else: all weights of two axes or more) · `macs`, `macs_of(frames)`: for one item
    `class_axes()`: name of each parameter → the axis along which classes stand, where nothing else is shared
    """

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    @property
    def takes(self) -> tuple[BlockKind, ...]:
        """Which kinds of block it reads."""
        ...

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's global generator, an `nn.Module`."""
        ...


@runtime_checkable
class SeparableHead(NetHead, Protocol):
    """A head whose classes can be learnt a few at a time, with the same result."""

    def separable(self) -> str:
        """Why classes cannot be learnt alone with these options; empty where they can."""
        ...

    def part(self, blocks: Sequence[Block], first: int, last: int, classes: int) -> Any:
        """The classes first..last of what `net` would make of the same seed."""
        ...


@runtime_checkable
class ClosedHead(Protocol):
    """A head for several labels that learns in closed form: no steps, no seed."""

    @property
    def spec(self) -> str:
        """The canonical spelling."""
        ...

    @property
    def takes(self) -> tuple[BlockKind, ...]:
        """Which kinds of block it reads."""
        ...

    def fit(self, examples: Examples, *, about: Mapping[str, Any] | None = None) -> Any:
        """Learn from labelled examples; gives what `heads.answering` calls Answering."""
        ...


def net_head(spec: str) -> NetHead:
    """The network of a spec; raises InvalidValueError, naming those that there are, for a head of another sort."""
    head = build(spec, "head")
    if not isinstance(head, NetHead):
        raise InvalidValueError(f"--head must be a network for several labels, got {spec}: there is {_names('net')}")
    return head


def label_head(spec: str) -> NetHead | ClosedHead:
    """The head of a spec, a network or a closed form; raises InvalidValueError, naming them, for one of one label."""
    head = build(spec, "head")
    if not isinstance(head, NetHead | ClosedHead):
        names = _names("net", "fit")
        raise InvalidValueError(f"--head must be for several labels an item, got {spec}: there is {names}")
    return head


def _names(*methods: str) -> str:
    """Names of the heads that read blocks by one of these methods, for people."""
    import importlib

    found = []
    for name, place in table("head").items():
        module, _, attribute = place.partition(":")
        made = getattr(importlib.import_module(module), attribute)
        if hasattr(made, "takes") and any(hasattr(made, each) for each in methods):
            found.append(name)
    return ", ".join(sorted(found))


def check_most(recipe: object, most: int, *names: str) -> None:
    """Raise InvalidValueError where a number of a recipe that counts modules is above `most`.

    A recipe also comes with models that others made: none may build modules without end before shapes are compared.
    """
    for name in names:
        count = getattr(recipe, name)
        if count > most:
            raise InvalidValueError(f"{name} must be 1 to {most}, got {count}")


def check_blocks(head: Reader, blocks: Sequence[Block]) -> None:
    """Hold blocks to what a head reads; raises InvalidValueError that names what to choose with --blocks."""
    wrong = [block for block in blocks if block.kind not in head.takes]
    if not blocks:
        raise InvalidValueError("there must be one block of features at least, got none")
    if wrong:
        fits = [block.name for block in blocks if block.kind in head.takes]
        way_out = f"choose with --blocks {','.join(fits)}" if fits else "take another head or other data"
        raise InvalidValueError(
            f"{head.spec.partition('/')[0]} must read {' or '.join(head.takes)}, got {wrong[0].name} "
            f"({wrong[0].kind}): {way_out}"
        )
