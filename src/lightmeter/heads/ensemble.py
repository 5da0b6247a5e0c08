"""Several classifiers as one: their probabilities averaged, the highest taken, or weighed by a random forest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.assets.saving import ABOUT, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.answering import Answering, Spelling, check_batch, load_answering, view_of
from lightmeter.heads.examples import Batch, Block, Examples, is_rated, narrowed
from lightmeter.heads.forest import Forest, ForestModel
from lightmeter.metrics.top import top_scores
from lightmeter.parts import Spelled, build
from lightmeter.types import Array, Labels, check_axes

ENSEMBLES: dict[str, str] = {
    "mean": "lightmeter.heads.ensemble:Mean",
    "max": "lightmeter.heads.ensemble:Max",
    "forest-votes": "lightmeter.heads.ensemble:ForestVotes",
}
SCHEMA = "lightmeter.ensemble/1"
_MEMBERS, _BY, _FOREST = "members", "by", "forest"
_MOST_MEMBERS = 256

Scored = tuple[Array, Labels]
"""Scores float32 [M, B, K] of some videos by M models, and the labels of those videos."""


class Combined(Protocol):
    """A way of combining that is ready: scores float32 [M, B, K] → [B, K]."""

    @property
    def recipe(self) -> Spelling:
        """What it was fitted by."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of what was learnt."""
        ...

    def macs(self, members: int, classes: int) -> int:
        """Operations for one video."""
        ...

    def combine(self, scores: Array) -> Array:
        """Scores float32 [M, B, K] of M models, 0..1 → float32 [B, K], 0..1.

        NaN: a model does not say, as where a table of its answers was cut at the top 20.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write it into a folder; `load_combined` reads it."""
        ...


@dataclass(frozen=True)
class Mean(Spelled):
    """The mean of the models' probabilities; there is nothing to fit.

    absent: what a model says of a class that it does not speak of (NaN): `zero`, or nothing: it is left out (`skip`),
    and the mean is of those that speak.  Of answers cut at the top 20, zero is the better guess: it was not among them.
    """

    absent: Literal["zero", "skip"] = "zero"

    @property
    def recipe(self) -> Mean:
        """Itself."""
        return self

    @property
    def size_bytes(self) -> int:
        """Nothing is learnt."""
        return 0

    def fit(self, scores: Array, labels: Labels) -> Mean:
        """Itself: nothing is learnt from scores float32 [M, N, K] and labels of N videos."""
        return self

    def fit_batches(self, batches: Iterable[Scored]) -> Mean:
        """Itself."""
        return self

    def macs(self, members: int, classes: int) -> int:
        """An addition a score."""
        return members * classes

    def combine(self, scores: Array) -> Array:
        """Scores float32 [M, B, K] → float32 [B, K]; summed in float64, so that the order of models changes nothing."""
        said = ~np.isnan(checked_scores(scores))
        summed = np.where(said, scores, 0).sum(axis=0, dtype=np.float64)
        count = len(scores) if self.absent == "zero" else np.maximum(said.sum(axis=0), 1)
        return _chances(summed / count)

    def save(self, folder: Path) -> None:
        """Write its name into a folder."""
        save_model(folder, {}, {"spec": self.spec})


@dataclass(frozen=True)
class Max(Spelled):
    """The highest of the models' probabilities; there is nothing to fit. One that is sure of a mistake wins."""

    @property
    def recipe(self) -> Max:
        """Itself."""
        return self

    @property
    def size_bytes(self) -> int:
        """Nothing is learnt."""
        return 0

    def fit(self, scores: Array, labels: Labels) -> Max:
        """Itself: nothing is learnt from scores float32 [M, N, K] and labels of N videos."""
        return self

    def fit_batches(self, batches: Iterable[Scored]) -> Max:
        """Itself."""
        return self

    def macs(self, members: int, classes: int) -> int:
        """A comparison a score."""
        return members * classes

    def combine(self, scores: Array) -> Array:
        """Scores float32 [M, B, K] → float32 [B, K]."""
        return _chances(np.where(np.isnan(checked_scores(scores)), 0, scores).max(axis=0))

    def save(self, folder: Path) -> None:
        """Write its name into a folder."""
        save_model(folder, {}, {"spec": self.spec})


