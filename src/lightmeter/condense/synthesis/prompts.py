"""Captions as a text encoder of few tokens reads them: those that are too long in pieces, or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from lightmeter.errors import InvalidValueError

if TYPE_CHECKING:
    from torch import Tensor

Long = Literal["chunk", "published", "truncate"]
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Prompts:
    """Embeddings of texts and of what a picture should not be like, of one length in each pair.

    long: what becomes of texts with more tokens than the encoder takes (77 with CLIP's):
    `chunk`: pieces, each between a begin and an end of its own and filled up, read one by one and joined;
    `published`: all tokens with one begin and one end, cut every 77; the last piece stays short (seed 002's code);
    `truncate`: what does not fit is left out
    """

    tokenizer: Any
    text_encoder: Any
    long: Long = "chunk"

    def __post_init__(self) -> None:
        if self.long not in get_args(Long):
            raise InvalidValueError(f"long must be one of {', '.join(get_args(Long))}, got {self.long!r}")

    @property
    def most(self) -> int:
        """Tokens that the encoder takes at once."""
        return int(self.text_encoder.config.max_position_embeddings)

    def pairs(self, texts: Sequence[str], negative: str) -> list[tuple[Tensor, Tensor]]:
        """For each text: its embedding and that of `negative`, float [L, D] both; L depends on the two alone."""
        pieces = [self._pair(text, negative) for text in texts]
        known = self._embedded({piece for pair in pieces for side in pair for piece in side})
        return [(self._joined(text, known), self._joined(other, known)) for text, other in pieces]

    def pieces(self, text: str) -> list[tuple[int, ...]]:
        """Tokens of a text, piece by piece."""
        if self.long == "truncate":
            return [tuple(self.tokenizer(text, padding="max_length", max_length=self.most, truncation=True).input_ids)]
        inner = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        begin, end, fill = (getattr(self.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        room = self.most - 2
        if self.long == "published" and len(inner) > room:
            whole = [begin, *inner, end]
            return [tuple(whole[at : at + self.most]) for at in range(0, len(whole), self.most)]
        cut = [inner[at : at + room] for at in range(0, len(inner), room)] or [[]]
        return [(begin, *each, end, *[fill] * (room - len(each))) for each in cut]

    def _pair(self, text: str, negative: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        one, other = self.pieces(text), self.pieces(negative)
        return self._as_long(one, other), self._as_long(other, one)

    def _as_long(self, short: list[tuple[int, ...]], other: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Filled up until it has the pieces of the other."""
        missing = sum(map(len, other)) - sum(map(len, short))
        if missing <= 0:
            return short
        if self.long == "published":
            whole = [*(token for piece in short for token in piece), *[self.tokenizer.pad_token_id] * missing]
            return [tuple(whole[at : at + self.most]) for at in range(0, len(whole), self.most)]
        return short + self.pieces("") * (len(other) - len(short))

    def _embedded(self, pieces: set[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        """What the encoder makes of each piece."""
        import torch

        device = next(self.text_encoder.parameters()).device
        found: dict[tuple[int, ...], Tensor] = {}
        by_length: dict[int, list[tuple[int, ...]]] = {}
        for piece in sorted(pieces):
            by_length.setdefault(len(piece), []).append(piece)
        with torch.no_grad():
            for some in by_length.values():
                for at in range(0, len(some), _BATCH):
                    batch = some[at : at + _BATCH]
                    made = self.text_encoder(torch.tensor(batch, device=device))[0]
                    found |= dict(zip(batch, made, strict=True))
        return found

    def _joined(self, pieces: list[tuple[int, ...]], known: dict[tuple[int, ...], Tensor]) -> Tensor:
        import torch

        return torch.cat([known[piece] for piece in pieces])
