"""What a small set is worth: students learn it, and unseen pictures say what they know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Teacher, Tell
from lightmeter.condense.scoring.label_order import check_labels
from lightmeter.condense.scoring.learning import Lesson, best_device, said_of
from lightmeter.condense.scoring.presets import Preset
from lightmeter.condense.scoring.students import Student
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost, measure
from lightmeter.metrics.bootstrap import SHARE, Interval, difference_range, drawn_weights, interval_of
from lightmeter.parts import build
from lightmeter.types import Array, check_axes


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What students of a set know, one a seed.

    hits: bool [S, N], which test pictures each student knows after its last step: the figure to quote is their share
    best_on_test: float64 [S], the best share at any look. It is chosen by the very pictures that it is measured on, as
    published protocols do; for comparison with their tables only
    labelled: accuracy of the teacher that gave soft labels, on the test pictures; None without one
    cost: of all seeds together
    """

    student: str
    protocol: str
    seeds: tuple[int, ...]
    hits: Array
    best_on_test: Array
    cost: Cost
    labelled: float | None = None

    @property
    def last(self) -> Array:
        """Accuracy after the last step: float64 [S], shares."""
        made: Array = self.hits.mean(axis=1)
        return made

    @property
    def best(self) -> Array:
        """`best_on_test`, for short."""
        return self.best_on_test

    def text(self) -> str:
        """One line for people, with the price of one student."""
        last, spread = 100 * self.last.mean(), 100 * self.last.std(ddof=1) if len(self.seeds) > 1 else 0.0
        return f"{self.student}: {last:.1f} ± {spread:.1f} % · {self.cost.shared_by(len(self.seeds)).text()}"


def score(
    small: ImageSet, test: ImageSet, protocol: Preset | str, *, student: Student | str = "",
    seeds: Sequence[int] = (0, 1, 2), soft: Teacher | Array | None = None, tell: Tell = lambda _: None,
) -> Scored:  # fmt: skip
    """Let students of every seed learn `small` by a protocol, and test them on pictures that nothing else has seen.

    student: "" for the protocol's own · soft: where a protocol's labels are soft: the teacher that is asked for them
    (it is first asked about the test pictures: `check_labels`), or float32 [N, K] that came with the set; else not used
    tell: hears a line a look
    Raises InvalidValueError where classes or sizes of the two sets differ, `soft` is not what the protocol needs, or
    the teacher has other labels.
    Cost: 3 · steps · batch · MACs of a student, and its MACs for each test picture at each look.
    """
    preset = build(protocol, "protocol") if isinstance(protocol, str) else protocol
    wanted = student or preset.students[0]
    learner: Student = build(wanted, "student") if isinstance(wanted, str) else wanted
    _check_sets(small, test)
    _check_soft(preset, soft, len(small), len(test.classes))
    known = None
    with measure() as meter:
        if preset.labels == "teacher" and soft is not None and not isinstance(soft, np.ndarray):
            known = check_labels(soft, test, shown=lambda images: preset.shown(images, learning=False), tell=tell)
        made = [_one(small, test, preset, learner, seed, soft, tell) for seed in seeds]
    hits, best = np.stack([each[0] for each in made]), np.array([each[1] for each in made], np.float64)
    return Scored(learner.spec, preset.spec, tuple(seeds), hits, best, meter.cost, known)


def _one(
    small: ImageSet, test: ImageSet, preset: Preset, learner: Student, seed: int, soft: Teacher | Array | None,
    tell: Tell,
) -> tuple[Array, float]:  # fmt: skip
    """One student: which test pictures it knows at the end, and its best share of them."""
    counts = small.counts()
    course = preset.course(len(small), int(counts.max()), len(test.classes))
    size = preset.shown(test.images[:1], learning=False).shape[1:3]
    net = learner.net(test.images.shape[3], len(test.classes), size, seed=seed).to(best_device())
    lesson = Lesson(
        net, preset, course, small, seed=seed,
        soft=soft if isinstance(soft, np.ndarray) and preset.labels == "own" else None,
        teacher=_module(soft, preset),
    )  # fmt: skip
    seen: list[Array] = []
    best = [0.0]

    def look(steps: int) -> None:
        seen[:] = [knows(net, test, lambda images: preset.shown(images, learning=False))]
        best[0] = max(best[0], float(seen[0].mean()))
        tell(f"{learner.spec} seed {seed}: {100 * seen[0].mean():.1f} % after {steps} of {course.steps} steps")

    lesson.learn(look)
    return seen[0], best[0]


def _module(soft: Teacher | Array | None, preset: Preset) -> Any:
    """The teacher's net where the protocol asks one, where students learn."""
    if preset.labels != "teacher" or soft is None or isinstance(soft, np.ndarray):
        return None
    net: Any = soft.net()
    return net.to(best_device())


def knows(net: Any, test: ImageSet, shown: Callable[[Array], Array] = lambda each: each) -> Array:
    """Which pictures a net takes for what they are: bool [N]; of equal logits the first class counts."""
    said: Array = said_of(net, test.images, shown=shown).argmax(axis=1)
    made: Array = said == test.labels
    return made


def difference(one: Scored, other: Scored, *, rounds: int = 1000, certainty: float = 0.95, seed: int = 0) -> Interval:
    """Accuracy of one less that of another after the last step, with an interval over test pictures and seeds.

    Every round draws pictures anew, the same for both, and seeds: the same for both where both have the same ones.
    With few seeds the interval is a little tight (deviations of S seeds are divided by S, not by S − 1).
    Raises InvalidValueError unless both were tested on as many pictures and have as many seeds.  Cost: rounds · S · N.
    Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 10 and 13; `metrics.bootstrap`.
    """
    if one.hits.shape != other.hits.shape:
        raise InvalidValueError(
            f"scores must be of the same seeds and test pictures, got {one.hits.shape} and {other.hits.shape}"
        )
    seeds, pictures = one.hits.shape
    apart = one.hits.astype(np.float64) - other.hits
    rng = np.random.default_rng([seed, seeds])
    often = (np.bincount(rng.integers(0, seeds, seeds), minlength=seeds) for _ in range(rounds))
    weights = drawn_weights(pictures, rounds, seed, None)
    drawn = np.array([many @ apart @ each for many, each in zip(often, weights, strict=True)]) / apart.size
    return interval_of(float(apart.mean()), drawn, certainty, difference_range(SHARE))


def _check_sets(small: ImageSet, test: ImageSet) -> None:
    if small.classes != test.classes:
        raise InvalidValueError(
            f"both sets must have the same classes in the same order, got {list(small.classes)[:5]} … and "
            f"{list(test.classes)[:5]} …: name folders alike"
        )
    if small.images.shape[1:] != test.images.shape[1:]:
        raise InvalidValueError(
            f"both sets must have pictures of one shape, got {small.images.shape[1:]} and {test.images.shape[1:]}"
        )
    if not len(small) or not len(test):
        raise InvalidValueError(f"both sets must have pictures, got {len(small)} and {len(test)}")


def _check_soft(preset: Preset, soft: Teacher | Array | None, items: int, classes: int) -> None:
    if preset.labels == "teacher" and (soft is None or isinstance(soft, np.ndarray)):
        raise InvalidValueError(
            f"{preset.spec} needs a teacher for its labels, got {'none' if soft is None else 'an array'}: "
            "give soft=fit_teacher(the full set)"
        )
    if preset.labels == "own":
        if not isinstance(soft, np.ndarray):
            raise InvalidValueError(f"{preset.spec} needs labels of the set's own, got none: give soft=its soft labels")
        check_axes("soft", soft, f"{items} {classes}", "float32")
