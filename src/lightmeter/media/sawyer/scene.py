"""A bin, things in it, a Sawyer arm over it: drawn from a seed, written as MuJoCo's XML.

The arm's XML, meshes and the table's textures are read from the installed package metaworld (MIT); it is not imported.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as Xml
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, MissingExtraError, UnknownNameError, nearest
from lightmeter.media.sawyer.meshes import decimate, read_stl
from lightmeter.types import Array

CELL_M = 0.016
_GRIPPER_CELL_M = 0.008
TIMESTEP_S = 0.0025
_COLOURS = {
    "red": (0.8, 0.12, 0.1), "orange": (0.9, 0.45, 0.08), "yellow": (0.9, 0.8, 0.15), "green": (0.15, 0.6, 0.2),
    "blue": (0.1, 0.25, 0.8), "violet": (0.45, 0.2, 0.65), "white": (0.9, 0.9, 0.88), "grey": (0.45, 0.45, 0.45),
    "black": (0.1, 0.1, 0.11), "brown": (0.4, 0.25, 0.13),
}  # fmt: skip
_TOUCH = {"friction": "0.8 0.02 0.001", "density": "300", "solref": "0.01 1"}


@dataclass(frozen=True, slots=True)
class Family:
    """What scenes of one kind share; the rest is drawn. Lengths in metres, the arm stands at 0 0 0 and reaches to +y.

    kinds: of things · textures: files of metaworld · eye, aim: where the camera is and looks · arm: its darkest and
    lightest RGB · wall_m: height of the bin's walls
    """

    name: str
    kinds: tuple[str, ...]
    textures: tuple[str, ...]
    eye: tuple[float, float, float]
    aim: tuple[float, float, float]
    fovy_degrees: float
    arm: tuple[tuple[float, float, float], tuple[float, float, float]]
    things: tuple[int, int]
    wall_m: float


FAMILIES: dict[str, Family] = {
    "sawyer": Family(
        "sawyer", ("box", "cylinder", "capsule", "hammer"),
        ("wood1", "wood2", "wood3", "wood4", "darkwood", "light_wood", "light_wood_v2", "wood_light", "plaster1"),
        eye=(0.0, 1.30, 0.78), aim=(0.0, 0.63, 0.06), fovy_degrees=41,
        arm=((0.08, 0.08, 0.08), (0.45, 0.42, 0.42)), things=(5, 9), wall_m=0.05,
    ),
    "sawyer-shift": Family(
        "sawyer-shift", ("ball", "egg", "cross", "dumbbell"),
        ("granite", "marble", "metal1", "metal2", "brick1", "floor1", "floor2", "navy_blue"),
        eye=(-0.82, 1.10, 0.80), aim=(0.02, 0.60, 0.10), fovy_degrees=38,
        arm=((0.45, 0.10, 0.05), (0.95, 0.85, 0.35)), things=(4, 7), wall_m=0.02,
    ),
}  # fmt: skip
"""`sawyer-shift` shares no texture, no kind of thing, no view and no colour of the arm with `sawyer`."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What can be pushed: its name in words, and how far it reaches from its centre along the table, in metres."""

    name: str
    reach_m: float
    lift_m: float


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """XML for MuJoCo, and what its bodies `thing0`, `thing1` … are; `camera` is the camera's name."""

    xml: str
    things: tuple[Thing, ...]


def assets_folder() -> Path:
    """Where the installed metaworld keeps its XML, meshes and textures; MissingExtraError where it is not installed."""
    spec = find_spec("metaworld")
    folder = Path(spec.origin).parent / "assets" if spec and spec.origin else None
    if folder is None or not (folder / "objects" / "assets" / "xyz_base.xml").is_file():
        raise MissingExtraError("metaworld is needed here and not installed: pip install 'lightmeter[sim]'")
    return folder


def family_called(name: str) -> Family:
    """A family of scenes by its name, else UnknownNameError."""
    if name not in FAMILIES:
        raise UnknownNameError(f"no scenes called {name!r}{nearest(name, FAMILIES)}")
    return FAMILIES[name]


