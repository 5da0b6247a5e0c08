"""How a study is asked for, and what every study can do, whatever it compares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lightmeter.errors import InvalidValueError, UnknownNameError, nearest
from lightmeter.studies.features import Tell, silent
from lightmeter.studies.names import STUDIES

SCHEMA = "study/1"
"""Of the JSON of every study."""

Scale = Literal["smoke", "cpu", "paper"]
"""`smoke`: at most 30 s and 300 items, nothing downloaded · `cpu`: minutes on two cores · `paper`: the user's data."""

Role = Literal["seed", "ours", "peer", "baseline"]


@dataclass(frozen=True)
class Asked:
    """How a study is run. data: the user's folder, None without one · tell: told each step, one line

    encoder: spec of what encodes the pictures of `data`, None for the studies' own
    checkpoint: weights of the seed that the user has, None without; for studies that read one
    seeds: how many times what learns by chance learns, from `seed` on, for studies that know it; None: the study's own
    number, which is 1 where it says nothing else
    """

    scale: Scale = "smoke"
    seed: int = 0
    data: Path | None = None
    tell: Tell = silent
    encoder: str | None = None
    seeds: int | None = None
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise InvalidValueError(f"seeds must be at least 1, got {self.seeds}")

    def check_no_checkpoint(self, name: str) -> None:
        """Raise InvalidValueError where a study reads no checkpoint and one is named."""
        if self.checkpoint is not None:
            raise InvalidValueError(f"{name} reads no checkpoint, got {self.checkpoint}: leave --checkpoint out")

    @property
    def every_seed(self) -> range:
        """The seeds, the first one first."""
        return range(self.seed, self.seed + (self.seeds or 1))

    @property
    def seeds_said(self) -> str:
        """The seeds as a table's first line names them."""
        return f"seed {self.seed}" if len(self.every_seed) == 1 else f"seeds {self.seed} to {self.every_seed[-1]}"


class Declared(Protocol):
    """Whatever `lightmeter study` can run."""

    def run(self, asked: Asked) -> Came:
        """Run it; what cannot run says why and the rest goes on."""
        ...


class Came(Protocol):
    """A study as it came out."""

    def text(self) -> str:
        """Tables for people."""
        ...

    def json_rows(self) -> list[dict[str, Any]]:
        """One object a row."""
        ...

    def write(self, out: Path) -> list[Path]:
        """Table, record and pictures, each file whole; returns them."""
        ...


def study_called(name: str) -> Declared:
    """A study by its name; raises UnknownNameError with the nearest."""
    import importlib

    if name not in STUDIES:
        raise UnknownNameError(f"no study called {name!r}{nearest(name, STUDIES)}")
    module, _, attribute = STUDIES[name].partition(":")
    study: Declared = getattr(importlib.import_module(module), attribute)
    return study
