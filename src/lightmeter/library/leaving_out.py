"""The rows of one file where an encoder may see nothing in some of its pictures, such as no face: those are left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.types import Array


class RowsOf:
    """What one encoder makes of the pictures, frames or windows of one file, chunk by chunk.

    kept: the places of those that have a row, from 0, rising · seen: how many there were
    why: the encoder's first refusal, None where it took all
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder
        self.kept: list[int] = []
        self.seen = 0
        self.why: RejectedFileError | None = None
        self._parts: list[Array] = []

    def add(self, items: Sequence[Any]) -> None:
        """Encode some more; from the first refusal on one by one, as a refusal says nothing of the others."""
        if self.why is None:
            try:
                self._keep(range(self.seen, self.seen + len(items)), self.encoder.encode(items))
            except RejectedFileError as error:
                self.why = error
            else:
                return
        for item in items:
            try:
                self._keep([self.seen], self.encoder.encode([item]))
            except RejectedFileError:
                self.seen += 1

    def _keep(self, places: Sequence[int], rows: Array) -> None:
        self.kept += places
        self.seen += len(places)
        self._parts.append(rows)

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
