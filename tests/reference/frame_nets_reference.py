"""Nets of videos, slow and obvious: one item at a time, loops over frames and clusters, float64."""

from __future__ import annotations

import numpy as np

MASK = (1 << 64) - 1


def array(tensor):
    return tensor.detach().double().numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def unit(x):
    return x / max(np.sqrt((x * x).sum()), 1e-6)


def normed(norm, x):
    """Batch norm by its running averages."""
    mean, variance = array(norm.running_mean), array(norm.running_var)
    return (x - mean) / np.sqrt(variance + norm.eps) * array(norm.weight) + array(norm.bias)


def mixture(moe, x):
    """p_k = sum over experts of softmax(gates)_i sigmoid(expert_i); the last gate's expert is silent."""
    weight, bias = array(moe.weight), array(moe.bias)
    experts, classes = bias.shape
    made = np.zeros(classes)
    for k in range(classes):
        gates = softmax(np.array([weight[i, k] @ x for i in range(experts + 1)]))
        for i in range(experts):
            made[k] += gates[i] * sigmoid(weight[experts + 1 + i, k] @ x + bias[i, k])
    return made


def splitmix(state):
    """One number of splitmix64 from its state, in Python's integers."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draw(frames, sample):
    """Frames that an item's own values draw: float32 [T, D] -> sample numbers."""
    golden, seed = 0x9E3779B97F4A7C15, 0
    for t, frame in enumerate(frames):
        bits = sum(int(each) for each in frame.astype(np.float32).view(np.int32)) & 0xFFFFFFFF
        bits = bits - (1 << 32) if bits >= 1 << 31 else bits
        seed += splitmix((bits & MASK) ^ ((t * golden) & MASK))
    return [((splitmix(seed + (k + 1) * golden) >> 33) * len(frames)) >> 31 for k in range(sample)]


def gating(gate, x):
    return x * sigmoid(normed(gate.norm, x @ array(gate.weight)))


def dbof(pool, frames):
    largest = np.zeros(pool.clusters.shape[1])
    for frame in frames:
        near = normed(pool.cluster_norm, normed(pool.input_norm, frame) @ array(pool.clusters))
        largest = np.maximum(largest, np.clip(near, 0, 6))
    return np.clip(normed(pool.hidden_norm, largest @ array(pool.hidden)), 0, 6)


def lstm(pool, frames):
    """TensorFlow's BasicLSTMCell, step by step: one bias, 1 added to the forget gate."""
    inputs = list(frames)
    for layer in range(pool.lstm.num_layers):
        kernel_x, kernel_h, bias = (
            array(getattr(pool.lstm, f"{name}_l{layer}")) for name in ("weight_ih", "weight_hh", "bias_ih")
        )
        c = h = np.zeros(pool.width)
        outputs = []
        for x in inputs:
            i, f, j, o = np.split(kernel_x @ x + kernel_h @ h + bias, 4)
            c = c * sigmoid(f + 1.0) + sigmoid(i) * np.tanh(j)
            h = np.tanh(c) * sigmoid(o)
            outputs.append(h)
        inputs = outputs
    return inputs[-1] if len(inputs) else np.zeros(pool.width)


def vlad(pool, frames):
    weight = array(pool.weight)
    centres = None if pool.centres is None else array(pool.centres)
    made = np.zeros(weight.shape)
    for x in frames:
        shares = softmax(normed(pool.norm, x @ weight))
        for k, share in enumerate(shares):
            made[:, k] += share * (x - (0 if centres is None else centres[:, k]))
    for k in range(made.shape[1]):
        made[:, k] = unit(made[:, k])
    return unit(made.flatten())


def netvlad(pool, frames, there):
    frames = [normed(pool.input_norm, frame) for frame in frames]
    parts, at = [], 0
    for block, dim in enumerate(pool.dims):
        parts.append(vlad(pool.vlads[block], [frame[at : at + dim] for frame in frames] if there[block] else []))
        at += dim
    return gating(pool.gate, normed(pool.hidden_norm, np.concatenate(parts) @ array(pool.hidden)))


def grouped_vlad(pool, frames):
    groups, clusters, size = pool.groups, pool.clusters, pool.size
    made = np.zeros((size, clusters))
    for x in frames:
        wide = array(pool.expand.weight) @ x + array(pool.expand.bias)
        attention = sigmoid(array(pool.attend.weight) @ wide + array(pool.attend.bias))
        logits = normed(pool.norm, wide @ array(pool.weight))
        for g in range(groups):
            shares = softmax(logits[g * clusters : (g + 1) * clusters]) * attention[g]
            for k in range(clusters):
                made[:, k] += shares[k] * (wide[g * size : (g + 1) * size] - array(pool.centres)[:, k])
    for k in range(clusters):
        made[:, k] = unit(made[:, k])
    return normed(pool.vlad_norm, made.flatten())


def nextvlad(pool, frames, there):
    frames = [normed(pool.input_norm, frame) for frame in frames]
    parts, at = [], 0
    for block, dim in enumerate(pool.dims):
        parts.append(grouped_vlad(pool.vlads[block], [f[at : at + dim] for f in frames] if there[block] else []))
        at += dim
    hidden = normed(pool.hidden_norm, array(pool.hidden.weight) @ np.concatenate(parts))
    gate = pool.gate
    narrow = np.maximum(normed(gate.norm, array(gate.narrow.weight) @ hidden), 0)
    return hidden * sigmoid(array(gate.widen.weight) @ narrow + array(gate.widen.bias))


def attended(pool, frames):
    both, query = pool.both, array(pool.query.weight)
    made = np.zeros((len(query), both.in_features))
    if len(frames):
        half = both.out_features // 2
        weight, bias = array(both.weight), array(both.bias)
        scores = []
        for x in frames:
            told, gate = np.tanh(weight[:half] @ x + bias[:half]), sigmoid(weight[half:] @ x + bias[half:])
            scores.append(query @ (told * gate))
        for q in range(len(query)):
            made[q] = softmax(np.array(scores)[:, q]) @ np.array(frames)
    return made.flatten()


def attention(pool, frames, there):
    parts, at = [], 0
    for block, dim in enumerate(pool.dims):
        parts.append(attended(pool.pools[block], [frame[at : at + dim] for frame in frames] if there[block] else []))
        at += dim
    x = np.concatenate([*parts, np.array(there, float)])
    return gating(pool.gate, normed(pool.hidden_norm, array(pool.hidden.weight) @ x))


def text_cnn(net, tokens):
    """One title: every width at every place, empty places outside the title are zeros."""
    table = array(net.words.table)
    vectors, places = table[tokens], len(tokens)
    hits = np.zeros((places, net.plan.widths * net.plan.filters))
    for width in range(1, net.plan.widths + 1):
        layer, before = net.convolutions[width - 1], (width - 1) // 2
        kernel, bias = array(layer.weight), array(layer.bias)
        for place in range(places):
            total = bias.copy()
            for tap in range(width):
                if 0 <= place - before + tap < places:
                    total += kernel[:, :, tap] @ vectors[place - before + tap]
            hits[place, (width - 1) * net.plan.filters : width * net.plan.filters] = total
    hits = np.maximum(normed(net.convolution_norm, hits), 0)
    if net.plan.padding == "masked":
        hits[np.array(tokens) == 0] = 0
    hidden = normed(net.hidden_norm, array(net.hidden_layer.weight) @ hits.max(0) + array(net.hidden_layer.bias))
    hidden = np.maximum(hidden, 0)
    return hidden, sigmoid(array(net.answer.weight) @ hidden + array(net.answer.bias))
