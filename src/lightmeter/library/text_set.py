"""The seed's text set: titles and keywords joined to videos, and an account of what was lost on the way and why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.encoders.cleaning import clean_keywords, clean_title
from lightmeter.encoders.english import English
from lightmeter.encoders.text_words import TextOptions
from lightmeter.errors import InvalidValueError
from lightmeter.library.text_files import VideoText
from lightmeter.report.plots import bars_png
from lightmeter.types import Array, Labels

STEPS = ("kept", "gone", "not embeddable", "none given", "not English", "no word vector", "label words only")
"""Why a title, or all keywords, are not there: in the order of the steps, 0 for those that are."""
GONE, NOT_EMBEDDABLE, NONE_GIVEN, NOT_ENGLISH, NO_VECTOR, LABELS_ONLY = range(1, len(STEPS))
SEED_SHARE = 1.000 / 4.905
"""Of the training videos that the seed set aside to tune on (its table 1, in millions)."""


@dataclass(frozen=True, slots=True, eq=False)
class TextSet:
    """Words of N videos that have passed cleaning, the English filter and the word vectors.

    titles, keywords: the words of each, in order, () where nothing is left
    lost: uint8 [N, 2], at which of `STEPS` the title and the keywords were lost, 0 where they are there
    options: how they were made; the encoders `tokens` and `word-histogram` with these give the same words
    """

    ids: tuple[str, ...]
    titles: tuple[tuple[str, ...], ...]
    keywords: tuple[tuple[str, ...], ...]
    lost: Array
    options: TextOptions

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Array) -> TextSet:
        """Some videos: int [R], or bool [N]."""
        rows = np.arange(len(self))[rows]
        ids, titles, keywords = (
            tuple(self.ids[row] for row in rows),
            tuple(self.titles[row] for row in rows),
            tuple(self.keywords[row] for row in rows),
        )
        return TextSet(ids, titles, keywords, self.lost[rows], self.options)

    def with_words(
        self, titles: Sequence[tuple[str, ...]], keywords: Sequence[tuple[str, ...]], *, step: int
    ) -> TextSet:
        """Other words for the same videos; what has none left was lost at this step."""
        lost = self.lost.copy()
        for column, lists in enumerate((titles, keywords)):
            empty = np.array([not words for words in lists], bool)
            lost[:, column] = np.where((lost[:, column] == 0) & empty, step, lost[:, column])
        return replace(self, titles=tuple(titles), keywords=tuple(keywords), lost=lost)

    @property
    def counts(self) -> dict[str, int | float]:
        """The numbers of the seed's table 1 and of its section 3.1."""
        title, keywords = self.lost[:, 0] == 0, self.lost[:, 1] == 0
        words = sum(map(len, self.keywords))
        return {
            "videos": len(self),
            "with keywords": int(keywords.sum()),
            "with title": int(title.sum()),
            "with both": int((title & keywords).sum()),
            "unique keywords": len({word for each in self.keywords for word in each}),
            "keywords a video": words / max(1, int(keywords.sum())),
        }

    def losses(self) -> list[dict[str, Any]]:
        """A row a step, in order: how many titles, keywords and pairs of both were lost at it, and are left after it.

        A pair is lost where the first of the two is. Shares are of all videos.
        """
        both = np.where((self.lost > 0).any(axis=1), np.where(self.lost > 0, self.lost, len(STEPS)).min(axis=1), 0)
        lost = {"titles": self.lost[:, 0], "keywords": self.lost[:, 1], "both": both}
        rows: list[dict[str, Any]] = [{"step": "all videos", **{f"{name} left": len(self) for name in lost}}]
        for step, reason in enumerate(STEPS[1:], 1):
            row: dict[str, Any] = {"step": reason}
            for name, at in lost.items():
                left = int(((at == 0) | (at > step)).sum())
                row |= {f"{name} lost": int((at == step).sum()), f"{name} left": left}
                row[f"{name} left, share"] = left / max(1, len(self))
            rows.append(row)
        return rows


