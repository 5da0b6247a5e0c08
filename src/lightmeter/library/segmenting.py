"""From frames and masks to the segmenter that is worth its price: candidates fitted, scored, chosen, kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lightmeter.assets.files import write_whole
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.controls import mean_mask
from lightmeter.heads.segmenting.fitting import Run, fit_prepared, score_prepared
from lightmeter.heads.segmenting.prepared import Changes, Prepared, prepared
from lightmeter.heads.segmenting.protocol import MaskHead, mask_head
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.sweep import Sweep, run_sweep
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.media.clip_set import split_by_group
from lightmeter.meter.cost import Cost, measure
from lightmeter.meter.record import hash_of
from lightmeter.meter.trials import Frontier, Trial, choose
from lightmeter.metrics.masks import compared_masks
from lightmeter.parts import build, parse, render

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder
    from lightmeter.encoders.dense_cache import FeatureCache
    from lightmeter.heads.segmenting.fitting import MaskTold
    from lightmeter.media.clip_set import LabelledFrames
    from lightmeter.metrics.bootstrap import Interval

DEFAULT_ENCODER = "future-codes/maps=[stride2,stride4,stride8]"
DEFAULT_HEAD = "multi-scale/stride=4,width=32,blocks=2"
TRAINING, SWEEP = "training", "sweep"
_REQUEST = "request.json"
"""In TRAINING: what the run is of that was begun there."""
Price = Literal["cpu_s", "macs", "size_bytes"]
_OWN = frozenset({"model.json", "model.safetensors", TRAINING, SWEEP})
_PRICED = 4
_MOST_JSON_BYTES = 16 << 20


@dataclass(frozen=True)
class SegmentOptions:
    """What is fitted and how it is chosen.

    encoders, heads: specs, every encoder with every head · valid: share of the groups held out, for thresholds and the
    choice; 0: none, the threshold is then logit 0 and nothing is scored · sweep: options to try first, pair by pair
    at_least, within: bars on validation IoU and on `price`, of one frame (CPU-seconds, multiply–adds) or of the kept
    weights (bytes); without them the best is taken · anew: replace what stands of other requests, and a model that is
    whole; a run of the same request that was stopped goes on
    """

    encoders: tuple[str, ...] = (DEFAULT_ENCODER,)
    heads: tuple[str, ...] = (DEFAULT_HEAD,)
    training: MaskTraining = field(default_factory=MaskTraining)
    valid: float = 0.2
    seed: int = 0
    sweep: Sweep | None = None
    at_least: float | None = None
    within: float | None = None
    price: Price = "cpu_s"
    anew: bool = False

    def __post_init__(self) -> None:
        if not self.encoders or not self.heads or not 0 <= self.valid < 1:
            raise InvalidValueError(
                f"encoders and heads must be one at least and valid 0 to below 1, got {self.encoders}, {self.heads}, "
                f"{self.valid}"
            )
        chosen = len(self.encoders) * len(self.heads) > 1 or self.at_least is not None or self.within is not None
        if not self.valid and (chosen or self.sweep is not None):
            raise InvalidValueError("valid must be above 0 to choose among candidates, got 0: hold some groups out")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One encoder with one head, fitted.

    trial: validation IoU and what the answer to one frame takes; None where nothing was held out
    iou: its interval over groups, None as above · gain: of it less the mean mask's, on the same frames
    fit_cost: what learning took, features included where they were not kept already
    """

    segmenter: Segmenter
    fit_cost: Cost
    trial: Trial | None = None
    iou: Interval | None = None
    gain: Interval | None = None

    @property
    def name(self) -> str:
        """Encoder and head."""
        return f"{shortest(self.segmenter.encoder)} {shortest(self.segmenter.head)}"


