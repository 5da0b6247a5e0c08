"""Ctrl-C: once to finish what is in flight, twice to stop now."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self


class Stop:
    """Listens for SIGINT while it is entered, in the main thread; elsewhere only the callable can stop a run.

    The first SIGINT sets `asked`, the second raises KeyboardInterrupt, later ones are ignored. Handlers are restored.
    """

    def __init__(self, asked: Callable[[], bool] | None = None) -> None:
        self._callable, self._count = asked, 0
        self._listens = threading.current_thread() is threading.main_thread()

    def asked(self) -> bool:
        """Whether no further batch should begin."""
        return self._count > 0 or (self._callable is not None and self._callable())

    def __enter__(self) -> Self:
        if self._listens:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 2:
            raise KeyboardInterrupt
