"""A linear probe: what frozen features of an encoder know after a condensed set, the cheapest other architecture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring.scores import Scored
from lightmeter.encoders.protocol import ImageEncoder, unit_rows
from lightmeter.errors import InvalidValueError
from lightmeter.heads.ridge import Ridge
from lightmeter.meter.cost import measure
from lightmeter.parts import build
from lightmeter.types import Array, Image

_AT_ONCE = 64


def linear_probe(
    small: ImageSet, test: ImageSet, encoder: ImageEncoder | str = "efficientnet-lite", *, l2: float = 1.0,
    test_rows: Array | None = None,
) -> Scored:  # fmt: skip
    """Ridge regression on the unit features of an image encoder, learnt from `small`, tested on `test`.

    Nothing is drawn: one student, hits [1, N]. test_rows: what `encoded(test, encoder)` gave, for many sets
    Cost: the encoder's for each picture.  Raises InvalidValueError for an encoder of something else.
    """
    made: ImageEncoder = build(encoder, "encoder") if isinstance(encoder, str) else encoder
    if made.takes != "image":
        raise InvalidValueError(f"a probe needs an encoder of pictures, got {made.spec}, which takes {made.takes}")
    if small.classes != test.classes:
        raise InvalidValueError("both sets must have the same classes in the same order: name folders alike")
    with measure() as meter:
        own, numbers = np.unique(small.labels, return_inverse=True)
        if len(own) < 2:
            raise InvalidValueError(f"a probe needs pictures of two classes, got {len(own)}")
        model = Ridge(l2=l2, grows=False).fit(encoded(small, made), numbers)
        rows = encoded(test, made) if test_rows is None else test_rows
        hits = own[model.scores(rows).argmax(axis=1)] == test.labels
    share = np.array([hits.mean()])
    return Scored(f"linear probe on {made.spec}", f"ridge/l2={l2}", (0,), hits[None], share, meter.cost)


def encoded(images: ImageSet, encoder: ImageEncoder) -> Array:
    """Unit features of a set: float32 [N, D]; grey pictures are shown as RGB."""
    blocks = [encoder.encode(list(_images(images, start))) for start in range(0, len(images), _AT_ONCE)]
    return unit_rows(np.concatenate(blocks)) if blocks else np.zeros((0, encoder.dim), np.float32)


def _images(images: ImageSet, start: int) -> Iterator[Image]:
    for pixels in images.images[start : start + _AT_ONCE]:
        yield Image(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))
