"""Naive Bayes over single words: the seed's baseline, as its equation is printed and as it should read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_count, expect_recipe, insist, load_model, save_model
from lightmeter.errors import InvalidValueError
from lightmeter.parts import Spelled
from lightmeter.types import Array, Labels, check_axes

_ROWS_AT_ONCE = 1 << 16
_ROWS_SCORED = 64


@dataclass(frozen=True)
class Unigram(Spelled):
    """Words are drawn one by one from a distribution of their label; add-alpha smoothing.

    fit: tokens int32 [N, L] (numbers 1..V, 0 where there is none) and labels of N videos; a word that stands twice
    counts twice. Cost: O(words · labels a video), sparse: only pairs that were seen are kept.
    `paper`, equation (3) to the letter: P(l) = n(l)/n, P(w|l) = (n(w,l) + α)/(n(l) + α·K), where n(l) counts videos and
    K labels. Neither is a distribution: for YouTube-8M's 8.23 words a video the P(w|l) sum to 8 to 9, the P(l) to the
    labels a video.
    `corrected`: P(l) = n(l)/Σ n, P(w|l) = (n(w,l) + α)/(words(l) + α·V), each sums to 1.
    The published code is neither: it weighs the prior once for each word, and scores by (greatest sum)/(sum).
    Source: seed 003, section 3.2.
    """

    alpha: float = 0.001
    form: Literal["paper", "corrected"] = "paper"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise InvalidValueError(f"alpha must be above 0 and finite, got {self.alpha}")
        if self.form not in ("paper", "corrected"):
            raise InvalidValueError(f"form must be paper or corrected, got {self.form!r}")

    def fit(self, tokens: Array, labels: Labels, *, vocabulary: int | None = None) -> UnigramModel:
        """Count. vocabulary: V, by default the highest number that there is."""
        rows = _checked(tokens, None)
        if len(rows) != len(labels) or not len(rows):
            raise InvalidValueError(f"tokens and labels must be of the same items, got {len(rows)} and {len(labels)}")
        if not len(labels.classes):
            raise InvalidValueError("labels must hold at least one label of one video, got none")
        words = int(rows.max(initial=1)) if vocabulary is None else vocabulary
        _checked(rows, words)
        keys, counts = _pairs(rows, labels)
        videos = np.bincount(labels.classes, minlength=labels.count).astype(np.int64)
        starts = np.searchsorted(keys, np.arange(words + 2) * labels.count)
        classes = (keys % labels.count).astype(np.int32)
        return UnigramModel(self, starts.astype(np.int64), classes, counts, videos, len(rows))


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

    def save(self, folder: Path) -> None:
        """Write it into a folder as safetensors and JSON."""
        save_model(folder, self._arrays(), {"spec": self.recipe.spec, "classes": len(self.videos), "total": self.total})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; raises RejectedFileError for anything else."""
        arrays, about = load_model(folder)
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


def _checked(tokens: Array, most: int | None) -> Array:
    check_axes("tokens", tokens, "N L")
    if tokens.dtype.kind not in "iu" or (tokens.size and tokens.min() < 0):
        raise InvalidValueError("tokens must be whole numbers, 1 and up for words and 0 for none")
    if most is not None and (most < 1 or (tokens.size and tokens.max() > most)):
        raise InvalidValueError(f"tokens must be at most the vocabulary {most}, got {tokens.max(initial=0)}")
    return tokens


def _pairs(tokens: Array, labels: Labels) -> tuple[Array, Array]:
    """word · K + label of each pair that was seen, rising, int64 [P]; and how often, int64 [P]."""
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for at in range(0, len(tokens), _ROWS_AT_ONCE):
        some = tokens[at : at + _ROWS_AT_ONCE]
        here = labels.take(np.arange(at, at + len(some)))
        row, place = np.nonzero(some)
        words = some[row, place].astype(np.int64)
        lengths = np.diff(here.offsets)[row]
        ends = np.cumsum(lengths)
        of = here.classes[np.arange(lengths.sum()) + np.repeat(here.offsets[:-1][row] - ends + lengths, lengths)]
        new, times = np.unique(np.repeat(words, lengths) * labels.count + of, return_counts=True)
        merged, places = np.unique(np.concatenate([keys, new]), return_inverse=True)
        counts = np.bincount(places, np.concatenate([counts, times]), len(merged)).astype(np.int64)
        keys = merged
    return keys, counts
