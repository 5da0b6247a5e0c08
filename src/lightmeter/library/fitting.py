"""Classifiers fitted on sets and libraries and kept in a folder; `library.scoring` asks and scores them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.assets.files import file_sha256
from lightmeter.engines.checkpoints import differences
from lightmeter.engines.events import Event
from lightmeter.errors import InvalidValueError
from lightmeter.heads.answering import Answering, load_answering, view_of
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Batch, Block, Chosen, Examples, narrowed
from lightmeter.heads.net_head import ClosedHead, NetHead, check_blocks
from lightmeter.heads.small import check_budget, shrink
from lightmeter.heads.training import Adam, Plan, Told, class_ranges, fit_net
from lightmeter.library.example_layout import MANIFEST
from lightmeter.library.example_set import open_set
from lightmeter.library.own_folder import check_own
from lightmeter.library.scoring import COUNTS
from lightmeter.library.sharding import FitShards, fit_sharded
from lightmeter.types import Array

TRAINING = "training"
"""Folder below a model's where checkpoints stand while it learns."""
_OWN = {"model.json", "model.safetensors", "ridge", "members", "by", TRAINING}
_CHECKPOINT = re.compile(r"(step|done|shard)-\d+|run")  # of `engines.checkpoints` and `library.sharding`
_MOST_MODEL_BYTES = 64 << 20
_DEV = 0xDE7


