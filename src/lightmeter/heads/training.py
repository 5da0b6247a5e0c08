"""How networks learn: Adam over batches in a fixed order, resumable bit for bit, some classes at a time if wanted."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import Checkpoints, begun_run
from lightmeter.engines.order import Order
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.classifier import Classifier, Part, bare_net
from lightmeter.heads.examples import Batch, Examples, is_rated
from lightmeter.heads.feeding import Feed, Teacher, class_shares
from lightmeter.heads.learner import Learner, class_axes, measured_precision
from lightmeter.heads.losses import LOSSES, CrossEntropy, LogitAdjusted, Loss
from lightmeter.heads.net_head import NetHead, SeparableHead, check_blocks
from lightmeter.metrics.ranking import VideoScores
from lightmeter.parts import Spelled, need, render
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.heads.learner import Precision

TRAININGS: dict[str, str] = {"adam": "lightmeter.heads.training:Adam"}
_TELL_S = 0.5
_TOLD_ROWS = 256
_ENOUGH_STEPS, _GOOD_STEPS, _SMALL_BATCH = 100, 300, 64


@dataclass(frozen=True)
class Adam(Spelled):
    """Adam, its rate falling in steps; the defaults are those of YouTube-8M's starter.

    lr, decay, decay_every: the rate is lr·decay^⌊examples seen / decay_every⌋ · batch, epochs: see `engines.order`
    clip, clip_by: longest slope, of each `variable` (the starter), of each `class`, of `all` together, or `off`
    l2: weight of Σw²/2 over what the network says decays (`decayed`) · loss: see `heads.losses`
    support: share of the loss that goes to the stages before the answer, where a network has any
    drop: modality dropout, chance that a block is hidden, one always stays
    ema: 0, or how much a moving average of the weights keeps each step (0.999); it is what the classifier gets
    distil: share of the targets that a teacher gives, see `Plan`
    precision: of products; `auto` measures which is quicker here, the classifier says which it was
    Source: Kingma & Ba 2015; google/youtube-8m `train.py` (rate 0.01, batch 1,024, 5 epochs, clip 1.0 per variable).
    """

    lr: float = 0.01
    batch: int = 1024
    epochs: int = 5
    decay: float = 0.95
    decay_every: int = 4_000_000
    clip: float = 1.0
    clip_by: Literal["variable", "class", "all", "off"] = "variable"
    l2: float = 1e-8
    loss: Loss = field(default_factory=CrossEntropy)
    support: float = 0.1
    drop: float = 0.0
    ema: float = 0.0
    distil: float = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        if min(self.batch, self.epochs, self.decay_every) < 1:
            got = f"batch={self.batch}, epochs={self.epochs}, decay_every={self.decay_every}"
            raise InvalidValueError(f"batch, epochs and decay_every must be 1 or more, got {got}")
        for name, value in (("lr", self.lr), ("decay", self.decay), ("clip", self.clip)):
            if not 0 < value < math.inf:
                raise InvalidValueError(f"{name} must be above 0 and finite, got {value}")
        if not 0 <= self.l2 < math.inf:
            raise InvalidValueError(f"l2 must be 0 or more and finite, got {self.l2}")
        for name, value in (("drop", self.drop), ("ema", self.ema)):
            if not 0 <= value < 1:
                raise InvalidValueError(f"{name} must be 0 to below 1, got {value}")
        for name, value in (("support", self.support), ("distil", self.distil)):
            if not 0 <= value <= 1:
                raise InvalidValueError(f"{name} must be 0 to 1, got {value}")
        if not hasattr(self.loss, "ready"):
            raise InvalidValueError(f"loss must be one of {', '.join(LOSSES)}, got {render(self.loss)}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.lr * self.decay ** (step * self.batch // self.decay_every)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a run is beyond its recipe.

    class_shard: learn so many classes at a time, each shard all the way before the next; None: all together. The result
    is the same up to rounding; memory is that of a shard, and the examples are read once a shard
    only: number of the one shard to learn, for whoever learns them in several places; None: all of them
    teacher: what `distil` listens to, taught_by: its name, of which another is another run
    checkpoint_s: seconds between two checkpoints, where there is a folder for them
    note: hears, once all is checked and before the first step, a sentence where steps are too few (`few_steps`)
    """

    class_shard: int | None = None
    only: int | None = None
    teacher: Teacher | None = None
    taught_by: str = ""
    checkpoint_s: float = 60.0
    note: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """How a run goes, once or twice a second.

    done, total: examples, each counted once an epoch and shard · began: those of them that an earlier call had done
    loss: mean since it was told last, without l2
    gap: GAP@20 of some of the last batch as it was learnt from; None while a shard of the classes learns, and of rated
    segments
    part, parts: which shard of how many
    """

    done: int
    total: int
    loss: float
    gap: float | None
    part: int
    parts: int
    began: int = 0


