"""Naive Bayes over single words: the seed's baseline, as its equation is printed and as it should read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np

from lightmeter.assets.saving import expect, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.encoders.word_tokens import WordTokens
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError
from lightmeter.heads.answering import check_batch, loaded_blocks, loaded_names, view_of
from lightmeter.heads.examples import Batch, Block, BlockKind, Examples, is_rated
from lightmeter.heads.net_head import check_blocks
from lightmeter.parts import Spelled, build
from lightmeter.types import Array, Labels, check_axes

SCHEMA = "lightmeter.unigram/1"
_ROWS_AT_ONCE = 1 << 16
_ROWS_READ = 1024
_ROWS_SCORED = 64


@dataclass(frozen=True)
class Unigram(Spelled):
    """Words are drawn one by one from a distribution of their label; add-alpha smoothing.

    fit: examples with blocks of tokens, all words of a video taken together; or tokens int32 [N, L] (numbers 1..V, 0
    where there is none) and labels of N videos. A word that stands twice counts twice. Of examples only
    those with a word are learnt from and counted (`model.total`), as in the seed; asked of one without, it answers with
    the prior. V is the highest number that there is.
    Cost: O(words · labels a video), sparse: only pairs that were seen are kept.
    `paper`, equation (3) to the letter: P(l) = n(l)/n, P(w|l) = (n(w,l) + α)/(n(l) + α·K), where n(l) counts videos and
    K labels. Neither is a distribution: for YouTube-8M's 8.23 words a video the P(w|l) sum to 8 to 9, the P(l) to the
    labels a video.
    `corrected`: P(l) = n(l)/Σ n, P(w|l) = (n(w,l) + α)/(words(l) + α·V), each sums to 1.
    The published code is neither: it weighs the prior once for each word, and scores by (greatest sum)/(sum).
    Source: seed 003, section 3.2.
    """

    alpha: float = 0.001
    form: Literal["paper", "corrected"] = "paper"
    takes: ClassVar[tuple[BlockKind, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise InvalidValueError(f"alpha must be above 0 and finite, got {self.alpha}")
        if self.form not in ("paper", "corrected"):
            raise InvalidValueError(f"form must be paper or corrected, got {self.form!r}")

    @overload
    def fit(self, examples: Examples, *, about: Mapping[str, Any] | None = None) -> UnigramClassifier: ...

    @overload
    def fit(self, examples: Array, labels: Labels, *, vocabulary: int | None = None) -> UnigramModel: ...

    def fit(
        self, examples: Examples | Array, labels: Labels | None = None, *, vocabulary: int | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> UnigramModel | UnigramClassifier:  # fmt: skip
        """Count. vocabulary: V, by default the highest number that there is.  Raises InvalidValueError."""
        if isinstance(examples, np.ndarray):
            if labels is None:
                raise InvalidValueError("tokens must come with labels: pass both, or examples that hold both")
            return self._of_tokens(examples, labels, vocabulary)
        check_blocks(self, examples.blocks)
        _check_numbers(examples.blocks)
        if examples.labels is None or not len(examples.labels.classes):
            raise InvalidValueError("examples must have labels to be learnt from, got none of them labelled")
        if is_rated(examples):
            raise InvalidValueError("counts must know all classes of every item, got segments rated in part: take moe")
        model = self._counted(_runs(examples), len(examples.label_names))
        if not model.videos.any():
            raise InvalidValueError("examples must have words and labels to be learnt from, got none with both")
        return UnigramClassifier(self, tuple(examples.blocks), tuple(examples.label_names), model, about or {})

    def _of_tokens(self, tokens: Array, labels: Labels, vocabulary: int | None) -> UnigramModel:
        rows = _checked(tokens, vocabulary)
        if len(rows) != len(labels) or not len(rows):
            raise InvalidValueError(f"tokens and labels must be of the same items, got {len(rows)} and {len(labels)}")
        if not len(labels.classes):
            raise InvalidValueError("labels must hold at least one label of one video, got none")
        parts = (
            (rows[at : at + _ROWS_AT_ONCE], labels.take(np.arange(at, min(at + _ROWS_AT_ONCE, len(rows)))))
            for at in range(0, len(rows), _ROWS_AT_ONCE)
        )
        return self._counted(parts, labels.count, vocabulary)

    def _counted(self, parts: Iterable[tuple[Array, Labels]], classes: int, words: int | None = None) -> UnigramModel:
        """Tokens int32 [n, L] and labels of n videos, part by part."""
        keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
        videos, total, highest = np.zeros(classes, np.int64), 0, 1
        for tokens, labels in parts:
            keys, counts = _merged(keys, counts, *_pairs(tokens, labels))
            videos += np.bincount(labels.classes, minlength=classes)
            total, highest = total + len(tokens), max(highest, int(tokens.max(initial=0)))
        vocabulary = highest if words is None else words
        starts = np.searchsorted(keys, np.arange(vocabulary + 2) * classes)
        return UnigramModel(self, starts.astype(np.int64), (keys % classes).astype(np.int32), counts, videos, total)


@dataclass(frozen=True, slots=True, eq=False)
class UnigramModel:
    """What was counted, word by word.

    starts: int64 [V + 2], where the pairs of word w begin; word 0 has none · classes: int32 [P] · counts: int64 [P]
    videos: int64 [K], those of each label · total: all videos
    """

    recipe: Unigram
    starts: Array
    classes: Array
    counts: Array
    videos: Array
    total: int

    @property
    def vocabulary(self) -> int:
        """Words that were numbered, V."""
        return len(self.starts) - 2

    @property
    def macs(self) -> int:
        """None: a video costs one addition for each pair of its words and a label that they were seen with."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self._arrays().values())

    def log_prior(self) -> Array:
        """log P(l), float64 [K]; −inf for a label without a video."""
        all_of = self.total if self.recipe.form == "paper" else self.videos.sum()
        with np.errstate(divide="ignore"):
            prior: Array = np.log(self.videos / max(1, all_of))
        return prior

    def log_joint(self, tokens: Array) -> Array:
        """log P(l) + Σ log P(w|l) of videos int32 [N, L] → float64 [N, K]; a number above V is no word."""
        rows = _checked(tokens, None)
        alpha, below = self.recipe.alpha, self._log_below()
        words = np.where(rows > self.vocabulary, 0, rows)
        made: Array = self.log_prior() + (words > 0).sum(axis=1)[:, None] * (np.log(alpha) - below)
        at, places = np.nonzero(words)[0], self._places(words[words > 0])
        of = np.repeat(at, np.diff(self.starts)[words[words > 0]])
        gains = np.log1p(self.counts[places] / alpha)
        made += np.bincount(of * len(self.videos) + self.classes[places], gains, len(rows) * len(self.videos)).reshape(
            made.shape
        )
        return made

    def _log_below(self) -> Array:
        """The log of what P(w|l) is divided by, [K]."""
        classes, alpha = len(self.videos), self.recipe.alpha
        if self.recipe.form == "paper":
            below: Array = self.videos + alpha * classes
        else:
            below = np.bincount(self.classes, self.counts, classes) + alpha * self.vocabulary
        logs: Array = np.log(below)
        return logs

    def _places(self, words: Array) -> Array:
        """Where the pairs of these words lie, one after the other."""
        starts, lengths = self.starts[words], np.diff(self.starts)[words]
        ends = np.cumsum(lengths)
        shifts = np.repeat(starts - ends + lengths, lengths)
        places: Array = np.arange(len(shifts)) + shifts
        return places

    def scores(self, tokens: Array) -> Array:
        """Videos int32 [N, L] → float32 [N, K], P(l | words) normalised over the labels, so that videos compare.

        A video without a known word gets the prior: leave it out where only videos with text count, as the seed does.
        """
        made = np.empty((len(tokens), len(self.videos)), np.float32)
        for at in range(0, len(tokens), _ROWS_SCORED):
            logs = self.log_joint(tokens[at : at + _ROWS_SCORED])
            shares = np.exp(logs - logs.max(axis=1, keepdims=True))
            made[at : at + _ROWS_SCORED] = shares / shares.sum(axis=1, keepdims=True)
        return made

    def predict(self, tokens: Array) -> Array:
        """Videos int32 [N, L] → int64 [N], the likeliest label, the lowest among equals."""
        best: Array = self.scores(tokens).argmax(axis=1)
        return best

    def _arrays(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in ("starts", "classes", "counts", "videos")}

    def save(self, folder: Path, **more: Any) -> None:
        """Write it into a folder as safetensors and JSON; more: what else is to stand in the JSON."""
        facts = {"spec": self.recipe.spec, "classes": len(self.videos), "total": self.total}
        save_model(folder, self._arrays(), {**more, **facts})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        return cls.read(*load_model(folder))

    @classmethod
    def read(cls, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Self:
        """What `assets.saving.load_model` gave of a folder that `save` wrote; RejectedFileError for anything else."""
        recipe, total = expect_recipe(about, "head", Unigram), expect_count(about, "total")
        starts = expect(arrays, "starts", "int64", None)
        insist(
            len(starts) > 2 and not starts[:2].any() and (starts[1:] >= starts[:-1]).all(), "starts must rise from 0"
        )
        pairs, classes = int(starts[-1]), expect_count(about, "classes")
        videos = expect(arrays, "videos", "int64", classes)
        insist(videos.min() >= 0 and 0 < videos.max() <= total, f"videos of a model must be 0 to {total}, some above 0")
        of, counts = expect(arrays, "classes", "int32", pairs), expect(arrays, "counts", "int64", pairs)
        insist(not pairs or (of.min() >= 0 and of.max() < classes), f"classes of a model must be 0 to {classes - 1}")
        insist(not pairs or counts.min() > 0, "counts of a model must be above 0")
        return cls(recipe, starts, of, counts, videos, total)


@dataclass(frozen=True, eq=False)
class UnigramClassifier:
    """Counts, and the blocks and labels that they are of: what `fit` of examples gives (see `heads.answering`)."""

    head: Unigram
    blocks: tuple[Block, ...]
    label_names: tuple[str, ...]
    model: UnigramModel
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """K."""
        return len(self.label_names)

    @property
    def size_bytes(self) -> int:
        """Bytes of the counts."""
        return self.model.size_bytes

    @property
    def macs(self) -> int:
        """L·K at most: an addition for each word and each label that it was seen with."""
        return sum(block.dim for block in self.blocks) * self.classes

    def macs_of(self, frames: int) -> int:
        """The same: it reads no frames."""
        return self.macs

    def view(self, examples: Examples, *, without: Sequence[str] = ()) -> Examples:
        """A set as it reads it: see `answering.view_of`."""
        return view_of(self.blocks, examples, without)

    def scores(self, batch: Batch) -> Array:
        """P(l | words) float32 [B, K] of a batch of its blocks (see `view`), rows sum to 1; the prior without words."""
        check_batch(batch, self.blocks)
        return self.model.scores(words_of(batch, self.blocks))

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        blocks = [{"name": b.name, "kind": b.kind, "dim": b.dim, "made_by": b.made_by} for b in self.blocks]
        self.model.save(
            folder, schema=SCHEMA, blocks=blocks, label_names=list(self.label_names), about=dict(self.about)
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.  Raises RejectedFileError for anything else, MissingAssetError."""
        arrays, about = load_model(folder)
        insist(about.get("schema") == SCHEMA, f"a unigram must say {SCHEMA}, got {about.get('schema')!r:.80}")
        model, blocks, names = UnigramModel.read(arrays, about), loaded_blocks(about), loaded_names(about)
        insist(len(model.videos) == len(names), f"classes of a model must be its {len(names)} labels")
        made = about.get("about")
        insist(isinstance(made, dict), "about of a model must be an object")
        try:
            check_blocks(model.recipe, blocks)
        except InvalidValueError as error:
            raise RejectedFileError("damaged", f"blocks of a model: {str(error)[:200]}") from error
        return cls(model.recipe, blocks, names, model, made or {})


def words_of(batch: Batch, blocks: Sequence[Block]) -> Array:
    """The words of all blocks of tokens side by side, int32 [B, L]; absent ones are 0."""
    return np.concatenate(
        [np.where(batch.present[:, at : at + 1], batch.values[each.name], 0) for at, each in enumerate(blocks)], axis=1
    )


def _runs(examples: Examples) -> Iterator[tuple[Array, Labels]]:
    """The words and labels of those that have words, some 65,536 at a time."""
    rows: list[Array] = []
    some: list[Array] = []
    assert examples.labels is not None, "the caller sees to it"
    for at in range(0, len(examples), _ROWS_READ):
        numbers = np.arange(at, min(at + _ROWS_READ, len(examples)))
        tokens = _checked(words_of(examples.batch(numbers), examples.blocks), None)
        there = tokens.any(axis=1)
        rows.append(numbers[there])
        some.append(tokens[there])
        if len(rows) * _ROWS_READ >= _ROWS_AT_ONCE or numbers[-1] + 1 == len(examples):
            yield np.concatenate(some), examples.labels.take(np.concatenate(rows))
            rows, some = [], []


def _check_numbers(blocks: Sequence[Block]) -> None:
    """Several blocks are read as one text: the same number must be the same word in all of them."""
    known: dict[str, str] = {}
    for block in blocks:
        try:
            maker = build(block.made_by, "encoder") if block.made_by else None
        except LightmeterError:
            continue
        if isinstance(maker, WordTokens):
            known.setdefault(maker.vectors, block.name)
    if len(known) > 1:
        (one, first), (other, second) = list(known.items())[:2]
        raise InvalidValueError(
            f"blocks must number the same words, got {first} by {one} and {second} by {other}: choose with --blocks"
        )


def _checked(tokens: Array, most: int | None) -> Array:
    check_axes("tokens", tokens, "N L")
    if tokens.dtype.kind not in "iu" or (tokens.size and tokens.min() < 0):
        raise InvalidValueError("tokens must be whole numbers, 1 and up for words and 0 for none")
    if most is not None and (most < 1 or (tokens.size and tokens.max() > most)):
        raise InvalidValueError(f"tokens must be at most the vocabulary {most}, got {tokens.max(initial=0)}")
    return tokens


def _pairs(tokens: Array, labels: Labels) -> tuple[Array, Array]:
    """word · K + label of each pair that was seen, rising, int64 [P]; and how often, int64 [P]."""
    row, place = np.nonzero(tokens)
    words = tokens[row, place].astype(np.int64)
    lengths = np.diff(labels.offsets)[row]
    ends = np.cumsum(lengths)
    of = labels.classes[np.arange(lengths.sum()) + np.repeat(labels.offsets[:-1][row] - ends + lengths, lengths)]
    return np.unique(np.repeat(words, lengths) * labels.count + of, return_counts=True)


def _merged(keys: Array, counts: Array, more: Array, times: Array) -> tuple[Array, Array]:
    """Pairs and how often of both together, rising."""
    merged, places = np.unique(np.concatenate([keys, more]), return_inverse=True)
    return merged, np.bincount(places, np.concatenate([counts, times]), len(merged)).astype(np.int64)
