"""Windows, moments and pooling, by hand; options that cannot be; pixels and random weights."""

import numpy as np
import pytest

from lightmeter.encoders.dense import moment, pooled
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build


def numbered(count=1, frames=6, side=4):
    """Clips whose frame t is all of value 10 t + clip."""
    made = np.zeros((count, frames, side, side, 3), np.uint8)
    made += (10 * np.arange(frames, dtype=np.uint8))[None, :, None, None, None]
    return made + np.arange(count, dtype=np.uint8)[:, None, None, None, None]


def test_a_window_is_centred_where_the_clip_allows():
    encoder = build("pixels/patch=2,frames=3,clip=real")
    windows, place = encoder.windows(numbered(4), np.array([0, 1, 3, 5]))
    assert windows[:, :, 0, 0, 0].tolist() == [[0, 10, 20], [1, 11, 21], [22, 32, 42], [33, 43, 53]]
    assert place.tolist() == [0, 1, 1, 2]


def test_a_static_window_is_the_labelled_frame_again_and_again():
    windows, place = build("pixels/patch=2,frames=3").windows(numbered(), np.array([4]))
    assert windows[0, :, 0, 0, 0].tolist() == [40, 40, 40]
    assert place.tolist() == [1]


def test_static_features_are_blind_to_the_other_frames_and_real_ones_are_not():
    clips, other = numbered(), numbered()
    other[:, 3] = 200
    at = np.array([2])
    still, moving = build("pixels/patch=2,frames=3"), build("pixels/patch=2,frames=3,clip=real")
    np.testing.assert_array_equal(still.features(clips, at)["pixels"], still.features(other, at)["pixels"])
    assert not np.array_equal(moving.features(clips, at)["pixels"], moving.features(other, at)["pixels"])


def test_a_moment_of_a_causal_encoder_is_the_first_frame_alone_then_some_each():
    assert [moment(at, 9, 3, causal=True) for at in range(9)] == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert [moment(at, 9, 9, causal=True) for at in range(9)] == list(range(9))
    assert [moment(at, 8, 2, causal=False) for at in range(8)] == [0] * 4 + [1] * 4
    assert moment(0, 1, 1, causal=True) == 0


def test_time_is_pooled_in_four_ways():
    volume = np.arange(12, dtype=np.float32).reshape(2, 3, 1, 2)  # channels, moments, rows, columns
    assert pooled(volume, "mean", 1).tolist() == [[[2, 3]], [[8, 9]]]
    assert pooled(volume, "last", 1).tolist() == [[[4, 5]], [[10, 11]]]
    assert pooled(volume, "at", 1).tolist() == [[[2, 3]], [[8, 9]]]
    assert pooled(volume, "concat", 1)[:, 0, 0].tolist() == [0, 6, 2, 8, 4, 10]


def test_pixels_are_squares_as_channels():
    clip = np.arange(48, dtype=np.uint8).reshape(1, 1, 4, 4, 3)
    made = build("pixels/patch=2").features(clip, np.array([0]))["pixels"][0]
    assert made.shape == (12, 2, 2)
    # red of the four pixels of the square at the top right
    np.testing.assert_allclose(made[:4, 0, 1], np.array([6, 9, 18, 21]) / 255 - 0.5, rtol=1e-6)
    # blue of its top left pixel
    np.testing.assert_allclose(made[8, 0, 1], 8 / 255 - 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("pixels/patch=0", "patch must be 1 or more, got 0"),
        ("pixels/frames=0", "frames must be 1 or more, got 0"),
        ("pixels/clip=sampled", "must be one of static, real, got sampled"),
        ("pixels/pool=max", "must be one of mean, last, at, concat"),
        ("random/maps=[down4,down4]", "must name each map once"),
        ("random/seed=-1", "seed must be 0 or more"),
        ("untrained/of=(pixels)", "must be an encoder that runs a torch network, got pixels/"),
        ("lite-maps/enlarge=3", "enlarge must be 1 or 2"),
        ("lite-maps/size=7", "size must be one of 0, 1, 2"),
        ("wan-transformer/folder=/x,timestep=1001", "timestep must be 0 to 1000"),
        ("dino/folder=/x,stride=0", "stride must be 1 or more"),
        ("videogpt-vqvae/path=/x,downsample=[2,2]", "downsample must be three counts"),
        ("videogpt-prior/path=/x,temperature=-1", "temperature must be 0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(spec, why):
    with pytest.raises(InvalidValueError, match=why):
        build(spec, "dense-encoder")


def test_an_unknown_map_is_named_with_the_nearest():
    pytest.importorskip("torch")
    with pytest.raises(InvalidValueError, match="got 'down5': did you mean 'down"):
        build("random/width=4,maps=[down5]").features(numbered(side=8), np.array([0]))


def test_a_clip_too_short_for_real_motion_is_refused():
    with pytest.raises(InvalidValueError, match=r"needs clips of 7 frames or more, got 6: take clip=static"):
        build("pixels/patch=2,frames=7,clip=real").features(numbered(), np.array([0]))


def test_random_weights_follow_their_seed_alone():
    torch = pytest.importorskip("torch")
    clips, at = numbered(side=16) + np.random.default_rng(0).integers(0, 9, (1, 6, 16, 16, 3), np.uint8), np.array([0])
    first = build("random/width=4,seed=1").features(clips, at)["down4"]
    torch.manual_seed(123)
    from lightmeter.encoders import dense_net

    dense_net._nets.clear()
    np.testing.assert_array_equal(build("random/width=4,seed=1").features(clips, at)["down4"], first)
    assert not np.allclose(build("random/width=4,seed=2").features(clips, at)["down4"], first)
    state = torch.random.get_rng_state()
    build("untrained/of=(random/width=4),seed=5").features(clips, at)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_untrained_codebook_knows_nothing_of_the_trained_one(tmp_path):
    """Two checkpoints of one shape, all weights and codes unlike: redrawn by one seed they are the same."""
    torch = pytest.importorskip("torch")
    from dense_models import videogpt_state

    state = videogpt_state(grid=(2, 4, 4))
    torch.save(state, tmp_path / "a.pt")
    torch.save({name: each * 3 + 1 for name, each in state.items()}, tmp_path / "b.pt")
    clips = np.random.default_rng(0).integers(0, 256, (1, 4, 8, 8, 3), np.uint8)
    options = "downsample=[2,2,2],frames=4,clip=real,maps=[before,after,codes]"
    specs = [f"videogpt-vqvae/path='{tmp_path / name}.pt',{options}" for name in "ab"]
    first, second = (build(f"untrained/of=({spec})").features(clips, np.array([1])) for spec in specs)
    trained = build(specs[0]).features(clips, np.array([1]))
    for name in ("before", "after", "codes"):
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.allclose(first["after"], trained["after"])


def test_redrawn_weights_keep_their_shape_and_lose_what_was_learnt():
    torch = pytest.importorskip("torch")
    from lightmeter.nets.dense_random import redrawn

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    net.bare = torch.nn.Parameter(torch.arange(50.0))
    net[1].running_mean.fill_(7)
    before = {name: each.clone() for name, each in net.state_dict().items()}
    after = redrawn(net, 3).state_dict()
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert float(after["1.running_mean"].abs().sum()) == 0
    assert not torch.equal(after["bare"], before["bare"])
    assert torch.equal(after["bare"].sort().values, before["bare"])
