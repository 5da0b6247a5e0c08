"""The rows of the study `bair`: the seed's table, its losses and optimisers, the full grid, and what goes beyond."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from lightmeter.heads.segmenting.cells import Control
from lightmeter.studies.bair_data import Counts
from lightmeter.studies.bair_encoders import (
    ALL,
    EMBEDDINGS,
    FRAME,
    FULL,
    FUTURE,
    HIDDEN,
    IMAGE,
    LITE,
    OWN,
    PIXELS,
    RAW,
    SINGLE,
    TOKENS,
    VQVAE,
    YOURS,
    Recipes,
)
from lightmeter.studies.declared import Role
from lightmeter.studies.published import published

TABLE = "bair-masks"
SEED, LOSSES, GRID, LABELS, TASKS, SHIFT, AIMS = "seed", "losses", "grid", "labels", "tasks", "shift", "aims"
RIDGE = "patch-ridge"


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of a scale: the seed's (named as its rows), and ours.

    multi, tuned: several maps, the encoder frozen (on a coarser grid, which costs a quarter) or learning too
    width: to which a linear layer brings maps before attention in the full grid, for encoders differ in theirs
    """

    light: str
    flat_unet: str
    fc_conv: str
    attention: str
    residual: str
    unet: str
    multi: str
    tuned: str
    width: int

    @property
    def grid(self) -> dict[str, str]:
        """Those of the full grid, by name; each can read every single map."""
        return {
            "linear a cell": "linear-patch",
            "linear": "linear-dual",
            "FC + conv": self.fc_conv,
            "attention + conv": self._as_wide(self.attention),
            "attention, residual": self._as_wide(self.residual),
            "several scales": self.multi,
        }

    def _as_wide(self, head: str) -> str:
        return f"{head}{',' if '/' in head else '/'}width={self.width}"


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a scale is: data, how nets are pretrained, heads, and how they learn.

    counts: of the simulated set; None: the user's · steps, batch: of every head · grid_steps: in the full grid, for
    losses and for other tasks · tune_steps: of a net that is tuned
    seeds: of the seed's rows and our aims · few: of other readings, the low end of the labels and the shift; of all
    else one
    labels: of the curve, and `low` of the aim
    tries: steps after which a loss's rate is chosen on the validation frames, among `rates` times the usual one
    singles: encoders of one map, for the full grid and the other tasks
    """

    counts: Counts | None
    recipes: Recipes
    heads: Heads
    steps: int
    grid_steps: int
    tune_steps: int
    batch: int
    seeds: int
    few: int
    labels: tuple[int, ...]
    low: int
    tries: int
    rates: tuple[float, ...] = (0.3, 1.0, 3.0)
    singles: tuple[str, ...] = SINGLE

    def training(
        self, lr: float, *, fine_tune: float = 0.0, loss: str = "", optimiser: str = "", steps: int = 0
    ) -> str:
        """A training recipe."""
        steps = steps or (self.tune_steps if fine_tune else self.steps)
        told = f"mask-training/lr={lr:g},steps={steps},batch={self.batch}"
        told += f",fine_tune={fine_tune:g}" if fine_tune else ""
        told += f",loss=({loss})" if loss else ""
        return told + (f",optimiser={optimiser}" if optimiser else "")


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate.

    block: which table it stands in · label: its name there · encoder: its label, "" for the mean
    head, training: specs · seeds: how many · labels: learnt from, 0: all · printed: its row in the published table
    on: which part is asked · column: of a table with two ways
    """

    block: str
    label: str
    encoder: str
    head: str
    training: str
    role: Role = "ours"
    seeds: int = 1
    labels: int = 0
    task: str = "robot"
    control: Control = ""
    printed: str = ""
    on: str = "test"
    column: str = ""


