"""What moves where, in words."""

import pytest

from lightmeter.media.motion_sentences import sentence, ways

NAMES = [("left", "right"), ("away", "near"), ("down", "up")]


@pytest.mark.parametrize(
    ("shift", "words"), [
        ((5.0, 0.0, 0.0), ["right"]), ((-1.0, 0.2, 4.0), ["up"]), ((-3.0, 2.0, -4.0), ["down", "left", "away"]),
        ((0.5, 0.5, 0.5), []), ((1.0, -0.9, 0.0), ["right"]), ((), []),
    ],
)  # fmt: skip
def test_ways(shift, words):
    assert [each.replace("near", "away") for each in ways(shift, NAMES, least=1.0)] == words


def test_nothing_moves():
    assert sentence([("the cup", "moves", [])]) == sentence([]) == "nothing moves"
