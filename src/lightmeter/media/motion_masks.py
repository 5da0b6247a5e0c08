"""Masks of what moves before a fixed camera, for footage that nobody has labelled: pseudo-labels, 255 where unsure.

The background is the median over time; a pixel's difference from it counts in units of its noise. What is far above
the noise and holds together is wanted, what is near it is not, and what lies between is not judged.
Source: temporal median background (Lo & Velastin, ISIMP 2001), with a robust noise scale (median absolute deviation)
and hysteresis as in Canny's edges; the camera is tested by phase correlation (Kuglin & Hines 1975) of tiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import NOT_JUDGED, ClipSet, LabelledFrames, labelled_frames
from lightmeter.media.labelling import Labelled, LabelOptions, gathered, windows
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.media.reading import Reading
from lightmeter.media.video import FrameReader
from lightmeter.types import Array, check_axes

_TO_SIGMA = 1.4826
_MOST_TILES = 0.6
_MOST_MOVED = 0.2
_TEXTURE = 3.0
_TILES = 4
_MOST_LOOKED_AT = 12


@dataclass(frozen=True, slots=True)
class MotionOptions:
    """How motion becomes masks.

    sure, unsure: a difference of so many noise levels is wanted; one below the lower is not; between is not judged
    count: of a video, how many frames are labelled, spread evenly · background: how many make the background
    often: what a pixel shows for this share of the time, other than its background, may be background as well: not judged
    shadow: the background darkened by one factor in all colours, not below this one, is not judged; 1 makes no difference
    smallest: share of the picture that a thing must have; smaller ones are not judged
    group_s: seconds of a video that are a group; None keeps it whole. Groups of one video share its background
    """

    sure: float = 8.0
    unsure: float = 4.0
    count: int = 50
    background: int = 48
    often: float = 0.2
    shadow: float = 0.5
    smallest: float = 0.0005
    group_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.unsure <= self.sure:
            raise InvalidValueError(f"unsure must be above 0 and at most sure, got {self.unsure} and {self.sure}")
        if self.count < 1 or self.background < 5:
            raise InvalidValueError(
                f"count must be 1 or more and background 5 or more, got {self.count} and {self.background}"
            )
        if not 0 < self.often <= 1 or not 0 < self.shadow <= 1:
            raise InvalidValueError(
                f"often and shadow must be above 0 and at most 1, got {self.often} and {self.shadow}"
            )
        if not 0 <= self.smallest < 1 or (self.group_s is not None and self.group_s <= 0):
            raise InvalidValueError(f"smallest must be 0..1 and group_s above 0, got {self.smallest}, {self.group_s}")


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """What stands still, and how much each pixel wavers.

    pixels: float32 [H, W, 3], 0..255 · noise: float32 [H, W, 3], standard deviation in the same units, 1 or more
    second: float32 [H, W, 3], what a pixel looks like where it is not the background, inf where that is not often so:
        a thing that was put down or taken away leaves two backgrounds, and no median knows which one is bare
    """

    pixels: Array
    noise: Array
    second: Array


def background_of(frames: Array, options: MotionOptions | None = None) -> Background:
    """Median, noise and second background of a fixed camera's frames uint8 [T, H, W, 3], T of 5 or more.

    A pixel's noise is the median distance from its median, between that of the whole picture and three times it.
    Cost: three medians over T.
    Raises RejectedFileError (`moves`) where the camera moves.
    """
    options = options or MotionOptions()
    check_axes("frames", frames, "T H W 3", "uint8")
    if len(frames) < 5:
        raise InvalidValueError(f"a background needs 5 frames or more, got {len(frames)}")
    moving = camera_moves(frames)
    if moving > _MOST_MOVED:
        raise RejectedFileError(
            "moves", f"the camera must stand still, got it elsewhere in {moving:.0%} of the frames: stabilise it first"
        )
    # of two looks that share the time equally one, never their mean, which would be like neither
    middle = np.partition(frames, (len(frames) - 1) // 2, axis=0)[(len(frames) - 1) // 2].astype(np.float32)
    differences = _even(frames, middle)
    spread = np.median(np.abs(differences), axis=0) * _TO_SIGMA
    usual = np.maximum(np.median(spread, axis=(0, 1)), 1.0)
    noise = np.clip(spread, usual, 3 * usual).astype(np.float32)
    return Background(middle, noise, middle + _second(differences, noise, options))


def _second(differences: Array, noise: Array, options: MotionOptions) -> Array:
    """float32 [H, W, 3]: the median difference of those moments at which a pixel is not background, inf where seldom.

    Seldom: fewer than a share `often` of all moments lie as near to it as to be one look.
    """
    away = (np.abs(differences) > options.unsure * noise).any(-1)
    ordered = np.sort(np.where(away[..., None], differences, np.float32(np.inf)), axis=0)
    middles = np.maximum(away.sum(0) - 1, 0) // 2
    second = np.take_along_axis(ordered, middles[None, :, :, None], axis=0)[0]
    with np.errstate(invalid="ignore"):
        alike = away & (np.abs(differences - second) < options.unsure * noise).all(-1)
    return np.where((alike.mean(0) >= options.often)[..., None], second, np.float32(np.inf))


def _even(frames: Array, middle: Array) -> Array:
    """Differences float32 [T, H, W, 3] from the background, less what the whole picture's light has changed."""
    differences = frames.astype(np.float32) - middle
    differences -= np.median(differences, axis=(1, 2), keepdims=True)
    return differences