@dataclass(frozen=True, slots=True, eq=False)
class FitOptions:
    """What to learn.

    blocks: names; None: all that the head reads · dev: share of the examples that is kept from learning and scored
    anew: begin again where a run of the same name stands · plan: see `heads.training`
    most_bytes: what a network may weigh (`heads.small.shrink`); formats are compared on what `dev` keeps, else on what
    was learnt from
    """

    head: NetHead | ClosedHead
    training: Adam
    blocks: tuple[str, ...] | None = None
    dev: float = 0.0
    seed: int = 0
    anew: bool = False
    plan: Plan = Plan()  # noqa: RUF009  frozen
    most_bytes: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.dev < 1:
            raise InvalidValueError(f"--dev must be from 0 to below 1, got {self.dev}")
        if self.most_bytes is not None and not isinstance(self.head, NetHead):
            raise InvalidValueError(
                f"--most-size must be of a network, got {self.head.spec}: take one, or leave it out"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What `fit` made.

    learnt_from: examples · again: it stood there already · dev: what is left to score, or None
    lost: labels of which all examples went to `dev`, so that none could be learnt from
    """

    classifier: Answering
    learnt_from: int
    dev: Examples | None
    again: bool
    lost: tuple[str, ...] = ()


def fit(
    examples: Examples, out: Path, options: FitOptions, *, tell: Callable[[Told], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Fitted:  # fmt: skip
    """Learn, and keep the classifier in a folder; stopped or killed, the same call goes on.

    Checkpoints stand in OUT/training until the model does. A model of another run that stands in OUT is not
    overwritten, unless `anew`.  note: hears, before anything is learnt, sentences on what may be learnt badly.
    Raises InvalidValueError.  Cost: see `fit_net`.
    """
    check_out(out)
    chosen, note = _chosen(examples, options), note or (lambda text: None)
    learn, dev = _split(chosen, options)
    lost = _lost(chosen, learn)
    if lost:
        note(
            f"--dev keeps all examples of {len(lost)} of {len(chosen.label_names)} classes from learning "
            f"({', '.join(lost[:3])}{', …' if len(lost) > 3 else ''}): take a smaller share, or another --seed"
        )
    head = options.head
    if isinstance(head, NetHead) and options.most_bytes is not None:
        _check_size(head, chosen, options, options.most_bytes)
    _clear(out, options)
    if (out / "model.json").is_file():
        return Fitted(_same_run(out, learn, options), len(learn), dev, again=True, lost=lost)
    if isinstance(head, NetHead):
        net = fit_net(
            head, learn, training=options.training, seed=options.seed, folder=out / TRAINING,
            plan=replace(options.plan, note=note), tell=tell,
        )  # fmt: skip
        net = net if options.most_bytes is None else _shrunk(net, options.most_bytes, dev or learn)
        classifier: Answering = replace(net, about={**net.about, COUNTS: _label_counts(learn)})
    else:
        classifier = head.fit(learn, about={**_run_of(learn, options), COUNTS: _label_counts(learn)})
    return Fitted(_kept(classifier, out), len(learn), dev, again=False, lost=lost)


def _check_size(head: NetHead, examples: Examples, options: FitOptions, most_bytes: int) -> None:
    """Whether any format can be small enough is known before anything is learnt."""
    check_blocks(head, examples.blocks)
    classes = len(examples.label_names)
    ranges = class_ranges(head, options.training, classes, options.plan.class_shard)
    check_budget(head, examples.blocks, classes, most_bytes, ranges=ranges)


def _lost(whole: Examples, learn: Examples) -> tuple[str, ...]:
    """Labels that examples of the whole have and none of those that are learnt from."""
    before, after = _label_counts(whole), _label_counts(learn)
    return tuple(whole.label_names[at] for at, count in enumerate(before) if count and not after[at])


def _label_counts(examples: Examples) -> list[int]:
    """How often each label is there: `evaluate --deep` ranks classes by it."""
    labels = examples.labels
    return [] if labels is None else np.bincount(labels.classes, minlength=labels.count).tolist()


def _shrunk(net: Classifier, most_bytes: int, compared: Examples) -> Classifier:
    small = shrink(net, most_bytes, compared)
    return replace(small, about={**small.about, "most_bytes": most_bytes})


def _chosen(examples: Examples, options: FitOptions) -> Examples:
    """The blocks that are learnt from: those that were named, else all of a kind that the head reads."""
    names = options.blocks
    if names is None:
        names = tuple(block.name for block in examples.blocks if block.kind in options.head.takes)
        if not names:
            kinds = " or ".join(options.head.takes)
            got = ", ".join(f"{block.name} ({block.kind})" for block in examples.blocks)
            raise InvalidValueError(
                f"{options.head.spec.partition('/')[0]} must read {kinds}, got {got}: take another head"
            )
    return Chosen.of(examples, blocks=names)


def _split(examples: Examples, options: FitOptions) -> tuple[Examples, Examples | None]:
    """Those to learn from, and those that are kept from it; drawn by the seed."""
    count = round(len(examples) * options.dev)
    if not count:
        if options.dev:
            raise InvalidValueError(f"--dev must leave an example out, got {options.dev} of {len(examples)}")
        return examples, None
    order = np.random.default_rng([_DEV, options.seed]).permutation(len(examples))
    kept, learn = np.sort(order[:count]), np.sort(order[count:])
    if not len(learn):
        raise InvalidValueError(f"--dev must leave an example to learn from, got {options.dev} of {len(examples)}")
    return Chosen.of(examples, rows=learn), Chosen.of(examples, rows=kept)


def _run_of(learn: Examples, options: FitOptions) -> dict[str, Any]:
    """What a model is of: two runs that agree in it make one model.  A closed form has no training and no chance."""
    data = {"data": learn.fingerprint, "head": options.head.spec}
    if not isinstance(options.head, NetHead):
        return data
    plan = options.plan
    steps = {"training": options.training.spec, "seed": options.seed, "class_shard": plan.class_shard}
    return {**data, **steps, "taught_by": plan.taught_by, "most_bytes": options.most_bytes}


def _same_run(out: Path, learn: Examples, options: FitOptions) -> Answering:
    """The model that stands there, when it is what would be made now."""
    found, wanted = load_answering(out), _run_of(learn, options)
    apart = differences(found.about, wanted)
    if apart:
        raise InvalidValueError(
            f"OUT must be free or hold this very model, got one whose {apart}: take another --out, or replace it with "
            "--anew"
        )
    return found


def fit_on(
    data: Path, out: Path, options: FitOptions, *, engine: Any, events: Callable[[Event, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Fitted:  # fmt: skip
    """As `fit`, shards of classes of a set learnt by the workers of an engine (`library.sharding`).

    events: hears every event of the engine, and how many shards there are · note: see `fit`

    Raises InvalidValueError for a library: workers open a set by its folder.
    """
    if not (data / MANIFEST).is_file():
        raise InvalidValueError(f"DATA must be a set to be learnt from on an engine, got {data}: leave --engine out")
    check_out(out)
    chosen = _chosen(open_set(data), options)
    _clear(out, options)
    if (out / "model.json").is_file():
        return Fitted(_same_run(out, chosen, options), len(chosen), None, again=True)
    assert options.plan.class_shard is not None, "the command sees to it"
    stage = FitShards(
        data.absolute(), options.head.spec, options.training.spec, options.plan.class_shard,
        (out / TRAINING).absolute(), options.seed, tuple(block.name for block in chosen.blocks),
    )  # fmt: skip
    shards = -(-len(chosen.label_names) // options.plan.class_shard)
    classifier = fit_sharded(
        stage, engine=engine, events=None if events is None else lambda e: events(e, shards), note=note
    )  # fmt: skip
    classifier = replace(classifier, about={**classifier.about, COUNTS: _label_counts(chosen)})
    return Fitted(_kept(classifier, out), len(chosen), None, again=False)


def check_out(out: Path) -> None:
    """Whether a model may be written into a folder: a new or empty one, or one of a model, whole or begun.

    Raises InvalidValueError for any other, so that no set, library or folder of videos is written into.
    """
    check_own(out, _stranger, "a model", called="--out")


def _stranger(out: Path) -> str:
    names = {each.name for each in out.iterdir()}
    begun = out / TRAINING
    if TRAINING in names:  # it goes once the model stands: nobody's files may lie there
        if not begun.is_dir():
            return TRAINING
        others = [each.name for each in begun.iterdir() if not _CHECKPOINT.match(each.name)]
        if others:
            return f"{TRAINING}/{min(others)}"
    if "model.json" in names:
        return "" if _is_model(out / "model.json") else "model.json"
    return min(names - _OWN, default="")


def _is_model(file: Path) -> bool:
    """Whether a `model.json` is one that we wrote, not that of another program."""
    try:
        told = json.loads(file.read_bytes()) if file.stat().st_size <= _MOST_MODEL_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and str(told.get("schema")).startswith("lightmeter.")


def _clear(out: Path, options: FitOptions) -> None:
    """Make room, where that was asked for."""
    if options.anew:
        for old in (out / TRAINING, out / "model.json", out / "model.safetensors", out / "ridge"):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)


def _kept(classifier: Answering, out: Path) -> Answering:
    classifier.save(out)
    shutil.rmtree(out / TRAINING, ignore_errors=True)
    return load_answering(out)


def with_teacher(options: FitOptions, teacher: Path, examples: Examples) -> FitOptions:
    """The same options, listening to a model that stands in a folder; it must read the same blocks and classes.

    Raises InvalidValueError for one with other labels, or that reads a block which is not here, or here otherwise.
    """
    model = load_answering(teacher)
    if model.label_names != tuple(examples.label_names):
        raise InvalidValueError(f"--teacher must have the labels of DATA in their order, got others in {teacher}")
    chosen = _chosen(examples, options)
    lacking = [each.name for each in model.blocks if each.name not in {own.name for own in chosen.blocks}]
    if lacking:
        raise InvalidValueError(f"--teacher reads {lacking[0]}, which is not learnt from here: name it in --blocks too")
    try:
        view_of(model.blocks, chosen)
    except InvalidValueError as error:
        raise InvalidValueError(f"--teacher {teacher} does not read this data: {error}") from error
    name = file_sha256(teacher / "model.json")
    return replace(options, plan=replace(options.plan, teacher=_Narrow(model, chosen.blocks), taught_by=name))


@dataclass(frozen=True, slots=True, eq=False)
class _Narrow:
    """A teacher that reads some of the blocks of a batch."""

    model: Answering
    blocks: tuple[Block, ...]

    def scores(self, batch: Batch) -> Array:
        return self.model.scores(narrowed(batch, self.blocks, self.model.blocks))
