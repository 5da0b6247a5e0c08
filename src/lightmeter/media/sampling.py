"""Which packets of a video must be decoded so that the frame shown at each wanted moment comes out."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

MOST_PENDING = 600
MOST_PENDING_BYTES = 32_000_000


class UnusualStream(Exception):  # noqa: N818  (a signal inside this part, never an error that leaves it)
    """The stream's stamps do not say which packets are enough: every frame must be decoded instead."""


@dataclass(frozen=True, slots=True)
class Ticks:
    """Wanted moments k / fps on a stream's clock; step: ticks from one to the next.

    A frame of stamp p is on screen at moment k from the first p <= at(k) that has no later one.
    """

    start: int
    step: Fraction

    def at(self, k: int) -> int:
        """The last tick that is not after moment k."""
        return self.start + k * self.step.numerator // self.step.denominator

    def moments_before(self, end: int) -> int:
        """How many moments lie before the tick `end`; at least one."""
        return max(1, -(-(end - self.start) * self.step.denominator // self.step.numerator))


@dataclass(slots=True)
class Feed:
    """Packets to decode next, in order.

    jump: the decoder must be drained and flushed first, since packets before these were left out
    needed: stamps whose frames are wanted, some of which may have been handed over before
    known: no frame up to this stamp is wanted except those
    """

    packets: list[Any]
    jump: bool
    needed: frozenset[int]
    known: int


@dataclass(slots=True)
class Planner:
    """Reads packets in decoding order, and says what to decode as soon as it is certain.

    A later packet never has a stamp below the current decoding stamp, so moments before that are settled. Groups of
    pictures in which nothing is wanted are dropped, and so is the rest of a group after its last wanted frame.
    Memory: at most MOST_PENDING packets.
    """

    step: Fraction
    k: int = 0
    ticks: Ticks | None = None
    wanted: deque[tuple[int, int]] = field(default_factory=deque)  # (k, stamp) settled, not yet shown
    _pending: list[Any] = field(default_factory=list)
    _stamps: list[int] = field(default_factory=list)
    _settled: int | None = None  # moments up to this tick are settled
    _known: int = -(1 << 62)  # no frame up to this stamp is wanted, but those already named
    _end: int = 0
    _skipped: bool = False
    _bytes: int = 0

    def add(self, packet: Any) -> Iterator[Feed]:
        """Take the next packet; yields what can be decoded now."""
        pts, dts = packet.pts, packet.dts
        if pts is None or (dts is not None and pts < dts):
            raise UnusualStream(f"a packet of stamps {pts} and {dts}")
        if self._settled is not None and pts <= self._settled and not packet.is_discard:
            raise UnusualStream("a packet comes after its moment was settled")
        self._take(packet)
        if dts is None:
            return  # it says nothing about what is still to come
        if self.ticks is None and self._stamps and dts > self._stamps[0]:
            self._begin()
        if self.ticks is not None:
            yield from self._settle(dts)
            self._forget(dts)
            if len(self._pending) > MOST_PENDING or self._bytes > MOST_PENDING_BYTES:
                yield self._cut(len(self._pending), frozenset())

    def finish(self) -> Iterator[Feed]:
        """No packet is left: settle the moments up to the end of the last frame."""
        if self.ticks is None:
            if not self._stamps:
                raise UnusualStream("no frame at all")
            self._begin()
        assert self.ticks is not None
        if self.k < self.ticks.moments_before(self._end):
            yield from self._settle(self.ticks.at(self.ticks.moments_before(self._end) - 1) + 1)

    def _take(self, packet: Any) -> None:
        if not self._pending and self.ticks is None and not packet.is_keyframe:
            raise UnusualStream("it starts in the middle of a group")
        if packet.is_keyframe and self.ticks is not None and packet.pts <= self.ticks.at(self.k):
            self._skipped |= bool(self._pending)
            self._pending.clear()
            self._stamps.clear()
            self._bytes = 0
        self._pending.append(packet)
        self._bytes += packet.size
        if not packet.is_discard:
            if packet.pts in self._stamps:
                raise UnusualStream("two frames of one stamp")
            insort(self._stamps, packet.pts)
            self._end = max(self._end, packet.pts + max(packet.duration or 0, 1))

    def _begin(self) -> None:
        first = next(p for p in self._pending if not p.is_discard)
        if first is self._pending[0] and self._stamps[0] < first.pts:
            raise UnusualStream("frames before the first keyframe")
        self.ticks = Ticks(self._stamps[0], self.step)

    def _settle(self, frontier: int) -> Iterator[Feed]:
        """Every frame of a stamp below the frontier is known."""
        assert self.ticks is not None
        marked: set[int] = set()
        while (moment := self.ticks.at(self.k)) < frontier:
            place = bisect_right(self._stamps, moment) - 1
            if place < 0:
                raise UnusualStream("no frame for a moment")
            stamp = self._stamps[place]
            del self._stamps[:place]
            self.wanted.append((self.k, stamp))
            marked.add(stamp)
            self._settled = self._known = moment
            self.k += 1
        if marked:
            places = [i for i, p in enumerate(self._pending) if p.pts in marked and not p.is_discard]
            yield self._cut(places[-1] + 1 if places else 0, frozenset(marked))

    def _forget(self, frontier: int) -> None:
        """Of the frames before the next moment only the last can be on screen then."""
        assert self.ticks is not None
        place = bisect_right(self._stamps, min(frontier, self.ticks.at(self.k))) - 1
        if place > 0:
            self._known = max(self._known, self._stamps[place] - 1)
            del self._stamps[:place]

    def _cut(self, count: int, needed: frozenset[int]) -> Feed:
        """Hand over the first packets, from the last keyframe that is enough for all that is needed."""
        lowest = min((p.pts for p in self._pending[:count] if p.pts in needed), default=None)
        first = 0
        for i, packet in enumerate(self._pending[:count]):
            if packet.is_keyframe and lowest is not None and packet.pts <= lowest:
                first = i
        jump = count > 0 and (first > 0 or self._skipped)
        feed = Feed(self._pending[first:count], jump, needed, self._known)
        del self._pending[:count]
        self._skipped = self._skipped and not count
        self._bytes = sum(packet.size for packet in self._pending)
        return feed
