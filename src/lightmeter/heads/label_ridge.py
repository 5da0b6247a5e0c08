"""Ridge for several labels, in closed form: no steps, no seed, and a new label costs milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.assets.saving import ABOUT, expect, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.answering import check_batch, loaded_blocks, loaded_names, view_of
from lightmeter.heads.examples import Batch, Block, BlockKind, Examples, is_rated
from lightmeter.heads.net_head import check_blocks
from lightmeter.heads.platt import Platt
from lightmeter.heads.ridge import Ridge, RidgeModel
from lightmeter.parts import Spelled
from lightmeter.types import Array, Labels

SCHEMA = "lightmeter.label-ridge/1"
_RIDGE = "ridge"
_ROWS = 1024
_LEAST_SQUARE = 1e-12
_MOST_CALIBRATED = 8192


@dataclass(frozen=True)
class LabelRidge(Spelled):
    """Least squares on ±1 a label, over blocks of features side by side; an absent block is zeros.

    l2: weight of |w|², above 0 · normalise: each `block` of length 1, the `whole`, or `none`
    chance: how a score becomes a probability. `platt`: a sigmoid a class (`heads.platt`), fitted on what the ridge
    would say of each item had it not learnt from it, which it knows in closed form:
    score without i = t − (t − s)/(1 − h), h = 1/N + zᵀ(l2·I + Z Zᵀ)⁻¹z, z centred.  `clip`: (s + 1)/2, cut to 0..1.
    grows: keep rows and factor, so that `with_label` and `add` work; else the model is K·D numbers
    Cost: as `Ridge`, all labels together.  Memory: 20 bytes a feature of all examples.
    Source: Hoerl & Kennard 1970; leaving out in closed form: Allen 1974 (PRESS).
    """

    l2: float = 1.0
    normalise: Literal["block", "whole", "none"] = "block"
    chance: Literal["platt", "clip"] = "platt"
    grows: bool = True
    takes: ClassVar[tuple[BlockKind, ...]] = ("features",)

    def __post_init__(self) -> None:
        if not 0 < self.l2 < np.inf:
            raise InvalidValueError(f"l2 must be above 0 and finite, got {self.l2}")

    def fit(self, examples: Examples, *, about: Mapping[str, Any] | None = None) -> LabelRidgeModel:
        """Learn from labelled examples.  Raises InvalidValueError: no labels, blocks that are no features."""
        check_blocks(self, examples.blocks)
        labels = examples.labels
        if labels is None or not len(labels.classes):
            raise InvalidValueError("examples must have labels to be learnt from, got none of them labelled")
        if is_rated(examples):
            raise InvalidValueError(
                "a closed form must know all classes of every item, got segments of which people rated some: take moe"
            )
        rows = np.concatenate([
            joined(examples.batch(np.arange(at, min(at + _ROWS, len(examples)))), examples.blocks, self.normalise)
            for at in range(0, len(examples), _ROWS)
        ])  # fmt: skip
        ridge = Ridge(self.l2).fit_labels(rows, labels)
        model = LabelRidgeModel(
            self, tuple(examples.blocks), tuple(examples.label_names), ridge, None, rows, labels, None, about or {}
        ).calibrated()
        return model if self.grows else model.done()


@dataclass(frozen=True, eq=False)
class LabelRidgeModel:
    """A hyperplane a label, and the sigmoid that makes a probability of it. Methods give new models.

    rows: float32 [N, D], what it learnt from, added rows last; labels: of those rows; room: float64 [C], 1 − h of the
    rows that calibrate, None where it has to be found anew; all three None without `grows`
    """

    head: LabelRidge
    blocks: tuple[Block, ...]
    label_names: tuple[str, ...]
    ridge: RidgeModel
    platt: Platt | None
    rows: Array | None = None
    labels: Labels | None = None
    room: Array | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.label_names)

    @property
    def macs(self) -> int:
        """K·D."""
        return self.ridge.macs

    def macs_of(self, frames: int) -> int:
        """K·D: it reads no frames."""
        return self.macs

    @property
    def size_bytes(self) -> int:
        """Bytes of the weights, and of what growing needs where it is kept."""
        return self.ridge.size_bytes + sum(array.nbytes for array in self._arrays().values())

    def view(self, examples: Examples, *, without: Sequence[str] = ()) -> Examples:
        """A set as it reads it: see `answering.view_of`."""
        return view_of(self.blocks, examples, without)

    def margins(self, batch: Batch) -> Array:
        """What least squares says, near 1 for a label and −1 for none: float32 [B, K]."""
        check_batch(batch, self.blocks)
        return self.ridge.scores(joined(batch, self.blocks, self.head.normalise))

    def scores(self, batch: Batch) -> Array:
        """Probabilities float32 [B, K] of a batch of its blocks (see `view`)."""
        margins = self.margins(batch)
        if self.platt is not None:
            return self.platt.chances(margins)
        made: Array = np.clip((margins + 1) / 2, 0, 1)
        return made

    def block_parts(self, batch: Batch) -> tuple[Array, Array] | None:
        """What each block adds to the logits, against the average item: float64 [B, M, K], and that item's [K].

        Their sum is the logit of `scores`.  None with `chance=clip`, which has no logits.
        """
        check_batch(batch, self.blocks)
        if self.platt is None:
            return None
        apart = joined(batch, self.blocks, self.head.normalise) - self.ridge.mean
        starts = np.cumsum([0, *(block.dim for block in self.blocks)])
        spans = [slice(first, last) for first, last in pairwise(starts.tolist())]
        made = np.stack([apart[:, each] @ self.ridge.weights[:, each].T for each in spans], axis=1)
        return made * self.platt.slope, self.ridge.target_mean * self.platt.slope + self.platt.offset

    # -- growing ------------------------------------------------------------------------------------------------------

    def with_label(self, name: str, rows: Array) -> LabelRidgeModel:
        """One more label. rows: int [P], numbers of the examples that have it, among those it learnt from.

        Equal to a fit of everything with that label, up to rounding; the others stay as they are.
        Cost: one solve with the factor that is there, and N·D to calibrate: milliseconds.  Raises InvalidValueError.
        """
        own, labels = self._grown()
        if name in self.label_names:
            raise InvalidValueError(f"a new label must have a name of its own, got {name!r}: take another")
        rows = np.unique(np.asarray(rows, np.int64))
        if not len(rows) or rows[0] < 0 or rows[-1] >= len(own):
            raise InvalidValueError(f"rows of a new label must be some of 0 to {len(own) - 1}, got {rows[:3].tolist()}")
        toward = 2 * (own[rows].astype(np.float64) - self.ridge.mean).sum(axis=0)
        made = replace(
            self, label_names=(*self.label_names, name), labels=_with_class(labels, rows),
            ridge=self.ridge.with_target(toward, 2 * len(rows) / len(own) - 1), room=self._room(),
        )  # fmt: skip
        if self.platt is None:
            return made
        margins, hits = made._left_out(slice(self.classes, None))
        return replace(made, platt=self.platt.with_class(margins[:, 0], hits[:, 0]))

    def add(self, examples: Examples) -> LabelRidgeModel:
        """The model of all examples so far and these, of the same blocks and labels; `calibrated` when all are in.

        Equal to a fit of everything, up to rounding, but for the sigmoids, which stay.  Cost: see `RidgeModel.add`.
        """
        own, labels = self._grown()
        view = self.view(examples)
        if tuple(examples.label_names) != self.label_names or examples.labels is None:
            raise InvalidValueError("examples to add must have the labels of the model in their order, got others")
        batch = view.batch(np.arange(len(view)))
        rows = joined(batch, self.blocks, self.head.normalise)
        targets = np.where(examples.labels.dense(), 1.0, -1.0)
        more = Labels(
            np.concatenate([labels.offsets, labels.offsets[-1] + examples.labels.offsets[1:]]),
            np.concatenate([labels.classes, examples.labels.classes]), labels.count,
        )  # fmt: skip
        return replace(
            self, ridge=self.ridge.add_targets(rows, targets), rows=np.concatenate([own, rows]), labels=more, room=None
        )

    def calibrated(self) -> LabelRidgeModel:
        """With sigmoids fitted anew on all that it learnt from (8,192 evenly, where there are more)."""
        self._grown()
        made = replace(self, room=self._room())
        return made if self.head.chance == "clip" else replace(made, platt=Platt.fit(*made._left_out(slice(None))))

    def done(self) -> LabelRidgeModel:
        """Without what growing needs: K·D numbers."""
        bare = replace(self.ridge, recipe=replace(self.ridge.recipe, grows=False), base=None)
        bare = replace(bare, added=self.ridge.added[:0], turned=self.ridge.turned[:0])
        return replace(
            self, head=replace(self.head, grows=False), ridge=bare, rows=None, labels=None, room=None
        )  # fmt: skip

    def left_out(self) -> tuple[Array, Array]:
        """What it would say of each item had it not learnt from it, float64 [C, K], and where that is right, bool."""
        return replace(self, room=self._room())._left_out(slice(None))

    def _grown(self) -> tuple[Array, Labels]:
        if self.rows is None or self.labels is None:
            raise InvalidValueError("this ridge cannot grow: fit it with grows=true")
        return self.rows, self.labels

    def _some(self) -> Array:
        """Numbers of the rows that calibrate."""
        count = len(self._grown()[0])
        made: Array = np.unique(np.linspace(0, count - 1, min(count, _MOST_CALIBRATED)).round().astype(np.int64))
        return made

    def _room(self) -> Array:
        """1 − h of those rows: how far each is from deciding for itself."""
        if self.room is not None:
            return self.room
        own, some = self._grown()[0], self._some()
        made = []
        for at in range(0, len(some), _ROWS):
            z = own[some[at : at + _ROWS]].astype(np.float64) - self.ridge.mean
            made.append(1 - 1 / len(own) - (z * self.ridge.solved(z.T).T).sum(axis=1))
        room: Array = np.maximum(np.concatenate(made), 1e-9)
        return room

    def _left_out(self, classes: slice) -> tuple[Array, Array]:
        assert self.room is not None, "the caller sees to it"
        own, labels = self._grown()
        some = self._some()
        weights = self.ridge.weights[classes]
        margins = (own[some] - self.ridge.mean) @ weights.T + self.ridge.target_mean[classes]
        hits = labels.take(some).dense()[:, classes]
        targets = np.where(hits, 1.0, -1.0)
        return targets - (targets - margins) / self.room[:, None], hits

    # -- keeping ------------------------------------------------------------------------------------------------------

    def _arrays(self) -> dict[str, Array]:
        arrays: dict[str, Array] = {}
        if self.platt is not None:
            arrays |= {"slope": self.platt.slope, "offset": self.platt.offset, "common": self.platt.common}
        if self.rows is not None and self.labels is not None:
            arrays |= {"rows": self.rows, "offsets": self.labels.offsets, "classes": self.labels.classes}
            arrays["room"] = self._room()
        return arrays

    def save(self, folder: Path) -> None:
        """Write it into a folder, its weights into one of their own below; it can grow as before."""
        folder = Path(folder)
        self.ridge.save(folder / _RIDGE)
        save_model(folder, self._arrays(), {
            "schema": SCHEMA,
            "spec": self.head.spec,
            "blocks": [
                {"name": each.name, "kind": each.kind, "dim": each.dim, "made_by": each.made_by} for each in self.blocks
            ],
            "label_names": list(self.label_names),
            "sha256_of": file_sha256(folder / _RIDGE / ABOUT),
            "about": dict(self.about),
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.  Raises RejectedFileError for anything else, MissingAssetError."""
        arrays, about = load_model(folder)
        insist(about.get("schema") == SCHEMA, f"a label ridge must say {SCHEMA}, got {about.get('schema')!r:.80}")
        head, blocks, names = expect_recipe(about, "head", LabelRidge), loaded_blocks(about), loaded_names(about)
        place = Path(folder) / _RIDGE / ABOUT
        insist(place.is_file() and file_sha256(place) == about.get("sha256_of"), "ridge must be what was saved with it")
        ridge, dim, made = RidgeModel.load(place.parent), sum(block.dim for block in blocks), about.get("about")
        fits = ridge.weights.shape == (len(names), dim) and ridge.recipe == Ridge(head.l2, head.grows)
        insist(fits, f"the ridge of a model must be [{len(names)}, {dim}] of {head.spec}")
        insist(isinstance(made, dict), "about of a model must be an object")
        try:
            check_blocks(head, blocks)
        except InvalidValueError as error:
            raise RejectedFileError("damaged", f"blocks of a model: {str(error)[:200]}") from error
        rows, labels, room = _loaded_rows(arrays, ridge, len(names)) if head.grows else (None, None, None)
        platt = _loaded_platt(head, arrays, len(names))
        return cls(head, blocks, names, ridge, platt, rows, labels, room, made or {})


