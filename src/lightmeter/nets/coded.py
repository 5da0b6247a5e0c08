"""A net whose weights are kept in another number format: small on disk and on the wire, float32 while it works."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightmeter.nets.formats import FORMATS, bare, restored

LEAST_NUMBERS = 1024
"""Weights of fewer numbers stay as they are: biases, norms, and what a codebook would make larger."""


class CodedNet(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Another net, for answers only: its weights of two axes and 1,024 numbers or more are kept in `format`.

    Frozen tables of two axes are kept so whatever their size. `state_dict()` holds `name/values`, or `name/codes` and
    `name/scale` or `name/book`, in place of `name`; what is loaded becomes float32 at once, so that a forward costs
    what the net's own does. There is nothing to train: `parameters()` is empty.
    A net on the meta device takes its shapes only, and waits for a state.
    bound: largest error of any weight, in weight units; NaN where the state came from elsewhere
    Cost: the net's own MACs; memory of its float32 weights and of the codes.
    """

    def __init__(self, net: nn.Module, format: str) -> None:
        super().__init__()
        self.format, self.bound = format, float("nan")
        self._inner = (net.eval(),)  # torch does not register what is in a tuple
        self._parts = {
            name: bare(format, tuple(value.shape))
            for name, value in net.state_dict().items()
            if _coded(net, name, value)
        }
        if not any(value.is_meta for value in net.state_dict().values()):
            self._encode()

    @property
    def net(self) -> Any:
        """The net that answers."""
        return self._inner[0]

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def _encode(self) -> None:
        """Put the weights of the net into the format, and back into the net as they are then."""
        state, self.bound = self.net.state_dict(), 0.0
        for name in self._parts:
            kept = FORMATS[self.format](state[name])
            self._parts[name], self.bound = dict(kept.parts), max(self.bound, kept.bound)
            state[name].copy_(kept.weight())

    @property
    def size_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(each.numel() * each.element_size() for each in self.state_dict().values())

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities float32 [B, K], the net's own."""
        scores: Tensor = self.net(values, present, lengths)
        return scores

    def __getattr__(self, name: str) -> Any:
        """`hidden`, `macs` and what else the net has."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_inner"][0], name)

    def train(self, mode: bool = True) -> CodedNet:
        """Stays in eval mode: there is nothing to train."""
        return self

    def _save_to_state_dict(self, into: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        for name, value in self.net.state_dict().items():
            if name in self._parts:
                into.update({f"{prefix}{name}/{part}": each for part, each in self._parts[name].items()})
            else:
                into[prefix + name] = value

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def _load_from_state_dict(
        self, state: Mapping[str, Tensor], prefix: str, about: Any, strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        own = self.state_dict()
        given = {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)}
        missing += [prefix + name for name in own if name not in given]
        unexpected += [prefix + name for name in given if name not in own]
        wrong = [name for name in own if name in given and not _fits(given[name], own[name])]
        errors += [f"{prefix}{name} must be {_said(own[name])}, got {_said(given[name])}" for name in wrong]
        if missing or wrong:
            return
        shapes = {name: tuple(value.shape) for name, value in self.net.state_dict().items()}
        plain = {name: given[name] for name in shapes if name not in self._parts}
        for name, parts in self._parts.items():
            self._parts[name] = {part: given[f"{name}/{part}"] for part in parts}
            shape = shapes[name] if 0 not in shapes[name] else tuple(next(iter(self._parts[name].values())).shape)
            plain[name] = restored(self._parts[name], shape)
        self.net.load_state_dict(plain, assign=True)


def _coded(net: nn.Module, name: str, value: Tensor) -> bool:
    """Tables have no row where they wait for their state, so that only the weights' sizes can decide."""
    learnt = any(name == each for each, _ in net.named_parameters())
    return value.is_floating_point() and value.ndim > 1 and (not learnt or value.numel() >= LEAST_NUMBERS)


def _fits(given: Tensor, own: Tensor) -> bool:
    same = given.ndim == own.ndim and all(want in (0, got) for want, got in zip(own.shape, given.shape, strict=True))
    return same and given.dtype == own.dtype


def _said(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
