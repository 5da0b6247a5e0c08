"""What a run tells while it works, and what it says at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventKind = Literal["start", "batch", "failure", "restart", "stop", "done"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Items so far: done and failed in this run, skipped because done before, quarantined because failed before."""

    done: int = 0
    failed: int = 0
    skipped: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One moment of a run.

    time_s: seconds since 1970 · key, reason, detail: which item failed and why, or why a worker was restarted
    """

    kind: EventKind
    time_s: float
    counts: Counts
    key: str = ""
    reason: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """A flat dict for one line of JSON; empty texts are left out."""
        texts = {name: getattr(self, name) for name in ("key", "reason", "detail") if getattr(self, name)}
        return {"event": self.kind, "time_s": round(self.time_s, 3), **asdict(self.counts), **texts}


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended.

    done, failed, skipped, quarantined: as in Counts · reasons: how many failed of each reason in this run
    restarts: workers that died or were killed · stopped: tasks may be left, the same call goes on
    wall_s, cost_s: seconds, and CPU-seconds of this process and its workers
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    quarantined: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    stopped: bool = False
    wall_s: float = 0.0
    cost_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """A dict for JSON."""
        return {**asdict(self), "reasons": dict(self.reasons)}
