import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lightmeter.errors import InvalidValueError
from lightmeter.nets.codebook import Codebook, perplexity
from lightmeter.nets.same_padding import SamePadConv3d, SamePadConvTranspose3d, halvings
from lightmeter.nets.vqvae import VqVae, VqVaePlan


def uniform(seed, *shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 0.5


def macs_counted(net, *given):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*given)
    return counter.get_total_flops() // 2


# -- codebook -------------------------------------------------------------------------------------------------------


def book_of(vectors):
    book = Codebook(len(vectors), len(vectors[0]))
    book.embeddings.copy_(torch.tensor(vectors))
    book.z_avg.copy_(book.embeddings)
    book.N.fill_(1)
    return book


def test_one_step_by_hand():
    # two codes on a line at 0 and 10; latents 1, 2 go to the first, 9 to the second
    book = book_of([[0.0], [10.0]]).train()
    found = book(torch.tensor([1.0, 2.0, 9.0]).view(1, 1, 3, 1, 1))
    assert found.codes.flatten().tolist() == [0, 0, 1]
    assert found.embeddings.flatten().tolist() == [0.0, 0.0, 10.0]
    assert float(found.commitment) == pytest.approx(0.25 * (1 + 4 + 1) / 3)
    assert float(found.perplexity) == pytest.approx(math.exp(-(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))))
    torch.testing.assert_close(book.N, torch.tensor([0.99 + 0.02, 0.99 + 0.01]))
    torch.testing.assert_close(book.z_avg[:, 0], torch.tensor([0.03, 9.9 + 0.09]))
    torch.testing.assert_close(book.embeddings[:, 0], torch.tensor([0.03 / 1.01, 9.99]), rtol=1e-5, atol=1e-6)


def test_an_unused_code_becomes_a_latent_of_the_batch():
    book = book_of([[0.0], [1000.0]]).train()
    latents = torch.tensor([1.0, 2.0, 3.0])
    book(latents.view(1, 1, 3, 1, 1))
    assert float(book.embeddings[1, 0]) in latents.tolist()
    assert float(book.z_avg[1, 0]) == pytest.approx(990.0)  # only the vector moves, as in the public code


def test_the_first_batch_gives_the_vectors():
    torch.manual_seed(0)
    book, z = Codebook(4, 3).train(), uniform(0, 2, 3, 2, 2, 2)
    assert not book.begun
    rows = z.movedim(1, -1).flatten(0, -2)
    book._begin(rows)
    assert book.begun
    assert len({tuple(each) for each in book.embeddings.tolist()} & {tuple(each) for each in rows.tolist()}) == 4


def test_few_latents_are_repeated_with_noise():
    torch.manual_seed(0)
    book = Codebook(64, 1)
    drawn = book._drawn(torch.tensor([[0.0], [5.0]]))
    assert drawn.shape == (64, 1)
    assert len(drawn.unique()) == 64
    assert float((drawn - 5 * (drawn > 2.5)).abs().max()) < 0.06


def test_a_loaded_codebook_is_never_drawn_anew():
    torch.manual_seed(0)
    trained, z = Codebook(8, 4).train(), uniform(0, 8, 4, 2, 4, 4)
    for _ in range(2):
        trained(z)
    loaded = Codebook(8, 4).train()
    loaded.load_state_dict(trained.state_dict())
    before = loaded.embeddings.clone()
    loaded(z)
    assert float((loaded.embeddings - before).abs().max()) < 0.1  # one step of a running mean
    assert float((before - Codebook(8, 4).embeddings).abs().max()) > 1


def test_evaluation_changes_nothing():
    book, z = Codebook(8, 4).eval(), uniform(0, 1, 4, 2, 4, 4)
    before = {name: each.clone() for name, each in book.state_dict().items()}
    book(z)
    assert all(torch.equal(each, before[name]) for name, each in book.state_dict().items())


def test_gradients_pass_straight_through():
    book, z = Codebook(8, 4).eval(), uniform(0, 1, 4, 2, 4, 4).requires_grad_()
    (book(z).embeddings * 3).sum().backward()
    assert torch.equal(z.grad, torch.full_like(z, 3.0))


