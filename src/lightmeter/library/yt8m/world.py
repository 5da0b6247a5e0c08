"""A made-up world with the statistics of YouTube-8M: how often each class comes, what goes together, words, features.

Everything is drawn from a seed. It is for load and regression tests only: the features come from a model of our own
making, so that no quality measured on them says anything about real videos.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lightmeter.assets.finding import find
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.types import Array, Labels

VISUAL = Block("visual", "features", 1024, "yt8m-generated")
AUDIO = Block("audio", "features", 128, "yt8m-generated")
LATENT = 64
WORDS_A_CLASS = 12
KEYWORDS_A_VIDEO = 8.23
CONDITIONAL = 0.45
"""Share of the keywords that come from the video's classes."""
WITH_KEYWORDS, WITH_TITLE, WITH_BOTH = 2.578 / 3.905, 3.084 / 3.905, 2.473 / 3.905
"""Share of the training videos that have English keywords, an English title, both.  Source: seed 003, table 1."""
TOP_SHARE = 0.4
MOST_EXPONENT, MOST_EXTRA = 4.0, 64.0
"""Where the searches for the Zipf exponent and for the number of further draws end."""
_PARENTED = 0.75  # how often a label brings its parent along
_ROOTS = 25  # the commonest classes have no parents


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a generated set should measure.

    classes: K · labels_per_video: mean, above 1 · top_share: of all labels, the share of the ten commonest classes
    None: 3.4 labels for the 4,716 classes of 2017, else 3.0, of fewer than 9 classes 1 + (K - 1) / 4; a share of 0.4,
    of fewer than 100 classes what Zipf's law with the exponent 1 gives
    """

    classes: int = 3862
    labels_per_video: float | None = None
    top_share: float | None = None

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= 100_000:
            raise InvalidValueError(f"classes must be 2 to 100000, got {self.classes}")
        most = max(self.classes / 3, 1 + (self.classes - 1) / 4)
        if not 1 <= self.labels <= most:
            raise InvalidValueError(
                f"labels_per_video must be 1 to {math.floor(100 * most) / 100} with {self.classes} classes, got "
                f"{self.labels}"
            )
        if self.top_share is not None and self.classes <= 10:
            raise InvalidValueError(
                f"top_share must be left out with {self.classes} classes, got {self.top_share}: the ten commonest have "
                "all labels"
            )
        if self.top_share is not None and not 0 < self.top_share < 1:
            raise InvalidValueError(f"top_share must be within 0 and 1, got {self.top_share}")

    @property
    def labels(self) -> float:
        """Labels a video."""
        if self.labels_per_video is not None:
            return self.labels_per_video
        return min(3.4 if self.classes == 4716 else 3.0, 1 + (self.classes - 1) / 4)

    @property
    def share(self) -> float | None:
        """Share of the ten commonest classes; None where so few classes leave nothing to fit."""
        if self.top_share is not None:
            return self.top_share
        return TOP_SHARE if self.classes >= 100 else None


@dataclass(frozen=True, eq=False)
class World:
    """Classes with their frequencies, parents, prototypes and words.

    chances: float64 [K] of a class when one is drawn, falling · parents: int64 [K], -1: none
    follows: how often a drawn class brings its parent · extra: mean of the Poisson number of draws after the first
    """

    statistics: Statistics
    seed: int
    chances: Array
    parents: Array
    follows: float
    extra: float

    @cached_property
    def cumulative(self) -> Array:
        """float64 [K]."""
        made: Array = np.cumsum(self.chances) / self.chances.sum()
        return made

    @cached_property
    def prototypes(self) -> Array:
        """float32 [K, 64]: a child lies near its parent."""
        made = _rng(self.seed, 1).standard_normal((self.statistics.classes, LATENT), dtype=np.float32)
        for child in np.flatnonzero(self.parents >= 0).tolist():  # parents come before their children
            made[child] = 0.6 * made[self.parents[child]] + 0.8 * made[child]
        return made

    @cached_property
    def views(self) -> tuple[Array, Array]:
        """float32 [64, 1024] and [64, 128]: how latents look and sound."""
        rng = _rng(self.seed, 2)
        made = [rng.standard_normal((LATENT, block.dim), dtype=np.float32) / 8 for block in (VISUAL, AUDIO)]
        return made[0], made[1]

    @cached_property
    def words(self) -> Array:
        """int64 [K, 12] into the vocabulary: words of each class, the first is its name."""
        rng = _rng(self.seed, 3)
        count = len(vocabulary())
        made = rng.integers(0, count, (self.statistics.classes, WORDS_A_CLASS))
        order = rng.permutation(count)
        made[:, 0] = np.resize(order, self.statistics.classes)
        return made

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """One name a class: its first word, where that is taken already its first two or three."""
        words, taken = vocabulary(), dict[str, None]()
        for row in self.words.tolist():
            parts = [words[each].capitalize() for each in row]
            length = 1
            while (name := " ".join(parts[:length])) in taken:
                length += 1
            taken[name] = None
        return tuple(taken)

    def draw_labels(self, count: int, rng: np.random.Generator) -> Labels:
        """Labels of some videos: draws from the frequencies, each with its parent now and then, doubles once."""
        draws = 1 + rng.poisson(self.extra, count)
        rows = np.repeat(np.arange(count), draws)
        drawn = np.minimum(np.searchsorted(self.cumulative, rng.random(len(rows)), side="right"), len(self.chances) - 1)
        brings = (self.parents[drawn] >= 0) & (rng.random(len(rows)) < self.follows)
        keys = np.concatenate([rows, rows[brings]]) * len(self.chances)
        keys = np.unique(keys + np.concatenate([drawn, self.parents[drawn[brings]]]))
        offsets = np.searchsorted(keys, np.arange(count + 1) * len(self.chances))
        return Labels(offsets.astype(np.int64), (keys % len(self.chances)).astype(np.int32), len(self.chances))

    def latents(self, labels: Labels) -> Array:
        """float32 [N, 64]: the prototypes of a video's classes, added and brought to one length."""
        counts = np.diff(labels.offsets)
        made: Array = np.add.reduceat(self.prototypes[labels.classes], labels.offsets[:-1], axis=0)
        return made / np.sqrt(counts, dtype=np.float32)[:, None]

    def features(self, latents: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """What is seen and heard: float32 [N, 1024] and [N, 128], -1 to 1; sound says less than sight."""
        visual, audio = self.views
        seen = (latents + 1.1 * rng.standard_normal(latents.shape, dtype=np.float32)) @ visual
        heard = (latents + 3.0 * rng.standard_normal(latents.shape, dtype=np.float32)) @ audio
        return _squashed(seen, rng), _squashed(heard, rng)

    def draw_words(self, ids: list[str], labels: Labels, rng: np.random.Generator) -> list[dict[str, object]]:
        """One line a video: `id`, and `title` and `keywords` where they are known.

        Poisson(8.23) keywords, 45 % of them words of the video's classes; a title names one class and adds a few words.
        """
        known = rng.random(len(ids))
        keyworded = known < WITH_KEYWORDS
        titled = (known < WITH_BOTH) | ((known >= WITH_KEYWORDS) & (known < WITH_KEYWORDS + WITH_TITLE - WITH_BOTH))
        keywords = self._texts(np.maximum(1, rng.poisson(KEYWORDS_A_VIDEO, len(ids))), labels, rng)
        titles = self._texts(2 + rng.poisson(2.5, len(ids)), labels, rng)
        lines: list[dict[str, object]] = []
        for at, name in enumerate(ids):
            line: dict[str, object] = {"id": name}
            if titled[at]:
                line["title"] = " ".join(titles[at]).capitalize()
            if keyworded[at]:
                line["keywords"] = keywords[at]
            lines.append(line)
        return lines

    def _texts(self, lengths: Array, labels: Labels, rng: np.random.Generator) -> list[list[str]]:
        """Some words for each video."""
        words, total = vocabulary(), int(lengths.sum())
        rows = np.repeat(np.arange(len(lengths)), lengths)
        counts = np.diff(labels.offsets)
        of_class = labels.classes[labels.offsets[rows] + (rng.random(total) * counts[rows]).astype(np.int64)]
        own = self.words[of_class, (rng.random(total) ** 2 * WORDS_A_CLASS).astype(np.int64)]
        common = np.minimum((rng.pareto(0.9, total) * 20).astype(np.int64), len(words) - 1)
        drawn = np.where(rng.random(total) < CONDITIONAL, own, common).tolist()
        ends = np.cumsum(lengths).tolist()
        return [[words[each] for each in drawn[end - n : end]] for end, n in zip(ends, lengths.tolist(), strict=True)]


def make_world(statistics: Statistics, seed: int) -> World:
    """A world whose expected labels a video and top-10 share are those asked for.

    With k = 1 + Poisson(m) draws, a draw bringing class c with r_c = p_c + f * sum of p over its children, a video
    has c with 1 - (1 - r_c) * exp(-m * r_c): both figures are exact sums, and the Zipf exponent of p and m are
    found by bisection.  Cost: milliseconds.  Raises InvalidValueError, which says what can be had, where no exponent
    gives the share, or no number of draws the labels.
    """
    rng, count = _rng(seed, 0), statistics.classes
    parents = np.full(count, -1, np.int64)
    roots = min(_ROOTS, max(1, count // 4))
    parents[roots:] = [int(rng.integers(0, max(1, min(child // 4, 400)))) for child in range(roots, count)]
    follows = min(_PARENTED, _PARENTED * (statistics.labels - 1))
    low, high = 0.0, MOST_EXPONENT
    exponent = 1.0
    for _ in range(50 if statistics.share is not None else 0):
        exponent = (low + high) / 2
        chances = _zipf(count, exponent)
        share = _share(chances, parents, follows, _extra(chances, parents, follows, statistics.labels))
        low, high = (exponent, high) if share < (statistics.share or 0) else (low, exponent)
    chances = _zipf(count, exponent)
    extra = _extra(chances, parents, follows, statistics.labels)
    fits = abs(_expected(chances, parents, follows, extra).sum() - statistics.labels) <= 0.01 * statistics.labels
    if statistics.share is not None:
        fits = fits and abs(_share(chances, parents, follows, extra) - statistics.share) <= 0.005
    if not fits:
        raise _out_of_reach(statistics, parents, follows)
    return World(statistics, seed, chances, parents, follows, extra)


def _out_of_reach(statistics: Statistics, parents: Array, follows: float) -> InvalidValueError:
    """What can be had: shares from that of equal chances to that of the steepest law which still gives the labels."""
    count, labels = statistics.classes, statistics.labels
    if statistics.share is None or _most_labels(_zipf(count, 0.0), parents, follows) < labels:
        exponent = 1.0 if statistics.share is None else 0.0
        most = math.floor(100 * _most_labels(_zipf(count, exponent), parents, follows)) / 100
        return InvalidValueError(f"labels_per_video must be 1 to {most} with {count} classes, got {labels}")
    low, high = 0.0, MOST_EXPONENT
    for _ in range(50 if _most_labels(_zipf(count, high), parents, follows) < labels else 0):
        middle = (low + high) / 2
        few = _most_labels(_zipf(count, middle), parents, follows) < labels
        low, high = (low, middle) if few else (middle, high)
    least, most = (
        _share(chances, parents, follows, _extra(chances, parents, follows, labels))
        for chances in (_zipf(count, 0.0), _zipf(count, high))
    )
    least = math.ceil(1000 * least) / 1000
    most = max(least, math.floor(1000 * most) / 1000)
    return InvalidValueError(
        f"top_share must be {least} to {most} with {count} classes and {labels} labels a video, got {statistics.share}"
    )


def _rng(seed: int, *path: int) -> np.random.Generator:
    return np.random.default_rng([seed, *path])


def _zipf(count: int, exponent: float) -> Array:
    made: Array = np.arange(1, count + 1) ** -exponent
    made /= made.sum()
    return made


def _expected(chances: Array, parents: Array, follows: float, extra: float) -> Array:
    """Share of the videos that have each class."""
    reach = chances.copy()
    children = parents >= 0
    np.add.at(reach, parents[children], follows * chances[children])
    return 1 - (1 - reach) * np.exp(-extra * reach)


def _share(chances: Array, parents: Array, follows: float, extra: float) -> float:
    expected = np.sort(_expected(chances, parents, follows, extra))
    return float(expected[-10:].sum() / expected.sum())


def _most_labels(chances: Array, parents: Array, follows: float) -> float:
    return float(_expected(chances, parents, follows, MOST_EXTRA).sum())


def _extra(chances: Array, parents: Array, follows: float, labels: float) -> float:
    """The mean number of further draws that gives so many labels a video."""
    low, high = 0.0, MOST_EXTRA
    for _ in range(50):
        middle = (low + high) / 2
        few = _expected(chances, parents, follows, middle).sum() < labels
        low, high = (middle, high) if few else (low, middle)
    return (low + high) / 2


def _squashed(values: Array, rng: np.random.Generator) -> Array:
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    noise *= np.float32(0.3)
    values *= np.float32(0.35)
    values += noise
    return np.tanh(values, out=values)


@cache
def vocabulary() -> tuple[str, ...]:
    """21,358 English words of three letters or more, the commonest first: the whole words of a packaged tokeniser.

    The seed's set has about 48,000.  Cost: 50 ms, once.
    """
    said = json.loads(find("bge-small-tokenizer").read_text("utf-8"))["model"]["vocab"]
    return tuple(word for word in sorted(said, key=said.__getitem__) if re.fullmatch("[a-z]{3,}", word))
