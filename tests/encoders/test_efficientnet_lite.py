"""The torch-free graph against torch, against hand-worked pictures and against what it says it costs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.assets.checkpoint import read_checkpoint
from lightmeter.assets.finding import find
from lightmeter.encoders.efficientnet_lite import EfficientNetLite, centre_box, lite_graph, softmax, squeezed
from lightmeter.errors import InvalidValueError, SpecError
from lightmeter.media.images import read_image
from lightmeter.nets.lite_plan import lite_plan
from lightmeter.parts import build
from lightmeter.types import Image


@pytest.mark.parametrize("size", [0, 1, 2])
def test_rows_are_those_of_the_torch_module(size, make_picture):
    torch = pytest.importorskip("torch")
    from lightmeter.nets.efficientnet_lite import load_efficientnet_lite

    encoder, image = EfficientNetLite(size=size), make_picture(size, 280, 330)
    net = load_efficientnet_lite(find(f"efficientnet-lite{size}"), size)
    pixels = torch.from_numpy(encoder._square(image).astype(np.float32).transpose(2, 0, 1)[None])
    with torch.inference_mode():
        features, scores = net.features((pixels - 127) / 128).numpy(), net((pixels - 127) / 128).numpy()
    ours = encoder.encode([image])
    np.testing.assert_allclose(ours, features, atol=1e-4)
    np.testing.assert_allclose(encoder.scores(ours), scores, atol=1e-3)


@pytest.mark.parametrize(("size", "side"), [(0, 224), (1, 240), (2, 260)])
def test_macs_are_what_the_graph_does(size, side, count_macs):
    graph = lite_graph(read_checkpoint(find(f"efficientnet-lite{size}")), lite_plan(size))
    assert EfficientNetLite(size=size).macs == count_macs(graph, n=1)
    assert lite_plan(size).side == side


@pytest.mark.parametrize(("width", "height"), [(512, 256), (1280, 854), (640, 427), (3, 4000), (1, 1)])
def test_the_centre_is_seven_eighths_of_the_short_side(width, height):
    plan = lite_plan(0)
    left, top, right, bottom = centre_box(width, height, plan)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    assert min(right - left, bottom - top) == pytest.approx(min(width, height) * 7 / 8, rel=0.01)
    most = max(width, height) / 256 + 1e-9  # a pixel of the resized picture
    assert abs((left + right) / 2 - width / 2) <= most
    assert abs((top + bottom) / 2 - height / 2) <= most


def test_pictures_shrink_as_pillow_shrinks_the_whole():
    """Cutting out the part that the filter sees changes nothing."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 300, 3), np.uint8)
    for box in ((100.3, 11.0, 171.5, 82.2), (0, 0, 300, 90), (229.0, 0, 300, 90)):
        whole = Pillow.fromarray(pixels).resize((24, 24), Pillow.Resampling.BICUBIC, box=box)
        np.testing.assert_array_equal(squeezed(pixels, box, 24), np.asarray(whole))


def test_a_scaled_decode_sees_what_the_full_one_sees(tmp_path):
    """The reason for bicubic: by areas, one photograph in ten changed its best class."""
    data = Path(pytest.importorskip("sklearn").__file__).parent / "datasets" / "images"
    encoder = EfficientNetLite()
    for number, file in enumerate(("china.jpg", "flower.jpg")):
        path = tmp_path / f"{number}.jpg"
        with Pillow.open(data / file) as photo:
            photo.resize((1280, 854), Pillow.Resampling.BICUBIC).save(path, quality=90)
        full, small = (read_image(path, short_side=side).value for side in (None, encoder.short_side))
        assert small.pixels.shape[0] == 427
        features = encoder.encode([full, small])
        assert len(set(encoder.scores(features).argmax(axis=1))) == 1
        assert features[0] @ features[1] / np.prod(np.linalg.norm(features, axis=1)) > 0.99


def test_the_smallest_decode_is_enough(make_picture):
    big = make_picture(5, 1024, 1280)
    encoder = EfficientNetLite()
    small = np.asarray(Pillow.fromarray(big.pixels).resize((400, 320), Pillow.Resampling.BOX))
    assert encoder.short_side == 320
    a, b = encoder.encode([big, Image(small)])
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.98


def test_probabilities_are_a_softmax_of_named_classes(make_picture):
    encoder = EfficientNetLite()
    shares = encoder.probabilities(encoder.encode([make_picture(1), make_picture(2)]))
    assert shares.shape == (2, len(encoder.labels())) == (2, 1000)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    assert encoder.probabilities(np.zeros((0, 1280), np.float32)).shape == (0, 1000)
    np.testing.assert_allclose(softmax(np.log([[1.0, 2.0, 5.0]]) + 900), [[0.125, 0.25, 0.625]], rtol=1e-6)


@pytest.mark.parametrize(
    ("file", "named"), [("chelsea.png", "cat"), ("coffee.png", "espresso"), ("motorcycle_left.png", "moped")]
)
def test_names_what_is_in_a_photograph(file, named):
    folder = Path(pytest.importorskip("skimage").__file__).parent / "data"
    encoder = EfficientNetLite()
    image = read_image(folder / file).value
    shares = encoder.probabilities(encoder.encode([image]))[0]
    best = [encoder.labels()[each] for each in np.argsort(-shares)[:3]]
    assert any(named in each for each in best), best


def test_wrong_options_are_refused():
    with pytest.raises(InvalidValueError, match="size must be one of 0, 1, 2, got 5"):
        EfficientNetLite(size=5)
    with pytest.raises(SpecError, match="precision must be one of fp32"):
        build("efficientnet-lite/precision=int3")
    with pytest.raises(InvalidValueError, match="view must be centre or whole"):
        EfficientNetLite(view="half")
    with pytest.raises(InvalidValueError, match=r"features must be \[N, 1280\]"):
        EfficientNetLite().probabilities(np.zeros((2, 5)))
    with pytest.raises(InvalidValueError, match="at least 1 x 1"):
        EfficientNetLite().encode([Image(np.zeros((0, 5, 3), np.uint8))])