def test_same_seed_same_bits():
    def run():
        torch.manual_seed(3)
        book = Codebook(32, 4).train()
        for step in range(5):
            book(uniform(step, 2, 4, 2, 4, 4))
        return book.embeddings

    assert torch.equal(run(), run())


def test_perplexity_of_nothing_and_of_all():
    assert float(perplexity(torch.zeros(4))) == 1.0
    assert float(perplexity(torch.full((16,), 2.0))) == pytest.approx(16)


# -- convolutions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 1, 1), (2, 2, 2), (1, 2, 2)])
def test_same_padding_is_padding_first(stride):
    torch.manual_seed(0)
    x, layer = uniform(0, 1, 2, 4, 6, 4), SamePadConv3d(2, 3, 4, stride=stride)
    zeros = [4 - step for step in stride]
    padded = torch.nn.functional.pad(x, [each for n in reversed(zeros) for each in (n // 2 + n % 2, n // 2)])
    wanted = torch.nn.functional.conv3d(padded, layer.conv.weight, layer.conv.bias, stride)
    torch.testing.assert_close(layer(x), wanted)
    assert layer(x).shape[2:] == tuple(n // s for n, s in zip((4, 6, 4), stride, strict=True))
    assert SamePadConvTranspose3d(2, 3, stride=stride)(x).shape[2:] == tuple(
        n * s for n, s in zip((4, 6, 4), stride, strict=True)
    )


def test_halvings_by_hand():
    assert halvings((4, 4, 4)) == [(2, 2, 2), (2, 2, 2)]
    assert halvings((1, 8, 2)) == [(1, 2, 2), (1, 2, 1), (1, 2, 1)]


# -- the whole ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("downsample", [(2, 2, 2), (1, 2, 2), (4, 2, 2), (4, 4, 4)])
def test_every_stride_comes_back_to_its_size(downsample):
    torch.manual_seed(0)
    net, clips = VqVae(VqVaePlan(8, 1, downsample, 4, 8)), uniform(0, 1, 3, 8, 8, 12)
    made = net(clips)
    assert made.clips.shape == clips.shape
    assert made.codes.shape == (1, *net.plan.grid(8, 8, 12))
    made.loss.backward()
    assert all(each.grad is not None for each in net.parameters())


def test_it_learns_one_clip():
    torch.manual_seed(0)
    net, clips = VqVae(VqVaePlan(16, 0, (2, 2, 2), 8, 16)), uniform(0, 1, 3, 2, 4, 4).repeat_interleave(4, 2)
    adam, errors = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(30):
        made = net(clips)
        adam.zero_grad()
        made.loss.backward()
        adam.step()
        errors.append(float(made.error.detach()))
    assert errors[-1] < 0.3 * errors[0]
    assert float(made.loss.detach()) == pytest.approx(errors[-1] + float(made.commitment.detach()))


@pytest.mark.parametrize("downsample", [(4, 2, 2), (2, 2, 2)])
def test_the_plan_predicts_its_work(downsample):
    plan = VqVaePlan(16, 2, downsample, 8, 32)
    with torch.device("meta"):
        net, clips = VqVae(plan), torch.zeros(1, 3, 8, 16, 16)
        codes = torch.zeros((1, *plan.grid(8, 16, 16)), dtype=torch.long)
    assert macs_counted(net.encode, clips) == plan.encode_macs(8, 16, 16)
    assert macs_counted(net.decode, codes) == plan.decode_macs(8, 16, 16)


def test_what_does_not_fit_is_refused():
    net = VqVae(VqVaePlan(8, 0, (4, 2, 2), 4, 8))
    with pytest.raises(InvalidValueError, match=r"multiples of \(4, 2, 2\), got \(6, 8, 8\)"):
        net(torch.zeros(1, 3, 6, 8, 8))
    with pytest.raises(InvalidValueError, match=r"\[B, 3, T, H, W\], got \[1, 8, 8, 8, 3\]"):
        net.encode(torch.zeros(1, 8, 8, 8, 3))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"downsample": (3, 2, 2)}, "powers of two"),
        ({"downsample": (1, 1, 1)}, "one above 1"),
        ({"hiddens": 7}, "multiple of 2"),
        ({"codes": 0}, "codes 1 or more"),
    ],
)
def test_wrong_sizes_are_refused(wrong, said):
    with pytest.raises(InvalidValueError, match=said):
        VqVaePlan(**wrong)
