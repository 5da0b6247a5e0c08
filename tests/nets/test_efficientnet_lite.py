"""The plan of EfficientNet-Lite by hand, and its padding as TensorFlow's."""

import pytest

from lightmeter.errors import InvalidValueError
from lightmeter.nets.lite_plan import lite_plan


@pytest.mark.parametrize(
    ("size", "blocks", "channels"),
    [
        (0, 16, [16, 24, 40, 80, 112, 192, 320]),
        (1, 1 + 3 + 3 + 4 + 4 + 5 + 1, [16, 24, 40, 80, 112, 192, 320]),  # repeats * 1.1, rounded up
        (2, 1 + 3 + 3 + 4 + 4 + 5 + 1, [16, 24, 48, 88, 120, 208, 352]),  # channels * 1.1, to multiples of 8
    ],
)
def test_plans_scale_as_published(size, blocks, channels):
    plan = lite_plan(size)
    assert len(plan.blocks) == blocks
    assert list(dict.fromkeys(block.channels_out for block in plan.blocks)) == channels
    assert [block.stride for block in plan.blocks].count(2) == 4
    assert plan.padded_side == {0: 256, 1: 274, 2: 297}[size]


def test_other_sizes_are_refused():
    with pytest.raises(InvalidValueError, match="size must be one of 0, 1, 2, got 7"):
        lite_plan(7)


PADDED = [(8, 3, 2, (0, 1)), (15, 5, 2, (2, 2)), (7, 5, 1, (2, 2))]


@pytest.mark.parametrize(("side", "kernel", "stride", "pads"), PADDED)
def test_padding_is_same(side, kernel, stride, pads):
    torch = pytest.importorskip("torch")
    from lightmeter.nets.efficientnet_lite import SameConv

    conv = SameConv(1, 1, kernel, stride=stride)
    torch.nn.init.ones_(conv.weight)
    x = torch.ones(1, 1, side, side)
    with torch.inference_mode():
        y = conv(x)
        padded = torch.nn.functional.pad(x, pads * 2)
        expected = torch.nn.functional.conv2d(padded, conv.weight, stride=stride)
    assert y.shape[2] == -(-side // stride)
    torch.testing.assert_close(y, expected)