@dataclass(frozen=True)
class ForestVotes(Spelled):
    """A random forest that learns from M scores of a (video, class) pair whether the class is a label of the video.

    One forest for all classes (one of K outputs would hold K numbers a leaf: 150 GB for 1,000 trees of 4,716 classes).
    A video's pairs are its candidates: the classes among the `top` of any model; all other classes get 0.
    vote: `mode` is the share of the trees whose decision is yes, the seed's "mode of decisions": 1,000 trees have 1,001
    answers, and small forests tie a lot; `proba` is the trees' mean share of yes.
    fit: of scores that the models give to videos they did not learn from, else the forest trusts the most overfitted.
    Cost: as `Forest` on N·(`top` to M·`top`) rows of M features; to combine, trees × depth look-ups a candidate.
    Source: Breiman 2001; seed 003, section 4.3 (which says no more than "random forest, 1,000 trees, mode").
    """

    trees: int = 1000
    vote: Literal["mode", "proba"] = "mode"
    top: int = 20
    leaf: int = 1
    depth: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InvalidValueError(f"top must be at least 1, got {self.top}")
        self.forest  # noqa: B018  it holds its own options to their ranges

    @property
    def forest(self) -> Forest:
        """The forest underneath."""
        return Forest(self.trees, self.depth, self.leaf, self.seed)

    def fit(self, scores: Array, labels: Labels) -> ForestVotesModel:
        """Learn from scores float32 [M, N, K] of M models and labels of the N videos."""
        return self.fit_batches([(scores, labels)])

    def fit_batches(self, batches: Iterable[Scored]) -> ForestVotesModel:
        """The same, some videos at a time: of each, the candidates alone are kept."""
        rows, hits = [], []
        for scores, labels in batches:
            if (len(labels), labels.count) != checked_scores(scores).shape[1:]:
                raise InvalidValueError(
                    f"labels must be of {scores.shape[1]} videos and {scores.shape[2]} classes, got {len(labels)} and "
                    f"{labels.count}"
                )
            videos, classes = candidates(scores, self.top)
            rows.append(_features(scores, videos, classes))
            hits.append(labels.dense()[videos, classes])
        x, y = np.concatenate(rows or [np.empty((0, 1))]), np.concatenate(hits or [np.empty(0)]).astype(np.int64)
        return ForestVotesModel(self, self.forest.fit(x, y))


@dataclass(frozen=True, slots=True, eq=False)
class ForestVotesModel:
    """A forest that has seen pairs of videos and classes; its class 1 is yes."""

    recipe: ForestVotes
    forest: ForestModel

    @property
    def size_bytes(self) -> int:
        """Bytes of the trees."""
        return self.forest.size_bytes

    def macs(self, members: int, classes: int) -> int:
        """Comparisons for a video on the longest ways, at most: all models may have candidates of their own."""
        return self.forest.macs * min(classes, members * self.recipe.top)

    def combine(self, scores: Array) -> Array:
        """Scores float32 [M, B, K] → float32 [B, K]: what the trees say of each candidate, 0 of all else."""
        if len(checked_scores(scores)) != self.forest.dim:
            raise InvalidValueError(f"scores must be of {self.forest.dim} models, got {len(scores)}")
        made = np.zeros(scores.shape[1:], np.float32)
        videos, classes = candidates(scores, self.recipe.top)
        rows, place = np.unique(_features(scores, videos, classes), axis=0, return_inverse=True)
        said = self.forest.votes(rows) if self.recipe.vote == "mode" else self.forest.probabilities(rows)
        yes = said[:, self.forest.seen == 1].sum(axis=1)  # none where no candidate was ever right
        made[videos, classes] = yes[place.reshape(-1)]
        return made

    def save(self, folder: Path) -> None:
        """Write it into a folder, the forest into one of its own below."""
        self.forest.save(Path(folder) / _FOREST)
        save_model(folder, {}, {"spec": self.recipe.spec})


def checked_scores(scores: Array) -> Array:
    """Scores float32 [M, B, K] of one model or more, each in 0..1 or NaN; else InvalidValueError."""
    check_axes("scores", scores, "M B K", "float32")
    if not len(scores) or not scores.shape[2]:
        raise InvalidValueError(f"scores must be of one model and class at least, got {list(scores.shape)}")
    if ((scores < 0) | (scores > 1)).any():
        raise InvalidValueError(f"scores must be from 0 to 1, got {np.nanmin(scores):g} to {np.nanmax(scores):g}")
    return scores


def candidates(scores: Array, top: int) -> tuple[Array, Array]:
    """Videos int64 [P] and classes int64 [P] that stand among the `top` of any model, video by video, each pair once.

    scores: float32 [M, B, K]; a class that a model does not speak of (NaN) is none of its candidates.
    """
    kept = np.zeros(scores.shape[1:], bool)
    for own in scores:
        said = np.where(np.isnan(own), np.float32(-1), own)
        values, classes = top_scores(said, top)
        rows = np.repeat(np.arange(len(own)), classes.shape[1]).reshape(classes.shape)
        kept[rows[values >= 0], classes[values >= 0]] = True
    videos, found = np.nonzero(kept)
    return videos, found


