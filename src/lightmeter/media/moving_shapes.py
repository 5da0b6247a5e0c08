"""Clips of an arm that pushes shapes over a textured ground, drawn by numpy alone: true labels, depth and flow.

For tests and for studies that must run anywhere; it looks like nothing real. Scenes are hard enough to need more
than a colour: arm, things and ground draw theirs from one palette; shapes that never move are painted on the ground.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.media.clip_set import FIRST_OBJECT, ROBOT, ClipSet
from lightmeter.media.motion_sentences import sentence, ways
from lightmeter.types import Array

_PALETTE = {
    "red": (200, 60, 50), "orange": (215, 130, 50), "yellow": (215, 195, 70), "green": (80, 160, 80),
    "blue": (60, 95, 190), "violet": (130, 80, 170), "white": (220, 220, 215), "grey": (120, 120, 120),
    "black": (45, 45, 50), "brown": (125, 90, 60),
}  # fmt: skip
_KINDS = ("disc", "box", "diamond")
_THINGS, _PAINTED = 3, 3
_ALONG = (("left", "right"), ("up", "down"))


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A disc, box or diamond: radius in pixels, RGB 0..255, stripes of `wave` [2] radians a pixel."""

    kind: str
    radius: float
    colour: Array
    wave: Array
    name: str

    def distance(self, right: Array, down: Array) -> Array:
        """Signed distance in pixels from the edge, below 0 inside, of places counted from the centre."""
        far: Array
        if self.kind == "disc":
            far = np.hypot(right, down) - self.radius
        elif self.kind == "box":
            far = np.maximum(np.abs(right), np.abs(down)) - 0.85 * self.radius
        else:
            far = (np.abs(right) + np.abs(down)) * 0.7071 - 0.8 * self.radius
        return far

    def paint(self, right: Array, down: Array) -> Array:
        """RGB of places counted from the centre: stripes that move with the shape."""
        light = 1 + 0.18 * np.sign(np.sin(right * self.wave[0] + down * self.wave[1]))
        painted: Array = light[..., None] * self.colour
        return painted


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What the clips of a scene share: ground [H, W, 3], the things, and the arm's direction [2], colour and width."""

    ground: Array
    things: tuple[_Shape, ...]
    arm: _Shape
    reach: Array


def moving_shapes(
    count: int, *, frames: int = 16, size: int = 64, clips_a_scene: int = 2, seed: int = 0, first: int = 0
) -> ClipSet:
    """Clips `first` to `first + count` of the endless row that a seed stands for; each is the same, drawn in any batch.

    Labels 1 (arm) and 2..4 (things), depth in made-up metres, exact flow, actions [T, 2] in pixels (right, down) and
    sentences. The arm keeps its slant and slides in the picture's plane; it pushes what its tip meets.
    Cost: 5 to 10 ms a clip of 16 frames of 64 x 64.  size: 16 pixels or more.
    """
    if count < 1 or frames < 1 or clips_a_scene < 1 or first < 0:
        raise InvalidValueError(
            f"count, frames and clips_a_scene must be 1 or more and first 0 or more, got {count}, {frames}, "
            f"{clips_a_scene}, {first}"
        )
    if not 16 <= size <= 1024:
        raise InvalidValueError(f"size must be 16 to 1024 pixels, got {size}")
    made, scenes, scene = [], np.arange(first, first + count, dtype=np.int64) // clips_a_scene, None
    for clip, number in zip(range(first, first + count), scenes, strict=True):
        if scene is None or number != scenes[clip - first - 1]:
            scene = _draw_scene(np.random.default_rng([seed, int(number), 0]), size)
        made.append(_clip(scene, np.random.default_rng([seed, int(number), 1, clip]), frames))
    rgb, labels, depth, flow, actions, sentences = zip(*made, strict=True)
    return ClipSet.of(
        np.stack(rgb), scenes, labels=np.stack(labels), depth=np.stack(depth), flow=np.stack(flow),
        actions=np.stack(actions), sentences=sentences,
    )  # fmt: skip


def _draw_scene(rng: np.random.Generator, size: int) -> _Scene:
    unit = size / 64
    ground = _texture(rng, size)
    down, right = np.mgrid[:size, :size].astype(np.float32)
    for _ in range(_PAINTED):
        shape, place = _draw_shape(rng, unit), rng.uniform(0, size, 2)
        inside = shape.distance(right - place[0], down - place[1]) < 0
        ground[inside] = shape.paint(right - place[0], down - place[1])[inside] * 0.85
    angle = rng.uniform(-0.6, 0.6)
    things = tuple(_draw_shape(rng, unit) for _ in range(_THINGS))
    return _Scene(ground, things, _draw_shape(rng, unit * 0.55), np.array([np.sin(angle), -np.cos(angle)], np.float32))


def _draw_shape(rng: np.random.Generator, unit: float) -> _Shape:
    name = str(rng.choice(list(_PALETTE)))
    kind, angle = str(rng.choice(_KINDS)), rng.uniform(0, np.pi)
    colour = np.clip(np.array(_PALETTE[name]) + rng.normal(0, 14, 3), 10, 235).astype(np.float32)
    wave = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform(0.7, 1.6) / unit
    return _Shape(kind, float(rng.uniform(5, 8) * unit), colour, wave.astype(np.float32), f"{name} {kind}")


