"""Weights for tests that compare two nets: drawn name by name with numpy's frozen generator, alike on any machine."""

import zlib

import numpy as np


def seeded(shapes, *, seed=0):
    """{name: shape} -> {name: float32 array (int64 for counters)}; a name's values do not depend on other names.

    Matrices and kernels have variance 1 / inputs, gains are near 1, biases near 0, running variances 0.5 to 1.5.
    """
    return {name: _values(name, tuple(shape), seed) for name, shape in shapes.items()}


def _values(name, shape, seed):
    draw = np.random.RandomState(zlib.crc32(f"{seed}/{name}".encode()) % 2**32)
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.array(3, np.int64)
    if last in ("running_var", "N"):
        made = 0.5 + draw.random_sample(shape)
    elif last in ("embeddings", "z_avg", "sos") or ".emb." in name:
        made = draw.standard_normal(shape)
    elif len(shape) < 2:
        made = 0.1 * draw.standard_normal(shape) + (last in ("weight", "g"))
    else:
        made = draw.standard_normal(shape) / np.prod(shape[1:]) ** 0.5
    return made.astype(np.float32)


def load_seeded(net, *, seed=0, prefix=""):
    """The net with all its tensors seeded by their names (after the prefix)."""
    import torch

    shapes = {name: each.shape for name, each in net.state_dict().items()}
    drawn = seeded({prefix + name: shape for name, shape in shapes.items()}, seed=seed)
    net.load_state_dict({name: torch.from_numpy(drawn[prefix + name]) for name in shapes})
    return net
