"""The rows of the study `distill`: every method at every budget, what each setting is worth, other judges, and aims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lightmeter.condense.protocol import Condenser
from lightmeter.condense.synthesis.vlcp import Vlcp
from lightmeter.parts import build
from lightmeter.studies.distill_presets import Preset

Block = Literal["methods", "settings", "students", "soft labels"]
Model = Literal["own", "stock", "tuned"]
METHODS: Block = "methods"
SETTINGS: Block = "settings"
STUDENTS: Block = "students"
SOFT: Block = "soft labels"
RANDOM, HERDING, OURS, CHOSEN = "random", "herding", "prototypes, drawn", "prototypes, best of 5 drawn"
SMALL = "conv-net/depth=3,width=32"
"""The student of `quick`."""
PROBE = "linear probe"
"""In place of a student: ridge regression on features of EfficientNet-Lite."""
ALIKE_FROM = 50
"""Pictures a class from which made sets are drawn once, not once a seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. data: name of the set · label: of the method · method: spec · per_class: budget

    protocol, student: specs, "" for the protocol's own · seeds: students · sets: how many different ones they learn, in
    turn · model: whose diffusion model draws: a small one of the study's own, the user's as it is, or tuned on the set
    """

    block: Block
    data: str
    label: str
    method: str
    per_class: int
    protocol: str
    student: str
    seeds: int
    sets: int
    model: Model = "own"

    @property
    def made(self) -> tuple[str, str, int, Model]:
        """What sets depend on, beside their seed."""
        return self.data, self.method, self.per_class, self.model


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a scale is.

    data: names of sets · budgets: pictures a class by set · seeds: of main rows · few: of all others
    methods: label → spec · settings: whether each setting is varied · students: further ones · soft: protocol of soft
    labels, "" for none · learn, test: of Fashion-MNIST, so many are condensed and scored on · teacher_steps: how long
    the teacher learns
    """

    data: tuple[str, ...]
    budgets: dict[str, tuple[int, ...]]
    seeds: int
    few: int
    methods: dict[str, str]
    settings: bool
    students: tuple[str, ...]
    soft: str
    learn: int
    test: int
    teacher_steps: int
    quick: str = "quick"


SELECTED = {
    RANDOM: "random-rows",
    HERDING: "herding",
    "herding of pixels": "herding/features=pixels",
    "k-medoid": "k-medoid",
    "k-medoid without outliers": "k-medoid/outliers=0.1",
    "k-center": "k-center",
    "lowest loss": "lowest-loss",
}
MADE = {
    "mean pictures": "centroid",
    OURS: "vlcp",
    CHOSEN: "vlcp/candidates=5",
    "D4M's": "d4m",
    "Minimax criteria": "minimax",
    "RDED": "rded",
    "DM": "dm",
    "SRe2L": "sre2l",
    "IDC": "idc",
}
NOT_RUN = {
    "MTT, DATM": "not built: expert trajectories take hours here; sets made elsewhere are read by `imported/path=…`",
    "DC, DSA": "not built: IDC is their successor, with the same loss on gradients",
}
_MADE_OFTEN = ("centroid", "vlcp", "d4m", "rded")
_DEAR = ("minimax", "dm", "sre2l", "idc")
"""Methods that learn long for each set: from ALIKE_FROM pictures a class on they are not run at a scale of ours."""


def rows_of(sizes: Sizes) -> tuple[Row, ...]:
    """All rows of a scale with sets of its own."""
    rows = [row for data in sizes.data for row in method_rows(sizes, data)]
    last = sizes.data[-1]
    if sizes.settings:
        rows += setting_rows(sizes, last)
    if sizes.students:
        rows += student_rows(sizes, last)
    if sizes.soft:
        rows += soft_rows(sizes, last)
    return tuple(rows)


def method_rows(sizes: Sizes, data: str) -> list[Row]:
    """Every method at every budget, hard labels, the last step."""
    return [
        _row(METHODS, data, label, spec, budget, sizes.quick, sizes.seeds)
        for budget in sizes.budgets[data]
        for label, spec in sizes.methods.items()
        if budget < ALIKE_FROM or spec.partition("/")[0] not in _DEAR
    ]


