"""Which method keeps most accuracy at which budget: all are tried on the user's own pictures, and the best is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.condense.attempts import Attempt, as_learnt, compared_hits
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condensed, Condenser, Teacher, Tell
from lightmeter.condense.splitting import Split, parted
from lightmeter.condense.workbench import Setting, Workbench, plus
from lightmeter.encoders.by_path import content_sha256
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost
from lightmeter.meter.record import hash_of
from lightmeter.meter.trials import Trial
from lightmeter.meter.units import seconds_text
from lightmeter.metrics.bootstrap import Interval
from lightmeter.parts import build
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.condense.scoring import Scored

VERSION = 1
AUTO = ("random-rows", "herding", "k-medoid", "k-center", "lowest-loss", "centroid", "vlcp")
"""What `auto` tries, the baseline first."""
BASELINE = "random-rows"
TRIALS = "trials"
THOROUGH, ROUGH = ("quick", 3), ("quick/steps=50", 1)
"""Protocol and seeds where methods are compared, and where one is asked for."""
DEAR_S = 900.0
"""CPU-seconds above which `auto` leaves out what `within_s` does not ask for."""
LADDER = tuple(step * 10**power for power in range(6) for step in (1, 2, 5))
"""Pictures a class that `at_least` goes through."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Bar:
    """An accuracy that must be reached, 0 to 1; of_full: a share of what a network reaches that learnt everything."""

    value: float
    of_full: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.value <= 1:
            raise InvalidValueError(
                f"at_least must be above 0 and at most 1, got {self.value}: write 0.85 or 0.9-of-full"
            )

    @classmethod
    def of(cls, text: str) -> Bar:
        """`0.85` or `0.9-of-full`."""
        number = text.removesuffix("-of-full")
        try:
            return cls(float(number), number != text)
        except ValueError as error:
            if isinstance(error, InvalidValueError):
                raise
            raise InvalidValueError(f"at_least must be an accuracy, as 0.85 or 0.9-of-full, got {text!r}") from None

    def __str__(self) -> str:
        return f"{self.value:g}{'-of-full' if self.of_full else ''}"


