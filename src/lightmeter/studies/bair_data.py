"""The sets of the study `bair`: a simulated arm, moving shapes, or the user's own frames and masks."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.heads.segmenting.probed import Probed, probed_clips
from lightmeter.media.clip_hdf5 import is_hdf5
from lightmeter.media.clip_set import ClipSet, open_clips, part_about, split_by_group
from lightmeter.media.labelled_clips import ClipOptions, clip_splits, is_clip_folder, open_any_clips, open_labelled
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.media.rows_on_demand import rows_on_demand
from lightmeter.media.simulate import Wanted, simulate
from lightmeter.meter.record import hash_of
from lightmeter.studies.bair_sharing import POLL_S, taken
from lightmeter.studies.features import Tell
from lightmeter.types import Array

DATA_SEED = 60_000
"""Our sets are simulated by this and the study's seed: the packaged encoder has seen clips of other seeds alone."""
PAPER_SIZE = (64, 64)
PARTS = ("train", "valid", "test", "shift")


@dataclass(frozen=True, slots=True)
class Counts:
    """How much of a simulated set is used. scenes, shift: kinds of `media.simulate`, "" for no shift

    clips: in all, of which so many are held out: `valid` (thresholds, choices), `test`; shifted: clips of `shift`
    labels: frames to learn from, one a clip; all that is not held out is there for pretraining
    """

    scenes: str
    shift: str
    clips: int
    valid: int
    test: int
    shifted: int
    labels: int
    frames: int
    size: int


@dataclass(frozen=True, eq=False)
class BairSet:
    """What the study runs on. clips: to pretrain on, of scenes that are in neither valid nor test; None: none there

    no_clips, no_shift: why not · notes: what was left out or damaged of the clips
    """

    name: str
    parts: Mapping[str, Probed]
    clips: ClipSet | None
    source: str
    licence: str
    no_clips: str = ""
    no_shift: str = ""
    notes: tuple[str, ...] = ()

    @property
    def data_hash(self) -> str:
        """Of all that is learnt from and scored on."""
        clips = "" if self.clips is None else self.clips.fingerprint
        parts = {name: [each.fingerprint(task) for task in each.answers] for name, each in self.parts.items()}
        return hash_of([clips, parts])

    @property
    def said(self) -> str:
        """One line about it."""
        counts = ", ".join(f"{len(each)} {name}" for name, each in self.parts.items())
        clips = 0 if self.clips is None else len(self.clips)
        height, width = self.parts["test"].frames.masks.shape[1:]
        return " · ".join([
            f"{self.name}: frames {counts}; {clips} clips to pretrain on; scored at {height} × {width}", self.source,
            *self.notes,
        ])  # fmt: skip


# -- simulated ------------------------------------------------------------------------------------------------------


def simulated(counts: Counts, folder: Path, *, seed: int, tell: Tell) -> BairSet:
    """Clips that are simulated into `folder` (and found there again), split by scene.

    Raises MissingExtraError where the simulator is missing; without its shift alone, the rest stands.
    """
    whole = _clips(counts.scenes, counts.clips, counts, folder, seed, tell)
    scenes = np.unique(whole.scenes)
    a_scene = len(whole) / len(scenes)
    held = max(1, round((counts.valid + counts.test) / a_scene))
    learn, kept = split_by_group(whole.scenes, count=held, seed=seed)
    valid, test = split_by_group(whole.scenes[kept], share=counts.test / (counts.valid + counts.test), seed=seed)
    clips = whole.take(learn)
    some = np.sort(np.random.default_rng([seed, 1]).permutation(len(clips))[: counts.labels])
    parts = {
        "train": _probed(clips.take(some), seed=seed),
        "valid": _probed(whole.take(kept[valid]), seed=seed),
        "test": _probed(whole.take(kept[test]), seed=seed),
    }
    why = "" if counts.shift else "no other family of scenes at this scale"
    if counts.shift:
        try:
            shifted = _clips(counts.shift, counts.shifted, counts, folder, seed, tell)
            apart = replace(shifted, scenes=shifted.scenes + whole.scenes.max() + 1)  # both families count from 0
            parts["shift"] = _probed(apart, seed=seed)
        except LightmeterError as error:
            why = str(error)
    source = f"`segment simulate` {counts.scenes}, seed {DATA_SEED + seed}"
    return BairSet(counts.scenes, parts, clips, source, "none needed: simulated", no_shift=why)


def _clips(scenes: str, clips: int, counts: Counts, folder: Path, seed: int, tell: Tell) -> ClipSet:
    wanted = Wanted(scenes, clips, counts.frames, counts.size, 2, DATA_SEED + seed)
    place = folder / f"{scenes}-{wanted.frames}x{wanted.size}-{wanted.seed}-{clips}"
    place.mkdir(parents=True, exist_ok=True)
    waiting = list(range(1, wanted.parts + 1))
    while waiting:
        waiting = [number for number in waiting if not _part(place, wanted, number, tell)]
        if waiting:
            time.sleep(POLL_S)
    return open_clips(place)


def _part(place: Path, wanted: Wanted, number: int, tell: Tell) -> bool:
    """Whether a part of the clips stands; False where another call is at it."""
    lock = taken(place / f".lock-{number}")
    if lock is None:
        return False
    try:
        if part_about(place, number - 1) is None:
            simulate(place, wanted, share=(number, wanted.parts))
            tell(f"simulated part {number} of {wanted.parts} of {wanted.scenes}")
        return True
    finally:
        lock.release()