def _features(scores: Array, videos: Array, classes: Array) -> Array:
    """The M scores of each pair, float32 [P, M]; what a model does not say is 0."""
    rows: Array = np.nan_to_num(scores[:, videos, classes].T, nan=0.0)
    return rows


def _chances(combined: Array) -> Array:
    made: Array = np.clip(combined, 0, 1).astype(np.float32)
    return made


def combining(spec: str) -> Mean | Max | ForestVotes:
    """The recipe of a spec: `mean`, `max`, `forest-votes/trees=1000,vote=mode`."""
    made: Mean | Max | ForestVotes = build(spec, "ensemble")
    return made


def load_combined(folder: Path) -> Combined:
    """What `save` wrote; raises RejectedFileError for anything else."""
    _, about = load_model(folder)
    spec = about.get("spec")
    if isinstance(spec, str) and spec.startswith("forest-votes"):
        recipe = expect_recipe(about, "ensemble", ForestVotes)
        forest = ForestModel.load(Path(folder) / _FOREST)
        insist(forest.recipe == recipe.forest, f"the forest of a model must be of {recipe.spec}")
        return ForestVotesModel(recipe, forest)
    made: type[Any] = Max if isinstance(spec, str) and spec.startswith("max") else Mean
    fixed: Combined = expect_recipe(about, "ensemble", made)
    return fixed


# -- several classifiers as one ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Together:
    """What an ensemble is, for people: `mean/absent=zero of moe/…, dbof/…`."""

    spec: str


@dataclass(frozen=True, eq=False)
class EnsembleClassifier:
    """Classifiers of the same labels that answer as one, over the union of their blocks.

    members: one at least · by: how they are combined, see `combining`
    """

    members: tuple[Answering, ...]
    by: Combined
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= _MOST_MEMBERS:
            raise InvalidValueError(f"an ensemble must have 1 to {_MOST_MEMBERS} members, got {len(self.members)}")
        first = self.members[0].label_names
        for at, each in enumerate(self.members[1:], 1):
            if each.label_names != first:
                raise InvalidValueError(
                    "members must have the same labels in the same order, got "
                    f"{_labels_apart(first, each.label_names, at + 1)}: fit them on the same data"
                )
        if isinstance(self.by, ForestVotesModel) and self.by.forest.dim != len(self.members):
            raise InvalidValueError(f"the forest was fitted for {self.by.forest.dim} members, got {len(self.members)}")
        _ = self.blocks

    @property
    def head(self) -> Together:
        """How they are combined, and what they are."""
        return Together(f"{self.by.recipe.spec} of {', '.join(each.head.spec for each in self.members)}")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All that any member reads, each once."""
        return united([each.blocks for each in self.members])

    @property
    def label_names(self) -> tuple[str, ...]:
        """Those of every member."""
        return self.members[0].label_names

    @property
    def classes(self) -> int:
        """K."""
        return len(self.label_names)

    @property
    def size_bytes(self) -> int:
        """Bytes of the members and of what combines them."""
        return self.by.size_bytes + sum(each.size_bytes for each in self.members)

    @property
    def macs(self) -> int:
        """Multiply–adds of the members, and operations of what combines them, for one item."""
        return self.by.macs(len(self.members), self.classes) + sum(each.macs for each in self.members)

    def macs_of(self, frames: int) -> int:
        """The same for an item of so many frames."""
        return self.by.macs(len(self.members), self.classes) + sum(each.macs_of(frames) for each in self.members)

    def view(self, examples: Examples, *, without: Sequence[str] = ()) -> Examples:
        """A set as the members together read it: see `answering.view_of`."""
        return view_of(self.blocks, examples, without)

    def scores(self, batch: Batch) -> Array:
        """Probabilities float32 [B, K] of a batch of these blocks (see `view`)."""
        return self.by.combine(self.each(batch))

    def each(self, batch: Batch) -> Array:
        """What every member says: float32 [M, B, K].

        Raises InvalidValueError for NaN: a table may lack answers, but a model that is asked has one for every class.
        """
        check_batch(batch, self.blocks)
        made = np.stack([own.scores(narrowed(batch, self.blocks, own.blocks)) for own in self.members])
        wrong = np.isnan(made).any(axis=(1, 2))
        if wrong.any():
            at = int(wrong.argmax())
            whose = f"member {at + 1}, {self.members[at].head.spec}"
            raise InvalidValueError(f"scores must be numbers, got NaN of {whose}: check what was scored")
        return made

    def save(self, folder: Path) -> None:
        """Write it into a folder with all members in it: it can be moved and needs nothing else."""
        folder = Path(folder)
        for at, own in enumerate(self.members):
            own.save(folder / _MEMBERS / str(at))
        self.by.save(folder / _BY)
        save_model(folder, {}, {
            "schema": SCHEMA,
            "members": len(self.members),
            "sha256_of": {place: file_sha256(folder / place / ABOUT) for place in _places(len(self.members))},
            "about": dict(self.about),
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.  Raises RejectedFileError for anything else, MissingAssetError."""
        folder = Path(folder)
        _, about = load_model(folder)
        insist(about.get("schema") == SCHEMA, f"an ensemble must say {SCHEMA}, got {about.get('schema')!r:.80}")
        count, digests, made = expect_count(about, "members"), about.get("sha256_of"), about.get("about")
        insist(count <= _MOST_MEMBERS, f"members of a model must be 1 to {_MOST_MEMBERS}, got {count}")
        insist(isinstance(made, dict), "about of a model must be an object")
        for place in _places(count):
            there = (folder / place / ABOUT).is_file()
            fits = there and isinstance(digests, dict) and digests.get(place) == file_sha256(folder / place / ABOUT)
            insist(fits, f"{place} of an ensemble must be what was saved with it")
        members = tuple(load_answering(folder / _MEMBERS / str(at)) for at in range(count))
        try:
            return cls(members, load_combined(folder / _BY), made or {})
        except InvalidValueError as error:
            raise RejectedFileError("damaged", f"members of a model: {str(error)[:200]}") from error


