"""The caption that speaks for a cluster: the one with most of the words that are frequent in it and not everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lightmeter.condense.stop_words import STOP_WORDS, published_words, words_of
from lightmeter.errors import InvalidValueError
from lightmeter.types import Array

Matching = Literal["words", "published"]


@dataclass(frozen=True, slots=True)
class TextPrototype:
    """A caption that stands for a cluster.

    text: "" where there is none · member: its row of the captions, -1 for none
    score: the frequencies in the cluster of those of `words` that it has, added up
    words: the most frequent words of the cluster that tell it from others, each with how often it stands there
    """

    text: str
    member: int
    score: float
    words: tuple[tuple[str, int], ...]


def text_prototypes(
    captions: Sequence[str],
    members: Sequence[Array],
    class_name: str,
    *,
    beta: float = 0.7,
    top: int = 30,
    matching: Matching = "words",
) -> tuple[TextPrototype, ...]:
    """One for each cluster of a class; outliers have left `captions` before.

    captions: of the class, "" for none · members: int64 [n] a cluster, rows of the captions
    1. Words that stand in beta · N or more of N captions tell nothing: of all captions with a word in `words`, of all
       captions in `published`. 2. Of a cluster's captions, the `top` most frequent words that are neither these, nor
       English stop words, nor of the class's name; of equally frequent ones those that stand first. 3. A caption's
       score adds up the frequencies of those words it has, each once; the first of the highest is the prototype.

    matching: `words`: words are runs of letters, in any case, and are found as words. Where no caption of a cluster
    scores (all say the same), the first that has a word stands for it, with score 0.
    `published`: as the official code does it: tokens of letters only by `word_tokenize`; a word of the class's name is
    one that is part of it as letters (`in` and `ten` of `tench` too), and a caption has a word where its letters stand
    in it, in lower case (`art` in `part`, not `Art`). Where no caption scores there is none.
    Cost: one look at each caption, and `top` for each of a cluster.
    Source: seed 002, "text prototypes"; 30 words and beta 0.7 but for CIFAR (0.8 and 0.2).
    """
    if matching not in get_args(Matching):
        raise InvalidValueError(f"matching must be words or published, got {matching!r}")
    if not 0 < beta <= 1 or top < 1:
        raise InvalidValueError(f"beta must be above 0 to 1 and top 1 or more, got {beta} and {top}")
    for rows in members:
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(captions):
            raise InvalidValueError(f"members must be rows of {len(captions)} captions, got {rows.min()}, {rows.max()}")
    published = matching == "published"
    split = [(published_words if published else words_of)(caption) for caption in captions]
    told = len(split) if published else sum(map(bool, split))
    common = _common(split, beta * told)
    skipped = _in_name(class_name) if published else set(words_of(class_name)).__contains__
    made = []
    for rows in members:
        some = rows.tolist()
        words = _frequent((split[row] for row in some), lambda word: word in common or skipped(word), top)
        within = captions if published else [set(each) for each in split]
        score, member = _best(some, [_score(within[row], words) for row in some])
        if score == 0:
            member = -1 if published else next((row for row in some if split[row]), -1)
        made.append(TextPrototype(captions[member] if member >= 0 else "", member, float(score), words))
    return tuple(made)


def _common(split: Sequence[Sequence[str]], least: float) -> set[str]:
    """Words of `least` captions or more."""
    counts = Counter(word for words in split for word in set(words))
    return {word for word, count in counts.items() if count >= least}


def _in_name(class_name: str) -> Callable[[str], bool]:
    return lambda word: word in class_name


def _frequent(split: Iterable[Sequence[str]], skipped: Callable[[str], bool], top: int) -> tuple[tuple[str, int], ...]:
    counts = Counter(word for words in split for word in words if word not in STOP_WORDS)
    left = Counter({word: count for word, count in counts.items() if not skipped(word)})
    return tuple(left.most_common(top))


def _score(caption: str | set[str], words: Iterable[tuple[str, int]]) -> int:
    return sum(count for word, count in words if word in caption)


def _best(rows: Sequence[int], scores: Sequence[int]) -> tuple[int, int]:
    """The highest score and the first row that has it; 0 and -1 of none."""
    if not rows:
        return 0, -1
    at = max(range(len(rows)), key=lambda place: (scores[place], -place))
    return scores[at], rows[at]
