"""Labelled frames from JSON: COCO's, and our own `lightmeter.masks/1`, which the labelling page and `predict` write.

Our own:

    {"schema": "lightmeter.masks/1", "about": {}, "frames": [
      {"path": "garden/cat.png", "size": [480, 640], "mask": "<COCO's text>"},
      {"path": "street.mp4", "time_s": 1.52, "size": [480, 640], "mask": "…", "not_judged": "…", "group": "street"}]}

path: below the folder of frames, with `/` · time_s: of a video, the frame on screen then · size: height and width of
the frame as it is in its file · mask, not_judged: run lengths as text (`lightmeter.media.rle`), the latter may be
left out · group: frames of one group never part; left out, it is the video or the picture's sub-folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.clip_set import NOT_JUDGED, LabelledFrames
from lightmeter.media.door import read_bytes
from lightmeter.media.labelling import (
    Labelled,
    LabelOptions,
    fitted,
    frame_numbers,
    gathered,
    group_of,
    natural,
    pictures,
    windows,
)
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_files import PictureClips
from lightmeter.media.reading import Reading
from lightmeter.media.rle import Rle, coco_mask
from lightmeter.types import Array

SCHEMA = "lightmeter.masks/1"


@dataclass(frozen=True, slots=True, eq=False)
class MaskEntry:
    """The mask of one frame.

    path: below the folder of frames, with `/` · mask, not_judged: run lengths of the frame's own size
    time_s: of a video; None of a picture · group: "" is the video, or the picture's sub-folder
    """

    path: str
    mask: Rle
    time_s: float | None = None
    not_judged: Rle | None = None
    group: str = ""

    @classmethod
    def of(cls, path: str, mask: Array, *, time_s: float | None = None, group: str = "") -> MaskEntry:
        """From a mask uint8 [H, W] of 0, 1 and 255 (not judged)."""
        skipped = Rle.of(mask == NOT_JUDGED) if (mask == NOT_JUDGED).any() else None
        return cls(path, Rle.of(mask == 1), time_s, skipped, group)

    def values(self) -> Array:
        """uint8 [H, W] of 0, 1 and 255."""
        mask = self.mask.mask()
        if self.not_judged is not None:
            mask[self.not_judged.mask() == 1] = NOT_JUDGED
        return mask


def write_masks(path: Path | str, entries: Iterable[MaskEntry], about: Mapping[str, Any] | None = None) -> Path:
    """Write masks as `lightmeter.masks/1`, whole or not at all.

    about: who drew or predicted them, as JSON holds it · Raises RejectedFileError for paths that lead elsewhere
    """
    frames = []
    for entry in entries:
        safe_path(entry.path)
        row: dict[str, Any] = {"path": entry.path, "size": [entry.mask.height, entry.mask.width]}
        row |= {} if entry.time_s is None else {"time_s": entry.time_s}
        row |= {"mask": entry.mask.text}
        row |= {} if entry.not_judged is None else {"not_judged": entry.not_judged.text}
        frames.append(row | ({"group": entry.group} if entry.group else {}))
    content = {"schema": SCHEMA, "about": dict(about or {}), "frames": frames}
    return write_whole(path, json.dumps(content, ensure_ascii=True, indent=1) + "\n")


def read_masks(path: Path | str, limits: MediaLimits = DEFAULT_LIMITS) -> tuple[MaskEntry, ...]:
    """The masks of a `lightmeter.masks/1` file.  Raises RejectedFileError, naming file and frame."""
    content = _json(Path(path), limits)
    if content.get("schema") != SCHEMA or not isinstance(content.get("frames"), list):
        raise RejectedFileError("broken-masks", f"{path} must be JSON of schema {SCHEMA} with frames")
    entries = []
    for number, row in enumerate(content["frames"]):
        try:
            entries.append(_entry(row))
        except (RejectedFileError, TypeError, KeyError, ValueError, AttributeError) as error:
            why = error.detail if isinstance(error, RejectedFileError) else f"{type(error).__name__}: {error}"
            raise RejectedFileError("broken-masks", f"{path}, frame {number}: {why}"[:400]) from error
    return tuple(entries)


def masks_about(path: Path | str, limits: MediaLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """What the writer of a `lightmeter.masks/1` file says of it; empty where that is nothing."""
    about = _json(Path(path), limits).get("about")
    return about if isinstance(about, dict) else {}


def _entry(row: Mapping[str, Any]) -> MaskEntry:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("path", "mask")):
        raise RejectedFileError("broken-masks", "a frame must have path, size and mask")
    height, width = row["size"]
    if type(height) is not int or type(width) is not int:
        raise RejectedFileError("broken-masks", f"size must be height and width, got {row['size']}")
    time_s, group, skipped = row.get("time_s"), row.get("group", ""), row.get("not_judged")
    if time_s is not None and (type(time_s) not in (int, float) or not math.isfinite(time_s) or time_s < 0):
        raise RejectedFileError("broken-masks", f"time_s must be a number of seconds, got {time_s!r}")
    if not isinstance(group, str) or not isinstance(skipped, str | None):
        raise RejectedFileError("broken-masks", "group and not_judged must be text")
    return MaskEntry(
        safe_path(row["path"]),
        Rle.from_text(height, width, row["mask"]),
        None if time_s is None else float(time_s),
        None if skipped is None else Rle.from_text(height, width, skipped),
        group,
    )


def open_mask_json(
    frames: Path | str, masks: Path | str, options: LabelOptions | None = None
) -> Reading[LabelledFrames]:
    """Labelled frames from a JSON file, ours or COCO's; `frames` is the folder that its paths start from.

    A frames path that is a video stands for its folder.  Raises RejectedFileError, naming the file and frame.
    """
    frames, masks, options = Path(frames), Path(masks), options or LabelOptions()
    folder = frames.parent if frames.is_file() else frames
    content = _json(masks, options.limits)
    if content.get("schema") == SCHEMA:
        return gathered(_own_rows(folder, read_masks(masks, options.limits), options))
    if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list):
        return gathered(_coco_rows(folder, _Coco(content, masks, options), options))
    raise RejectedFileError("unknown-format", f"{masks} must be JSON of schema {SCHEMA}, or COCO's images, annotations")


def _json(path: Path, limits: MediaLimits) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(path, limits.table_bytes))
    except (ValueError, RecursionError) as error:
        if isinstance(error, RejectedFileError):
            raise
        raise RejectedFileError("broken-masks", f"{path} must be JSON: {str(error)[:200]}") from error
    if not isinstance(content, dict):
        raise RejectedFileError("broken-masks", f"{path} must be a JSON object, got {type(content).__name__}")
    return content


def safe_path(path: str) -> str:
    """A path, held to stay below the folder of frames.  Raises RejectedFileError for any other."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or "\\" in path:
        raise RejectedFileError(
            "link-outside", f"a path must lie below the folder of frames, with /, got {path[:200]!r}"
        )
    return path


