"""Masks of the user's pictures and videos by a segmenter: mask, overlay and run lengths, a file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError
from lightmeter.library.kept_masks import KeptMasks
from lightmeter.media.images import read_image
from lightmeter.media.labelling import window_start
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_json import MaskEntry
from lightmeter.media.probe import probe
from lightmeter.media.sniff import IMAGE_NAMES, VIDEO_NAMES
from lightmeter.media.video import FrameReader
from lightmeter.media.write import write_frames
from lightmeter.report.overlay import overlay
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.heads.segmenting.segmenter import Segmenter

_AT_ONCE = 16
_DEFAULT_FPS = 25.0


@dataclass(frozen=True, slots=True, eq=False)
class FileMasks:
    """What became of one file.

    path: as it was named · name: below the folder it was found in, with `/`; outputs are called after it
    entries: a mask a frame, in order · written: files · share: of all pixels, inside · notes: what was damaged
    failed: one sentence where there is no answer; nothing of it is then written
    again: the same model had answered it already, and nothing was done
    """

    path: Path
    name: str
    entries: tuple[MaskEntry, ...] = ()
    written: tuple[Path, ...] = ()
    share: float = 0.0
    notes: tuple[str, ...] = ()
    failed: str = ""
    again: bool = False


@dataclass(frozen=True)
class PredictOptions:
    """How masks are written. crf: of the overlay video, 0..51, lower is better and larger."""

    crf: int = 18
    limits: MediaLimits = field(default_factory=lambda: DEFAULT_LIMITS)


def media_files(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files to answer for, each with its name below the folder that holds them all.

    A folder stands for the pictures and videos below it, by their names' endings; hidden ones are left out. Links in it
    are never followed, as in `library.scan`: one that stays inside points to a file that is listed anyway, one that
    leads out is listed and then refused by `predict_files`. A link that is named itself stands for its target.
    Raises InvalidValueError where nothing is found, or two outputs would be one file.
    """
    root = _root(paths)
    inside = [_real(path) for path in paths if path.is_dir()]
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if path.is_dir():
            below = [each for each in sorted(path.rglob("*")) if _is_wanted(each, path, inside)]
            if not below:
                raise InvalidValueError(f"{path} must hold a picture or a video, got none: name another folder")
            found += [(each, _real(path) / each.relative_to(path)) for each in below]
        else:
            found.append((_real(path) if path.is_symlink() else path, _real(path)))
    named = [(path, whole.relative_to(root).as_posix()) for path, whole in found]
    names = [name for _, name in named]
    stems: dict[str, str] = {}
    for name in names:
        other = stems.setdefault(_stem(name), name)
        if other != name or names.count(name) > 1:
            raise InvalidValueError(f"files must differ in more than their ending, got {other} and {name}: rename one")
    return named


def _root(paths: Sequence[Path]) -> Path:
    """The folder that all files lie below: the one that was named, or the nearest that holds all."""
    folders = [_real(each) if each.is_dir() else _real(each).parent for each in paths]
    return Path(os.path.commonpath(folders))


def _real(path: Path) -> Path:
    """Where a path leads; of links in a circle, nowhere."""
    return Path(os.path.realpath(path))


def _is_wanted(path: Path, folder: Path, inside: Sequence[Path]) -> bool:
    """Whether an entry below a folder is to be answered for, or to be refused aloud."""
    below = path.relative_to(folder)
    if path.suffix.lower().lstrip(".") not in IMAGE_NAMES | VIDEO_NAMES or any(each[0] == "." for each in below.parts):
        return False
    if path.is_symlink():
        return not any(_real(path).is_relative_to(each) for each in inside)
    return path.is_file()


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


def predict_files(
    segmenter: Segmenter,
    files: Sequence[tuple[Path, str]],
    out: Path,
    options: PredictOptions | None = None,
    *,
    tell: Callable[[FileMasks], None] | None = None,
    frame: Callable[[int], None] | None = None,
) -> list[FileMasks]:
    """Masks of some files, written below a folder.

    Of a picture `NAME.mask.png` (0 and 255) and `NAME.overlay.png`; of a video `NAME.overlay.mp4` (H.264); of all
    of them together `masks.json` (`kept_masks`), which `segment fit` reads beside the same files: what stands in it of
    other files stays, and a file that the same model has answered is not answered again, as long as its outputs stand.
    A file that cannot be read says why in `failed` and leaves nothing behind; the others go on.
    tell: hears each file as it ends · frame: how many frames more were answered
    Cost: the segmenter's for every frame; of a video `encoder.frames` + 16 frames are held at once.
    """
    options, found = options or PredictOptions(), []
    with KeptMasks(out, segmenter, options.limits) as kept:
        for path, name in files:
            try:
                _check_there(path)
                one = _standing(kept, path, name, out, options)
                if one is None:
                    one = _of_file(segmenter, path, name, out, options, frame or (lambda count: None))
                    kept.take(path, name, one.entries, options.crf)
            except (LightmeterError, OSError) as error:
                if not isinstance(error, LightmeterError) and not _of_reading(error, path):
                    raise
                one = FileMasks(path, name, failed=_sentence(error))
            found.append(one)
            if tell:
                tell(one)
    return found


