"""Answers for segments as the challenge of 2019 took them, `Class,Segments`: CSV in, and its score against a set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.library.example_set import ExampleSet
from lightmeter.library.yt8m.kaggle import MOST_SEGMENTS, SEGMENT_HEADER
from lightmeter.media.tfrecord import Problem
from lightmeter.metrics.ranking import are_pairs
from lightmeter.metrics.segments import SegmentQuality, SegmentScores
from lightmeter.types import Array

_MOST_LINE_CHARACTERS = 1 << 24
_STEPS = 1 << 17
"""More than `MOST_SEGMENTS`: a rank as a score, without rounding in float32."""


@dataclass(frozen=True, slots=True)
class ScoredSegments:
    """A CSV against a set of rated segments.

    missing: classes with a label and no line · unknown: listed segments that the set has not: the challenge listed
    those that nobody rated, too · problems: lines that could not be read, or came again
    """

    quality: SegmentQuality
    missing: int
    unknown: int
    problems: tuple[Problem, ...]


def is_of_segments(path: Path | str) -> bool:
    """Whether a CSV begins with `Class,Segments`."""
    with Path(path).open("rb") as file:
        return file.read(64).split(b"\n", 1)[0].strip() == ",".join(SEGMENT_HEADER).encode()


def read_segments(path: Path | str, classes: int, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """The classes of a `Class,Segments` CSV and their segments (`id:second`), surest first.

    problems: gets lines that cannot be read: `pairs`, `label-range`, `twice`, `too-long` (more than 100,000 segments);
    their offset is the number of the line.  Raises InvalidValueError for a file that does not begin with the header.
    """
    path = Path(path)
    if not is_of_segments(path):
        raise InvalidValueError(f"{path} must begin with {','.join(SEGMENT_HEADER)}")
    seen: set[int] = set()
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        file.readline(_MOST_LINE_CHARACTERS)
        number = 1
        while line := file.readline(_MOST_LINE_CHARACTERS):
            number += 1
            name, comma, rest = line.rstrip("\r\n").partition(",")
            listed = rest.strip('"').split()
            wrong = _wrong(name.strip(), comma, classes, seen)
            if not wrong and (len(listed) > MOST_SEGMENTS or len(line) == _MOST_LINE_CHARACTERS):
                wrong = ("too-long", f"a class must list at most {MOST_SEGMENTS} segments")
            if wrong:
                problems.append(Problem(str(path), number, *wrong, name[:100]))
                continue
            seen.add(int(name))
            yield int(name), listed


def _wrong(name: str, comma: str, classes: int, seen: set[int]) -> tuple[str, str] | None:
    """What is wrong with a line, if anything is: a code and a sentence."""
    if not comma or not (name.isascii() and name.isdigit()):
        return "pairs", "a line must be the number of a class and its segments"
    if len(name) > 9 or int(name) >= classes:
        return "label-range", f"classes must be 0 to {classes - 1}, got {name[:20]}"
    if int(name) in seen:
        return "twice", "a class must have one line"
    return None


def score_segments(path: Path | str, examples: ExampleSet) -> ScoredSegments:
    """MAP of a CSV over the rated (segment, class) pairs of a set, as in the challenge.

    A list is an order: pairs that nobody rated are dropped from it, what it leaves out is missed. A segment that comes
    again in a list counts where it came first.  Raises InvalidValueError for a set without rated segments.
    Cost: 5 bytes a rated pair, and a dictionary of the ids.
    """
    rated, labels = examples.rated, examples.labels
    if rated is None or labels is None:
        raise InvalidValueError(
            f"{examples.folder} must hold rated segments, got none: make it by `yt8m convert --level segment`"
        )
    places = {name: at for at, name in enumerate(examples.ids)}
    rows = np.repeat(np.arange(len(rated)), np.diff(rated.offsets))
    pairs = rows * rated.count + rated.classes  # rises
    values = np.zeros(len(pairs), np.float32)
    unknown, problems, named = 0, list[Problem](), np.zeros(labels.count, bool)
    for each, listed in read_segments(path, labels.count, problems):
        named[each] = True
        found = np.array([places.get(name, -1) for name in listed], np.int64)
        unknown += int((found < 0).sum())
        _rank(values, pairs, found, each, labels.count)
    scores = SegmentScores.from_state({
        "shape": np.array([labels.count, len(labels)], np.int64), "values": values,
        "hits": are_pairs(rows, rated.classes, labels), "classes": rated.classes.astype(np.int32),
    })  # fmt: skip
    listed_only = np.full(labels.count, 1 / _STEPS, np.float32)
    quality = scores.result(floor=listed_only)
    missing = int((~named[np.unique(labels.classes)]).sum())
    return ScoredSegments(quality, missing, unknown, tuple(problems))


def _rank(values: Array, pairs: Array, found: Array, each: int, classes: int) -> None:
    """Give the rated pairs of a class the score of their place in its list, 1 for the first."""
    known = np.flatnonzero(found >= 0)
    rows, first = np.unique(found[known], return_index=True)
    asked = rows * classes + each
    at = np.minimum(np.searchsorted(pairs, asked), max(0, len(pairs) - 1))
    hit = pairs[at] == asked if len(pairs) else np.zeros(len(asked), bool)
    values[at[hit]] = 1 - known[first[hit]] / np.float32(_STEPS)
