"""Work on example sets that is cut into pieces for any engine: classes learnt shard by shard, sets scored in parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.assets.saving import ABOUT
from lightmeter.engines.events import Event
from lightmeter.engines.ledger import Ledger
from lightmeter.engines.limits import Limits
from lightmeter.engines.run import run
from lightmeter.engines.stage import Beat, Failure, Result, Task
from lightmeter.errors import InvalidValueError, WorkerError
from lightmeter.heads.answering import Answering, load_answering
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Chosen, Examples
from lightmeter.heads.learner import measured_precision
from lightmeter.heads.net_head import check_blocks, net_head
from lightmeter.heads.training import Adam, Plan, check_net, class_ranges, fit_net, tell_few
from lightmeter.library.example_set import open_set
from lightmeter.library.scoring import Scores, add, labels_turned, rows_at_once, scorer
from lightmeter.metrics.ranking import VideoScores
from lightmeter.metrics.segments import SegmentScores
from lightmeter.parts import build
from lightmeter.types import Labels

TRAINING_LIMITS = Limits(silent_s=900.0, total_s=7 * 86_400.0, memory_bytes=16 << 30)
SCORING_LIMITS = Limits(silent_s=300.0, memory_bytes=16 << 30)


@dataclass(frozen=True, slots=True)
class FitShards:
    """Learns one range of classes a task; a stage for any engine.

    data: folder of a set · head, training: specs, of a head that is separable and of a training that does not clip over
    all classes · class_shard: classes a task · folder: where checkpoints and what is learnt are kept, the same for all
    workers · blocks: names of those to learn from, None: all
    """

    data: Path
    head: str
    training: str
    class_shard: int
    folder: Path
    seed: int = 0
    blocks: tuple[str, ...] | None = None

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results.  Cost: the manifest of the set is read."""
        data = self.examples().fingerprint
        return (
            f"fit-shards-1/data={data},head={self.head},training={self.training},seed={self.seed},"
            f"class_shard={self.class_shard}"
        )

    def examples(self) -> Examples:
        """What is learnt from."""
        whole = open_set(self.data)
        return whole if self.blocks is None else Chosen.of(whole, blocks=self.blocks)

    @property
    def plan(self) -> Plan:
        """As `fit_net` takes it."""
        return Plan(class_shard=self.class_shard)

    def recipe(self) -> Adam:
        """The training."""
        made: Adam = build(self.training, "training")
        return made

    def open(self) -> None:
        """Every task opens the set itself: it is mapped, not read."""

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """Learn the ranges of these tasks; what was learnt stays in `folder`, the result only says so."""
        return [self._learn(task, beat) for task in tasks]

    def _learn(self, task: Task, beat: Beat) -> Result:
        number = int(task.payload["shard"])
        if not _learnt(self.folder, number):
            beat()
            fit_net(
                net_head(self.head), self.examples(), training=self.recipe(), seed=self.seed,
                folder=_place(self.folder, number), plan=replace(self.plan, only=number), tell=lambda told: beat(),
            )  # fmt: skip
        return Result(task.key, {"shard": number})