def _texture(rng: np.random.Generator, size: int) -> Array:
    """float32 [H, W, 3]: a colour of the palette, with blots of three sizes."""
    colour = np.array(_PALETTE[str(rng.choice(list(_PALETTE)))], np.float32) * 0.8 + 25
    blots = np.zeros((size, size, 3), np.float32)
    for cells, strength in ((4, 22), (12, 14), (size, 8)):
        grid = rng.normal(0, strength, (cells + 1, cells + 1, 3)).astype(np.float32)
        blots += _enlarged(_enlarged(grid, size).swapaxes(0, 1), size).swapaxes(0, 1)
    made: Array = np.clip(colour + blots, 5, 250)
    return made


def _enlarged(grid: Array, size: int) -> Array:
    """Axis 0 stretched to `size`, linear in between."""
    at = np.linspace(0, len(grid) - 1, size, endpoint=False)
    low = at.astype(int)
    share = (at - low).astype(np.float32)[:, None, None]
    made: Array = grid[low] * (1 - share) + grid[low + 1] * share
    return made


def _clip(scene: _Scene, rng: np.random.Generator, frames: int) -> tuple[Array, Array, Array, Array, Array, str]:
    places, actions = _move(scene, rng, frames)
    shifts = np.diff(places, axis=0, append=places[-1:]).astype(np.float32)
    height, width, _ = scene.ground.shape
    down, right = np.mgrid[:height, :width].astype(np.float32)
    rgb = np.repeat(scene.ground[None], frames, 0)
    labels = np.zeros((frames, height, width), np.uint8)
    plane = np.repeat((2.0 - 0.6 * down / height)[None], frames, 0)
    depth, flow = plane.copy(), np.zeros((frames, height, width, 2), np.float32)
    for number, shape in enumerate((*scene.things, scene.arm)):
        right_of = right - places[:, number, 0, None, None]
        below = down - places[:, number, 1, None, None]
        robot = shape is scene.arm
        distance = _arm_distance(scene, right_of, below) if robot else shape.distance(right_of, below)
        edge = np.nonzero(distance < 0.5)  # only what the shape touches is painted
        cover = np.minimum(0.5 - distance[edge], 1)[:, None]
        rgb[edge] += cover * (shape.paint(right_of[edge], below[edge]) - rgb[edge])
        inside = distance < 0
        labels[inside] = ROBOT if robot else FIRST_OBJECT + number
        at_depth = 2.0 - 0.6 * places[:, number, 1] / height - (0.2 if robot else 0.08)
        depth[inside] = np.broadcast_to(at_depth[:, None, None], depth.shape)[inside]
        flow[inside] = np.broadcast_to(shifts[:, number, None, None], flow.shape)[inside]
    pixels = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return pixels, labels, depth.astype(np.float16), flow.astype(np.float16), actions, _told(scene, places)


def _arm_distance(scene: _Scene, right: Array, down: Array) -> Array:
    """Signed distance from a bar that runs from its tip out of the picture, with a broad end."""
    along = right * scene.reach[0] + down * scene.reach[1]
    across = np.abs(right * scene.reach[1] - down * scene.reach[0])
    bar = np.hypot(np.minimum(along, 0), across) - scene.arm.radius
    end = np.maximum(across - 1.9 * scene.arm.radius, np.abs(along) - 0.6 * scene.arm.radius)
    either: Array = np.minimum(bar, end)
    return either


def _move(scene: _Scene, rng: np.random.Generator, frames: int) -> tuple[Array, Array]:
    """Centres float32 [T, things + 1, 2] in pixels (right, down), the arm's tip last; and its steps [T, 2]."""
    size = len(scene.ground)
    radii = np.array([thing.radius for thing in scene.things])
    things = _apart(rng, radii, size)
    tip = rng.uniform([0.1, 0.1], [0.9, 0.6]) * size
    speed, target = rng.normal(0, 1, 2) * size / 64, int(rng.integers(len(radii)))
    places, steps, touched = [], [], False
    for _ in range(frames):
        places.append(np.vstack([things, tip]))
        if rng.random() < (0.35 if touched else 0.05):  # pushes are short, or everything ends at the border
            target = int(rng.integers(len(radii)))
        heading = things[target] - tip
        heading *= 2.6 * size / 64 / max(1e-6, float(np.hypot(*heading)))
        speed = 0.6 * speed + 0.4 * heading + rng.normal(0, 0.5, 2) * size / 64
        before, tip = tip, np.clip(tip + speed, 0.05 * size, 0.95 * size)
        steps.append(tip - before)
        off = things - tip
        gap = np.maximum(1e-6, np.hypot(*off.T))
        near = np.maximum(gap, radii + 1.2 * scene.arm.radius)
        touched = bool((near > gap).any())
        things = np.clip(tip + off * (near / gap)[:, None], radii[:, None], size - radii[:, None])
    return np.array(places, np.float32), np.array(steps, np.float32)


def _apart(rng: np.random.Generator, radii: Array, size: int) -> Array:
    """float64 [things, 2]: places in the picture that do not overlap, the best of 20 draws."""
    draws = rng.uniform(0.12, 0.88, (20, len(radii), 2)) * size
    gaps = np.hypot(*np.moveaxis(draws[:, :, None] - draws[:, None], -1, 0)) - radii - radii[:, None]
    gaps[:, np.arange(len(radii)), np.arange(len(radii))] = np.inf
    best: Array = draws[gaps.min((1, 2)).argmax()]
    return best


def _told(scene: _Scene, places: Array) -> str:
    size = len(scene.ground)
    shifts = (places[-1] - places[0]) / size
    moves = [("the arm", "moves", ways(shifts[-1].tolist(), _ALONG, 0.03))]
    for thing, shift in zip(scene.things, shifts, strict=False):
        moves.append((f"the {thing.name}", "moves", ways(shift.tolist(), _ALONG, 0.03)))
    return sentence(moves)
