"""The rows of one file whose pictures an encoder may refuse, such as those without a face: they are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmeter.engines.stage import Beat
from lightmeter.errors import RejectedFileError
from lightmeter.types import Array


class RowsOf:
    """What one encoder makes of the pictures, frames or windows of one file, chunk by chunk.

    kept: the places of those that have a row, from 0, rising · seen: how many there were
    why: the encoder's first refusal, None where it took all · beat: called after each, the engine's sign of life
    """

    def __init__(self, encoder: Any, beat: Beat) -> None:
        self.encoder, self.beat = encoder, beat
        self.kept: list[int] = []
        self.seen = 0
        self.why: RejectedFileError | None = None
        self._parts: list[Array] = []

    def add(self, items: Sequence[Any]) -> None:
        """Encode some more, one by one: a refusal says nothing of the others, and a slow encoder must be heard."""
        for item in items:
            try:
                self._parts.append(self.encoder.encode([item]))
                self.kept.append(self.seen)
            except RejectedFileError as error:
                self.why = self.why or error
            self.seen += 1
            self.beat()

    @property
    def rows(self) -> Array:
        """float32 [len(kept), D]"""
        return np.concatenate(self._parts) if self._parts else np.empty((0, self.encoder.dim), np.float32)

    def said(self, what: str) -> str:
        """One sentence on what was left out, "" where nothing was. what: of which things, such as `frames`"""
        out = self.seen - len(self.kept)
        if not out or self.why is None:
            return ""
        name = self.encoder.spec.partition("/")[0]
        return f"{name} left out {out} of {self.seen} {what}: {self.why.detail}"

    def check(self) -> None:
        """Raise the encoder's refusal where nothing has a row."""
        if self.why is not None and not self.kept:
            raise RejectedFileError(self.why.code, self.why.detail)


def check_some(made: Sequence[RowsOf]) -> None:
    """Raise a refusal where every one of several encoders refused everything: then the file cannot be used at all."""
    if made and not any(each.kept for each in made):
        made[0].check()
