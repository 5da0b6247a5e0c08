"""Pictures of a simulation without a screen: RGB, whose pixel it is, depth, and flow from the poses of the bodies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np

from lightmeter.errors import MissingExtraError
from lightmeter.media.clip_set import BACKGROUND, FIRST_OBJECT, NOT_JUDGED, ROBOT
from lightmeter.parts import need
from lightmeter.types import Array

FINER = 2
"""RGB is drawn this many times finer and averaged: MuJoCo's own smoothing is dearer."""
_NO_GL = (
    "the simulator needs OSMesa to draw without a screen, and it cannot be loaded: "
    "apt-get install -y --no-install-recommends libosmesa6"
)


def load_mujoco() -> ModuleType:
    """mujoco, drawing in software (MUJOCO_GL=osmesa) unless the environment says how.

    Raises MissingExtraError that names the package, or the GL library, that is missing.
    """
    chosen = os.environ.setdefault("MUJOCO_GL", "osmesa")
    os.environ.setdefault("LP_NUM_THREADS", "0")  # threads of the software rasteriser cost small pictures a third more
    try:
        return need("mujoco", "sim")
    except (AttributeError, OSError, RuntimeError) as error:  # what OpenGL raises when its library is not there
        if chosen != "osmesa":
            raise MissingExtraError(f"MUJOCO_GL={chosen} does not work here: unset it ({str(error)[:100]})") from error
        raise MissingExtraError(_NO_GL) from error


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One frame.

    rgb: uint8 [H, W, 3] · labels: uint8 [H, W] as in ClipSet · depth_m: float32 [H, W] along the camera's axis
    bodies: int32 [H, W], MuJoCo's number of the body seen, 0 for what stands still
    places: float64 [B, 3] and turns: float64 [B, 3, 3]: poses of all bodies
    """

    rgb: Array
    labels: Array
    depth_m: Array
    bodies: Array
    places: Array
    turns: Array


class Canvas:
    """Where pictures of one size are drawn, for any number of models; a context manager, for it holds a GL context.

    size: of the square pictures, in pixels.  Cost: 0.2 s for the first model, whose shaders are compiled, 0.01 s for
    the next: keep it open.
    """

    def __init__(self, mujoco: Any, size: int) -> None:
        self.mujoco, self.size = mujoco, size
        self._gl = mujoco.GLContext(size * FINER, size * FINER)
        self.make_current()

    def make_current(self) -> None:
        """Draw here from now on; needed where several canvases are open."""
        self._gl.make_current()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the GL context back; an open one fails noisily when the interpreter ends."""
        if self._gl is not None:
            self._gl.free()
            self._gl = None

    @contextmanager
    def painter(self, model: Any) -> Iterator[Painter]:
        """What draws one model."""
        painter = Painter(self, model)
        try:
            yield painter
        finally:
            painter.close()


