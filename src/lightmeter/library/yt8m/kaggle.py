"""Answers as the YouTube-8M challenges took them: CSV in and out, and their score against a set.

2017 and 2018: `VideoId,LabelConfidencePairs`, up to 20 pairs of class and confidence a video. 2019: `Class,Segments`,
the segments of each class, surest first.  Source: google/youtube-8m, `inference.py`, `segment_eval_inference.py`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from lightmeter.assets.files import whole_file
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.library.example_set import ExampleSet
from lightmeter.media.tfrecord import Problem
from lightmeter.metrics.ranking import VideoQuality, VideoScores
from lightmeter.types import Array, Labels, check_axes

HEADER = ("VideoId", "LabelConfidencePairs")
SEGMENT_HEADER = ("Class", "Segments")
TOP = 20
MOST_SEGMENTS = 100_000
"""Segments a class, in 2019."""
_MOST_LINE_CHARACTERS = 1 << 20
_SETTLED_ROWS = 1 << 16
_TINY = np.float32(1e-45)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a CSV says of N videos.

    ids: N names · values: float32 [N, k] confidences, falling, 0..1 · classes: int32 [N, k], -1 after the last answer:
    of a class that is not listed nothing is known
    """

    ids: tuple[str, ...]
    values: Array
    classes: Array


@dataclass(frozen=True, slots=True)
class Scored:
    """A CSV against a set. videos that it does not name have no answers, and count.

    missing: videos of the set without a line · unknown: lines of videos that the set has not (left out)
    short: videos with fewer than k answers · problems: lines that could not be read
    """

    quality: VideoQuality
    missing: int
    unknown: int
    short: int
    problems: tuple[Problem, ...]


def write_answers(path: Path | str, batches: Iterable[tuple[Sequence[str], Array, Array]]) -> int:
    """Write `VideoId,LabelConfidencePairs`; gives the number of videos.

    batches: (ids, values [B, k], classes int [B, k]), surest first; classes below 0 are left out.  `%i %g`, as the
    starter code writes them: six digits, so that near scores may become equal.
    """
    count = 0
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(HEADER)
        for ids, values, classes in batches:
            check_axes("classes", np.asarray(classes), f"{len(ids)} k")
            for name, row, found in zip(ids, np.asarray(values).tolist(), np.asarray(classes).tolist(), strict=True):
                pairs = [f"{number:d} {value:g}" for number, value in zip(found, row, strict=True) if number >= 0]
                lines.writerow((name, " ".join(pairs)))
                count += 1
    return count


def write_segments(path: Path | str, segments: Mapping[int, Sequence[str]]) -> int:
    """Write `Class,Segments`, 2019's answer: by class the names of its segments (`id:second`), surest first.

    At most 100,000 a class are kept, as the challenge did; gives the number of classes.
    """
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(SEGMENT_HEADER)
        lines.writerows((number, " ".join(segments[number][:MOST_SEGMENTS])) for number in sorted(segments))
    return len(segments)


def ranked_segments(batches: Iterable[tuple[Sequence[str], Array]], classes: int) -> dict[int, list[str]]:
    """By class the names of its surest segments, 100,000 at most, as `write_segments` takes them.

    batches: (names, scores float32 [B, K]); of equal scores the segment that came first stands first.
    Memory: 8 bytes a class and segment, of 165,536 segments at most, and all names.
    """
    names: list[str] = []
    kept = [(np.empty(0, np.float32), np.empty(0, np.int32))] * classes
    pending: list[Array] = []

    def settle() -> None:
        new = np.concatenate([np.empty((0, classes), np.float32), *pending])
        rows = np.arange(len(names) - len(new), len(names), dtype=np.int32)
        for each in range(classes):
            values, places = np.concatenate([kept[each][0], new[:, each]]), np.concatenate([kept[each][1], rows])
            order = np.argsort(-values, kind="stable")[:MOST_SEGMENTS]
            kept[each] = values[order], places[order]
        pending.clear()

    for some, scores in batches:
        names += some
        pending.append(np.asarray(scores, np.float32))
        if sum(map(len, pending)) >= _SETTLED_ROWS:
            settle()
    settle()
    return {each: [names[row] for row in places.tolist()] for each, (_, places) in enumerate(kept)}