def _loaded_platt(head: LabelRidge, arrays: Mapping[str, Array], classes: int) -> Platt | None:
    if head.chance == "clip":
        return None
    made = Platt(
        expect(arrays, "slope", "float64", classes), expect(arrays, "offset", "float64", classes),
        expect(arrays, "common", "float64", 2),
    )  # fmt: skip
    insist((made.slope > 0).all() and made.common[0] > 0, "slopes of a model must be above 0")
    return made


def _loaded_rows(arrays: Mapping[str, Array], ridge: RidgeModel, classes: int) -> tuple[Array, Labels, Array]:
    rows = expect(arrays, "rows", "float32", ridge.seen, ridge.weights.shape[1])
    try:
        labels = Labels(
            expect(arrays, "offsets", "int64", ridge.seen + 1), expect(arrays, "classes", "int32", None), classes
        )
    except InvalidValueError as error:
        raise RejectedFileError("damaged", f"labels of a model: {str(error)[:200]}") from error
    room = expect(arrays, "room", "float64", min(ridge.seen, _MOST_CALIBRATED))
    insist((room > 0).all(), "room of a model must be above 0")
    return rows, labels, room


def _with_class(labels: Labels, rows: Array) -> Labels:
    """The labels, and one more of the highest number for some rows."""
    ends = labels.offsets[1:][rows]
    more = np.zeros(len(labels) + 1, np.int64)
    more[rows + 1] = 1
    classes = np.insert(labels.classes, ends, labels.count).astype(np.int32)
    return Labels(labels.offsets + np.cumsum(more), classes, labels.count + 1)


def joined(batch: Batch, blocks: Sequence[Block], normalise: Literal["block", "whole", "none"]) -> Array:
    """Blocks of features side by side, float32 [B, D]; absent ones are zeros.  Same numbers as `nets.joined`."""
    made = []
    for at, block in enumerate(blocks):
        own = np.where(batch.present[:, at : at + 1], batch.values[block.name], 0).astype(np.float32)
        made.append(_unit(own) if normalise == "block" else own)
    rows = np.concatenate(made, axis=1)
    return _unit(rows) if normalise == "whole" else rows


def _unit(rows: Array) -> Array:
    squares = np.square(rows).sum(axis=1, keepdims=True)
    made: Array = rows / np.sqrt(np.maximum(squares, np.float32(_LEAST_SQUARE)))
    return made