def _probed(clips: ClipSet, *, seed: int) -> Probed:
    """One frame of each clip with everything that is known of it."""
    has = {
        "robot": clips.labels,
        "objects": clips.labels,
        "moving": clips.flow,
        "depth": clips.depth,
        "flow": clips.flow,
    }
    return probed_clips(clips, [task for task, each in has.items() if each is not None], seed=seed)


# -- the user's -----------------------------------------------------------------------------------------------------


def user_set(folder: Path, *, seed: int, frames: int = 16) -> BairSet:
    """Frames and masks of the user: `folder/frames` and `folder/masks` (or `masks.json`), and `folder/clips`, if there.

    clips: BAIR's softmotion30_44k, an HDF5 file (`clips.hdf5`, or the one in the folder), videos, or a folder of
    `segment simulate`; or the folder itself is one of the latter.  Where they have splits, `train` is taken; of all of
    them no scene stays that holds a valid or test frame, pixel for pixel at 64 × 64.
    frames: of a clip, as many as a window that is learnt from: videos are cut into them, of HDF5 the first are taken
    Frames are brought to 64 × 64, those of BAIR and HDF5 stay as they are.  A tenth of the groups is for thresholds, a
    fifth is the test; pictures of one sub-folder are a group, those at the top stand alone.
    Cost: the clips are read twice; they stay where they are, but for videos.
    Raises what the readers raise, and InvalidValueError where there are too few groups.
    """
    if is_clip_folder(folder):
        return _user_clips(folder, seed)
    masks = folder / "masks.json" if (folder / "masks.json").is_file() else folder / "masks"
    whole = open_labelled(folder / "frames", masks, size=PAPER_SIZE).value
    learn, valid, test = _three_ways(whole.groups, seed)
    parts = {
        name: Probed(whole.take(rows), {"robot": whole.masks[rows]})
        for name, rows in zip(PARTS, (learn, valid, test), strict=False)
    }
    clips, why, notes = _footage(folder, [parts["valid"], parts["test"]], frames)
    shift = "no second family of scenes comes with your data"
    return BairSet(folder.name, parts, clips, f"your {folder.name}", "as its owner says", why, shift, notes)


def _footage(folder: Path, asked: Iterable[Probed], frames: int) -> tuple[ClipSet | None, str, tuple[str, ...]]:
    """Clips to pretrain on that show nothing of what is asked; or why there are none; and what was left out."""
    path = _clips_at(folder)
    if path is None:
        return None, f"there is no {folder / 'clips'}", ()
    split = "train" if "train" in clip_splits(path) else None
    reading = open_any_clips(path, ClipOptions(split=split, frames=frames, size=PAPER_SIZE))
    clips, notes = reading.value, reading.notes
    held = {each for part in asked for each in _hashes(part.frames.clips.reshape(-1, *PAPER_SIZE, 3))}
    shown = np.array([not held.isdisjoint(_hashes(clips.frames[row])) for row in range(len(clips))])
    if not shown.any():
        return clips, "", notes
    kept = np.flatnonzero(~np.isin(clips.scenes, clips.scenes[shown]))
    told = f"{len(clips) - len(kept)} of {len(clips)} clips are of scenes that hold a valid or test frame"
    if not len(kept):
        return None, f"{told}: add clips of other scenes", notes
    return _some(clips, kept), "", (*notes, f"{told} and are left out")


def _clips_at(folder: Path) -> Path | None:
    """Where the clips of the user are."""
    found = [folder / "clips"] if (folder / "clips").exists() else []
    found += [each for each in sorted(folder.glob("clips.*")) if is_hdf5(each)]
    if not found:
        return None
    inside = [each for each in sorted(found[0].glob("*")) if is_hdf5(each)]
    if len(found) > 1 or len(inside) > 1:
        names = ", ".join(each.name for each in (inside if len(inside) > 1 else found))
        raise InvalidValueError(f"clips to pretrain on must be in one place, got {names}: leave one at {folder}")
    return inside[0] if inside else found[0]


def _hashes(frames: Array) -> list[bytes]:
    """Of each frame at the size of the study.  frames: uint8 [T, H, W, 3]"""
    return [
        hashlib.sha256(np.ascontiguousarray(resized_frame(each, PAPER_SIZE)).tobytes()).digest() for each in frames
    ]  # fmt: skip


def _some(clips: ClipSet, rows: Array) -> ClipSet:
    """Frames of some clips, left where they are until they are read."""
    frames = rows_on_demand(
        (len(rows), *clips.frames.shape[1:]), "uint8", lambda some: (clips.frames[int(rows[at])] for at in some)
    )
    return ClipSet(frames, clips.scenes[rows], fingerprint=hash_of([clips.fingerprint, rows]))


def _user_clips(folder: Path, seed: int) -> BairSet:
    notes: list[str] = []
    whole = open_clips(folder, tell=notes.append)
    learn, valid, test = _three_ways(whole.scenes, seed)
    parts = {
        name: _probed(whole.take(rows), seed=seed) for name, rows in zip(PARTS, (learn, valid, test), strict=False)
    }
    shift = "no second family of scenes comes with your data"
    return BairSet(
        folder.name, parts, whole.take(learn), f"your {folder.name}", "as its owner says", no_shift=shift,
        notes=tuple(notes),
    )  # fmt: skip


def _three_ways(groups: Array, seed: int) -> tuple[Array, Array, Array]:
    count = len(np.unique(groups))
    if count < 5:
        raise InvalidValueError(f"a study needs frames of 5 scenes or more, got {count}: name more folders of pictures")
    learn, kept = split_by_group(groups, share=0.3, seed=seed)
    valid, test = split_by_group(groups[kept], share=2 / 3, seed=seed)
    return learn, kept[valid], kept[test]
