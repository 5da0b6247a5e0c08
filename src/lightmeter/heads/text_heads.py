"""Recipes of nets that read words: the keyword histogram's decoder, and convolutions over a title's word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block, BlockKind
from lightmeter.heads.frame_heads import check_share, check_sizes
from lightmeter.heads.net_head import check_blocks, check_most
from lightmeter.parts import Spelled, need

if TYPE_CHECKING:
    from lightmeter.types import Array

_TAKES_FEATURES: tuple[BlockKind, ...] = ("features",)
_TAKES_TOKENS: tuple[BlockKind, ...] = ("tokens",)
_MOST_LAYERS = 16
_MOST_WIDTHS = 64


@dataclass(frozen=True)
class KeywordMlp(Spelled):
    """Two wide ReLU layers and a sigmoid a class, over the features of a video (the seed: a histogram of keywords).

    widths: of the layers, 16 of them at most · dropout: share left out after each · normalise, missing: how blocks
    are joined, see `nets.joined`; the seed feeds counts as they are
    Cost (1,024 -> 4,716 classes): 12.8 M weights and MACs.
    Source: Wang et al. 2017, arXiv:1706.05461, §3.3; `nets.keyword_mlp`.  The seed trains it by
    `adam/lr=0.001,batch=64,epochs=4` on videos with keywords only.
    """

    widths: tuple[int, ...] = (1024, 2048)
    dropout: float = 0.2
    normalise: Literal["whole", "block", "none"] = "none"
    missing: Literal["zero", "learned"] = "zero"

    takes = _TAKES_FEATURES

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise InvalidValueError(f"widths must be one or more numbers from 1 on, got {list(self.widths)}")
        if len(self.widths) > _MOST_LAYERS:
            raise InvalidValueError(f"widths must be of {_MOST_LAYERS} layers at most, got {len(self.widths)}")
        check_share("dropout", self.dropout)

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator."""
        need("torch", "torch")
        from lightmeter.nets.joined import Joined
        from lightmeter.nets.keyword_mlp import KeywordMlp as Net

        check_blocks(self, blocks)
        join = Joined(blocks, self.normalise, self.missing)
        return Net(join, join.dim, classes, widths=self.widths, dropout=self.dropout)


@dataclass(frozen=True)
class TextCnn(Spelled):
    """Convolutions over the words of a title.  The defaults are the seed's, but for the word vectors.

    vectors: word vectors by name or path as `encoders.word_vectors.open_vectors` has it, those that numbered the words
    of the set; they stay as they are and are saved with the net. A number: so many words' vectors are learnt
    dim: numbers of a word's vector
    widths: convolutions of 1 to this many words, 64 at most, `filters` of each · padding: `published` counts empty
    places in the maximum, `masked` does not
    Cost (40 words, 300 numbers each, 4,716 classes): 41.7 M weights without word vectors, 257 M MACs.
    Source: Wang et al. 2017, arXiv:1706.05461, §3.4; `nets.text_cnn`.  The seed trains it by
    `adam/lr=0.001,batch=512,epochs=5,l2=1e-07`, by the mean of the loss over classes where the starter code sums.
    """

    vectors: int | str = 50000
    dim: int = 300
    widths: int = 8
    filters: int = 512
    hidden: int = 4096
    dropout: float = 0.5
    padding: Literal["published", "masked"] = "published"

    takes = _TAKES_TOKENS

    def __post_init__(self) -> None:
        if isinstance(self.vectors, int):
            check_sizes(self, "vectors")
        check_sizes(self, "dim", "widths", "filters", "hidden")
        check_most(self, _MOST_WIDTHS, "widths")
        check_share("dropout", self.dropout)

    def net(self, blocks: Sequence[Block], classes: int) -> Any:
        """Fresh weights by torch's generator.

        On torch's meta device, where saved models are put together, word vectors are not read: the table waits for the
        saved ones, so that a model loads where the file it was made with is gone.
        """
        torch = need("torch", "torch")
        from lightmeter.nets.frames import Source
        from lightmeter.nets.text_cnn import TextCnn as Net
        from lightmeter.nets.text_cnn import TextPlan, WordTable

        check_blocks(self, blocks)
        if len(blocks) > 1:
            got = ", ".join(block.name for block in blocks)
            raise InvalidValueError(f"text-cnn must read one block of tokens, got {got}: choose one with --blocks")
        if isinstance(self.vectors, int):
            words = WordTable(self.dim, learnt=self.vectors)
        elif torch.empty(0).is_meta:
            words = WordTable(self.dim)
        else:
            words = WordTable(self.dim, torch.from_numpy(_vectors(self.vectors, self.dim)))
        plan = TextPlan(self.widths, self.filters, self.hidden, self.dropout, self.padding)
        return Net(Source(blocks[0].name, blocks[0].dim, 0), words, classes, plan)


def _vectors(where: str, dim: int) -> Array:
    """The table of word vectors, a copy: float32 [V + 1, dim]; raises InvalidValueError for another dim."""
    import numpy as np

    from lightmeter.encoders.word_vectors import open_vectors

    table = np.array(open_vectors(where).table, np.float32)
    if table.shape[1] != dim:
        raise InvalidValueError(f"dim must be that of {where}, {table.shape[1]}, got {dim}: write dim={table.shape[1]}")
    return table
