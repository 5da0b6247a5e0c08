"""Sheets, strips and plots: what is where in the picture, and that no caption can break them."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost
from lightmeter.meter.trials import Spread, Trial
from lightmeter.report.pictures import jpeg_bytes, picture_type, png_bytes, sound_type, wav_bytes
from lightmeter.report.plots import bars_png, curves_png, frontier_png
from lightmeter.report.sheet import contact_sheet, frame_strip
from lightmeter.types import Clip, Image, Sound

RED = np.full((40, 80, 3), (255, 0, 0), np.uint8)
HOSTILE = "\ud800 a\nb\tשלום \u202e $x_{ \x1b[2J 猫 👩‍👩‍👧 ﷽ _" + "W" * 300


def opened(data) -> np.ndarray:
    with Pillow.open(io.BytesIO(data) if isinstance(data, bytes) else data) as file:
        assert file.format == "PNG"
        return np.asarray(file.convert("RGB"))


class TestContactSheet:
    def test_pictures_are_whole_centred_and_in_order(self, tmp_path):
        blue = Image(np.full((64, 64, 3), (0, 0, 255), np.uint8))
        sheet = opened(contact_sheet([(RED, "red"), (blue, "blue")], tmp_path / "s.png", columns=2, tile=64))
        is_red, is_blue = (sheet == (255, 0, 0)).all(-1), (sheet == (0, 0, 255)).all(-1)
        assert is_red.sum() == 64 * 32
        assert is_blue.sum() == 64 * 64
        rows, columns = np.nonzero(is_red)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20 + 16, 20 + 47, 20, 83)
        assert np.nonzero(is_blue)[1].min() == 20 + 64 + 20

    def test_a_missing_picture_keeps_its_place_and_shows_why(self, tmp_path):
        tiles = [
            (None, "gone"),
            ("damaged: ends early", "cut.jpg"),
            (np.zeros((3, 4)), "odd"),
            (RED[:0], "empty"),
            (RED, "red"),
        ]
        with_reasons = opened(contact_sheet(tiles, tmp_path / "a.png", tile=64))
        assert (with_reasons == (255, 0, 0)).all(-1).sum() == 64 * 32
        without = [("", caption) if picture is not RED else (RED, caption) for picture, caption in tiles]
        assert (with_reasons != opened(contact_sheet(without, tmp_path / "b.png", tile=64))).any()

    def test_no_pictures_make_an_empty_sheet(self, tmp_path):
        assert opened(contact_sheet([], tmp_path / "s.png", title="Nothing")).size

    @settings(max_examples=25, deadline=None)
    @given(st.text(st.characters(), max_size=60))
    def test_any_caption_reason_and_title_will_do(self, tmp_path_factory, text):
        path = tmp_path_factory.getbasetemp() / "any.png"
        assert contact_sheet([(RED, text), (text, text)], path, tile=32, title=text) == path

    def test_hostile_and_endless_captions(self, tmp_path):
        opened(contact_sheet([(RED, HOSTILE), (HOSTILE, HOSTILE * 20)], tmp_path / "s.png", title=HOSTILE))

    def test_refuses_more_than_memory_bears(self, tmp_path):
        with pytest.raises(InvalidValueError, match="200,000,000 pixels"):
            contact_sheet([(None, "")] * 100_000, tmp_path / "s.png")
        with pytest.raises(InvalidValueError, match="tile 32 or more"):
            contact_sheet([], tmp_path / "s.png", tile=3)
        assert list(tmp_path.iterdir()) == []


class TestFrameStrip:
    def test_shows_first_middle_and_last(self, tmp_path):
        frames = np.stack([np.full((20, 30, 3), level, np.uint8) for level in range(0, 210, 10)])
        clip = Clip(frames, np.arange(21.0))
        strip = opened(frame_strip(clip, tmp_path / "s.png", count=3, height=40))
        centres = [strip[24, 4 + at * 64 + 30, 0] for at in range(3)]
        assert centres == [0, 100, 200]

    def test_refuses_an_empty_clip(self, tmp_path):
        with pytest.raises(InvalidValueError, match="empty clip"):
            frame_strip(Clip(RED[None][:0], np.zeros(0)), tmp_path / "s.png")


class TestEncoded:
    def test_jpeg_is_made_smaller_never_larger(self):
        wide = np.zeros((100, 1000, 3), np.uint8)
        with Pillow.open(io.BytesIO(jpeg_bytes(wide, long_side=200))) as file:
            assert (file.format, file.size) == ("JPEG", (200, 20))
        with Pillow.open(io.BytesIO(jpeg_bytes(RED))) as file:
            assert file.size == (80, 40)

    def test_png_keeps_every_pixel(self):
        np.testing.assert_array_equal(opened(png_bytes(RED[:, ::2])), RED[:, ::2])

    def test_types_by_first_bytes(self):
        assert picture_type(jpeg_bytes(RED)) == "image/jpeg"
        assert picture_type(png_bytes(RED)) == "image/png"
        assert sound_type(wav_bytes(Sound(np.zeros(3, np.float32), 8000))) == "audio/wav"
        for bad in (b"", b"<svg onload=x>", b"RIFF1234AVI "):
            with pytest.raises(InvalidValueError, match="must be JPEG"):
                picture_type(bad)
            with pytest.raises(InvalidValueError, match="must be WAV"):
                sound_type(bad)

    def test_wav_is_cut_and_clipped(self):
        data = wav_bytes(Sound(np.array([0, 2, -2, np.nan, 0.5], np.float32), 2), longest_s=2)
        assert np.frombuffer(data[44:], "<i2").tolist() == [0, 32767, -32767, 0]


TRIALS = [
    Trial("a", 0.2, Cost(1, 1, 10**6), spreads={"cpu_s": Spread(1, 0.9, 1.2, 5)}),
    Trial(HOSTILE, 0.5, Cost(2, 30, 10**9)),
    Trial("$unfinished", 0.1, Cost(2, 3, 10**8)),
]


class TestPlots:
    def test_frontier_is_written_and_returned(self, tmp_path):
        data = frontier_png(TRIALS, tmp_path / "f.png", title="Which is good enough?")
        assert (tmp_path / "f.png").read_bytes() == data
        amber = (np.abs(opened(data).astype(int) - (201, 136, 31)) < 8).all(-1)
        assert amber.sum() > 300  # the line and two dots

    @pytest.mark.parametrize("price", ["wall_s", "peak_bytes"])
    def test_other_prices(self, price):
        assert opened(frontier_png(TRIALS, price=price)).size

    def test_free_things_and_single_ones(self):
        assert opened(frontier_png([Trial("free", 0.0, Cost(0, 0, 0))])).size

    def test_bars_are_as_long_as_their_values(self):
        picture = opened(bars_png({"_one": 1.0, "$two$": 2.0}, label="x", errors={"_one": (0.5, 1.5)}))
        amber = (np.abs(picture.astype(int) - (201, 136, 31)) < 8).all(-1).sum(1)
        lengths = sorted(set(amber[amber > 50]))
        assert lengths[-1] / np.median(amber[(amber > 50) & (amber < 0.7 * lengths[-1])]) == pytest.approx(2, rel=0.03)

    def test_curves(self):
        assert opened(curves_png({"_a": ([1, 2], [3, 4]), HOSTILE: ([1, 2], [2, 1])}, title=HOSTILE, x_label="$")).size
        with pytest.raises(InvalidValueError, match="equally long, got 1 and 2"):
            curves_png({"a": ([1], [1, 2])})

    def test_nothing_to_plot_is_said(self):
        for draw in (bars_png, curves_png):
            with pytest.raises(InvalidValueError, match="at least one"):
                draw({})
        with pytest.raises(InvalidValueError, match="at least one trial"):
            frontier_png([])

    def test_leaves_no_figure_and_no_setting_behind(self):
        import matplotlib as mpl

        before = dict(mpl.rcParams)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frontier_png(TRIALS)
        assert dict(mpl.rcParams) == before
