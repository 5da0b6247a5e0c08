"""What dense encoders share that run a torch network: it is kept once a process, runs clip by clip, and is counted."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, cast

import numpy as np

from lightmeter.encoders.dense import DenseEncoder, Volume
from lightmeter.encoders.runtime import threads
from lightmeter.errors import InvalidValueError
from lightmeter.parts import need
from lightmeter.types import Array

MOST_NETS = 4
"""Networks kept at once; the one that was used longest ago makes room."""

_Key = tuple[str, str, int | None]
_nets: OrderedDict[_Key, Any] = OrderedDict()
_lock = threading.Lock()


class ByNet:
    """Mixin beside `Windowed` of an encoder whose maps come from a torch module.

    Said by the encoder: `extra`, `device`, and `_made`.
    """

    extra: ClassVar[str] = "torch"
    device: str = "cpu"
    causal: bool
    pool: str
    _redraw: int | None = None  # the seed of random weights, where `untrained` asks for them

    def _made(self) -> Any:
        """The network, read now: forward(clips [N, frames, 3, H, W] in 0..1, names) -> [N, C, T', h, w] by name."""
        raise NotImplementedError

    def _sampling_macs(self) -> int:
        """What drawing a future costs beside the maps."""
        return 0

    def macs(self, height: int, width: int) -> int:
        """Counted by a run without numbers (on torch's meta device).  Cost: milliseconds, and the weights once."""
        return _macs(self, self._net_key(), height, width) + self._sampling_macs()

    def net(self) -> Any:
        """A copy to be trained, with a common face: see `DenseEncoder.net`."""
        from lightmeter.nets.dense_maps import Pooled

        if cast(Any, self).clip == "sampled":
            raise InvalidValueError(
                "an encoder that draws a future cannot be fine-tuned: take clip=static or clip=real"
            )
        inner = copy.deepcopy(self._kept()).requires_grad_(requires_grad=True)
        return Pooled(inner, cast(DenseEncoder, self).chosen, self.pool, self.causal)

    def _net_key(self) -> _Key:
        return cast(DenseEncoder, self).fingerprint, self.device, self._redraw

    def _kept(self) -> Any:
        torch = need("torch", self.extra)
        torch.set_num_threads(threads())
        key = self._net_key()
        with _lock:
            if key not in _nets:
                while len(_nets) >= MOST_NETS:
                    _nets.popitem(last=False)
                with torch.random.fork_rng(devices=[]):  # networks draw weights before they are given theirs
                    net = self._made()
                if self._redraw is not None:
                    from lightmeter.nets.dense_random import redrawn

                    redrawn(net, self._redraw)
                _nets[key] = net.float().eval().requires_grad_(requires_grad=False).to(self.device)
            _nets.move_to_end(key)
            return _nets[key]

    def _run(self, window: Array, names: tuple[str, ...]) -> Mapping[str, Array]:
        torch, net = need("torch", self.extra), self._kept()
        pixels = torch.from_numpy(np.ascontiguousarray(window.transpose(0, 3, 1, 2))).to(self.device)
        with torch.inference_mode():
            made = net(pixels[None].float() / 255, names)
            return {name: made[name][0].float().cpu().numpy() for name in names}

    def _volumes(self) -> Mapping[str, Volume]:
        return _shapes(self, self._net_key())


@lru_cache(maxsize=64)
def _shapes(encoder: Any, _key: _Key) -> dict[str, Volume]:
    """What the network gives for the smallest frame, of which no map is a single cell by rounding."""
    side = encoder._only_side() or 4 * encoder.size_multiple
    made = _hollow_run(encoder, side, side, None)
    shapes = {}
    for name, (channels, times, high, wide) in made.items():
        if side % high or side % wide or side // high != side // wide:
            raise InvalidValueError(f"map {name} of {high} x {wide} for {side} x {side} pixels has no whole stride")
        shapes[name] = Volume(channels, times, side // high)
    return shapes


@lru_cache(maxsize=256)
def _macs(encoder: Any, _key: _Key, height: int, width: int) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    names = encoder.chosen  # before the counting: to know them may take a run of its own
    counter = FlopCounterMode(display=False)
    with counter:
        _hollow_run(encoder, height, width, names)
    return int(counter.get_total_flops()) // 2


def _hollow_run(encoder: Any, height: int, width: int, names: tuple[str, ...] | None) -> dict[str, tuple[int, ...]]:
    """Shapes [C, T', h, w] of the maps of one clip, found without computing any."""
    torch, net = need("torch", encoder.extra), encoder._kept()
    hollow = {name: each.to("meta") for name, each in [*net.named_parameters(), *net.named_buffers()]}
    clips = torch.empty(1, encoder.frames, 3, height, width, device="meta")
    with torch.no_grad():
        made = torch.func.functional_call(net, hollow, (clips, names))
    return {name: tuple(each.shape[1:]) for name, each in made.items()}