@dataclass(frozen=True, eq=False)
class FittedSegmenter:
    """What a fit gave: the candidates in their order, the one that was kept, and how many frames were learnt from.

    again: the model stood already and nothing was done; there are then no candidates
    """

    segmenter: Segmenter
    candidates: tuple[Candidate, ...]
    chosen: Candidate | None
    frames: int
    held_out: int
    again: bool = False

    def frontier(self, price: Price = "cpu_s") -> Frontier | None:
        """The candidates that nothing beats on IoU and price; None where nothing was scored."""
        trials = [each.trial for each in self.candidates if each.trial is not None]
        return Frontier(trials, price) if trials else None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears how a fit goes.

    candidate: at the start of each: its number from 1, how many there are, its name · step: once or twice a second
    trial: each trial of a sweep with its number and how many there are
    """

    candidate: Callable[[int, int, str], None] = lambda number, total, name: None
    step: Callable[[MaskTold], None] | None = None
    trial: Callable[[Trial, int, int], None] | None = None


def fit_masks(
    labelled: LabelledFrames,
    out: Path,
    options: SegmentOptions | None = None,
    *,
    cache: FeatureCache | None = None,
    listener: Listener | None = None,
) -> FittedSegmenter:
    """Fit a segmenter on labelled frames and keep it in a folder.

    Frames are split by group: none of a group that was learnt from is scored. What is chosen on the held-out frames, by
    a threshold, a sweep or among candidates, flatters a little: score it on frames that neither set has.
    A run that was stopped goes on when it is called again, with `anew` or without, and ends as if nothing had happened.
    out: new, empty, or of an earlier call; what was fitted of other frames or options stands unless `anew`
    Raises InvalidValueError for another folder, for frames of one group, for held-out frames without a mask, before
    anything is learnt; where no candidate reaches the bars.
    """
    options, listener = options or SegmentOptions(), listener or Listener()
    check_segment_out(out)
    pairs = [(build(encoder, "dense-encoder"), mask_head(head)) for encoder in options.encoders
             for head in options.heads]  # fmt: skip
    request = _request(labelled, pairs, options)
    goes_on = _begun(out) == request
    kept = None if options.anew else _kept(out, request, goes_on=goes_on)
    if kept is not None:
        return kept
    train, valid = _split(labelled, options)
    if not goes_on:
        _begin(out, request, anew=options.anew)
    work = _Work(train, valid, out, options, cache, listener)
    found = [work.candidate(encoder, head, number, len(pairs)) for number, (encoder, head) in enumerate(pairs, 1)]
    chosen = _chosen(found, options)
    held_out = 0 if valid is None else len(valid)
    told = {"request": request, "held_out": held_out, "candidates": len(found)}
    segmenter = replace(chosen.segmenter, about={**chosen.segmenter.about, **told})
    segmenter.save(out)
    shutil.rmtree(out / TRAINING, ignore_errors=True)
    return FittedSegmenter(segmenter, tuple(found), chosen, len(train), held_out)


def _begun(out: Path) -> str:
    """The request of the run that was stopped in a folder; empty where there is none, or it does not say."""
    path = out / TRAINING / _REQUEST
    try:
        told = json.loads(path.read_bytes()) if path.stat().st_size <= _MOST_JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        return ""
    return str(told.get("request", "")) if isinstance(told, dict) else ""


def _begin(out: Path, request: str, *, anew: bool) -> None:
    """Say what the run is of, before it leaves anything else; with `anew` what another one left is removed.

    Checkpoints that stand without a word, or of another request, keep what is said of them: they know themselves
    whether they can be gone on with.
    """
    if anew:
        for name in (TRAINING, SWEEP):
            shutil.rmtree(out / name, ignore_errors=True)
    if not (out / TRAINING).exists():
        write_whole(out / TRAINING / _REQUEST, json.dumps({"request": request}) + "\n")


def _request(labelled: LabelledFrames, pairs: Sequence[tuple[DenseEncoder, MaskHead]], options: SegmentOptions) -> str:
    """What a model depends on: another request is another model."""
    sweep = None if options.sweep is None else repr(options.sweep)
    specs = [[encoder.fingerprint, head.spec] for encoder, head in pairs]
    rest = [options.training.spec, options.valid, options.seed, options.at_least, options.within, options.price]
    return hash_of([labelled.fingerprint, specs, rest, sweep])[:32]


def _kept(out: Path, request: str, *, goes_on: bool) -> FittedSegmenter | None:
    """The model that stands there, if it is what is asked for; another one is not replaced unasked.

    goes_on: it was asked already, by the run that was stopped
    """
    if not (out / "model.json").exists():
        return None
    found = Segmenter.load(out)
    if found.about.get("request") != request:
        if goes_on:
            return None
        raise InvalidValueError(
            f"{out} must be new, or of these frames and options, got another segmenter: take another folder, or begin "
            "anew"
        )
    return FittedSegmenter(
        found, (), None, int(found.about.get("frames", 0)), int(found.about.get("held_out", 0)), again=True
    )  # fmt: skip


def _split(labelled: LabelledFrames, options: SegmentOptions) -> tuple[LabelledFrames, LabelledFrames | None]:
    if not options.valid:
        return labelled, None
    if len(np.unique(labelled.groups)) < 2:
        raise InvalidValueError(
            "frames must be of two groups at least to hold one out, got one: add pictures of another scene or video, "
            "or learn with valid 0, which scores nothing"
        )
    some, others = split_by_group(labelled.groups, share=options.valid, seed=options.seed)
    for name, rows in (("learn from", some), ("be held out", others)):
        if not (labelled.masks[rows] == 1).any():
            raise InvalidValueError(f"frames to {name} must have a pixel inside somewhere, got none: take another seed")
    return labelled.take(some), labelled.take(others)


def _chosen(found: Sequence[Candidate], options: SegmentOptions) -> Candidate:
    trials = [each.trial for each in found]
    if len(found) == 1 and options.at_least is None and options.within is None:
        return found[0]
    scored = [each for each in trials if each is not None]
    bars: dict[str, Any] = {"at_least": options.at_least, "within": options.within}
    if options.at_least is None and options.within is None:
        bars["at_least"] = max(each.quality for each in scored)
    best = choose(scored, **bars, price=options.price)
    return next(each for each in found if each.trial is best)


class _Work:
    """Fits candidates one after the other; features of an encoder are made once for all its heads."""

    def __init__(
        self, train: LabelledFrames, valid: LabelledFrames | None, out: Path, options: SegmentOptions,
        cache: FeatureCache | None, listener: Listener,
    ) -> None:  # fmt: skip
        self.train, self.valid, self.out, self.options = train, valid, out, options
        self.cache, self.listener = cache, listener
        self._sets: tuple[DenseEncoder, Prepared, Prepared | None] | None = None

    def candidate(self, encoder: DenseEncoder, head: MaskHead, number: int, total: int) -> Candidate:
        """One of them."""
        self.listener.candidate(number, total, f"{shortest(encoder)} {shortest(head)}")
        training, seed = self.options.training, self.options.seed
        with measure() as meter:
            train, valid = self._prepared(encoder)
            if self.options.sweep is not None and valid is not None:
                head, training = self._swept(train, valid, head, number)
            run = Run(self.out / TRAINING / f"{number:03d}", self.cache, self.listener.step)
            made = fit_prepared(train, head, valid, training=training, seed=seed, run=run)
        cost = replace(meter.cost, size_bytes=made.size_bytes)
        return Candidate(made, cost) if valid is None else self._scored(made, valid, cost)

    def _prepared(self, encoder: DenseEncoder) -> tuple[Prepared, Prepared | None]:
        if self._sets is None or self._sets[0] != encoder:
            changes = Changes.of(self.options.training, self.options.seed)
            train = prepared(encoder, self.train, changes=changes, cache=self.cache)
            valid = None if self.valid is None else prepared(encoder, self.valid, cache=self.cache)
            self._sets = encoder, train, valid
        return self._sets[1], self._sets[2]

    def _swept(self, train: Prepared, valid: Prepared, head: MaskHead, number: int) -> tuple[MaskHead, MaskTraining]:
        assert self.options.sweep is not None
        found = run_sweep(
            train, valid, head, self.options.sweep, training=self.options.training,
            folder=self.out / SWEEP / f"{number:03d}", tell=self.listener.trial,
        )  # fmt: skip
        training: MaskTraining = build(found.best[1], "mask-training")
        return mask_head(found.best[0]), training

    def _scored(self, made: Segmenter, valid: Prepared, fit_cost: Cost) -> Candidate:
        labelled = valid.labelled
        scores = score_prepared(made, valid)
        blind = mean_mask(self.train)
        blind = blind.calibrated(blind.scores(labelled))
        sure = compared_masks([blind.scores(labelled), scores], rounds=500, groups=labelled.groups)
        price = frame_cost(made, labelled)
        iou = sure[1][0]["iou"]
        trial = Trial(f"{made.encoder.spec} {made.head.spec}", iou.value, price, quality_name="iou")
        return Candidate(made, fit_cost, trial, iou, sure[1][1]["iou"])


def frame_cost(segmenter: Segmenter, labelled: LabelledFrames) -> Cost:
    """What the answer to one frame takes, once warm: encoder and head, one frame at a time."""
    clips, at = labelled.clips[:_PRICED], labelled.at[:_PRICED]
    segmenter.predict_clips(clips[:1], at[:1])
    with measure() as meter:
        for row in range(len(clips)):
            segmenter.predict_clips(clips[row : row + 1], at[row : row + 1])
    return replace(meter.cost.shared_by(len(clips)), macs=segmenter.macs, size_bytes=segmenter.size_bytes)


def check_segment_out(out: Path) -> None:
    """Whether a segmenter may be written into a folder: new, empty, or one of ours, whole or begun.

    Raises InvalidValueError for any other, so that nobody's files are written into or over.
    """
    place = next(each for each in (out, *out.absolute().parents) if each.exists())
    if not place.is_dir():
        raise InvalidValueError(f"OUT must be a folder, got {out}, where {place} is a file: take another --out")
    if place != out:
        return
    names = {each.name for each in out.iterdir()}
    if not names <= _OWN or ("model.json" in names and not _is_ours(out / "model.json")):
        raise InvalidValueError(
            f"OUT must be new, empty or hold a segmenter, got {out} with other things in it: take another --out"
        )


def _is_ours(file: Path) -> bool:
    try:
        told = json.loads(file.read_bytes()) if file.stat().st_size <= _MOST_JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and str(told.get("schema", "")).startswith("lightmeter.segmenter/")


def segmenter_facts(segmenter: Segmenter) -> dict[str, Any]:
    """What a segmenter is, for people and JSON."""
    return {
        "encoder": segmenter.encoder.spec, "head": segmenter.head.spec, "training": segmenter.about.get("training"),
        "threshold": segmenter.threshold, "height": segmenter.height, "width": segmenter.width,
        "head_parameters": segmenter.head_parameters, "macs": segmenter.macs, "size_bytes": segmenter.size_bytes,
        "calibrated": segmenter.about.get("calibrated"),
    }  # fmt: skip


def shortest(part: Any) -> str:
    """The spec of a part without the options that are as they are anyway.

    >>> shortest(build("pixels/patch=2,frames=1", "dense-encoder")), shortest(build("pixels", "dense-encoder"))
    ('pixels/patch=2', 'pixels')
    """
    call = parse(part.spec)
    usual = {each.name: _default(each) for each in fields(part)}
    kept = [f"{name}={render(value)}" for name, value in call.options.items() if getattr(part, name) != usual[name]]
    return f"{call.name}/{','.join(kept)}" if kept else call.name


def _default(option: Field[Any]) -> Any:
    return option.default if option.default_factory is MISSING else option.default_factory()


def sweep_of(texts: Sequence[str], how: Literal["grid", "random", "halving"], draws: int, seed: int) -> Sweep:
    """A sweep from `option=value;value` texts, values spelled as in specs: `lr=0.01;0.001`, `loss=mask-dice;mask-bce`.

    Raises InvalidValueError for a text of another form, for an option that is named twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign or not name or name in found or not all(each.strip() for each in values.split(";")):
            raise InvalidValueError(
                f"a sweep must be option=value;value, each option once, got {text!r}: as lr=0.01;0.003;0.001"
            )
        found[name] = [_value(name, each.strip()) for each in values.split(";")]
    return Sweep(found, how=how, draws=draws, seed=seed)


def _value(name: str, text: str) -> Any:
    """A value as a spec spells it; losses are parts."""
    if name == "loss":
        return build(text, "mask-loss")
    return parse(f"option/value={text}").options["value"]
