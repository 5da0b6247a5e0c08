"""Scores of masks against true masks: IoU, boundary F, IoU at every threshold; streamed, merged exactly."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.metrics.bootstrap import SHARE, Interval
from lightmeter.metrics.boundaries import boundary_f, boundary_matches
from lightmeter.metrics.resampling import compared_rows, shares
from lightmeter.types import Array, check_axes

NOT_JUDGED = 255
MEASURES = ("iou", "image_iou", "boundary_f")
_BINS = 1 << 16
_COLUMNS = ("both", "found", "true", "boundary_found", "found_near", "boundary_true", "true_near", "digest")


@dataclass(frozen=True, slots=True)
class MaskQuality:
    """What masks are worth, 0..1, higher is better; NaN where there is nothing to score.

    iou: micro: intersection over union of all pixels of all pictures together
    image_iou: mean over the pictures of each one's IoU; 1 where neither mask has a pixel
    boundary_f: mean over the pictures of the F of boundary pixels, matched within tolerance_px (`metrics.boundaries`)
    precision, recall: of all pixels together
    threshold: a pixel is found where its logit is above it · height, width: at which size masks were compared, pixels
    pictures: how many
    """

    iou: float
    image_iou: float
    boundary_f: float
    precision: float
    recall: float
    threshold: float
    tolerance_px: float
    height: int
    width: int
    pictures: int

    def as_json(self) -> dict[str, Any]:
        """By name; NaN as None."""
        return {name: None if got != got else got for name, got in dataclasses.asdict(self).items()}


class MaskScores:
    """All that scores of masks need of logits that come batch by batch: counts a picture, a histogram of the logits.

    threshold: logit above which a pixel is found, 0 is a probability of a half · tolerance_px: how far apart boundaries
    may lie and still match; 1 suits 64 × 64
    Shards merged give the result of the whole, bit for bit.  All pictures must be of one size: the size at which masks
    are compared moves the score by several hundredths and stands in the result.
    Memory: 64 bytes a picture, and 1 MB.

    >>> logits = np.array([[[2.0, -1.0], [3.0, 0.5]]], np.float32)
    >>> MaskScores().update(logits, np.array([[[1, 1], [0, 255]]], np.uint8)).result().iou  # of three judged pixels
    0.3333333333333333
    """

    def __init__(self, *, threshold: float = 0.0, tolerance_px: float = 1.0) -> None:
        if not np.isfinite(threshold) or not 0 <= tolerance_px <= 100:
            raise InvalidValueError(
                f"threshold must be finite and tolerance_px 0 to 100, got {threshold} and {tolerance_px}"
            )
        self.threshold, self.tolerance_px = float(threshold), float(tolerance_px)
        self.size: tuple[int, int] | None = None
        self._rows: list[Array] = []
        self._histogram = np.zeros((2, _BINS), np.int64)

    def __len__(self) -> int:
        return sum(map(len, self._rows))

    def update(self, logits: Array, masks: Array) -> MaskScores:
        """Add pictures; returns itself.

        logits: float32 [B, H, W], any finite scores of which higher means likelier
        masks: uint8 [B, H, W], 1 inside, 0 outside, 255 not judged
        Raises InvalidValueError: for NaN, for other values in masks, for pictures of another size than before.
        """
        check_axes("logits", logits, "B H W", "float32")
        check_masks(masks, logits.shape)
        size = (int(logits.shape[1]), int(logits.shape[2]))
        if self.size not in (None, size):
            raise InvalidValueError(
                f"masks must all be {self.size} as before, got {size}: bring them to one size, or score them apart"
            )
        if not np.isfinite(logits).all():
            raise InvalidValueError("logits must be finite, got NaN or infinity: check what was scored")
        self.size = size
        judged, truth = masks != NOT_JUDGED, masks == 1
        found = (logits > np.float32(self.threshold)) & judged
        counts = [each.sum(axis=(1, 2), dtype=np.int64) for each in (found & truth, found, truth)]
        digests = np.array([zlib.crc32(each.tobytes()) for each in masks], np.int64)
        edges = boundary_matches(found, truth, judged, self.tolerance_px)
        self._rows.append(np.column_stack([*counts, edges, digests]).reshape(len(masks), len(_COLUMNS)))
        bins = bins_of(logits)
        for at, chosen in enumerate((judged & ~truth, truth)):
            self._histogram[at] += np.bincount(bins[chosen], minlength=_BINS)
        return self

    def merge(self, other: MaskScores) -> MaskScores:
        """The pictures of both, these first."""
        mine, theirs = (self.threshold, self.tolerance_px), (other.threshold, other.tolerance_px)
        if mine != theirs or (None not in (self.size, other.size) and self.size != other.size):
            raise InvalidValueError(
                f"scores to merge must be of one threshold, tolerance and size, got {mine} {self.size} and {theirs} "
                f"{other.size}: score both alike"
            )
        made = MaskScores(threshold=self.threshold, tolerance_px=self.tolerance_px)
        made.size = self.size or other.size
        made._rows = [*self._rows, *other._rows]
        made._histogram = self._histogram + other._histogram
        return made

    @property
    def rows(self) -> Array:
        """Counts of each picture, int64 [N, 8]: pixels of both masks, found, true; four of boundaries; a hash."""
        return np.concatenate([np.zeros((0, len(_COLUMNS)), np.int64), *self._rows])

    def image_ious(self) -> Array:
        """IoU of each picture: float64 [N]; 1 where neither mask has a pixel."""
        both, found, true = self.rows[:, :3].T
        union = found + true - both
        return np.where(union > 0, both / np.maximum(union, 1), 1.0)

    def result(self) -> MaskQuality:
        """All metrics."""
        rows = self.rows
        both, found, true = (float(each) for each in rows[:, :3].sum(axis=0))
        iou, image_iou, edges = (float(each) for each in _qualities(self._summands().sum(axis=0)))
        precision, recall = (float(shares(np.array(both), np.array(each))) for each in (found, true))
        height, width = self.size or (0, 0)
        return MaskQuality(
            iou, image_iou, edges, precision, recall, self.threshold, self.tolerance_px, height, width, len(rows)
        )

    # -- thresholds -------------------------------------------------------------------------------------------------

    def curve(self) -> tuple[Array, Array]:
        """Micro IoU at every threshold that bfloat16 holds: thresholds float32 [65,536], rising, and float64 [65,536].

        Exact at each of them: they are 2⁻⁷ of their size apart or less, all the way from −3e38 to 3e38.  NaN where
        nothing is true and nothing found, and at thresholds that are no numbers.
        """
        above = self._histogram[:, ::-1].cumsum(axis=1)[:, ::-1]  # pixels of logits above each bin's lower edge
        true = self._histogram[1].sum()
        edges = lower_edges()
        return edges, np.where(np.isfinite(edges), shares(above[1], above[0] + true), np.nan)

    def best_threshold(self) -> tuple[float, float]:
        """The threshold of the highest micro IoU and that IoU: found on validation, used elsewhere.

        Among equals 0 where it is one of them, else the one in the middle.  (0, NaN) where nothing is true.
        """
        edges, ious = self.curve()
        if not self._histogram[1].any():
            return 0.0, float("nan")
        best = np.flatnonzero(ious == np.nanmax(ious))
        zero = int(bins_above(0.0))
        chosen = zero if zero in best else int(best[len(best) // 2])
        return float(edges[chosen]), float(ious[chosen])

    # -- certainty --------------------------------------------------------------------------------------------------

    def _summands(self) -> Array:
        """What qualities are made of by sums: float64 [N, 5]."""
        rows = self.rows
        both, found, true = rows[:, :3].T
        edges = boundary_f(rows[:, 3:7])
        return np.column_stack([both, found + true - both, self.image_ious(), edges, np.ones(len(rows))])

    def state(self) -> dict[str, Array]:
        """Arrays that `from_state` makes the same scores of: for files and other processes."""
        return {
            "settings": np.array([self.threshold, self.tolerance_px]),
            "size": np.array(self.size or (0, 0), np.int64),
            "rows": self.rows,
            "histogram": self._histogram,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Array]) -> MaskScores:
        """Raises InvalidValueError for what `state` did not make."""
        names = ("settings", "size", "rows", "histogram")
        if missing := [name for name in names if name not in state]:
            raise InvalidValueError(f"a state must hold {', '.join(names)}, got none of {', '.join(missing)}")
        check_axes("settings", state["settings"], "2", "float64")
        check_axes("size", state["size"], "2", "int64")
        check_axes("rows", state["rows"], f"N {len(_COLUMNS)}", "int64")
        check_axes("histogram", state["histogram"], f"2 {_BINS}", "int64")
        if (state["rows"] < 0).any() or (state["histogram"] < 0).any():
            raise InvalidValueError("counts of a state must be 0 or more, got others: save it again")
        made = cls(threshold=float(state["settings"][0]), tolerance_px=float(state["settings"][1]))
        height, width = map(int, state["size"])
        made.size = (height, width) if height else None
        made._rows, made._histogram = [state["rows"]], state["histogram"]
        return made


def compared_masks(
    systems: Sequence[MaskScores],
    *,
    rounds: int = 1000,
    certainty: float = 0.95,
    seed: int = 0,
    groups: Array | None = None,
) -> list[tuple[dict[str, Interval], dict[str, Interval]]]:
    """Intervals of iou, image_iou and boundary_f of each system, and of its difference to the first, empty of that one.

    groups: int [N]: pictures of one clip or scene, drawn together; None: each for itself
    Each round draws the same pictures for all systems, so that small differences show.
    Raises InvalidValueError unless all scored the same masks in the same order.
    """
    rows = [each.rows for each in systems]
    for each in rows[1:]:
        if not np.array_equal(each[:, -1], rows[0][:, -1]):
            raise InvalidValueError(
                "systems must have scored the same masks in the same order, got others: score them on one set"
            )
    summands = [each._summands() for each in systems]
    return compared_rows(
        summands, _qualities, dict.fromkeys(MEASURES, SHARE), rounds=rounds, certainty=certainty, seed=seed,
        groups=groups,
    )  # fmt: skip


def _qualities(sums: Array) -> Array:
    """Sums [..., 5] → iou, image_iou, boundary_f [..., 3]."""
    both, union, image_iou, edges, pictures = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    return np.stack([shares(both, union), shares(image_iou, pictures), shares(edges, pictures)], axis=-1)


def check_masks(masks: Array, shape: Sequence[int]) -> None:
    """Hold masks to uint8 of a shape with values 0, 1 and 255; else InvalidValueError that names the value."""
    check_axes("masks", masks, " ".join(map(str, shape)), "uint8")
    wrong = (masks > 1) & (masks != NOT_JUDGED)
    if wrong.any():
        raise InvalidValueError(
            f"masks must be 0, 1 or 255 (not judged), got {int(masks[wrong][0])}: say which label is inside"
        )


# -- bins of logits -------------------------------------------------------------------------------------------------


def bins_of(logits: Array) -> Array:
    """In which of 65,536 bins each float32 lies, int64: bin b holds what is above `lower_edges()[b]`, up to the next.

    The bits of a float32 without its sign rise with its size: with the sign they are a whole number that rises with the
    float, and its upper half is that of a bfloat16.
    """
    bits = np.ascontiguousarray(logits, np.float32).view(np.int32)
    size = bits & np.int32(0x7FFFFFFF)
    rising = np.where(bits < 0, -size, size)
    made: Array = ((rising - 1) >> 16).astype(np.int64) + _BINS // 2
    return made


def bins_above(threshold: float) -> int:
    """The bin whose lower edge is this threshold; it must be one that bfloat16 holds."""
    return int(bins_of(np.array([np.nextafter(np.float32(threshold), np.float32(np.inf))], np.float32))[0])


def lower_edges() -> Array:
    """Lower edges of the bins, float32 [65,536], all that bfloat16 holds, rising; those beyond are NaN or infinite."""
    rising = np.arange(_BINS, dtype=np.int64) - _BINS // 2
    bits = (np.abs(rising) << 16) | (np.where(rising < 0, 1, 0) << 31)
    bits[0] = 0xFFFFFFFF  # −2¹⁵ has no size of 15 bits: no number
    return bits.astype(np.uint32).view(np.float32)