def motion_mask(frame: Array, background: Background, options: MotionOptions | None = None) -> Array:
    """uint8 [H, W] of 0, 1 and 255 from a frame uint8 [H, W, 3].

    Opened and closed by 3 x 3 pixels; holes within what is wanted are closed only where they are that small.
    """
    options = options or MotionOptions()
    difference = _even(frame[None], background.pixels)[0]
    score = np.abs(difference / background.noise).max(axis=-1)
    stays = (np.abs(difference + background.pixels - background.second) < options.sure * background.noise).all(-1)
    shadow = _shadow(difference, background, options) & (score > options.unsure)
    score = np.where(shadow, np.float32(0), score)
    possible = score > options.unsure
    together = _mean3(score)
    seeds = _opened((score > options.sure) & (together > options.unsure))
    found = _closed(_grown(seeds, possible & (together > 0.75 * options.unsure)))
    wanted = found & _large(found, max(4, round(options.smallest * found.size)))
    unsure = (possible | found) & ~wanted
    unsure &= _opened(unsure) | (score > options.sure) | found  # single pixels of noise are no doubt
    unsure |= _closed(stays & possible) | (_opened(shadow) & ~wanted)
    return np.where(unsure, np.uint8(NOT_JUDGED), wanted.astype(np.uint8))


def _shadow(difference: Array, background: Background, options: MotionOptions) -> Array:
    """bool [H, W]: pixels that are their background, darker by one factor in all colours, not below `shadow`.

    Source: Horprasert, Harwood & Davis, FRAME-RATE workshop of ICCV 1999: distortion of brightness and of colour.
    """
    ground = background.pixels
    light = 1 + (difference * ground).sum(-1) / np.maximum((ground * ground).sum(-1), 1.0)
    colour = np.abs(difference - (light - 1)[..., None] * ground) / background.noise
    return (light >= options.shadow) & (light < 1) & (colour.max(-1) < options.unsure)


# -- the camera -----------------------------------------------------------------------------------------------------


