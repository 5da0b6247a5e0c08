"""The face of a photograph: where it is, that it moves with the picture, and what is cut out around it."""

import numpy as np
import pytest

from lightmeter.assets.finding import find_or_none
from lightmeter.encoders.face_finding import cut, face_box, largest_face
from lightmeter.errors import InvalidValueError, MissingAssetError, MissingExtraError, RejectedFileError
from lightmeter.types import Image


@pytest.fixture(scope="module")
def astronaut():
    """A real photograph of one person, 512 x 512; her pupils, read off by eye, are at (204, 102) and (246, 104)."""
    pytest.importorskip("dlib")
    if find_or_none("dlib-landmarks") is None:
        pytest.skip("`lightmeter assets add dlib-landmarks` brings what this needs")
    return pytest.importorskip("skimage.data").astronaut()


def resized(pixels, width, height):
    from PIL import Image as pillow  # noqa: N813

    return Image(np.asarray(pillow.fromarray(pixels).resize((width, height), pillow.Resampling.BICUBIC)))


class TestLargestFace:
    def test_is_where_one_sees_it(self, astronaut):
        found = largest_face(Image(astronaut))
        np.testing.assert_allclose(found.eyes, [[204, 102], [246, 104]], atol=4)
        left, top, right, bottom = found.box
        assert left < 204 < 246 < right
        assert top < 102 < bottom < 200

    def test_is_mirrored_with_the_picture(self, astronaut):
        found = largest_face(Image(np.ascontiguousarray(astronaut[:, ::-1])))
        np.testing.assert_allclose(found.eyes, [[512 - 246, 104], [512 - 204, 102]], atol=4)

    @pytest.mark.parametrize(("across", "down"), [(0, 64), (120, 40)])
    def test_moves_with_the_picture(self, astronaut, across, down):
        moved = largest_face(Image(np.pad(astronaut, ((down, 0), (across, 0), (0, 0)), mode="edge")))
        np.testing.assert_allclose(moved.eyes, [[204 + across, 102 + down], [246 + across, 104 + down]], atol=4)

    @pytest.mark.parametrize("side", [300, 1200])
    def test_scales_with_the_picture(self, astronaut, side):
        found, by = largest_face(resized(astronaut, side, side)), side / 512
        np.testing.assert_allclose(found.eyes, np.array([[204, 102], [246, 104]]) * by, atol=4 * max(1, by))

    def test_is_the_larger_of_two(self, astronaut):
        small = resized(astronaut, 400, 400).pixels
        beside = np.zeros((512, 912, 3), np.uint8)
        beside[:400, :400], beside[:, 400:] = small, astronaut
        assert largest_face(Image(beside)).box[0] > 400
        assert largest_face(Image(np.ascontiguousarray(beside[:, ::-1]))).box[2] < 512

    def test_a_large_chance_pattern_is_none(self, astronaut):
        """At 1,024 pixels the badge of her suit scores 0.05 and is as large as her face, which scores 1.2."""
        left, top, right, bottom = face_box(Image(astronaut), search_side=1024)
        assert left < 204 < 246 < right
        assert top < 102 < bottom < 220

    def test_smaller_ones_are_found_on_a_larger_side(self, astronaut):
        far = np.pad(astronaut, ((0, 1024), (0, 1024), (0, 0)), mode="edge")
        with pytest.raises(RejectedFileError, match="no-face"):
            largest_face(Image(far))
        np.testing.assert_allclose(largest_face(Image(far), search_side=1536).eyes, [[204, 102], [246, 104]], atol=4)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (2000, 2), (64, 64)])
    def test_of_nothing_is_no_face(self, astronaut, shape):
        with pytest.raises(RejectedFileError, match="no face of [0-9]+ pixels or more") as caught:
            largest_face(Image(np.full((*shape, 3), 90, np.uint8)))
        assert caught.value.code == "no-face"

    def test_of_a_cup_of_coffee_is_no_face(self, astronaut):
        import skimage.data

        with pytest.raises(RejectedFileError, match="no-face"):
            largest_face(Image(skimage.data.coffee()))

    def test_refuses_what_is_no_search(self, astronaut):
        with pytest.raises(InvalidValueError, match="search_side must be 1 or more, got 0"):
            largest_face(Image(astronaut), search_side=0)
        with pytest.raises(InvalidValueError, match="at least 1 x 1 pixels"):
            largest_face(Image(np.zeros((0, 4, 3), np.uint8)))


