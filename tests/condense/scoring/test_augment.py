"""Changes of batches: each by hand, or against another way to the same."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightmeter.condense.scoring import augment
from lightmeter.condense.scoring.augment import Mixed


def board(count=2, channels=1, height=3, width=4):
    return torch.arange(count * channels * height * width, dtype=torch.float32).view(count, channels, height, width)


def test_flipped_by_hand():
    made = augment.flipped(board(), np.array([False, True]))
    assert torch.equal(made[0], board()[0])
    assert made[1, 0].tolist() == [[15, 14, 13, 12], [19, 18, 17, 16], [23, 22, 21, 20]]


def test_shifted_by_hand():
    made = augment.shifted(board(), np.array([1, 0]), np.array([0, -2]))
    assert made[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert made[1, 0].tolist() == [[14, 15, 0, 0], [18, 19, 0, 0], [22, 23, 0, 0]]


def test_shifted_moves_all_channels_alike():
    x = board(3, 3, 5, 5)
    made = augment.shifted(x, np.array([2, -1, 0]), np.array([-1, 1, 0]))
    assert torch.equal(made[2], x[2])
    assert torch.equal(made[0, :, 2:, :4], x[0, :, :3, 1:])
    assert torch.equal(made[1, :, :4, 1:], x[1, :, 1:, :4])


def test_a_crop_is_cut_out_and_brought_to_size():
    torch.manual_seed(0)
    x = torch.rand(4, 3, 12, 10)
    crops = [np.array(each) for each in ([0, 2, 5, 0], [0, 1, 4, 0], [12, 6, 7, 1], [10, 8, 6, 1])]
    made = augment.cropped(x, tuple(crops), (12, 10))
    for at, (top, left, height, width) in enumerate(zip(*crops, strict=True)):
        cut = x[at : at + 1, :, top : top + height, left : left + width]
        alone = functional.interpolate(cut, size=(12, 10), mode="bilinear", align_corners=False)
        torch.testing.assert_close(made[at], alone[0], atol=1e-5, rtol=1e-4)


def test_drawn_crops_keep_to_area_ratio_and_picture():
    top, left, height, width = augment.draw_crops(np.random.default_rng(0), 4000, (64, 48), (0.25, 0.5))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 64).all()
    assert (left + width <= 48).all()
    area, ratio = height * width / (64 * 48), width / height
    assert area.min() > 0.24
    assert area.max() < 0.52
    assert abs(area.mean() - 0.375) < 0.01, "areas are even"
    assert 0.7 < ratio.min() < 0.8
    assert 1.28 < ratio.max() < 1.4
    assert abs(np.log(ratio).mean()) < 0.01, "ratios are even on the log"


def test_of_the_whole_area_only_the_whole_square_fits():
    top, left, height, width = augment.draw_crops(np.random.default_rng(0), 200, (32, 32), (1.0, 1.0))
    assert {*top.tolist(), *left.tolist()} == {0}
    assert {*height.tolist(), *width.tolist()} == {32}


def test_what_never_fits_is_the_largest_middle_of_a_fair_ratio():
    top, left, height, width = augment.draw_crops(np.random.default_rng(0), 5, (10, 40), (1.0, 1.0))
    assert set(zip(top, left, height, width, strict=True)) == {(0, 13, 10, 13)}


def test_shuffled_patches_by_hand():
    x = torch.arange(25.0).view(1, 1, 5, 5)
    made = augment.shuffled_patches(x, np.array([[1, 0]]), np.array([[0, 1]]))  # columns 0, 1 | 2, 3, 4 change places
    assert made[0, 0, 0].tolist() == [2, 3, 4, 0, 1]
    assert made[0, 0, :, 3].tolist() == [0, 5, 10, 15, 20]
    three = augment.shuffled_patches(torch.arange(6.0).view(1, 1, 6, 1), np.array([[0]]), np.array([[2, 0, 1]]))
    assert three.flatten().tolist() == [4, 5, 0, 1, 2, 3]


def test_every_picture_has_its_own_patches():
    x = board(2, 3, 4, 4)
    made = augment.shuffled_patches(x, np.array([[0, 1], [1, 0]]), np.array([[0, 1], [0, 1]]))
    assert torch.equal(made[0], x[0])
    assert torch.equal(made[1], x[1][:, :, [2, 3, 0, 1]])


def test_jitter_by_hand():
    # one red and one green pixel: luminance .299 and .587, their mean .443
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]]]).repeat(4, 1, 1, 1)
    dark, flat, pale, all_three = augment.jittered(x, np.vstack([np.eye(3), np.ones((1, 3))]) * 0.5)
    torch.testing.assert_close(dark, 0.5 * x[0])
    torch.testing.assert_close(flat, 0.5 * x[0] + 0.5 * 0.443)
    torch.testing.assert_close(pale[:, 0, 0], torch.tensor([0.5 + 0.1495, 0.1495, 0.1495]))
    # red at .5 · .5 + .5 · .2215 = .36075, others .11075; of luminance .18550: half way there
    torch.testing.assert_close(all_three[:, 0, 0], torch.tensor([0.273125, 0.148125, 0.148125]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_jitter_needs_no_order(order):
    x = torch.rand(2, 3, 4, 4)
    amounts = np.array([[0.3, -0.2, 0.1], [-0.4, 0.4, 0.25]])
    step = x
    for at in order:
        step = augment.jittered(step, amounts * (np.arange(3) == at))
    torch.testing.assert_close(augment.jittered(x, amounts), step)


def test_grey_pictures_have_brightness_and_contrast_only():
    x = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(augment.jittered(x, np.array([[0.0, 0.0, 0.4]])), x)
    assert augment.lit(x, np.array([[1.0, 1.0, 1.0]])) is x


def test_light_by_hand():
    x = torch.zeros(1, 3, 1, 1)
    made = augment.lit(x, np.array([[1.0, 0.0, 2.0]])).flatten()
    wanted = [
        0.2175 * -0.5675 + 2 * 0.0045 * 0.4009,
        0.2175 * -0.5808 + 2 * 0.0045 * -0.8140,
        0.2175 * -0.5836 + 2 * 0.0045 * 0.4203,
    ]
    torch.testing.assert_close(made, torch.tensor(wanted))


def test_cutmix_by_hand():
    x = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)])
    made = augment.cutmix(x, np.array([1, 0]), (0, 2, 1, 4))
    assert made.share == 1 - 6 / 16
    assert made.x[0, 0].tolist() == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert torch.equal(made.x[1], 1 - made.x[0])
    assert x.sum() == 16, "the batch itself stays"


def test_mixup_by_hand():
    x = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    made = augment.mixup(x, np.array([1, 0]), 0.75)
    assert made.x.flatten().tolist() == [1.5, 2.5]


def test_boxes_lie_around_an_even_centre_and_are_cut_off():
    rng = np.random.default_rng(0)
    boxes = np.array([augment.draw_box(rng, (20, 10), 0.75) for _ in range(3000)])
    top, bottom, left, right = boxes.T
    assert (bottom - top).max() == 10, "half of the side has a quarter of the area"
    assert (right - left).max() == 4, "2 on either side: half of 5, rounded down"
    assert top.min() == left.min() == 0
    assert bottom.max() == 20
    assert right.max() == 10


@pytest.mark.parametrize("how", ["cutmix", "mixup"])
def test_mixed_keeps_shares_true(how):
    """What a batch of one-coloured pictures becomes says what share each has."""
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 16, 16)
    for seed in range(20):
        made = augment.mixed(x, np.random.default_rng(seed), how=how)
        assert isinstance(made, Mixed)
        assert sorted(made.partner.tolist()) == list(range(8))
        wanted = made.share * torch.arange(8.0) + (1 - made.share) * torch.from_numpy(made.partner)
        torch.testing.assert_close(made.x.mean((1, 2, 3)), wanted.float(), atol=1e-4, rtol=1e-4)