def text_set(
    ids: Iterable[str],
    texts: Iterable[VideoText],
    options: TextOptions,
    *,
    embeddable_only: bool = False,
    lexicon: Container[str] = frozenset(),
) -> TextSet:
    """Join texts to the ids of a set of videos; clean them, keep what is English and has a word vector.

    A video without a text is gone; of a video that comes twice the first text counts; others' texts are passed over.
    embeddable_only: leave out what may not be embedded, as the seed had to
    lexicon: English words, to tell with `english=names` what is not English from what only lacks a vector
    Cost: 50 to 100 µs a video; memory: a tuple of shared words a video, about 250 bytes.
    """
    names = tuple(ids)
    places = {name: row for row, name in enumerate(names)}
    if len(places) != len(names):
        raise InvalidValueError(f"ids must be each once, {len(names) - len(places)} are doubled: drop the doubles")
    maker = _Maker(options, embeddable_only, lexicon)
    none: tuple[str, ...] = ()
    lists: list[list[tuple[str, ...]]] = [[none] * len(names), [none] * len(names)]
    lost = np.full((len(names), 2), GONE, np.uint8)
    seen: set[int] = set()
    for text in texts:
        row = places.get(text.id)
        if row is None or row in seen:
            continue
        seen.add(row)
        for column, (words, step) in enumerate(maker.of(text)):
            lists[column][row], lost[row, column] = words, step
    return TextSet(names, tuple(lists[0]), tuple(lists[1]), lost, options)


class _Maker:
    def __init__(self, options: TextOptions, embeddable_only: bool, lexicon: Container[str]) -> None:
        self._options, self._embeddable_only = options, embeddable_only
        self._vectors = options.opened()
        self._english = options.english_of(self._vectors)
        if options.english == "names":
            self._english = English("names", lexicon, self._vectors)
        self._shared: dict[str, str] = {}

    def of(self, text: VideoText) -> tuple[tuple[tuple[str, ...], int], tuple[tuple[str, ...], int]]:
        """Words and the step at which they were lost, of the title and of the keywords."""
        if text.gone or (self._embeddable_only and not text.embeddable):
            lost = (), GONE if text.gone else NOT_EMBEDDABLE
            return lost, lost
        given = clean_title(text.title, self._options.profile)
        tags = clean_keywords(text.keywords, self._options.profile)
        if self._options.english == "none":
            tags = tuple(word.replace(" ", "_") for word in tags)
        english = given if self._options.english == "published" else self._english.title(given)
        return self._ended(given, english), self._ended(tags, self._english.keywords(tags))

    def _ended(self, given: tuple[str, ...], english: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
        kept = tuple(self._shared.setdefault(word, word) for word in english if word in self._vectors)
        if kept:
            return kept, 0
        return (), NONE_GIVEN if not given else NOT_ENGLISH if not english else NO_VECTOR


def table_1(sets: Mapping[str, TextSet]) -> list[dict[str, Any]]:
    """Sizes as in the seed's table 1: a row for all videos, those with keywords, title and both; a column a split."""
    counts = {name: each.counts for name, each in sets.items()}
    rows = ("videos", "with keywords", "with title", "with both")
    return [{"": row, **{name: each[row] for name, each in counts.items()}} for row in rows]


def development(ids: Sequence[str], share: float = SEED_SHARE, seed: int = 0) -> Array:
    """Which videos of the training set are set aside to tune on: bool [N], by a hash of the id alone.

    The same video falls on the same side whatever the others are.  Cost: 1 µs a video.
    """
    if not 0 <= share <= 1:
        raise InvalidValueError(f"share must be 0 to 1, got {share}")
    bound = round(share * (1 << 64))
    hashes = (hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()[:8] for name in ids)
    return np.fromiter((int.from_bytes(each, "big") < bound for each in hashes), bool, len(ids))


def common_words(lists: Iterable[Iterable[str]], top: int = 20) -> dict[str, int]:
    """The commonest words and how often they stand, the most frequent first, then by the alphabet."""
    counts = Counter(word for words in lists for word in words)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top])


def common_label_words(labels: Labels, names: Sequence[str], top: int = 20) -> dict[str, int]:
    """The commonest words of labels, in lower case, each label as often as videos have it."""
    times = np.bincount(labels.classes, minlength=labels.count).tolist()
    counts: Counter[str] = Counter()
    for name, count in zip(names, times, strict=True):
        for word in clean_title(name.lower(), "paper") if count else ():
            counts[word] += count
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:top])


def common_words_png(counts: Mapping[str, int], path: Path | str | None = None, *, title: str = "") -> bytes:
    """Bars of words, as the seed's figures 2 (keywords) and 3 (labels).  PNG bytes, also written to `path`."""
    return bars_png(dict(counts), path, label="times that the word stands", title=title)
