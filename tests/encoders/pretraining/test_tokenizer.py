"""A tokenizer in use: what it sees, the way there and back, the folder it lies in."""

import numpy as np
import pytest
import torch

from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders.pretraining.tokenizer import Tokenizer, seen_pixels, shown_pixels
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError


@pytest.mark.parametrize("of", ["frames", "changes"])
def test_what_is_seen_can_be_shown(clips, of):
    windows = torch.from_numpy(clips.frames[:2, :4])
    seen = seen_pixels(windows, of)
    assert seen.shape == (2, 3, 4, 16, 16)
    shown = shown_pixels(seen, windows[:, 0], of)
    torch.testing.assert_close(shown, windows.movedim(-1, 1) / 255, rtol=0, atol=1e-6)
    if of == "changes":
        assert not seen[:, :, 0].any(), "the first frame does not differ from itself"
        assert float(seen.min()) < 0 < float(seen.max())
    else:
        assert -0.5 <= float(seen.min()) <= float(seen.max()) <= 0.5


def test_a_still_window_is_one_code_a_place(tokens, clips):
    """Of changes, nothing but zeros is seen: cells away from the border are all the same."""
    still = np.repeat(clips.frames[:3, :1], 4, 1)
    codes = tokens.codes(still)
    assert (codes == codes[:1]).all(), "whatever the frame shows"


def test_codes_do_not_depend_on_the_others(tokens, clips):
    windows = clips.frames[:5, 1:5]
    codes = tokens.codes(windows)
    assert codes.shape == (5, *tokens.grid) == (5, 2, 4, 4)
    np.testing.assert_array_equal(codes[3:4], tokens.codes(windows[3:4]))
    assert codes.max() < tokens.count == 16
    made = tokens.pictures(codes, windows[:, 0])
    assert made.shape == windows.shape
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made[2:3], tokens.pictures(codes[2:3], windows[2:3, 0]))


def test_a_folder_gives_it_back(tokens, clips, tmp_path):
    tokens.save(tmp_path, {"note": "x"})
    again = Tokenizer.load(tmp_path)
    assert again.fingerprint == tokens.fingerprint
    assert (again.of, again.cut, again.size) == (tokens.of, tokens.cut, tokens.size)
    np.testing.assert_array_equal(again.codes(clips.frames[:2, :4]), tokens.codes(clips.frames[:2, :4]))
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, arrays, {**about, "of": "frames"})
    assert Tokenizer.load(tmp_path).fingerprint != tokens.fingerprint


@pytest.mark.parametrize("change", [
    {"kind": "future-codes"}, {"plan": None}, {"of": "noise"}, {"frames": 0}, {"plan": {"hiddens": 3}},
    {"plan": {"hiddens": 6, "layers": 1, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 1, "downsample": [2, 4, 3], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 1, "downsample": 4, "dim": 4, "codes": 16}},
    {"plan": {"hiddens": "8", "layers": 1, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": True, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 2, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 10**12, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 10**30, "layers": 1, "downsample": [2, 4, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 1, "downsample": [2, 4, 1 << 4000], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 1, "downsample": [2, 4], "dim": 4, "codes": 16}},
    {"plan": {"hiddens": 8, "layers": 1, "downsample": [2, 4, 4], "dim": 4, "codes": -1}},
    {"of": ["changes"]}, {"frames": 3}, {"height": 10**18}, {"every": True},
])  # fmt: skip
def test_a_broken_folder_is_refused(made, tmp_path, change):
    arrays, about = load_model(made)
    save_model(tmp_path, arrays, {**about, **change})
    with pytest.raises(RejectedFileError):
        Tokenizer.load(tmp_path)


def test_what_does_not_fit(tokens, clips, tmp_path):
    with pytest.raises(MissingAssetError):
        Tokenizer.load(tmp_path)
    with pytest.raises(InvalidValueError, match="windows"):
        tokens.codes(clips.frames[:2])
