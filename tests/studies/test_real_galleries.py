"""Real galleries hold what they say; frames of their pictures are seen as a camera wanders."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.errors import MissingExtraError
from lightmeter.studies import real_galleries
from lightmeter.studies.comparison import exact_labels
from lightmeter.studies.real_galleries import emoji, emoji_tracks, fashion, photographs, seen, stamps, wandering
from lightmeter.types import Image

pytestmark = pytest.mark.usefixtures("own_cache")
COLOURS = "color-histogram"


class TestViews:
    def test_wander(self):
        views = wandering(400, seed=[0, 1])
        angles = np.array([view.angle for view in views])
        assert np.abs(np.diff(angles)).mean() < np.abs(angles - np.roll(angles, 100)).mean()
        assert np.abs(angles).max() <= 12
        assert 0.05 < np.mean([view.blurred for view in views]) < 0.25
        assert wandering(5, seed=[0, 1]) == wandering(5, seed=[0, 1])

    def test_show_different_frames(self):
        picture = Image(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        frames = [seen(picture, view).pixels for view in wandering(20, seed=[0])]
        assert {frame.shape for frame in frames} == {(96, 96, 3)}
        assert len({frame.tobytes() for frame in frames}) == 20
        again = seen(picture, wandering(20, seed=[0])[7]).pixels
        np.testing.assert_array_equal(again, frames[7])


class TestRealOnes:
    def test_photographs_need_no_download(self):
        made = photographs(encoder=COLOURS)
        assert (len(made.x), len(made.queries), len(made.classes)) == (80, 32, 16)
        assert np.mean(exact_labels(made) == made.truth) > 0.4, "a photograph's halves share their colours"
        assert photographs(encoder=COLOURS).data_hash == made.data_hash

    def test_photographs_say_what_they_need(self, monkeypatch):
        monkeypatch.setattr(real_galleries, "package_folder", lambda name: None)
        with pytest.raises(MissingExtraError, match=r"pip install 'lightmeter\[demo\]'"):
            photographs()

    def test_emoji_of_two_makers(self, data_folder):
        data_folder("emoji-google"), data_folder("emoji-twitter")
        google = real_galleries._emoji_of("google")
        assert len(google) == len({each.file for each in google}) == 3786
        assert len({each.subcategory for each in google}) == 99
        assert sum(not each.toned for each in google) == 1906

    @pytest.mark.slow
    def test_emoji_ask_with_another_hand(self, data_folder):
        data_folder("emoji-google"), data_folder("emoji-twitter")
        for classes, count in (("identity", 3786), ("subcategory", 99)):
            made = emoji(classes, encoder=COLOURS, queries=500)
            assert (len(made.x), len(made.queries), len(made.classes)) == (3786, 500, count)
        videos = emoji_tracks(tracks=3, encoder=COLOURS)
        assert [len(np.unique(frames, axis=0)) for frames in videos.asked] == [20] * 3

    def test_clothes_of_two_sizes_share_rows(self, data_folder):
        data_folder("fashion-mnist")
        small, large = fashion(50, queries=20, variant="pixels"), fashion(80, queries=20, variant="pixels")
        np.testing.assert_array_equal(small.x, large.x[:50])
        np.testing.assert_array_equal(small.queries, large.queries)
        assert small.x.shape[1] == 784

    @pytest.mark.slow
    def test_stamps_hold_one_in_five_out(self, data_folder):
        data_folder("tuxpaint-stamps")
        made = stamps(encoder=COLOURS)
        assert len(made.classes) >= 25
        assert 0.15 < len(made.queries) / (len(made.queries) + len(made.x)) < 0.22