RATE = {"linear-patch": 0.01, "linear-dual": 0.3, "linear-global": 0.001, "mask-unet": 0.002}
"""Of AdamW by head, as a first trial had them; 0.003 for all others. Tuned on nothing."""
TUNED_RATE = 0.002
"""Of a head and the encoder below it, which learns at the same rate; chosen, with its steps, by IoU on the
validation frames among three choices."""
CHANGED = "flip=true,shift_px=4,copies=4"
"""How frames are changed where labels are few: mirrored, moved by up to 4 pixels."""
UNET, BEST, BEST_RAW, BEST_PIXELS = "U-Net from scratch", "frozen", "untrained", "pixels"
BEST_TUNED, BEST_OWN, BEST_IMAGE = "fine-tuned", "frozen, own clips", "frozen, own pictures"
BEST_LITE = "frozen, ImageNet's names"
"""EfficientNet-Lite, which was taught by names of a million photographs."""
LOSS_NAMES = {"Dice": "mask-dice", "weighted BCE": "mask-weighted-bce", "Jaccard": "mask-jaccard"}
OPTIMISERS = {"SGD": ("sgd", 0.03), "Adam": ("adam", 0.003), "AdamW": ("adamw", 0.003)}
"""By name: spelling and the usual rate."""


def rate(head: str) -> float:
    """The learning rate of a head."""
    return RATE.get(head.partition("/")[0], 0.003)


def rows_of(sizes: Sizes, *, yours: bool = False) -> tuple[Row, ...]:
    """All rows but those of losses and optimisers, whose rates are chosen first. yours: an encoder was named."""
    singles = (*sizes.singles, YOURS) if yours else sizes.singles
    return (
        *seed_rows(sizes), *grid_rows(sizes, singles), *aim_rows(sizes, yours=yours), *label_rows(sizes),
        *task_rows(sizes, singles), *shift_rows(sizes),
    )  # fmt: skip


def seed_rows(sizes: Sizes) -> list[Row]:
    """The nine rows of table 1 as they are read, other readings of them, and the controls that it lacks."""
    heads, seeds, few = sizes.heads, sizes.seeds, sizes.few
    names = published(TABLE).rows

    def row(at: int, encoder: str, head: str, reading: str = "", **more: object) -> Row:
        label = names[at - 1] if not reading else f"  {reading}"
        told = {"training": sizes.training(rate(head)), "role": "ours" if reading else "seed", **more}
        count = few if reading else seeds
        return Row(SEED, label, encoder, head, seeds=count, printed="" if reading else names[at - 1], **told)  # type: ignore[arg-type]

    def tuned(head: str) -> str:
        """The encoder at a tenth of the rate: at the whole, four of five seeds fell apart."""
        return sizes.training(rate(head), fine_tune=0.1, steps=sizes.grid_steps)

    return [
        row(1, TOKENS, heads.light, control="noise"),
        row(1, FRAME, heads.attention, "noise, row 7", control="noise"),
        row(2, TOKENS, "linear-global"),
        row(2, HIDDEN, "linear-dual", "hidden states"),
        row(3, TOKENS, heads.light),
        row(3, EMBEDDINGS, heads.fc_conv, "codes' vectors, FC + conv"),
        row(4, TOKENS, heads.flat_unet),
        row(5, FRAME, "linear-dual"),
        row(6, FRAME, heads.fc_conv),
        row(7, FRAME, heads.attention),
        row(7, FRAME, heads.residual, "attention with residual"),
        row(7, FRAME, heads.attention, "masks of other scenes", control="shuffled"),
        row(8, FRAME, heads.attention, training=tuned(heads.attention)),
        row(9, FULL, heads.unet),
        Row(SEED, "mean mask, no look", "", "", "", "baseline", control="mean"),
    ]


def grid_rows(sizes: Sizes, singles: tuple[str, ...]) -> list[Row]:
    """Every encoder with every head, one seed."""
    return [
        Row(GRID, encoder, encoder, head, sizes.training(rate(head), steps=sizes.grid_steps), column=name)
        for encoder, (name, head) in product(singles, sizes.heads.grid.items())
    ]


