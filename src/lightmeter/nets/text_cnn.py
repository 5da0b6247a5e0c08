"""TextCNN: convolutions over the word vectors of a title, each as wide as a phrase of one to eight words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.frames import Source
from lightmeter.nets.norm import Norm, packed, unpacked

Padding = Literal["published", "masked"]


class TextPlan(NamedTuple):
    """Sizes: convolutions of width 1 to `widths` with `filters` each, `hidden` activations, share of dropout."""

    widths: int = 8
    filters: int = 512
    hidden: int = 4096
    dropout: float = 0.5
    padding: Padding = "published"


class WordTable(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Word numbers int [B, L], 0 for none -> vectors float [B, L, dim].

    Frozen vectors are a buffer: they are saved with the net and need no file when it is loaded. A table that was made
    of no words takes the ones of the state that is loaded into it, and refuses to look words up before.
    """

    def __init__(self, dim: int, vectors: Tensor | None = None, *, learnt: int = 0) -> None:
        """vectors: float32 [V + 1, dim], row 0 zeros; None: they come with the weights · learnt: V that are learnt."""
        super().__init__()
        self.dim = dim
        if learnt:
            first = torch.randn(learnt + 1, dim) / dim**0.5
            first[0] = 0
            self.table = nn.Parameter(first)
        else:
            self.register_buffer("table", torch.zeros(0, dim) if vectors is None else vectors)

    def forward(self, tokens: Tensor, block: str = "tokens") -> Tensor:
        """int [B, L] -> float [B, L, dim]; number 0 is zeros, and gets no gradient.

        Raises InvalidValueError, naming the block, for a number that is not in the table.
        """
        if not len(self.table):
            raise InvalidValueError("word vectors must be there before words are looked up, got none: name their file")
        if not tokens.is_meta and tokens.numel():
            lowest, highest = (int(each) for each in tokens.aminmax())
            if lowest < 0 or highest >= len(self.table):
                raise InvalidValueError(
                    f"{block} must hold word numbers 0 to {len(self.table) - 1} as the table has them, "
                    f"got {lowest if lowest < 0 else highest}: take the vectors that numbered the words"
                )
        return functional.embedding(tokens, self.table, padding_idx=0)

    def _load_from_state_dict(self, state: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        given = state.get(f"{prefix}table")
        if given is not None and not isinstance(self.table, nn.Parameter) and given.shape[1:] == self.table.shape[1:]:
            self.table = torch.empty_like(given, device=self.table.device)
        super()._load_from_state_dict(state, prefix, *rest)


class TextCnn(nn.Module):  # type: ignore[misc]  # torch is not read by mypy
    """Title -> convolutions -> BN -> ReLU -> largest over the places -> hidden -> BN -> ReLU -> dropout -> K sigmoids.

    source: a block of tokens, int32 [L] from 1 on, 0 at the end · words: the table that turns them into vectors
    forward: probabilities float32 [B, K]; `hidden`: the 4,096 activations.
    padding="published": all L places count, empty ones too, in batch norm and in the maximum, as the authors' code has
    it; "masked": only places of words do, so that padding changes nothing. A convolution of even width looks one word
    further ahead than back (TensorFlow's SAME). An absent title is one without words.
    Cost: L·dim·filters·(1 + … + widths) + filters·widths·hidden + hidden·K MACs.  41.7 M weights as published (L = 40,
    dim 300, K = 4,716), without the word vectors.
    Source: Wang et al. 2017, arXiv:1706.05461, §3.4, and the code that its authors released, after Kim 2014,
    arXiv:1408.5882.  Kernels start as Glorot's.
    """

    def __init__(self, source: Source, words: WordTable, classes: int, plan: TextPlan) -> None:
        super().__init__()
        self.source, self.words, self.plan = source, words, plan
        wide = plan.filters * plan.widths
        self.convolutions = nn.ModuleList(
            nn.Conv1d(words.dim, plan.filters, width) for width in range(1, plan.widths + 1)
        )
        self.convolution_norm = Norm(wide)
        self.hidden_layer = nn.Linear(wide, plan.hidden)
        self.hidden_norm = Norm(plan.hidden)
        self.dropout = nn.Dropout(plan.dropout)
        self.answer = nn.Linear(plan.hidden, classes)
        for layer in (*self.convolutions, self.hidden_layer, self.answer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def hidden(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """float [B, hidden], from 0 on."""
        tokens = values[self.source.name] * present[:, self.source.place, None]
        vectors = self.words(tokens, self.source.name).transpose(1, 2)
        padded = (functional.pad(vectors, ((width - 1) // 2, width // 2)) for width in range(1, self.plan.widths + 1))
        places = torch.cat([each(x) for each, x in zip(self.convolutions, padded, strict=True)], 1).transpose(1, 2)
        mask = tokens > 0 if self.plan.padding == "masked" else torch.ones_like(tokens, dtype=torch.bool)
        normed = functional.relu(self.convolution_norm(packed(places, mask)))
        return functional.relu(self.hidden_norm(self.hidden_layer(unpacked(normed, mask).amax(1))))

    def forward(self, values: Mapping[str, Tensor], present: Tensor, lengths: Tensor | None) -> Tensor:
        """Probabilities float32 [B, K]."""
        return self.answer(self.dropout(self.hidden(values, present, lengths))).float().sigmoid()

    def decayed(self) -> Iterable[nn.Parameter]:
        """What l2 weighs: kernels, not biases, norms or word vectors."""
        return [layer.weight for layer in (*self.convolutions, self.hidden_layer, self.answer)]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one item."""
        kernels = sum(int(each.weight.numel()) for each in self.convolutions)
        return self.source.dim * kernels + int(self.hidden_layer.weight.numel() + self.answer.weight.numel())
