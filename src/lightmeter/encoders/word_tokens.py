"""Words as numbers in their order: what networks over words, such as TextCNN, look up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lightmeter.encoders.by_path import ByPath, settle_digits
from lightmeter.encoders.protocol import Takes, checked
from lightmeter.encoders.text_words import Part, TextOptions
from lightmeter.encoders.wordpiece import TOKENS_STATED
from lightmeter.errors import InvalidValueError
from lightmeter.parts import SPELLED_IF_SET, Spelled
from lightmeter.types import Array, Words


@dataclass(frozen=True, kw_only=True)
class WordTokens(TextOptions, ByPath, Spelled):
    """The numbers of the kept words, cut or padded with 0 to one length; rows of a `tokens` block.

    encode: N words -> int32 [N, length], numbers from 1 on are rows of `WordVectors.table`, 0 pads the end.
    Unlike other encoders' rows these are names, not amounts: don't search by them.
    Cost: a look-up a word.
    Source: seed 003, section 3.4; 40 words as its code. That code breaks off at a longer title; here its end goes, and
    `numbers` counts how often.

    part: the title, unless told otherwise · sha256: first digits of the hash of what it reads; other files are refused
    then · the other options are those of `TextOptions`
    """

    length: int = 40
    part: Part = "title"
    sha256: str = field(default="", metadata=SPELLED_IF_SET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.length <= 10_000:
            raise InvalidValueError(f"length must be 1 to 10000, got {self.length}")
        settle_digits(self)

    @property
    def dim(self) -> int:
        """Numbers a row."""
        return self.length

    @property
    def takes(self) -> Takes:
        """What goes in."""
        return "words"

    @property
    def unit(self) -> str:
        """What `macs` counts."""
        return f"text of {TOKENS_STATED} tokens"

    @property
    def macs(self) -> int:
        """None: look-ups."""
        return 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the vectors."""
        return self.opened().size_bytes

    def load(self) -> None:
        """Read the vectors."""
        self.check_pin()
        self.opened()

    def encode(self, items: Sequence[Words]) -> Array:
        """Numbers, cut or padded."""
        return self.numbers(items)[0]

    def numbers(self, items: Sequence[Words]) -> tuple[Array, int]:
        """int32 [N, length], and how many texts were cut."""
        self.check_pin()
        return padded_numbers(self.kept_numbers(checked(items, Words, "tokens")), self.length)


def padded_numbers(texts: Sequence[Array], length: int) -> tuple[Array, int]:
    """Texts int [W] each, cut at `length` and padded with 0 -> int32 [N, length]; and how many were cut."""
    made = np.zeros((len(texts), length), np.int32)
    for row, text in enumerate(texts):
        made[row, : len(text)] = text[:length]
    return made, sum(len(text) > length for text in texts)
