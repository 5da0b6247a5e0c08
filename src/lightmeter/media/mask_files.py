"""Labelled frames from the user's folders: pictures and masks of the same names, videos and masks by frame number.

FRAMES and MASKS may be: two folders of pictures; a video and a folder of masks whose names end in the frame's number
(from 0); a video and a mask video; a folder of videos and a folder with either of these under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.media.clip_set import LabelledFrames
from lightmeter.media.images import read_image
from lightmeter.media.labelling import (
    Labelled,
    LabelOptions,
    files_by_stem,
    fitted,
    gathered,
    group_of,
    is_video,
    pictures,
    window_start,
    windows,
)
from lightmeter.media.limits import MediaLimits
from lightmeter.media.mask_pixels import named, read_mask, resized_frame
from lightmeter.media.reading import Reading
from lightmeter.media.sniff import VIDEO_NAMES
from lightmeter.media.video import FrameReader
from lightmeter.types import Array

_DARK, _LIGHT = 64, 192
_MOST_BETWEEN = 0.02
"""Of a mask video's pixels so many may be neither dark nor light: what compression leaves along edges is less."""


def open_masks(frames: Path | str, masks: Path | str, options: LabelOptions | None = None) -> Reading[LabelledFrames]:
    """Labelled frames from files; what may stand where is said above.

    Cost: everything named by a mask is decoded once; in memory are frames and masks of work size.
    Raises RejectedFileError in one sentence that names the file: no partner (`missing`), another size than its frame
    (`wrong-size`), neither 0/1 nor 0/255 (`not-binary`), and what readers of pictures and videos raise.
    """
    frames, masks, options = Path(frames), Path(masks), options or LabelOptions()
    for path in (frames, masks):
        if not path.exists():
            raise RejectedFileError("missing", f"nothing at {path}: name the files of frames, then those of masks")
    if frames.is_file():
        return gathered(video_rows(frames, masks, options))
    if not any(path.suffix.lower().lstrip(".") in VIDEO_NAMES for path in frames.rglob("*")):
        return gathered(_picture_rows(frames, masks, options))
    return gathered(_folder_rows(frames, masks, options))


# -- pictures -------------------------------------------------------------------------------------------------------


def _picture_rows(frames: Path, masks: Path, options: LabelOptions) -> Iterator[Labelled]:
    if masks.is_file():
        raise RejectedFileError("missing", f"masks of the pictures at {frames} must be a folder or JSON, got {masks}")
    found, drawn = pictures(frames, "pictures"), pictures(masks, "masks")
    _pair(list(found), list(drawn), options.partial, frames, masks)
    clips = PictureClips(found, options)
    for stem, path in drawn.items():
        clip, at, own_size = clips.around(stem)
        mask = fitted(read_mask(path, options.values, options.limits), own_size, str(path), options.size)
        yield Labelled(stem, group_of(stem, options.group_by), clip, at, mask)


def _pair(found: list[str], drawn: list[str], partial: bool, frames: Path, masks: Path) -> None:
    """Refuse what has no partner, naming the first."""
    alone = [stem for stem in drawn if stem not in set(found)]
    if alone:
        raise RejectedFileError("missing", f"the mask {alone[0]} has no frame at {frames}{_more(alone)}")
    alone = [] if partial else [stem for stem in found if stem not in set(drawn)]
    if alone:
        raise RejectedFileError("missing", f"the frame {alone[0]} has no mask at {masks}{_more(alone)}: allow partial")


def _more(alone: list[str]) -> str:
    return f" (nor have {len(alone) - 1} more)" if len(alone) > 1 else ""


