"""Which options are best: a grid, draws, or successive halving; every trial logged, a stopped sweep goes on."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.heads.segmenting.fitting import fit_prepared, score_prepared
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.record import hash_of
from lightmeter.meter.trials import Frontier, Trial
from lightmeter.parts import build, parse, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightmeter.heads.segmenting.prepared import Prepared
    from lightmeter.heads.segmenting.protocol import MaskHead

    _Tried: TypeAlias = tuple[Trial, MaskHead, MaskTraining]

LOG, TABLE = "trials.jsonl", "trials.csv"
_CHANCE = 0x53E


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is tried.

    options: values to try by name of an option of the training (lr, weight_decay, loss, optimiser …) or of the head
    (width, blocks …); losses as parts · how: `grid`, all of them; `random`, `draws` of them, no two alike; `halving`,
    `draws` of them with few steps, the best of them with `eta` times the steps, until one is left with all its steps
    seeds: each trial is run with each of these, its quality the mean
    Source of halving: Jamieson and Talwalkar 2016, arXiv:1502.07943; a survivor starts anew with its longer schedule.
    """

    options: Mapping[str, Sequence[Any]]
    how: Literal["grid", "random", "halving"] = "grid"
    draws: int = 16
    eta: int = 3
    seeds: tuple[int, ...] = (0,)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in ("grid", "random", "halving"):
            raise InvalidValueError(f"how must be grid, random or halving, got {self.how!r}")
        if self.draws < 1 or self.eta < 2 or not self.seeds:
            raise InvalidValueError(f"draws must be 1 or more, eta 2 or more and seeds some, got {self}")
        if not self.options or not all(self.options.values()):
            raise InvalidValueError("options must name one at least, each with values to try")

    def choices(self) -> list[dict[str, Any]]:
        """What is tried first, in its order."""
        whole = [dict(zip(self.options, values, strict=True)) for values in itertools.product(*self.options.values())]
        if self.how == "grid" or self.draws >= len(whole):
            return whole
        drawn = np.random.default_rng([_CHANCE, self.seed]).permutation(len(whole))[: self.draws]
        return [whole[at] for at in np.sort(drawn)]

    def rungs(self, steps: int) -> list[tuple[int, int]]:
        """How many trials with how many steps, one rung after the other.

        >>> Sweep({"lr": [1, 2, 3, 4, 5, 6, 7, 8, 9]}, how="halving", draws=9).rungs(90)
        [(9, 10), (3, 30), (1, 90)]
        """
        count = len(self.choices())
        if self.how != "halving":
            return [(count, steps)]
        levels = math.floor(math.log(count, self.eta) + 1e-9)
        return [
            (max(1, count // self.eta**level), max(1, steps // self.eta ** (levels - level)))
            for level in range(levels + 1)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class SweepResult:
    """What a sweep found.

    trials: of the last rung, one a choice · all_trials: of every rung · frontier: IoU against CPU-seconds of learning
    best: spec of the head and of the training with the highest IoU, the cheaper among equals
    """

    trials: tuple[Trial, ...]
    all_trials: tuple[Trial, ...]
    frontier: Frontier
    best: tuple[str, str]


def run_sweep(
    train: Prepared,
    valid: Prepared,
    head: MaskHead,
    sweep: Sweep,
    *,
    training: MaskTraining | None = None,
    folder: Path | None = None,
    tell: Callable[[Trial, int, int], None] | None = None,
) -> SweepResult:
    """Try options of one head on frames whose features are there.

    Quality is the highest micro IoU on `valid` over all thresholds: it chooses, so that it flatters; score what was
    chosen on frames that neither set has.  Cost is that of learning, without the features.
    folder: keeps `trials.jsonl`, a line a trial and seed as it ends, and `trials.csv`; trials that stand there are not
    run again · tell: hears each trial with its number and how many there are
    Raises InvalidValueError for options that neither head nor training has.
    """
    return _Sweep(train, valid, sweep, _Log(folder, _key(train, valid)), tell).run(head, training or MaskTraining())


class _Sweep:
    def __init__(
        self, train: Prepared, valid: Prepared, sweep: Sweep, log: _Log, tell: Callable[[Trial, int, int], None] | None
    ) -> None:
        self.train, self.valid, self.sweep, self.log = train, valid, sweep, log
        self.tell = tell or (lambda trial, number, total: None)

    def run(self, head: MaskHead, training: MaskTraining) -> SweepResult:
        chosen = [_applied(head, training, choice) for choice in self.sweep.choices()]
        rungs = self.sweep.rungs(training.steps)
        total = sum(count for count, _ in rungs)
        tried: list[_Tried] = []
        kept: list[_Tried] = []
        for count, steps in rungs:
            kept = []
            for own_head, own_training in chosen[:count]:
                with_steps = own_training if len(rungs) == 1 else dataclasses.replace(own_training, steps=steps)
                trial = self._trial(own_head, with_steps)
                kept.append((trial, own_head, with_steps))
                tried.append(kept[-1])
                self.tell(trial, len(tried), total)
            ranked = sorted(range(len(kept)), key=lambda at: (-kept[at][0].quality, kept[at][0].cost.cpu_s))
            kept = [kept[at] for at in ranked]
            chosen = [chosen[at] for at in ranked]
        self.log.tabled(tried)
        trials = tuple(trial for trial, _, _ in kept)
        all_trials = tuple(trial for trial, _, _ in tried)
        return SweepResult(trials, all_trials, Frontier(trials), (kept[0][1].spec, kept[0][2].spec))

    def _trial(self, head: MaskHead, training: MaskTraining) -> Trial:
        """The mean over the seeds; those in the log are not run again."""
        found = [self._once(head, training, seed) for seed in self.sweep.seeds]
        costs = [cost for _, cost in found]
        total = costs[0]
        for cost in costs[1:]:
            total = total.plus(cost)
        ious = [iou for iou, _ in found]
        return Trial(
            f"{head.spec} {training.spec}", float(np.mean(ious)), total.shared_by(len(costs)), quality_name="iou",
            others={"iou_least": min(ious), "iou_most": max(ious)},
        )  # fmt: skip

    def _once(self, head: MaskHead, training: MaskTraining, seed: int) -> tuple[float, Cost]:
        kept = self.log.found(head.spec, training.spec, seed)
        if kept is not None:
            return kept
        with measure() as meter:
            made = fit_prepared(self.train, head, training=training, seed=seed)
        threshold, iou = score_prepared(made, self.valid).best_threshold()
        cost = dataclasses.replace(meter.cost, size_bytes=made.size_bytes)
        self.log.add(
            {"head": head.spec, "training": training.spec, "seed": seed, "iou": iou, "threshold": threshold}, cost
        )
        return iou, cost


class _Log:
    """`trials.jsonl`: a line a run that ended; a line that was cut off when the sweep was killed is left out."""

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key
        self.rows: dict[tuple[str, str, int], tuple[float, Cost]] = {}
        if folder is not None and (folder / LOG).exists():
            self._read(folder / LOG)

    def _read(self, path: Path) -> None:
        lines = path.read_text("utf-8").split("\n")
        for number, line in enumerate(lines[:-1], 1):  # what follows the last line's end was cut off
            try:
                row = json.loads(line)
                place = (str(row["head"]), str(row["training"]), int(row["seed"]))
                found = float(row["iou"]), Cost.from_json(row["cost"])
                key = row["sets"]
            except (ValueError, TypeError, KeyError) as error:
                raise RejectedFileError(
                    "damaged", f"line {number} of {path} must be a trial: {error!s:.100}"
                ) from error
            if key != self.key:
                raise InvalidValueError(
                    f"{path} must be of these frames and this encoder, got others: take another folder"
                )
            self.rows[place] = found
        if lines[-1]:
            write_whole(path, "\n".join([*lines[:-1], ""]))

    def found(self, head: str, training: str, seed: int) -> tuple[float, Cost] | None:
        """What was logged of a run."""
        return self.rows.get((head, training, seed))

    def add(self, row: Mapping[str, Any], cost: Cost) -> None:
        """One run has ended."""
        self.rows[row["head"], row["training"], row["seed"]] = (row["iou"], cost)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "cost": cost.as_json(), "sets": self.key}) + "\n")

    def tabled(self, tried: Sequence[_Tried]) -> None:
        """Write all trials as a table, a column an option."""
        if self.folder is None:
            return
        rows = []
        for trial, own_head, own_training in tried:
            head, training = parse(own_head.spec), parse(own_training.spec)
            options = {f"head.{name}": render(value) for name, value in head.options.items()}
            options |= {name: render(value) for name, value in training.options.items()}
            rows.append(
                {"iou": trial.quality, **trial.others, **trial.cost.as_json(), "head": head.name, **options}
            )  # fmt: skip
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.folder / TABLE, text.getvalue())