def aim_rows(sizes: Sizes, *, yours: bool = False) -> list[Row]:
    """What the targets are about: one head, several scales, on the encoder and on what it must beat."""
    head = sizes.heads.multi
    frozen = {
        BEST: FUTURE + ALL, BEST_RAW: RAW + ALL, BEST_PIXELS: PIXELS + ALL, BEST_OWN: OWN + ALL,
        BEST_IMAGE: IMAGE + ALL, BEST_LITE: LITE + ALL,
    } | ({YOURS: YOURS} if yours else {})  # fmt: skip
    rows = [
        Row(AIMS, label, encoder, head, sizes.training(rate(head)), _role(label), sizes.seeds)
        for label, encoder in frozen.items()
    ]
    tuned = sizes.training(TUNED_RATE, fine_tune=1.0)
    unet = sizes.training(rate(sizes.heads.unet))
    return [
        *rows,
        Row(AIMS, BEST_TUNED, FUTURE + ALL, sizes.heads.tuned, tuned, "ours", sizes.few),
        Row(AIMS, UNET, FULL, sizes.heads.unet, unet, "baseline", sizes.seeds),
    ]


def label_rows(sizes: Sizes) -> list[Row]:
    """Label efficiency: fewer labels, the same number of steps, four changed copies of each frame for every row."""
    chosen = [each for each in aim_rows(sizes) if each.label in (BEST, BEST_RAW, BEST_PIXELS, UNET)]
    return [
        replace(
            row, block=LABELS, seeds=sizes.few if count == sizes.low else 1, labels=count, column=f"{count or 'all'}",
            training=f"{row.training},{CHANGED}",
        )
        for row, count in product(chosen, (*sizes.labels, 0))
    ]  # fmt: skip


def task_rows(sizes: Sizes, singles: tuple[str, ...]) -> list[Row]:
    """Other tasks with the same encoders: two more masks by a convolutional head, depth and flow by a linear one."""
    head = sizes.heads.fc_conv
    made = []
    for encoder in ("", *singles):
        control: Control = "" if encoder else "mean"
        label, role = encoder or "mean, no look", _role(encoder or "mean")
        for task in ("objects", "moving", "depth", "flow"):
            numbers = task in ("depth", "flow")
            if not numbers and encoder not in ("", FRAME, VQVAE, FUTURE, RAW, PIXELS, LITE, YOURS):
                continue
            own, training = (RIDGE, "") if numbers else (head, sizes.training(rate(head), steps=sizes.grid_steps))
            own, training = (own, training) if encoder else ("", "")
            made.append(Row(TASKS, label, encoder, own, training, role, task=task, control=control, column=task))
    return made


def shift_rows(sizes: Sizes) -> list[Row]:
    """The same rows asked on scenes of another family."""
    wanted = (BEST, BEST_RAW, BEST_PIXELS, UNET)
    rows = [each for each in aim_rows(sizes) if each.label in wanted]
    rows += [each for each in seed_rows(sizes) if each.label == "mean mask, no look"]
    return [replace(row, block=SHIFT, seeds=min(row.seeds, sizes.few), on=on, column=on)
            for row, on in product(rows, ("test", "shift"))]  # fmt: skip


def _role(label: str) -> Role:
    return "baseline" if label in (BEST_RAW, BEST_PIXELS, BEST_LITE, PIXELS, RAW, LITE, "mean") else "ours"


# -- losses and optimisers ------------------------------------------------------------------------------------------


def loss_heads(sizes: Sizes) -> dict[str, tuple[str, str]]:
    """On what losses and optimisers are compared: name → encoder and head; the seed's, and one that can see."""
    plain = sizes.heads.flat_unet.replace("fc=flat,", "")
    return {"the seed's row 4": (TOKENS, sizes.heads.flat_unet), "future codes, the same U-Net": (FUTURE, plain)}


def loss_row(sizes: Sizes, where: str, loss: str, optimiser: str, lr: float) -> Row:
    """One cell of the comparison, at a rate."""
    encoder, head = loss_heads(sizes)[where]
    told = {"loss": LOSS_NAMES[loss], "optimiser": OPTIMISERS[optimiser][0]}
    training = sizes.training(lr, steps=sizes.grid_steps, **told)  # type: ignore[arg-type]
    return Row(LOSSES, f"{where}: {loss}", encoder, head, training, column=optimiser)
