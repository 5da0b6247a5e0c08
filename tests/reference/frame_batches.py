"""Small batches with frames for tests of nets: blocks of sight, sound and a title's vector."""

from __future__ import annotations

import torch

from lightmeter.heads.examples import Block

BLOCKS = (Block("visual", "frames", 6), Block("audio", "frames", 3), Block("title", "features", 4))


def batch(lengths=(5, 3, 4), seed=0, frames=None):
    """values, present, lengths; visual, audio and title are all there."""
    generator = torch.Generator().manual_seed(seed)
    most = max(lengths, default=0) if frames is None else frames
    values = {
        "visual": torch.randn(len(lengths), most, 6, generator=generator),
        "audio": torch.randn(len(lengths), most, 3, generator=generator),
        "title": torch.randn(len(lengths), 4, generator=generator),
    }
    counts = torch.tensor(lengths, dtype=torch.int64)
    true = torch.arange(most) < counts[:, None]
    for name in ("visual", "audio"):
        values[name] = values[name] * true[..., None]
    return values, torch.ones(len(lengths), 3, dtype=torch.bool), counts


def settled(net, seed=0):
    """The net in eval mode, its batch norms as after training: averages and scales that are not 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            with torch.no_grad():
                module.running_mean.copy_(0.2 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
                module.weight.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
                module.bias.copy_(0.2 * torch.randn(module.bias.shape, generator=generator))
    return net.eval()


def only(values, present, lengths, row):
    """One item of a batch, without the padding that the others cause."""
    count = int(lengths[row])
    cut = {name: (x[row : row + 1, :count] if x.ndim == 3 else x[row : row + 1]) for name, x in values.items()}
    return cut, present[row : row + 1], lengths[row : row + 1]
