"""Recipes of nets that read frames: a pool of frames, features beside it, a mixture of experts.

All read every block of frames, side by side, each frame of length 1, and put every block of features, each of length 1,
beside what was pooled: so a title's vector joins a frame-level net by being in the set. `frames=N` draws N frames an
item with replacement (in training anew each time, later by the item's own content), `frames=none` reads all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block, BlockKind
from lightmeter.heads.net_head import NetHead, check_blocks
from lightmeter.parts import Spelled, need

if TYPE_CHECKING:
    from lightmeter.nets.frames import Sources

_TAKES: tuple[BlockKind, ...] = ("frames", "features")


def sources_of(head: NetHead, blocks: Sequence[Block]) -> Sources:
    """Where a frame-level net finds its blocks, which stand in `present` in this order.

    Raises InvalidValueError for blocks of tokens and where no block is of frames.
    """
    need("torch", "torch")
    from lightmeter.nets.frames import Source, Sources

    check_blocks(head, blocks)
    placed = [(block.kind, Source(block.name, block.dim, place)) for place, block in enumerate(blocks)]
    frames = tuple(source for kind, source in placed if kind == "frames")
    if not frames:
        got = ", ".join(f"{block.name} ({block.kind})" for block in blocks)
        name = head.spec.partition("/")[0]
        raise InvalidValueError(f"{name} must read one block of frames or more, got {got}: add one to --blocks")
    return Sources(frames, tuple(source for kind, source in placed if kind == "features"))


MOST = {"layers": 64, "frames": 3600}
"""Of sizes that cost something before any weight is compared: a recipe also comes with models that others made."""


def check_sizes(recipe: Any, *names: str) -> None:
    """Raise InvalidValueError where a size of a recipe is below 1 or above `MOST`; none is let pass."""
    for name in names:
        size, most = getattr(recipe, name), MOST.get(name)
        if size is not None and (size < 1 or (most is not None and size > most)):
            raise InvalidValueError(f"{name} must be {f'1 to {most}' if most else '1 or more'}, got {size}")


def check_share(name: str, share: float) -> None:
    """Raise InvalidValueError where a share of dropout is not from 0 to below 1."""
    if not 0 <= share < 1:
        raise InvalidValueError(f"{name} must be from 0 to below 1, got {share}")


@dataclass(frozen=True)
class Dbof(Spelled):
    """Deep bag of frames.  The defaults are the seed's DBoF A; B is `clusters=16384,hidden=2048,experts=16,frames=60`.

    Cost (A, 1,152 numbers a frame, 4,716 classes): 42.0 M weights, 316 M MACs.
    Source: Abu-El-Haija et al. 2016, arXiv:1609.08675; `nets.dbof`.
    """

    clusters: int = 8192
    hidden: int = 1024
    experts: int = 2
    frames: int | None = 30

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "clusters", "hidden", "experts", "frames")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        sources = sources_of(self, blocks)
        from lightmeter.nets.dbof import Dbof as Pool
        from lightmeter.nets.frame_net import FrameNet

        pool = Pool(sources.frame_dim, clusters=self.clusters, hidden=self.hidden)
        return FrameNet(sources, pool, classes, experts=self.experts, sample=self.frames)


@dataclass(frozen=True)
class Lstm(Spelled):
    """Stacked LSTM.  The defaults are the seed's LSTM A; B is `cells=512,layers=4,experts=4`.

    Train it at a rate of 0.001, as the starter code's page says.
    Cost (A, 1,152 numbers a frame, 4,716 classes): 41.5 M weights, 5.2 G MACs at 300 frames.
    Source: Abu-El-Haija et al. 2016, arXiv:1609.08675; `nets.lstm`.
    """

    cells: int = 1024
    layers: int = 2
    experts: int = 2
    frames: int | None = None

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "cells", "layers", "experts", "frames")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        sources = sources_of(self, blocks)
        from lightmeter.nets.frame_net import FrameNet
        from lightmeter.nets.lstm import Lstm as Pool

        pool = Pool(sources.frame_dim, cells=self.cells, layers=self.layers)
        return FrameNet(sources, pool, classes, experts=self.experts, sample=self.frames)


@dataclass(frozen=True)
class NetVlad(Spelled):
    """NetVLAD with context gating, the winner of 2017; `centres=false` is NetRVLAD.

    clusters: of the widest block of frames, every other has half · gated: context gating on the probabilities too
    (K² weights)
    Source: Arandjelović et al. 2016, arXiv:1511.07247; Miech et al. 2017, arXiv:1706.06905; `nets.netvlad`.
    """

    clusters: int = 256
    hidden: int = 1024
    experts: int = 2
    centres: bool = True
    gated: bool = True
    frames: int | None = None

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "clusters", "hidden", "experts", "frames")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        sources = sources_of(self, blocks)
        from lightmeter.nets.frame_net import FrameNet
        from lightmeter.nets.netvlad import NetVlad as Pool

        dims = [each.dim for each in sources.frames]
        pool = Pool(dims, clusters=self.clusters, hidden=self.hidden, centres=self.centres)
        return FrameNet(sources, pool, classes, experts=self.experts, sample=self.frames, gated=self.gated)


@dataclass(frozen=True)
class NextVlad(Spelled):
    """NeXtVLAD with squeeze gating: NetVLAD's quality from a fraction of its weights.

    clusters, groups: of the widest block of frames, every other has half
    Source: Lin, Xiao & Fan 2018, arXiv:1811.05014; `nets.nextvlad`.
    """

    clusters: int = 128
    hidden: int = 2048
    expansion: int = 2
    groups: int = 8
    dropout: float = 0.5
    experts: int = 2
    frames: int | None = None

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "clusters", "hidden", "expansion", "groups", "experts", "frames")
        check_share("dropout", self.dropout)

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        sources = sources_of(self, blocks)
        from lightmeter.nets.frame_net import FrameNet
        from lightmeter.nets.nextvlad import NextVlad as Pool

        dims = [each.dim for each in sources.frames]
        pool = Pool(
            dims, clusters=self.clusters, hidden=self.hidden, expansion=self.expansion, groups=self.groups,
            dropout=self.dropout,
        )  # fmt: skip
        return FrameNet(sources, pool, classes, experts=self.experts, sample=self.frames)


@dataclass(frozen=True)
class Attention(Spelled):
    """Gated attention over the frames of each block, told which blocks are there: small, and it shows where it looked.

    queries: weighted means a block · inner: width of the scorer
    Source: Ilse et al. 2018, arXiv:1802.04712; `nets.attention_pool`.
    """

    queries: int = 4
    inner: int = 128
    hidden: int = 1024
    experts: int = 2
    frames: int | None = None

    takes = _TAKES

    def __post_init__(self) -> None:
        check_sizes(self, "queries", "inner", "hidden", "experts", "frames")

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        sources = sources_of(self, blocks)
        from lightmeter.nets.attention_pool import AttentionPool
        from lightmeter.nets.frame_net import FrameNet

        dims = [each.dim for each in sources.frames]
        pool = AttentionPool(dims, queries=self.queries, inner=self.inner, hidden=self.hidden)
        return FrameNet(sources, pool, classes, experts=self.experts, sample=self.frames)