class Tell(Protocol):
    """Hears how a run goes."""

    def __call__(self, told: Told) -> None:
        """Once or twice a second, and at the end of a part."""
        ...


def fit_net(
    head: NetHead, examples: Examples, *, training: Adam | None = None, seed: int = 0, folder: Path | None = None,
    plan: Plan | None = None, tell: Callable[[Told], None] | None = None,
) -> Classifier:  # fmt: skip
    """A classifier that has learnt from labelled examples.

    Same examples, head, training and seed: same classifier, bit for bit on one thread and one machine.
    folder: where checkpoints are kept; a run that was killed goes on from there, and ends as if nothing had happened.
    SIGINT ends the run after the step in flight, its state written, by KeyboardInterrupt.
    Raises InvalidValueError: no labels, blocks that the head does not read, options that do not go together.
    Cost: 2 to 3 times `macs` an example and epoch, and Adam's pass over the weights a step.
    """
    run = _Run(head, examples, training or Adam(), seed, folder, plan or Plan(), tell)
    torch = need("torch", "torch")
    torch.set_num_threads(threads())
    with torch.random.fork_rng(devices=[]), Stop() as stop:
        parts: list[Part] = []
        for number in run.numbers:
            if parts and stop.asked():
                raise KeyboardInterrupt
            parts.append(run.part(number, stop))
    return Classifier(head, tuple(examples.blocks), tuple(examples.label_names), tuple(parts), run.about())


def class_ranges(head: NetHead, training: Adam, classes: int, size: int | None) -> list[tuple[int, int]]:
    """The ranges of classes that are learnt one after the other; one of all for size None.

    Raises InvalidValueError where classes of this head, or with this training, cannot be learnt a few at a time.
    """
    if size is None:
        return [(0, classes)]
    if size < 1:
        raise InvalidValueError(f"--class-shard must be 1 or more, got {size}")
    why = head.separable() if isinstance(head, SeparableHead) else "its classes share weights: moe's do not"
    if why:
        raise InvalidValueError(f"{head.spec} cannot learn a few classes at a time: {why}")
    if training.clip_by in ("variable", "all"):
        raise InvalidValueError(
            f"clip_by={training.clip_by} measures slopes over all classes, so a class would learn otherwise alone "
            "than among the rest: take clip_by=class or clip_by=off with --class-shard"
        )
    return [(first, min(first + size, classes)) for first in range(0, classes, size)]


def check_net(head: NetHead, training: Adam, examples: Examples) -> None:
    """Raise InvalidValueError where a head makes no network of these blocks, or its weights are not clipped so.

    Cost: the network is built without weights, milliseconds.
    """
    classes = len(examples.label_names)
    net = bare_net(head, examples.blocks, (0, classes, classes))
    if training.clip_by == "class":
        class_axes(net)


def few_steps(training: Adam, items: int) -> str:
    """A sentence where so many examples are learnt from in too few steps, with a training that has enough; else empty.

    The training is quoted as a shell takes it.

    The bar is 100 steps: on made-up sets of 30 to 1,000 videos `moe` at the default rate had then 96 to 100 % of the
    GAP of 320 steps, after the few steps of the defaults (1 epoch a step) 73 to 90 %.
    """
    steps = Order(items, min(training.batch, items), training.epochs, 0).steps
    if steps >= _ENOUGH_STEPS:
        return ""
    batch = min(training.batch, _SMALL_BATCH, items)
    better = replace(training, batch=batch, epochs=math.ceil(_GOOD_STEPS * batch / items))
    return (
        f"{items} examples in batches of {min(training.batch, items)}, {training.epochs} times, are {steps} "
        f"step{'' if steps == 1 else 's'}, too few to learn much: try --training {shlex.quote(_changed(better))}"
    )