def fit_sharded(
    stage: FitShards, *, engine: Any, limits: Limits = TRAINING_LIMITS, events: Callable[[Event], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Classifier:  # fmt: skip
    """The classifier that `fit_net` with this `class_shard` gives, its shards learnt by the workers of an engine.

    Equal to it bit for bit on machines of one kind, and to training without shards up to rounding. Killed anywhere, the
    same call goes on: finished shards stay, and one under way goes on from its checkpoint. The products' precision is
    measured here, once, so that all workers use the same.  note: see `Plan`
    Raises what `fit_net` raises before any work; WorkerError where a shard could not be learnt.
    Cost: each shard reads all examples once an epoch; `folder` must be the same place for all workers.
    """
    recipe = stage.recipe()
    if recipe.precision == "auto":
        stage = replace(stage, training=replace(recipe, precision=measured_precision()).spec)
    examples = stage.examples()
    count = _shards(stage, examples)
    tell_few(stage.recipe(), len(examples), note)
    with Ledger.open(stage.folder / "run") as ledger:
        fingerprint = stage.fingerprint
        ledger.forget(ledger.failed(fingerprint), fingerprint)
        tasks = [Task(f"shard-{number}", {"shard": number}) for number in range(count)]
        done = run(
            stage, tasks, _Mover(stage.folder), ledger=ledger, engine=engine, limits=limits, batch_size=1, events=events
        )
        if done.stopped:
            raise KeyboardInterrupt
        if done.failed:
            failure = next(iter(ledger.failed(fingerprint).values()))
            raise WorkerError(
                f"every shard must be learnt, got {done.failed} of {count} that failed: {failure.reason}: "
                f"{failure.detail}"
            )
    head = net_head(stage.head)
    return fit_net(
        head, examples, training=stage.recipe(), seed=stage.seed, folder=stage.folder, plan=stage.plan
    )  # fmt: skip


def _shards(stage: FitShards, examples: Examples) -> int:
    """How many there are; a recipe that cannot be cut is refused here, and not by a worker."""
    head, training = net_head(stage.head), stage.recipe()
    check_blocks(head, examples.blocks)
    if examples.labels is None:
        raise InvalidValueError("examples must have labels to be learnt from, got none of them labelled")
    if training.distil:
        raise InvalidValueError("classes learnt on an engine have no teacher: leave distil out")
    ranges = class_ranges(head, training, len(examples.label_names), stage.class_shard)
    check_net(head, training, examples)
    return len(ranges)


def _place(folder: Path, number: int) -> Path:
    """Where the checkpoints of one shard are kept while it is learnt."""
    return folder / f"shard-{number:05d}"


def _learnt(folder: Path, number: int) -> bool:
    return (folder / f"done-{number:05d}").is_dir() or (_place(folder, number) / f"done-{number:05d}").is_dir()


@dataclass(frozen=True, slots=True)
class _Mover:
    """Brings what the workers have learnt into one folder; the one writer there."""

    folder: Path

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        for result in results:
            place = _place(self.folder, int(result.value["shard"]))
            for done in place.glob("done-*"):
                done.rename(self.folder / done.name)
            shutil.rmtree(place, ignore_errors=True)


# -- scoring ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class ScoreRows:
    """Scores a range of a set's items a task; a stage for any engine.

    model, data: folders · without: blocks to be taken for absent
    """

    model: Path
    data: Path
    top: int = 20
    without: tuple[str, ...] = ()
    _open: tuple[Answering, Examples, Callable[[Labels], Labels]] | None = field(default=None, repr=False)

    @property
    def fingerprint(self) -> str:
        """Names all that changes the results."""
        model, data = file_sha256(self.model / ABOUT), open_set(self.data).fingerprint
        return f"score-rows-2/model={model},data={data},top={self.top},without={','.join(self.without)}"

    def open(self) -> None:
        """Load the model and map the set."""
        classifier = load_answering(self.model)
        examples = classifier.view(open_set(self.data), without=self.without)
        self._open = classifier, examples, labels_turned(classifier.label_names, examples)

    def run(self, tasks: Sequence[Task], beat: Beat) -> Sequence[Result | Failure]:
        """The state of `VideoScores` of each range; of `SegmentScores`, where people rated class by class."""
        assert self._open is not None, "run before open"
        classifier, examples, turn = self._open
        step = rows_at_once(examples.blocks)
        outcomes: list[Result | Failure] = []
        for task in tasks:
            scores = scorer(classifier.classes, examples, self.top)
            for start in range(task.payload["first"], task.payload["last"], step):
                batch = examples.batch(np.arange(start, min(start + step, task.payload["last"])))
                add(scores, classifier.scores(batch), batch, turn)
                beat()
            outcomes.append(Result(task.key, scores.state()))
        return outcomes


def score_sharded(
    stage: ScoreRows, folder: Path, *, engine: Any, rows: int = 16_384,
    events: Callable[[Event, int], None] | None = None,
) -> Scores:  # fmt: skip
    """The scores of a model on all items of a labelled set, a range of rows a task; `result()` gives the metrics.

    Equal to scoring in one process (`scoring.evaluate`), since scores merge exactly. folder: of the run's ledger;
    nothing that was scored is kept there, so a run that was killed starts anew.
    events: hears every event of the engine, and how many ranges there are
    Raises InvalidValueError for a set without labels, WorkerError where a range could not be scored.
    Memory: about 7·top + 20 bytes an item here.
    """
    stage, kept = replace(stage, model=stage.model.absolute(), data=stage.data.absolute(), _open=None), _Merger()
    classifier = load_answering(stage.model)
    examples = classifier.view(open_set(stage.data), without=stage.without)
    labels_turned(classifier.label_names, examples)
    step = rows_at_once(examples.blocks)
    rows = rows // step * step or rows  # so that batches are those of one process, to the bit
    tasks = [
        Task(f"rows-{first}", {"first": first, "last": min(first + rows, len(examples))})
        for first in range(0, len(examples), rows)
    ]
    with Ledger.open(folder) as ledger:
        ledger.remember = False
        ledger.forget(ledger.failed(stage.fingerprint), stage.fingerprint)
        done = run(
            stage, tasks, kept, ledger=ledger, engine=engine, limits=SCORING_LIMITS, batch_size=1,
            events=None if events is None else lambda event: events(event, len(tasks)),
        )  # fmt: skip
    if done.stopped:
        raise KeyboardInterrupt
    if done.failed:
        raise WorkerError(f"every range must be scored, got {kept.why}")
    return kept.merged(scorer(classifier.classes, examples, stage.top))


@dataclass(slots=True)
class _Merger:
    """Keeps the state of each range, and why one failed."""

    parts: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    why: str = ""

    def write(self, results: Sequence[Result], failures: Sequence[Failure]) -> None:
        for result in results:
            self.parts[int(result.key.removeprefix("rows-"))] = result.value
        for failure in failures:
            self.why = f"{failure.key}: {failure.reason}: {failure.detail}"

    def merged(self, whole: Scores) -> Scores:
        """All parts, in the order of the set."""
        for _, state in sorted(self.parts.items()):
            if isinstance(whole, VideoScores):
                whole = whole.merge(VideoScores.from_state(state))
            else:
                whole = whole.merge(SegmentScores.from_state(state))
        return whole