def draw_scene(family: Family, rng: np.random.Generator, *, shadow: int = 128) -> Scene:
    """A scene of a family.  shadow: side of the shadow map in pixels, 0 for none; MuJoCo's own is 4096, far dearer.

    Cost: 2 ms, and 0.2 s for the meshes the first time.
    """
    root = Xml.Element("mujoco")
    _node(root, "compiler", angle="radian", inertiafromgeom="auto", inertiagrouprange="0 5")
    _node(root, "option", timestep=str(TIMESTEP_S), iterations="20", solver="Newton", cone="elliptic")
    _visual(root, shadow)
    assets = _node(root, "asset")
    texture = str(rng.choice(list(family.textures)))
    _node(assets, "texture", name="top", type="2d", file=str(assets_folder() / "textures" / f"{texture}.png"))
    _node(assets, "material", name="top", texture="top", texrepeat="1 1", specular=".1", shininess=".1")
    assets.extend(_arm_meshes())
    root.append(copy.deepcopy(_arm_xml()[1]))
    world = _node(root, "worldbody")
    _surroundings(world, family, rng, shadow=bool(shadow))
    dark, light = np.array(family.arm)
    colour = np.clip(dark + rng.uniform() * (light - dark) + rng.normal(0, 0.02, 3), 0.02, 1)
    _arm(world, colour, fingers=np.clip(rng.uniform(0.08, 0.9) + rng.normal(0, 0.08, 3), 0.02, 1))
    things = tuple(_thing(world, number, family, rng) for number in range(int(rng.integers(*family.things))))
    actuators = _node(root, "actuator")
    for joint in ("r_close", "l_close"):
        _node(actuators, "position", ctrllimited="true", ctrlrange="-1 1", joint=joint, kp="400")
    weld = {"body1": "mocap", "body2": "hand", "solref": "0.02 1", "relpose": "0 0 0 1 0 0 0"}
    _node(_node(root, "equality"), "weld", **weld)
    return Scene(Xml.tostring(root, encoding="unicode"), things)


def _node(parent: Xml.Element, tag: str, **attributes: str) -> Xml.Element:
    return Xml.SubElement(parent, tag, {name.rstrip("_"): value for name, value in attributes.items()})


def _numbers(values: Array | tuple[float, ...] | list[float]) -> str:
    return " ".join(f"{value:.4f}" for value in np.asarray(values, float).ravel())


def _visual(root: Xml.Element, shadow: int) -> None:
    visual = _node(root, "visual")
    _node(visual, "global", offwidth="1024", offheight="1024")
    _node(visual, "quality", shadowsize=str(shadow or 16), offsamples="0")
    _node(visual, "headlight", ambient=".4 .4 .4", diffuse=".28 .28 .28", specular="0 0 0")
    _node(visual, "map", znear="0.02")


# -- the arm --------------------------------------------------------------------------------------------------------


@cache
def _arm_xml() -> tuple[list[Xml.Element], Xml.Element]:
    """Bodies of the arm (base, mocap) and its defaults, without the package's own cameras and marks."""
    folder = assets_folder() / "objects" / "assets"
    base = Xml.parse(folder / "xyz_base.xml").getroot()
    for parent in [base, *base.iter("body")]:
        for tag in ("camera", "site"):
            for child in parent.findall(tag):
                parent.remove(child)
    defaults = Xml.parse(folder / "xyz_base_dependencies.xml").getroot().find("default")
    if defaults is None:
        raise InvalidValueError("metaworld's xyz_base_dependencies.xml must have defaults: install metaworld 3.1.1")
    return base.findall("body"), defaults


@cache
def _arm_meshes() -> tuple[Xml.Element, ...]:
    """The arm's material and meshes, decimated and written into the XML: 66,500 triangles become 8,000."""
    folder = assets_folder() / "objects"
    listed = Xml.parse(folder / "assets" / "xyz_base_dependencies.xml").getroot().find("asset")
    made = []
    for node in listed if listed is not None else []:
        if node.tag == "mesh":
            name = node.get("name", "")
            cell_m = _GRIPPER_CELL_M if name == "eGripperBase" else CELL_M
            corners, faces = decimate(read_stl(folder / "meshes" / "xyz_base" / f"{name}.stl"), cell_m)
            node = Xml.Element("mesh", name=name, inertia="shell", vertex=_numbers(corners))
            node.set("face", " ".join(map(str, faces.ravel().tolist())))
        made.append(node)
    return tuple(made)


def _arm(world: Xml.Element, colour: Array, fingers: Array) -> None:
    """The arm and its fingers in colours, its pedestal as packaged."""
    for body in _arm_xml()[0]:
        body = copy.deepcopy(body)
        for geom in body.iter("geom"):
            if geom.get("rgba") == "0.5 0.1 0.1 1":
                geom.set("rgba", f"{_numbers(colour)} 1")
            if geom.get("name", "").startswith(("left", "right")):
                geom.set("rgba", f"{_numbers(fingers)} 1")
        world.append(body)


# -- the rest -------------------------------------------------------------------------------------------------------


