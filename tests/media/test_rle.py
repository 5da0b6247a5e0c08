"""COCO's run lengths: strings worked out by hand, strings that its tools gave, and whatever masks there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightmeter.errors import RejectedFileError
from lightmeter.media.rle import Rle, as_coco, coco_mask, counts_of, polygon_mask, text_of


def test_by_hand():
    mask = np.array([[0, 0, 1, 1], [0, 1, 1, 0]], np.uint8)  # columns 00, 01, 11, 10: runs 3, 4, 1
    assert Rle.of(mask).counts.tolist() == [3, 4, 1]
    assert Rle.of(mask).text == "341"
    assert Rle.of(mask).area == 4
    # 1 at the very beginning: no zeros first
    assert Rle.of(np.ones((3, 5))).counts.tolist() == [0, 15]
    # 15 = 0b01111 fits into 5 bits with its sign; 16 takes another group: 16 | 32 = '`', then 0
    assert text_of([15, 16]) == "?`0"
    # the fourth stands as its difference from the second: 2 - 40 = -38 = ...1111011010 -> 11010 | 32 = 'j', 11110 = 'N'
    assert text_of([1, 40, 3, 2]) == "1X13jN"
    assert counts_of("1X13jN").tolist() == [1, 40, 3, 2]


MADE_BY = """pycocotools 2.0.11:
rng = np.random.default_rng(5); m = np.asfortranarray((rng.random((9, 11)) < 0.4).astype(np.uint8))
mask.encode(m)["counts"]; mask.frPyObjects([[1.5, 2.5, 8, 1, 9.2, 7, 4, 6.5]], 9, 11)[0]["counts"] and so on
"""
COCO_RANDOM = "1160L10O30L0000020N010O20N11OO3000M010O010020N41KO010O013"
COCO_POLYGONS = [
    ([1.5, 2.5, 8, 1, 9.2, 7, 4, 6.5], "d0272N1O0O1002N?"),
    ([0, 0, 10, 0, 5, 8.5], "0181O2N2N2N00N2N2N2O:"),
    ([-4, 2, 6, -3, 14, 5, 6, 12], "0631O1O^10bN0O0"),
    ([2, 2, 8, 8, 8, 2, 2, 8], "d055N2N10O2N2h0"),
    ([3, 1, 3, 7, 9, 4.2], "l064N101N10h0"),
]


def test_the_same_text_as_cocos_tools():
    rng = np.random.default_rng(5)
    mask = (rng.random((9, 11)) < 0.4).astype(np.uint8)
    assert Rle.of(mask).text == COCO_RANDOM
    assert as_coco(Rle.of(mask)) == {"size": [9, 11], "counts": COCO_RANDOM}


@pytest.mark.parametrize(("ring", "text"), COCO_POLYGONS)
def test_the_same_pixels_as_cocos_tools(ring, text):
    np.testing.assert_array_equal(polygon_mask(9, 11, [ring]), Rle.from_text(9, 11, text).mask())


def test_polygons_by_hand():
    square = polygon_mask(4, 5, [[1, 1, 3, 1, 3, 3, 1, 3]])
    assert square.tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    both = polygon_mask(4, 5, [[0, 0, 1, 0, 1, 4, 0, 4], [3, 0, 4, 0, 4, 4, 3, 4]])
    assert both.sum(0).tolist() == [4, 0, 0, 4, 0]
    assert polygon_mask(4, 5, [[-3, -3, 9, -3, 9, 9, -3, 9]]).all(), "corners may lie outside"
    assert not polygon_mask(4, 5, [[2, 2, 2, 2, 2, 2]]).any(), "a point has no inside"


@settings(max_examples=60)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
def test_masks_go_round(mask):
    rle = Rle.of(mask)
    np.testing.assert_array_equal(Rle.from_text(*mask.shape, rle.text).mask(), mask)
    numbers = {"size": list(mask.shape), "counts": rle.counts.tolist()}
    np.testing.assert_array_equal(coco_mask(numbers, *mask.shape), mask)
    np.testing.assert_array_equal(coco_mask(as_coco(rle), *mask.shape), mask)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10**6), max_size=20))
def test_counts_go_round(counts):
    assert counts_of(text_of(counts)).tolist() == counts


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"size": [2, 3], "counts": [7]}, "sum to 2 x 3 = 6, got 7"),
        ({"size": [2, 3], "counts": [-1, 7]}, "whole numbers"),
        ({"size": [2, 3], "counts": "07"}, "sum to"),
        ({"size": [2, 3], "counts": "é"}, "COCO's text"),
        ({"size": [2, 3], "counts": "P"}, "within a number"),
        ({"size": [2, 3], "counts": "oooooooooooooooo0"}, "COCO's text"),
        ({"size": [3, 2], "counts": [6]}, r"size must be \[2, 3\]"),
        ({"counts": [6]}, "size and counts"),
        ({"size": [2, 3], "counts": {}}, "text, or whole numbers"),
        ([], "a polygon"),
        ([[0, 0, 1, 1]], "3 or more pairs"),
        ([[0, 0, 1, 1, float("nan"), 2]], "corners"),
        ([[0, 0, 1, 1, 1e9, 2]], "corners"),
        ([["a", 0, 1, 1, 1, 2]], "numbers"),
        (None, "polygons, or size"),
    ],
)
def test_what_is_no_mask_is_refused(what, says):
    with pytest.raises(RejectedFileError, match=says):
        coco_mask(what, 2, 3)


def test_a_mask_of_a_billion_pixels_takes_no_memory():
    with pytest.raises(RejectedFileError, match="too-large"):
        Rle(1 << 20, 1 << 20, np.array([1 << 40]))