class PictureClips:
    """Pictures with those around them as context: pictures of one folder, in natural order, are taken for a video.

    found: paths by stem
    """

    def __init__(self, found: dict[str, Path], options: LabelOptions) -> None:
        self._found, self._options = found, options
        self._siblings: dict[str, list[str]] = {}
        for stem in found:
            self._siblings.setdefault(stem.rpartition("/")[0], []).append(stem)
        self._read: Callable[[str], tuple[Array, tuple[int, int]]] = lru_cache(maxsize=options.context)(self._decode)

    def around(self, stem: str) -> tuple[Array, int, tuple[int, int]]:
        """Clip uint8 [T, H, W, 3] of work size, the place of the picture in it, its own (height, width)."""
        row, length = self._siblings[stem.rpartition("/")[0]], self._options.context
        if len(row) < length:
            raise RejectedFileError("too-short", f"{stem} stands among {len(row)} pictures: the context is {length}")
        place = row.index(stem)
        start = window_start(place, length, len(row))
        some = [self._read(each)[0] for each in row[start : start + length]]
        if len({each.shape for each in some}) > 1:
            raise RejectedFileError("wrong-size", f"pictures around {stem} must be of one size: give one")
        return np.stack(some), place - start, self._read(stem)[1]

    def _decode(self, stem: str) -> tuple[Array, tuple[int, int]]:
        with named(self._found[stem]):
            pixels = read_image(self._found[stem], limits=self._options.limits).value.pixels
        return resized_frame(pixels, self._options.size), (pixels.shape[0], pixels.shape[1])


# -- videos ---------------------------------------------------------------------------------------------------------


def _folder_rows(frames: Path, masks: Path, options: LabelOptions) -> Iterator[Labelled]:
    """A folder of videos, beside it for each a folder of masks or a mask video."""
    videos = files_by_stem(frames, VIDEO_NAMES, "videos")
    films = {} if not masks.is_dir() else {each.stem: each for each in sorted(masks.iterdir()) if is_video(each)}
    for stem, path in videos.items():
        drawn = masks / stem if (masks / stem).is_dir() else films.get(stem)
        if drawn is None and not options.partial:
            raise RejectedFileError("missing", f"the video {path} has no masks at {masks / stem}: allow partial")
        if drawn is not None:
            yield from video_rows(path, drawn, options, stem)


def video_rows(video: Path, masks: Path, options: LabelOptions, name: str = "") -> Iterator[Labelled]:
    """Labelled frames of one video, from a folder of masks by number or from a mask video."""
    name = name or video.stem
    if masks.is_dir():
        yield from _numbered_rows(video, masks, options, name)
    elif is_video(masks):
        yield from _film_rows(video, masks, options, name)
    else:
        raise RejectedFileError("missing", f"masks of {video} must be a folder, a video or JSON, got {masks}")


def _numbered_rows(video: Path, masks: Path, options: LabelOptions, name: str) -> Iterator[Labelled]:
    drawn: dict[int, Path] = {}
    for stem, path in pictures(masks, "masks").items():
        number = re.search(r"([0-9]+)$", stem)
        if number is None:
            raise RejectedFileError("missing", f"{path} must end in the number of its frame, such as mask_0012.png")
        if int(number[1]) in drawn:
            raise RejectedFileError("two-of-one", f"{path} and {drawn[int(number[1])]} are of one frame: keep one")
        drawn[int(number[1])] = path
    for window in windows(video, drawn, options):
        path = drawn[window.number]
        mask = fitted(read_mask(path, options.values, options.limits), window.own_size, str(path), options.size)
        yield Labelled(f"{name} frame {window.number}", name, window.clip, window.at, mask)


def _film_rows(video: Path, film: Path, options: LabelOptions, name: str) -> Iterator[Labelled]:
    """A video of masks: light is wanted, dark is not; each of its frames is of the frame of the same number."""
    count, wanted = _frame_count(video, options.limits), _frame_count(film, options.limits)
    if count != wanted:
        raise RejectedFileError("missing", f"{film} must have {count} frames as {video.name}, got {wanted}")
    numbers = range(0, count, options.every)
    masks = windows(film, numbers, LabelOptions(limits=options.limits))
    for window, drawn in zip(windows(video, numbers, options), masks, strict=True):
        mask = fitted(_light(drawn.clip[0], f"{film} frame {drawn.number}"), window.own_size, str(film), options.size)
        yield Labelled(f"{name} frame {window.number}", name, window.clip, window.at, mask)


def _frame_count(video: Path, limits: MediaLimits) -> int:
    return sum(1 for _ in FrameReader(video, fps=None, short_side=16, limits=limits))


def _light(pixels: Array, name: str) -> Array:
    grey = pixels.mean(-1)
    between = float(((grey >= _DARK) & (grey < _LIGHT)).mean())
    if between > _MOST_BETWEEN:
        raise RejectedFileError(
            "not-binary", f"{name} must be black and white, got {between:.0%} of it between: save it with less loss"
        )
    light: Array = (grey >= 128).astype(np.uint8)
    return light