def setting_rows(sizes: Sizes, data: str) -> list[Row]:
    """One setting of the prototypes changed at a time, at ten pictures a class."""
    base = Vlcp()
    changed = {
        "as it is": base,
        **{f"strength {each:g}": replace(base, strength=each) for each in (0.0, 0.5, 0.7)},
        **{f"guidance {each:g}": replace(base, guidance=each) for each in (1.0, 10.0)},
        "text: the class's name": replace(base, text="class"),
        "text: none": replace(base, text="none"),
        "image: medoid": replace(base, image="medoid"),
        "image: none, from noise": replace(base, image="none"),
        "outliers: none left out": replace(base, outliers=0.0),
        "outliers: 10 % left out": replace(base, outliers=0.1),
        "best of 5 drawn": replace(base, candidates=5),
        "mode guidance 0.1": replace(base, strength=0.7, mode=0.1),
    }
    return [_row(SETTINGS, data, label, each.spec, 10, sizes.quick, sizes.few) for label, each in changed.items()]


def student_rows(sizes: Sizes, data: str) -> list[Row]:
    """Other networks learn the same sets."""
    judged = (RANDOM, HERDING, OURS, CHOSEN)
    return [
        replace(_row(STUDENTS, data, label, sizes.methods[label], 10, sizes.quick, sizes.few), student=student)
        for student in sizes.students
        for label in judged
    ]


def soft_rows(sizes: Sizes, data: str) -> list[Row]:
    """The same with a teacher's labels, and SRe2L with those of its own; a small student, not the published one."""
    judged = (RANDOM, HERDING, OURS, CHOSEN, "RDED", "SRe2L")
    rows = [_row(SOFT, data, label, sizes.methods[label], 10, sizes.soft, sizes.few) for label in judged]
    return [replace(row, student=SMALL) for row in rows]


def preset_rows(preset: Preset) -> tuple[Row, ...]:
    """A data set of the seed: its protocol, its networks, its budgets; three diffusion models where one is tuned."""
    methods = {
        RANDOM: ("random-rows", "own"), HERDING: ("herding", "own"), "IDC-1": ("idc/factor=1", "own"),
        "Minimax": ("minimax", "own"), "D4M": (preset.d4m.spec, "stock"), "RDED": ("rded", "own"),
        "SRe2L": ("sre2l", "own"), "Ours": (preset.vlcp.spec, "tuned"),
    }  # fmt: skip
    made: list[Row] = []
    for student in preset.students:
        for budget in preset.per_class:
            for label, (spec, model) in methods.items():
                row = _row(METHODS, preset.name, label, spec, budget, preset.protocol, 3)
                sets = 3 if model == "tuned" or row.sets > 1 else 1
                made.append(replace(row, student=student, sets=sets, model=model))  # type: ignore[arg-type]
    return tuple(made)


def _row(block: Block, data: str, label: str, spec: str, per_class: int, protocol: str, seeds: int) -> Row:
    method: Condenser = build(spec, "condenser")
    name = spec.partition("/")[0]
    often = not method.makes or (name in _MADE_OFTEN and per_class < ALIKE_FROM)
    return Row(block, data, label, method.spec, per_class, protocol, "", seeds, seeds if often else 1)


# -- aims -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Aim:
    """One less other at a budget, in points, must be at least `least`: declared before the study ran."""

    says: str
    row: str
    other: str
    per_class: int
    least: float
    data: str = "fashion-mnist"


AIMS: Sequence[Aim] = (
    Aim("herding above random at 1 a class", HERDING, RANDOM, 1, 12.0),
    Aim("herding above random at 10 a class", HERDING, RANDOM, 10, 2.0),
    Aim("herding above random at 50 a class", HERDING, RANDOM, 50, 0.5),
    Aim("prototypes, best of 5 drawn, above herding at 1 a class", CHOSEN, HERDING, 1, 0.0),
    Aim("prototypes, best of 5 drawn, no more than 2 points below herding at 10 a class", CHOSEN, HERDING, 10, -2.0),
    Aim("best of 5 above the first drawn at 10 a class", CHOSEN, OURS, 10, 0.0),
)
