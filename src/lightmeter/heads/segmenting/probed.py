"""Frames with what is asked of them: one set of pictures, several tasks, so that features are made once for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast, get_args

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import NOT_JUDGED, LabelledFrames, What, labelled_frames
from lightmeter.meter.record import hash_of
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from lightmeter.media.clip_set import ClipSet

Task = Literal["mask", "robot", "objects", "moving", "depth", "flow"]
MASK_TASKS: tuple[str, ...] = ("mask", *get_args(What))
NUMBER_TASKS = ("depth", "flow")
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True, eq=False)
class Probed:
    """N frames and the answers to each task.

    frames: their masks are those of the first task of masks, or zeros
    answers: by task: masks uint8 [N, H, W] of 0, 1, 255; depth float32 [N, H, W] metres; flow float32 [N, H, W, 2]
    pixels, right and down, to the next frame.  Depth of 0 and numbers that are not finite are not judged.
    """

    frames: LabelledFrames
    answers: Mapping[str, Array]

    def __post_init__(self) -> None:
        count, height, width = self.frames.masks.shape
        for task, answer in self.answers.items():
            if task not in TASKS:
                raise InvalidValueError(f"a task must be one of {', '.join(TASKS)}, got {task!r}")
            axes = f"{count} {height} {width}" + (" 2" if task == "flow" else "")
            check_axes(f"answers of {task}", answer, axes, "uint8" if task in MASK_TASKS else "float32")

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def of(cls, labelled: LabelledFrames, task: Task = "mask") -> Probed:
        """Of frames with masks."""
        return cls(labelled, {task: labelled.masks})

    @property
    def groups(self) -> Array:
        """Scenes, int64 [N]: what bootstrap draws together."""
        return self.frames.groups

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {"": hash_of([replace(self.frames, masks=np.zeros_like(self.frames.masks)).fingerprint])}

    def fingerprint(self, task: str) -> str:
        """Of frames and the answers to one task.  Cost: every byte is read, once."""
        if task not in self._hashes:
            self._hashes[task] = hash_of([self._hashes[""], task, self.answer(task)])
        return self._hashes[task]

    def labelled(self, task: str) -> LabelledFrames:
        """The same clips (not a copy) with the masks of a task; for depth and flow as they are."""
        return replace(self.frames, masks=self.answer(task)) if task in MASK_TASKS else self.frames

    def answer(self, task: str) -> Array:
        """The answers to a task; raises InvalidValueError where there are none."""
        if task not in self.answers:
            raise InvalidValueError(f"task must be one that the frames answer ({', '.join(self.answers)}), got {task}")
        return self.answers[task]

    def take(self, rows: Array) -> Probed:
        """Some rows, in this order."""
        return Probed(self.frames.take(rows), {task: answer[rows] for task, answer in self.answers.items()})


def probed_clips(clips: ClipSet, tasks: Sequence[str], *, per_clip: int = 1, seed: int = 0) -> Probed:
    """Frames of clips with the answers to some tasks, the same frames for each.

    `moving` and `flow` never take a clip's last frame, so with either no task does.
    Raises InvalidValueError for unknown tasks, and where the clips lack what a task is about.
    """
    for task in tasks:
        if task not in TASKS[1:]:
            raise InvalidValueError(f"a task of clips must be one of {', '.join(TASKS[1:])}, got {task!r}")
        lacks = {"depth": clips.depth, "flow": clips.flow}.get(task, clips.labels) is None
        if lacks or not tasks:
            raise InvalidValueError(f"task {task} must have clips that hold it, got none: simulate them")
    ahead = "moving" in tasks or "flow" in tasks
    first = labelled_frames(clips, what="moving" if ahead else "robot", per_clip=per_clip, seed=seed)
    rows = np.repeat(np.arange(len(clips)), per_clip)
    answers: dict[str, Array] = {}
    for task in tasks:
        if task in NUMBER_TASKS:
            answers[task] = np.asarray(cast("Array", getattr(clips, task))[rows, first.at], np.float32)
        else:
            answers[task] = _masks(clips, task, rows, first)
    masks = next((answers[task] for task in tasks if task in MASK_TASKS), np.zeros_like(first.masks))
    return Probed(replace(first, masks=masks), answers)


def _masks(clips: ClipSet, task: str, rows: Array, drawn: LabelledFrames) -> Array:
    """Masks of a task in frames that were drawn already."""
    from lightmeter.media.clip_set import FIRST_OBJECT, MOVING_PIXELS, ROBOT

    labels = cast("Array", clips.labels)[rows, drawn.at]
    if task == "moving":
        flow = np.asarray(cast("Array", clips.flow)[rows, drawn.at], np.float32)
        wanted = np.hypot(flow[..., 0], flow[..., 1]) > MOVING_PIXELS
    else:
        wanted = labels == ROBOT if task == "robot" else labels >= FIRST_OBJECT
    return np.where(labels == NOT_JUDGED, np.uint8(NOT_JUDGED), wanted.astype(np.uint8))
