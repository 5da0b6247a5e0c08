"""The table where captioners are found; each is imported when it is asked for."""

from __future__ import annotations

CAPTIONERS: dict[str, str] = {}
