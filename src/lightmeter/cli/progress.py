"""Engine events → one line of progress, and a JSONL file where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightmeter.engines.events import Event


@contextmanager
def engine_progress(label: str, *, quiet: bool, events: Path | None = None) -> Iterator[Callable[[Event, int], None]]:
    """A listener for `run`: takes an event and how many items there are in all."""
    from lightmeter.report.progress import EventWriter, Progress

    writer = EventWriter(events) if events else None
    line: Progress | None = None
    seen = [0, 0]

    def heard(event: Event, total: int) -> None:
        nonlocal line
        if line is None:
            line = Progress(label, total, quiet=quiet)
        if event.kind == "batch":
            line.advance(ok=event.counts.done - seen[0], failed=event.counts.failed - seen[1])
            seen[:] = event.counts.done, event.counts.failed
        elif event.kind == "restart":
            line.note(f"a worker was restarted: {event.reason}")
        elif event.kind == "stop":
            line.note("stopping: the batch in flight is finished first; Ctrl-C again stops now")
        if writer:
            writer(event.kind, event.as_json())

    try:
        yield heard
    finally:
        if line is not None:
            line.close()
        if writer is not None:
            writer.close()