class Painter:
    """Draws one model on a canvas that is open: `Canvas.painter`.  Cost: 12 ms a shot of 64 x 64."""

    def __init__(self, canvas: Canvas, model: Any) -> None:
        mujoco = canvas.mujoco
        canvas.make_current()
        self._canvas = canvas
        self._mujoco, self._model, self._size = mujoco, model, canvas.size
        model.vis.global_.offwidth = model.vis.global_.offheight = canvas.size * FINER
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR.value
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_CULL_FACE] = False  # some of the arm's triangles are wound wrongly
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type, self._camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera("camera").id
        self._labels, self._bodies = _of_geoms(model)

    def close(self) -> None:
        """Free what the model took of the canvas."""
        self._context.free()

    def shot(self, data: Any) -> Shot:
        """Draw the present state."""
        mujoco = self._mujoco
        self._canvas.make_current()
        every = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, self._camera, every, self._scene)
        fine, size = self._size * FINER, self._size
        rgb, ids = np.empty((fine, fine, 3), np.uint8), np.empty((size, size, 3), np.uint8)
        depth = np.empty((size, size), np.float32)
        self._draw(rgb, None)
        self._draw(ids, depth, by_number=True)
        seen = self._seen(ids[::-1].astype(np.int64))
        near, far = (edge * self._model.stat.extent for edge in (self._model.vis.map.znear, self._model.vis.map.zfar))
        return Shot(
            rgb=rgb[::-1].reshape(size, FINER, size, FINER, 3).mean((1, 3)).round().astype(np.uint8),
            labels=np.where(seen < 0, np.uint8(BACKGROUND), self._labels[seen]),
            depth_m=(near * far / (near + depth[::-1].astype(np.float64) * (far - near))).astype(np.float32),
            bodies=np.where(seen < 0, 0, self._bodies[seen]).astype(np.int32),
            places=np.array(data.xpos),
            turns=np.array(data.xmat).reshape(-1, 3, 3),
        )

    def _draw(self, colours: Array, depth: Array | None, *, by_number: bool = False) -> None:
        mujoco, side = self._mujoco, len(colours)
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = by_number
        window = mujoco.MjrRect(0, 0, side, side)
        mujoco.mjr_render(window, self._scene, self._context)
        mujoco.mjr_readPixels(colours, depth, window, self._context)

    def _seen(self, ids: Array) -> Array:
        """int64 [H, W]: numbers of geoms in the model, -1 for none. A pixel's colour is 1 + the number in the scene."""
        number = np.full(self._scene.ngeom + 1, -1, np.int64)
        geom = int(self._mujoco.mjtObj.mjOBJ_GEOM)
        for each in self._scene.geoms[: self._scene.ngeom]:
            if each.segid >= 0 and each.objtype == geom:
                number[each.segid + 1] = each.objid
        seen: Array = number[ids[..., 0] + (ids[..., 1] << 8) + (ids[..., 2] << 16)]
        return seen

    def flow(self, now: Shot, then: Shot) -> Array:
        """float32 [H, W, 2]: how many pixels right and down each seen point goes from one shot to the next.

        Each pixel's point, by its depth, moves as its body does and is seen again by the same camera; exact but for
        the depth's rounding, also where the point is hidden in the next shot.
        """
        rows, columns = np.nonzero(now.bodies)
        body, depth_m = now.bodies[rows, columns], now.depth_m[rows, columns].astype(np.float64)
        eye, turn, focal = self._view()
        ray = np.stack([columns + 0.5 - self._size / 2, self._size / 2 - rows - 0.5, np.full(len(rows), -focal)], 1)
        point = eye + (ray * (depth_m / focal)[:, None]) @ turn.T
        on_body = np.einsum("pji,pj->pi", now.turns[body], point - now.places[body])
        moved = np.einsum("pij,pj->pi", then.turns[body], on_body) + then.places[body]
        seen = (moved - eye) @ turn
        flow = np.zeros((*now.bodies.shape, 2), np.float32)
        flow[rows, columns] = (focal * seen[:, :2] / -seen[:, 2:] - ray[:, :2]) * (1, -1)
        return flow

    def _view(self) -> tuple[Array, Array, float]:
        """The camera's place [3], its axes right, up and backward as columns [3, 3], and its focal length in pixels."""
        camera = self._camera.fixedcamid
        turn = np.empty(9)
        self._mujoco.mju_quat2Mat(turn, self._model.cam_quat[camera])
        focal = self._size / 2 / np.tan(np.radians(self._model.cam_fovy[camera]) / 2)
        return np.array(self._model.cam_pos[camera]), turn.reshape(3, 3), float(focal)

    @property
    def axes(self) -> Array:
        """float64 [3, 3]: the camera's axes right, up and backward, one a row."""
        return self._view()[1].T


def _of_geoms(model: Any) -> tuple[Array, Array]:
    """Of each geom its label, uint8 [G + 1], and its body if it moves, else 0, int32 [G + 1]; the last is no geom."""
    labels = np.full(model.ngeom + 1, BACKGROUND, np.uint8)
    bodies = np.zeros(model.ngeom + 1, np.int32)
    base = model.body("base").id
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        root, moves = int(model.body_rootid[body]), model.body_weldid[body] != 0
        bodies[geom] = body if moves else 0
        name = model.body(root).name
        if root == base:
            labels[geom] = ROBOT if moves else NOT_JUDGED
        elif name.startswith("thing"):
            labels[geom] = FIRST_OBJECT + int(name.removeprefix("thing"))
    return labels, bodies
