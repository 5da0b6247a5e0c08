"""Frames and their masks, one at a time, to LabelledFrames of one size; frames around a labelled one as its clip."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import LabelledFrames
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_pixels import MaskValues, resized_frame, resized_mask
from lightmeter.media.reading import Reading
from lightmeter.media.sniff import IMAGE_NAMES, VIDEO_NAMES
from lightmeter.media.video import FrameReader
from lightmeter.types import Array

GroupBy = Literal["folder", "stem"]


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How files become labelled frames.

    size: (height, width) that all are brought to; None asks that they have one
    context: frames of a clip, the labelled one in the middle (`window_start`), as far as the ends allow, just as
        `Segmenter.predict_video` looks at a video; 1 is single pictures
    values: what mask pictures' values mean
    group_by: pictures of one sub-folder are a group, those at the top stand alone; `stem` groups pictures whose names
        differ in their last number only. Frames of a video are always one group
    partial: frames without a mask are no error; they may still be context
    categories: of a COCO file, names to take; none takes all · every: of a mask video, each so-manieth frame
    """

    size: tuple[int, int] | None = None
    context: int = 1
    values: MaskValues = field(default_factory=MaskValues)
    group_by: GroupBy = "folder"
    partial: bool = False
    categories: tuple[str, ...] = ()
    every: int = 1
    limits: MediaLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1 or max(self.size) > 8192):
            raise InvalidValueError(f"size must be (height, width) of 1 to 8192 pixels, got {self.size}")
        if self.context < 1 or self.every < 1:
            raise InvalidValueError(f"context and every must be 1 or more, got {self.context} and {self.every}")
        if self.group_by not in get_args(GroupBy):
            raise InvalidValueError(f"group_by must be one of {', '.join(get_args(GroupBy))}, got {self.group_by!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """One labelled frame, already of work size.

    clip: uint8 [T, H, W, 3] · at: the labelled one of its frames · mask: uint8 [H, W] of 0, 1, 255
    """

    name: str
    group: str
    clip: Array
    at: int
    mask: Array


def gathered(rows: Iterable[Labelled], notes: tuple[str, ...] = ()) -> Reading[LabelledFrames]:
    """All rows as one set; groups are numbered as they come.

    Raises RejectedFileError without rows, or of two sizes.
    """
    found = list(rows)
    if not found:
        raise RejectedFileError("no-masks", "there must be a frame with a mask, got none: look at both paths")
    shape = found[0].clip.shape
    for row in found:
        if row.clip.shape != shape:
            raise RejectedFileError(
                "wrong-size", f"{row.name} is {_size(row.clip)}, {found[0].name} {_size(found[0].clip)}: give one size"
            )
    numbers: dict[str, int] = {}
    groups = np.array([numbers.setdefault(row.group, len(numbers)) for row in found], np.int64)
    labelled = LabelledFrames(
        np.stack([row.clip for row in found]), np.array([row.at for row in found], np.int64),
        np.stack([row.mask for row in found]), groups, tuple(row.name for row in found),
    )  # fmt: skip
    return Reading(labelled, "damaged" if notes else "ok", notes)


def fitted(mask: Array, frame: Array | tuple[int, int], name: str, size: tuple[int, int] | None) -> Array:
    """A mask at work size, once it is known to be as large as its frame.  frame: [H, W, 3], or (height, width)"""
    wanted = frame if isinstance(frame, tuple) else frame.shape[:2]
    if mask.shape != wanted:
        raise RejectedFileError(
            "wrong-size",
            f"{name} must be {wanted[0]} x {wanted[1]} as its frame, got {mask.shape[0]} x {mask.shape[1]}: "
            "draw masks at the frames' own size",
        )
    return resized_mask(mask, size)


def _size(clip: Array) -> str:
    return f"{clip.shape[1]} x {clip.shape[2]}"


# -- files ----------------------------------------------------------------------------------------------------------


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts frame 2 before frame 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def files_by_stem(folder: Path, kinds: frozenset[str], what: str) -> dict[str, Path]:
    """Files of some endings below a folder, by their path without the ending, in natural order.

    Raises RejectedFileError where there are none, or where two differ in their ending only.
    """
    found: dict[str, Path] = {}
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower().lstrip(".") in kinds and path.is_file() and not hidden:
            stem = path.relative_to(folder).with_suffix("").as_posix()
            if stem in found:
                raise RejectedFileError("two-of-one", f"{found[stem]} and {path.name} are both {stem}: keep one")
            found[stem] = path
    if not found:
        raise RejectedFileError("missing", f"no {what} at {folder}: name the folder that holds them")
    return dict(sorted(found.items(), key=lambda each: natural(each[0])))


def is_video(path: Path) -> bool:
    """Whether a file's name says that it is a video."""
    return path.is_file() and path.suffix.lower().lstrip(".") in VIDEO_NAMES


def pictures(folder: Path, what: str) -> dict[str, Path]:
    """Pictures below a folder by stem."""
    return files_by_stem(folder, IMAGE_NAMES, what)


def group_of(stem: str, group_by: GroupBy) -> str:
    """The group of a picture, from its path below the folder.

    >>> group_of("a/b/f12", "folder"), group_of("f12", "folder"), group_of("cat_f12", "stem")
    ('a/b', '/f12', 'cat_f')
    """
    if group_by == "stem":
        return re.sub(r"[0-9]+$", "", stem)
    folder, _, name = stem.rpartition("/")
    return folder or f"/{name}"


# -- videos ---------------------------------------------------------------------------------------------------------


def window_start(frame: int, length: int, count: int) -> int:
    """Where the window of `length` frames begins that has a frame in its middle, moved so that it stays in 0..count.

    >>> [window_start(frame, 4, 6) for frame in range(6)]
    [0, 0, 0, 1, 2, 2]
    """
    return max(0, min(frame - length // 2, count - length))


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A wanted frame of a video and those around it.

    clip: uint8 [T, H, W, 3] of work size · at: the wanted one · own_size: (height, width) of the video
    """

    number: int
    clip: Array
    at: int
    own_size: tuple[int, int]


def windows(path: Path, wanted: Iterable[int], options: LabelOptions) -> Iterator[Window]:
    """Wanted frames of a video, counted from 0, in rising order, each once, as clips of `options.context` frames.

    A wanted frame is in the middle of its clip, near the video's ends as close to it as they allow (`window_start`).
    Cost: every frame up to the end of the last clip is decoded; `context` of them are held.
    Raises RejectedFileError where the video ends before a wanted frame or has fewer frames than the context.
    """
    left = deque(sorted(set(wanted)))
    length = options.context
    held: deque[Array] = deque(maxlen=length)
    own_size, count = (0, 0), 0
    if not left:
        return
    for _, frame in FrameReader(path, fps=None, limits=options.limits):
        held.append(resized_frame(frame, options.size))
        own_size, count = (frame.shape[0], frame.shape[1]), count + 1
        while left and count == max(0, left[0] - length // 2) + length:
            yield _window(left.popleft(), held, count, own_size)
        if not left:
            return
    if count < length:
        raise RejectedFileError("too-short", f"{path} has {count} frames: a context of {length} needs more")
    while left and left[0] < count:
        yield _window(left.popleft(), held, count, own_size)
    if left:
        raise RejectedFileError("missing", f"{path} has the frames 0 to {count - 1}, got a mask of frame {left[0]}")


def _window(number: int, held: Iterable[Array], count: int, own_size: tuple[int, int]) -> Window:
    """The clip of a frame, once the last frames that were read are those around it.  count: how many were read"""
    clip = np.stack(list(held))
    return Window(number, clip, number - (count - len(clip)), own_size)


def frame_numbers(path: Path, times_s: Iterable[float], limits: MediaLimits = DEFAULT_LIMITS) -> dict[float, int]:
    """Which frame of a video, counted from 0, is on screen at some moments.  Cost: one decode up to the last moment.

    Raises RejectedFileError for moments after the video's end.
    """
    left = deque(sorted(set(times_s)))
    found: dict[float, int] = {}
    reader = FrameReader(path, fps=None, short_side=16, limits=limits)
    count = 0
    for at_s, _ in reader:
        while left and left[0] < at_s - 1e-6:
            found[left.popleft()] = max(0, count - 1)
        if not left:
            return found
        count += 1
    for time_s in left:
        if time_s > reader.duration_s + 1e-6:
            raise RejectedFileError("missing", f"{path} ends at {reader.duration_s:.3f} s, got a mask at {time_s} s")
        found[time_s] = count - 1
    return found