def _labels_apart(first: Sequence[str], other: Sequence[str], number: int) -> str:
    """How the labels of a member differ from those of the first."""
    for own, told, whose in ((other, first, f"member {number}"), (first, other, "member 1")):
        apart = sorted(set(own) - set(told))
        if apart:
            return f"{len(apart)} in {whose} alone, as {apart[0]!r}"
    at = next(at for at, (one, two) in enumerate(zip(first, other, strict=True)) if one != two)
    return f"{other[at]!r} in member {number} where member 1 has {first[at]!r}"


def _places(count: int) -> list[str]:
    """Folders of what an ensemble is made of."""
    return [*(f"{_MEMBERS}/{at}" for at in range(count)), _BY]


def united(lists: Sequence[Sequence[Block]]) -> tuple[Block, ...]:
    """Blocks of several models, each name once; raises InvalidValueError where two mean different things by a name."""
    found: dict[str, Block] = {}
    for block in (each for some in lists for each in some):
        own = found.setdefault(block.name, block)
        if (own.kind, own.dim) != (block.kind, block.dim) or (
            own.made_by and block.made_by and own.made_by != block.made_by
        ):
            raise InvalidValueError(
                f"{block.name} must be the same for all members, got {own} and {block}: fit them on the same data"
            )
        if block.made_by:
            found[block.name] = block
    return tuple(found.values())


def fit_ensemble(
    members: Sequence[Answering], recipe: Mean | Max | ForestVotes, examples: Examples | None = None, *,
    rows: int = 256, tell: Callable[[int], None] | None = None,
) -> EnsembleClassifier:  # fmt: skip
    """Classifiers combined by a recipe.

    examples: labelled ones that the members did not learn from; `mean` and `max` need none · rows: read at once
    tell: hears how many were scored, batch by batch.  Raises InvalidValueError.
    """
    bare = EnsembleClassifier(tuple(members), Mean())
    about = {"head": bare.head.spec.partition(" of ")[2], "by": recipe.spec, "data": ""}
    if not isinstance(recipe, ForestVotes):
        return EnsembleClassifier(bare.members, recipe, about)
    if examples is None or examples.labels is None or not len(examples.labels.classes):
        raise InvalidValueError(f"{recipe.spec} must learn from labelled examples, got none: give some with labels")
    if is_rated(examples):
        raise InvalidValueError(f"{recipe.spec} must know all classes of every item, got rated segments: take mean")
    if tuple(examples.label_names) != bare.label_names:
        raise InvalidValueError("examples must have the labels of the members in their order, got others")
    view = bare.view(examples)

    def scored() -> Iterable[Scored]:
        for at in range(0, len(view), rows):
            batch = view.batch(np.arange(at, min(at + rows, len(view))))
            assert batch.labels is not None
            yield bare.each(batch), batch.labels
            if tell:
                tell(len(batch))

    return EnsembleClassifier(
        bare.members, recipe.fit_batches(scored()), {**about, "data": examples.fingerprint}
    )  # fmt: skip
