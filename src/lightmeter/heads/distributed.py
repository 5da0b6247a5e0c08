"""One network learnt by several processes: each reads its share of every batch, slopes are averaged between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import Block, BlockKind, Examples, Rebatched
from lightmeter.heads.net_head import NetHead
from lightmeter.heads.training import Adam, Plan, Told, fit_net
from lightmeter.parts import need


def fit_net_together(
    head: NetHead, examples: Examples, *, training: Adam | None = None, seed: int = 0, folder: Path | None = None,
    plan: Plan | None = None, tell: Callable[[Told], None] | None = None,
) -> Classifier:  # fmt: skip
    """As `fit_net`, in every process that torchrun started; all of them end with the same classifier.

    A batch is that of one process, dealt out row by row, so the result is that of one process up to rounding, for
    networks without chance and without statistics of a batch (lstm, moe). Modality dropout and sampled frames draw the
    same for each process, batch norm sees a share only: these learn, but not the same.
    folder: where the first process keeps checkpoints, the same for all; all go on from there. `tell` is for the first.
    The processes talk through gloo, on CPUs, over the sockets that torchrun set up.
    Raises InvalidValueError outside torchrun, for a batch that cannot be dealt out evenly, and what `fit_net` raises.
    Cost: beside a share of `fit_net`'s, all slopes go around once a step.
    """
    torch = need("torch", "torch")
    if not torch.distributed.is_initialized():
        if not torch.distributed.is_torchelastic_launched():
            raise InvalidValueError("processes must be started together: use `torchrun --nproc-per-node 2 SCRIPT`")
        torch.distributed.init_process_group("gloo")
    rank, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    training, plan = training or Adam(), plan or Plan()
    rows = min(training.batch, len(examples))
    if rows % count:
        raise InvalidValueError(f"batch must be a multiple of the {count} processes, got {rows}")
    if training.precision == "auto":
        raise InvalidValueError("precision must be the same for all processes, got auto: take float32 or bfloat16")
    if rank:
        plan, tell = replace(plan, checkpoint_s=math.inf, note=None), None
    torch.distributed.barrier()  # nobody writes before all have come
    made = fit_net(
        _Together(head, count), _share(examples, rank, count), training=training, seed=seed, folder=folder, plan=plan,
        tell=tell,
    )  # fmt: skip
    return replace(made, head=head)


@dataclass(frozen=True)
class _Together:
    """A head whose networks average their slopes over all processes, one weight after the other, while they go back."""

    head: NetHead
    count: int

    @property
    def spec(self) -> str:
        """That of the head: a checkpoint does not depend on who made it."""
        return self.head.spec

    @property
    def takes(self) -> tuple[BlockKind, ...]:
        """Those of the head."""
        return self.head.takes

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights, the same in every process."""
        made = self.head.net(blocks, classes)
        for weight in made.parameters():
            if weight.requires_grad:
                weight.register_post_accumulate_grad_hook(self._average)
        return made

    def _average(self, weight: Any) -> None:
        import torch

        torch.distributed.all_reduce(weight.grad)
        weight.grad /= self.count


def _share(whole: Examples, rank: int, count: int) -> Rebatched:
    """A set of which each batch is dealt out to several processes: every `count`-th row, from `rank` on."""
    return Rebatched(whole, lambda rows: whole.batch(np.asarray(rows)[rank::count]))
