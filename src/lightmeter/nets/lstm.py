"""Stacked LSTM: the last layer's output at the last true frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence


class Lstm(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """`layers` LSTMs of `cells` each: frames [B, T, dim] -> float [B, cells], the last h at the true length.

    TensorFlow's BasicLSTMCell has one bias a gate and adds a constant 1 to the forget gate:
    c' = c·sigmoid(f + 1) + sigmoid(i)·tanh(j), h' = tanh(c')·sigmoid(o). torch's LSTM adds two biases. The first is
    the trained one, zeros at the start; the second holds the constant, 1 at the forget gate and 0 elsewhere, and takes
    no gradient. So the two are one function with the same trained weights. Items are packed: padding costs nothing. An
    item without frames keeps the first state, zeros. Under autocast it stays in float32: torch's narrow LSTM fails for
    some sizes on machines without bfloat16.
    Cost: T·Σ 4·cells·(inputs + cells) MACs over the layers.
    Source: Hochreiter & Schmidhuber 1997; Abu-El-Haija et al. 2016, arXiv:1609.08675, §3.2; starter code's LstmModel.
    """

    def __init__(self, dim: int, *, cells: int, layers: int) -> None:
        super().__init__()
        self.width = cells
        self.lstm = nn.LSTM(dim, cells, layers, batch_first=True)
        for layer in range(layers):
            self._start(layer, cells)

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def _start(self, layer: int, cells: int) -> None:
        """Glorot over inputs and state at once, as TensorFlow draws its one kernel; biases as said above."""
        inputs, state, trained, constant = (
            getattr(self.lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        limit = (6 / (inputs.shape[1] + cells + 4 * cells)) ** 0.5
        nn.init.uniform_(inputs, -limit, limit)
        nn.init.uniform_(state, -limit, limit)
        trained.zero_()
        constant.zero_()
        constant[cells : 2 * cells] = 1  # torch's order of gates: input, forget, new, output
        constant.requires_grad_(False)

    def forward(self, x: Tensor, mask: Tensor, there: Tensor) -> Tensor:
        """Frames [B, T, dim], bool [B, T], true ones first -> float [B, cells]."""
        counts = mask.sum(1)
        if not x.numel():
            return x.new_zeros(len(x), self.width)
        sequence = pack_padded_sequence(x, counts.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        with torch.autocast(x.device.type, enabled=False):
            _, (state, _) = self.lstm(sequence)
        return state[-1] * (counts > 0)[:, None]

    def macs_of(self, frames: int) -> int:
        """Multiply-accumulates of one item."""
        return frames * sum(int(each.numel()) for name, each in self.lstm.named_parameters() if "weight" in name)
