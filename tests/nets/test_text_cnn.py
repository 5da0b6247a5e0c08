"""TextCNN: the published size, the slow one of the reference, what padding means, vectors that travel with the net."""

from __future__ import annotations

import frame_nets_reference as slow
import numpy as np
import pytest
import torch
from frame_batches import settled
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import Block
from lightmeter.nets.text_cnn import WordTable
from lightmeter.parts import build

SPEC = "text-cnn/vectors=20,dim=5,widths=4,filters=3,hidden=6"
HERE = torch.ones(3, 1, dtype=torch.bool)
TOKENS = torch.tensor([[3, 7, 1, 20, 2, 0, 0], [5, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)


def made(spec=SPEC, places=7, classes=4, seed=0):
    torch.manual_seed(seed)
    return build(spec, "head").net([Block("title", "tokens", places)], classes)


def test_the_published_net_has_41_7_million_weights():
    with torch.device("meta"):
        net = made("text-cnn", places=40, classes=4716)
    weights = sum(each.numel() for name, each in net.named_parameters() if not name.startswith("words."))
    kernels = 300 * 512 * sum(range(1, 9)) + 4096 * 4096 + 4096 * 4716
    assert weights == kernels + 8 * 512 + 2 * 4096 + 4096 + 2 * 4096 + 4716
    assert round(weights / 1e6, 1) == 41.7


@pytest.mark.parametrize("padding", ["published", "masked"])
def test_is_the_slow_one(padding):
    net = settled(made(f"{SPEC},padding={padding}"))
    with torch.no_grad():
        scores, hidden = net({"title": TOKENS}, HERE, None), net.hidden({"title": TOKENS}, HERE, None)
    for row, tokens in enumerate(TOKENS.tolist()):
        want_hidden, want = slow.text_cnn(net, tokens)
        np.testing.assert_allclose(hidden[row].numpy(), want_hidden, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[row].numpy(), want, rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing_where_it_is_masked_and_counts_where_it_was_published():
    longer = torch.nn.functional.pad(TOKENS, (0, 5))
    for padding, blind in (("masked", True), ("published", False)):
        net = settled(made(f"{SPEC},padding={padding}"))
        with torch.no_grad():
            net.convolution_norm.running_mean.fill_(-1)  # an empty place gives more than most words do
            short, long = (net.hidden({"title": each}, HERE, None) for each in (TOKENS[:, :5], longer))
        assert torch.allclose(short, long, atol=1e-6) is blind, padding


def test_training_with_masked_padding_counts_words_only():
    net, same = made(f"{SPEC},padding=masked,dropout=0.0"), made(f"{SPEC},padding=masked,dropout=0.0")
    short, long = net({"title": TOKENS[:2, :5]}, HERE[:2], None), same({"title": TOKENS[:2]}, HERE[:2], None)
    torch.testing.assert_close(short, long)
    torch.testing.assert_close(net.convolution_norm.running_var, same.convolution_norm.running_var)


def test_an_absent_title_is_one_without_words():
    net = settled(made())
    with torch.no_grad():
        absent = net({"title": TOKENS}, torch.zeros(3, 1, dtype=torch.bool), None)
        empty = net({"title": TOKENS * 0}, HERE, None)
    assert torch.equal(absent, empty)


def test_is_blind_to_its_batch():
    net = settled(made())
    with torch.no_grad():
        whole = net({"title": TOKENS}, HERE, None)
        for row in range(3):
            torch.testing.assert_close(net({"title": TOKENS[row : row + 1]}, HERE[:1], None)[0], whole[row])


def test_every_weight_is_taught_and_number_0_stays_zeros():
    net = made()
    net({"title": TOKENS}, HERE, None).log().sum().neg().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any() or name.endswith("bias"), name  # what batch norm takes away teaches nothing
    assert not net.words.table.grad[0].any()
    assert not net.words.table[0].any()
    assert net.words.table.grad[20].any()


def test_l2_weighs_kernels_only():
    net = made()
    weighed = {id(each) for each in net.decayed()}
    assert {name for name, each in net.named_parameters() if id(each) in weighed} == {
        *(f"convolutions.{at}.weight" for at in range(4)), "hidden_layer.weight", "answer.weight",
    }  # fmt: skip


def test_word_vectors_are_frozen_and_travel_with_the_net(tmp_path):
    from lightmeter.encoders.word_vectors import WordVectors

    table = np.random.default_rng(0).normal(size=(21, 5)).astype(np.float32)
    table[0] = 0
    WordVectors(tuple(f"word{at}" for at in range(20)), table).save(tmp_path / "vectors")
    spec = f"text-cnn/vectors='{tmp_path}/vectors',dim=5,widths=4,filters=3,hidden=6"
    net = settled(made(spec))
    assert build(build(spec, "head").spec) == build(spec)
    assert all(not name.startswith("words.") for name, _ in net.named_parameters())
    np.testing.assert_array_equal(net.words(torch.tensor([[3, 0]]))[0].numpy(), table[[3, 0]])
    with torch.no_grad():
        scores = net({"title": TOKENS}, HERE, None)
    (tmp_path / "vectors").rename(tmp_path / "gone")
    with torch.device("meta"):
        other = made(spec, seed=1)
    with pytest.raises(InvalidValueError, match="word vectors must be there before words are looked up, got none"):
        other.words(TOKENS)
    other.load_state_dict(net.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(other.eval()({"title": TOKENS}, HERE, None), scores)


def test_vectors_of_another_length_are_refused(tmp_path):
    from lightmeter.encoders.word_vectors import WordVectors

    WordVectors(("a", "b"), np.zeros((3, 5), np.float32)).save(tmp_path / "vectors")
    with pytest.raises(InvalidValueError, match="dim must be that of .*, 5, got 300: write dim=5"):
        made(f"text-cnn/vectors='{tmp_path}/vectors'")


def test_a_table_of_another_shape_is_not_taken():
    table = WordTable(5)
    with pytest.raises(RuntimeError, match="size mismatch"):
        table.load_state_dict({"table": torch.zeros(4, 6)})


def test_macs_are_torchs():
    net = made()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        net.eval()({"title": TOKENS[:1]}, HERE[:1], None)
    # the counter takes a convolution over a padded row for one of as many places as come out
    assert counted.get_total_flops() == 2 * net.macs


@pytest.mark.parametrize("number", [21, -1])
def test_words_that_the_table_lacks_are_told(number):
    net, tokens = made(), TOKENS.clone()
    tokens[1, 0] = number
    with pytest.raises(InvalidValueError, match=f"title must hold word numbers 0 to 20 .*, got {number}: "):
        net({"title": tokens}, HERE, None)
    absent = HERE.clone()
    absent[1] = False
    assert net.eval()({"title": tokens}, absent, None).isfinite().all()  # what is absent is not looked up
