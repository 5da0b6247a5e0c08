"""Arrays and pictures of the user become a gallery; what cannot be taken is named, and no file does harm."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError, UnsafeFileError
from lightmeter.media.write import write_image
from lightmeter.parts import build
from lightmeter.studies.comparison import exact_labels
from lightmeter.studies.user_gallery import read_npz, user_gallery
from lightmeter.types import Image

pytestmark = pytest.mark.usefixtures("own_cache")
COLOURS = "color-histogram"


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

    def test_what_the_encoder_rejects_is_left_out_and_named(self, tmp_path, bright):
        self.classes(tmp_path / "mine", 4)
        self.picture(tmp_path / "mine" / "red" / "night.png", (41, 41, 41), np.random.default_rng(0))
        for _ in range(2):
            told = []
            made = user_gallery(tmp_path / "mine", encoder="toy-bright/least=60", tell=told.append)
            assert len(made.x) + len(made.queries) == 8
            named = [line for line in told if line.startswith("left out: ")]
            assert len(named) == 1
            assert "night.png: too-dark: of brightness 4" in named[0]
            assert made.source.endswith("toy-bright/least=60, 1 of 9 pictures left out")
        with pytest.raises(
            RejectedFileError, match="none of 9 pictures of --data has features by toy-bright/least=255"
        ):
            user_gallery(tmp_path / "mine", encoder="toy-bright/least=255")

    def test_frames_that_are_rejected_leave_their_track(self, tmp_path, bright):
        chance = np.random.default_rng(0)
        for name, colour in (("ann", (200, 90, 90)), ("bob", (90, 90, 200))):
            self.picture(tmp_path / "gallery" / name / "still.png", colour, chance)
            for frame, light in enumerate((colour, (45, 45, 45), colour)):
                self.picture(tmp_path / "queries" / name / "seen" / f"{frame}.png", light, chance)
        self.picture(tmp_path / "queries" / "bob" / "unseen" / "0.png", (45, 45, 45), chance)
        told = []
        made = user_gallery(tmp_path, encoder="toy-bright/least=70", tell=told.append)
        assert made.tracks.tolist() == [0, 0, 1, 1], "of three frames each, and a third track that had one"
        assert (
            made.source == "gallery -> queries, toy-bright/least=70, 3 of 9 pictures left out, 1 of 3 tracks left out"
        )
        assert "left out, as no frame of it has features: bob/unseen" in told

    def test_classes_that_are_asked_about_and_unknown_are_named(self, tmp_path, bright):
        chance, told = np.random.default_rng(0), []
        for name in ("ann", "bob", "eve"):
            self.picture(tmp_path / "queries" / name / "0.png", (200, 90, 90), chance)
            if name != "eve":
                self.picture(tmp_path / "gallery" / name / "0.png", (200, 90, 90), chance)
        made = user_gallery(tmp_path, encoder="toy-bright", tell=told.append)
        assert made.truth.tolist() == [0, 1, -1]
        assert made.source.endswith(", 1 class asked about and not in the gallery (1 queries)")
        assert [line for line in told if line.endswith("every answer is wrong: eve (1 of 3 queries)")]

    def test_are_decoded_as_the_encoder_wants_them(self, tmp_path, bright, monkeypatch):
        """As large as its `short_side` says; a library's decode would be a quarter of that here."""
        seen = []
        monkeypatch.setattr(bright, "short_side", 100)
        monkeypatch.setattr(bright, "encode", lambda self, items: seen.extend(items) or np.ones((len(items), 1)))
        for at in range(2):
            (tmp_path / "mine" / "a").mkdir(parents=True, exist_ok=True)
            write_image(Image(np.full((800, 900, 3), at, np.uint8)), tmp_path / "mine" / "a" / f"{at}.jpg")
        user_gallery(tmp_path / "mine", encoder="toy-bright")
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
