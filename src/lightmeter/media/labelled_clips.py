"""One door for clips and one for labelled frames, whatever their files are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, get_args

import numpy as np

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.media.bair import FOLDER, BairOptions, Camera, bair_splits, open_bair
from lightmeter.media.clip_hdf5 import Hdf5Options, hdf5_splits, is_hdf5, open_hdf5
from lightmeter.media.clip_set import ClipSet, LabelledFrames, What, labelled_frames, open_clips
from lightmeter.media.labelling import LabelOptions, files_by_stem, is_video
from lightmeter.media.limits import DEFAULT_LIMITS, MediaLimits
from lightmeter.media.mask_files import open_masks
from lightmeter.media.mask_json import open_mask_json
from lightmeter.media.mask_pixels import resized_frame
from lightmeter.media.motion_masks import MotionOptions, motion_of_clips, motion_of_video
from lightmeter.media.reading import Reading
from lightmeter.media.sniff import VIDEO_NAMES
from lightmeter.media.video import FrameReader
from lightmeter.types import Array

MOTION = "motion"


@dataclass(frozen=True, slots=True)
class ClipOptions:
    """What a set is opened with; each kind of files heeds what it can.

    split, camera, check, clips_a_scene: of BAIR and HDF5 (`BairOptions`, `Hdf5Options`)
    frames: of each clip; needed for videos, taken from the start of HDF5 clips
    size: (height, width) of videos' frames; needed where they differ · every: of videos, each so-manieth frame
    """

    split: str | None = None
    camera: Camera = "aux1"
    check: bool = True
    clips_a_scene: int = 1
    frames: int | None = None
    size: tuple[int, int] | None = None
    every: int = 1
    limits: MediaLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.every < 1 or (self.frames is not None and self.frames < 1):
            raise InvalidValueError(f"every and frames must be 1 or more, got {self.every} and {self.frames}")


def open_any_clips(path: Path | str, options: ClipOptions | None = None) -> Reading[ClipSet]:
    """Clips from what lies at a path: our own folder, BAIR's TFRecords, HDF5, a video or a folder of videos.

    Damaged records and what was left out are told in the notes.
    Raises MissingAssetError where nothing of these is there, and what the reader of each raises.
    """
    path, options = Path(path), options or ClipOptions()
    if is_clip_folder(path):
        notes: list[str] = []
        clips = open_clips(path, tell=notes.append)
        return Reading(clips, "damaged" if notes else "ok", tuple(notes))
    if is_hdf5(path):
        how = Hdf5Options(options.split, options.check, options.frames, options.clips_a_scene, options.limits)
        return open_hdf5(path, how)
    if _is_bair(path):
        return open_bair(path, BairOptions(options.camera, options.split, options.check, options.clips_a_scene))
    if is_video(path):
        return video_clips([path], options)
    if path.is_dir() and any(each.suffix.lower().lstrip(".") in VIDEO_NAMES for each in path.rglob("*")):
        return video_clips(list(files_by_stem(path, VIDEO_NAMES, "videos").values()), options)
    raise MissingAssetError(
        f"no clips at {path}: name a folder of `lightmeter segment simulate`, of {FOLDER} or of videos, or an HDF5 file"
    )


def clip_splits(path: Path | str) -> tuple[str, ...]:
    """Names of the splits at a path, of which `ClipOptions.split` must name one; none where it is not divided."""
    path = Path(path)
    if is_hdf5(path):
        return hdf5_splits(path)
    return bair_splits(path) if _is_bair(path) and not is_clip_folder(path) else ()


def is_clip_folder(path: Path) -> bool:
    """Whether a folder holds parts as `write_part` writes them."""
    return path.is_dir() and any(path.glob("part-*/part.json"))


def _is_bair(path: Path) -> bool:
    if path.is_file():
        return ".tfrecord" in path.name
    return path.is_dir() and any(any(path.glob(each)) for each in ("*.tfrecord*", "*/*.tfrecord*", "*/*/*.tfrecord*"))


def video_clips(paths: list[Path], options: ClipOptions) -> Reading[ClipSet]:
    """Videos cut into clips of `options.frames` frames, one after the other; each video is a scene.

    What is left at a video's end is dropped; videos shorter than a clip are left out and counted.
    Cost: one decode of everything; all clips are in memory, refused above `limits.decode_bytes`.
    """
    if options.frames is None:
        raise InvalidValueError("clips of videos must have a length, got none: give frames, such as 16")
    made: list[Array] = []
    scenes: list[int] = []
    notes: list[str] = []
    held_bytes = 0
    for scene, path in enumerate(paths):
        reader, clip, count = FrameReader(path, fps=None, limits=options.limits), list[Array](), len(made)
        for number, (_, frame) in enumerate(reader):
            if number % options.every == 0:
                clip.append(resized_frame(frame, options.size))
            if len(clip) == options.frames:
                held_bytes += sum(each.nbytes for each in clip)
                if held_bytes > options.limits.decode_bytes:
                    raise RejectedFileError(
                        "too-large", f"clips of {path} need more memory: give a size, or fewer videos"
                    )
                made.append(_same_size(np.stack(clip), made, path))
                scenes.append(scene)
                clip = []
        notes += [f"{path.name}: {note}" for note in reader.notes]
        if len(made) == count:
            notes.append(f"{path.name} is left out: it has fewer than {options.frames} frames to take")
    if not made:
        raise RejectedFileError("too-short", f"no video has {options.frames} frames to take: ask for fewer")
    return Reading(ClipSet.of(np.stack(made), np.array(scenes, np.int64)), "damaged" if notes else "ok", tuple(notes))


def _same_size(clip: Array, made: list[Array], path: Path) -> Array:
    if made and clip.shape != made[0].shape:
        wanted = " x ".join(map(str, made[0].shape[1:3]))
        got = " x ".join(map(str, clip.shape[1:3]))
        raise RejectedFileError("wrong-size", f"{path} is {got}, the videos before it {wanted}: give one size")
    return clip


@dataclass(frozen=True, slots=True)
class Labels:
    """How labelled frames are opened: of files, of motion, and of clips.

    most: of a set of clips, take so many, drawn by the seed, before anything is read · per_clip: frames of each
    """

    files: LabelOptions = field(default_factory=LabelOptions)
    motion: MotionOptions = field(default_factory=MotionOptions)
    clips: ClipOptions = field(default_factory=ClipOptions)
    most: int | None = None
    per_clip: int = 1
    seed: int = 0


def open_labelled(
    frames: Path | str, masks: Path | str, *, size: tuple[int, int] | None = None, how: Labels | None = None
) -> Reading[LabelledFrames]:
    """Frames with their masks.

    frames: pictures, videos or clips · masks: a folder, a mask video, a JSON file (ours or COCO's); the word `motion`:
    made from what moves in a video or in clips; or, of simulated clips, `robot`, `objects` or `moving`
    size: (height, width) of the work, in place of `how.files.size`; clips keep their own, and another is refused
    Raises RejectedFileError in one sentence with the file's name, and what the readers raise.
    """
    how, frames = how or Labels(), Path(frames)
    files = how.files if size is None else _sized(how.files, size)
    word = str(masks)
    if word == MOTION or word in get_args(What):
        return _made(frames, word, files, how)
    masks = Path(masks)
    if masks.is_file() and masks.suffix.lower() == ".json":
        return open_mask_json(frames, masks, files)
    return open_masks(frames, masks, files)


def _sized(files: LabelOptions, size: tuple[int, int]) -> LabelOptions:
    return replace(files, size=size)


def _made(frames: Path, word: str, files: LabelOptions, how: Labels) -> Reading[LabelledFrames]:
    """Masks that no file holds: of motion, or of what a simulated set knows."""
    if word == MOTION and is_video(frames):
        return motion_of_video(frames, how.motion, files)
    found = open_any_clips(frames, how.clips)
    own = tuple(found.value.frames.shape[2:4])
    if files.size not in (None, own):
        raise InvalidValueError(f"size must be {own} as the clips at {frames}, got {files.size}: leave it out")
    clips = found.value
    if how.most is not None and how.most < len(clips):
        clips = clips.take(np.sort(np.random.default_rng(how.seed).permutation(len(clips))[: how.most]))
    if word == MOTION:
        made = motion_of_clips(clips, how.motion, per_clip=how.per_clip, seed=how.seed)
        return Reading(made.value, found.state, (*found.notes, *made.notes))
    drawn = labelled_frames(clips, what=cast("What", word), per_clip=how.per_clip, seed=how.seed)
    return Reading(drawn, found.state, found.notes)
