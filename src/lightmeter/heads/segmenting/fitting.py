"""From labelled frames to a segmenter: features once, then a head that learns on them; or encoder and head together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.encoders.runtime import threads
from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.engines.order import Order
from lightmeter.engines.steps import take_steps
from lightmeter.engines.stop import Stop
from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.dual import LinearDual
from lightmeter.heads.segmenting.learning import Batches, FeatureSource, FrameSource, MaskLearner, Source
from lightmeter.heads.segmenting.prepared import Changes, Prepared, channel_moments, prepared
from lightmeter.heads.segmenting.protocol import one_stride
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.training import MaskTraining
from lightmeter.metrics.masks import NOT_JUDGED, MaskScores
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder
    from lightmeter.encoders.dense_cache import FeatureCache
    from lightmeter.heads.segmenting.protocol import MaskHead
    from lightmeter.media.clip_set import LabelledFrames

_TELL_S = 0.5
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class MaskTold:
    """How a run goes, once or twice a second and at the end.

    step, steps: done and in all · began: steps that an earlier call had done · loss: mean since it was told last
    iou: micro IoU of the last batch as it was learnt from, at logit 0; NaN where it has nothing to find
    """

    step: int
    steps: int
    began: int
    loss: float
    iou: float


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is beyond its recipe.

    folder: where checkpoints are kept; a run that was killed goes on from there and ends as if nothing had happened
    cache: keeps features by content; None: they are made anew · tell: hears how it goes
    checkpoint_s: seconds between two checkpoints
    """

    folder: Path | None = None
    cache: FeatureCache | None = None
    tell: Callable[[MaskTold], None] | None = None
    checkpoint_s: float = 60.0


def fit_segmenter(
    encoder: DenseEncoder,
    head: MaskHead,
    train: LabelledFrames,
    valid: LabelledFrames | None = None,
    *,
    training: MaskTraining | None = None,
    seed: int = 0,
    run: Run | None = None,
) -> Segmenter:
    """A segmenter that has learnt from labelled frames.

    valid: frames of other scenes, on which the threshold is found that gives the highest micro IoU; None: logit 0.
    Split by scene (`media.clip_set.split_by_group`): frames of one clip are all but the same picture.
    Same everything, same seed: same segmenter, bit for bit on one thread and one machine.  SIGINT ends the run after
    the step in flight, its state written, by KeyboardInterrupt.
    Cost: the encoder's for every frame once, then three times the head's `macs` a frame and step.
    Raises InvalidValueError: scenes in both sets, an empty set, a head that cannot read the maps, no mask anywhere.
    """
    training, run = training or MaskTraining(), run or Run()
    if valid is not None and np.intersect1d(train.groups, valid.groups).size:
        raise InvalidValueError("train and valid must not share a scene, got some in both: split by group")
    own = prepared(encoder, train, changes=Changes.of(training, seed), cache=run.cache)
    other = None if valid is None else prepared(encoder, valid, cache=run.cache)
    return fit_prepared(own, head, other, training=training, seed=seed, run=run)


def fit_prepared(
    train: Prepared,
    head: MaskHead,
    valid: Prepared | None = None,
    *,
    training: MaskTraining | None = None,
    seed: int = 0,
    run: Run | None = None,
) -> Segmenter:
    """The same of frames whose features are there: for many heads, losses or seeds on one encoder."""
    training, run = training or MaskTraining(), run or Run()
    if train.changes != Changes.of(training, train.changes.seed):
        raise InvalidValueError(
            f"features must be of the training's copies, got {train.changes}: prepare with Changes.of(training, seed)"
        )
    torch = need("torch", "torch")
    torch.set_num_threads(threads())
    with torch.random.fork_rng(devices=[]), Stop() as stop:
        net = _Fit(train, head, training, seed, run).learnt(stop)
    arrays = {name: each.detach().numpy().copy() for name, each in net.state_dict().items()}
    about = {
        "data": train.labelled.fingerprint, "training": training.spec, "seed": seed, "frames": len(train.labelled),
    }  # fmt: skip
    made = Segmenter(
        train.encoder, head, arrays, 0.0, train.height, train.width,
        tuned=training.fine_tune > 0, standardised=training.standardise, about=about,
    )  # fmt: skip
    return made if valid is None else made.calibrated(score_prepared(made, valid))


def score_prepared(segmenter: Segmenter, valid: Prepared, *, tolerance_px: float = 1.0) -> MaskScores:
    """Scores of a segmenter on frames whose features are there, at the size of their masks.

    Raises InvalidValueError for features of another encoder or size.
    """
    same = (valid.height, valid.width) == (segmenter.height, segmenter.width)
    if not same or valid.encoder.fingerprint != segmenter.encoder.fingerprint or valid.changes.copies > 1:
        raise InvalidValueError(
            f"features must be of the segmenter's encoder at {segmenter.height} × {segmenter.width} without copies: "
            "prepare them with it"
        )
    if segmenter.tuned:
        return segmenter.scores(valid.labelled, tolerance_px=tolerance_px)
    made = MaskScores(threshold=segmenter.threshold, tolerance_px=tolerance_px)
    for at in range(0, len(valid), _AT_ONCE):
        rows = slice(at, at + _AT_ONCE)
        masks = valid.labelled.masks[rows]
        features = {name: np.array(each[rows]) for name, each in valid.features.items()}
        made.update(segmenter.logits_of(features, *masks.shape[1:]), masks)
    return made


