"""Galleries hold what they say, nothing of a query is in its gallery, and no file of a stranger does harm."""

from __future__ import annotations

import dataclasses
import gc
import gzip
import io
import struct
import sys
import types
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lightmeter.encoders.table import ENCODERS
from lightmeter.errors import (
    InvalidValueError,
    MissingAssetError,
    MissingExtraError,
    RejectedFileError,
    UnknownNameError,
    UnsafeFileError,
)
from lightmeter.media.write import write_image
from lightmeter.parts import Spelled, build
from lightmeter.studies import features, real_galleries
from lightmeter.studies.comparison import exact_labels
from lightmeter.studies.features import features_of, features_where_possible
from lightmeter.studies.galleries import MIXTURES, Gallery, holdout, mixture, mixture_tracks, unit
from lightmeter.studies.idx import read_idx
from lightmeter.studies.real_galleries import emoji, emoji_tracks, fashion, photographs, seen, stamps, wandering
from lightmeter.studies.user_gallery import read_npz, user_gallery
from lightmeter.types import Image

COLOURS = "color-histogram"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTMETER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def gallery(**changes):
    values = {
        "name": "toy", "x": np.eye(3, dtype=np.float32), "y": np.array([0, 1, 1]),
        "queries": np.eye(3, dtype=np.float32)[:2], "truth": np.array([0, -1]), "classes": ("a", "b"),
        "licence": "none", "source": "by hand", "seed": 0,
    }  # fmt: skip
    return Gallery(**{**values, **changes})


class TestGallery:
    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"y": np.array([0, 1])}, "y must be"),
            ({"y": np.array([0, 0, 0])}, "each of its 2 classes"),
            ({"truth": np.array([0, 2])}, "-1 or a class"),
            ({"x": np.full((3, 3), np.nan, np.float32)}, "must be finite"),
            ({"x": np.eye(3)}, "must be float32"),
            ({"queries": np.eye(4, dtype=np.float32)[:2]}, "queries must be"),
            ({"queries": np.zeros((0, 3), np.float32), "truth": np.zeros(0, np.int64)}, "must have rows and queries"),
            ({"tracks": np.array([1, 0])}, "never fall"),
            ({"tracks": np.array([0, 2])}, "count 0, 1, 2"),
            ({"tracks": np.array([0, 0])}, "one class a track"),
        ],
    )
    def test_refuses_what_does_not_fit(self, changes, said):
        with pytest.raises(InvalidValueError, match=said):
            gallery(**changes)

    def test_hash_sees_every_number(self):
        assert gallery().data_hash == gallery(name="other").data_hash
        assert gallery().data_hash != gallery(truth=np.array([1, -1])).data_hash

    def test_asks_with_pictures_or_with_videos(self):
        assert gallery().asked is not None
        assert gallery().answers.tolist() == [0, -1]
        with pytest.raises(InvalidValueError, match="has no tracks"):
            _ = gallery().track_truth
        frames = np.eye(3, dtype=np.float32)
        videos = gallery(queries=frames, truth=np.array([1, 1, 0]), tracks=np.array([0, 0, 1]))
        assert [each.shape for each in videos.asked] == [(2, 3), (1, 3)]
        assert videos.answers.tolist() == [1, 0]
        assert "2 tracks" in videos.said


