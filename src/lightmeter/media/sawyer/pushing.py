"""An arm that pushes at random what lies before it: MuJoCo's physics and the policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lightmeter.errors import LightmeterError
from lightmeter.media.sawyer.scene import TIMESTEP_S, Scene
from lightmeter.types import Array

FRAME_S = 0.1
_STEPS = round(FRAME_S / TIMESTEP_S)
_HOME = (0.0, 0.60, 0.30)
_HOME_JOINTS = (1.9, -1.3, -1.0, 2.0, 0.4, 1.0, 1.9)
_LOWEST, _HIGHEST = np.array([-0.30, 0.40, 0.05]), np.array([0.30, 0.80, 0.30])
_HEIGHTS_M, _HEIGHT_SHARES = (0.05, 0.07, 0.12, 0.22), (0.5, 0.25, 0.15, 0.1)
_STRIDE_M, _CLIMB_M = 0.035, 0.045
_GAP_M, _DROP_M, _THROUGH_M = 0.008, 0.002, 0.09


class UnstableError(LightmeterError, ArithmeticError):
    """The simulation blew up, or a thing left the bin: draw the clip again."""


@contextmanager
def unlogged(mujoco: Any) -> Iterator[None]:
    """MuJoCo's warnings are counted, not written to MUJOCO_LOG.TXT wherever the process stands."""
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)


class Pushing:
    """One scene in motion; `begin` a clip, then `choose` and `act` from frame to frame."""

    def __init__(self, mujoco: Any, scene: Scene) -> None:
        self._mujoco, self.scene = mujoco, scene
        self.model = mujoco.MjModel.from_xml_string(scene.xml)
        self.data = mujoco.MjData(self.model)
        bodies = [self.model.body(f"thing{number}").id for number in range(len(scene.things))]
        self._bodies = np.array(bodies, int)
        self._places = np.array([self.model.jnt_qposadr[self.model.body_jntadr[body]] for body in bodies], int)
        self._warnings = [
            int(getattr(mujoco.mjtWarning, name)) for name in ("mjWARN_BADQACC", "mjWARN_BADQPOS", "mjWARN_BADQVEL")
        ]
        self._policy: _Policy | None = None

    @property
    def things(self) -> Array:
        """float64 [things, 3]: centres in metres."""
        return np.array(self.data.xpos[self._bodies])

    @property
    def hand(self) -> Array:
        """float64 [3]: centre of the hand in metres."""
        return np.array(self.data.body("hand").xpos)

    def begin(self, rng: np.random.Generator) -> None:
        """Lay the things out at random, none over another, and bring the hand to where a clip starts."""
        data = self.data
        self._mujoco.mj_resetData(self.model, data)
        for number, angle in enumerate(_HOME_JOINTS):
            data.joint(f"right_j{number}").qpos = angle
        for at, place, thing in zip(self._places, _spots(self.scene, rng), self.scene.things, strict=True):
            turn = rng.uniform(0, np.pi)
            data.qpos[at : at + 7] = [*place, thing.lift_m + _DROP_M, np.cos(turn), 0, 0, np.sin(turn)]
        start = rng.uniform([-0.25, 0.42, 0.06], [0.25, 0.78, 0.25])
        data.mocap_quat[0], data.ctrl[:] = [1, 0, 1, 0], [-1, 1]
        for share in np.linspace(0, 1, 5):  # above everything first, then down
            data.mocap_pos[0] = np.array(_HOME) * (1 - share) + start * share
            self._mujoco.mj_step(self.model, data, 80)
        self._policy = _Policy(rng, start)

    def choose(self) -> Array:
        """What the arm is to do until the next frame: float32 [4], metres along x, y, z, and hand 1 open, -1 closed."""
        return self._begun().choose(self.things).astype(np.float32)

    def act(self, told: Array) -> None:
        """Do it and arrive at the next frame, 0.1 s on.  Raises UnstableError."""
        goal = self._begun().place
        self.data.ctrl[:] = [-told[3], told[3]]
        for share in np.linspace(1, 0, _STEPS, endpoint=False)[::-1]:
            self.data.mocap_pos[0] = goal - told[:3] * (1 - share)
            self._mujoco.mj_step(self.model, self.data)
        things = self.things
        away = (np.abs(things[:, 0]) > 0.44) | (np.abs(things[:, 1] - 0.6) > 0.36) | (things[:, 2] < -0.02)
        if any(self.data.warning[number].number for number in self._warnings) or away.any():
            raise UnstableError("the simulation is unstable or a thing left the bin: draw the clip again")

    def _begun(self) -> _Policy:
        if self._policy is None:
            raise LightmeterError("a clip must begin before it can go on: call begin")
        return self._policy


class _Policy:
    """A walk that heads for things, pushes through them, lifts now and then, and opens or closes the hand."""

    def __init__(self, rng: np.random.Generator, place: Array) -> None:
        self._rng, self.place = rng, place
        self._speed, self._grip = rng.normal(0, 0.02, 2), 1.0
        self._goal: Array | None = None
        self._height_m = 0.05

    def _aim(self, things: Array) -> Array:
        """A place a little behind one of the things, as the hand sees it."""
        rng = self._rng
        target = things[int(rng.integers(len(things))), :2]
        off = target - self.place[:2]
        self._height_m = float(rng.choice(_HEIGHTS_M, p=_HEIGHT_SHARES))
        behind: Array = target + off * (_THROUGH_M / max(0.01, float(np.hypot(*off)))) + rng.normal(0, 0.015, 2)
        return behind

    def choose(self, things: Array) -> Array:
        """Where to next: [4], see `Pushing.choose`.  things: [things, 3]"""
        rng = self._rng
        if self._goal is None or np.hypot(*(self._goal - self.place[:2])) < 0.03 or rng.random() < 0.06:
            self._goal = self._aim(things)
        off = self._goal - self.place[:2]
        if rng.random() < 0.05:
            self._grip = -self._grip
        heading = _STRIDE_M * off / max(0.03, float(np.hypot(*off)))
        self._speed = 0.65 * self._speed + 0.35 * heading + rng.normal(0, 0.008, 2)
        climb = np.clip(self._height_m - self.place[2], -_CLIMB_M, _CLIMB_M)
        wanted = self.place + np.append(self._speed, climb)
        reached = np.clip(wanted, _LOWEST, _HIGHEST)
        self._speed[(wanted != reached)[:2]] *= -0.5
        told = np.array([*(reached - self.place), self._grip])
        self.place = reached
        return told


def _spots(scene: Scene, rng: np.random.Generator) -> Array:
    """float64 [things, 2]: places on the table where no thing reaches another; UnstableError for want of room."""
    spots: list[Array] = []
    for number, thing in enumerate(scene.things):
        room = np.array([0.39, 0.29]) - thing.reach_m
        for _ in range(200):
            spot = np.array([0.0, 0.6]) + rng.uniform(-room, room)
            gaps = [
                np.hypot(*(spot - other)) - thing.reach_m - scene.things[each].reach_m - _GAP_M
                for each, other in enumerate(spots)
            ]
            if min(gaps, default=1.0) > 0:
                spots.append(spot)
                break
        else:
            raise UnstableError(f"no room for thing {number} of {len(scene.things)}: draw the clip again")
    return np.array(spots)
