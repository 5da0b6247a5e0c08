"""Whether a teacher means the same classes as a set does: asked before anything is learnt from its labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Teacher, Tell
from lightmeter.errors import InvalidValueError
from lightmeter.metrics.binomial import binomial_cdf
from lightmeter.types import Array

_MOST_CHANCE = 1e-3
_MOST_ASKED, _FEWEST_A_CLASS = 2000, 5
_TOLD = 5


def check_labels(
    teacher: Teacher, real: ImageSet, *, shown: Callable[[Array], Array] = lambda each: each,
    tell: Tell = lambda _: None,
) -> float:  # fmt: skip
    """The teacher's accuracy on real pictures, a share; some 2,000 of them are asked about.

    Raises InvalidValueError where it could be chance, with the order of the classes that would fit where there is one,
    and where another order of the classes would halve its errors: folders and labels are then not in one order.
    shown: what is done to pictures first
    """
    most = max(_MOST_ASKED, _FEWEST_A_CLASS * len(real.classes))
    rows = np.arange(len(real))[:: max(1, -(-len(real) // most))]
    labels, classes = real.labels[rows], len(real.classes)
    logits = teacher.logits(shown(real.images[rows]))
    if logits.shape != (len(rows), classes):
        raise InvalidValueError(
            f"the teacher must know the {classes} classes of the set, got logits {list(logits.shape)}: take its own"
        )
    said = logits.argmax(axis=1)
    hits = int((said == labels).sum())
    tell(f"the teacher knows {hits} of {len(rows)} real pictures ({100 * hits / len(rows):.1f} %)")
    order = fitting_order(said, labels, classes)
    fitted = int((order[said] == labels).sum())
    commonest = np.bincount(labels).max() / len(labels)
    chance = _tail(hits, len(rows), commonest) > _MOST_CHANCE
    enough = len(rows) >= _FEWEST_A_CLASS * classes  # of fewer, some order fits by chance
    fits = enough and fitted > hits and len(rows) - fitted <= (len(rows) - hits) / 2
    if chance or fits:
        raise InvalidValueError(_sentence(hits, len(rows), real.classes, order if fits else None, fitted))
    return hits / len(rows)


def fitting_order(said: Array, labels: Array, classes: int) -> Array:
    """Which class each answer stands for most likely, every class once: int64 [classes].

    The commonest pair of answer and label first, then the commonest of what is left.
    """
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (said, labels), 1)
    order = np.full(classes, -1)
    taken = np.zeros(classes, bool)
    answers, truths = np.nonzero(table)
    for at in np.argsort(-table[answers, truths], kind="stable"):
        answer, truth = answers[at], truths[at]
        if order[answer] < 0 and not taken[truth]:
            order[answer], taken[truth] = truth, True
    order[order < 0] = np.flatnonzero(~taken)
    return order


def _tail(hits: int, count: int, rate: float) -> float:
    """Chance of at least so many hits."""
    return 1.0 - binomial_cdf(hits - 1, count, rate) if hits and rate < 1 else 1.0


def _sentence(hits: int, count: int, classes: tuple[str, ...], order: Array | None, fitted: int) -> str:
    found = f"the teacher must know real pictures of the set, got {hits} of {count}"
    if order is None:
        return f"{found}, which is chance: take a teacher of these classes and of pictures of this size"
    moved = [f"its {classes[at]} is {classes[to]}" for at, to in enumerate(order.tolist()) if at != to]
    more = f" and {len(moved) - _TOLD} more" if len(moved) > _TOLD else ""
    return (
        f"{found}, and {fitted} with its classes in another order ({', '.join(moved[:_TOLD])}{more}): "
        f"put folders and labels into one order, {order.tolist() if len(order) <= 20 else 'as fitting_order finds it'}"
    )
