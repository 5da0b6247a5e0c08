"""VideoGPT's three nets as maps: the frame conditioner, the VQ-VAE's encoder, the prior over its codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightmeter.nets.dense_maps import Maps
from lightmeter.nets.frame_resnet import FrameResNet
from lightmeter.nets.prior_cache import Choice
from lightmeter.nets.sparse_attention import sparse_mask
from lightmeter.nets.video_prior import PriorPlan, VideoPrior
from lightmeter.nets.vqvae import VqVae

HIDDEN = "hidden"


class ConditionerMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> `group1` … `group4` of a frame conditioner, float [N, C, T, h, w].

    network: the 3D one, which sees the clip whole, or its collapse, which sees each frame alone.
    """

    def __init__(self, network: FrameResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None."""
        frames = (clips - 0.5).transpose(1, 2)
        if self.network.flat:
            frames = (clips - 0.5).flatten(0, 1)[:, :, None]
        made = {f"group{at}": each for at, each in enumerate(self.network.stages(frames), 1)}
        if self.network.flat:
            made = {name: each[:, :, 0].unflatten(0, clips.shape[:2]).transpose(1, 2) for name, each in made.items()}
        return {name: made[name] for name in (made if names is None else names)}


class VqVaeMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> maps of a VQ-VAE's encoder, float [N, C, T', h, w]; the decoder is not kept.

    `half1` … after the halving convolutions, `stack` after the attention blocks, `before` and `after` quantisation
    (its gradient goes straight through), `codes`: the number of the code, one channel, as the seed feeds them.
    changes: it is shown what frames differ by from the first of the clip
    """

    def __init__(self, vqvae: VqVae, *, changes: bool = False) -> None:
        super().__init__()
        self.changes = changes
        self.network, self.before, self.book = vqvae.encoder, vqvae.pre_vq_conv, vqvae.codebook

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None; nothing after the last one runs."""
        made: Maps = {}
        x = _shown(clips, changes=self.changes)
        for at, conv in enumerate(self.network.convs, 1):
            x = made[f"half{at}"] = torch.relu(conv(x))
            if _enough(made, names):
                break
        else:
            self._rest(x, made, names)
        return {name: made[name] for name in (made if names is None else names)}

    def _rest(self, x: Tensor, made: Maps, names: Sequence[str] | None) -> None:
        made["stack"] = self.network.res_stack(self.network.conv_last(x))
        if _enough(made, names):
            return
        made["before"] = self.before(made["stack"])
        if not _enough(made, names):
            codes, after = quantised(self.book, made["before"])
            made["after"] = made["before"] + (after - made["before"]).detach()
            made["codes"] = codes[:, None].float()


def _shown(clips: Tensor, *, changes: bool) -> Tensor:
    """What a VQ-VAE reads, float [N, 3, T, H, W], of clips [N, T, 3, H, W] in 0..1."""
    return (clips - (clips[:, :1] if changes else 0.5)).transpose(1, 2)


def quantised(book: nn.Module, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Codes int64 [N, T', h, w] of latents [N, D, T', h, w], and their vectors [N, D, T', h, w]."""
    rows = latents.movedim(1, -1)
    codes = book.nearest(rows.flatten(0, -2)).view(rows.shape[:-1])
    return codes, book.vectors(codes)


def _enough(made: Maps, names: Sequence[str] | None) -> bool:
    return names is not None and set(names) <= set(made)


class PriorMaps(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Clips [N, T, 3, H, W] in 0..1 -> maps of the prior's transformer, float [N, C, T', h, w].

    `hidden0` … `hiddenL` after so many blocks, `logits` of the codes, `entropy` of those in nats, `tokens` (the number
    of the code, one channel) and `embeddings` (the codes' vectors) that the prior is shown.
    The codes are the clip's own; where `seed` is a number, they are drawn by the prior from the first frame, cell by
    cell, alike for alike frames.  changes: as in `VqVaeMaps`
    """

    def __init__(
        self,
        vqvae: VqVae,
        prior: VideoPrior,
        seed: int | None = None,
        temperature: float = 1.0,
        *,
        changes: bool = False,
    ) -> None:
        super().__init__()
        self.changes = changes
        self.network, self.before, self.book = vqvae.encoder, vqvae.pre_vq_conv, vqvae.codebook
        self.prior, self.seed, self.temperature = prior, seed, temperature

    def names(self) -> list[str]:
        """All maps."""
        return [*(f"{HIDDEN}{at}" for at in range(self.prior.plan.layers + 1)), "logits", "entropy", "tokens",
                "embeddings"]  # fmt: skip

    def forward(self, clips: Tensor, names: Sequence[str] | None = None) -> Maps:
        """The maps of these names, of all where `names` is None; no block above the last one that is needed runs."""
        wanted = self.names() if names is None else list(names)
        frames = (clips - 0.5).transpose(1, 2)
        told = frames[:, :, : self.prior.plan.frames[0]] if self.prior.plan.conditioner is not None else None
        seen = self.prior.seen(told)
        codes, vectors = self._codes(_shown(clips, changes=self.changes), seen)
        made: Maps = {"tokens": codes[:, None].float(), "embeddings": vectors}
        states = self._hidden(vectors.movedim(1, -1), seen, wanted)
        made |= {f"{HIDDEN}{at}": each.movedim(-1, 1) for at, each in states.items()}
        if "logits" in wanted or "entropy" in wanted:
            made["logits"] = self.prior.fc_out(self.prior.norm(states[self.prior.plan.layers])).movedim(-1, 1)
            shares = made["logits"].log_softmax(1)
            made["entropy"] = -(shares.exp() * shares).sum(1, keepdim=True)
        return {name: made[name] for name in wanted}

    def _hidden(self, vectors: Tensor, seen: Tensor | None, wanted: Sequence[str]) -> dict[int, Tensor]:
        layers = {int(name.removeprefix(HIDDEN)) for name in wanted if name.startswith(HIDDEN)}
        if "logits" in wanted or "entropy" in wanted:
            layers.add(self.prior.plan.layers)
        return self.prior.hidden(vectors, seen, sorted(layers)) if layers else {}

    def _codes(self, frames: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.seed is None:
            return quantised(self.book, self.before(self.network(frames)))
        if frames.is_meta:  # drawing on paper would take minutes: `sampling_macs` says what it costs
            codes = torch.zeros(len(frames), *self.prior.plan.grid, dtype=torch.long, device="meta")
        else:
            codes = torch.cat([self._drawn(seen, row) for row in range(len(frames))])
        return codes, self.book.vectors(codes)

    def _drawn(self, seen: Tensor | None, row: int) -> Tensor:
        table = self.book.embeddings
        generator = torch.Generator(table.device).manual_seed(self.seed)
        choose = Choice(self.temperature, generator=generator)
        return self.prior.sample(table, 1 if seen is None else seen[row : row + 1], choose=choose)


def sampling_macs(plan: PriorPlan) -> int:
    """Multiply-accumulates of drawing one clip cell by cell, with keys and values kept, its frame seen already."""
    tokens, wide = plan.tokens, plan.width
    looks = tokens * (tokens + 1) // 2
    if plan.attention == "sparse":
        looks = int((sparse_mask(plan.grid) == 0).sum())
    total = plan.macs() - plan.layers * 2 * wide * (tokens * tokens - looks) - plan.dim * wide
    if plan.conditioner is not None:
        frames, height, width = plan.frames
        total -= plan.conditioner.macs(height, width, frames)
    return total
