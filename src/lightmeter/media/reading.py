"""What came out of a file, and in what state: ok, or damaged but readable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """A value read from a file.

    state: `ok`, or `damaged` when part of the file could not be read · notes: short sentences on what was found
    """

    value: T
    state: Literal["ok", "damaged"] = "ok"
    notes: tuple[str, ...] = ()
