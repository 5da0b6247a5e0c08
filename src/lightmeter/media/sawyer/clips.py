"""Clips of the simulated arm as a ClipSet: from a seed, the same in any batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lightmeter.errors import InvalidValueError, LightmeterError
from lightmeter.media.clip_set import ClipSet
from lightmeter.media.motion_sentences import sentence, ways
from lightmeter.media.sawyer.pushing import Pushing, UnstableError, unlogged
from lightmeter.media.sawyer.render import Canvas, Painter, load_mujoco
from lightmeter.media.sawyer.scene import draw_scene, family_called
from lightmeter.types import Array

_MOST_DRAWS = 20
_TOLD_M = 0.025
_ALONG = (("left", "right"), ("away", "nearer"))


@dataclass(frozen=True, slots=True)
class Look:
    """What is drawn: family of scenes, frames a clip (0.1 s apart), side of a picture in pixels, clips of one scene.

    depth: whether depth is kept · shadow: side of the shadow map in pixels, 0 for none
    """

    scenes: str = "sawyer"
    frames: int = 16
    size: int = 64
    clips_a_scene: int = 2
    depth: bool = True
    shadow: int = 128

    def __post_init__(self) -> None:
        family_called(self.scenes)
        if self.frames < 1 or self.clips_a_scene < 1:
            raise InvalidValueError(
                f"frames and clips_a_scene must be 1 or more, got {self.frames}, {self.clips_a_scene}"
            )
        if not 16 <= self.size <= 512 or not 0 <= self.shadow <= 4096:
            raise InvalidValueError(f"size must be 16 to 512 and shadow 0 to 4096, got {self.size} and {self.shadow}")


def sawyer_clips(
    count: int, look: Look | None = None, *, seed: int = 0, first: int = 0, tell: Callable[[int], None] | None = None
) -> ClipSet:
    """Clips `first` to `first + count` of the endless row that a seed stands for; each is the same, drawn in any batch.

    Labels 0 surroundings, 1 links of the arm that can move, 2.. things, 255 the arm's base; depth in metres; flow;
    actions [T, 4] as `Pushing.choose` has them; a sentence of what the camera sees. A clip whose simulation is unstable
    is drawn again.  tell: hears 1 after each clip.
    Cost: about 25 ms a frame of 64 x 64.  Raises MissingExtraError without mujoco, metaworld or a GL library.
    """
    look = look or Look()
    if count < 1 or first < 0:
        raise InvalidValueError(f"count must be 1 or more and first 0 or more, got {count} and {first}")
    made: list[tuple[Array, ...]] = []
    told: list[str] = []
    scenes = np.arange(first, first + count, dtype=np.int64) // look.clips_a_scene
    mujoco = load_mujoco()
    with unlogged(mujoco), Canvas(mujoco, look.size) as canvas:
        for scene in np.unique(scenes):
            drawn = draw_scene(
                family_called(look.scenes), np.random.default_rng([seed, int(scene), 0]), shadow=look.shadow
            )
            pushing = Pushing(mujoco, drawn)
            with canvas.painter(pushing.model) as painter:
                for clip in first + np.flatnonzero(scenes == scene):
                    *arrays, words = _clip(pushing, painter, look, [seed, int(scene), 1, int(clip)])
                    made.append(tuple(arrays))
                    told.append(words)
                    if tell:
                        tell(1)
    rgb, labels, depth, flow, actions = (np.stack(each) for each in zip(*made, strict=True))
    return ClipSet.of(
        rgb, scenes, labels=labels, depth=depth if look.depth else None, flow=flow, actions=actions,
        sentences=tuple(told),
    )  # fmt: skip


def _clip(
    pushing: Pushing, painter: Painter, look: Look, seeds: list[int]
) -> tuple[Array, Array, Array, Array, Array, str]:
    for draw in range(_MOST_DRAWS):
        try:
            return _drawn(pushing, painter, look, np.random.default_rng([*seeds, draw]))
        except UnstableError:
            continue
    raise LightmeterError(f"clip {seeds[3]} of seed {seeds[0]} is unstable in {_MOST_DRAWS} draws: take another seed")


def _drawn(
    pushing: Pushing, painter: Painter, look: Look, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array, Array, str]:
    pushing.begin(rng)
    before, hand = pushing.things, pushing.hand
    shots, actions = [painter.shot(pushing.data)], [pushing.choose()]
    for _ in range(look.frames - 1):
        pushing.act(actions[-1])
        shots.append(painter.shot(pushing.data))
        actions.append(pushing.choose())
    words = _told(pushing, painter.axes, pushing.hand - hand, pushing.things - before)
    flow = [*(painter.flow(now, then) for now, then in pairwise(shots)), np.zeros((*shots[0].labels.shape, 2))]
    return (
        np.stack([shot.rgb for shot in shots]),
        np.stack([shot.labels for shot in shots]),
        np.stack([shot.depth_m for shot in shots]).astype(np.float16),
        np.stack(flow).astype(np.float16),
        np.stack(actions),
        words,
    )


def _told(pushing: Pushing, axes: Array, hand: Array, things: Array) -> str:
    """What the camera sees: the arm's way over the table and up or down, then each thing's way over the table."""
    right, nearer = (axis[:2] / np.linalg.norm(axis[:2]) for axis in (axes[0], axes[2]))
    moves: list[tuple[str, str, list[str]]] = []
    for thing, shift in zip(pushing.scene.things, things, strict=True):
        moves.append((f"the {thing.name}", "moves", ways([shift[:2] @ right, shift[:2] @ nearer], _ALONG, _TOLD_M)))
    over = ways([hand[:2] @ right, hand[:2] @ nearer], _ALONG, _TOLD_M)
    climb = ways([hand[2]], [("comes down", "goes up")], _TOLD_M)
    pushes = any(where for _, _, where in moves)
    if over or not climb:
        return sentence([("the arm", "pushes" if pushes else "moves", [*over, *climb]), *moves])
    verb, _, where = climb[0].partition(" ")
    return sentence([("the arm", verb, [where]), *moves])