class TestWhatIsMissingIsSaid:
    @pytest.fixture(autouse=True)
    def fresh(self):
        from lightmeter.encoders import face_finding

        yield face_finding._detector.cache_clear(), face_finding._predictor.cache_clear()
        face_finding._detector.cache_clear()
        face_finding._predictor.cache_clear()

    def test_dlib(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "dlib", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'lightmeter\[faces\]'"):
            largest_face(Image(np.zeros((9, 9, 3), np.uint8)))

    def test_landmarks(self, monkeypatch, tmp_path, astronaut):
        monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path))
        with pytest.raises(MissingAssetError, match="lightmeter assets add dlib-landmarks"):
            largest_face(Image(astronaut))

    def test_landmarks_of_another_hash_are_not_read(self, monkeypatch, tmp_path, astronaut):
        file = tmp_path / "dlib-landmarks/face_recognition_models/models/shape_predictor_5_face_landmarks.dat"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"forged")
        monkeypatch.setenv("LIGHTMETER_ASSETS", str(tmp_path))
        with pytest.raises(RejectedFileError, match="wrong-hash"):
            largest_face(Image(astronaut))


class TestCut:
    numbered = Image(np.repeat(np.arange(24, dtype=np.uint8).reshape(4, 6)[:, :, None], 3, axis=2) * 10)

    def test_of_whole_pixels_are_the_pixels(self):
        np.testing.assert_array_equal(cut(self.numbered, (1, 1, 4, 4), 3), self.numbered.pixels[1:4, 1:4])

    def test_repeats_the_edge_outside(self):
        found = cut(self.numbered, (-2, -1, 1, 2), 3)[:, :, 0]
        np.testing.assert_array_equal(found, [[0, 0, 0], [0, 0, 0], [60, 60, 60]])
        found = cut(self.numbered, (4, 2, 8, 6), 4)[:, :, 2]
        np.testing.assert_array_equal(found, [[160, 170, 170, 170]] + [[220, 230, 230, 230]] * 3)

    def test_of_half_pixels_are_their_means(self):
        np.testing.assert_array_equal(cut(self.numbered, (1.5, 1, 3.5, 3), 2)[:, :, 0], [[75, 85], [135, 145]])

    def test_shrinks_over_areas(self):
        stripes = Image(np.tile(np.array([[0], [200]], np.uint8), (32, 1, 3)).reshape(64, 1, 3).repeat(64, axis=1))
        assert np.abs(cut(stripes, (8, 8, 56, 56), 4).astype(int) - 100).max() <= 3

    def test_is_that_of_pillow_inside(self, make_picture):
        from PIL import Image as pillow  # noqa: N813

        image = make_picture(5)
        theirs = pillow.fromarray(image.pixels).resize((20, 20), pillow.Resampling.BILINEAR, box=(20.3, 10.1, 70, 50))
        # Pillow holds boxes in float32: a grey level may round otherwise where the box counts from elsewhere
        np.testing.assert_allclose(cut(image, (20.3, 10.1, 70, 50), 20).astype(int), np.asarray(theirs), atol=1)

    def test_is_that_of_a_picture_with_more_edge(self, make_picture):
        image = make_picture(6)
        wide = Image(np.pad(image.pixels, ((40, 40), (40, 40), (0, 0)), mode="edge"))
        box = (-31.5, -8.25, 61.0, 77.5)
        shifted = tuple(each + 40 for each in box)
        np.testing.assert_allclose(cut(image, box, 24).astype(int), cut(wide, shifted, 24), atol=1)

    @pytest.mark.parametrize(
        "box", [(6, 0, 9, 3), (-3, 0, 0, 3), (2, 2, 2, 3), (0, 3, 3, 1), (0, 0, 61, 3), (float("nan"), 0, 3, 3)]
    )
    def test_refuses_what_is_no_part(self, box):
        with pytest.raises(InvalidValueError, match="a box must touch the picture of 6 x 4"):
            cut(self.numbered, box, 3)
