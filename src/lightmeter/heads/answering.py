"""What answers with a probability for each of many labels: one network, several, or a closed form; kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lightmeter.assets.saving import ABOUT, insist
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError, nearest
from lightmeter.heads.examples import Batch, Block, Chosen, Examples, Rebatched
from lightmeter.types import Array

_MOST_JSON_BYTES = 16 << 20
_MOST_CLASSES = 1 << 24
_MOST_BLOCKS = 64


class Spelling(Protocol):
    """Anything with a spelling."""

    @property
    def spec(self) -> str:
        """For people, and for `build` where it is a recipe."""
        ...


class Answering(Protocol):
    """A fitted classifier of several labels.

    blocks: what it reads, in the order of `Batch.present` · about: what made it, as JSON holds it
    """

    @property
    def head(self) -> Spelling:
        """Its recipe."""
        ...

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What it reads."""
        ...

    @property
    def label_names(self) -> tuple[str, ...]:
        """One a class."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What made it."""
        ...

    @property
    def classes(self) -> int:
        """K."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        ...

    @property
    def macs(self) -> int:
        """Multiply–adds for one item."""
        ...

    def macs_of(self, frames: int) -> int:
        """The same for an item of so many frames."""
        ...

    def view(self, examples: Examples, *, without: Sequence[str] = ()) -> Examples:
        """A set as it reads it: see `view_of`."""
        ...

    def scores(self, batch: Batch) -> Array:
        """Probabilities float32 [B, K] of a batch of its blocks."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into a folder; `load_answering` reads it."""
        ...


def view_of(blocks: Sequence[Block], examples: Examples, without: Sequence[str] = ()) -> Examples:
    """A set as a model of these blocks reads it: those blocks, in that order. `without`: blocks to be taken for absent.

    Raises InvalidValueError for blocks that the set lacks, or has in another size or by another maker.
    """
    known = {block.name: block for block in examples.blocks}
    for block in blocks:
        own = known.get(block.name)
        if own is None:
            raise InvalidValueError(
                f"the data must have {', '.join(each.name for each in blocks)}, got no {block.name}"
                f"{nearest(block.name, known)}: take data with it, or a model that was fitted without it"
            )
        if (own.kind, own.dim) != (block.kind, block.dim):
            raise InvalidValueError(
                f"{block.name} must be {block.kind} of {block.dim} as the model has it, got {own.kind} of {own.dim}"
            )
        if own.made_by and block.made_by and own.made_by != block.made_by:
            raise InvalidValueError(
                f"{block.name} must be made by {block.made_by} as the model learnt it, got {own.made_by}"
            )
    unknown = [name for name in without if name not in {block.name for block in blocks}]
    if unknown:
        raise InvalidValueError(f"the model reads no block called {unknown[0]!r}{nearest(unknown[0], known)}")
    chosen = Chosen.of(examples, blocks=[block.name for block in blocks])
    if not without:
        return chosen
    hidden = [each.name in without for each in blocks]
    return Rebatched(chosen, lambda rows: hidden_from(chosen.batch(rows), blocks, hidden))


def hidden_from(batch: Batch, blocks: Sequence[Block], hidden: Sequence[bool]) -> Batch:
    """A batch of which some blocks are absent: zeros, and so marked."""
    values = {
        block.name: np.zeros_like(batch.values[block.name]) if gone else batch.values[block.name]
        for block, gone in zip(blocks, hidden, strict=True)
    }
    return replace(batch, values=values, present=batch.present & ~np.array(hidden, bool))


def check_batch(batch: Batch, blocks: Sequence[Block]) -> None:
    """Hold a batch to the blocks of a model; raises InvalidValueError."""
    if batch.present.shape != (len(batch), len(blocks)):
        raise InvalidValueError(
            f"present must be [{len(batch)}, {len(blocks)}], got {list(batch.present.shape)}: pass the set through the "
            "model's `view` first"
        )


# -- loading --------------------------------------------------------------------------------------------------------


def load_answering(folder: Path) -> Answering:
    """The model that stands in a folder, of whatever sort it is.

    Raises MissingAssetError where none stands there, RejectedFileError for anything else.
    """
    loaders = _loaders()
    schema = _schema(folder)
    if schema not in loaders:
        raise RejectedFileError(
            "damaged",
            f"a model must say one of {', '.join(loaders)}, got {schema!r:.80}: take a folder that `fit` made",
        )
    return loaders[schema](folder)


def _loaders() -> dict[str, Callable[[Path], Answering]]:
    from lightmeter.heads import classifier, ensemble, label_ridge, unigram

    return {
        classifier.SCHEMA: classifier.Classifier.load,
        ensemble.SCHEMA: ensemble.EnsembleClassifier.load,
        label_ridge.SCHEMA: label_ridge.LabelRidgeModel.load,
        unigram.SCHEMA: unigram.UnigramClassifier.load,
    }


def _schema(folder: Path) -> object:
    """What the model says that it is; the rest is read, and held to its hash, by its own loader."""
    place = Path(folder) / ABOUT
    if not place.is_file():
        raise MissingAssetError(
            f"a model must hold {ABOUT}, {folder} has none: take a folder that `fit` made; models stand before DATA"
        )
    with place.open("rb") as file:
        text = file.read(_MOST_JSON_BYTES + 1)
    try:
        about = json.loads(text[:_MOST_JSON_BYTES])
    except (ValueError, RecursionError) as error:
        raise RejectedFileError("broken-header", f"{place} must be JSON: {str(error)[:200]}") from error
    return about.get("schema") if isinstance(about, dict) else None


def loaded_blocks(about: Mapping[str, Any]) -> tuple[Block, ...]:
    """The blocks that a saved model says it reads; raises RejectedFileError."""
    told = about.get("blocks")
    insist(isinstance(told, list) and 1 <= len(told) <= _MOST_BLOCKS, "blocks of a model must be a list of 1 to 64")
    made = []
    for each in told or []:
        fields = {"name": str, "kind": str, "dim": int, "made_by": str}
        fits = isinstance(each, dict) and {name: type(value) for name, value in each.items()} == fields
        insist(
            fits and 1 <= each["dim"] <= 1 << 24, f"a block of a model must have {', '.join(fields)}, got {each!r:.80}"
        )
        try:
            made.append(Block(**each))
        except InvalidValueError as error:
            raise RejectedFileError("damaged", f"blocks of a model: {str(error)[:200]}") from error
    insist(len({each.name for each in made}) == len(made), "blocks of a model must have names of their own")
    return tuple(made)


def loaded_names(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The label names of a saved model; raises RejectedFileError."""
    names = about.get("label_names")
    fits = isinstance(names, list) and 1 <= len(names) <= _MOST_CLASSES and all(type(each) is str for each in names)
    insist(fits, "label_names of a model must be a list of names")
    insist(len(set(names or [])) == len(names or []), "label_names of a model must each be there once")
    return tuple(names or [])
