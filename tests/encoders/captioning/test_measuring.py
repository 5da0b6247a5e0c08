"""Measures by hand, on pictures of which every number can be counted; colours against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.encoders.captioning.measuring import ATTRIBUTES, MEASURES, luminance, measures
from lightmeter.encoders.captioning.palette import NAMES, PALETTE, lab_of, nearest_names
from lightmeter.errors import InvalidValueError


def of(picture, threshold=0.1):
    return dict(zip(MEASURES, measures([picture], threshold)[0].tolist(), strict=True))


def corner():
    """White, 4 high and 2 wide, in the upper left corner of 8 x 8 black pixels."""
    picture = np.zeros((8, 8, 1), np.uint8)
    picture[:4, :2] = 255
    return picture


def test_a_white_corner_by_hand():
    found = of(corner())
    assert found["brightness"] == 255
    assert found["texture"] == 0
    assert found["coverage"] == 8 / 64
    assert found["aspect"] == 4 / 2
    assert found["size"] == 8 / 64
    assert found["asymmetry"] == 16 * 255 / 64  # 8 white pixels whose mirror image is black, and the other way round
    assert found["top"] == 1
    assert found["edges"] == pytest.approx((4 - 2) / (4 + 2))  # 4 steps along rows, 2 along columns, of 56 pairs each
    assert NAMES[int(found["colour"])] == "white"
    assert NAMES[int(found["background"])] == "black"
    assert found["chroma"] == 0


def test_two_greys_by_hand():
    """Foreground of 100 and 140, a pixel each, in the middle of three rows."""
    picture = np.zeros((3, 4, 1), np.uint8)
    picture[1, 1], picture[1, 2] = 100, 140
    found = of(picture)
    assert found["brightness"] == 120
    assert found["texture"] == 20
    assert found["top"] == 0.5
    assert found["asymmetry"] == pytest.approx(2 * 40 / 12)
    along, down = (100 + 40 + 140) / 9, 2 * (100 + 140) / 8
    assert found["edges"] == pytest.approx((along - down) / (along + down))


def test_a_picture_of_one_colour_has_no_foreground():
    found = of(np.full((5, 7, 3), 200, np.uint8))
    assert [found[name] for name in ATTRIBUTES] == [0, 0, 0, 1, 0, 0.5, 0, 0]
    assert found["colour"] == found["background"]


def test_one_pixel_is_a_picture():
    assert of(np.zeros((1, 1, 3), np.uint8))["coverage"] == 0


def test_what_is_near_the_background_is_background():
    """25 of 255 apart is within a tenth of the range, 26 is not."""
    picture = np.full((6, 6, 1), 50, np.uint8)
    picture[2, 2], picture[3, 3] = 75, 76
    assert of(picture)["coverage"] == pytest.approx(1 / 36)
    assert of(picture, 0.05)["coverage"] == pytest.approx(2 / 36)


def test_one_channel_apart_is_foreground():
    picture = np.full((6, 6, 3), 50, np.uint8)
    picture[2, 2, 2] = 90
    assert of(picture)["coverage"] == pytest.approx(1 / 36)


@pytest.mark.parametrize(("axis", "sign"), [(1, 1), (0, -1)])
def test_stripes_have_a_direction(axis, sign):
    lines = np.arange(8) % 2 * 255
    picture = np.broadcast_to(lines[None, :] if axis else lines[:, None], (8, 8)).astype(np.uint8)[..., None]
    assert of(picture)["edges"] == sign


def test_a_mirror_image_keeps_what_has_no_side(made):
    picture = made(3, 20, 30)
    one, other = of(picture), of(picture[:, ::-1])
    assert one == other
    turned = of(picture[::-1])
    assert turned["top"] == pytest.approx(1 - one["top"])
    assert {name: turned[name] for name in MEASURES if name != "top"} == {
        name: one[name] for name in MEASURES if name != "top"
    }


def test_grey_is_grey_in_one_channel_or_three(made):
    grey = made(1, 16, 16, 1)
    np.testing.assert_array_equal(measures([grey], 0.1), measures([np.repeat(grey, 3, -1)], 0.1))


def test_luminance_by_hand():
    assert luminance([np.array([v], np.uint8) for v in (255, 0, 0)]).tolist() == [77 * 255 >> 8]
    assert luminance([np.arange(256, dtype=np.uint8)] * 3).tolist() == list(range(256))


def test_measures_do_not_depend_on_what_is_beside(made):
    """As a list of several sizes, as one array, mapped from a file or one by one: the same bits."""
    mixed = [made(0), made(1, 40, 20), made(2, 40, 20), made(3, 9, 9, 1)]
    rows = measures(mixed, 0.1)
    for row, each in zip(rows, mixed, strict=True):
        np.testing.assert_array_equal(measures([each], 0.1)[0], row)
    many = np.stack([made(seed) for seed in range(30)])
    np.testing.assert_array_equal(
        measures(many, 0.1), np.concatenate([measures(many[at : at + 1], 0.1) for at in range(30)])
    )


def test_a_large_set_is_taken_in_chunks(made, tmp_path, monkeypatch):
    from lightmeter.encoders.captioning import measuring

    many = np.stack([made(seed) for seed in range(10)])
    np.save(tmp_path / "many.npy", many)
    whole = measures(many, 0.1)
    monkeypatch.setattr(measuring, "_CHUNK_BYTES", 3 * many[0].nbytes)
    np.testing.assert_array_equal(measures(np.load(tmp_path / "many.npy", mmap_mode="r"), 0.1), whole)
    np.testing.assert_array_equal(measures(list(many), 0.1), whole)


def test_other_shapes_are_refused():
    assert measures([], 0.1).shape == (0, 11)
    for wrong in (np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.float32)):
        with pytest.raises(InvalidValueError, match="image must be"):
            measures([wrong], 0.1)
    with pytest.raises(InvalidValueError, match="images must be"):
        measures(np.zeros((2, 3, 8, 8), np.uint8), 0.1)
    with pytest.raises(InvalidValueError, match="at least 1 x 1 pixels"):
        measures([np.zeros((0, 4, 3), np.uint8)], 0.1)


class TestPalette:
    def test_every_colour_of_it_is_named_by_itself(self):
        rgb = np.array(list(PALETTE.values()), np.uint8).T
        assert [NAMES[at] for at in nearest_names(*rgb)] == list(NAMES)

    def test_lab_is_that_of_scikit_image(self):
        color = pytest.importorskip("skimage.color")
        rgb = np.random.default_rng(0).integers(0, 256, (200, 3))
        np.testing.assert_allclose(lab_of(rgb), color.rgb2lab(rgb / 255), atol=0.02)

    @pytest.mark.parametrize(
        ("rgb", "name"),
        [((139, 0, 0), "red"), ((0, 100, 0), "green"), ((0, 0, 128), "navy"), ((255, 192, 203), "pink"),
         ((210, 180, 140), "beige"), ((64, 224, 208), "turquoise"), ((255, 165, 0), "orange"), ((20, 20, 20), "black"),
         ((139, 69, 19), "brown"), ((65, 105, 225), "blue"), ((105, 105, 105), "gray")],
    )  # fmt: skip
    def test_colours_of_the_web_by_their_names(self, rgb, name):
        assert NAMES[int(nearest_names(*np.array(rgb, np.uint8)))] == name

    def test_a_red_square_on_white(self):
        picture = np.full((10, 10, 3), 255, np.uint8)
        picture[3:7, 3:7] = (200, 20, 20)
        found = of(picture)
        assert NAMES[int(found["colour"])] == "red"
        assert NAMES[int(found["background"])] == "white"
        assert found["chroma"] == pytest.approx(0.16)