class TestMixture:
    def test_has_the_seeds_sizes(self):
        sizes = {(each.classes, each.dim) for each in MIXTURES.values()}
        assert {(101, 1024), (101, 4096), (256, 1024), (256, 4096), (1595, 1024), (1595, 4096)} <= sizes

    def test_is_the_same_for_the_same_seed(self):
        assert mixture("smoke", seed=3).data_hash == mixture("smoke", seed=3).data_hash
        assert mixture("smoke", seed=3).data_hash != mixture("smoke", seed=4).data_hash

    def test_no_query_is_a_row(self):
        made = mixture("smoke")
        np.testing.assert_allclose(np.linalg.norm(made.x, axis=1), 1, rtol=1e-5)
        assert (made.queries @ made.x.T).max() < 0.99

    def test_errs_about_as_the_seed_does(self):
        wrong = [np.mean(exact_labels(each) != each.truth) for each in (mixture("smoke", seed=s) for s in range(20))]
        assert np.mean(wrong) == pytest.approx(0.15, abs=0.04)

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [name for name in MIXTURES if name != "smoke"])
    def test_the_large_ones_too(self, size):
        made = mixture(size)
        error = 100 * np.mean(exact_labels(made) != made.truth)
        assert error == pytest.approx(MIXTURES[size].error_percent, abs=4)

    def test_spectrum_falls_as_a_power(self):
        x = mixture("caltech-101").x
        values = np.sqrt(np.linalg.eigvalsh(x.T @ x)[::-1])
        assert 1.5 < values[1] / values[15] < 6
        assert values[-1] < 0.2 * values[1]

    def test_unknown_sizes_suggest_the_nearest(self):
        with pytest.raises(UnknownNameError, match="did you mean 'caltech-101"):
            mixture("caltech-10")


class TestTracks:
    def test_frames_drift_and_never_repeat(self):
        made = mixture_tracks("smoke", tracks=30)
        assert [len(frames) for frames in made.asked] == [20] * 30
        for frames in made.asked:
            assert len(np.unique(frames, axis=0)) == 20
        near, far = [], []
        for frames in made.asked:
            cosines = frames @ frames.T
            near += np.diag(cosines, 1).tolist()
            far += np.diag(cosines, 12).tolist()
        assert np.median(near) > np.median(far) + 0.03, "a frame resembles its neighbours most"

    def test_one_frame_in_eight_is_an_outlier(self):
        made = mixture_tracks("smoke", tracks=100)
        alike = np.concatenate([np.median(frames @ frames.T, axis=1) for frames in made.asked])
        assert 0.08 < np.mean(alike < 0.9 * np.median(alike)) < 0.18

    def test_pooling_helps(self):
        made = mixture_tracks("smoke", tracks=100)
        pooled = np.stack([unit(frames.mean(axis=0)[None])[0] for frames in made.asked])
        alone = np.mean(made.y[(made.queries @ made.x.T).argmax(1)] == made.truth)
        together = np.mean(made.y[(pooled @ made.x.T).argmax(1)] == made.answers)
        assert together > alone

    def test_a_video_has_twenty_frames(self):
        with pytest.raises(InvalidValueError, match="20 or more"):
            mixture_tracks("smoke", frames=19)
        with pytest.raises(InvalidValueError, match="20 or more"):
            emoji_tracks(frames=1)

    def test_views_wander(self):
        views = wandering(400, seed=[0, 1])
        angles = np.array([view.angle for view in views])
        assert np.abs(np.diff(angles)).mean() < np.abs(angles - np.roll(angles, 100)).mean()
        assert np.abs(angles).max() <= 12
        assert 0.05 < np.mean([view.blurred for view in views]) < 0.25
        assert wandering(5, seed=[0, 1]) == wandering(5, seed=[0, 1])

    def test_frames_of_views_differ(self):
        picture = Image(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        frames = [seen(picture, view).pixels for view in wandering(20, seed=[0])]
        assert {frame.shape for frame in frames} == {(96, 96, 3)}
        assert len({frame.tobytes() for frame in frames}) == 20
        again = seen(picture, wandering(20, seed=[0])[7]).pixels
        np.testing.assert_array_equal(again, frames[7])


def test_holdout_by_hand():
    y = np.array([1, 0, 1, 1, 0, 1])
    kept, asked = holdout(y, lambda count: count // 2, seed=0)
    assert sorted([*kept.tolist(), *asked.tolist()]) == list(range(6))
    assert sorted(y[kept].tolist()) == [0, 1, 1]
    assert holdout(y, lambda count: count // 2, seed=0)[0].tolist() == kept.tolist()


def test_unit_takes_whole_numbers_and_keeps_zeros():
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0]])), [[0.6, 0.8], [0, 0]])
    with pytest.raises(InvalidValueError, match="NaN"):
        unit(np.array([[np.nan, 1.0]]))
    with pytest.raises(InvalidValueError, match="must be numbers"):
        unit(np.array([["a"]]))


