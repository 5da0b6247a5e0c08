"""Joules, from the counters of Linux powercap (RAPL), where the machine has them and lets us read them."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Energy:
    """Joules drawn by all processor packages of this machine, other programs included.

    Counters run over; call `sample` at least once a minute. Memory and board are not in the package domain.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self.joules = 0.0
        self._counters = _packages(root)
        self._last = {path: _number(path / "energy_uj") for path in self._counters}

    @property
    def known(self) -> bool:
        """Whether there is at least one counter and all could be read."""
        return bool(self._last) and None not in self._last.values()

    def sample(self) -> None:
        """Add what was drawn since the last sample."""
        if not self.known:
            return
        for path, before in self._last.items():
            now = _number(path / "energy_uj")
            if now is None or before is None:
                self._last[path] = None
                continue
            ran_over = (self._counters[path] or 0) if now < before else 0
            self.joules += (now - before + ran_over) / 1e6
            self._last[path] = now

    def total(self) -> float | None:
        """Joules since the start, or None when they cannot be known."""
        self.sample()
        return self.joules if self.known else None


def _packages(root: Path) -> dict[Path, int | None]:
    """Package domains and where their counter runs over; their parts, and `psys` around them, would count twice."""
    if not root.is_dir():
        return {}
    found = sorted(path for path in root.iterdir() if path.name.count(":") == 1)
    return {path: _number(path / "max_energy_range_uj") for path in found if _text(path / "name").startswith("package")}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