def tell_few(training: Adam, items: int, note: Callable[[str], None] | None) -> None:
    """Say the sentence of `few_steps` to who listens, where there is one."""
    told = few_steps(training, items)
    if told and note is not None:
        note(told)


def _changed(training: Adam) -> str:
    """Its spec, without what is as by default."""
    plain = Adam()
    options = {each.name: getattr(training, each.name) for each in fields(training)}
    kept = {name: value for name, value in options.items() if value != getattr(plain, name)}
    kept |= {"batch": training.batch, "epochs": training.epochs}
    return "adam/" + ",".join(f"{name}={render(kept[name])}" for name in options if name in kept)


class _Run:
    """One call of `fit_net`: everything checked before the first step."""

    def __init__(
        self, head: NetHead, examples: Examples, training: Adam, seed: int, folder: Path | None, plan: Plan,
        tell: Callable[[Told], None] | None,
    ) -> None:  # fmt: skip
        check_blocks(head, examples.blocks)
        if seed < 0:
            raise InvalidValueError(f"--seed must be 0 or more, got {seed}")
        self.head, self.examples, self.training, self.seed, self.plan = head, examples, training, seed, plan
        self.tell, self.note = tell or (lambda told: None), plan.note
        self.classes = len(examples.label_names)
        labels = examples.labels
        if labels is None or not len(labels.classes):
            raise InvalidValueError("examples must have labels to be learnt from, got none of them labelled")
        if isinstance(training.loss, LogitAdjusted) and is_rated(examples):
            raise InvalidValueError(
                "logit-adjusted must know how common classes are, got segments of which some are rated: take loss=bce"
            )
        self.labels, self.fingerprint = labels, examples.fingerprint
        if bool(training.distil) != (plan.teacher is not None):
            raise InvalidValueError(
                "distil and a teacher go together, got distil="
                + (
                    f"{training.distil} without one: give a --teacher too"
                    if training.distil
                    else "0 with one: say how much it counts, as --training adam/distil=0.5"
                )
            )
        self.ranges = class_ranges(head, self.training, self.classes, plan.class_shard)
        check_net(head, training, examples)
        self.order = Order(len(examples), min(training.batch, len(examples)), training.epochs, seed)
        self.precision = _precision(training, folder)
        self.checkpoints = None if folder is None else Checkpoints(folder, self.about(), plan.checkpoint_s)

    def about(self) -> dict[str, Any]:
        """What made the classifier; two runs that agree in it are one run."""
        return {
            "data": self.fingerprint,
            "head": self.head.spec,
            "training": self.training.spec,
            "seed": self.seed,
            "class_shard": self.plan.class_shard,
            "taught_by": self.plan.taught_by,
            "precision": self.precision,
        }

    @property
    def numbers(self) -> range:
        """Which ranges to learn."""
        only = self.plan.only
        if only is None:
            return range(len(self.ranges))
        if not 0 <= only < len(self.ranges):
            raise InvalidValueError(f"only must be 0 to {len(self.ranges) - 1}, got {only}")
        return range(only, only + 1)

    def part(self, number: int, stop: Stop) -> Part:
        """Learn one range of classes, or find it learnt."""
        first, last = self.ranges[number]
        kept = None if self.checkpoints is None else self.checkpoints.finished(number)
        if kept is not None:
            return Part(first, last, kept)
        learner = self._learner(first, last)
        self._learn(number, learner, stop)
        arrays = learner.learnt()
        if self.checkpoints is None:
            return Part(first, last, arrays)
        self.checkpoints.finish(number, arrays)
        del arrays, learner  # from here on the memory is the next part's
        return Part(first, last, self.checkpoints.finished(number) or {})

    def _learner(self, first: int, last: int) -> Learner:
        import torch

        torch.default_generator.manual_seed(self.seed)
        if self.plan.class_shard is None:
            net = self.head.net(self.examples.blocks, self.classes)
        else:
            assert isinstance(self.head, SeparableHead)
            net = self.head.part(self.examples.blocks, first, last, self.classes)
        loss = self.training.loss.ready(class_shares(self.labels, first, last), of=self.classes)
        return Learner(net, self.training, loss, precision=self.precision, seed=self.seed)

    def _learn(self, number: int, learner: Learner, stop: Stop) -> None:
        first, last = self.ranges[number]
        start = self._resumed(number, learner)
        tell_few(self.training, len(self.examples), self.note)
        self.note = None
        feed = Feed(
            self.examples, self.order, first, last, self.training.drop, self.plan.teacher, self.training.distil
        )  # fmt: skip
        voice = _Voice(self, number, start)
        for step, (batch, inputs) in enumerate(feed.batches(start), start):
            loss, scores = learner.step(step, inputs)
            voice.heard(step, loss, batch, scores)
            if step + 1 == self.order.steps:
                return
            if self.checkpoints is not None and (stop.asked() or self.checkpoints.due):
                self.checkpoints.keep(number, step + 1, learner.state())
            if stop.asked():
                raise KeyboardInterrupt

    def _resumed(self, number: int, learner: Learner) -> int:
        """The step to go on from."""
        found = None if self.checkpoints is None else self.checkpoints.latest(number)
        if found is None:
            return 0
        arrays, steps = found
        if steps >= self.order.steps:
            raise RejectedFileError("damaged", f"a checkpoint must be within {self.order.steps} steps, got {steps}")
        learner.restore(arrays, steps)
        return steps


