"""A sentence that says what moves where: `the arm moves left and down; the red disc moves right`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SIDESTEP = 0.45
"""A direction is named when it is at least this share of the main one: about 24 degrees off it."""


def ways(shift: Sequence[float], names: Sequence[tuple[str, str]], least: float) -> list[str]:
    """The directions of a shift in words, the longest first; none for one shorter than `least` along every axis.

    shift: one number an axis · names: words for below and above 0, one pair an axis

    >>> ways([-3.0, 2.0], [("left", "right"), ("up", "down")], least=1.0)
    ['left', 'down']
    """
    longest = max((abs(each) for each in shift), default=0.0)
    if longest < least:
        return []
    axes = sorted(range(len(shift)), key=lambda axis: -abs(shift[axis]))
    return [names[axis][int(shift[axis] > 0)] for axis in axes if abs(shift[axis]) >= max(least, _SIDESTEP * longest)]


def sentence(moves: Iterable[tuple[str, str, Sequence[str]]]) -> str:
    """Things, their verbs and where they go, those left out that go nowhere; `nothing moves` where none does.

    >>> sentence([("the arm", "pushes", ["left", "down"]), ("the box", "moves", ["left"]), ("the cup", "moves", [])])
    'the arm pushes left and down; the box moves left'
    """
    told = [f"{thing} {verb} {' and '.join(where)}" for thing, verb, where in moves if where]
    return "; ".join(told) or "nothing moves"
