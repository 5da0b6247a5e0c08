"""Recipe of the deep combine chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lightmeter.heads.examples import Block, BlockKind
from lightmeter.heads.frame_heads import check_sizes
from lightmeter.heads.net_head import check_blocks, check_most
from lightmeter.parts import Spelled, need

_MOST_LINKS = 64
_TAKES: tuple[BlockKind, ...] = ("features",)


@dataclass(frozen=True)
class Chain(Spelled):
    """Mixtures of experts in a chain, each reading what the ones before it believed: labels help each other.

    links: mixtures before the last, 64 at most · cells: numbers that each hands on · normalise, missing: how blocks are
    joined, see `nets.joined`.  Every mixture gets a loss of its own (`stages`).
    Source: Wang et al. 2017, arXiv:1706.05150, §3; `nets.chain`.
    """

    experts: int = 2
    links: int = 3
    cells: int = 128
    normalise: Literal["whole", "block", "none"] = "whole"
    missing: Literal["zero", "learned"] = "zero"

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "experts", "links", "cells")
        check_most(self, _MOST_LINKS, "links")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        need("torch", "torch")
        from lightmeter.nets.chain import Chain as Net
        from lightmeter.nets.joined import Joined

        check_blocks(self, blocks)
        join = Joined(blocks, self.normalise, self.missing)
        return Net(join, join.dim, classes, experts=self.experts, links=self.links, cells=self.cells)