@dataclasses.dataclass(frozen=True)
class Picky(Spelled):
    """Mean brightness, of pictures that are bright enough: a plug-in that rejects some pictures."""

    least: int = 0
    dim, takes, unit, macs, size_bytes, short_side = 1, "image", "picture", 0, 0, None

    def load(self):
        """Nothing to read."""

    def encode(self, items):
        means = [int(each.pixels.mean()) for each in items]
        for mean in means:
            if mean < self.least:
                raise RejectedFileError("too-dark", f"of brightness {mean}")
        return np.array(means, np.float32)[:, None]


@dataclasses.dataclass(frozen=True)
class Weighed(Spelled):
    """Brightness times what a file says: a plug-in whose weights are the user's."""

    file: Path
    dim, takes, unit, macs, size_bytes, short_side = 1, "image", "picture", 0, 0, None

    def load(self):
        """Read at every encode."""

    def encode(self, items):
        return np.array([[each.pixels.mean() * float(self.file.read_text())] for each in items], np.float32)


@pytest.fixture
def weighed(monkeypatch):
    monkeypatch.setattr(Weighed, "__module__", "weighed_encoder")
    monkeypatch.setitem(sys.modules, "weighed_encoder", types.SimpleNamespace(Weighed=Weighed, Path=Path))
    monkeypatch.setitem(ENCODERS, "weighed", "weighed_encoder:Weighed")


@pytest.fixture
def picky(monkeypatch):
    monkeypatch.setattr(Picky, "__module__", "picky_encoder")
    monkeypatch.setitem(sys.modules, "picky_encoder", types.SimpleNamespace(Picky=Picky))
    monkeypatch.setitem(ENCODERS, "picky", "picky_encoder:Picky")


