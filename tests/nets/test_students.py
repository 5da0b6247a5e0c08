"""ConvNet-D and the ResNets that condensed sets are judged by."""

import pytest
import torch
from torch.nn import functional

from lightmeter.errors import InvalidValueError
from lightmeter.nets.student_conv import ConvNet, relu_halved
from lightmeter.nets.student_resnet import ResNet, ResNetPlan, stem_of

MADE = [
    *[lambda c, s, d=d, n=n: ConvNet(c, 10, s, depth=d, width=8, norm=n) for d, n in [(3, "instance"), (4, "batch")]],
    *[
        lambda c, s, d=d, a=a, t=t, n=n: ResNet(c, 10, s, ResNetPlan(d, 8, n, a, t))
        for d, a, t, n in [
            (10, True, "small", "instance"), (10, True, "mid", "instance"), (10, True, "large", "batch"),
            (18, False, "small", "batch"), (18, False, "mid", "instance"), (18, False, "large", "instance"),
        ]
    ],
]  # fmt: skip


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize(("channels", "size"), [(1, (64, 64)), (3, (67, 98))])
def test_shapes_work_and_what_the_last_layer_reads(make, channels, size, count_layers):
    net = make(channels, size).eval()
    x = torch.rand(2, channels, *size)
    with torch.no_grad():
        logits, features = net(x), net.features(x)
    assert logits.shape == (2, 10)
    assert torch.equal(net.last(features), logits)
    with torch.device("meta"):
        bare = make(channels, size)
        assert count_layers(bare, torch.zeros(1, channels, *size))[0] == bare.macs


def test_published_sizes_by_hand():
    with torch.device("meta"):
        conv = ConvNet(3, 10, (32, 32))
        eighteen = ResNet(3, 1000, (224, 224), ResNetPlan())
        small = ResNet(3, 10, (32, 32), ResNetPlan())
    # DC's ConvNet-3 of width 128 has 320,010 weights, its three convolutions' biases of 128 each among them
    assert sum(each.numel() for each in conv.parameters()) == 320_010 - 3 * 128
    # ResNet-18 has 11,689,512 weights; without its 7 x 7 stem (9,408) and with 3 x 3 (1,728) and 10 classes, 11,173,962
    assert sum(each.numel() for each in eighteen.parameters()) == 11_689_512
    assert sum(each.numel() for each in small.parameters()) == 11_173_962
    assert (eighteen.stem, small.stem) == ("large", "small")
    assert eighteen.macs == 1_814_073_344


def test_the_stem_goes_by_size():
    assert [stem_of((side, 300)) for side in (28, 64, 65, 128, 129, 224)] == [
        "small", "small", "mid", "mid", "large", "large",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(8, 8), (6, 10), (7, 8), (5, 5)])
def test_relu_halved_is_relu_and_average_pooling(size):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    ours, theirs = relu_halved(x), functional.avg_pool2d(functional.relu(x), 2)
    torch.testing.assert_close(ours, theirs)
    weight = torch.randn_like(ours)
    slopes = [torch.autograd.grad((made * weight).sum(), x)[0] for made in (ours, theirs)]
    torch.testing.assert_close(*slopes)
    assert torch.autograd.gradcheck(relu_halved, (x,))
    assert torch.autograd.gradgradcheck(relu_halved, (x,))


def test_relu_halved_by_hand():
    x = torch.tensor([[[[1.0, -5.0], [3.0, 4.0]]]], requires_grad=True)
    made = relu_halved(x)
    made.backward(torch.tensor([[[[8.0]]]]))
    assert made.item() == 2.0
    assert x.grad.tolist() == [[[[2.0, 0.0], [2.0, 2.0]]]]


@pytest.mark.parametrize("make", MADE[:1] + MADE[2:3])
def test_gradients_can_be_matched(make):
    """Methods that learn pixels follow the slope of a slope."""
    torch.manual_seed(0)
    net, x = make(1, (16, 16)), torch.rand(2, 1, 16, 16, requires_grad=True)
    loss = functional.cross_entropy(net(x), torch.tensor([0, 1]))
    first = torch.autograd.grad(loss, list(net.parameters()), create_graph=True)
    (slope,) = torch.autograd.grad(sum(each.square().sum() for each in first), x)
    assert slope.abs().sum() > 0


def test_instance_norm_keeps_pictures_apart():
    torch.manual_seed(0)
    for make in (MADE[0], MADE[2], MADE[6]):
        net, x = make(3, (32, 32)), torch.rand(4, 3, 32, 32)
        torch.testing.assert_close(net(x)[:2], net(x[:2]), rtol=1e-4, atol=1e-5)


def test_averages_beside_a_block_commute_with_its_convolution():
    torch.manual_seed(0)
    block = ResNet(3, 10, (32, 32), ResNetPlan(10, 4, "batch", averages=True)).blocks[1]
    x = torch.rand(2, 4, 8, 8)
    pool, conv, norm = block.beside
    torch.testing.assert_close(norm(conv(pool(x))), norm(pool(conv(x))))


def test_pictures_that_are_too_small_are_refused():
    with pytest.raises(
        InvalidValueError, match="at least 64 px a side for a ConvNet of depth 6, got 32 x 40: take depth=5"
    ):
        ConvNet(3, 10, (32, 40), depth=6)
    with pytest.raises(InvalidValueError, match="at least 64 px a side for a ResNet with the large stem, got 32 x 32"):
        ResNet(3, 10, (32, 32), ResNetPlan(stem="large"))
    with pytest.raises(InvalidValueError, match="norm must be one of instance, batch, got 'layer'"):
        ConvNet(3, 10, (32, 32), norm="layer")
    with pytest.raises(InvalidValueError, match="depth must be one of 10, 18"):
        ResNetPlan(depth=34)
