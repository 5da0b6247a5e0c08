"""How a kernel slides over a picture, in plain numpy: convolution or correlation, padding, stride, pooling, ReLU.

The convolution-detector-pooling block of a network, by hand: `pooled(relu(convolve(picture, kernel)), 2)`.
`lightmeter.nets.filters` is the same in torch, and equal to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes

Padding = Literal["none", "zero", "edge", "reflect", "symmetric", "wrap"]
"""What stands outside a picture `a b c d`: nothing (the kernel stays inside) · `0 0 | a b c d | 0 0` ·
`a a | a b c d | d d` · `c b | a b c d | c b` · `b a | a b c d | d c` · `c d | a b c d | a b`."""
Pooling = Literal["max", "average"]

_TILE_NUMBERS = 1 << 17  # of a tile of a padded picture: it and what is made of it stay in the cache
_TILE_ROWS, _TILE_COLUMNS = 64, 64  # at least


def output_side(side: int, kernel: int, *, pad: int = 0, stride: int = 1) -> int:
    """Positions of a window along one side: floor((side - kernel + 2 pad) / stride) + 1.

    The seed's slide prints (W - K + 2P) / S, without the + 1.
    Raises InvalidValueError where the window does not fit once.

    >>> output_side(227, 11, stride=4), output_side(5, 3, pad=1)
    (55, 5)
    """
    for name, value, least in (("side", side, 1), ("kernel", kernel, 1), ("pad", pad, 0), ("stride", stride, 1)):
        if value < least:
            raise InvalidValueError(f"{name} must be {least} or more, got {value}")
    if side + 2 * pad < kernel:
        raise InvalidValueError(
            f"a window of {kernel} must fit into {side} + 2 * {pad} pixels: take a larger picture or a smaller window"
        )
    return (side - kernel + 2 * pad) // stride + 1


def pad_index(side: int, pad: int, padding: Padding) -> Array:
    """Which pixel stands at each place of a padded side: int [side + 2 pad], -1 where it is a zero.

    >>> pad_index(4, 2, "reflect")
    array([2, 1, 0, 1, 2, 3, 2, 1])
    """
    if padding not in get_args(Padding):
        raise InvalidValueError(f"padding must be one of {', '.join(get_args(Padding))}, got {padding!r}")
    if side < 1 or pad < 0 or (pad and padding == "none"):
        raise InvalidValueError(f"pad must be 0 or more pixels (0 with padding none) of 1 or more, got {pad} of {side}")
    places = np.arange(side)
    if padding == "none" or padding == "zero":
        return np.pad(places, pad, constant_values=-1)
    return np.pad(places, pad, mode=padding)


def convolve(
    picture: Array,
    kernel: Array,
    *,
    correlate: bool = False,
    stride: int = 1,
    padding: Padding = "reflect",
    pad: int | None = None,
) -> Array:
    """The response of a picture to a kernel at every `stride`-th place.

    picture: [H, W] -> [H', W'], H' = `output_side(H, kernel side, pad=pad, stride=stride)`; float32 stays so, all else
    becomes float64 · kernel: [h, w]
    correlate: out[i, j] = Σ picture[i + n, j + m] kernel[n, m], as torch, OpenCV's filter2D and `ndimage.correlate`
    do; else n and m are subtracted: the kernel is turned by half a circle
    pad: pixels added to each end of both sides; None: half the kernel's sides, so that stride 1 keeps the size
    Raises InvalidValueError: wrong shapes, complex numbers, a kernel larger than the padded picture, a kernel with an
    even side where pad is None.
    Cost: `macs`, taps that are 0 left out; a kernel that is a sum of few column-times-row products (all of the table's
    are: rank 1 or 2) is run as such where that takes fewer. Memory: a few tiles beside the result.
    """
    plan = _plan(picture, kernel, stride, padding, pad)
    response = np.empty(plan.out, np.float32 if picture.dtype == np.float32 else np.float64)
    for rows, columns, tile in _tiles(picture, kernel if correlate else kernel[::-1, ::-1], plan, padding):
        response[rows, columns] = tile
    return response


def response_tiles(
    picture: Array,
    kernel: Array,
    *,
    correlate: bool = False,
    stride: int = 1,
    padding: Padding = "reflect",
    pad: int | None = None,
) -> Iterator[tuple[slice, slice, Array]]:
    """What `convolve` puts together: rows, columns and numbers of each tile; for those who must show they are alive."""
    plan = _plan(picture, kernel, stride, padding, pad)
    return _tiles(picture, kernel if correlate else kernel[::-1, ::-1], plan, padding)


def _plan(picture: Array, kernel: Array, stride: int, padding: Padding, pad: int | None) -> SlidePlan:
    check_axes("picture", picture, "H W")
    if np.iscomplexobj(picture) or np.iscomplexobj(kernel):
        raise InvalidValueError("picture and kernel must be real, got complex numbers: convolve their parts")
    return SlidePlan.of(picture.shape, kernel, stride=stride, padding=padding, pad=pad)


def _tiles(picture: Array, taps: Array, plan: SlidePlan, padding: Padding) -> Iterator[tuple[slice, slice, Array]]:
    dtype = np.float32 if picture.dtype == np.float32 else np.float64
    products = factors(taps) if plan.separable else []
    passes = [(column.astype(dtype), row.astype(dtype)) for column, row in products]
    places = [pad_index(side, pad, padding) for side, pad in zip(picture.shape, plan.pads, strict=True)]
    for tile in plan.tiles():
        rows, columns = (
            each[part.start * plan.stride : (part.stop - 1) * plan.stride + window]
            for each, part, window in zip(places, tile, plan.kernel, strict=True)
        )
        source = _placed(picture, rows, columns, dtype)
        shape = (tile[0].stop - tile[0].start, tile[1].stop - tile[1].start)
        if plan.separable:
            yield *tile, _run_factors(source, passes, plan.stride, shape)
        else:
            yield *tile, _run_taps(source, taps.astype(dtype), plan.stride, shape)


@dataclass(frozen=True, slots=True)
class SlidePlan:
    """What a slide will do, before it is done.

    picture: (H, W) · kernel: (h, w) · out: (H', W') · pads: pixels at each end of the rows' and columns' sides
    taps: that are not 0 · rank: of the kernel, as a sum of column-times-row products
    """

    picture: tuple[int, int]
    kernel: tuple[int, int]
    out: tuple[int, int]
    pads: tuple[int, int]
    stride: int
    taps: int
    rank: int

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        kernel: Array,
        *,
        stride: int = 1,
        padding: Padding = "reflect",
        pad: int | None = None,
    ) -> SlidePlan:
        """The plan for a picture of this shape; raises as `convolve`."""
        check_axes("kernel", kernel, "h w")
        if 0 in kernel.shape or not np.isfinite(kernel).all():
            raise InvalidValueError(f"kernel must have finite taps, at least one, got {list(kernel.shape)}: check it")
        pads = check_slide(kernel.shape, stride=stride, padding=padding, pad=pad)
        out = [
            output_side(side, window, pad=each, stride=stride)
            for side, window, each in zip(shape, kernel.shape, pads, strict=True)
        ]
        return cls(
            (shape[0], shape[1]), (kernel.shape[0], kernel.shape[1]), (out[0], out[1]), pads, stride,
            int(np.count_nonzero(kernel)), len(factors(kernel)),
        )  # fmt: skip

    @property
    def separable(self) -> bool:
        """Whether rows first and then columns takes fewer multiplications than all taps."""
        return self.rank * sum(self.kernel) < self.taps

    @property
    def macs(self) -> int:
        """Multiply-accumulates, the rows that tiles share counted as often as they are made."""
        if not self.separable:
            return self.out[0] * self.out[1] * self.taps
        total = 0
        for rows, columns in self.tiles():
            height, width = rows.stop - rows.start, columns.stop - columns.start
            made = (height - 1) * self.stride + self.kernel[0]
            total += self.rank * width * (made * self.kernel[1] + height * self.kernel[0])
        return total

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of the result that are made together."""
        # rows above and below a tile are made twice: a tile is at least four kernels high
        tall = max(_TILE_ROWS, 4 * -(-self.kernel[0] // self.stride))
        source_tall = (min(tall, self.out[0]) - 1) * self.stride + self.kernel[0]
        wide = max(_TILE_COLUMNS, _TILE_NUMBERS // (source_tall * self.stride))
        for top in range(0, self.out[0], tall):
            for left in range(0, self.out[1], wide):
                yield slice(top, min(top + tall, self.out[0])), slice(left, min(left + wide, self.out[1]))


def check_slide(kernel: Sequence[int], *, stride: int, padding: Padding, pad: int | None) -> tuple[int, int]:
    """Pixels to add to each end of the rows' and the columns' side for a kernel of (h, w).

    Raises InvalidValueError for what no picture could be slid over with.
    """
    if padding not in get_args(Padding):
        raise InvalidValueError(f"padding must be one of {', '.join(get_args(Padding))}, got {padding!r}")
    if stride < 1:
        raise InvalidValueError(f"stride must be 1 or more, got {stride}")
    if pad is not None and pad < 0:
        raise InvalidValueError(f"pad must be 0 or more, got {pad}")
    if padding == "none":
        if pad:
            raise InvalidValueError(f"pad must be 0 with padding none, got {pad}: name what stands outside")
        return 0, 0
    if pad is not None:
        return pad, pad
    if not all(side % 2 for side in kernel):
        raise InvalidValueError(f"a kernel of {kernel[0]} x {kernel[1]} has no middle: give pad, or padding none")
    return kernel[0] // 2, kernel[1] // 2


def factors(kernel: Array) -> list[tuple[Array, Array]]:
    """Columns and rows whose outer products sum to the kernel, as few as there can be; none for a kernel of zeros.

    kernel: [h, w] -> (float64 [h], float64 [w]) each.  Error: rounding, about 1e-16 of the largest tap.
    Source: the singular value decomposition; Perona, "Deformable kernels for early vision", PAMI 1995.

    >>> len(factors(np.outer([1, 2, 1], [1, 0, -1]))), len(factors(np.eye(3)))
    (1, 3)
    """
    left, weights, right = np.linalg.svd(np.asarray(kernel, np.float64), full_matrices=False)
    least = weights[0] * max(kernel.shape) * np.finfo(np.float64).eps
    rank = int((weights > least).sum())
    return [(left[:, at] * weights[at], right[at]) for at in range(rank)]


def relu(response: Array) -> Array:
    """The detector: max(x, 0) of every number; same shape and type."""
    return np.maximum(response, 0)


def pooled(response: Array, size: int, *, stride: int | None = None, how: Pooling = "max") -> Array:
    """The largest or the mean of each window of size x size; windows that would reach over the end are left out.

    response: [H, W] -> [H', W'], H' = `output_side(H, size, stride=stride)` · stride: None means size, side by side
    Float32 and, for `max`, integers stay what they are.  Cost: size² operations a result.
    """
    check_axes("response", response, "H W")
    if how not in get_args(Pooling):
        raise InvalidValueError(f"how must be one of {', '.join(get_args(Pooling))}, got {how!r}")
    stride = size if stride is None else stride
    height, width = (output_side(side, size, stride=stride) for side in response.shape)
    kept: Array | None = None
    for top in range(size):
        for left in range(size):
            window = response[
                top : top + (height - 1) * stride + 1 : stride, left : left + (width - 1) * stride + 1 : stride
            ]
            if kept is None:
                kept = window.copy() if how == "max" or window.dtype == np.float32 else window.astype(np.float64)
            elif how == "max":
                np.maximum(kept, window, out=kept)
            else:
                kept += window
    assert kept is not None
    return kept if how == "max" else kept / kept.dtype.type(size * size)


def _placed(picture: Array, rows: Array, columns: Array, dtype: type) -> Array:
    """Rows and columns of a padded picture, by the pixels that stand there."""
    placed: Array = picture[rows[:, None], columns].astype(dtype, copy=False)
    placed[rows < 0] = 0
    placed[:, columns < 0] = 0
    return placed


def _run_taps(source: Array, taps: Array, step: int, shape: tuple[int, int]) -> Array:
    """Every tap once: the source shifted by it, times it."""
    height, width = shape
    total = np.zeros_like(source, shape=shape)
    for top, left in np.argwhere(taps):
        shifted = source[top : top + (height - 1) * step + 1 : step, left : left + (width - 1) * step + 1 : step]
        total += taps[top, left] * shifted
    return total


def _run_factors(source: Array, passes: Sequence[tuple[Array, Array]], step: int, shape: tuple[int, int]) -> Array:
    """Along the rows, then along the columns, once for each product that the kernel is a sum of."""
    height, width = shape
    total = np.zeros_like(source, shape=shape)
    for column, row in passes:
        lines = np.zeros_like(source, shape=(len(source), width))
        for left, tap in enumerate(row):
            lines += tap * source[:, left : left + (width - 1) * step + 1 : step]
        for top, tap in enumerate(column):
            total += tap * lines[top : top + (height - 1) * step + 1 : step]
    return total