class TestFeatures:
    def pictures(self, count):
        made = [Image(np.full((8, 8, 3), value % 256, np.uint8)) for value in range(count)]
        return made, [lambda each=each: each for each in made], [str(value) for value in range(count)]

    def test_are_encoded_once(self, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 4)
        _, makes, keys = self.pictures(10)
        told = []
        rows = features_of(makes, keys, source="s", encoder=COLOURS, tell=told.append)
        assert told == ["encoded 4 of 10 pictures", "encoded 8 of 10 pictures", "encoded 10 of 10 pictures"]

        def never():
            raise AssertionError("this block is kept")

        np.testing.assert_array_equal(features_of([never] * 10, keys, source="s", encoder=COLOURS), rows)
        for other in ({"source": "t", "encoder": COLOURS}, {"source": "s", "encoder": f"{COLOURS}/bins=2"}):
            with pytest.raises(AssertionError):
                features_of([never] * 10, keys, **other)

    def test_are_those_of_the_weights_as_they_are_now(self, weighed, tmp_path):
        _, makes, keys = self.pictures(3)
        encoder = f"weighed/file='{tmp_path / 'w.txt'}'"
        for weight in ("2", "3", "2"):
            (tmp_path / "w.txt").write_text(weight)
            made = features_of(makes, keys, source="s", encoder=encoder)
            assert made[:, 0].tolist() == [0, int(weight), 2 * int(weight)], "other weights at the same place"
        (tmp_path / "w.txt").unlink()
        with pytest.raises(MissingAssetError, match=r"w\.txt is not there"):
            features_of(makes, keys, source="s", encoder=encoder)

    def test_are_those_of_the_encoder(self):
        made, makes, keys = self.pictures(3)
        rows = features_of(makes, keys, source="s", encoder=COLOURS)
        np.testing.assert_array_equal(rows, build(COLOURS).encode(made))

    def test_a_stopped_run_loses_one_block(self, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 4)
        _, makes, keys = self.pictures(8)
        with pytest.raises(KeyboardInterrupt):
            features_of([*makes[:6], self.stop, makes[7]], keys, source="s", encoder=COLOURS)
        calls = []
        counted = [lambda make=make, at=at: calls.append(at) or make() for at, make in enumerate(makes)]
        features_of(counted, keys, source="s", encoder=COLOURS)
        assert calls == [4, 5, 6, 7]

    @staticmethod
    def stop():
        raise KeyboardInterrupt

    def test_what_is_rejected_has_a_reason_also_from_the_cache(self, picky, monkeypatch):
        monkeypatch.setattr(features, "BLOCK", 2)
        made, makes, keys = self.pictures(5)

        def unreadable():
            raise RejectedFileError("empty", "there is nothing")

        def never():
            raise AssertionError("this block is kept")

        expected = {1: "too-dark: of brightness 1", 4: "empty: there is nothing"}
        asked = [makes[0], makes[1], lambda: made[3], lambda: made[4], unreadable]
        for each in (asked, [never] * 5):
            rows, left_out = features_where_possible(each, keys, source="s", encoder="picky/least=2")
            assert left_out == {0: "too-dark: of brightness 0"} | expected
            assert np.isnan(rows).all(axis=1).tolist() == [True, True, False, False, True]
            np.testing.assert_array_equal(rows[2:4, 0], [3, 4])
        with pytest.raises(RejectedFileError, match="left-out: 0 has no features by picky/least=2: too-dark"):
            features_of([never] * 5, keys, source="s", encoder="picky/least=2")

    def test_pictures_do_not_pile_up(self, picky):
        """A block of 500 large pictures would fill the memory: each goes before the next comes."""
        alive, most = [], []

        def make():
            alive[:] = [each for each in alive if each() is not None]
            most.append(len(alive))
            image = Image(np.full((8, 8, 3), 200, np.uint8))
            alive.append(weakref.ref(image.pixels))
            return image

        gc.collect()
        features_of([make] * 20, [str(at) for at in range(20)], source="s", encoder="picky")
        assert max(most) <= 1

    def test_refuses_other_encoders_and_uneven_lists(self):
        _, makes, keys = self.pictures(2)
        with pytest.raises(InvalidValueError, match="must encode pictures"):
            features_of(makes, keys, source="s", encoder="log-mel")
        with pytest.raises(InvalidValueError, match="one key"):
            features_of(makes, keys[:1], source="s", encoder=COLOURS)


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


