"""One picture through a classic filter into a PNG; the picture is read and filtered where hostile bytes do no harm."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lightmeter.assets.files import whole_file
from lightmeter.engines.limits import Limits
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.looking import look, only
from lightmeter.nets.convolution import (
    Padding,
    Pooling,
    SlidePlan,
    check_slide,
    output_side,
    pooled,
    relu,
    response_tiles,
)
from lightmeter.parts import build
from lightmeter.types import Array

_LIMITS = Limits(attempts=1)
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's `L`
_ROWS = 256  # made grey, and measured, at once
MIDDLE = 128
"""The level of a response of 0 where responses have a sign."""
CLIPPED = 0.01
"""Share of the responses, the strongest, that may be drawn as black or white alike. One in a thousand is too few: the
edge of a dark border alone is more than that."""


@dataclass(frozen=True, slots=True)
class FilterAsk:
    """What is to be done with a picture, in this order: filter, detector, pooling.

    filter: a spec of `FILTERS` · correlate, stride, padding: as `convolution.convolve`
    colour: red, green and blue each alone, else grey (BT.601) · relu: responses below 0 become 0
    pool: over windows of pool_size x pool_size side by side; None: not at all
    """

    filter: str
    correlate: bool = False
    stride: int = 1
    padding: Padding = "reflect"
    colour: bool = False
    relu: bool = False
    pool: Pooling | None = None
    pool_size: int = 2

    def __post_init__(self) -> None:
        check_slide((1, 1), stride=self.stride, padding=self.padding, pad=None)
        if self.pool not in (None, *get_args(Pooling)):
            raise InvalidValueError(f"pool must be one of {', '.join(get_args(Pooling))} or None, got {self.pool!r}")
        if self.pool_size < 1:
            raise InvalidValueError(f"pool_size must be 1 or more, got {self.pool_size}")


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """A response as a picture.

    pixels: uint8 [H', W'] or [H', W', 3] = zero_level + round(response / unit_per_level)
    zero_level: 128 where responses have a sign, else 0 (black)
    unit_per_level: a picture runs from 0 (black) to 1 (white) · least, greatest: of the responses
    clipped: pixels whose response was too strong for the levels, and stands at the nearest
    width, height: of the picture that was filtered, pixels · macs: of the convolution
    state: `ok` or `damaged` · notes: what was odd about the file, and which options changed nothing
    """

    pixels: Array
    zero_level: int
    unit_per_level: float
    least: float
    greatest: float
    clipped: int
    width: int
    height: int
    macs: int
    state: str = "ok"
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All but the pixels, with their size."""
        named = ("zero_level", "unit_per_level", "least", "greatest", "clipped", "width", "height", "state", "notes")
        shown = {name: getattr(self, name) for name in named}
        return {**shown, "out_width": self.pixels.shape[1], "out_height": self.pixels.shape[0]}


def filter_file(path: Path, out: Path, ask: FilterAsk) -> Filtered:
    """Filter a picture into a PNG, which appears whole or not at all; an older file of that name is replaced.

    Raises InvalidValueError: out is the picture itself, does not end in .png, or its folder is not there;
    RejectedFileError: why the picture cannot be read, `too-small` for the kernel or the pooling, or what its worker
    died of (`timeout`, `memory`, `signal`); what `build` raises.
    Cost: a worker's start, the decode, `Filtered.macs`. Memory of the worker, which may take 1 GiB: about 9 bytes a
    pixel, with colour 15; what needs more is refused as `memory`.
    """
    from PIL import Image as pillow  # noqa: N813

    if out.suffix.lower() != ".png":
        raise InvalidValueError(f"OUT must end in .png, got {out.name!r}: rename it")
    if not out.parent.is_dir():
        raise InvalidValueError(f"OUT must lie in a folder that is there, got {str(out)!r}: make {str(out.parent)!r}")
    if path.exists() and out.exists() and path.samefile(out):
        raise InvalidValueError(f"OUT must not be the picture itself, got {str(out)!r}: give another name")
    build(ask.filter, "filter")  # what is wrong with it is no fault of the file
    made = filtered(path, ask)
    with whole_file(out) as unfinished:
        pillow.fromarray(made.pixels).save(unfinished, format="PNG")
    return made


def filtered(path: Path, ask: FilterAsk) -> Filtered:
    """The same without the PNG."""
    outcome = only(look(FilterStage(ask), [Task("0", {"path": os.fspath(path)})], limits=_LIMITS))
    return Filtered(**{**outcome, "notes": tuple(outcome["notes"])})


