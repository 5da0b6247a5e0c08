"""The page: well formed, self-contained, escaped, readable by machines and people."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost
from lightmeter.report.page import Page, Shot
from lightmeter.report.pictures import jpeg_bytes, png_bytes, wav_bytes
from lightmeter.report.style import dial
from lightmeter.types import Sound

JPEG = jpeg_bytes(np.zeros((4, 4, 3), np.uint8))
PNG = png_bytes(np.zeros((4, 4, 3), np.uint8))
WAV = wav_bytes(Sound(np.zeros(8, np.float32), 8000))
VOID = {"meta", "img", "br"}
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>\x00\ud800&amp;\u202e'


class Reader(HTMLParser):
    """Holds tags to be closed in order and collects them with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def full_page(text: str) -> Page:
    page = Page(text, subtitle=text)
    page.heading(text).heading(text, level=3).text(text).text(text, style="note").text(text, style="empty")
    page.table([{text: text, "n": 1.5}], caption=text).picture(PNG, text).sound(WAV, text)
    shots = [
        Shot(JPEG, text, note=text, score=0.5, sound=WAV),
        Shot(text, text, score=float("nan")),
        Shot(PNG, "", alt=text),
    ]
    page.gallery(shots, floor=0.3)
    return page.heading("Price").price(Cost(1, 2, 3, 4, 5, 6, 7.0, 8, 9.0))


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_no_text_gets_out_of_its_place(text):
    plain, read = (
        Reader(full_page("x").html()),
        Reader(full_page(f"x{text}").html()),
    )  # never empty: that drops elements
    ignored = {"p", "br"}  # paragraphs and lines follow the text
    assert [t for t, _ in read.tags if t not in ignored] == [t for t, _ in plain.tags if t not in ignored]


def test_scripts_stay_words():
    read = Reader(full_page(EVIL).html())
    assert read.all("script") == []
    assert all(not name.startswith("on") for _, attrs in read.tags for name in attrs)
    assert '"><script>alert(1)</script>' in "".join(read.words)
    assert "&amp;" in "".join(read.words)  # entities in the text are not decoded twice


def test_loads_nothing_from_elsewhere():
    page = full_page("x").html()
    for _, attrs in Reader(page).tags:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert attrs.get(name, "data:").startswith("data:")
    assert "url(" not in page
    assert "@import" not in page
    assert "://" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
    policy = next(a["content"] for a in Reader(page).all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy


def test_reads_well_without_eyes():
    read = Reader(full_page("x").html())
    assert read.all("html") == [{"lang": "en"}]
    assert [tag for tag, _ in read.tags if re.fullmatch("h[1-6]", tag)] == ["h1", "h2", "h3", "h2"]
    assert all(attrs["alt"] == "x" for attrs in read.all("img"))
    assert all(attrs["aria-hidden"] == "true" for attrs in read.all("svg"))
    assert all(attrs["aria-label"] == "x" and attrs["preload"] == "none" for attrs in read.all("audio"))
    assert all(attrs["scope"] == "col" for attrs in read.all("th"))
    assert len(read.all("section")) == 2


def test_shows_reasons_scores_and_prices():
    words = Reader(full_page("damaged").html()).words
    assert {"damaged", "0.50", "nan", "1.00 s", "2.00 CPU-s", "3 B", "4 B", "6 B", "5", "7.00 s", "8 B", "9 J"} <= set(
        words
    )


def test_unknown_prices_are_absent():
    read = Reader(Page("x").price(Cost(1, 2, 3)).html())
    assert len(read.all("dd")) == 3


def test_light_and_dark():
    assert "prefers-color-scheme:dark" in Page("x").html()


def test_is_written_whole(tmp_path):
    path = Page("x").write(tmp_path / "deep" / "page.html")
    assert path.read_text(encoding="utf-8") == Page("x").html()
    assert list(path.parent.iterdir()) == [path]


def test_refuses_what_it_cannot_show():
    page = Page("x")
    for wrong in (
        lambda: page.picture(b"<svg>"),
        lambda: page.sound(b"MZ", "x"),
        lambda: page.heading("x", level=1),
        lambda: page.text("x", style="loud"),
        lambda: Page("x", lang='en"'),
    ):
        with pytest.raises(InvalidValueError, match="must be"):
            wrong()


def test_the_needle_keeps_to_its_scale():
    assert dial(7.0) == dial(1.0) != dial(0.0) == dial(-1.0)


def test_a_thousand_small_pictures_stay_small():
    page = Page("x").gallery([Shot(JPEG, f"{n}.jpg") for n in range(1000)])
    assert len(page.html()) < 1_500_000