def _key(train: Prepared, valid: Prepared) -> str:
    """What a trial's quality depends on beside its specs."""
    parts = [
        [each.encoder.fingerprint, each.labelled.fingerprint, list(dataclasses.astuple(each.changes))]
        for each in (train, valid)
    ]  # fmt: skip
    return hash_of(parts)


def _applied(head: MaskHead, training: MaskTraining, choice: Mapping[str, Any]) -> tuple[MaskHead, MaskTraining]:
    """Head and training with some options changed, each where it stands."""
    of_training = {each.name for each in dataclasses.fields(training)}
    of_head = {each.name for each in dataclasses.fields(head)}  # type: ignore[arg-type]  # every recipe is a dataclass
    unknown = sorted(set(choice) - of_training - of_head)
    if unknown:
        raise InvalidValueError(
            f"options must be of {head.spec.partition('/')[0]} or of its training, got {unknown[0]}: there is "
            f"{', '.join(sorted(of_head | of_training))}"
        )
    told = ", ".join(f"{name}={value}" for name, value in choice.items())
    try:
        changed_training = dataclasses.replace(
            training, **{name: choice[name] for name in choice if name in of_training}
        )
        changed_head = dataclasses.replace(  # type: ignore[type-var]
            head, **{name: choice[name] for name in choice if name not in of_training}
        )
        return build(changed_head.spec, "mask-head"), build(changed_training.spec, "mask-training")
    except TypeError as error:
        raise InvalidValueError(
            f"values to try must be of their option's kind, got {told}: numbers for numbers"
        ) from error