# -- ours -----------------------------------------------------------------------------------------------------------


def _own_rows(folder: Path, entries: tuple[MaskEntry, ...], options: LabelOptions) -> Iterator[Labelled]:
    stills = {each.path: each for each in entries if each.time_s is None}
    films: dict[str, list[MaskEntry]] = {}
    for each in entries:
        if each.time_s is not None:
            films.setdefault(each.path, []).append(each)
    if len(stills) + sum(map(len, films.values())) < len(entries):
        raise RejectedFileError("two-of-one", "a picture has two masks: keep one")
    clips = _Pictures(folder, list(stills), options)
    for path in sorted(stills, key=natural):
        entry = stills[path]
        clip, at, own_size = clips.around(path)
        mask = fitted(entry.values(), own_size, f"the mask of {path}", options.size)
        group = entry.group or group_of(str(PurePosixPath(path).with_suffix("")), options.group_by)
        yield Labelled(path, group, clip, at, mask)
    for path in sorted(films, key=natural):
        yield from _film_rows(_there(folder, path), path, films[path], options)


def _film_rows(file: Path, path: str, entries: list[MaskEntry], options: LabelOptions) -> Iterator[Labelled]:
    numbers = frame_numbers(file, [each.time_s for each in entries if each.time_s is not None], options.limits)
    by_number = {numbers[each.time_s]: each for each in entries if each.time_s is not None}
    if len(by_number) < len(entries):
        raise RejectedFileError("two-of-one", f"{path} has two masks of one frame: keep one")
    for window in windows(file, by_number, options):
        entry = by_number[window.number]
        name = f"{path} frame {window.number}"
        mask = fitted(entry.values(), window.own_size, f"the mask of {name}", options.size)
        yield Labelled(name, entry.group or path, window.clip, window.at, mask)


