"""Where a run stands, kept on disk: whatever moment it is killed at, the last state that was written is whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightmeter.assets.saving import expect_count, load_model, save_model
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError, SpecError
from lightmeter.parts import parse, render
from lightmeter.types import Array

_STEP, _DONE = "step", "done"
_MOST_TOLD = 80
"""Characters of a value in a sentence."""


def begun_run(folder: Path) -> dict[str, Any]:
    """What the run is of whose checkpoints stand in a folder; empty where there are none."""
    for place in sorted(folder.glob("*-*")):
        try:
            told = load_model(place, mapped=True)[1].get("run")
        except LightmeterError:
            continue
        if isinstance(told, dict):
            return told
    return {}


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What of our run is otherwise in theirs, option by option where it is a spec; empty where all is the same.

    >>> differences({"training": "adam/lr=0.1,batch=8", "seed": 0}, {"training": "adam/lr=0.1,batch=9", "seed": 1})
    'training/batch is 8, not 9, and seed is 0, not 1'
    """
    told = []
    for name, value in ours.items():
        other = theirs.get(name)
        if other != value:
            pairs = _options_apart(other, value) or {"": (other, value)}
            told += [f"{name}{option} is {_cut(was)}, not {_cut(now)}" for option, (was, now) in pairs.items()]
    return ", and ".join(told)


def _options_apart(theirs: object, ours: object) -> dict[str, tuple[Any, Any]]:
    """By option, what two specs of one part say of it; empty where they are of two parts, or no specs."""
    try:
        was, now = parse(str(theirs)), parse(str(ours))
    except SpecError:
        return {}
    if was.name != now.name:
        return {}
    pairs = {f"/{name}": (was.options.get(name), now.options.get(name)) for name in {**was.options, **now.options}}
    return {name: (render(one), render(other)) for name, (one, other) in pairs.items() if one != other}


def _cut(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_TOLD else f"{text[:_MOST_TOLD]}…"


@dataclass(eq=False)
class Checkpoints:
    """Checkpoints of one run in a folder of their own: `step-…` of the part in work, `done-…` of finished parts.

    run: what the run is of (data, head, training, seed …); a checkpoint of another run is refused, not overwritten
    every_s: seconds between two, more where writing takes over a twentieth of the time
    """

    folder: Path
    run: Mapping[str, Any]
    every_s: float = 60.0
    _due_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._due_s = time.monotonic() + self.every_s

    @property
    def due(self) -> bool:
        """Whether the next one should be written now."""
        return time.monotonic() >= self._due_s

    def keep(self, part: int, step: int, arrays: Mapping[str, Array]) -> None:
        """Write the state after so many steps of a part, then drop the one before."""
        start_s = time.monotonic()
        place = self.folder / f"{_STEP}-{part:05d}-{step:09d}"
        save_model(place, arrays, {"run": dict(self.run), "part": part, "step": step})
        self._drop(_STEP, but=place)
        now_s = time.monotonic()
        self._due_s = now_s + max(self.every_s, 20 * (now_s - start_s))

    def finish(self, part: int, arrays: Mapping[str, Array]) -> None:
        """Keep what a part has learnt, for good."""
        save_model(self.folder / f"{_DONE}-{part:05d}", arrays, {"run": dict(self.run), "part": part})
        self._drop(_STEP)

    def latest(self, part: int) -> tuple[dict[str, Array], int] | None:
        """The last whole state of a part, and after how many steps; None where there is none.

        Raises InvalidValueError for that of another run.
        """
        for place in sorted(self.folder.glob(f"{_STEP}-{part:05d}-*"), reverse=True):
            try:
                arrays, about = load_model(place)
            except LightmeterError:  # killed while it was written: the one before it is whole
                continue
            self._hold(about)
            return arrays, expect_count(about, "step")
        return None

    def finished(self, part: int) -> dict[str, Array] | None:
        """What a part has learnt, mapped from its file; None where it has not ended."""
        try:
            arrays, about = load_model(self.folder / f"{_DONE}-{part:05d}", mapped=True)
        except (FileNotFoundError, RejectedFileError):
            return None
        self._hold(about)
        return arrays

    def clear(self) -> None:
        """The run is over."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hold(self, about: Mapping[str, Any]) -> None:
        told = about.get("run")
        theirs = told if isinstance(told, dict) else {}
        apart = differences(theirs, self.run)
        if apart:
            raise InvalidValueError(
                f"{self.folder} must be of this run, got one whose {apart}: run with the same again, take another "
                "--out, or start --anew"
            )

    def _drop(self, kind: str, but: Path | None = None) -> None:
        for place in self.folder.glob(f"{kind}-*"):
            if place != but:
                shutil.rmtree(place, ignore_errors=True)
