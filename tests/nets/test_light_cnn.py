"""Light CNN against itself written out, and its numbers against the paper's."""

import pytest

torch = pytest.importorskip("torch")

from face_nets_reference import drawn, light_cnn_row, light_cnn_shapes  # noqa: E402

from lightmeter.errors import InvalidValueError  # noqa: E402
from lightmeter.nets.face_plans import bytes_of, light_cnn_layers, macs_of  # noqa: E402
from lightmeter.nets.light_cnn import Group, MaxFeatureMap, Residual, light_cnn  # noqa: E402

KINDS = ((9, 1), (29, 1), (29, 2))


def on_paper(*kind):
    with torch.device("meta"):
        return light_cnn(*kind)


def test_the_larger_of_two_channels_by_hand():
    product = torch.nn.Linear(1, 4)
    product.weight.data = torch.tensor([[1.0], [2.0], [3.0], [-4.0]])
    product.bias.data = torch.tensor([0.0, 0.0, -5.0, 1.0])
    # x = 2: 2, 4 against 1, -7; x = -1: -1, -2 against -8, 5
    assert MaxFeatureMap(product)(torch.tensor([[2.0], [-1.0]])).tolist() == [[2.0, 4.0], [-1.0, 5.0]]


def test_a_block_that_does_nothing_hands_on_its_input():
    block = Residual(3)
    for each in block.parameters():
        each.data.zero_()
    x = torch.randn(1, 3, 4, 4)
    assert torch.equal(block(x), x)


def test_a_group_makes_one_by_one_first():
    group = Group(2, 3)
    assert group.conv_a.filter.weight.shape == (4, 2, 1, 1)
    assert group.conv.filter.weight.shape == (6, 2, 3, 3)
    assert group(torch.zeros(1, 2, 5, 7)).shape == (1, 3, 5, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_shapes_are_those_of_the_published_files(kind):
    published = {name: shape for name, shape in light_cnn_shapes(*kind).items() if not name.startswith("fc2")}
    assert {name: tuple(each.shape) for name, each in on_paper(*kind).state_dict().items()} == published


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_the_network_written_out(kind):
    shapes = {name: shape for name, shape in light_cnn_shapes(*kind).items() if not name.startswith("fc2")}
    state, net = drawn(shapes), on_paper(*kind)
    net.load_state_dict(state, assign=True)
    grey = torch.rand(128, 128, generator=torch.manual_seed(0))
    with torch.inference_mode():
        row, by_hand = net.eval()(grey[None, None])[0], light_cnn_row(state, grey, *kind)
    assert row.std() > 0.01
    torch.testing.assert_close(row, by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layers", "published"), [(9, 5_556_000), (29, 12_637_000)])
def test_weights_are_as_many_as_the_paper_counts(layers, published):
    # the totals that are published, in thousands; the authors' code for torch has 0.5 to 1.4 % fewer
    assert bytes_of(light_cnn_layers(layers)) / 4 == pytest.approx(published, rel=0.015)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_is_what_the_network_has_and_does(kind, count_layers):
    net = on_paper(*kind)
    macs, weights = count_layers(net, torch.zeros(1, 1, 128, 128, device="meta"))
    assert (macs_of(light_cnn_layers(*kind)), bytes_of(light_cnn_layers(*kind))) == (macs, 4 * weights)


@pytest.mark.parametrize("kind", [(9, 2), (10, 1), (29, 3)])
def test_what_was_never_published_is_refused(kind):
    with pytest.raises(InvalidValueError, match="9 layers, 29 layers or 29 layers of version 2"):
        light_cnn(*kind)


def test_a_narrow_one_has_the_same_names():
    assert set(light_cnn(29, 2, width=8).state_dict()) == set(on_paper(29, 2).state_dict())
    assert light_cnn(9, width=8)(torch.zeros(1, 1, 128, 128)).shape == (1, 32)
