"""Features of many pictures, encoded once: kept in the user's cache by block, so that a killed run loses one block."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.by_path import weights_id
from lightmeter.encoders.cache import kept
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, Image

BLOCK = 500
VERSION = "features 1"
"""Raise it with any change to how pictures are read or features are laid out: blocks are kept under this name."""

ENCODER = "efficientnet-lite/size=0,view=whole"
"""The default of the studies: all of the picture, as most of theirs are cut-out objects that fill it."""

Tell = Callable[[str], None]
Make = Callable[[], Image]


def silent(_text: str) -> None:
    """Says nothing: the default listener."""


def features_of(
    pictures: Sequence[Make], keys: Sequence[str], *, source: str, encoder: str = ENCODER, tell: Tell = silent
) -> Array:
    """Encode pictures, or take from the cache what was encoded before: float32 [N, D].

    As `features_where_possible`, of pictures that can all be encoded: raises RejectedFileError for the first that
    cannot.
    """
    rows, left_out = features_where_possible(pictures, keys, source=source, encoder=encoder, tell=tell)
    for at, why in left_out.items():
        raise RejectedFileError("left-out", f"{keys[at]} has no features by {encoder}: {why}")
    return rows


def features_where_possible(
    pictures: Sequence[Make], keys: Sequence[str], *, source: str, encoder: str = ENCODER, tell: Tell = silent
) -> tuple[Array, Mapping[int, str]]:
    """Features float32 [N, D], and which pictures have none and why: their rows are NaN.

    pictures: calls that give one picture each, called only where its block is not kept · keys: one a picture, all that
    its pixels depend on beside `source` (a file's name inside an asset, seed and number of a frame) · source: hash of
    the data they come from · encoder: spec of an image encoder · tell: told after every block that was encoded.
    A picture that a call or the encoder rejects (RejectedFileError: unreadable, no face) is left out.
    Blocks of 500 rows lie in `cache_folder()` (LIGHTMETER_CACHE), each written whole, with a checksum, and named by
    source, keys, encoder and what the files hold that the encoder reads by path; deleting them is harmless.
    Raises InvalidValueError for an encoder of sound or words, MissingAssetError for one whose file is gone, even where
    all rows are kept.  Cost: one encoding a picture, the first time.
    """
    made = image_encoder(encoder)
    if len(pictures) != len(keys):
        raise InvalidValueError(f"each picture must have one key, got {len(pictures)} pictures and {len(keys)} keys")
    weights = weights_id(made)
    by = f"{made.spec} with {weights}" if weights else made.spec
    rows = np.empty((len(pictures), made.dim), np.float32)
    left_out: dict[int, str] = {}
    for start in range(0, len(pictures), BLOCK):
        some = slice(start, min(start + BLOCK, len(pictures)))
        stamp = hash_of([VERSION, by, source, list(keys[some])])
        body = kept("features", stamp, lambda some=some: _encoded(made, pictures, some, tell))  # type: ignore[misc]
        split = rows[some].nbytes
        rows[some] = np.frombuffer(body[:split], "<f4").reshape(-1, made.dim)
        whys = json.loads(body[split:] or "{}")
        absent = np.flatnonzero(np.isnan(rows[some]).any(axis=1))
        left_out |= {start + int(at): whys.get(str(at), "its features are no numbers") for at in absent}
    return rows, left_out


def image_encoder(spec: str) -> Any:
    """The encoder of a spec; raises InvalidValueError where it takes no pictures."""
    from lightmeter.parts import build

    made = build(spec, "encoder")
    if made.takes != "image":
        raise InvalidValueError(f"--encoder must encode pictures, got {spec}: take {ENCODER}")
    return made


def _encoded(encoder: Any, pictures: Sequence[Make], some: slice, tell: Tell) -> bytes:
    """A block as it is kept: its rows and, where a picture was left out, why, as JSON: {"3": "no-face: …"}."""
    makes, whys = pictures[some], {}
    rows = np.full((len(makes), encoder.dim), np.nan, "<f4")
    for at, make in enumerate(makes):  # one by one: 500 large pictures would not fit into the memory
        try:
            rows[at] = encoder.encode([make()])[0]
        except RejectedFileError as error:
            whys[str(at)] = str(error)
    tell(f"encoded {some.stop:,} of {len(pictures):,} pictures")
    return rows.tobytes() + (json.dumps(whys).encode() if whys else b"")


def file_maker(path: Path, short_side: int | None = None) -> Make:
    """A call that reads a picture file: upright, sRGB, transparency on white. short_side: as `read_image`'s."""

    def make() -> Image:
        from lightmeter.media.images import read_image

        return read_image(path, short_side=short_side).value

    return make
