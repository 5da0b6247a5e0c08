"""The tables where ways to condense and protocols of scoring are found; each is imported when it is asked for."""

from __future__ import annotations

CONDENSERS: dict[str, str] = {}

PROTOCOLS: dict[str, str] = {}