# -- in the worker ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class FilterStage:
    """Decodes pictures in full and filters them."""

    ask: FilterAsk
    _kernel: Array | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        return f"filter/{self.ask}"

    def open(self) -> None:
        """Make the kernel."""
        self._kernel = build(self.ask.filter, "filter").kernel

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """One picture a file."""
        outcomes: list[Result | Failure] = []
        for task in tasks:
            try:
                outcomes.append(Result(task.key, self._filtered(task.payload["path"], beat)))
            except RejectedFileError as error:
                outcomes.append(Failure(task.key, f"rejected:{error.code}", error.detail))
        return outcomes

    def _filtered(self, path: str, beat: Beat) -> dict[str, Any]:
        from lightmeter.media.images import read_image

        kernel = self._kernel
        assert kernel is not None, "run before open"
        reading = read_image(path)
        beat()
        pixels, state = reading.value.pixels, reading.state
        notes = [*reading.notes, *_changed_nothing(self.ask, kernel)]
        del reading
        source = pixels if self.ask.colour else _grey(pixels, beat)
        height, width = pixels.shape[:2]
        del pixels  # a large picture is held once
        try:
            plan = SlidePlan.of((height, width), kernel, stride=self.ask.stride, padding=self.ask.padding)
            response = self._responses(source, plan, kernel, beat)
        except InvalidValueError as error:
            raise RejectedFileError("too-small", str(error)) from error
        del source
        macs = plan.macs * len(response)
        return {**levels(response, kernel, self.ask.relu), "width": width, "height": height, "macs": macs,
                "state": state, "notes": notes}  # fmt: skip

    def _responses(self, source: Array, plan: SlidePlan, kernel: Array, beat: Beat) -> Array:
        """float32 [C, H', W'] of grey 0..1 [H, W] (C is 1) or of uint8 [H, W, 3]: convolution, detector, pooling."""
        size = self.ask.pool_size if self.ask.pool else 1
        height, width = (output_side(side, size, stride=size) for side in plan.out)
        responses = np.empty((1 if source.ndim == 2 else source.shape[2], height, width), np.float32)
        for at, response in enumerate(responses):
            # a colour's levels are made 0..1 by the kernel: a copy of the channel would not fit beside the responses
            channel, taps = (source, kernel) if source.ndim == 2 else (source[..., at], kernel / 255)
            whole = np.empty(plan.out, np.float32) if self.ask.pool else response
            self._convolve(channel, taps, whole, beat)
            if self.ask.pool:
                response[:] = pooled(whole, size, how=self.ask.pool)
        return responses

    def _convolve(self, channel: Array, kernel: Array, out: Array, beat: Beat) -> None:
        ask = self.ask
        for rows, columns, tile in response_tiles(
            channel, kernel, correlate=ask.correlate, stride=ask.stride, padding=ask.padding
        ):
            out[rows, columns] = relu(tile) if ask.relu else tile
            beat()


def _grey(pixels: Array, beat: Beat) -> Array:
    """uint8 [H, W, 3] -> float32 [H, W], 0..1."""
    grey = np.empty(pixels.shape[:2], np.float32)
    weights = np.array(_LUMA, np.float32) / 255
    for first in range(0, len(pixels), _ROWS):
        np.matmul(pixels[first : first + _ROWS].astype(np.float32), weights, out=grey[first : first + _ROWS])
        beat()
    return grey


def _changed_nothing(ask: FilterAsk, kernel: Array) -> list[str]:
    notes = []
    if ask.correlate and np.allclose(kernel, kernel[::-1, ::-1], rtol=0, atol=1e-12 * np.abs(kernel).max()):
        notes.append("the kernel is the same turned by half a circle: correlation and convolution are one")
    if ask.relu and kernel.min() >= 0:
        notes.append("no tap is below 0, so no response is: ReLU changes nothing")
    return notes


def levels(response: Array, kernel: Array, detected: bool) -> dict[str, Any]:
    """A response as levels: `pixels`, `zero_level`, `unit_per_level`, `least`, `greatest`, `clipped` as in `Filtered`.

    response: float [C, H, W], overwritten -> pixels uint8 [H, W] (one channel) or [H, W, C]
    Smoothing filters (no tap below 0): black is 0 and white is 1, or the greatest response where it is above 1.
    Others: 128 is 0, and 1 and 255 are the 99th percentile of |response| and all beyond; after a ReLU (detected) black
    is 0 and white that percentile. What one level of one pixel makes, through the largest tap, is never spread over
    more than the full swing: a flat picture's rounding stays invisible.
    """
    least, greatest, clipped = float(response.min()), float(response.max()), 0
    if kernel.min() >= 0:
        zero, lowest, unit = 0, 0, max(1.0, greatest) / 255
    else:
        swing = max(_strong(response), float(np.abs(kernel).max()) / 255)
        clipped = sum(int((np.abs(part) > swing).any(axis=0).sum()) for part in _parts(response))
        zero, lowest, unit = (0, 0, swing / 255) if detected else (MIDDLE, 1, swing / 127)
    response /= unit
    np.rint(response, out=response)
    response += zero
    np.clip(response, lowest, 255, out=response)
    laid = response[0] if len(response) == 1 else np.moveaxis(response, 0, 2)
    shaped = laid.astype(np.uint8, order="C")
    return {"pixels": shaped, "zero_level": zero, "unit_per_level": unit, "least": least, "greatest": greatest,
            "clipped": clipped}  # fmt: skip


def _strong(response: Array) -> float:
    """The least |response| that at most a share of CLIPPED exceed.

    By parts, as a second array of a large picture's responses would not fit beside the first.
    """
    most = int(CLIPPED * response.size)
    strongest = np.empty(0, response.dtype)
    for part in _parts(response):
        strongest = np.concatenate([strongest, np.abs(part).ravel()])
        if len(strongest) > most + 1:
            strongest = np.partition(strongest, len(strongest) - most - 1)[-most - 1 :]
    return float(strongest.min())


def _parts(response: Array) -> Iterator[Array]:
    """[C, H, W] in runs of rows."""
    return (response[:, first : first + _ROWS] for first in range(0, response.shape[1], _ROWS))
