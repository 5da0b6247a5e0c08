"""VGGFace2's two networks against themselves written out, and their stages against transformers' ResNet."""

import pytest

torch = pytest.importorskip("torch")

from face_nets_reference import dag_row, dag_shapes, drawn  # noqa: E402

from lightmeter.nets.face_plans import bytes_of, macs_of, vggface2_layers  # noqa: E402
from lightmeter.nets.vggface2 import Bottleneck, VggFace2, dag_names  # noqa: E402


def on_paper(*, squeeze):
    with torch.device("meta"):
        return VggFace2(squeeze=squeeze)


def renamed(state, *, squeeze):
    names = dag_names(squeeze=squeeze)
    return {names[name]: each for name, each in state.items() if not name.startswith("classifier")}


@pytest.mark.parametrize("squeeze", [False, True])
def test_every_published_name_has_its_place_and_shape(squeeze):
    net, published = on_paper(squeeze=squeeze).state_dict(), renamed(dag_shapes(squeeze=squeeze), squeeze=squeeze)
    assert {name: tuple(each.shape) for name, each in net.items()} == published
    assert len(dag_names(squeeze=squeeze)) == len(set(dag_names(squeeze=squeeze).values()))


@pytest.mark.parametrize("squeeze", [False, True])
def test_rows_are_those_of_the_network_written_out(squeeze):
    # in float64: noise of float32 grows with depth where weights are drawn
    state = {name: each.double() for name, each in drawn(dag_shapes(squeeze=squeeze)).items()}
    net = on_paper(squeeze=squeeze)
    net.load_state_dict(renamed(state, squeeze=squeeze), assign=True)
    pixels = torch.rand(3, 224, 224, generator=torch.manual_seed(0)).double() * 255 - 110
    with torch.inference_mode():
        row, by_hand = net.eval()(pixels[None])[0], dag_row(state, pixels, squeeze=squeeze)
    assert row.std() > 0.01
    torch.testing.assert_close(row, by_hand, rtol=1e-9, atol=1e-9)


def test_squeeze_and_excitation_by_hand():
    block = Bottleneck(16, 4, stride=1, squeeze=True, projects=False).eval()
    for each in block.parameters():
        each.data.zero_()
    for norm in (block.bn1, block.bn2):
        norm.weight.data.fill_(1)
    block.bn3.bias.data.copy_(torch.arange(16.0))  # channel c is c everywhere, whatever goes in
    block.conv4.weight.data.fill_(0.01)  # the mean of c, 7.5 * 16 * 0.01 = 1.2
    block.conv5.weight.data[:8] = 1.0
    block.conv5.bias.data[8:] = -1.0
    low, high = 1 / (1 + torch.exp(torch.tensor(-1.2))), 1 / (1 + torch.exp(torch.tensor(1.0)))
    wanted = torch.cat([torch.arange(8.0) * low, torch.arange(8.0, 16.0) * high]) + 1
    with torch.inference_mode():
        made = block(torch.ones(1, 16, 3, 3))[0, :, 1, 2]
    torch.testing.assert_close(made, wanted)


def test_a_bottleneck_strides_in_its_first_convolution():
    block = Bottleneck(8, 4, stride=2, squeeze=False, projects=True)
    assert (block.conv1.stride, block.conv2.stride, block.downsample[0].stride) == ((2, 2), (1, 1), (2, 2))


def test_stages_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=[3, 4, 6, 3],
                                       layer_type="bottleneck", downsample_in_bottleneck=True)  # fmt: skip
    theirs = transformers.ResNetModel(config).eval()
    state = drawn({name: tuple(each.shape) for name, each in theirs.state_dict().items()})
    for name, each in state.items():
        if name.endswith(("normalization.weight", "running_var")):
            each.copy_(each.abs() + 0.5)
    theirs.load_state_dict(state)
    # theirs pads the first pooling as torchvision does, ours rounds up as Caffe does; all else is alike
    theirs.embedder.pooler = torch.nn.MaxPool2d(3, 2, ceil_mode=True)
    ours = VggFace2(width=8).eval()
    ours.load_state_dict(dict(zip(in_order(ours), in_order(theirs).values(), strict=True)))
    pixels = torch.rand(1, 3, 224, 224, generator=torch.manual_seed(0)) - 0.5
    with torch.inference_mode():
        wanted, row = theirs(pixels).pooler_output[0, :, 0, 0], ours(pixels)[0]
    assert wanted.std() > 0.01
    torch.testing.assert_close(row, wanted, rtol=1e-4, atol=1e-4)


def in_order(net):
    """name -> tensor, block by block: shortcuts last, as ours has them; theirs puts them first."""

    def key(name):
        parts = name.replace("stages.", "layer").replace("layers.", "").split(".")
        return "shortcut" in parts or "downsample" in parts

    blocks = {}
    for name, each in net.state_dict().items():
        place = name.partition(".layer.")[0] if ".layer." in name else name.partition(".shortcut.")[0]
        place = ".".join(name.split(".")[:2]) if name.startswith("layer") else place if "stages" in name else "stem"
        blocks.setdefault(place, []).append((key(name), name, each))
    return {name: each for block in blocks.values() for _, name, each in sorted(block, key=lambda found: found[0])}


@pytest.mark.parametrize("squeeze", [False, True])
def test_the_plan_is_what_the_network_has_and_does(squeeze, count_layers):
    macs, weights = count_layers(on_paper(squeeze=squeeze), torch.zeros(1, 3, 224, 224, device="meta"))
    layers = vggface2_layers(squeeze=squeeze)
    assert (macs_of(layers), bytes_of(layers)) == (macs, 4 * weights)


def test_numbers_from_first_principles():
    # He et al. 2016, table 1: 3.8 G multiply-adds for 50 layers; with the stride in the 3 x 3, as elsewhere, it is 4.1
    assert macs_of(vggface2_layers(squeeze=False)) == pytest.approx(3.8e9, rel=0.02)
    trained = sum(each.numel() for each in on_paper(squeeze=False).parameters())
    assert trained == 25_557_032 - 1000 * 2049  # what is known of ResNet-50, less its 1,000 classes
    # Hu et al. 2018, section 4: squeeze-and-excitation adds 2 / 16 of the sum of N C² over stages; here biases, too
    added = sum(each.numel() for each in on_paper(squeeze=True).parameters()) - trained
    products = 2 * sum(n * c * c for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048))) // 16
    assert added == products + sum(n * (c + c // 16) for n, c in ((3, 256), (4, 512), (6, 1024), (3, 2048)))
