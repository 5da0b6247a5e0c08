"""Counting what a torch module does and holds, independent of what plans say."""

import pytest


def _count(net, pixels):
    """A module on the meta device and its input -> MACs of its products, numbers it was trained to (norms: four)."""
    import torch

    macs = []

    def hook(layer, args, output):
        macs.append(output.numel() * layer.weight[0].numel())

    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(hook)
    net.eval()(pixels)
    return sum(macs), sum(each.numel() for each in net.state_dict().values() if each.is_floating_point())


@pytest.fixture(scope="session")
def count_layers():
    """(module, input) -> MACs, weights"""
    return _count
