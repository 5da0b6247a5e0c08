"""How near drawn clips come to what came: PSNR by frame, a Fréchet distance, strips to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.pretraining.windows import Cut
from lightmeter.metrics.frechet import frechet_distance
from lightmeter.parts import build
from lightmeter.types import Array, check_axes

_MOST_DB = 100.0


def frechet_features(size: tuple[int, int]) -> str:
    """The dense encoder whose maps clips are compared by: an image classifier, or pixels where frames do not fit it."""
    return "lite-maps/maps=[stage3]" if not (size[0] % 32 or size[1] % 32) else "pixels/patch=4"


def clip_features(clips: Array, features: str) -> Array:
    """What clips are compared by, float64 [N·(T − 1), 2·C]: a row for each frame after the first.

    A row is the frame's map, mean over its cells, and by how much it differs from the frame before: a clip that stands
    still has no second half.  features: spec of a dense encoder that sees single frames
    """
    encoder = build(features, "dense-encoder")
    flat = clips.reshape(-1, 1, *clips.shape[2:])
    maps = encoder.features(flat, np.zeros(len(flat), np.int64))
    means = np.concatenate([each.mean((2, 3), dtype=np.float64) for each in maps.values()], axis=1)
    rows = means.reshape(*clips.shape[:2], -1)
    return np.concatenate([rows[:, 1:], np.diff(rows, axis=1)], axis=2).reshape(-1, 2 * rows.shape[2])


def score_samples(truth: Array, made: dict[str, Array], *, features: str = "") -> dict[str, Any]:
    """Predicted windows beside what came, and beside the dumb baseline `frozen`, the first frame for ever.

    truth: uint8 [N, T, H, W, 3] · made: by name, the same shape · features: as in `clip_features`; its name is told
    PSNR in dB is of each frame after the first, squared error pooled over clips; Fréchet distance over all of them, its
    covariances shrunk (`metrics.frechet`).  {} for windows of one frame.
    """
    if truth.shape[1] < 2 or not len(truth):
        return {}
    for name, each in made.items():
        check_axes(name, each, " ".join(map(str, truth.shape)), "uint8")
    features = features or frechet_features(truth.shape[2:4])
    told = {**made, "frozen": np.repeat(truth[:, :1], truth.shape[1], 1)}
    true_rows = clip_features(truth, features)
    psnrs = {name: frame_psnrs(each, truth)[1:] for name, each in told.items()}
    scores: dict[str, Any] = {"clips": len(truth), "psnr_db": psnrs}
    if len(true_rows) > 1:
        far = {name: frechet_distance(clip_features(each, features), true_rows) for name, each in told.items()}
        scores["frechet"] = {"features": f"{features}, mean over cells, and its change", **far}
    return scores


def frame_psnrs(made: Array, truth: Array) -> list[float]:
    """PSNR in dB of each frame, uint8 [N, T, H, W, 3] twice; squared error pooled over clips, at most 100."""
    squares = np.square(made.astype(np.float64) - truth).mean(axis=(0, 2, 3, 4)) / 255**2
    return [min(float(each), _MOST_DB) for each in -10 * np.log10(np.maximum(squares, 1e-12))]


def first_windows(cut: Cut, clips: Array, most: int) -> Array:
    """Windows to look at, uint8 [N, T, H, W, 3]: the middle of clips, spread evenly over them."""
    return cut.batch_of(clips, cut.fixed(clips, most))


def write_strip(path: Path | str, rows: dict[str, Array], *, title: str = "", tile: int = 96) -> Path:
    """A PNG with a row for each clip uint8 [T, H, W, 3] by name, its frames side by side."""
    from lightmeter.report.sheet import contact_sheet

    longest = max(len(each) for each in rows.values())
    tiles = [
        (frames[at] if at < len(frames) else None, f"{name}, {at + 1}")
        for name, frames in rows.items()
        for at in range(longest)
    ]
    return contact_sheet(tiles, path, columns=longest, tile=tile, title=title)


def fitted(pixels: Array, size: tuple[int, int]) -> Array:
    """A picture uint8 [H, W, 3] cut to the shape of a frame in its middle, then resized: uint8 [h, w, 3]."""
    from lightmeter.report.pictures import pillow_of

    height, width = size
    scale = min(pixels.shape[0] / height, pixels.shape[1] / width)
    high, wide = (min(pixels.shape[at], max(1, round(scale * side))) for at, side in enumerate(size))
    top, left = (pixels.shape[0] - high) // 2, (pixels.shape[1] - wide) // 2
    cut = pillow_of(np.ascontiguousarray(pixels[top : top + high, left : left + wide]))
    return np.asarray(cut.resize((width, height), reducing_gap=None))
