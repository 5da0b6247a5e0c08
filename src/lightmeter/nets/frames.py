"""Frames of a batch as frame-level nets read them: blocks side by side, each frame of length 1, true frames marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

NOMINAL_FRAMES = 300
"""Frames that `macs` of a net is stated for where they matter: five minutes at one a second, YouTube-8M's most."""
_LEAST_LENGTH = 1e-6  # as tf.nn.l2_normalize: what is shorter is divided by this
_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15  # splitmix64's, signed


class Source(NamedTuple):
    """Where a net finds one block: its name in `values`, its numbers, its column in `present`."""

    name: str
    dim: int
    place: int


class Sources(NamedTuple):
    """What a frame-level net reads: blocks of frames (one or more), and blocks of features beside them (or none)."""

    frames: tuple[Source, ...]
    features: tuple[Source, ...] = ()

    @property
    def frame_dim(self) -> int:
        """Numbers of one frame, all blocks side by side."""
        return sum(each.dim for each in self.frames)

    @property
    def beside_dim(self) -> int:
        """Numbers that stand beside what was pooled."""
        return sum(each.dim for each in self.features)


def unit(x: Tensor, axis: int = -1) -> Tensor:
    """Every vector along an axis divided by its length (or by 1e-6, as TensorFlow has it); zeros stay zeros."""
    return functional.normalize(x, dim=axis, eps=_LEAST_LENGTH)


class Frames(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Frame blocks side by side: values -> (float [B, T, D], bool [B, T] where a frame is true).

    The whole frame is made of length 1, all blocks together, as the starter code does; an absent block is zeros, and a
    frame of which all blocks are absent is none. `sample`: that many frames an item, drawn with replacement; None: all.
    Training draws from torch's generator, as the starter code always does. In eval mode the draw is seeded by the
    item's own values: the same item gets the same frames, whatever else is in the batch and however it is padded.
    Source: github.com/google/youtube-8m, model_utils.SampleRandomFrames; the seeding by content is ours.
    """

    def __init__(self, sources: Sequence[Source], *, sample: int | None = None) -> None:
        super().__init__()
        self.sources, self.sample = tuple(sources), sample

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """values: float [B, T, dim] by block · present: bool [B, M] · lengths: int64 [B] -> frames and their mask"""
        there = present[:, [place for _, _, place in self.sources]]
        counts = torch.where(there.any(1), lengths, 0)
        blocks = [values[name] for name, _, _ in self.sources]
        if self.sample is None:
            mask = torch.arange(blocks[0].shape[1], device=counts.device) < counts[:, None]
            return self._joined(blocks, there, mask), mask
        mask = (counts > 0)[:, None].expand(-1, self.sample)
        if not blocks[0].shape[1]:  # a batch without any frame
            return blocks[0].new_zeros((*mask.shape, sum(each.dim for each in self.sources))), mask
        chosen = self._drawn(blocks, there, counts)[..., None]
        taken = [each.gather(1, chosen.expand(-1, -1, each.shape[2])) for each in blocks]
        return self._joined(taken, there, mask), mask

    def _joined(self, blocks: Sequence[Tensor], there: Tensor, mask: Tensor) -> Tensor:
        """One copy of the blocks side by side, zeros where there is none, each frame of length 1: float [B, T, D].

        Frames are most of a batch's memory: all is done in that copy, which no gradient goes back through.
        """
        x = torch.cat([each.detach() for each in blocks], -1)
        for at, part in enumerate(x.split([each.dim for each in self.sources], -1)):
            if not bool(there[:, at].all()):
                part.masked_fill_(~there[:, at, None, None], 0)
        if not bool(mask.all()):
            x.masked_fill_(~mask[..., None], 0)
        return x.div_(x.norm(dim=-1, keepdim=True).clamp_min_(_LEAST_LENGTH))  # as `unit`, in place

    def _drawn(self, blocks: Sequence[Tensor], there: Tensor, counts: Tensor) -> Tensor:
        """Numbers of frames, int64 [B, sample], each 0 to an item's count - 1 (0 where there is none)."""
        assert self.sample is not None
        if self.training:
            chance = torch.rand(len(counts), self.sample, device=counts.device)
            return torch.minimum((chance * counts[:, None]).long(), (counts[:, None] - 1).clamp(min=0))
        return content_draw(blocks, there, counts, self.sample)


def content_draw(blocks: Sequence[Tensor], there: Tensor, counts: Tensor, sample: int) -> Tensor:
    """Frames drawn with replacement by the values themselves: int64 [B, sample].

    blocks: float32 [B, T, dim] each · there: bool [B, blocks], which of them each item has · counts: int64 [B]
    The bits of each true frame are summed, mixed with its number, and summed to the seed of the item; draw k is
    splitmix64's k-th number. Same values, same draw, on any machine.  Cost: one pass over the values.
    Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
    """
    sums = [
        each.float().contiguous().view(torch.int32).sum(-1, dtype=torch.int32) * there[:, at, None]
        for at, each in enumerate(blocks)
    ]
    bits = torch.stack(sums).sum(0, dtype=torch.int32).long()  # wraps as the sum over all numbers does
    number = torch.arange(blocks[0].shape[1], device=counts.device)
    each = _mixed(bits ^ (number * _GOLDEN))
    seed = (each * (number < counts[:, None])).sum(1)
    draws = _mixed(seed[:, None] + (torch.arange(sample, device=counts.device) + 1) * _GOLDEN)
    return (_shifted(draws, 33) * counts[:, None]) >> 31


def _mixed(z: Tensor) -> Tensor:
    """splitmix64's finaliser on int64, which wraps as unsigned numbers do."""
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, bits: int) -> Tensor:
    """A right shift that fills with zeros; torch's fills with the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