@dataclass(frozen=True, slots=True)
class CondenseOptions:
    """What is asked.

    per_class: pictures of each class that are kept; with `at_least` the most that are tried, None for no limit
    method: spec of a condenser, or `auto`: those of AUTO
    curve: further budgets that are tried, for the report; where methods are compared, 1 unless others are named
    at_least: go up the ladder of budgets until the best method reaches it · within_s: CPU-seconds a method may cost
    protocol: spec of how students learn · seeds: how many of them, from `seed` on; where not given, `quick` and 3, but
    of one method alone, which is not chosen by its score, a rough one: `quick/steps=50` and 1
    valid: share of each class held out
    captions: spec of a captioner · generator: folder of a diffusion model, None: a small one that learns the set
    source: folder that the set was read from, for captioners that look at its files
    teacher_steps: that the network learns which learns everything; 0: by the size of the set
    students: specs of further networks that the kept set is scored with
    """

    per_class: int | None = 10
    method: str = "auto"
    curve: tuple[int, ...] = ()
    at_least: Bar | None = None
    within_s: float | None = None
    protocol: str = ""
    seeds: int = 0
    seed: int = 0
    valid: float = 0.2
    captions: str = "attributes"
    generator: Path | None = None
    source: Path | None = None
    teacher_steps: int = 0
    students: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        budgets = [*self.curve, *([] if self.per_class is None else [self.per_class])]
        if min(budgets, default=1) < 1 or self.seeds < 0:
            raise InvalidValueError(f"per_class and seeds must be 1 or more, got {budgets} and {self.seeds}")
        protocol, seeds = ROUGH if self.method != "auto" and self.at_least is None else THOROUGH
        object.__setattr__(self, "protocol", self.protocol or protocol)
        object.__setattr__(self, "seeds", self.seeds or seeds)
        if self.per_class is None and self.at_least is None:
            raise InvalidValueError("per_class must be given, or at_least to find it: got neither")
        if not 0 < self.valid < 1:
            raise InvalidValueError(
                f"valid must be above 0 and below 1, got {self.valid}: pictures are needed to score on"
            )

    @property
    def auto(self) -> bool:
        """Whether methods are compared to choose one."""
        return self.method == "auto"

    @property
    def rough(self) -> bool:
        """Whether students learn but a few steps."""
        return self.protocol == ROUGH[0]

    def steps_of_teacher(self, pictures: int) -> int:
        """Some passes over the set, at most 1,200 steps; fewer where scoring is rough.

        >>> [CondenseOptions(method=each).steps_of_teacher(720) for each in ("auto", "herding")]
        [400, 64]
        """
        least, passes = (64, 5) if self.rough else (400, 10)
        return self.teacher_steps or min(1200, max(least, passes * pictures // 64))

    def budgets(self, most: int) -> tuple[int, ...]:
        """Pictures a class that are tried, rising; `most`: of the largest class."""
        limit = min(most, self.per_class or most)
        if self.at_least is not None:
            return tuple(sorted({*(each for each in LADDER if each < limit), limit}))
        also = self.curve or ((1,) if self.auto else ())  # two points make a curve, and the first costs next to nothing
        return tuple(sorted({*also, *([] if self.per_class is None else [self.per_class])}))


@dataclass(frozen=True, slots=True)
class Listener:
    """Hears how it goes.

    tell: what is worth a line · trial: before each one, its number, how many there are at most, and its name
    step: where the trial is, now and then
    """

    tell: Tell = lambda _: None
    trial: Callable[[int, int, str], None] = lambda *_: None
    step: Tell = lambda _: None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came out.

    kept: the attempt whose set is delivered · full: accuracy of the network that learnt everything, by reported rows
    not_run: method → why · notes: sentences on the choice · took_s: phase → seconds by the clock
    across: student → the kept set and the baseline, as it learns them
    """

    options: CondenseOptions
    split: Split
    attempts: tuple[Attempt, ...]
    kept: Attempt
    full: float
    not_run: dict[str, str]
    notes: tuple[str, ...]
    bench: Workbench = field(repr=False)
    took_s: dict[str, float] = field(default_factory=dict)
    across: dict[str, tuple[Attempt, Attempt]] = field(default_factory=dict)

    @property
    def reported(self) -> Array:
        """Rows that accuracies are told by: the second half where something was chosen by the first, else all."""
        chose = self.options.auto or self.options.at_least is not None
        return self.split.reporting if chose else np.arange(len(self.split.held))

    def intervals(self, attempt: Attempt) -> tuple[Interval, Interval | None]:
        """Its accuracy, and its difference to the baseline at its budget; None of the baseline itself."""
        rows = self.reported
        base = next(each for each in self.attempts if each.name == BASELINE and each.per_class == attempt.per_class)
        if base is attempt:
            return compared_hits([attempt.hits[:, rows]], seed=self.options.seed)[0][0], None
        return compared_hits([base.hits[:, rows], attempt.hits[:, rows]], seed=self.options.seed)[1]

    def trial(self, attempt: Attempt) -> Trial:
        """As the meter has it: accuracy, and the price of making the set."""
        name = f"{attempt.name} × {attempt.per_class}"
        return Trial(name, attempt.accuracy(self.reported), attempt.price, "accuracy")


@dataclass(frozen=True, slots=True)
class Methods:
    """Specs to try, the baseline first, and those that are not run, with the reason."""

    specs: tuple[str, ...]
    not_run: dict[str, str]

    def within(self, prices_s: Mapping[str, float], options: CondenseOptions) -> Methods:
        """Without those that are expected to cost too much, where methods are compared.  prices_s: CPU-seconds"""
        most = options.within_s or DEAR_S
        dear = {
            spec: f"about {seconds_text(prices_s[spec])} of CPU by the plan, more than {seconds_text(most)}: --within "
            "allows more, --method asks for it"
            for spec in self.specs
            if options.auto and prices_s.get(spec, 0.0) > most
        }
        return Methods(tuple(each for each in self.specs if each not in dear), {**self.not_run, **dear})


def answer(
    images: ImageSet,
    work: Path,
    options: CondenseOptions,
    methods: Methods | None = None,
    *,
    listener: Listener | None = None,
) -> Answer:
    """Try methods on a set, budget by budget, and keep the best; finished trials are kept in `work`.

    methods: those of `methods_of(options)`, or some of them
    A method that makes pictures is kept only where it is clearly above the best that selects them: nobody should ship
    a made set that a plain selection equals.
    Raises InvalidValueError where no budget reaches `at_least`, with the best there is.
    """
    methods, listener, start_s = methods or methods_of(options), listener or Listener(), time.perf_counter()
    split = parted(images, work, share=options.valid, seed=options.seed)
    bench = Workbench(
        split.learn, work, seed=options.seed, captioner=options.captions, generator=options.generator,
        setting=Setting(options.source, options.steps_of_teacher(len(split.learn))), tell=listener.step,
    )  # fmt: skip
    course = _Course(bench, split, options, listener, methods.specs)
    listener.trial(0, course.most, "teacher")
    full = knows(bench.teacher(), split.held)
    kept, note = course.run(float(full[split.choosing].mean()))
    made = Answer(options, split, tuple(course.attempts), kept, float(full.mean()), methods.not_run, (), bench)
    told = float(full[made.reported].mean())
    across = {student: course.across(kept, student) for student in options.students}
    listener.trial(len(made.attempts), course.most, "done")
    notes = tuple(each for each in (note, _chance_note(told, len(images.classes))) if each)
    took_s = {"learn once": bench.spent_s, "score": course.scoring_s}
    took_s["make sets"] = time.perf_counter() - start_s - sum(took_s.values())
    return replace(made, full=told, notes=notes, took_s=took_s, across=across)


def methods_of(options: CondenseOptions) -> Methods:
    """What is to be tried, and what cannot run here."""
    made: list[str] = []
    missing: dict[str, str] = {}
    for name in AUTO if options.auto else (BASELINE, options.method):
        method: Condenser = build(name, "condenser")
        why = _absent(method) if options.auto else ""
        if why:
            missing[name] = why
        elif method.spec not in made:
            made.append(method.spec)
    return Methods(tuple(made), missing)


def shown(spec: str) -> str:
    """A condenser without the options that are as they are anyway.

    >>> shown("herding/features=teacher,unit=false")
    'herding/unit=false'
    """
    from lightmeter.library.segmenting import shortest

    return shortest(build(spec, "condenser"))


def _absent(method: Condenser) -> str:
    if not method.makes:
        return ""
    lacking = [each for each in ("torch", "diffusers", "transformers") if find_spec(each) is None]
    return f"{' and '.join(lacking)} not installed: pip install 'lightmeter[video]'" if lacking else ""


def knows(teacher: Teacher, held: ImageSet) -> Array:
    """Which held-out pictures a network knows: bool [V]."""
    parts = [
        teacher.logits(held.images[start : start + _BLOCK]).argmax(axis=1) == held.labels[start : start + _BLOCK]
        for start in range(0, len(held), _BLOCK)
    ]
    return np.concatenate(parts)


def _chance_note(full: float, classes: int) -> str:
    if full > 1.5 / classes:
        return ""
    return (
        f"a network that learnt everything knows {100 * full:.1f} % of the pictures held out, hardly more than chance: "
        "look at the labels before you believe any figure here"
    )


# -- the course of trials ---------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Course:
    """Trials, one after the other."""

    bench: Workbench
    split: Split
    options: CondenseOptions
    listener: Listener
    specs: tuple[str, ...]
    attempts: list[Attempt] = field(default_factory=list)
    scoring_s: float = 0.0

    @property
    def most(self) -> int:
        """Trials, if every budget is tried."""
        return len(self.options.budgets(int(self.split.learn.counts().max()))) * len(self.specs)

    def run(self, full: float) -> tuple[Attempt, str]:
        """Budget by budget, up to the bar or to the end: what is kept, and a sentence on the choice.

        full: by the choosing half
        """
        options = self.options
        budgets = options.budgets(int(self.split.learn.counts().max()))
        wanted = (
            None if options.at_least is None else options.at_least.value * (full if options.at_least.of_full else 1)
        )
        best: list[tuple[Attempt, str]] = []
        for at, budget in enumerate(budgets):
            tried = [self._tried(spec, budget, at * len(self.specs) + n) for n, spec in enumerate(self.specs)]
            self.attempts += tried
            best.append(chosen(tried, self.split.choosing, options))
            if wanted is not None and best[-1][0].accuracy(self.split.choosing) >= wanted:
                return best[-1]
        if wanted is not None:
            raise InvalidValueError(_not_reached([each for each, _ in best], self.split.choosing, options, wanted))
        return next(each for each in best if each[0].per_class == options.per_class)

    def _tried(self, spec: str, budget: int, number: int) -> Attempt:
        method: Condenser = build(spec, "condenser")
        self.listener.trial(number, self.most, f"{spec.partition('/')[0]} × {budget}")
        return self._kept(method, budget, "", lambda: self._try(method, budget))

    def across(self, kept: Attempt, student: str) -> tuple[Attempt, Attempt]:
        """The kept set and the baseline of its budget, learnt by another network."""
        base = next(each for each in self.attempts if each.name == BASELINE and each.per_class == kept.per_class)
        mine, theirs = (self._again(each, build(student, "student").spec) for each in (kept, base))
        return mine, theirs

    def _again(self, attempt: Attempt, student: str) -> Attempt:
        method: Condenser = build(attempt.method, "condenser")

        def make() -> Attempt:
            scored = self._scores(method, attempt.per_class, attempt.small, student)
            return _attempt(method, attempt.per_class, attempt.small, attempt.price, scored)

        return self._kept(method, attempt.per_class, student, make)

    def _kept(self, method: Condenser, budget: int, student: str, make: Callable[[], Attempt]) -> Attempt:
        """A trial from the work folder, or made and put there."""
        place = self.bench.folder / TRIALS / self._key(method, budget, student)
        found = Attempt.load(place)
        if found is None:
            found = make()
            found.save(place)
        return found

    def _key(self, method: Condenser, budget: int, student: str) -> str:
        options, learn = self.options, self.split.learn
        made_of = [options.captions, content_sha256(options.generator) if options.generator else ""]
        return hash_of([
            VERSION, learn.fingerprint, self.split.held.fingerprint, method.spec, budget, options.seed, options.seeds,
            build(options.protocol, "protocol").spec, options.steps_of_teacher(len(learn)), student,
            made_of if method.makes else [], getattr(method, "content", ""),
        ])[:24]  # fmt: skip

    def _try(self, method: Condenser, budget: int) -> Attempt:
        with self.bench.priced() as price:
            small = method.condense(self.bench, budget, seed=self.options.seed)
        return _attempt(method, budget, small, price.cost, self._scores(method, budget, small, ""))

    def _scores(self, method: Condenser, budget: int, small: Condensed, student: str) -> list[Scored]:
        """What students of every seed learn.

        A set that is selected is drawn anew for each of them; one that is made, which is dear, is the same for all.
        """
        first, *others = (self.options.seed + each for each in range(self.options.seeds))
        if method.makes:
            return [self._score(small, [first, *others], student)]
        again = ((seed, method.condense(self.bench, budget, seed=seed)) for seed in others)
        return [self._score(small, [first], student), *(self._score(each, [seed], student) for seed, each in again)]

    def _score(self, small: Condensed, seeds: list[int], student: str) -> Scored:
        from lightmeter.condense.scoring import score

        protocol = build(self.options.protocol, "protocol")
        start_s, learnt = time.perf_counter(), as_learnt(small)
        made = ImageSet.of(learnt.images, learnt.labels, self.split.learn.classes)
        soft = self.bench.teacher() if protocol.labels == "teacher" else learnt.soft
        scored: Scored = score(
            made, self.split.held, protocol, student=student, seeds=seeds, soft=soft, tell=self.listener.step
        )
        self.scoring_s += time.perf_counter() - start_s
        return scored


def _attempt(method: Condenser, budget: int, small: Condensed, price: Cost, scored: Sequence[Scored]) -> Attempt:
    hits, best = (np.concatenate([getattr(each, name) for each in scored]) for name in ("hits", "best"))
    learning = reduce(plus, [each.cost for each in scored])
    return Attempt(method.spec, budget, method.makes, small, hits, best.astype(np.float64), price, learning)


def chosen(tried: Sequence[Attempt], rows: Array, options: CondenseOptions) -> tuple[Attempt, str]:
    """The best of some attempts at one budget, by some held-out pictures, and a sentence on why.

    The one that was asked for, where methods are not compared. One that makes pictures must be clearly above the best
    that selects them.  Raises InvalidValueError where none costs so little as `within_s` says.
    """
    asked = "" if options.auto else build(options.method, "condenser").spec
    wanted = [each for each in tried if options.auto or each.method == asked]
    affordable = [each for each in wanted if options.within_s is None or each.price.cpu_s <= options.within_s]
    if not affordable:
        least = min(wanted, key=lambda each: each.price.cpu_s)
        raise InvalidValueError(
            f"within must be {least.price.cpu_s:.3g} CPU-seconds or more, got {options.within_s:g}: the cheapest is "
            f"{least.name}"
        )
    ranked = sorted(affordable, key=lambda each: (-each.accuracy(rows), each.makes, each.price.cpu_s, each.method))
    best = ranked[0]
    coreset = next((each for each in ranked if not each.makes), None)
    if not best.makes or coreset is None:
        return best, ""
    less = compared_hits([coreset.hits[:, rows], best.hits[:, rows]], seed=options.seed)[1][1]
    assert less is not None, "the second of two has a difference"
    if less.low > 0:
        return best, f"{best.name} is clearly above the best coreset, {coreset.name}, so its pictures are kept"
    return coreset, (
        f"{coreset.name} is kept, a coreset: {best.name} is {100 * less.value:+.1f} points from it, "
        f"{100 * less.low:+.1f} to {100 * less.high:+.1f}, which is not clearly more"
    )


def _not_reached(best: Sequence[Attempt], rows: Array, options: CondenseOptions, wanted: float) -> str:
    top = max(best, key=lambda each: (each.accuracy(rows), -each.per_class))
    return (
        f"at_least must be {top.accuracy(rows):.3f} or less, got {options.at_least} ({wanted:.3f}): the best there is "
        f"is {top.name} at {top.per_class} pictures a class"
    )
