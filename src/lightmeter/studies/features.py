"""Features of many pictures, encoded once: kept in the user's cache by block, so that a killed run loses one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.cache import kept
from lightmeter.errors import InvalidValueError
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Image

BLOCK = 500
VERSION = "features 1"
"""Raise it with any change to how pictures are read or features are laid out: blocks are kept under this name."""

ENCODER = "efficientnet-lite/size=0,view=whole"
"""The default of the studies: all of the picture, as most of theirs are cut-out objects that fill it."""

Tell = Callable[[str], None]
Make = Callable[[], Image | None]


def silent(_text: str) -> None:
    """Says nothing: the default listener."""


def features_of(
    pictures: Sequence[Make], keys: Sequence[str], *, source: str, encoder: str = ENCODER, tell: Tell = silent
) -> Array:
    """Encode pictures, or take from the cache what was encoded before: float32 [N, D].

    pictures: calls that give one picture each (or None, which makes a row of NaN), called only where its block is not
    kept · keys: one a picture, all that
    its pixels depend on beside `source` (a file's name inside an asset, seed and number of a frame) · source: hash of
    the data they come from · encoder: spec of an image encoder · tell: told after every block that was encoded.
    Blocks of 500 rows lie in `cache_folder()` (LIGHTMETER_CACHE), each written whole, with a checksum, and named by
    source, keys and encoder; deleting them is harmless.
    Raises InvalidValueError for an encoder of sound or words.  Cost: one encoding a picture, the first time.
    """
    made = _image_encoder(encoder)
    if len(pictures) != len(keys):
        raise InvalidValueError(f"each picture must have one key, got {len(pictures)} pictures and {len(keys)} keys")
    rows = np.empty((len(pictures), made.dim), np.float32)
    for start in range(0, len(pictures), BLOCK):
        some = slice(start, min(start + BLOCK, len(pictures)))
        stamp = hash_of([VERSION, made.spec, source, list(keys[some])])
        body = kept("features", stamp, lambda some=some: _encoded(made, pictures, some, tell))  # type: ignore[misc]
        rows[some] = np.frombuffer(body, "<f4").reshape(-1, made.dim)
    return rows


def _image_encoder(spec: str) -> Any:
    from lightmeter.parts import build

    made = build(spec, "encoder")
    if made.takes != "image":
        raise InvalidValueError(f"--encoder must encode pictures, got {spec}: take {ENCODER}")
    return made


def _encoded(encoder: Any, pictures: Sequence[Make], some: slice, tell: Tell) -> bytes:
    made = [make() for make in pictures[some]]
    rows = np.full((len(made), encoder.dim), np.nan, "<f4")
    there = [at for at, picture in enumerate(made) if picture is not None]
    rows[there] = encoder.encode([made[at] for at in there])
    tell(f"encoded {some.stop:,} of {len(pictures):,} pictures")
    return rows.tobytes()


def file_maker(path: Path, short_side: int | None = None) -> Make:
    """A call that reads a picture file: upright, sRGB, transparency on white. short_side: as `read_image`'s."""

    def make() -> Image:
        from lightmeter.media.images import read_image

        return read_image(path, short_side=short_side).value

    return make
