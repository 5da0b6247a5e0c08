"""Folders that a command writes into: new, empty or of its own making, so that nobody's files are lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lightmeter.errors import InvalidValueError


def check_own(out: Path, stranger: Callable[[Path], str], holds: str, *, called: str = "OUT") -> None:
    """Whether a command may write into a folder; to be asked before the work, not after.

    stranger: the name of something in a folder that the command did not make, "" where there is none; not asked of an
    empty folder · holds: what may lie there, for the sentence · called: the parameter
    Raises InvalidValueError, which names what lies there, also where OUT or a folder above it is a file.
    """
    place = next(each for each in (out, *out.absolute().parents) if each.exists() or each.is_symlink())
    if not place.is_dir():
        raise InvalidValueError(f"{called} must be a folder, got {out}, where {place} is a file: take another {called}")
    strange = stranger(out) if place == out and any(out.iterdir()) else ""
    if strange:
        raise InvalidValueError(
            f"{called} must be new, empty or hold {holds}, got {out} with other things in it, as {strange!r:.80}: "
            f"take another {called}"
        )