class _Pictures:
    """Pictures by path; context comes from the pictures beside them."""

    def __init__(self, folder: Path, paths: list[str], options: LabelOptions) -> None:
        found = {str(PurePosixPath(path).with_suffix("")): _there(folder, path) for path in paths}
        if len(found) < len(paths):
            raise RejectedFileError("two-of-one", "two pictures differ in their ending only: rename one")
        if options.context > 1 and paths:
            found = dict(sorted((pictures(folder, "pictures") | found).items(), key=lambda each: natural(each[0])))
        self._clips = PictureClips(found, options)

    def around(self, path: str) -> tuple[Array, int, tuple[int, int]]:
        return self._clips.around(str(PurePosixPath(path).with_suffix("")))


def _there(folder: Path, path: str) -> Path:
    file = folder / safe_path(path)
    if not file.is_file():
        raise RejectedFileError("missing", f"a mask is of {path}, which is not at {folder}")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise RejectedFileError("link-outside", f"{path} leads out of {folder} by a link")
    return file


# -- COCO -----------------------------------------------------------------------------------------------------------


class _Coco:
    """Images of a COCO file and what is annotated of each; everything in it is held to its form first."""

    def __init__(self, content: Mapping[str, Any], path: Path, options: LabelOptions) -> None:
        try:
            self.images = {each["id"]: each for each in content["images"]}
            names = {each["id"]: str(each["name"]) for each in content.get("categories", [])}
            unknown = sorted(set(options.categories) - set(names.values()))
            wanted = {number for number, name in names.items() if name in options.categories or not options.categories}
            self.drawn: dict[Any, list[Mapping[str, Any]]] = {number: [] for number in self.images}
            for each in content["annotations"]:
                if not options.categories or each["category_id"] in wanted:
                    self.drawn[each["image_id"]].append(each)
            for each in self.images.values():
                safe_path(each["file_name"])
                if type(each["height"]) is not int or type(each["width"]) is not int:
                    raise RejectedFileError("broken-masks", f"{each['file_name']} must have height and width")
        except (KeyError, TypeError, AttributeError) as error:
            what = f"{type(error).__name__} {error}"[:200]
            raise RejectedFileError("broken-masks", f"{path} must be COCO's JSON, whole: {what}") from error
        if unknown:
            raise InvalidValueError(f"categories must be of {', '.join(sorted(names.values()))}, got {unknown[0]!r}")
        if len({each["file_name"] for each in self.images.values()}) < len(self.images):
            raise RejectedFileError("two-of-one", f"{path} names a picture twice: keep one")

    def mask(self, number: Any, size: tuple[int, int]) -> Array:
        """uint8 [H, W]: all that is annotated of an image; nothing is a mask of zeros."""
        found = np.zeros(size, np.uint8)
        for each in self.drawn[number]:
            try:
                found |= coco_mask(each.get("segmentation"), *size)
            except RejectedFileError as error:
                name = self.images[number]["file_name"]
                raise RejectedFileError(error.code, f"annotation {each.get('id')} of {name}: {error.detail}") from error
        return found


def _coco_rows(folder: Path, coco: _Coco, options: LabelOptions) -> Iterator[Labelled]:
    clips = _Pictures(folder, [each["file_name"] for each in coco.images.values()], options)
    for number, image in sorted(coco.images.items(), key=lambda each: natural(each[1]["file_name"])):
        name = image["file_name"]
        clip, at, own_size = clips.around(name)
        if (image["height"], image["width"]) != own_size:
            raise RejectedFileError(
                "wrong-size",
                f"{name} is {own_size[0]} x {own_size[1]}, its masks are {image['height']} x {image['width']}",
            )
        mask = fitted(coco.mask(number, own_size), own_size, name, options.size)
        group = group_of(str(PurePosixPath(name).with_suffix("")), options.group_by)
        yield Labelled(name, group, clip, at, mask)