def _standing(kept: KeptMasks, path: Path, name: str, out: Path, options: PredictOptions) -> FileMasks | None:
    """What an earlier call made of a file, if all of it is there."""
    entries = kept.answered(path, name, options.crf)
    written = _outputs(out, name, of_video=entries[0].time_s is not None) if entries else ()
    if not entries or not all(each.is_file() for each in written):
        return None
    share = float(np.mean([each.mask.area / (each.mask.height * each.mask.width) for each in entries]))
    return FileMasks(path, name, entries, written, share, again=True)


def _check_there(path: Path) -> None:
    """Refuse what is not there, and links: `media_files` gives those that lead out of a folder."""
    if path.is_symlink():
        raise RejectedFileError("link-outside", f"{path} is a link that leads out of the folder: name its target")
    if not path.exists():
        raise RejectedFileError("missing", f"nothing at {path}")


def _outputs(out: Path, name: str, *, of_video: bool) -> tuple[Path, ...]:
    kinds = (".overlay.mp4",) if of_video else (".mask.png", ".overlay.png")
    return tuple(out / f"{_stem(name)}{kind}" for kind in kinds)


def _of_reading(error: OSError, path: Path) -> bool:
    """Whether it is the file that cannot be read; a full disk is not its fault."""
    return error.filename is not None and Path(error.filename) == path


def _sentence(error: Exception) -> str:
    if isinstance(error, RejectedFileError):
        return str(error)
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _of_file(
    segmenter: Segmenter, path: Path, name: str, out: Path, options: PredictOptions, frame: Callable[[int], None]
) -> FileMasks:  # fmt: skip
    facts = probe(path, options.limits)
    if facts.kind == "sound":
        raise RejectedFileError("no-video", f"{path.name} holds no pictures")
    if facts.kind == "image":
        return _of_picture(segmenter, path, name, out, options, frame)
    return _of_video(segmenter, path, name, out, options, frame)


def _of_picture(
    segmenter: Segmenter, path: Path, name: str, out: Path, options: PredictOptions, frame: Callable[[int], None]
) -> FileMasks:  # fmt: skip
    from PIL import Image as pillow  # noqa: N813

    reading = read_image(path, limits=options.limits)
    pixels = reading.value.pixels
    mask = segmenter.predict(pixels)
    written = _outputs(out, name, of_video=False)
    with whole_file(written[0]) as drawn, whole_file(written[1]) as laid_over:  # both or neither
        pillow.fromarray(mask * np.uint8(255)).save(drawn, format="PNG")
        pillow.fromarray(overlay(pixels, mask)).save(laid_over, format="PNG")
    frame(1)
    return FileMasks(path, name, (MaskEntry.of(name, mask),), written, float(mask.mean()), reading.notes)


def _of_video(
    segmenter: Segmenter, path: Path, name: str, out: Path, options: PredictOptions, frame: Callable[[int], None]
) -> FileMasks:  # fmt: skip
    reader = FrameReader(path, fps=None, limits=options.limits)
    entries: list[MaskEntry] = []
    inside = 0.0

    def drawn() -> Iterator[Array]:
        nonlocal inside
        for time_s, pixels, mask in video_masks(segmenter, reader):
            entries.append(MaskEntry.of(name, mask, time_s=round(time_s, 6)))
            inside += float(mask.mean())
            frame(1)
            yield overlay(pixels, mask)

    written = _outputs(out, name, of_video=True)
    write_frames(drawn(), written[0], fps=_rate(path, options.limits), crf=options.crf)
    return FileMasks(path, name, tuple(entries), written, inside / len(entries), reader.notes)


def _rate(path: Path, limits: MediaLimits) -> float:
    """The mean frame rate of a video, as its headers say."""
    fps = probe(path, limits).fps
    return min(1000.0, max(0.001, fps)) if fps else _DEFAULT_FPS


def video_masks(segmenter: Segmenter, frames: Any) -> Iterator[tuple[float, Array, Array]]:
    """(time_s, frame, mask) of every frame of a video that is read as it goes, as `Segmenter.predict_video` has them.

    frames: (time_s, uint8 [H, W, 3]) one after the other · Memory: `encoder.frames` + 16 frames
    """
    window = segmenter.encoder.frames
    behind, ahead = window // 2, window - 1 - window // 2
    held: list[tuple[float, Array]] = []
    first = 0  # the first of `held` that is not yet answered
    for each in frames:
        held.append(each)
        if len(held) - first >= _AT_ONCE + ahead + window:
            yield from _answers(segmenter, held, first, first + _AT_ONCE)
            dropped = max(0, first + _AT_ONCE - behind - window)
            held, first = held[dropped:], first + _AT_ONCE - dropped
    yield from _answers(segmenter, held, first, len(held))


def _answers(
    segmenter: Segmenter, held: Sequence[tuple[float, Array]], first: int, last: int
) -> Iterator[tuple[float, Array, Array]]:
    """Answers for held[first:last], each with the frames around it."""
    count = len(held)
    window = min(segmenter.encoder.frames, count)
    for start in range(first, last, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, last))
        starts = np.array([window_start(row, window, count) for row in rows.tolist()])
        clips = np.stack([np.stack([held[at][1] for at in range(begin, begin + window)]) for begin in starts])
        masks = segmenter.predict_clips(clips, rows - starts)
        for row, mask in zip(rows.tolist(), masks, strict=True):
            yield held[row][0], held[row][1], mask
