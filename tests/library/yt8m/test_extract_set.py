"""Ids of extracted videos stay apart; a line of words takes the best of each."""

from __future__ import annotations

from lightmeter.library.yt8m.extract_labels import id_of
from lightmeter.library.yt8m.extract_set import words_line
from lightmeter.types import Words


def test_long_names_stay_apart():
    long = "ü" * 300
    assert len({id_of(long + "a.mp4"), id_of(long + "b.mp4")}) == 2
    assert max(len(id_of(long + end).encode()) for end in "ab") <= 128
    id_of(long).encode().decode()


def test_a_line_of_words_takes_the_best_of_each():
    line = words_line(
        "x.mp4", [Words("", ("a", "b"), "metadata"), Words("Title", (), "embedded"), Words("x", (), "name")]
    )
    assert line == {
        "id": "x.mp4", "path": "x.mp4", "title": "Title", "title_from": "embedded", "keywords": ["a", "b"],
        "keywords_from": "metadata",
    }  # fmt: skip
    assert words_line("x.mp4", []) == {"id": "x.mp4", "path": "x.mp4"}