def _surroundings(world: Xml.Element, family: Family, rng: np.random.Generator, *, shadow: bool) -> None:
    """Light, table, walls, floor and the camera, which stands a little elsewhere in each scene."""
    _node(
        world, "light", directional="true", castshadow=str(shadow).lower(),
        diffuse=_numbers(np.full(3, rng.uniform(0.45, 0.75))), specular=".1 .1 .1",
        pos=_numbers([rng.uniform(-0.6, 0.6), rng.uniform(0.2, 1), 1.5]),
        dir=_numbers([rng.uniform(-0.5, 0.5), rng.uniform(-0.4, 0.4), -1]),
    )  # fmt: skip
    _node(
        world, "geom", name="table", type="box", size=".42 .33 .02", pos="0 .6 -.02", material="top",
        friction=_TOUCH["friction"],
    )  # fmt: skip
    wall = f"{_numbers(np.clip(rng.uniform(0.25, 0.6) + rng.normal(0, 0.03, 3), 0, 1))} 1"
    half = family.wall_m / 2 + 0.02
    for name, place, size in (
        ("wall0", (0, 0.28), (0.42, 0.015)), ("wall1", (0, 0.92), (0.42, 0.015)),
        ("wall2", (-0.41, 0.6), (0.015, 0.33)), ("wall3", (0.41, 0.6), (0.015, 0.33)),
    ):  # fmt: skip
        at, extent = _numbers((*place, family.wall_m - half)), _numbers((*size, half))
        _node(world, "geom", name=name, type="box", size=extent, pos=at, rgba=wall)
    _node(world, "geom", name="floor", type="plane", size="20 20 .1", pos="0 0 -.9", rgba=".35 .33 .3 1")
    eye = np.array(family.eye) + rng.normal(0, 0.012, 3)
    back = eye - (np.array(family.aim) + rng.normal(0, 0.008, 3))
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    fovy = f"{family.fovy_degrees + rng.normal(0, 0.8):.3f}"  # in degrees, whatever the compiler's angles are
    axes = _numbers(np.concatenate([right, np.cross(back, right)]))
    _node(world, "camera", name="camera", pos=_numbers(eye), fovy=fovy, xyaxes=axes)


def _thing(world: Xml.Element, number: int, family: Family, rng: np.random.Generator) -> Thing:
    """One thing that can be pushed, of one or two coloured parts."""
    kind, colour = str(rng.choice(list(family.kinds))), str(rng.choice(list(_COLOURS)))
    a, b, c = rng.uniform(0.018, 0.042, 3)
    body = _node(world, "body", name=f"thing{number}", pos=_numbers([0, 0.6, 0.3 + 0.15 * number]))
    _node(body, "freejoint")
    second = str(rng.choice(list(_COLOURS)))
    parts, reach_m, lift_m = _parts(kind, float(a), float(b), float(c))
    for part, (form, size, more) in enumerate(parts):
        rgb = np.clip(np.array(_COLOURS[second if part else colour]) + rng.normal(0, 0.05, 3), 0.02, 1)
        options = {"type": form, "size": _numbers(size), "rgba": f"{_numbers(rgb)} 1", **_TOUCH, **more}
        _node(body, "geom", name=f"thing{number}.{part}", **options)
    return Thing(f"{colour} {kind}", reach_m, lift_m)


_Parts = list[tuple[str, list[float], dict[str, str]]]


def _parts(kind: str, a: float, b: float, c: float) -> tuple[_Parts, float, float]:
    """Geoms of a kind of thing, its reach along the table and how high its centre lies on it, in metres."""
    flat = {"euler": "0 1.5708 0"}  # along x
    rod, ends = 0.4 * b, 0.8 * b
    if kind == "box":
        return [("box", [a, b, c], {})], float(np.hypot(a, b)), c
    if kind == "cylinder":
        return [("cylinder", [a, c], {})], a, c
    if kind == "capsule":
        return [("capsule", [0.7 * a, b], flat)], 0.7 * a + b, 0.7 * a
    if kind == "hammer":
        head = ("cylinder", [ends, 0.5 * c], {"pos": _numbers([1.4 * a, 0, 0])})
        return [("box", [1.4 * a, rod, 0.4 * c], {}), head], 1.4 * a + ends, 0.5 * c
    if kind == "ball":
        return [("sphere", [a], {})], a, a
    if kind == "egg":
        return [("ellipsoid", [1.2 * a, b, c], {})], max(1.2 * a, b), c
    if kind == "cross":
        bars: _Parts = [("box", [1.4 * a, 0.45 * b, 0.6 * c], {}), ("box", [0.45 * b, 1.4 * a, 0.6 * c], {})]
        return bars, float(np.hypot(1.4 * a, 0.45 * b)), 0.6 * c
    if kind == "dumbbell":
        balls: _Parts = [("sphere", [ends], {"pos": _numbers([side * 1.3 * a, 0, 0])}) for side in (-1, 1)]
        return [("capsule", [rod, 1.3 * a], flat), *balls], 1.3 * a + ends, ends
    raise InvalidValueError(f"no kind of thing called {kind!r}: there is box, cylinder, capsule, hammer and their like")
