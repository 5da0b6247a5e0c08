"""The progress line, with a clock that the test moves."""

from __future__ import annotations

import io
import json

import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.report.progress import EventWriter, Progress


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    return Terminal()


def test_line_by_hand(clock):
    progress = Progress("index", 100, stream=io.StringIO(), clock=clock)
    assert progress.line() == "index: 0/100 (0 %) · 0 ok / 0 skipped / 0 failed"
    for _ in range(10):
        clock.now_s += 1
        progress.advance(ok=2)
    progress.advance(skipped=28, failed=2)
    assert progress.line() == "index: 50/100 (50 %) · 2.2/s · 22.7 s left · 20 ok / 28 skipped / 2 failed"
    assert progress.summary() == "index: 20 ok / 28 skipped / 2 failed in 10.0 s"


def test_rate_is_recent_and_what_was_skipped_does_not_make_it_fast(clock):
    progress = Progress("x", 10_000, stream=io.StringIO(), clock=clock)
    progress.advance(skipped=5000)
    assert progress.rate is None
    for _ in range(100):
        clock.now_s += 1
        progress.advance(ok=10)
    for _ in range(40):
        clock.now_s += 1
        progress.advance(ok=1)
    assert progress.rate == pytest.approx(1.0)
    assert progress.left_s == pytest.approx(10_000 - 5000 - 1040)


def test_elsewhere_than_on_a_terminal_there_is_one_line_in_all(clock):
    stream = io.StringIO()
    with Progress("index", 3, stream=stream, clock=clock) as progress:
        for _ in range(3):
            clock.now_s += 1
            progress.advance(ok=1)
    progress.close()
    assert stream.getvalue() == "index: 3 ok / 0 skipped / 0 failed in 3.00 s\n"


def test_on_a_terminal_the_line_is_redrawn_in_place_and_fits(clock, terminal):
    with Progress(
        "a label that is quite long for such a terminal, 猫猫猫猫", 300, stream=terminal, clock=clock
    ) as progress:
        for _ in range(300):
            clock.now_s += 0.01
            progress.advance(ok=1)
    drawn = terminal.getvalue().split("\r\x1b[2K")
    assert 25 <= len(drawn) <= 35  # 3 s at ten a second at most
    assert all(len(line) <= 69 for line in drawn[:-1])
    assert terminal.getvalue().count("\n") == 1


def test_a_dumb_terminal_is_not_animated(clock, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with Progress("x", 1, stream=terminal, clock=clock) as progress:
        clock.now_s += 1
        progress.advance(ok=1)
    assert "\x1b" not in terminal.getvalue()


def test_quiet_says_nothing_but_tells_the_events(clock, terminal):
    told = []
    with Progress(
        "x", 1, stream=terminal, quiet=True, clock=clock, events=lambda event, _: told.append(event)
    ) as progress:
        progress.note("hm")
        progress.advance(failed=1)
    assert terminal.getvalue() == ""
    assert told == ["start", "note", "end"]


def test_notes_stand_above_the_line_and_cannot_move_the_cursor(clock, terminal):
    with Progress("x", 2, stream=terminal, clock=clock) as progress:
        progress.note("bad\x1b[2J\nname \udcff")
    assert "bad·[2J␤name �\n" in terminal.getvalue()


def test_a_stream_that_knows_ascii_only(clock):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    with Progress("猫", None, stream=stream, clock=clock):
        pass
    stream.flush()
    assert raw.getvalue() == b"?: 0 ok / 0 skipped / 0 failed in 0 s\n"


def test_events_are_json_lines_at_most_one_a_second(clock, tmp_path):
    writer = EventWriter(tmp_path / "events.jsonl")
    with Progress("index", 50, stream=io.StringIO(), quiet=True, clock=clock, events=writer) as progress:
        for _ in range(50):
            clock.now_s += 0.1
            progress.advance(ok=1)
        progress.note("\udcff\n")
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", *["progress"] * 4, "note", "end"]
    assert {line["schema"] for line in lines} == {"lightmeter.event/1"}
    assert lines[-1] | {"at_s": 0} == {
        "schema": "lightmeter.event/1", "event": "end", "at_s": 0, "label": "index",
        "ok": 50, "skipped": 0, "failed": 0, "total": 50,
        "took_s": pytest.approx(5.0), "rate": pytest.approx(10.0), "left_s": 0.0,
    }  # fmt: skip


def test_refuses_negative_numbers(clock):
    with pytest.raises(InvalidValueError, match="total"):
        Progress("x", -1)
    with pytest.raises(InvalidValueError, match="failed=-1"):
        Progress("x", 1, quiet=True, clock=clock).advance(failed=-1)