def _precision(training: Adam, folder: Path | None) -> Precision:
    """As the recipe says, or as the run began that is to go on, or as it is quicker here."""
    if training.precision != "auto":
        return training.precision
    kept = None if folder is None else begun_run(folder).get("precision")
    return kept if kept in ("float32", "bfloat16") else measured_precision()


class _Voice:
    """Says how a part goes, not too often: measuring GAP of every batch would cost more than it says."""

    def __init__(self, run: _Run, number: int, start: int) -> None:
        self.run, self.number, self.start = run, number, start
        self.losses: list[float] = []
        self.said_s = 0.0

    def heard(self, step: int, loss: float, batch: Batch, scores: Any) -> None:
        """One step was taken."""
        self.losses.append(loss)
        now_s, ends = time.monotonic(), step + 1 == self.run.order.steps
        if now_s - self.said_s < _TELL_S and not ends:
            return
        steps, items = self.run.order.steps, self.run.order.batch
        parts = len(self.run.ranges)
        done, began = (self.number * steps + step + 1) * items, (self.number * steps + self.start) * items
        gap = self._gap(batch, scores) if parts == 1 else None
        self.run.tell(Told(done, parts * steps * items, float(np.mean(self.losses)), gap, self.number, parts, began))
        self.losses, self.said_s = [], now_s

    def _gap(self, batch: Batch, scores: Any) -> float | None:
        assert batch.labels is not None
        if batch.rated is not None:  # of most classes nobody knows
            return None
        rows = np.arange(min(len(batch), _TOLD_ROWS))
        some: Array = scores[: len(rows)].float().clamp(0, 1).numpy()
        labels = batch.labels.take(rows)
        if not len(labels.classes):
            return None
        return VideoScores(self.run.classes).update(some, labels).gap()[0]


def told_text(told: Told) -> str:
    """One phrase for a line of progress.

    >>> told_text(Told(10, 20, 12.345, 0.5, 0, 1))
    'loss 12.3 · GAP 0.500'
    """
    parts: Mapping[str, bool] = {
        f"classes {told.part + 1}/{told.parts}": told.parts > 1,
        f"loss {told.loss:.3g}": True,
        f"GAP {told.gap or 0:.3f}": told.gap is not None,
    }
    return " · ".join(text for text, shown in parts.items() if shown)
