"""Frames side by side: masks, unit length, and draws that depend on nothing but the item."""

from __future__ import annotations

import numpy as np
import torch
from frame_batches import batch, only
from frame_nets_reference import draw

from lightmeter.nets.frames import Frames, Source, content_draw, unit
from lightmeter.nets.norm import Norm, packed, unpacked

SOURCES = (Source("visual", 6, 0), Source("audio", 3, 1))
THERE = torch.ones(64, 1, dtype=torch.bool)


def test_frames_are_of_length_one_all_blocks_together_and_padding_is_zeros():
    values, present, lengths = batch((4, 2))
    x, mask = Frames(SOURCES)(values, present, lengths)
    assert mask.tolist() == [[True] * 4, [True, True, False, False]]
    torch.testing.assert_close(x.norm(dim=-1), mask.float())
    torch.testing.assert_close(
        x[0, 1, :6] * torch.cat([values["visual"], values["audio"]], -1)[0, 1].norm(), values["visual"][0, 1]
    )


def test_what_is_absent_is_zeros_whatever_stands_there():
    values, present, lengths = batch((3, 3))
    present[0, 1] = False
    present[1, :2] = False
    x, mask = Frames(SOURCES)(values, present, lengths)
    assert not x[0, :, 6:].any()
    torch.testing.assert_close(x[0, :, :6].norm(dim=-1), torch.ones(3))
    assert not mask[1].any(), "a frame of which nothing is there is none"
    assert not x[1].any()


def test_the_draw_is_splitmix_over_the_bits_of_the_frames():
    values, _, lengths = batch((7, 1, 4), seed=3)
    drawn = content_draw([values["visual"]], THERE[: len(lengths)], lengths, 50)
    for row, count in enumerate(lengths.tolist()):
        assert drawn[row].tolist() == draw(values["visual"][row, :count].numpy(), 50)


def test_the_draw_and_the_frames_are_blind_to_what_stands_where_a_block_is_absent():
    frames = Frames(SOURCES, sample=5).eval()
    values, present, lengths = batch((7, 3), seed=4)
    present[0, 1] = False
    zeros = {**values, "audio": values["audio"] * torch.tensor([0.0, 1.0])[:, None, None] + 0}
    kept = {name: each.clone() for name, each in values.items()}
    for whole in (Frames(SOURCES), frames):
        x, _ = whole(values, present, lengths)
        assert torch.equal(x, whole(zeros, present, lengths)[0])
    assert all(torch.equal(kept[name], each) for name, each in values.items()), "what came in is not written to"


def test_draws_cover_all_frames_evenly():
    values, _, lengths = batch((10,), seed=5)
    drawn = content_draw([values["visual"]], THERE[:1], lengths, 10_000)
    counts = np.bincount(drawn[0].numpy(), minlength=10)
    assert len(counts) == 10
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


def test_a_draw_is_blind_to_the_batch_and_to_padding():
    frames = Frames(SOURCES, sample=8).eval()
    values, present, lengths = batch((5, 3, 9))
    x, mask = frames(values, present, lengths)
    assert x.shape == (3, 8, 9)
    assert mask.all()
    for row in range(3):
        torch.testing.assert_close(frames(*only(values, present, lengths, row))[0][0], x[row])


def test_training_draws_anew_and_within_the_item():
    frames = Frames(SOURCES, sample=64)
    values, present, lengths = batch((5, 1))
    torch.manual_seed(0)
    first, _ = frames(values, present, lengths)
    second, _ = frames(values, present, lengths)
    torch.manual_seed(0)
    assert torch.equal(frames(values, present, lengths)[0], first)
    assert not torch.equal(first, second)
    torch.testing.assert_close(first.norm(dim=-1), torch.ones(2, 64))
    assert len(torch.unique(first[0], dim=0)) == 5, "all five true frames, no padding"


def test_items_and_batches_without_frames_have_none():
    for sample in (None, 4):
        for training in (True, False):
            frames = Frames(SOURCES, sample=sample).train(training)
            x, mask = frames(*batch((0, 2)))
            assert not mask[0].any()
            assert not x[0].any()
            assert mask[1].any()
            x, mask = frames(*batch((0, 0)))
            assert not mask.any()
            assert not x.any()


def test_packing_is_undone_by_unpacking():
    x, mask = Frames(SOURCES)(*batch((4, 0, 2)))
    rows = packed(x, mask)
    assert len(rows) == 6
    assert torch.equal(unpacked(rows, mask), x)


def test_a_single_row_is_normalised_by_the_running_averages():
    norm = Norm(3)
    row = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(norm(row), row / (1 + 1e-3) ** 0.5)
    assert norm(row[:0]).shape == (0, 3)
    assert not norm.running_mean.any()
    norm(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.2, 0.2, 0.2]))


def test_zeros_have_no_direction_and_short_vectors_stay_short():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3e-8, 4e-8]])
    torch.testing.assert_close(unit(x), torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.03, 0.04]]))
