"""A network that has learnt: blocks in, a probability a class out; kept in a folder, loaded without trust."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from lightmeter.assets.saving import expect, insist, load_model, save_model
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError
from lightmeter.heads.answering import check_batch, loaded_blocks, loaded_names, view_of
from lightmeter.heads.examples import Batch, Block, Examples
from lightmeter.heads.feeding import Inputs, inputs_of, tensor_of
from lightmeter.heads.net_head import NetHead, SeparableHead, check_blocks
from lightmeter.parts import build, need
from lightmeter.types import Array

SCHEMA = "lightmeter.classifier/1"
_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What was learnt of the classes first..last: arrays by the names of the network's weights and buffers."""

    first: int
    last: int
    arrays: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A fitted network. It answers with one thread, and the same batch always with the same bits.

    head: its recipe · blocks: what it reads, in the order of `Batch.present` · label_names: one a class
    parts: one, or several where classes were learnt a few at a time · about: what made it: data, training, seed …
    """

    head: NetHead
    blocks: tuple[Block, ...]
    label_names: tuple[str, ...]
    parts: tuple[Part, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.label_names)

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        return sum(array.nbytes for part in self.parts for array in part.arrays.values())

    @property
    def macs(self) -> int:
        """Multiply–adds for one item; of 300 frames, where frames count (`macs_of`)."""
        return sum(int(net.macs) for net in self._nets)

    def macs_of(self, frames: int) -> int:
        """Multiply–adds for one item of so many frames."""
        return sum(int(net.macs_of(frames) if hasattr(net, "macs_of") else net.macs) for net in self._nets)

    @cached_property
    def _nets(self) -> tuple[Any, ...]:
        return tuple(loaded_net(self.head, self.blocks, part, self.classes) for part in self.parts)

    def view(self, examples: Examples, *, without: Sequence[str] = ()) -> Examples:
        """A set as this classifier reads it: its blocks, in its order. `without`: blocks to be taken for absent.

        Raises InvalidValueError for blocks that the set lacks or has in another size.
        """
        return view_of(self.blocks, examples, without)

    def scores(self, batch: Batch) -> Array:
        """Probabilities float32 [B, K] of a batch of this classifier's blocks (see `view`)."""
        made = np.empty((len(batch), self.classes), np.float32)
        for rows, inputs in self._inputs(batch):
            for part, net in zip(self.parts, self._nets, strict=True):
                made[rows, part.first : part.last] = net(*inputs.asked).float().clamp(0, 1).numpy()
        return made

    def hidden(self, batch: Batch) -> Array:
        """Activations before the last layer, float32 [B, H].  Raises InvalidValueError where the network has none."""
        (net, *others) = self._nets
        if others or not hasattr(net, "hidden"):
            raise InvalidValueError(f"{self.head.spec} has no layer before the last: take dbof, keyword-mlp or another")
        return np.concatenate([net.hidden(*inputs.asked).float().numpy() for _, inputs in self._inputs(batch)])

    def _inputs(self, batch: Batch) -> Iterator[tuple[slice, Inputs]]:
        """Some rows at a time, within torch's settings for answers."""
        torch = need("torch", "torch")
        torch.set_num_threads(threads())
        check_batch(batch, self.blocks)
        with torch.inference_mode():
            for at in range(0, max(1, len(batch)), _ROWS):
                yield slice(at, at + _ROWS), inputs_of(_rows_of(batch, at, self.blocks), self.blocks)

    def save(self, folder: Path) -> None:
        """Write it into a folder: `model.safetensors` and `model.json`."""
        arrays = {f"{at}.{name}": each for at, part in enumerate(self.parts) for name, each in part.arrays.items()}
        save_model(folder, arrays, {
            "schema": SCHEMA,
            "spec": self.head.spec,
            "blocks": [
                {"name": each.name, "kind": each.kind, "dim": each.dim, "made_by": each.made_by} for each in self.blocks
            ],
            "label_names": list(self.label_names),
            "parts": [[part.first, part.last] for part in self.parts],
            "about": dict(self.about),
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote, mapped from the file.  Raises RejectedFileError for anything else, MissingAssetError."""
        arrays, about = load_model(folder, mapped=True)
        insist(about.get("schema") == SCHEMA, f"a classifier must say {SCHEMA}, got {about.get('schema')!r:.80}")
        head, blocks, names = _loaded_head(about), loaded_blocks(about), loaded_names(about)
        made = about.get("about")
        insist(isinstance(made, dict), "about of a model must be an object")
        try:
            check_blocks(head, blocks)
            parts = tuple(
                _loaded_part(head, blocks, arrays, (at, first, last, len(names)))
                for at, (first, last) in enumerate(_loaded_ranges(about, len(names)))
            )
        except RejectedFileError:
            raise
        except (LightmeterError, ValueError, RuntimeError, OverflowError) as error:
            raise RejectedFileError("damaged", f"a model must be of its recipe: {str(error)[:200]}") from error
        known = {f"{at}.{name}" for at, part in enumerate(parts) for name in part.arrays}
        insist(known == set(arrays), f"a model must hold its arrays only, got {sorted(set(arrays) - known)[:1]}")
        return cls(head, blocks, names, parts, made or {})


def _rows_of(batch: Batch, at: int, blocks: Sequence[Block]) -> Batch:
    rows = slice(at, at + _ROWS)
    lengths = None if batch.lengths is None else batch.lengths[rows]
    return Batch({block.name: batch.values[block.name][rows] for block in blocks}, batch.present[rows], lengths)


def loaded_net(head: NetHead, blocks: Sequence[Block], part: Part, classes: int) -> Any:
    """The network of a part, with what it has learnt, ready to answer; the memory is that of the arrays."""
    net = bare_net(head, blocks, (part.first, part.last, classes))
    net.load_state_dict({name: tensor_of(each) for name, each in part.arrays.items()}, assign=True)
    for each in net.parameters():
        each.requires_grad_(False)
    return net.eval()


def bare_net(head: NetHead, blocks: Sequence[Block], span: tuple[int, int, int]) -> Any:
    """A network without weights: nothing is drawn, no memory is taken, whatever sizes a recipe asks for."""
    torch = need("torch", "torch")
    first, last, classes = span
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        if (first, last) == (0, classes):
            return head.net(blocks, classes)
        if not isinstance(head, SeparableHead) or head.separable():
            raise InvalidValueError(f"the classes of {head.spec} must be learnt together, got {first} to {last}")
        return head.part(blocks, first, last, classes)


# -- loading --------------------------------------------------------------------------------------------------------


def _loaded_head(about: Mapping[str, Any]) -> NetHead:
    spec = about.get("spec")
    try:
        head = build(spec, "head") if isinstance(spec, str) else None
    except (LightmeterError, ValueError) as error:
        raise RejectedFileError("damaged", f"the spec of a model must build its head: {str(error)[:200]}") from error
    if head is None or not isinstance(head, NetHead):
        raise RejectedFileError("damaged", f"the spec of a classifier must be of a network, got {spec!r:.80}")
    return head


def _loaded_ranges(about: Mapping[str, Any], classes: int) -> list[tuple[int, int]]:
    told = about.get("parts")
    fits = isinstance(told, list) and all(
        isinstance(each, list) and len(each) == 2 and all(type(end) is int for end in each) for each in told
    )
    insist(fits, "parts of a model must be a list of ranges of classes")
    ends = [0, *(last for _, last in told or [])]
    rising = all(first == before < last for before, (first, last) in zip(ends, told or [], strict=False))
    insist(rising and ends[-1] == classes, f"parts of a model must follow each other from 0 to {classes}")
    return [(first, last) for first, last in told or []]


def _loaded_part(
    head: NetHead, blocks: Sequence[Block], arrays: Mapping[str, Array], place: tuple[int, int, int, int]
) -> Part:
    """One part, each array of the type and shape that the recipe makes; an axis of 0 takes what there is."""
    at, first, last, classes = place
    state = bare_net(head, blocks, (first, last, classes)).state_dict()
    made = {}
    for name, wanted in state.items():
        shape = [length or None for length in wanted.shape]
        made[name] = expect(arrays, f"{at}.{name}", str(wanted.dtype).removeprefix("torch."), *shape)
        if name.rpartition(".")[2] == "running_var":  # its root is divided by
            insist(not (made[name] < 0).any(), f"{at}.{name} of a model must be 0 or more, got {made[name].min()}")
    return Part(first, last, made)
