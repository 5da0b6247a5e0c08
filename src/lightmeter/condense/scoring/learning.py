"""One student through one course, and what a network says of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring.augment import Mixed
from lightmeter.condense.scoring.course import Course
from lightmeter.condense.scoring.pixels import floats, normalised
from lightmeter.condense.scoring.presets import Preset
from lightmeter.encoders.runtime import threads
from lightmeter.parts import need
from lightmeter.types import Array

if TYPE_CHECKING:
    from torch import Tensor

_CHANCE = 0x57D
_CACHE_BYTES = 2 << 20
"""The largest map of what is computed at once: more leaves the cache, and is given back to the system at each step."""
_FEWEST = 4


class Lesson:
    """A student that learns a small set by a protocol. Same net, set, course and seed: the same weights, bit for bit.

    soft: float32 [N, K], None unless the protocol wants labels of the set's own
    teacher: a module, on the net's device, None unless the protocol wants one
    """

    def __init__(
        self, net: Any, preset: Preset, course: Course, small: ImageSet, *, seed: int, soft: Array | None = None,
        teacher: Any = None,
    ) -> None:  # fmt: skip
        torch = need("torch", "torch")
        from lightmeter.nets.descent import Descent

        torch.set_num_threads(threads())
        self.net, self.preset, self.course, self.images, self.seed = net.train(), preset, course, small.images, seed
        self.device = device_of(net)
        self.labels = torch.from_numpy(small.labels.copy()).to(self.device)
        self.soft = None if soft is None else torch.from_numpy(soft.copy()).to(self.device)
        self.teacher = teacher
        plan = preset.descent()
        self.descent = Descent(net, plan, seed=seed)
        if preset.decays_all:
            for group in self.descent.optimizer.param_groups:
                group["weight_decay"] = plan.weight_decay

    def step(self, number: int) -> None:
        """One step, from 0 on."""
        rows = self.course.rows(number, self.seed)
        rng = np.random.default_rng([_CHANCE, self.seed, number])
        pictures = self.preset.shown(self.images[rows], learning=True)
        batch = self.preset.changed(floats(pictures, self.device), rng)
        self.descent.step(number, self.course.rate(number), lambda: self._loss(batch, rows))

    def _loss(self, batch: Mixed, rows: Array) -> Tensor:
        """The batch's mean loss."""
        wanted = self._wanted(batch, rows)
        return in_parts(
            self.net,
            len(rows),
            lambda part: self._divergence(self.net(batch.x[part]), *(each[part] for each in wanted)),
        )

    def _wanted(self, batch: Mixed, rows: Array) -> tuple[Tensor, ...]:
        """What the batch should be taken for: two classes each, or chances of all classes."""
        import torch

        own = torch.from_numpy(rows).to(self.device)
        other = own if batch.partner is None else own[torch.from_numpy(batch.partner).to(self.device)]
        share = torch.full((len(rows),), batch.share, device=self.device)
        if self.preset.labels == "classes":
            return self.labels[own], self.labels[other], share
        if self.preset.labels == "own":
            assert self.soft is not None, "checked by score"
            return (batch.share * self.soft[own] + (1 - batch.share) * self.soft[other],)
        said = answers(self.teacher, batch.x)
        return (torch.softmax(said / self.preset.temperature, dim=1),)

    def _divergence(self, logits: Tensor, *wanted: Tensor) -> Tensor:
        """Sum over pictures of cross-entropy, or of the divergence from soft labels."""
        import torch
        from torch.nn import functional

        if len(wanted) == 1:
            told = functional.log_softmax(logits / self.preset.temperature, dim=1)
            return functional.kl_div(told, wanted[0], reduction="sum")
        one, other, share = wanted
        first = functional.cross_entropy(logits, one, reduction="none")
        if torch.equal(one, other):
            return first.sum()
        return (share * first + (1 - share) * functional.cross_entropy(logits, other, reduction="none")).sum()

    def learn(self, look: Callable[[int], None]) -> None:
        """All steps; `look` hears, after those that the course names, how many are done."""
        looks = {*self.course.looks, self.course.steps}
        for number in range(self.course.steps):
            self.step(number)
            if number + 1 in looks:
                look(number + 1)


def device_of(net: Any) -> str:
    """Where a net's weights are."""
    return str(next(net.parameters()).device)


def best_device() -> str:
    """A GPU where torch finds one, else the CPU."""
    return "cuda" if need("torch", "torch").cuda.is_available() else "cpu"


def at_once(net: Any) -> int:
    """How many pictures a net is best given at a time on a CPU, from 4 on; all of them on a GPU."""
    if not device_of(net).startswith("cpu"):
        return 1 << 10
    return max(_FEWEST, _CACHE_BYTES // max(1, int(getattr(net, "widest_bytes", _CACHE_BYTES // 64))))


def in_parts(net: Any, count: int, loss: Callable[[slice], Tensor]) -> Tensor:
    """The mean loss of a batch from sums over its parts; slopes of all but the last part are gathered on the way.

    Where pictures do not touch each other in the net, part by part is the same and stays in the cache; with batch norm
    the batch is one part. Slopes must be empty before, and the result be differentiated once.
    """
    import torch

    *parts, last = blocks(count, at_once(net) if net.norm == "instance" else count)
    before = torch.zeros((), device=device_of(net))
    for part in parts:
        one = loss(part) / count
        one.backward()
        before += one.detach()
    return loss(last) / count + before


def blocks(count: int, size: int) -> Iterator[slice]:
    """0 to `count` in slices of `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def answers(net: Any, x: Tensor) -> Tensor:
    """Logits of a batch by a net in eval mode, which it is left in: float [B, K], no slopes."""
    import torch

    net.eval()
    with torch.inference_mode():
        made = torch.cat([net(x[part]) for part in blocks(len(x), at_once(net))])
    return made.clone()


def said_of(
    net: Any, images: Array, what: str = "forward", shown: Callable[[Array], Array] = lambda each: each
) -> Array:
    """What a net's `forward` (logits) or `features` says of pictures uint8 [N, H, W, C]: float32 [N, D].

    shown: what is done to pictures first.  Memory: pictures are read as they are needed, from a mapped file too.
    """
    import torch

    torch.set_num_threads(threads())
    call = getattr(net, what)
    was = net.training
    net.eval()
    with torch.inference_mode():
        made = [
            call(normalised(shown(images[part]), device_of(net))).float().cpu().numpy()
            for part in blocks(len(images), at_once(net))
        ]
    net.train(was)
    return np.concatenate(made) if made else np.zeros((0, 0), np.float32)