def idx_bytes(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestIdx:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    def test_reads_what_was_written(self, tmp_path, pack):
        (tmp_path / "a").write_bytes(pack(idx_bytes(self.array)))
        np.testing.assert_array_equal(read_idx(tmp_path / "a"), self.array)

    @pytest.mark.parametrize("pack", [bytes, gzip.compress])
    @pytest.mark.parametrize(
        ("data", "error", "code"),
        [
            (b"", RejectedFileError, "unknown-format"),
            (b"\0\0\x0d\1\0\0\0\1abcd", RejectedFileError, "unknown-format"),  # floats
            (b"\0\0\x08\x09" + b"\0\0\0\1" * 9 + b"a", RejectedFileError, "unknown-format"),
            (b"\0\0\x08\x02\0\0\0\1", RejectedFileError, "truncated"),
            (idx_bytes(array)[:-1], RejectedFileError, "truncated"),
            (idx_bytes(array) + b"x", RejectedFileError, "too-long"),
            (b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3, UnsafeFileError, "refused"),
        ],
    )
    def test_refuses_the_rest(self, tmp_path, data, error, code, pack):
        (tmp_path / "a").write_bytes(pack(data))
        with pytest.raises(error, match=code):
            read_idx(tmp_path / "a")

    def test_unpacks_no_bomb(self, tmp_path):
        (tmp_path / "a").write_bytes(gzip.compress(idx_bytes(self.array) + bytes(50_000_000)))
        with pytest.raises(RejectedFileError, match="too-long"):
            read_idx(tmp_path / "a")
        (tmp_path / "b").write_bytes(gzip.compress(idx_bytes(np.zeros((1000, 1000), np.uint8))))
        with pytest.raises(UnsafeFileError, match="at most 1000 bytes"):
            read_idx(tmp_path / "b", most_bytes=1000)

    def test_refuses_a_broken_gzip(self, tmp_path):
        whole = gzip.compress(idx_bytes(self.array))
        for data in (whole[:-9], whole[:12] + bytes([whole[12] ^ 255]) + whole[13:]):
            (tmp_path / "a").write_bytes(data)
            with pytest.raises(RejectedFileError):
                read_idx(tmp_path / "a")
        with pytest.raises(RejectedFileError, match="not-a-file"):
            read_idx(tmp_path)


class TestArraysOfTheUser:
    @pytest.fixture
    def folder(self, tmp_path):
        chance = np.random.default_rng(0)
        made = tmp_path / "mine"
        made.mkdir()
        np.savez(made / "gallery.npz", x=chance.normal(size=(6, 4)), y=[10, 2, 10, 2, 7, 7])
        np.savez(made / "queries.npz", x=chance.normal(size=(3, 4)), y=[2, 7, 99])
        return made

    def test_are_taken_as_they_are(self, folder):
        made = user_gallery(folder)
        assert made.classes == ("000002", "000007", "000010")
        assert made.y.tolist() == [2, 0, 2, 0, 1, 1]
        assert made.truth.tolist() == [0, 1, -1], "a query of no class here"
        np.testing.assert_allclose(np.linalg.norm(made.x, axis=1), 1, rtol=1e-5)

    def test_names_and_tracks(self, folder):
        np.savez_compressed(folder / "gallery.npz", x=np.eye(2), y=["bob", "ann"])
        np.savez_compressed(
            folder / "queries.npz", x=np.eye(4)[:, :2] + 1, y=["bob", "ann", "bob", "ann"], track=[7, 3, 7, 3]
        )
        made = user_gallery(folder)
        assert made.classes == ("ann", "bob")
        assert made.tracks.tolist() == [0, 0, 1, 1]
        assert made.answers.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("arrays", "said"),
        [
            ({"x": np.eye(2)}, "must hold x and y"),
            ({"x": np.eye(2), "y": [0]}, "y of gallery.npz must be"),
            ({"x": np.eye(2), "y": [0.5, 1]}, "whole numbers or text"),
            ({"x": np.array([[np.inf, 0], [0, 1]]), "y": [0, 1]}, "must be finite"),
            ({"x": np.zeros(3), "y": [0, 1, 2]}, "x of gallery.npz must be"),
        ],
    )
    def test_what_does_not_fit_is_said(self, folder, arrays, said):
        np.savez(folder / "gallery.npz", **arrays)
        with pytest.raises(InvalidValueError, match=said):
            user_gallery(folder)

    def test_objects_and_giants_are_refused(self, folder):
        np.savez(folder / "gallery.npz", x=np.array([{}], dtype=object), y=[0])
        with pytest.raises(UnsafeFileError, match="pickles"):
            user_gallery(folder)
        np.savez_compressed(folder / "gallery.npz", x=np.zeros((1000, 1000)), y=np.zeros(1000, int))
        with pytest.raises(UnsafeFileError, match="at most 1000000 bytes"):
            read_npz(folder / "gallery.npz", most_bytes=1_000_000)

    def test_a_lying_header_is_refused(self, folder):
        out = io.BytesIO()
        np.save(out, np.zeros((2, 2)))
        lying = out.getvalue().replace(b"(2, 2)", b"(9, 9)")
        with zipfile.ZipFile(folder / "gallery.npz", "w") as archive:
            archive.writestr("x.npy", lying)
        with pytest.raises(RejectedFileError, match="truncated"):
            read_npz(folder / "gallery.npz")

    @pytest.mark.parametrize("data", [b"", b"PK\3\4 no zip", b"\x93NUMPY"])
    def test_no_zip_is_refused(self, folder, data):
        (folder / "gallery.npz").write_bytes(data)
        with pytest.raises(RejectedFileError, match="plain .npz"):
            user_gallery(folder)


