"""A segmenter: frames in, masks out; kept in a folder, loaded without trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lightmeter.assets.saving import expect, expect_count, insist, load_model, save_model
from lightmeter.encoders.dense import chosen_sets
from lightmeter.encoders.runtime import threads
from lightmeter.errors import LightmeterError, RejectedFileError
from lightmeter.heads.segmenting.dual import LinearDual
from lightmeter.heads.segmenting.learning import unit_clips
from lightmeter.heads.segmenting.protocol import MaskHead
from lightmeter.heads.segmenting.resizing import resized_clips, resized_logits
from lightmeter.metrics.masks import MaskScores
from lightmeter.parts import build, need
from lightmeter.types import Array, check_axes

if TYPE_CHECKING:
    from lightmeter.encoders.dense import DenseEncoder
    from lightmeter.media.clip_set import LabelledFrames

SCHEMA = "lightmeter.segmenter/1"
_AT_ONCE = 16
_ROWS = "head.basis.rows"


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A fitted mask head with its encoder. It answers with one thread.

    arrays: by the names of the network's weights and buffers: `head.…`, `standard.…`, and `encoder.…` where it is tuned
    threshold: logit above which a pixel is inside · height, width: the size at which frames are seen
    tuned: the encoder has learnt too · standardised: channels are brought to mean 0 and deviation 1
    about: what made it: data, training, seed, how the threshold was found
    """

    encoder: DenseEncoder
    head: MaskHead
    arrays: Mapping[str, Array]
    threshold: float
    height: int
    width: int
    tuned: bool = False
    standardised: bool = True
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of what is kept: the head's, and a tuned encoder's; not those of a frozen encoder."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def head_parameters(self) -> int:
        """Numbers in the head that were learnt."""
        buffers = {name for name, _ in self._net.named_buffers()}
        return sum(each.size for name, each in self.arrays.items() if name.startswith("head.") and name not in buffers)

    @property
    def macs(self) -> int:
        """Multiply–adds for one frame at the size at which it is seen."""
        return self.encoder.macs(self.height, self.width) + head_macs(self._net, self._shapes)

    @property
    def _shapes(self) -> dict[str, tuple[int, int, int]]:
        return {
            name: (each.channels, self.height // each.stride, self.width // each.stride)
            for name, each in chosen_sets(self.encoder).items()
        }

    @cached_property
    def _net(self) -> Any:
        """The network with what was learnt, ready to answer; the memory is that of the arrays."""
        torch = need("torch", "torch")
        net = _bare_net(self)
        state = {
            name: torch.from_numpy(np.require(each, requirements=["W", "C"])) for name, each in self.arrays.items()
        }
        net.load_state_dict(state, assign=True)
        return net.requires_grad_(requires_grad=False).eval()

    def module(self) -> Any:
        """All of it as one torch module: clips float32 [N, T, 3, height, width] in 0..1 → logits [N, height, width].

        For export.  Raises InvalidValueError where the encoder is no torch network.
        """
        from lightmeter.nets.segment_net import SegmentNet

        if self.tuned:
            return self._net
        return SegmentNet(
            self.encoder.net().requires_grad_(requires_grad=False), self._net.standard, self._net.head
        ).eval()

    # -- answers ----------------------------------------------------------------------------------------------------

    def predict_logits(self, clips: Array, at: Array) -> Array:
        """Logits float32 [N, H, W] of one frame of each clip, at the size of the clips.

        clips: uint8 [N, T, H, W, 3], of any size · at: int64 [N]
        Frames of another size than `height` × `width` are resized, logits resized back, both bilinear.
        """
        check_axes("clips", clips, "N T H W 3", "uint8")
        size = clips.shape[2:4]
        parts = [np.empty((0, *size), np.float32)]
        for first in range(0, len(clips), _AT_ONCE):
            rows = slice(first, first + _AT_ONCE)
            seen = resized_clips(clips[rows], self.height, self.width)
            if self.tuned:
                parts.append(self._tuned_logits(seen, at[rows], size))
            else:
                parts.append(self.logits_of(self.encoder.features(seen, at[rows]), *size))
        return np.concatenate(parts)

    def logits_of(self, features: Mapping[str, Array], height: int, width: int) -> Array:
        """Logits float32 [N, height, width] of maps that the encoder has made, float32 [N, C, h, w] by name."""
        torch = need("torch", "torch")
        torch.set_num_threads(threads())
        with torch.inference_mode():
            logits = self._net({name: torch.from_numpy(each) for name, each in features.items()})
            return resized_logits(logits, height, width)

    def _tuned_logits(self, clips: Array, at: Array, size: tuple[int, ...]) -> Array:
        torch = need("torch", "torch")
        torch.set_num_threads(threads())
        frames, place = self.encoder.windows(clips, at)
        with torch.inference_mode():
            return resized_logits(self._net(unit_clips(frames), torch.from_numpy(place)), *size)

    def predict(self, frame: Array) -> Array:
        """The mask of one picture: uint8 [H, W, 3] → uint8 [H, W], 1 inside, 0 outside."""
        check_axes("frame", frame, "H W 3", "uint8")
        mask: Array = self.predict_clips(frame[None, None], np.zeros(1, np.int64))[0]
        return mask

    def predict_clips(self, clips: Array, at: Array) -> Array:
        """Masks of one frame of each clip: uint8 [N, T, H, W, 3], int64 [N] → uint8 [N, H, W]."""
        inside: Array = self.predict_logits(clips, at) > np.float32(self.threshold)
        return inside.astype(np.uint8)

    def predict_video(self, frames: Array) -> Array:
        """Masks of all frames of a video: uint8 [T, H, W, 3] → uint8 [T, H, W].

        An encoder of several frames sees those around each one; near the ends, the first or the last there are.
        Long videos: some hundred frames at a time, with `encoder.frames` of overlap where there are several.
        """
        check_axes("frames", frames, "T H W 3", "uint8")
        count = len(frames)
        window = min(self.encoder.frames, count)
        parts = [np.empty((0, *frames.shape[1:3]), np.uint8)]
        for first in range(0, count, _AT_ONCE):
            rows = np.arange(first, min(first + _AT_ONCE, count))
            starts = np.clip(rows - window // 2, 0, count - window)
            clips = np.stack([frames[start : start + window] for start in starts])
            parts.append(self.predict_clips(clips, rows - starts))
        return np.concatenate(parts)

    def scores(self, labelled: LabelledFrames, *, tolerance_px: float = 1.0) -> MaskScores:
        """Scores on labelled frames, at the size of their masks and this threshold."""
        made = MaskScores(threshold=self.threshold, tolerance_px=tolerance_px)
        for first in range(0, len(labelled), _AT_ONCE):
            rows = np.arange(first, min(first + _AT_ONCE, len(labelled)))
            made.update(self.predict_logits(labelled.clips[rows], labelled.at[rows]), labelled.masks[rows])
        return made

    def calibrated(self, valid: MaskScores) -> Segmenter:
        """The same with the threshold of the highest micro IoU of these scores, which must be of held-out frames."""
        threshold, iou = valid.best_threshold()
        told = {"threshold": threshold, "iou": iou if iou == iou else None, "frames": len(valid)}
        return replace(self, threshold=threshold, about={**self.about, "calibrated": told})

    # -- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write `model.safetensors` and `model.json` into a folder; a frozen encoder's weights stay where they are."""
        save_model(folder, self.arrays, {
            "schema": SCHEMA,
            "spec": self.head.spec,
            "encoder": self.encoder.spec,
            "encoder_fingerprint": self.encoder.fingerprint,
            "threshold": self.threshold,
            "height": self.height,
            "width": self.width,
            "tuned": self.tuned,
            "standardised": self.standardised,
            "about": dict(self.about),
        })  # fmt: skip

    @classmethod
    def load(cls, folder: Path, encoder: DenseEncoder | None = None) -> Self:
        """What `save` wrote.

        encoder: where its files have moved; None: as its spec says.  It must be the one that it was fitted with: the
        fingerprint of its options and weights is compared.
        Raises RejectedFileError for anything else, MissingAssetError.
        """
        arrays, about = load_model(folder)
        insist(about.get("schema") == SCHEMA, f"a segmenter must say {SCHEMA}, got {about.get('schema')!r:.80}")
        threshold, made = about.get("threshold"), about.get("about")
        insist(type(threshold) is float and np.isfinite(threshold), "threshold of a segmenter must be a finite number")
        insist(isinstance(made, dict), "about of a segmenter must be an object")
        tuned, standardised = about.get("tuned"), about.get("standardised")
        insist(
            isinstance(tuned, bool) and isinstance(standardised, bool), "tuned and standardised must be true or false"
        )
        try:
            head = build(str(about.get("spec")), "mask-head")
            encoder = encoder or build(str(about.get("encoder")), "dense-encoder")
        except LightmeterError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise RejectedFileError("damaged", f"a segmenter must name its parts: {str(error)[:200]}") from error
        assert encoder is not None
        insist(
            encoder.fingerprint == about.get("encoder_fingerprint"),
            "the encoder must be the one that the segmenter was fitted with, got other options or weights",
        )
        height, width = expect_count(about, "height"), expect_count(about, "width")
        insist(max(height, width) <= 1 << 14, "height and width of a segmenter must be at most 16384")
        found = cls(
            encoder, head, arrays, float(threshold or 0), height, width, bool(tuned), bool(standardised), made or {}
        )
        return replace(found, arrays=_checked(found))


def _checked(segmenter: Segmenter) -> dict[str, Array]:
    """Arrays of the types and shapes that the recipe makes, and no others."""
    try:
        wanted = _bare_net(segmenter).state_dict()
    except RejectedFileError:
        raise
    except (LightmeterError, ValueError, RuntimeError, OverflowError) as error:
        raise RejectedFileError("damaged", f"a segmenter must be of its recipe: {str(error)[:200]}") from error
    insist(set(wanted) == set(segmenter.arrays), f"a segmenter must hold {len(wanted)} arrays by name, got others")
    return {
        name: expect(segmenter.arrays, name, str(each.dtype).removeprefix("torch."), *each.shape)
        for name, each in wanted.items()
    }


def _bare_net(segmenter: Segmenter) -> Any:
    """The network without weights: no memory is taken, whatever sizes a recipe asks for; a tuned encoder's are read."""
    torch = need("torch", "torch")
    from lightmeter.nets.mask_heads import Standardised
    from lightmeter.nets.segment_net import SegmentNet

    inputs = chosen_sets(segmenter.encoder)
    encoder = segmenter.encoder.net() if segmenter.tuned else None
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        channels = {name: each.channels for name, each in inputs.items()}
        standard = Standardised(channels) if segmenter.standardised else None
        if isinstance(segmenter.head, LinearDual):
            rows = expect(segmenter.arrays, _ROWS, "float32", None, None)
            head = segmenter.head.net_of(inputs, segmenter.height, segmenter.width, torch.empty(rows.shape))
        else:
            head = segmenter.head.net(inputs, segmenter.height, segmenter.width)
    return SegmentNet(encoder, standard, head)


def head_macs(net: Any, shapes: Mapping[str, tuple[int, int, int]]) -> int:
    """Multiply–adds of products and convolutions after the encoder for one frame, counted by a run without numbers."""
    torch = need("torch", "torch")
    from torch.utils.flop_counter import FlopCounterMode

    parts = [each for each in (net.standard, net.head) if each is not None]
    x: Any = {name: torch.empty(1, *shape, device="meta") for name, shape in shapes.items()}
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        for part in parts:
            hollow = {name: each.to("meta") for name, each in [*part.named_parameters(), *part.named_buffers()]}
            x = torch.func.functional_call(part, hollow, (x,))
    return int(counter.get_total_flops()) // 2
