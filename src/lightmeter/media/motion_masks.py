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
    often: what a pixel shows for this share of the time, beside its background, may be background too: not judged
    shadow: the background, darkened by one factor of at least this in all colours, is not judged; 1 knows no shadows
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
    away = np.asarray((np.abs(differences) > options.unsure * noise).any(-1))
    ordered = np.sort(np.where(away[..., None], differences, np.float32(np.inf)), axis=0)
    middles = np.maximum(away.sum(0) - 1, 0) // 2
    second = np.take_along_axis(ordered, middles[None, :, :, None], axis=0)[0]
    with np.errstate(invalid="ignore"):
        alike = away & np.asarray((np.abs(differences - second) < options.unsure * noise).all(-1))
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
    found: Array = (light >= options.shadow) & (light < 1) & (colour.max(-1) < options.unsure)
    return found


# -- the camera -----------------------------------------------------------------------------------------------------


def camera_moves(frames: Array) -> float:
    """In which share of the frames the camera stands elsewhere, 0..1; 0 where there is no texture to tell by.

    frames: uint8 [T, H, W, 3]. The brightness of up to 12 of them, in 4 x 4 tiles, is compared with the first, the
    middle and the last by phase correlation. A tile has shifted where the peak lies a pixel or more off 0; the
    camera, where most tiles have. Things that move cover few tiles at a time. The kindest of the three counts.
    """
    check_axes("frames", frames, "T H W 3", "uint8")
    if len(frames) < 2:
        return 0.0
    places = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), _MOST_LOOKED_AT)).round().astype(int))
    grey = frames[places].astype(np.float32).mean(-1)
    found = [_moved(grey, reference) for reference in {0, len(grey) // 2, len(grey) - 1}]
    return min((each for each in found if each is not None), default=0.0)


def _moved(grey: Array, reference: int) -> float | None:
    """The share of the other frames in which most tiles have shifted from a reference, None where that is blank."""
    noise = _frame_noise(grey[reference])
    textured = [each for each in _tiles(grey) if _mean3(each[reference]).std() > max(_TEXTURE * noise / 3, 1.5)]
    shifted = [np.delete(_shifts(tile, reference) > 0.5, reference) for tile in textured]
    return float((np.mean(shifted, axis=0) > _MOST_TILES).mean()) if shifted else None


def _tiles(grey: Array) -> Iterator[Array]:
    """float32 [T, h, w] of each tile."""
    count = max(1, min(_TILES, min(grey.shape[1:]) // 16))
    for rows in np.array_split(np.arange(grey.shape[1]), count):
        for columns in np.array_split(np.arange(grey.shape[2]), count):
            yield grey[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shifts(tile: Array, reference: int) -> Array:
    """float64 [T]: by how many whole pixels a tile [T, h, w] has moved from one of its frames."""
    _, height, width = tile.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    waves = np.fft.rfft2((tile - tile.mean(axis=(1, 2), keepdims=True)) * window)
    cross = waves[reference] * np.conj(waves)
    peaks = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=(height, width))
    down, right = np.unravel_index(peaks.reshape(len(tile), -1).argmax(1), (height, width))
    far: Array = np.hypot(np.minimum(down, height - down), np.minimum(right, width - right))
    return far


def _frame_noise(grey: Array) -> float:
    """Standard deviation of a picture's noise.  Source: Immerkaer, CVIU 1996: a kernel blind to planes and edges."""
    inner = grey[1:-1]
    across = inner * 4 - 2 * (grey[:-2] + grey[2:])
    across = across[:, 1:-1] - 0.5 * (across[:, :-2] + across[:, 2:])
    return float(np.median(np.abs(across)) * _TO_SIGMA / 6)


# -- shapes ---------------------------------------------------------------------------------------------------------


def _mean3(values: Array) -> Array:
    """Means of 3 x 3, the border repeated."""
    padded = np.pad(values, 1, mode="edge")
    down = padded[:-2] + padded[1:-1] + padded[2:]
    mean: Array = (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / np.float32(9)
    return mean


def _dilated(mask: Array) -> Array:
    tall = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    wide = tall.copy()
    wide[:, 1:] |= tall[:, :-1]
    wide[:, :-1] |= tall[:, 1:]
    return wide


def _eroded(mask: Array) -> Array:
    """What lies outside the picture counts as the mask goes on."""
    eroded: Array = ~_dilated(~mask)
    return eroded


def _opened(mask: Array) -> Array:
    return _dilated(_eroded(mask))


def _closed(mask: Array) -> Array:
    return _eroded(_dilated(mask))


def connected_parts(mask: Array) -> Array:
    """int64 [H, W]: pixels of a mask that hang together, corners too, have one number of 1 or more; others have 0.

    Cost: O(H*W) a pass; numbers spread by jumps, so that passes grow with the log of a part's length.
    """
    numbers = np.arange(1, mask.size + 1).reshape(mask.shape)
    none = mask.size + 1
    numbers = np.where(mask, numbers, none)
    while True:
        low = numbers.copy()
        np.minimum(low[1:], numbers[:-1], out=low[1:])
        np.minimum(low[:-1], numbers[1:], out=low[:-1])
        least = low.copy()
        np.minimum(least[:, 1:], low[:, :-1], out=least[:, 1:])
        np.minimum(least[:, :-1], low[:, 1:], out=least[:, :-1])
        least = np.where(mask, least, none)
        if (least == numbers).all():
            return np.where(mask, numbers, 0)
        numbers = np.append(least, none)[np.minimum(least, none) - 1].reshape(mask.shape)
        numbers = np.where(mask, numbers, none)


def _grown(seeds: Array, within: Array) -> Array:
    """All parts of `within` that hold a seed."""
    parts = connected_parts(within | seeds)
    held = np.zeros(parts.size + 1, bool)
    held[parts[seeds]] = True
    found: Array = held[parts]
    return found


def _large(mask: Array, pixels: int) -> Array:
    """Parts of a mask with at least so many pixels."""
    parts = connected_parts(mask)
    sizes = np.bincount(parts.ravel(), minlength=mask.size + 1)
    large: Array = mask & (sizes[parts] >= pixels)
    return large


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
    Cost: reads every clip; all of them are in memory, and each scene once more.
    Raises RejectedFileError (`moves`) where more than half of the scenes are left out.
    """
    options = options or MotionOptions()
    blank = np.broadcast_to(np.uint8(0), clips.frames.shape[:4])
    drawn = labelled_frames(replace(clips, labels=blank), what="robot", per_clip=per_clip, seed=seed)
    masks = np.zeros_like(drawn.masks)
    scenes, out = np.unique(clips.scenes), []
    for scene in scenes:
        frames = clips.frames[np.flatnonzero(clips.scenes == scene)].reshape(-1, *clips.frames.shape[2:])
        spread = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), options.background)).round().astype(int))
        try:
            background = background_of(frames[spread], options)
        except (RejectedFileError, InvalidValueError):
            out.append(scene)
            continue
        for row in np.flatnonzero(drawn.groups == scene):
            masks[row] = motion_mask(drawn.clips[row, drawn.at[row]], background, options)
    if len(out) * 2 > len(scenes):
        said = f"{len(out)} of {len(scenes)} scenes move as a whole, or are too short"
        raise RejectedFileError("moves", f"{said}: use clips of a fixed camera")
    found = replace(drawn, masks=masks)
    if not out:
        return Reading(found)
    said = f"{len(out)} of {len(scenes)} scenes are left out: they move as a whole, or are too short"
    return Reading(found.take(~np.isin(drawn.groups, out)), "ok", (said,))
