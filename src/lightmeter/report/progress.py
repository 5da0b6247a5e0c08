"""One line of progress on stderr, and the same as JSON Lines for programs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from lightmeter.errors import InvalidValueError
from lightmeter.report.text import clean, clip_text, seconds_text

_CLEAR = "\r\x1b[2K"
_REDRAW_S = 0.1
_WINDOW_S = 15.0


class EventWriter:
    """Writes events as JSON Lines: one object a line, each with `schema`, `event` and `at_s` (Unix seconds).

    The file is appended to and flushed line by line, so that another program can follow it.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 -- open for the life of the writer

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Append one event."""
        line = {"schema": "lightmeter.event/1", "event": event, "at_s": round(time.time(), 3), **fields}
        self._file.write(json.dumps(line, ensure_ascii=True, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; more events raise ValueError."""
        self._file.close()


class Progress:
    """A line that says how far, how fast, how long still; use it as a context manager.

    On a terminal the line is redrawn in place, ten times a second at most. Elsewhere (a file, a pipe, TERM=dumb) there
    is no animation: one summary line at the end. `quiet` silences both. `events` gets `start`, `progress` (once a
    second at most), `note` and `end`, whatever the terminal is.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        events: Callable[[str, Mapping[str, Any]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total is not None and total < 0:
            raise InvalidValueError(f"total must be 0 or more, got {total}: leave it out when it is not known")
        self.label, self.total = clean(label), total
        self.ok = self.skipped = self.failed = 0
        self._stream = stream if stream is not None else sys.stderr
        self._quiet, self._events, self._clock = quiet, events, clock
        self._animated = not quiet and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._start_s = self._drawn_s = self._told_s = clock()
        self._recent: deque[tuple[float, int]] = deque([(self._start_s, 0)])
        self._closed = False
        self._tell("start")

    @property
    def done(self) -> int:
        """Items that are behind us: ok, skipped and failed."""
        return self.ok + self.skipped + self.failed

    @property
    def rate(self) -> float | None:
        """Items a second that took work (ok and failed) over the last fifteen seconds or so; None before the first."""
        now_s = self._clock()
        then_s, then_done = self._recent[0]
        worked = self.ok + self.failed - then_done
        return worked / (now_s - then_s) if worked > 0 and now_s > then_s else None

    @property
    def left_s(self) -> float | None:
        """Seconds still to go at the recent rate; None when total or rate are not known."""
        rate = self.rate
        if self.total is None or rate is None:
            return None
        return max(0, self.total - self.done) / rate

    def advance(self, *, ok: int = 0, skipped: int = 0, failed: int = 0) -> None:
        """Count items and redraw when it is time."""
        if min(ok, skipped, failed) < 0:
            raise InvalidValueError(f"counts must be 0 or more, got ok={ok}, skipped={skipped}, failed={failed}")
        self.ok, self.skipped, self.failed = self.ok + ok, self.skipped + skipped, self.failed + failed
        now_s = self._clock()
        if now_s - self._recent[-1][0] >= 0.5:
            self._recent.append((now_s, self.ok + self.failed))
            while len(self._recent) > 2 and now_s - self._recent[1][0] >= _WINDOW_S:
                self._recent.popleft()
        if now_s - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now_s
            self._draw()
        if now_s - self._told_s >= 1.0:
            self._told_s = now_s
            self._tell("progress")

    def note(self, text: str) -> None:
        """Print a line of its own above the progress line."""
        self._tell("note", {"text": text})
        if not self._quiet:
            self._stream.write(f"{_CLEAR if self._animated else ''}{_writable(clean(text), self._stream)}\n")
            self._draw()
            self._stream.flush()

    def line(self) -> str:
        """The line as it stands now."""
        of = f"/{self.total}" if self.total is not None else ""
        parts = [f"{self.done}{of}"]
        if self.total:
            parts[0] += f" ({100 * self.done // self.total} %)"
        if (rate := self.rate) is not None:
            parts.append(f"{rate:.3g}/s")
        if (left_s := self.left_s) is not None and self.done < (self.total or 0):
            parts.append(f"{seconds_text(left_s)} left")
        return f"{self.label}: {' · '.join([*parts, self._counts()])}"

    def summary(self) -> str:
        """What became of it, for the end."""
        took_s = self._clock() - self._start_s
        return f"{self.label}: {self._counts()} in {seconds_text(took_s)}"

    def close(self) -> None:
        """Replace the line by the summary; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._tell("end")
        if not self._quiet:
            self._stream.write(f"{_CLEAR if self._animated else ''}{_writable(self.summary(), self._stream)}\n")
            self._stream.flush()

    def __enter__(self) -> Progress:
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _counts(self) -> str:
        return f"{self.ok} ok / {self.skipped} skipped / {self.failed} failed"

    def _draw(self) -> None:
        if self._animated and not self._closed:
            width = max(10, shutil.get_terminal_size().columns - 1)
            self._stream.write(_CLEAR + clip_text(_writable(self.line(), self._stream), width))
            self._stream.flush()

    def _tell(self, event: str, more: Mapping[str, Any] | None = None) -> None:
        if self._events is None:
            return
        counts = {"ok": self.ok, "skipped": self.skipped, "failed": self.failed, "total": self.total}
        timing = {"took_s": round(self._clock() - self._start_s, 3), "rate": self.rate, "left_s": self.left_s}
        self._events(event, {"label": self.label, **counts, **timing, **(more or {})})


def _writable(text: str, stream: TextIO) -> str:
    """The text in what the stream can encode; `?` for the rest (LANG=C)."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
