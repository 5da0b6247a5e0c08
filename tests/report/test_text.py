"""Tables and numbers as text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.report.text import (
    bytes_text,
    clean,
    clip_text,
    count_text,
    display_width,
    ratio_text,
    seconds_text,
    table,
    value_text,
    wants_color,
)

any_text = st.text(st.characters())  # surrogates, controls and all


class TestNumbers:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 s"), (3e-9, "3.00 ns"), (4.2e-6, "4.20 µs"), (0.0999, "99.9 ms"), (0.09999, "0.10 s"),
            (9.994, "9.99 s"), (9.996, "10.0 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min"),
            (86400 * 3, "3 d 00 h"), (-1.5, "-1.50 s"), (float("nan"), "? s"), (float("inf"), "∞ s"),
        ],
    )  # fmt: skip
    def test_seconds(self, seconds, text):
        assert seconds_text(seconds) == text

    @pytest.mark.parametrize(
        ("size", "text"),
        [(1, "1 B"), (999, "999 B"), (999.6, "1.00 kB"), (1000, "1.00 kB"), (1_536_000, "1.54 MB"),
         (999_600, "1.00 MB"), (2.5e18, "2500 PB"), (-2000, "-2.00 kB"), (float("nan"), "? B")],
    )  # fmt: skip
    def test_bytes(self, size, text):
        assert bytes_text(size) == text

    def test_counts_and_ratios(self):
        assert (count_text(407e6), count_text(float("inf"))) == ("407 M", "?")
        assert (ratio_text(1), ratio_text(0.0123456), ratio_text(float("nan"))) == ("1.00 ×", "0.0123 ×", "? ×")

    @given(st.floats(0, 1e17), st.floats(0, 1e17))
    def test_text_never_shows_the_smaller_as_more(self, a, b):
        units = {unit: 1000**step for step, unit in enumerate(["B", "kB", "MB", "GB", "TB", "PB"])}

        def value(text):
            number, unit = text.split()
            return float(number) * units[unit]

        low, high = sorted((a, b))
        assert value(bytes_text(low)) <= value(bytes_text(high)) * (1 + 1e-12)


class TestClean:
    def test_by_hand(self):
        assert clean("a\r\n\tb\x00\x1b[31m\u202egpj.exe\u2028\udcff") == "a·␤ b··[31mgpj.exe␤�"
        assert clean("a\nb", lines=True) == "a\nb"

    @given(any_text)
    def test_is_one_printable_line_that_can_be_encoded(self, text):
        shown = clean(text)
        shown.encode()
        assert len(shown.splitlines()) <= 1
        assert "\x1b" not in shown
        assert clean(shown) == shown

    @given(any_text, st.integers(0, 20))
    def test_clipped_text_fits(self, text, width):
        assert display_width(clip_text(clean(text), width)) <= width


class TestTable:
    def test_aligns_wide_characters(self):
        rows = [{"name": "猫.jpg", "n": 1200, "ok": True}, {"name": "dog.jpg", "n": 7, "ok": None}]
        assert table(rows).split("\n") == [
            "name         n  ok",
            "猫.jpg   1,200  yes",
            "dog.jpg      7  –",
        ]

    def test_columns_choose_and_order(self):
        assert table([{"a": 1, "b": 2, "c": 3}], ["c", "a", "x"]) == "c  a  x\n3  1  –"

    def test_nothing(self):
        assert table([]) == "(nothing)"
        assert table([], ["a"]) == "a"

    def test_color_only_when_asked(self):
        assert "\x1b" not in table([{"a": 1}])
        assert table([{"a": 1}], color=True).startswith("\x1b[1ma\x1b[0m\n")

    def test_values(self):
        assert [value_text(each) for each in (0.0, 1e20, -1234.5, float("nan"), 1e6)] == [
            "0",
            "1e+20",
            "-1,234",
            "nan",
            "1,000,000",
        ]

    @given(st.lists(st.fixed_dictionaries({"a": any_text, "b": st.floats()}), max_size=4))
    def test_every_row_is_one_line_of_one_width(self, rows):
        lines = table(rows, ["a", "b"]).split("\n")
        assert len(lines) == len(rows) + 1
        if rows:
            assert len({display_width(line) for line in lines}) == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_color_needs_a_terminal_and_no_no_color(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_color(Terminal())
    assert not wants_color(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_color(Terminal())
    monkeypatch.setenv("NO_COLOR", "")  # empty counts as not set
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_color(Terminal())