def read_answers(
    path: Path | str, classes: int, problems: list[Problem], *, top: int = TOP, batch: int = 4096
) -> Iterator[Answers]:
    """The videos of a `VideoId,LabelConfidencePairs` CSV, some at a time; of longer lists the `top` surest are kept.

    problems: gets what is wrong with lines that cannot be read: `pairs`, `label-range`, `confidence`, `twice`,
    `too-long`; their offset is the number of the line.  Equal confidences: the lowest class first, as `top_scores`.
    Raises InvalidValueError for a file that does not begin with the header.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(_short_lines(file), strict=True)
            if tuple(next(rows, ())) != HEADER:
                raise InvalidValueError(f"{path} must begin with {','.join(HEADER)}")
            lines = _answers(rows, path, classes, top, problems)
            while some := list(islice(lines, batch)):
                yield _stacked(some, top)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidValueError(f"{path} must be a CSV in UTF-8: {str(error)[:200]}") from error


def score_answers(path: Path | str, examples: ExampleSet, *, top: int = TOP) -> Scored:
    """Score a CSV against the labels of a set.

    A list is all that is known of a video: what it leaves out is no answer at all, not one of confidence 0. A video
    that comes again is a problem (`twice`).  Raises InvalidValueError for a set without labels.
    Cost: 7·top bytes a video, and a dictionary of the ids.
    """
    labels = examples.labels
    if labels is None:
        raise InvalidValueError(
            f"{examples.folder} must have labels to be scored against: nobody knows those of a test set"
        )
    top = min(top, labels.count)
    places = {name: at for at, name in enumerate(examples.ids)}
    values, classes = np.zeros((len(labels), top), np.float32), np.full((len(labels), top), -1, np.int32)
    named, unknown, problems = np.zeros(len(labels), bool), 0, list[Problem]()
    for some in read_answers(path, labels.count, problems, top=top):
        found = np.array([places.get(name, -1) for name in some.ids], np.int64)
        first = np.zeros(len(found), bool)
        first[np.unique(found, return_index=True)[1]] = True
        new = (found >= 0) & first & ~named[found]
        for at in np.flatnonzero((found >= 0) & ~new).tolist():
            problems.append(Problem(str(path), 0, "twice", "a video must have one line", some.ids[at]))
        unknown += int((found < 0).sum())
        known = np.flatnonzero(new)
        rows = found[known]
        values[rows], classes[rows] = some.values[known], some.classes[known]
        named[rows] = True
    short = int(((classes < 0).any(axis=1) & named).sum())
    quality = listed_scores(values, classes, labels).result()
    return Scored(quality, int((~named).sum()), unknown, short, tuple(problems))


def listed_scores(values: Array, classes: Array, labels: Labels) -> VideoScores:
    """`VideoScores` of lists that may be short.

    values: float32 [N, k], 0..1, falling · classes: int32 [N, k], -1 after the last answer
    What fills a short list up is a class that is no label, behind every answer: so it adds to no precision, and takes
    none. Raises InvalidValueError where all classes are labels of a video with a short list.
    """
    check_axes("classes", classes, f"{len(labels)} k", "int32")
    check_axes("values", values, f"{len(labels)} {classes.shape[1]}", "float32")
    listed = classes >= 0
    wrong = _no_label(labels)
    if (wrong < 0)[~listed.all(axis=1)].any():
        raise InvalidValueError("a video that has all labels must have a full list of answers")
    filled = np.where(listed, classes, wrong[:, None]).astype(np.int32)
    scored = VideoScores(labels.count, classes.shape[1])
    kind = scored.kept().classes.dtype
    state = {
        "shape": np.array([labels.count, classes.shape[1]], np.int64),
        "values": np.where(listed, np.maximum(values, _TINY), np.float32(0)),  # above what fills up
        "classes": filled.astype(kind),
        "found": _found(values, np.where(listed, classes, -1), labels),
        "tied": np.zeros(len(labels), bool),
        "offsets": labels.offsets,
        "labels": labels.classes,
    }
    return VideoScores.from_state(state)


# -- one line -------------------------------------------------------------------------------------------------------

_Line = tuple[str, list[float], list[int]]


def _short_lines(file: IO[str]) -> Iterator[str]:
    while line := file.readline(_MOST_LINE_CHARACTERS):
        if len(line) == _MOST_LINE_CHARACTERS:
            raise csv.Error(f"a line must be shorter than {_MOST_LINE_CHARACTERS} characters")
        yield line


def _answers(rows: Iterator[list[str]], path: Path, classes: int, top: int, problems: list[Problem]) -> Iterator[_Line]:
    for number, row in enumerate(rows, 2):
        try:
            if len(row) != 2 or not row[0]:
                raise RejectedFileError("pairs", "a line must be an id and its pairs")
            values, found = _pairs(row[1].split(), classes)
        except RejectedFileError as error:
            problems.append(Problem(str(path), number, error.code, error.detail, row[0][:100] if row else ""))
            continue
        order = np.lexsort((np.array(found), -np.array(values)))[:top].tolist() if found else []
        yield row[0], [values[at] for at in order], [found[at] for at in order]


def _pairs(parts: list[str], classes: int) -> tuple[list[float], list[int]]:
    if len(parts) % 2:
        raise RejectedFileError("pairs", "pairs must be a class and a confidence each, got an odd number")
    try:
        found, values = [int(each) for each in parts[::2]], [float(each) for each in parts[1::2]]
    except ValueError:
        raise RejectedFileError("pairs", "pairs must be a whole number and a number each") from None
    if found and not 0 <= min(found) <= max(found) < classes:
        raise RejectedFileError("label-range", f"classes must be 0 to {classes - 1}, got {min(found)} to {max(found)}")
    if not all(0 <= each <= 1 for each in values):
        raise RejectedFileError("confidence", "confidences must be 0 to 1")
    if len(set(found)) != len(found):
        raise RejectedFileError("twice", "a class must come once in a line")
    return values, found


def _stacked(lines: list[_Line], top: int) -> Answers:
    values, classes = np.zeros((len(lines), top), np.float32), np.full((len(lines), top), -1, np.int32)
    for at, (_, row, found) in enumerate(lines):
        values[at, : len(row)], classes[at, : len(found)] = row, found
    return Answers(tuple(name for name, _, _ in lines), values, classes)


def _no_label(labels: Labels) -> Array:
    """The lowest class that each item has not; -1 where it has all: int32 [N]."""
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets))
    ranks = np.arange(len(labels.classes)) - np.repeat(labels.offsets[:-1], np.diff(labels.offsets))
    in_step = labels.classes == ranks  # classes rise: the first that is above its rank leaves a gap
    free = np.bincount(rows[in_step], minlength=len(labels)).astype(np.int32)
    return np.where(free < labels.count, free, np.int32(-1)).astype(np.int32)


def _found(values: Array, classes: Array, labels: Labels) -> Array:
    """Labels among the first |labels| answers of a score above 0: int32 [N]."""
    lengths = np.diff(labels.offsets)
    rows = np.arange(len(labels))[:, None]
    known = np.repeat(np.arange(len(labels)), lengths) * (labels.count + 1) + labels.classes
    asked = rows * (labels.count + 1) + np.where(classes < 0, labels.count, classes)
    hits = np.isin(asked, known) & (values > 0) & (np.arange(classes.shape[1]) < lengths[:, None])
    counted: Array = hits.sum(axis=1)
    return counted.astype(np.int32)
