"""Clips with what is known of each pixel, kept in a folder of parts; labelled frames made of them; splits by scene.

A folder holds `part-00000`, `part-00001` …: numpy arrays, and `part.json` with scenes, sentences, how the part was
made and the sha256 of each array. The JSON is written last: a part without one does not exist, so a stopped
run goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np

from lightmeter.assets.arrays import read_array
from lightmeter.assets.files import file_sha256, whole_file, write_whole
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.stacked_rows import StackedRows
from lightmeter.types import Array, check_axes

BACKGROUND, ROBOT, FIRST_OBJECT, NOT_JUDGED = 0, 1, 2, 255
ARRAYS = ("frames", "labels", "depth", "flow", "actions")
ABOUT = "part.json"
SCHEMA = "lightmeter.clips/1"
MOVING_PIXELS = 0.5
"""A pixel that goes further than this to the next frame moves."""
_MOST_JSON_BYTES = 64 << 20
_MOST_PARTS = 100_000
_TOLD_PARTS = 5
What = Literal["robot", "objects", "moving"]


@dataclass(frozen=True, slots=True, eq=False)
class ClipSet:
    """N clips of T frames, and what is known of each pixel. Arrays may lie on disk (`open_clips`) until they are read.

    frames:  uint8   [N, T, H, W, 3]  RGB, 0..255
    scenes:  int64   [N]              clips of one scene share their background and their things: split by scene
    labels:  uint8   [N, T, H, W]     0 background, 1 robot (foreground), 2.. object i, 255 not judged
    depth:   float16 [N, T, H, W]     metres along the camera's axis
    flow:    float16 [N, T, H, W, 2]  pixels (right, down) from each frame to the next; 0 in the last frame
    actions: float32 [N, T, A]        what the robot is told in each frame
    sentences: one a clip, what moves where; or none at all
    fingerprint: of the content, however it is cut into parts; `ClipSet.of` computes it
    """

    frames: Array
    scenes: Array
    labels: Array | None = None
    depth: Array | None = None
    flow: Array | None = None
    actions: Array | None = None
    sentences: tuple[str, ...] = ()
    fingerprint: str = ""

    def __post_init__(self) -> None:
        check_axes("frames", self.frames, "N T H W 3", "uint8")
        count, length, height, width, _ = self.frames.shape
        pixels = f"{count} {length} {height} {width}"
        check_axes("scenes", self.scenes, str(count), "int64")
        for name, axes, dtype in (
            ("labels", pixels, "uint8"),
            ("depth", pixels, "float16"),
            ("flow", f"{pixels} 2", "float16"),
            ("actions", f"{count} {length} A", "float32"),
        ):
            array = getattr(self, name)
            if array is not None:
                check_axes(name, array, axes, dtype)
        if self.sentences and len(self.sentences) != count:
            raise InvalidValueError(f"sentences must be {count} or none, got {len(self.sentences)}: give one a clip")

    def __len__(self) -> int:
        return int(self.frames.shape[0])

    @classmethod
    def of(
        cls,
        frames: Array,
        scenes: Array,
        *,
        labels: Array | None = None,
        depth: Array | None = None,
        flow: Array | None = None,
        actions: Array | None = None,
        sentences: tuple[str, ...] = (),
    ) -> ClipSet:
        """A set with its fingerprint.  Cost: one hash of every byte."""
        made = cls(frames, scenes, labels, depth, flow, actions, sentences)
        return replace(made, fingerprint=_fingerprint(clip_hashes(made)))

    def take(self, rows: Array) -> ClipSet:
        """Some clips, in this order, in memory.  rows: int [R] or bool [N] · Cost: their bytes."""
        rows = _row_numbers(rows, len(self))
        arrays = {name: None if (array := getattr(self, name)) is None else array[rows] for name in ARRAYS[1:]}
        sentences = tuple(self.sentences[row] for row in rows) if self.sentences else ()
        return ClipSet.of(self.frames[rows], self.scenes[rows], sentences=sentences, **arrays)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFrames:
    """What a segmenter learns from and is scored on: one frame of each of N clips has a mask.

    clips:  uint8 [N, T, H, W, 3]  T = 1 for single pictures
    at:     int64 [N]              which frame of its clip the mask is of, 0..T-1
    masks:  uint8 [N, H, W]        1 wanted, 0 not, 255 not judged
    groups: int64 [N]              rows of one group (scene, video) never part: `split_by_group`
    names:  one a row, for tables and pictures
    """

    clips: Array
    at: Array
    masks: Array
    groups: Array
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_axes("clips", self.clips, "N T H W 3", "uint8")
        count, length, height, width, _ = self.clips.shape
        check_axes("at", self.at, str(count), "int64")
        check_axes("masks", self.masks, f"{count} {height} {width}", "uint8")
        check_axes("groups", self.groups, str(count), "int64")
        if len(self.names) != count:
            raise InvalidValueError(f"names must be {count}, got {len(self.names)}: give one a row")
        if count and not 0 <= int(self.at.min()) <= int(self.at.max()) < length:
            raise InvalidValueError(f"at must be 0..{length - 1}, got {self.at.min()}..{self.at.max()}: count from 0")
        strange = (self.masks > 1) & (self.masks != NOT_JUDGED)
        if strange.any():
            row = int(np.argwhere(strange)[0, 0])
            value = int(self.masks[row][strange[row]][0])
            raise InvalidValueError(f"masks must be 0, 1 or 255, got {value} in {self.names[row]}: make it binary")

    def __len__(self) -> int:
        return len(self.at)

    @property
    def frames(self) -> Array:
        """uint8 [N, H, W, 3]: the frames that the masks are of."""
        labelled: Array = self.clips[np.arange(len(self)), self.at]
        return labelled

    @property
    def fingerprint(self) -> str:
        """Hash of the content, names aside.  Cost: every byte is read."""
        digest = hashlib.sha256(repr(self.clips.shape).encode())
        for row in range(len(self)):
            digest.update(np.ascontiguousarray(self.clips[row]).data)
        for array in (self.at, self.masks, self.groups):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, rows: Array) -> LabelledFrames:
        """Some rows, in this order.  rows: int [R] or bool [N]."""
        rows = _row_numbers(rows, len(self))
        names = tuple(self.names[row] for row in rows)
        return LabelledFrames(self.clips[rows], self.at[rows], self.masks[rows], self.groups[rows], names)


def labelled_frames(clips: ClipSet, *, what: What = "robot", per_clip: int = 1, seed: int = 0) -> LabelledFrames:
    """Draw `per_clip` frames of every clip, each with a mask of the robot, of all objects, or of all that moves.

    moving: pixels whose flow is longer than half a pixel; needs flow, and never takes a clip's last frame.
    Pixels labelled 255 stay not judged.  Cost: reads every clip, N * per_clip of them in memory.
    Raises InvalidValueError where the clips lack what is asked.
    """
    if what not in get_args(What):
        raise InvalidValueError(f"what must be one of {', '.join(get_args(What))}, got {what!r}")
    if clips.labels is None or (what == "moving" and clips.flow is None):
        lack = "labels" if clips.labels is None else "flow"
        raise InvalidValueError(f"masks of {what} need clips with {lack}, got none: simulate them with {lack}")
    length = clips.frames.shape[1] - (what == "moving")
    if not 1 <= per_clip <= length:
        raise InvalidValueError(f"per_clip must be 1..{length}, got {per_clip}: a frame is taken once")
    # A clip's frames depend on the seed and its place alone: more clips never change those drawn before.
    drawn = [np.sort(np.random.default_rng([seed, row]).permutation(length)[:per_clip]) for row in range(len(clips))]
    at = np.concatenate(drawn).astype(np.int64) if drawn else np.zeros(0, np.int64)
    rows = np.repeat(np.arange(len(clips)), per_clip)
    labels = clips.labels[rows, at]
    if what == "moving" and clips.flow is not None:
        wanted = np.hypot(*np.moveaxis(clips.flow[rows, at].astype(np.float32), -1, 0)) > MOVING_PIXELS
    else:
        wanted = labels == ROBOT if what == "robot" else labels >= FIRST_OBJECT
    masks = np.where(labels == NOT_JUDGED, np.uint8(NOT_JUDGED), wanted.astype(np.uint8))
    names = tuple(f"clip {row} frame {frame}" for row, frame in zip(rows, at, strict=True))
    return LabelledFrames(clips.frames[rows], at, masks, clips.scenes[rows], names)


def split_by_group(
    groups: Array, *, share: float | None = None, count: int | None = None, seed: int = 0
) -> tuple[Array, Array]:
    """Rows to learn from and rows held out, so that no group is in both.

    groups: int [N] · give one of share (of the groups, 0..1, held out: at least one group, and one stays) and count
    (of groups held out). Returns two rising int64 arrays, rows to learn from first.

    >>> split_by_group(np.array([7, 7, 8, 9, 9]), count=1, seed=0)
    (array([0, 1, 2]), array([3, 4]))
    """
    names = np.unique(groups)
    if (share is None) == (count is None):
        raise InvalidValueError("a split must have one of share and count, got both or neither: give one")
    if share is not None:
        if not 0 < share < 1:
            raise InvalidValueError(f"share must be above 0 and below 1, got {share}")
        count = min(max(1, round(share * len(names))), len(names) - 1)
    assert count is not None
    if not 1 <= count < len(names):
        raise InvalidValueError(f"of {len(names)} groups 1..{len(names) - 1} can be held out, got {count}: add groups")
    held_out = np.isin(groups, np.random.default_rng(seed).permutation(names)[:count])
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


# -- on disk --------------------------------------------------------------------------------------------------------


def write_part(
    folder: Path | str, number: int, clips: ClipSet, about: Mapping[str, Any] | None = None, *, parts: int = 0
) -> Path:
    """Write clips as part `number` of a folder, in place of an earlier one; whole or not at all.

    about: how they were made (seed, versions, options), as JSON holds it; `part_about` gives it back.
    parts: how many there will be in all, so that `open_clips` knows of those that are missing; 0: not known
    """
    part = Path(folder) / f"part-{number:05d}"
    (part / ABOUT).unlink(missing_ok=True)  # from here on there is no part, until the new JSON stands
    digests = {}
    for name in ARRAYS:
        path = part / f"{name}.npy"
        array = getattr(clips, name)
        if array is None:
            path.unlink(missing_ok=True)
            continue
        with whole_file(path) as unfinished:
            with unfinished.open("wb") as file:
                np.save(file, np.asarray(array), allow_pickle=False)
            digests[name] = file_sha256(unfinished)
    content = {
        "schema": SCHEMA,
        "about": dict(about or {}),
        "scenes": clips.scenes.tolist(),
        "sentences": list(clips.sentences),
        "clips": clip_hashes(clips),
        "arrays": digests,
    } | ({"parts": parts} if parts else {})
    write_whole(part / ABOUT, json.dumps(content, ensure_ascii=True) + "\n")
    return part


def part_about(folder: Path | str, number: int) -> dict[str, Any] | None:
    """How a part was made, None where there is no such part (or a killed run left half of one)."""
    path = Path(folder) / f"part-{number:05d}" / ABOUT
    return _read_json(path)["about"] if path.is_file() else None


def open_clips(folder: Path | str, *, check: bool = False, tell: Callable[[str], None] | None = None) -> ClipSet:
    """All parts of a folder as one set; arrays stay on disk until rows are read.

    check: hash every array first · tell: hears of parts that are missing: of a run that was stopped, or of another
    share; the set is of those that are there.  Cost: a few ms a part, or one read of everything.
    Raises MissingAssetError where there is no part, RejectedFileError for files that were changed or do not fit.
    """
    folder = Path(folder)
    parts = sorted(
        path.parent for path in folder.glob(f"part-*/{ABOUT}") if re.fullmatch(r"part-\d{5}", path.parent.name)
    )
    if not parts:
        raise MissingAssetError(f"no clips at {folder}: make some with `lightmeter segment simulate {folder}`")
    opened = [_open_part(part, check=check) for part in parts]
    kinds = {tuple(sorted(arrays)) for arrays, _ in opened}
    if len(kinds) > 1:
        raise RejectedFileError("damaged", f"parts of {folder} must hold the same arrays, got {sorted(kinds)}")
    stacked = {name: _joined(folder, name, [arrays[name] for arrays, _ in opened]) for name in opened[0][0]}
    contents = [content for _, content in opened]
    missing = _missing(parts, contents)
    if missing and tell:
        tell(f"{folder} lacks {missing}: what made it goes on when it is run again")
    scenes = np.array([scene for content in contents for scene in content["scenes"]], np.int64)
    sentences = tuple(sentence for content in contents for sentence in content["sentences"])
    hashes = [each for content in contents for each in content["clips"]]
    try:
        return ClipSet(stacked.pop("frames"), scenes, sentences=sentences, fingerprint=_fingerprint(hashes), **stacked)
    except InvalidValueError as error:
        raise RejectedFileError("damaged", f"parts of {folder} do not fit together: {error}") from error


def _missing(parts: Sequence[Path], contents: Sequence[Mapping[str, Any]]) -> str:
    """Which parts are not there, of those that were promised or that lie between others; empty where all are."""
    there = {int(part.name.removeprefix("part-")) for part in parts}
    count = max(*(content.get("parts", 0) for content in contents), max(there) + 1)
    lost = [number for number in range(count) if number not in there]
    told = ", ".join(map(str, lost[:_TOLD_PARTS])) + (" …" if len(lost) > _TOLD_PARTS else "")
    return f"{len(lost)} of {count} parts ({told})" if lost else ""


def clip_hashes(clips: ClipSet) -> list[str]:
    """sha256 of each clip with all that is known of it: what `fingerprint` is made of."""
    hashes = []
    for row in range(len(clips)):
        digest = hashlib.sha256(repr(tuple(clips.frames.shape[1:])).encode())
        for name in ARRAYS:
            array = getattr(clips, name)
            if array is not None:
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(array[row]).data)
        digest.update(str(int(clips.scenes[row])).encode())
        digest.update(clips.sentences[row].encode("utf-8", "surrogatepass") if clips.sentences else b"")
        hashes.append(digest.hexdigest())
    return hashes


def _fingerprint(hashes: list[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _row_numbers(rows: Array, count: int) -> Array:
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else np.arange(count)[rows.astype(np.int64)]


def _joined(folder: Path, name: str, arrays: list[Array]) -> Array:
    """One array of all parts. Typed as what it reads like: everything here only takes rows and asks for the shape."""
    try:
        return arrays[0] if len(arrays) == 1 else cast("Array", StackedRows(arrays))
    except InvalidValueError as error:
        raise RejectedFileError("damaged", f"{name} of {folder}: {error}") from error


def _open_part(part: Path, *, check: bool) -> tuple[dict[str, Array], dict[str, Any]]:
    content = _read_json(part / ABOUT)
    arrays = {}
    for name, digest in content["arrays"].items():
        path = part / f"{name}.npy"
        arrays[name] = read_array(path, mapped=True)
        if check and file_sha256(path) != digest:
            raise RejectedFileError("damaged", f"{path} is not what was written: remove {part} and simulate it again")
        if not arrays[name].ndim or len(arrays[name]) != len(content["scenes"]):
            raise RejectedFileError("damaged", f"{path} must hold {len(content['scenes'])} clips: simulate it again")
    return arrays, content


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON of a part, held to its form: it may come from a stranger."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_MOST_JSON_BYTES))
        scenes, sentences, clips = content["scenes"], content["sentences"], content["clips"]
        fits = (
            content["schema"] == SCHEMA
            and isinstance(content["about"], dict)
            and all(type(scene) is int and abs(scene) < 1 << 63 for scene in scenes)
            and all(isinstance(each, str) for each in (*sentences, *clips))
            and len(clips) == len(scenes)
            and len(sentences) in (0, len(scenes))
            and "frames" in content["arrays"]
            and set(content["arrays"]) <= set(ARRAYS)
            and type(content.get("parts", 0)) is int
            and content.get("parts", 0) <= _MOST_PARTS
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise RejectedFileError("broken-header", f"{path} must be the JSON of a part: {str(error)[:200]}") from error
    if not fits:
        raise RejectedFileError("broken-header", f"{path} must be the JSON of a part of {SCHEMA}: simulate it again")
    made: dict[str, Any] = content
    return made
