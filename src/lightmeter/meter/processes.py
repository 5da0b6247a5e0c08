"""A process and its living descendants, read from /proc: their CPU time, memory and bytes read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Proc:
    """Reads /proc and counts its own reads, so that a meter can leave them out of what it measures.

    Where /proc is missing (not Linux) every answer is empty or None. Processes that end while we look are skipped.
    """

    root: str = "/proc"
    own_bytes: int = 0

    def read(self, path: str) -> bytes:
        """One small file of /proc; b"" when it, or its process, is gone or not ours to read."""
        try:
            handle = os.open(f"{self.root}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        parts = []
        try:
            while part := os.read(handle, 1 << 16):
                parts.append(part)
        except OSError:  # the process ended between open and read
            return b""
        finally:
            os.close(handle)
        data = b"".join(parts)
        self.own_bytes += len(data)
        return data

    def descendants(self, pid: int) -> list[int]:
        """Living and not yet reaped processes below `pid`.  Cost: one small read a thread of the tree."""
        found: list[int] = []
        waiting = [pid]
        while waiting:
            parent = waiting.pop()
            try:
                tasks = os.listdir(f"{self.root}/{parent}/task")  # noqa: PTH208 -- runs 20 times a second
            except OSError:
                continue
            for task in tasks:
                children = [int(child) for child in self.read(f"{parent}/task/{task}/children").split()]
                found += children
                waiting += children
        return found

    def cpu_s(self, pid: int) -> float:
        """User and system seconds of a process and of the children it has reaped, in clock ticks (10 ms)."""
        fields = self.read(f"{pid}/stat").rpartition(b")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS_A_SECOND if len(fields) > 15 else 0.0

    def read_bytes(self, pid: int | str) -> int | None:
        """Bytes that a process and its reaped children got from read calls (`rchar`); None when not ours to see."""
        for line in self.read(f"{pid}/io").splitlines():
            if line.startswith(b"rchar:"):
                return int(line[6:])
        return None

    def resident_bytes(self, pid: int | str) -> int:
        """Resident set: pages in memory, shared ones included."""
        fields = self.read(f"{pid}/statm").split()
        return int(fields[1]) * _PAGE_BYTES if len(fields) > 1 else 0

    def fair_bytes(self, pid: int | str) -> int:
        """Proportional set: a page shared by n processes counts 1/n; the resident set where the kernel does not say."""
        for line in self.read(f"{pid}/smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
        return self.resident_bytes(pid)

    def tree_bytes(self, pid: int, below: Sequence[int]) -> int:
        """Memory held now: the resident set of a process alone, the sum of proportional sets with those `below` it."""
        if not below:
            return self.resident_bytes(pid)
        return sum(self.fair_bytes(each) for each in (pid, *below))
