"""Simulated clips into a folder, part by part: a killed run goes on, and two runs can share the work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightmeter.errors import InvalidValueError, UnknownNameError, nearest
from lightmeter.media.clip_set import ClipSet, part_about, write_part
from lightmeter.types import Array

PART_CLIPS = 50
SCENES: dict[str, tuple[str, ...]] = {
    "sawyer": ("mujoco", "metaworld"),
    "sawyer-shift": ("mujoco", "metaworld"),
    "shapes": (),
}
"""Kinds of scenes, and the packages whose versions decide what they look like."""
_GENERATOR = 1
"""Raised whenever the same seed gives other clips than before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is simulated: kind of scenes, how many clips, of how many frames, of what size, how many to a scene."""

    scenes: str = "sawyer"
    clips: int = 100
    frames: int = 16
    size: int = 64
    clips_a_scene: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scenes not in SCENES:
            raise UnknownNameError(f"no scenes called {self.scenes!r}{nearest(self.scenes, SCENES)}")
        if self.clips < 1:
            raise InvalidValueError(f"clips must be 1 or more, got {self.clips}")

    @property
    def parts(self) -> int:
        """How many parts the clips make."""
        return -(-self.clips // PART_CLIPS)

    def about(self, number: int) -> dict[str, Any]:
        """All that decides the bits of a part."""
        first = number * PART_CLIPS
        return {
            "generator": _GENERATOR, "scenes": self.scenes, "frames": self.frames, "size": self.size,
            "clips_a_scene": self.clips_a_scene, "seed": self.seed, "versions": _versions(self.scenes),
            "first": first, "count": min(PART_CLIPS, self.clips - first),
        }  # fmt: skip


def simulate(
    folder: Path | str,
    wanted: Wanted,
    *,
    share: tuple[int, int] = (1, 1),
    tell: Callable[[int, bool], None] | None = None,
) -> int:
    """Write what is wanted and not yet there; returns how many parts are still missing (of other shares).

    share: (k, n) makes every n-th part from the k-th on, for n runs at once · tell: hears how many clips are done, and
    whether they were there already. More clips than a folder holds are added to it.
    Cost: `sawyer_clips` or `moving_shapes`; a kill loses the part in flight, 50 clips at most.
    Raises InvalidValueError where the folder holds clips of another recipe, seed or version.
    """
    turn, runs = share
    if not 1 <= turn <= runs <= wanted.parts:
        raise InvalidValueError(
            f"a share must be k/n with 1 <= k <= n <= {wanted.parts} (parts of {PART_CLIPS} clips), got {turn}/{runs}"
        )
    hear = tell or (lambda count, kept: None)
    standing = [_kept(Path(folder), wanted, number) for number in range(wanted.parts)]
    if part_about(folder, wanted.parts) is not None:
        raise InvalidValueError(f"{folder} holds more clips than {wanted.clips}: ask for more or take another folder")
    for number, kept in enumerate(standing):
        if kept:
            hear(wanted.about(number)["count"], True)
        elif number % runs == turn - 1:
            about = wanted.about(number)
            made = _draw(wanted, about, lambda count: hear(count, False))
            write_part(folder, number, made, about, parts=wanted.parts)
    return sum(part_about(folder, number) is None for number in range(wanted.parts))


def _kept(folder: Path, wanted: Wanted, number: int) -> bool:
    """Whether a part stands as it is wanted; one with fewer clips does not, any other difference is refused."""
    there, here = part_about(folder, number), wanted.about(number)
    if there is None or there == here:
        return there is not None
    names = [name for name in here if there.get(name) != here[name]]
    if names == ["count"] and there["count"] < here["count"]:
        return False
    name = names[0] if names else "generator"
    raise InvalidValueError(
        f"{folder} holds clips of another {name}, {there.get(name)} and not {here[name]}: take another folder"
    )


def _draw(wanted: Wanted, about: Mapping[str, Any], tell: Callable[[int], None]) -> ClipSet:
    count, first = about["count"], about["first"]
    if wanted.scenes == "shapes":
        from lightmeter.media.moving_shapes import moving_shapes

        made = moving_shapes(
            count, frames=wanted.frames, size=wanted.size, clips_a_scene=wanted.clips_a_scene, seed=wanted.seed,
            first=first,
        )  # fmt: skip
        tell(count)
        return made
    from lightmeter.media.sawyer.clips import Look, sawyer_clips

    look = Look(wanted.scenes, wanted.frames, wanted.size, wanted.clips_a_scene)
    return sawyer_clips(count, look, seed=wanted.seed, first=first, tell=tell)


def _versions(scenes: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in SCENES[scenes]:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # drawing will say what to install
            found[package] = "none"
    return found


def label_shares(labels: Array) -> dict[str, float]:
    """What share of all pixels is robot, things, and not judged.  labels: uint8, any shape, as in ClipSet."""
    import numpy as np

    from lightmeter.media.clip_set import FIRST_OBJECT, NOT_JUDGED, ROBOT

    counts = np.bincount(np.asarray(labels).ravel(), minlength=256) / max(1, labels.size)
    return {
        "robot": float(counts[ROBOT]),
        "things": float(counts[FIRST_OBJECT:NOT_JUDGED].sum()),
        "not_judged": float(counts[NOT_JUDGED]),
    }
