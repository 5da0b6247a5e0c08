"""One file of a class folder → a small square picture and what is to be said about it. Runs in a worker."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import RejectedFileError
from lightmeter.media.door import at_the_door, name_of, pinned, read_bytes
from lightmeter.media.images import open_picture, read_image
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.media.sniff import must_sniff
from lightmeter.types import Array

VERSION = 1
_GREY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


@dataclass(slots=True)
class PictureStage:
    """Reads one picture a task; payload: `path`, `root` (which it must not leave) and `row`, which is handed back.

    size: side of the square that is made, by the middle square of the picture; 0: only its size is asked
    """

    size: int
    limits: MediaLimits = DEFAULT_LIMITS

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"condense-picture-{VERSION}/size={self.size}"

    def open(self) -> None:
        """Nothing to load."""

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One outcome a file; a file that is refused is a failure with its code."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            beat()
            try:
                outcomes.append(Result(task.key, self._look(task.payload)))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _look(self, asked: dict[str, Any]) -> dict[str, Any]:
        path = Path(asked["path"])
        with pinned(path, asked["root"]):
            data = read_bytes(path, self.limits.picture_bytes, follow=False)
        with at_the_door(name_of(path)):
            if must_sniff(data[:4096]).kind != "image":
                raise RejectedFileError("not-a-picture", f"{name_of(path)} is a video or a sound")
            facts = _facts(data, self.limits) | {"row": asked["row"]}
        if not self.size:
            return facts
        reading = read_image(data, short_side=self.size, limits=self.limits)
        pixels = squared(reading.value.pixels, self.size)
        notes = [each for each in reading.notes if "several pages" not in each]
        return facts | {
            "damaged": reading.state == "damaged", "notes": "; ".join(notes)[:500], "pixels": pixels.tobytes(),
            "grey": facts["grey"] or bool((pixels == pixels[..., :1]).all()),
            "digest": hashlib.sha256(pixels.tobytes()).digest()[:16],
        }  # fmt: skip


def _facts(data: bytes, limits: MediaLimits) -> dict[str, Any]:
    """What the header says; nothing is decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_picture(data, limits) as picture:
            return {
                "short_side": min(picture.size), "cmyk": picture.mode == "CMYK",
                "animated": bool(getattr(picture, "is_animated", False)), "grey": picture.mode in _GREY_MODES,
            }  # fmt: skip


def squared(pixels: Array, size: int) -> Array:
    """The middle square of a picture, resized: uint8 [H, W, 3] → [size, size, 3].

    Means of whole pixels where the side divides, else Lanczos, as everywhere in `media`.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(resized_frame(pixels[top : top + side, left : left + side], (size, size)))
