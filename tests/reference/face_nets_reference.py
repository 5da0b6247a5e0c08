"""The published face networks written out from dictionaries of weights, in the spelling of the published files.

torch is imported inside: contract tests of other encoders collect without it.
"""

import numpy as np

STAGES = ((2, 3, 64), (3, 4, 128), (4, 6, 256), (5, 3, 512))  # name, blocks, channels inside


def drawn(shapes, seed=0):
    """Weights that keep signals alive, torch float32: He et al. 2015 for taps, norms about the standard one."""
    import torch

    rng, made = np.random.default_rng(seed), {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            made[name] = torch.tensor(7)
            continue
        if len(shape) > 1:
            array = rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif name.endswith("var") or ("bn" in name and name.endswith("weight")) or ".1.weight" in name:
            # pixels in 0..255 come to about 1, and a residual branch adds a part of what it is added to
            about = 7000 if name == "conv1_7x7_s2_bn.running_var" else 0.3 if name.endswith("increase_bn.weight") else 1
            array = about * rng.uniform(0.5, 1.5, shape)
        else:
            array = rng.normal(0, 0.1, shape)
        made[name] = torch.from_numpy(np.asarray(array, np.float32))
    return made


def _with_bias(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _normed(name, *shape, counts):
    norm = {f"{name}_bn.{each}": shape[:1] for each in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.weight": shape} | norm | ({f"{name}_bn.num_batches_tracked": ()} if counts else {})


def light_cnn_shapes(layers, version=1, classes=5):
    """Names and shapes of LightCNN_*_checkpoint.pth.tar, less `module.`"""
    widths, made = ((48, 96), (96, 192), (192, 128), (128, 128)), {}
    made |= _with_bias("features.0.filter" if layers == 9 else "conv1.filter", 96, 1, 5, 5)
    for at, (before, after) in enumerate(widths):
        group = f"features.{(2, 4, 6, 7)[at]}" if layers == 9 else f"group{at + 1}"
        for block in range(at + 1 if layers == 29 else 0):
            for conv in ("conv1", "conv2"):
                made |= _with_bias(f"block{at + 1}.{block}.{conv}.filter", 2 * before, before, 3, 3)
        made |= _with_bias(f"{group}.conv_a.filter", 2 * before, before, 1, 1)
        made |= _with_bias(f"{group}.conv.filter", 2 * after, before, 3, 3)
    if version == 2:
        return made | _with_bias("fc", 256, 8192) | {"fc2.weight": (classes, 256)}
    return made | _with_bias("fc1.filter" if layers == 9 else "fc.filter", 512, 8192) | _with_bias("fc2", classes, 256)


def light_cnn_row(state, grey, layers, version=1):
    """grey [128, 128] in 0..1 -> [256]"""
    import torch
    from torch.nn import functional as f

    def larger(x):
        return torch.stack(x.split(x.shape[1] // 2, dim=1)).amax(dim=0)

    def conv(x, name, pad):
        return larger(f.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=pad))

    def pool(x):
        return f.max_pool2d(x, 2, 2) + (f.avg_pool2d(x, 2, 2) if version == 2 else 0)

    x = conv(grey[None, None], "features.0.filter" if layers == 9 else "conv1.filter", 2)
    x = pool(x)
    for at in range(4):
        group = f"features.{(2, 4, 6, 7)[at]}" if layers == 9 else f"group{at + 1}"
        for block in range(at + 1 if layers == 29 else 0):
            name = f"block{at + 1}.{block}"
            x = conv(conv(x, f"{name}.conv1.filter", 1), f"{name}.conv2.filter", 1) + x
        x = conv(conv(x, f"{group}.conv_a.filter", 0), f"{group}.conv.filter", 1)
        x = pool(x) if at != 2 else x
    name = "fc1.filter" if layers == 9 else "fc" if version == 2 else "fc.filter"
    y = f.linear(x.reshape(1, -1), state[f"{name}.weight"], state[f"{name}.bias"])
    return (y if version == 2 else larger(y))[0]


def vgg_shapes(width=1):
    """Names and shapes of vgg_face_dag.pth; width divides all channels but those of fc7 and fc8."""
    made, before = {}, 3
    for stage, channels, convolutions in ((1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3)):
        for number in range(1, convolutions + 1):
            made |= _with_bias(f"conv{stage}_{number}", channels // width, before, 3, 3)
            before = channels // width
    made |= _with_bias("fc6", 4096 // width, before * 49) | _with_bias("fc7", 4096, 4096 // width)
    return made | _with_bias("fc8", 2622, 4096)


def vgg_row(state, pixels):
    """pixels RGB [3, 224, 224] less the mean -> fc7 after relu [4096]"""
    from torch.nn import functional as f

    x = pixels[None]
    for stage, convolutions in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for number in range(1, convolutions + 1):
            name = f"conv{stage}_{number}"
            x = f.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).clamp(min=0)
        x = f.max_pool2d(x, 2)
    x = x.reshape(1, -1)
    for name in ("fc6", "fc7"):
        x = f.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]).clamp(min=0)
    return x[0]


def dag_shapes(*, squeeze, counts=True):
    """Names and shapes of resnet50_ft_dag.pth and senet50_ft_dag.pth; counts: of batches, which older files lack"""
    made, before = _normed("conv1_7x7_s2", 64, 3, 7, 7, counts=counts), 64
    for stage, blocks, inner in STAGES:
        wide = 4 * inner
        for block in range(1, blocks + 1):
            name = f"conv{stage}_{block}"
            made |= _normed(f"{name}_1x1_reduce", inner, before, 1, 1, counts=counts)
            made |= _normed(f"{name}_3x3", inner, inner, 3, 3, counts=counts)
            made |= _normed(f"{name}_1x1_increase", wide, inner, 1, 1, counts=counts)
            if squeeze:
                made |= _with_bias(f"{name}_1x1_down", wide // 16, wide, 1, 1)
                made |= _with_bias(f"{name}_1x1_up", wide, wide // 16, 1, 1)
            if block == 1:
                made |= _normed(f"{name}_1x1_proj", wide, before, 1, 1, counts=counts)
            before = wide
    return made | _with_bias("classifier", 7, 2048, 1, 1)


def dag_row(state, pixels, *, squeeze):
    """pixels RGB [3, 224, 224] less the mean -> the last pooling [2048]"""
    from torch.nn import functional as f

    def normed(x, name, stride=1, pad=0):
        y = f.conv2d(x, state[f"{name}.weight"], stride=stride, padding=pad)
        mean, var, gain, shift = (
            state[f"{name}_bn.{each}"][:, None, None] for each in ("running_mean", "running_var", "weight", "bias")
        )
        return (y - mean) / (var + 1e-5).sqrt() * gain + shift

    x = normed(pixels[None], "conv1_7x7_s2", 2, 3).clamp(min=0)
    x = f.max_pool2d(x, 3, 2, padding=0, ceil_mode=True)
    for stage, blocks, _ in STAGES:
        for block in range(1, blocks + 1):
            name, stride = f"conv{stage}_{block}", 2 if stage > 2 and block == 1 else 1
            y = normed(x, f"{name}_1x1_reduce", stride).clamp(min=0)
            y = normed(normed(y, f"{name}_3x3", 1, 1).clamp(min=0), f"{name}_1x1_increase")
            if squeeze:
                z = f.adaptive_avg_pool2d(y, 1)
                z = f.conv2d(z, state[f"{name}_1x1_down.weight"], state[f"{name}_1x1_down.bias"]).clamp(min=0)
                z = f.conv2d(z, state[f"{name}_1x1_up.weight"], state[f"{name}_1x1_up.bias"])
                y = z.sigmoid().expand_as(y) * y
            x = (y + (normed(x, f"{name}_1x1_proj", stride) if block == 1 else x)).clamp(min=0)
    return f.avg_pool2d(x, 7)[0, :, 0, 0]
