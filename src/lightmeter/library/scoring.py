"""Models asked and scored: answers for sets and libraries, batch by batch, and what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError, nearest
from lightmeter.heads.answering import Answering
from lightmeter.heads.examples import Batch, Block, Examples, is_rated
from lightmeter.metrics.ranking import VideoScores
from lightmeter.metrics.segments import SegmentScores
from lightmeter.metrics.top import top_scores
from lightmeter.types import Array, Labels

Scores = VideoScores | SegmentScores

COUNTS = "label_counts"
"""What `about` of a model calls the labels it learnt from, by class."""
_BATCH_BYTES = 64 << 20
_FRAMES = 300


def rows_at_once(blocks: Sequence[Block]) -> int:
    """Examples that are read together, for batches of some 64 MB."""
    size = sum(4 * block.dim * (_FRAMES if block.kind == "frames" else 1) for block in blocks)
    return max(1, min(1024, _BATCH_BYTES // size))


def answered(classifier: Answering, examples: Examples) -> Iterator[tuple[Array, Batch, Array]]:
    """Batch by batch: row numbers int [B], the items, probabilities float32 [B, K].

    examples: as `Classifier.view` gives them.
    """
    step = rows_at_once(examples.blocks)
    for start in range(0, len(examples), step):
        rows = np.arange(start, min(start + step, len(examples)))
        batch = examples.batch(rows)
        yield rows, batch, classifier.scores(batch)


def scored(classifier: Answering, examples: Examples) -> Iterator[tuple[Array, Array, Labels | None]]:
    """As `answered`: row numbers, probabilities, labels as the set has them."""
    for rows, batch, found in answered(classifier, examples):
        yield rows, found, batch.labels


def evaluate(
    classifier: Answering, examples: Examples, *, top: int = 20, tell: Callable[[int], None] | None = None,
    names: Sequence[str] | None = None,
) -> Scores:  # fmt: skip
    """All that metrics need of a classifier's answers on a labelled set (as `Classifier.view` gives it).

    Of segments that people rated class by class only the rated pairs count: `SegmentScores`.
    tell: hears after every batch how many were scored
    names: the classifier's labels in the order in which to score them, to compare it with another; None: as it has them
    Raises InvalidValueError: no labels, or one that the classifier does not know.
    """
    names = classifier.label_names if names is None else names
    order = columns_of(classifier.label_names, names)
    turn = labels_turned(names, examples)
    scores = scorer(len(names), examples, top)
    for rows, batch, found in answered(classifier, examples):
        add(scores, found if order is None else found[:, order], batch, turn)
        if tell:
            tell(len(rows))
    return scores


def scorer(classes: int, examples: Examples, top: int) -> Scores:
    """What counts answers on these examples."""
    return SegmentScores(classes) if is_rated(examples) else VideoScores(classes, top)


def add(scores: Scores, found: Array, batch: Batch, turn: Callable[[Labels], Labels]) -> None:
    """Count the answers for a batch: float32 [B, K]."""
    assert batch.labels is not None, "what is scored has labels"
    if isinstance(scores, VideoScores):
        scores.update(found, turn(batch.labels))
    else:
        scores.update(found, turn(batch.labels), None if batch.rated is None else turn(batch.rated))


def labels_turned(names: Sequence[str], examples: Examples) -> Callable[[Labels], Labels]:
    """As `matched`.  Raises InvalidValueError for examples without labels, too."""
    if examples.labels is None or not len(examples.labels.classes):
        raise InvalidValueError("examples must have labels to be scored against, got none of them labelled")
    return matched(names, examples.label_names, examples.labels)


def columns_of(names: Sequence[str], wanted: Sequence[str]) -> Array | None:
    """Where each wanted label stands among a model's: int64 [K]; None where they are the same.

    Raises InvalidValueError unless both have the same labels.
    """
    if tuple(names) == tuple(wanted):
        return None
    place = {name: at for at, name in enumerate(names)}
    other = [name for name in wanted if name not in place]
    if other or len(names) != len(wanted):
        raise InvalidValueError(
            f"models must know the same labels to be compared, got {len(names)} and {len(wanted)}"
            f"{f', one without {other[0]!r}' if other else ''}: compare them apart"
        )
    return np.array([place[name] for name in wanted], np.int64)


def matched(model: Sequence[str], data: Sequence[str], labels: Labels) -> Callable[[Labels], Labels]:
    """What turns the labels of a set into those of a model, by name.

    Raises InvalidValueError for a label in use that the model does not know.
    """
    if tuple(model) == tuple(data):
        return lambda each: each
    number = {name: at for at, name in enumerate(model)}
    used = np.unique(labels.classes).tolist()
    unknown = [data[each] for each in used if data[each] not in number]
    if unknown:
        raise InvalidValueError(
            f"labels of the data must be known to the model, got {unknown[0]!r} and {len(unknown) - 1} others"
            f"{nearest(unknown[0], model) if len(model) < 5000 else ''}: fit a model with them, or leave them out"
        )
    to = np.array([number.get(name, -1) for name in data], np.int64)

    def turned(each: Labels) -> Labels:
        rows = np.repeat(np.arange(len(each)), np.diff(each.offsets))
        classes = to[each.classes]
        known = np.flatnonzero(classes >= 0)  # of labels all are; rated in vain: classes that the model does not know
        order = known[np.lexsort((classes[known], rows[known]))]
        ends = np.searchsorted(rows[order], np.arange(len(each) + 1))
        return Labels(ends.astype(np.int64), classes[order].astype(np.int32), len(model))

    return turned


def predictions(
    classifier: Answering, examples: Examples, top: int
) -> Iterator[tuple[list[str], Array, Array]]:  # fmt: skip
    """Batch by batch: ids, the highest probabilities float32 [B, top], falling, and their classes int32 [B, top]."""
    for rows, found, _ in scored(classifier, examples):
        values, classes = top_scores(found, min(top, classifier.classes))
        yield [examples.ids[row] for row in rows.tolist()], values, classes


def facts(classifier: Answering) -> Mapping[str, Any]:
    """What a model is, for people and programs."""
    return {
        "head": classifier.head.spec,
        "blocks": [block.name for block in classifier.blocks],
        "classes": classifier.classes,
        "size_bytes": classifier.size_bytes,
        "macs": classifier.macs,
        **{
            name: value
            for name, value in classifier.about.items()
            if name in ("training", "seed", "precision", "shrunk")
        },
    }