def camera_moves(frames: Array) -> float:
    """In which share of the frames the camera stands elsewhere, 0..1; 0 where there is no texture to tell by.

    frames: uint8 [T, H, W, 3]. The brightness of up to 12 of them, in 4 x 4 tiles, is compared with the first, the
    middle and the last by phase correlation. A tile has shifted where the peak lies off 0, by a pixel or more; the
    camera, where most tiles have. Things that move cover few tiles at a time. Of the three comparisons the kindest counts.
    """
    check_axes("frames", frames, "T H W 3", "uint8")
    if len(frames) < 2:
        return 0.0
    places = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_LOOKED_AT)).round().astype(int))
    grey = frames[places].astype(np.float32).mean(-1)
    return min(_moved(grey, reference) for reference in {0, len(grey) // 2, len(grey) - 1})


def _moved(grey: Array, reference: int) -> float:
    """The share of the other frames in which most tiles have shifted from a reference."""
    noise = _frame_noise(grey[reference])
    shifted = []
    for tile in _tiles(grey):
        if _mean3(tile[reference]).std() > max(_TEXTURE * noise / 3, 1.5):
            window = np.outer(np.hanning(tile.shape[1]), np.hanning(tile.shape[2])).astype(np.float32)
            others = np.delete(tile, reference, axis=0)
            shifted.append([_shift(tile[reference], each, window) > 0.5 for each in others])
    return float((np.mean(shifted, axis=0) > _MOST_TILES).mean()) if shifted else 0.0


def _tiles(grey: Array) -> Iterator[Array]:
    """float32 [T, h, w] of each tile."""
    count = max(1, min(_TILES, min(grey.shape[1:]) // 16))
    for rows in np.array_split(np.arange(grey.shape[1]), count):
        for columns in np.array_split(np.arange(grey.shape[2]), count):
            yield grey[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shift(first: Array, second: Array, window: Array) -> float:
    """By how many pixels a tile has moved, in full pixels."""
    a, b = (np.fft.rfft2((each - each.mean()) * window) for each in (first, second))
    cross = a * np.conj(b)
    peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=first.shape)
    down, right = np.unravel_index(int(peak.argmax()), peak.shape)
    height, width = peak.shape
    return float(np.hypot(min(down, height - down), min(right, width - right)))


def _frame_noise(grey: Array) -> float:
    """Standard deviation of a picture's noise.  Source: Immerkaer, CVIU 1996: a kernel blind to planes and edges."""
    inner = grey[1:-1]
    across = inner * 4 - 2 * (grey[:-2] + grey[2:])
    across = across[:, 1:-1] - 0.5 * (across[:, :-2] + across[:, 2:])
    return float(np.median(np.abs(across)) * _TO_SIGMA / 6)


# -- shapes ---------------------------------------------------------------------------------------------------------


def _near(mask: Array) -> Iterator[Array]:
    """A mask moved by each of the nine steps of 3 x 3, its border repeated."""
    padded = np.pad(mask, 1, mode="edge")
    for down in range(3):
        for right in range(3):
            yield padded[down : down + mask.shape[0], right : right + mask.shape[1]]


def _mean3(values: Array) -> Array:
    return sum(_near(values), np.zeros(values.shape, np.float32)) / np.float32(9)


def _dilated(mask: Array) -> Array:
    any_near: Array = np.logical_or.reduce(list(_near(mask)))
    return any_near


def _eroded(mask: Array) -> Array:
    all_near: Array = np.logical_and.reduce(list(_near(mask)))
    return all_near


def _opened(mask: Array) -> Array:
    return _dilated(_eroded(mask))


def _closed(mask: Array) -> Array:
    return _eroded(_dilated(mask))


def _grown(seeds: Array, within: Array) -> Array:
    """All of `within` that touches a seed, directly or through others.  Cost: a pass for each pixel of its length."""
    within = within | seeds
    found = seeds
    while True:
        more = _dilated(found) & within
        if (more == found).all():
            return found
        found = more


def _large(mask: Array, pixels: int) -> Array:
    """Parts of a mask with at least so many pixels.  Cost: O(parts * H * W) at worst, few parts are usual."""
    left, found = mask.copy(), np.zeros_like(mask)
    while left.any():
        seed = np.zeros_like(mask)
        seed[np.unravel_index(int(left.argmax()), left.shape)] = True
        part = _grown(seed, left)
        left &= ~part
        if part.sum() >= pixels:
            found |= part
    return found


# -- footage --------------------------------------------------------------------------------------------------------


def motion_of_video(
    path: Path | str, options: MotionOptions | None = None, labels: LabelOptions | None = None
) -> Reading[LabelledFrames]:
    """Frames of one video, evenly spread, with masks of what moves in them.

    labels: work size and context, as for drawn masks.
    Cost: two decodes of the video. Memory: `background` frames of work size, float.
    Raises RejectedFileError: `moves` where the camera does, `too-short` for fewer than 5 frames.
    """
    options, labels, path = options or MotionOptions(), labels or LabelOptions(), Path(path)
    count, samples, reader = _sampled(path, options.background, labels)
    if len(samples) < 5:
        raise RejectedFileError("too-short", f"{path} has {count} frames: a background needs 5")
    try:
        background = background_of(np.stack(samples), options)
    except RejectedFileError as error:
        raise RejectedFileError(error.code, f"{path}: {error.detail}") from error
    wanted = np.unique(np.linspace(0, count - 1, min(options.count, count)).round().astype(int)).tolist()
    rows = []
    for window in windows(path, wanted, labels):
        time_s = window.number / count * reader.duration_s
        group = path.stem if options.group_s is None else f"{path.stem} {int(time_s // options.group_s)}"
        mask = motion_mask(window.clip[window.at], background, options)
        rows.append(Labelled(f"{path.stem} frame {window.number}", group, window.clip, window.at, mask))
    return gathered(rows, reader.notes)


def _sampled(path: Path, wanted: int, labels: LabelOptions) -> tuple[int, list[Array], FrameReader]:
    """How many frames a video has, and at least `wanted` of them (or all), evenly spread, at work size."""
    reader = FrameReader(path, fps=None, limits=labels.limits)
    kept: list[Array] = []
    step, count = 1, 0
    for _, frame in reader:
        if count % step == 0:
            kept.append(resized_frame(frame, labels.size))
            if sum(each.nbytes for each in kept) > labels.limits.decode_bytes:
                raise RejectedFileError("too-large", f"{path}: frames for the background need more memory: give a size")
        if len(kept) >= 2 * wanted:
            kept, step = kept[::2], 2 * step
        count += 1
    return count, kept, reader


def motion_of_clips(
    clips: ClipSet, options: MotionOptions | None = None, *, per_clip: int = 1, seed: int = 0
) -> Reading[LabelledFrames]:
    """`per_clip` frames of every clip with masks of what differs from the scene's background.

    Clips of one scene share their background; scenes whose camera moves, or that have fewer than 5 frames, are left out
    and counted. What stands still through a whole scene belongs to its background, so long scenes are better.
    Cost: reads every clip; a scene is in memory at a time, and all labels (a byte a pixel).
    Raises RejectedFileError (`moves`) where more than half of the scenes are left out.
    """
    options = options or MotionOptions()
    labels = np.zeros(clips.frames.shape[:4], np.uint8)
    names, out = np.unique(clips.scenes), []
    for scene in names:
        rows = np.flatnonzero(clips.scenes == scene)
        frames = clips.frames[rows].reshape(-1, *clips.frames.shape[2:])
        spread = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), options.background)).round().astype(int))
        try:
            background = background_of(frames[spread], options)
        except (RejectedFileError, InvalidValueError):
            out.append(scene)
            continue
        drawn = np.stack([motion_mask(frame, background, options) for frame in frames])
        labels[rows] = drawn.reshape(len(rows), *labels.shape[1:])
    if len(out) * 2 > len(names):
        raise RejectedFileError(
            "moves", f"{len(out)} of {len(names)} scenes move as a whole or are too short: use another"
        )
    kept = np.flatnonzero(~np.isin(clips.scenes, out))
    found = labelled_frames(replace(clips, labels=labels), what="robot", per_clip=per_clip, seed=seed)
    rows = np.flatnonzero(np.isin(np.repeat(np.arange(len(clips)), per_clip), kept))
    notes = (f"{len(out)} of {len(names)} scenes are left out: they move as a whole, or are too short",) if out else ()
    return Reading(found.take(rows) if out else found, "ok", notes)