class TestPicturesOfTheUser:
    def picture(self, path, colour, chance):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(np.array(colour) + chance.integers(-40, 40, (12, 12, 3)), 0, 255)
        write_image(Image(pixels.astype(np.uint8)), path)

    def classes(self, folder, count):
        chance = np.random.default_rng(0)
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200)), ("BACKGROUND_Google", (99, 99, 99))):
            for at in range(count):
                self.picture(folder / name / f"{at}.png", colour, chance)

    def test_one_folder_a_class_is_split(self, tmp_path):
        self.classes(tmp_path / "mine", 10)
        made = user_gallery(tmp_path / "mine", per_class=7, encoder=COLOURS)
        assert made.classes == ("blue", "red"), "clutter is no class"
        assert (np.bincount(made.y).tolist(), np.bincount(made.truth).tolist()) == ([5, 5], [5, 5])
        assert made.source.startswith("5 of a class drawn by seed 0"), "what was drawn, not what was asked for"
        made = user_gallery(tmp_path / "mine", per_class=3, encoder=COLOURS)
        assert (np.bincount(made.y).tolist(), np.bincount(made.truth).tolist()) == ([3, 3], [7, 7])
        assert np.mean(exact_labels(made) == made.truth) == 1
        self.picture(tmp_path / "mine" / "blue" / "more.png", (40, 40, 200), np.random.default_rng(1))
        self.picture(tmp_path / "mine" / "blue" / "most.png", (40, 40, 200), np.random.default_rng(1))
        assert user_gallery(tmp_path / "mine", encoder=COLOURS).source.startswith("5 to 6 of a class drawn")

    def test_what_cannot_be_read_is_left_out_and_named(self, tmp_path):
        self.classes(tmp_path / "mine", 4)
        (tmp_path / "mine" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
        (tmp_path / "mine" / "red" / "note.txt").write_text("no picture")
        for _ in range(2):  # the second time the row comes from the cache
            told = []
            made = user_gallery(tmp_path / "mine", encoder=COLOURS, tell=told.append)
            assert len(made.x) + len(made.queries) == 8
            assert [line for line in told if line.startswith("left out: ") and "broken.png: " in line]
            assert made.source.endswith(f"{build(COLOURS).spec}, 1 of 9 pictures left out")

    def test_what_the_encoder_rejects_is_left_out_and_named(self, tmp_path, picky):
        self.classes(tmp_path / "mine", 4)
        self.picture(tmp_path / "mine" / "red" / "night.png", (41, 41, 41), np.random.default_rng(0))
        for _ in range(2):
            told = []
            made = user_gallery(tmp_path / "mine", encoder="picky/least=60", tell=told.append)
            assert len(made.x) + len(made.queries) == 8
            named = [line for line in told if line.startswith("left out: ")]
            assert len(named) == 1
            assert "night.png: too-dark: of brightness 4" in named[0]
            assert made.source.endswith("picky/least=60, 1 of 9 pictures left out")
        with pytest.raises(RejectedFileError, match="none of 9 pictures of --data has features by picky/least=255"):
            user_gallery(tmp_path / "mine", encoder="picky/least=255")

    def test_frames_that_are_rejected_leave_their_track(self, tmp_path, picky):
        chance = np.random.default_rng(0)
        for name, colour in (("ann", (200, 90, 90)), ("bob", (90, 90, 200))):
            self.picture(tmp_path / "gallery" / name / "still.png", colour, chance)
            for frame, light in enumerate((colour, (45, 45, 45), colour)):
                self.picture(tmp_path / "queries" / name / "seen" / f"{frame}.png", light, chance)
        self.picture(tmp_path / "queries" / "bob" / "unseen" / "0.png", (45, 45, 45), chance)
        told = []
        made = user_gallery(tmp_path, encoder="picky/least=70", tell=told.append)
        assert made.tracks.tolist() == [0, 0, 1, 1], "of three frames each, and a third track that had one"
        assert made.source == "gallery -> queries, picky/least=70, 3 of 9 pictures left out, 1 of 3 tracks left out"
        assert "left out, as no frame of it has features: bob/unseen" in told

    def test_classes_that_are_asked_about_and_unknown_are_named(self, tmp_path, picky):
        chance, told = np.random.default_rng(0), []
        for name in ("ann", "bob", "eve"):
            self.picture(tmp_path / "queries" / name / "0.png", (200, 90, 90), chance)
            if name != "eve":
                self.picture(tmp_path / "gallery" / name / "0.png", (200, 90, 90), chance)
        made = user_gallery(tmp_path, encoder="picky", tell=told.append)
        assert made.truth.tolist() == [0, 1, -1]
        assert made.source.endswith(", 1 class asked about and not in the gallery (1 queries)")
        assert [line for line in told if line.endswith("every answer is wrong: eve (1 of 3 queries)")]

    def test_are_decoded_as_the_encoder_wants_them(self, tmp_path, picky, monkeypatch):
        """As large as its `short_side` says; a library's decode would be a quarter of that here."""
        seen = []
        monkeypatch.setattr(Picky, "short_side", 100)
        monkeypatch.setattr(Picky, "encode", lambda self, items: seen.extend(items) or np.ones((len(items), 1)))
        for at in range(2):
            (tmp_path / "mine" / "a").mkdir(parents=True, exist_ok=True)
            write_image(Image(np.full((800, 900, 3), at, np.uint8)), tmp_path / "mine" / "a" / f"{at}.jpg")
        user_gallery(tmp_path / "mine", encoder="picky")
        assert {each.pixels.shape for each in seen} == {(100, 113, 3)}

    def test_arrays_take_no_encoder(self, tmp_path):
        for name in ("gallery", "queries"):
            np.savez(tmp_path / f"{name}.npz", x=np.eye(2), y=[0, 1])
        with pytest.raises(InvalidValueError, match=r"--encoder must be left out where gallery.npz holds features"):
            user_gallery(tmp_path, encoder=COLOURS)

    def test_other_encoders_are_refused(self, tmp_path):
        self.classes(tmp_path / "mine", 2)
        with pytest.raises(InvalidValueError, match="--encoder must encode pictures, got log-mel"):
            user_gallery(tmp_path / "mine", encoder="log-mel")

    def test_a_class_of_one_is_left_out_and_named(self, tmp_path):
        self.classes(tmp_path / "mine", 2)
        self.picture(tmp_path / "mine" / "lone" / "1.png", (0, 0, 0), np.random.default_rng(0))
        told = []
        assert user_gallery(tmp_path / "mine", encoder=COLOURS, tell=told.append).classes == ("blue", "red")
        assert [line for line in told if "lone" in line]

    def test_gallery_and_videos(self, tmp_path):
        chance = np.random.default_rng(0)
        for name, colour in (("ann", (200, 40, 40)), ("bob", (40, 40, 200))):
            self.picture(tmp_path / "gallery" / name / "still.png", colour, chance)
            for video in ("v1", "v2"):
                for frame in range(3):
                    self.picture(tmp_path / "queries" / name / video / f"{frame}.png", colour, chance)
        made = user_gallery(tmp_path, encoder=COLOURS)
        assert made.tracks.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
        assert made.answers.tolist() == [0, 0, 1, 1]
        self.picture(tmp_path / "queries" / "ann" / "loose.png", (0, 0, 0), chance)
        with pytest.raises(InvalidValueError, match="pictures or videos throughout"):
            user_gallery(tmp_path, encoder=COLOURS)

    def test_nothing_there_is_said(self, tmp_path):
        with pytest.raises(InvalidValueError, match="--data must hold"):
            user_gallery(tmp_path)
        (tmp_path / "class").mkdir()
        with pytest.raises(InvalidValueError, match="1 to 200,000 pictures, got 0"):
            user_gallery(tmp_path)
