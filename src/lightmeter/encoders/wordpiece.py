"""Texts to token numbers, for every encoder of the BERT family."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lightmeter.types import Array

TOKENS_STATED = 16
"""Length of the text whose cost the text encoders state."""


def tokens(tokenizer: Path, text: str, limit: int) -> Array:
    """Token numbers of one text with [CLS] and [SEP], int64 [1, L], L at most `limit`."""
    return np.asarray([_tokenizer(tokenizer, limit).encode(text).ids], np.int64)


def knows(tokenizer: Path, text: str) -> bool:
    """Whether more than half of a text's tokens are in the vocabulary: all else becomes the same unknown token."""
    found = _tokenizer(tokenizer, 512).encode(text).tokens[1:-1]
    return bool(sum(token != "[UNK]" for token in found) * 2 > len(found) or not found)


@cache
def _tokenizer(path: Path, limit: int) -> Any:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(str(path))
    made.no_padding()
    made.enable_truncation(limit)
    return made


def transformer_macs(layers: int, width: int, tokens: int, *, inner: int) -> int:
    """Matrix products of all layers for one sequence: projections, attention and the inner layer, `inner` wide."""
    projections = (4 * width + 2 * inner) * width * tokens
    attention = 2 * tokens * tokens * width
    return layers * (projections + attention)
