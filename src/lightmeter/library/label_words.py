"""Labels that stand in titles and keywords: how many there are, and texts without them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from lightmeter.encoders.cleaning import clean_title
from lightmeter.errors import InvalidValueError
from lightmeter.library.text_set import LABELS_ONLY, TextSet
from lightmeter.types import Labels

Mode = Literal["phrase", "all-words"]
_SEPARATORS = re.compile(r"[\s_]+")


def matched(words: Sequence[str], labels: Iterable[str], mode: Mode = "phrase") -> list[list[bool]]:
    """Which words of a text belong to its labels: a flag for each part of each word (a phrase has several parts).

    phrase: where all words of a label stand side by side in its order; a label's words once taken are not there for
    the next label · all-words: if all words of a label are somewhere in the text, each place where one stands
    Whole words, upper or lower case alike; symbols and punctuation of a label go, as they do from a title. `Games` is
    not `game`.
    Source: seed 003, section 4.3.2 (all-words); its `filter_titles` (phrase, but as an unescaped pattern). Its
    `histograms_no_label` compares letters instead of labels and so removes nothing: neither reading is that.

    >>> matched(["new", "york", "city", "New"], ["New York"])
    [[True], [True], [False], [False]]
    >>> matched(["york", "is", "new"], ["New York"], "all-words")
    [[True], [False], [True]]
    """
    if mode not in get_args(Mode):
        raise InvalidValueError(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    parts = [[part.casefold() for part in _SEPARATORS.split(word)] for word in words]
    flat = [part for each in parts for part in each]
    found = [False] * len(flat)
    for label in labels:
        wanted = [word.casefold() for word in clean_title(label, "paper")]
        if wanted:
            _mark(flat, found, wanted) if mode == "phrase" else _mark_all(flat, found, wanted)
    flags = iter(found)
    return [[next(flags) for _ in each] for each in parts]


def _mark(flat: list[str], found: list[bool], wanted: list[str]) -> None:
    at = 0
    while at + len(wanted) <= len(flat):
        end = at + len(wanted)
        if flat[at:end] == wanted and not any(found[at:end]):
            found[at:end] = [True] * len(wanted)
            at = end
        else:
            at += 1


def _mark_all(flat: list[str], found: list[bool], wanted: list[str]) -> None:
    if set(wanted) <= set(flat):
        for at, part in enumerate(flat):
            found[at] |= part in wanted


def without_labels(words: Sequence[str], labels: Iterable[str], mode: Mode = "phrase") -> tuple[str, ...]:
    """A text without the words that `matched` finds; what is left of a phrase stands as single words.

    >>> without_labels(["game", "Games", "of", "chess"], ["Game"])
    ('Games', 'of', 'chess')
    """
    kept: list[str] = []
    for word, flags in zip(words, matched(words, labels, mode), strict=True):
        if not any(flags):
            kept.append(word)
        else:
            kept += [part for part, gone in zip(_SEPARATORS.split(word), flags, strict=True) if not gone]
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How far texts name their labels.

    texts: videos that have this text · words: mean share of a text's words that belong to its labels
    labels: mean share of a video's labels that its text holds · any: share of texts that hold one at least
    """

    texts: int
    words: float
    labels: float
    any: float


def overlap(
    texts: Sequence[Sequence[str]], labels: Labels, label_names: Sequence[str], mode: Mode = "all-words"
) -> Overlap:
    """Means over the videos whose text has words; a video without labels has a share of 0.

    Source: seed 003, section 4.3.2, whose "roughly 10 %" is `words` in mode all-words.  Cost: 5 µs a word and label.
    """
    shares, hits = [], []
    for words, names in zip(texts, _named(labels, label_names), strict=True):
        if not words:
            continue
        flags = [flag for each in matched(words, names, mode) for flag in each]
        shares.append(sum(flags) / len(flags))
        held = [any(flag for each in matched(words, [name], mode) for flag in each) for name in names]
        hits.append(sum(held) / max(1, len(held)))
    if not shares:
        return Overlap(0, 0.0, 0.0, 0.0)
    return Overlap(len(shares), float(np.mean(shares)), float(np.mean(hits)), float(np.mean(np.array(shares) > 0)))


def without_label_words(texts: TextSet, labels: Labels, label_names: Sequence[str], mode: Mode = "phrase") -> TextSet:
    """A text set whose titles and keywords no longer name the labels of their own video.

    Row i of labels is video i. A text of which nothing is left is lost at the step `label words only`.
    """
    names = _named(labels, label_names)
    if len(names) != len(texts):
        raise InvalidValueError(f"labels must be of the {len(texts)} videos, got {len(names)}: take the same rows")
    titles, keywords = (
        [without_labels(words, each, mode) for words, each in zip(lists, names, strict=True)]
        for lists in (texts.titles, texts.keywords)
    )
    return texts.with_words(titles, keywords, step=LABELS_ONLY)


def _named(labels: Labels, names: Sequence[str]) -> list[list[str]]:
    if len(names) != labels.count:
        raise InvalidValueError(f"label_names must be {labels.count}, got {len(names)}")
    classes = labels.classes.tolist()
    ends = labels.offsets.tolist()
    return [[names[each] for each in classes[start:end]] for start, end in itertools.pairwise(ends)]
