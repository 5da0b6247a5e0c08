"""What every mask must be compared with: an answer without a look, frames of noise, masks of other frames.

Random and untrained encoders, and pixels, are encoders (`random`, `untrained`, `pixels`); learning from nothing is
`mask-unet` on `pixels/patch=1`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.segmenting.resizing import resized_logits
from lightmeter.metrics.masks import NOT_JUDGED, MaskScores
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from lightmeter.media.clip_set import LabelledFrames

_NOISE, _SHUFFLE = 0x401, 0x402


@dataclass(frozen=True, slots=True, eq=False)
class MeanMask:
    """Answers every frame alike: the log odds of each pixel lying inside, half a mask added on each side.

    logits: float32 [H, W] · threshold: logit above which a pixel is inside
    Heads that know where a cell lies can draw this from nothing: who does not beat it has learnt nothing.
    """

    logits: Array
    threshold: float = 0.0

    @property
    def macs(self) -> int:
        """None."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Of the logits."""
        return int(self.logits.nbytes)

    def predict_logits(self, clips: Array, at: Array) -> Array:
        """Logits float32 [N, H, W], resized to the clips' size; what the clips show is not looked at."""
        torch = need("torch", "torch")
        made = resized_logits(torch.from_numpy(self.logits)[None].clone(), *clips.shape[2:4])
        return np.repeat(made, len(clips), axis=0)

    def scores(self, labelled: LabelledFrames, *, tolerance_px: float = 1.0) -> MaskScores:
        """Scores on labelled frames."""
        made = MaskScores(threshold=self.threshold, tolerance_px=tolerance_px)
        return made.update(self.predict_logits(labelled.clips, labelled.at), labelled.masks)

    def calibrated(self, valid: MaskScores) -> MeanMask:
        """The same with the threshold of the highest micro IoU of these scores, which must be of held-out frames."""
        return replace(self, threshold=valid.best_threshold()[0])


def mean_mask(train: LabelledFrames) -> MeanMask:
    """The mean of some masks, over the frames that judge each pixel.  Raises InvalidValueError for an empty set."""
    if not len(train):
        raise InvalidValueError("a mean mask must have one frame at least, got none")
    inside, judged = (train.masks == 1).sum(axis=0), (train.masks != NOT_JUDGED).sum(axis=0)
    odds: Array = (inside + 0.5) / (judged - inside + 0.5)
    return MeanMask(np.log(odds).astype(np.float32))


def noise_images(labelled: LabelledFrames, *, seed: int) -> LabelledFrames:
    """The same masks on frames of uniform noise, every pixel of every frame drawn anew: the seed's first row.

    Learn on some, score on others: what is left is what a head knows of masks without any picture.
    """
    rng = np.random.default_rng([_NOISE, seed])
    return replace(labelled, clips=rng.integers(0, 256, labelled.clips.shape, np.uint8))


def shuffled_masks(labelled: LabelledFrames, *, seed: int) -> LabelledFrames:
    """The same frames, each with the mask of another: of another scene wherever there are scenes enough.

    Frames are put into a random order by scene and every one takes the mask that lies half the set further on, so no
    frame keeps its own; a scene of more than half the frames keeps some within itself.
    Raises InvalidValueError for fewer than two frames.
    """
    count = len(labelled)
    if count < 2:
        raise InvalidValueError(f"masks can be shuffled among two frames or more, got {count}")
    rng = np.random.default_rng([_SHUFFLE, seed])
    scenes, place = np.unique(labelled.groups, return_inverse=True)
    order = np.lexsort((rng.permutation(count), rng.permutation(len(scenes))[place]))
    masks = np.empty_like(labelled.masks)
    masks[order] = labelled.masks[np.roll(order, count // 2)]
    return replace(labelled, masks=masks)
