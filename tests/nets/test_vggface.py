"""VGGFace against itself written out; narrow, because the real one has 138 M weights."""

import pytest

torch = pytest.importorskip("torch")

from face_nets_reference import drawn, vgg_row, vgg_shapes  # noqa: E402

from lightmeter.nets.face_plans import bytes_of, macs_of, vggface_layers  # noqa: E402
from lightmeter.nets.vggface import VggFace  # noqa: E402


def shapes_of(width=1):
    return {name: shape for name, shape in vgg_shapes(width).items() if not name.startswith("fc8")}


def on_paper(width=1):
    with torch.device("meta"):
        return VggFace(width)


@pytest.mark.parametrize("width", [1, 16])
def test_names_and_shapes_are_those_of_the_published_file(width):
    assert {name: tuple(each.shape) for name, each in on_paper(width).state_dict().items()} == shapes_of(width)


def test_rows_are_those_of_the_network_written_out():
    state, net = drawn(shapes_of(16)), on_paper(16)
    net.load_state_dict(state, assign=True)
    pixels = torch.rand(3, 224, 224, generator=torch.manual_seed(0)) * 255 - 110
    with torch.inference_mode():
        row, by_hand = net.eval()(pixels[None])[0], vgg_row(state, pixels)
    assert 0 < (row > 0).float().mean() < 1, "fc7 is what its ReLU leaves"
    torch.testing.assert_close(row, by_hand, rtol=1e-4, atol=1e-3)


def test_the_plan_is_what_the_network_has_and_does(count_layers):
    macs, weights = count_layers(on_paper(), torch.zeros(1, 3, 224, 224, device="meta"))
    assert (macs_of(vggface_layers()), bytes_of(vggface_layers())) == (macs, 4 * weights)


def test_numbers_from_first_principles():
    # Simonyan & Zisserman 2015, table 2: VGG-16 has 138 M weights with 1,000 classes of 4,096 + 1 each
    assert bytes_of(vggface_layers()) / 4 + 1000 * 4097 == 138_357_544
    # a stage's convolutions see side² places: 224, 112, 56, 28, 14
    convs = 9 * (
        224**2 * (3 * 64 + 64 * 64)
        + 112**2 * (64 * 128 + 128 * 128)
        + 56**2 * (128 * 256 + 2 * 256 * 256)
        + 28**2 * (256 * 512 + 2 * 512 * 512)
        + 14**2 * 3 * 512 * 512
    )
    assert macs_of(vggface_layers()) == convs + 512 * 7 * 7 * 4096 + 4096 * 4096
    assert macs_of(vggface_layers()) == pytest.approx(15.5e9, rel=0.01)


@pytest.mark.slow
def test_the_whole_of_it_through_its_encoder(tmp_path):
    """138 M weights, saved and read: what the narrow one stands for elsewhere."""
    from lightmeter.encoders import face_net
    from lightmeter.encoders.vggface import VggFaceEncoder
    from lightmeter.types import Image

    torch.save(drawn(vgg_shapes()), tmp_path / "vgg_face_dag.pth")
    encoder = VggFaceEncoder(tmp_path / "vgg_face_dag.pth")
    images = [Image(each) for each in torch.randint(0, 256, (2, 50, 60, 3), dtype=torch.uint8).numpy()]
    rows = encoder.encode(images)
    face_net._nets.clear()
    assert rows.shape == (2, 4096)
    assert (rows[0] != rows[1]).mean() > 0.3
