"""What every encoder is: one row of numbers an item, always the same row, and a stated price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, Image, Sound, Words

Takes = Literal["image", "sound", "words"]
TAKES: dict[Takes, type] = {"image": Image, "sound": Sound, "words": Words}

_Item = TypeVar("_Item")


class Encoder(Protocol):
    """Items to rows. Same item, same weights: the same row, whatever else is in the batch.

    Encoders are frozen dataclasses that hold only their options: cheap to make, to compare, to pickle. Weights are
    read at the first `encode` (or `load`) and kept once a process.
    """

    @property
    def spec(self) -> str:
        """Names all that changes the features; stored with them."""
        ...

    @property
    def dim(self) -> int:
        """Features a row."""
        ...

    @property
    def takes(self) -> Takes:
        """What kind of item goes in."""
        ...

    @property
    def macs(self) -> int:
        """Multiply-accumulates of its matrix products for one `unit`."""
        ...

    @property
    def unit(self) -> str:
        """What `macs` counts: `picture`, `second of sound` or `text of 16 tokens`."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of weights that are read."""
        ...

    def load(self) -> None:
        """Read the weights now, so that the first `encode` costs what the others cost."""
        ...

    def encode(self, items: Sequence[Any]) -> Array:
        """N items -> float32 [N, dim]."""
        ...


class ImageEncoder(Encoder, Protocol):
    """An encoder of pictures."""

    @property
    def short_side(self) -> int | None:
        """Pixels on the short side of the smallest decode that is enough; None where every pixel counts."""
        ...


class JointEncoder(ImageEncoder, Protocol):
    """Pictures and words in one space: rows are unit vectors, their dot product is the score."""

    @property
    def base(self) -> str | None:
        """Spec of the image encoder whose features `derive` takes; None where there is none."""
        ...

    def derive(self, features: Array) -> Array:
        """Features of the base encoder [N, D] -> rows of this one [N, dim], without looking at the pictures again."""
        ...

    def encode_words(self, texts: Sequence[str]) -> Array:
        """N texts -> float32 [N, dim]."""
        ...


class Classifier(ImageEncoder, Protocol):
    """An image encoder whose features a fixed head turns into probabilities of named classes."""

    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        ...

    def probabilities(self, features: Array) -> Array:
        """Features [N, dim] -> float32 [N, K], rows sum to 1."""
        ...


def understands(encoder: Any, text: str) -> bool:
    """Whether a text encoder, or that inside a joint one, knows the words of a text; else all such texts are alike."""
    known = getattr(getattr(encoder, "text", encoder), "understands", None)
    return known is None or bool(known(text))


def checked(items: Sequence[_Item], kind: type[_Item], name: str) -> Sequence[_Item]:
    """The items, all of one kind, or InvalidValueError with the first that is not.

    >>> checked([Words("a cat")], Words, "bge-small")
    [Words(title='a cat', keywords=(), source='sidecar')]
    """
    if isinstance(items, kind | str | bytes) or not isinstance(items, Sequence):
        raise InvalidValueError(
            f"{name} encodes a list of {kind.__name__}, got {type(items).__name__}: put it in a list"
        )
    for at, item in enumerate(items):
        if not isinstance(item, kind):
            raise InvalidValueError(f"{name} encodes {kind.__name__}, got {type(item).__name__} at {at}")
    return items


def checked_image(item: Image, name: str) -> Image:
    """The picture, or InvalidValueError where it has no pixels."""
    if 0 in item.pixels.shape:
        raise InvalidValueError(f"{name} needs at least 1 x 1 pixels, got {list(item.pixels.shape)}")
    return item


def stacked(rows: Sequence[Array], dim: int) -> Array:
    """Rows as float32 [N, dim], also where N is 0."""
    return np.stack(rows).astype(np.float32, copy=False) if rows else np.zeros((0, dim), np.float32)


def unit_rows(rows: Array) -> Array:
    """Rows of length 1, float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Array = np.divide(rows, lengths, out=np.zeros(rows.shape, np.float32), where=lengths > 0, casting="unsafe")
    return unit