class _Fit:
    """One run: everything checked before the first step."""

    def __init__(self, train: Prepared, head: MaskHead, training: MaskTraining, seed: int, run: Run) -> None:
        self.train, self.head, self.training, self.seed, self.run = train, head, training, seed, run
        judged, inside = int((train.masks != NOT_JUDGED).sum()), int((train.masks == 1).sum())
        if not inside:
            raise InvalidValueError("masks must have a pixel inside somewhere, got none: there is nothing to learn")
        self.share = inside / judged
        if training.fine_tune and isinstance(head, LinearDual):
            raise InvalidValueError("linear-dual must have a frozen encoder, got fine_tune above 0: take linear-global")
        self.batch = min(training.batch, len(train))
        self.order = Order(len(train), self.batch, -(-training.steps * self.batch // len(train)), seed)
        self.checkpoints = None if run.folder is None else Checkpoints(run.folder, self.about(), run.checkpoint_s)

    def about(self) -> dict[str, Any]:
        """What made the segmenter; two runs that agree in it are one run."""
        return {
            "data": self.train.labelled.fingerprint,
            "encoder": self.train.encoder.fingerprint,
            "head": self.head.spec,
            "training": self.training.spec,
            "seed": self.seed,
            "changed_by": self.train.changes.seed,
        }

    def learnt(self, stop: Stop) -> Any:
        """The network at the end."""
        import torch

        torch.default_generator.manual_seed(self.seed)
        whole, learning, source = self._nets()
        loss = self.training.loss.ready_mask(self.share)
        learner = MaskLearner(learning, self.training, loss, Batches(source, self.order), self.seed)
        tell = None if self.run.tell is None else _Teller(learner, self.run.tell)
        take_steps(learner, self.training.steps, stop, checkpoints=self.checkpoints, tell=tell)
        return whole

    def _nets(self) -> tuple[Any, Any, Source]:
        """The network that is kept, the part of it that learns, and what that learns from."""
        from lightmeter.nets.mask_heads import Standardised
        from lightmeter.nets.segment_net import SegmentNet

        train, inputs = self.train, self.train.inputs
        standard = None
        if self.training.standardise:
            standard = Standardised({name: each.channels for name, each in inputs.items()})
            for name in inputs:
                standard.learn(name, *channel_moments(train.features[name]))
        if isinstance(self.head, LinearDual):
            return self._dual(standard)
        head = self.head.net(inputs, train.height, train.width)
        if self.training.fine_tune:
            whole = SegmentNet(train.encoder.net(), standard, head)
            return whole, whole, FrameSource(train, self.training, self.seed)
        whole = SegmentNet(None, standard, head)
        return whole, whole, FeatureSource(train.features, train.masks)

    def _dual(self, standard: Any) -> tuple[Any, Any, Source]:
        """Inner products are made once; what learns reads nothing else."""
        import torch

        from lightmeter.nets.mask_dual import KERNEL
        from lightmeter.nets.mask_heads import joined
        from lightmeter.nets.segment_net import SegmentNet

        assert isinstance(self.head, LinearDual)
        train = self.train
        with torch.no_grad():
            maps = {name: torch.from_numpy(np.array(each)) for name, each in train.features.items()}
            maps = maps if standard is None else standard(maps)
            one_stride(self.head.spec, train.inputs)
            rows = joined(maps, tuple(train.inputs)).flatten(1)
            net = self.head.net_of(train.inputs, train.height, train.width, rows)
            kernel: Array = net.basis(maps)[KERNEL].numpy()
        return (
            SegmentNet(None, standard, net), SegmentNet(None, None, net.readout),
            FeatureSource({KERNEL: kernel}, train.masks),
        )  # fmt: skip


class _Teller:
    """Tells now and then, and at the end."""

    def __init__(self, learner: MaskLearner, tell: Callable[[MaskTold], None]) -> None:
        self.learner, self.tell, self.said_s = learner, tell, time.monotonic()

    def __call__(self, done: int, began: int) -> None:
        now_s, steps, last = time.monotonic(), self.learner.training.steps, self.learner.last
        if last is not None and (done == steps or now_s - self.said_s >= _TELL_S):
            losses, self.learner.losses = self.learner.losses, []
            self.tell(MaskTold(done, steps, began, float(np.mean(losses)), _iou(*last)))
            self.said_s = now_s


def _iou(logits: Any, masks: Array) -> float:
    found, truth = (logits.numpy() > 0) & (masks != NOT_JUDGED), masks == 1
    union = int((found | truth).sum())
    return int((found & truth).sum()) / union if union else float("nan")
