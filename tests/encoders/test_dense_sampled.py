"""Drawn futures as clips of any encoder: what is drawn, what it costs, what is refused."""

import numpy as np
import pytest
from dense_models import count_macs, drawing_model

from lightmeter.encoders.pretraining.sampling import load_sampler
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
AT = np.array([2, 0])


@pytest.fixture(scope="module", params=["future", "prior"])
def model(request, tmp_path_factory):
    return drawing_model(tmp_path_factory.mktemp(request.param), request.param, side=16)


def clips():
    return np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)


def test_the_labelled_frame_comes_first_and_the_rest_is_what_the_predictor_draws(model):
    encoder = build(f"sampled-future/of=(pixels/patch=4,frames=3,clip=real,pool=concat),model='{model}',seed=5")
    windows, place = encoder.windows(clips(), AT)
    assert windows.shape == (2, 3, 16, 16, 3)
    assert place.tolist() == [0, 0]
    for row, at in enumerate(AT):
        frame = clips()[row, at]
        drawn = load_sampler(model).clips(frame[None], seed=5)[0]
        np.testing.assert_array_equal(windows[row], drawn[:3])
        pixels = build("pixels/patch=4,frames=3,clip=real,pool=concat").features(drawn[None], np.array([0]))["pixels"]
        np.testing.assert_array_equal(encoder.features(clips(), AT)["pixels"][row], pixels[0])


def test_a_future_follows_the_frame_and_the_seed_alone(model):
    def last(seed=0, batch=None, **more):
        options = "".join(f",{name}={each}" for name, each in more.items())
        spec = f"sampled-future/of=(pixels/patch=4,frames=4,clip=real,pool=last),model='{model}',seed={seed}{options}"
        return build(spec).features(clips() if batch is None else batch, AT)["pixels"]

    other = clips()
    other[:, 1] = 0  # no labelled frame
    np.testing.assert_array_equal(last(), last(batch=other))
    assert not np.array_equal(last(), last(seed=1))
    np.testing.assert_array_equal(last(temperature=0.0, seed=0)[0], last(temperature=0.0, seed=0)[0])
    still = build("pixels/patch=4,frames=4").features(clips(), AT)["pixels"]
    assert not np.allclose(last(), still), "the future is looked at, not the frame again"


def test_drawing_has_its_price(model, monkeypatch):
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # under which operations are not seen one by one
    encoder = build(f"sampled-future/of=(random/width=8,frames=2,clip=real),model='{model}'")
    encoder.features(clips(), AT)  # all is read
    assert encoder.macs(16, 16) == count_macs(lambda: encoder.features(clips()[:1], AT[:1]))
    assert encoder.macs(16, 16) > encoder.of.macs(16, 16)


@pytest.mark.parametrize(
    "of", ["pixels/frames=4", "pixels/frames=1,clip=real", "untrained/of=(random/width=8,frames=2)"]
)
def test_what_would_not_look_at_the_future_is_refused(of):
    with pytest.raises(InvalidValueError, match="of must look at 2 frames or more with clip=real, got"):
        build(f"sampled-future/of=({of}),model=/x")


def test_untrained_networks_look_too(model):
    of = "untrained/of=(random/width=8,frames=2,clip=real,pool=last),seed=3"
    encoder = build(f"sampled-future/of=({of}),model='{model}'")
    assert encoder.features(clips(), AT)["down4"].shape == (2, 16, 4, 4)
    with pytest.raises(InvalidValueError, match="of must look at"):
        build(f"sampled-future/of=({encoder.spec}),model='{model}'")


def test_what_cannot_be_drawn_is_refused(model, tmp_path):
    real = "pixels/patch=4,frames=2,clip=real"
    for option in ("seed=-1", "steps=0", "temperature=-1.0"):
        with pytest.raises(InvalidValueError, match=option.partition("=")[0]):
            build(f"sampled-future/of=({real}),model='{model}',{option}")
    with pytest.raises(InvalidValueError, match="no more than the 4 frames that are drawn, got 5"):
        build(f"sampled-future/of=(pixels/frames=5,clip=real),model='{model}'").features(clips(), AT)
    with pytest.raises(RejectedFileError, match="must hold a predictor"):
        build(f"sampled-future/of=({real}),model='{model / 'tokens'}'").features(clips(), AT)
    if "prior" in str(model):
        with pytest.raises(InvalidValueError, match="steps must be left out for"):
            build(f"sampled-future/of=({real}),model='{model}',steps=4").features(clips(), AT)
