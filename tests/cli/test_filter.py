"""`lightmeter filter` as a user types it: what it draws, what it says, what it refuses, what it leaves behind."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from media_folder import picture, sound
from PIL import Image as Pillow
from worker_killer import Killer

from lightmeter.cli.main import cli
from lightmeter.engines.inline import Inline
from lightmeter.engines.limits import Limits
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError, UnknownNameError
from lightmeter.library import filtering, looking
from lightmeter.library.filtering import FilterAsk, filtered
from lightmeter.nets.convolution import convolve, pooled, relu
from lightmeter.parts import build


def run(*args):
    """The command in this process: exit code, stdout, stderr; known errors are raised, as `main` turns them into 1."""
    done = CliRunner().invoke(cli, ["filter", *(str(each) for each in args)], catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def inline(monkeypatch):
    """The stage in this process: a worker's start costs half a second."""
    monkeypatch.setattr(looking, "Local", lambda workers: Inline())


@pytest.fixture
def step(tmp_path):
    """Black, and white from the fourth column on."""
    pixels = np.zeros((5, 6), np.uint8)
    pixels[:, 3:] = 255
    Pillow.fromarray(pixels).save(tmp_path / "step.png")
    return tmp_path / "step.png"


@pytest.fixture
def photo(tmp_path):
    """Noise in colour, 40 x 31 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (31, 40, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def pixels_of(path):
    with Pillow.open(path) as opened:
        assert opened.format == "PNG"
        return np.array(opened)


def grey(path):
    return pixels_of(path) @ np.array([0.299, 0.587, 0.114]) / 255


# -- what it draws ----------------------------------------------------------------------------------------------------


def test_a_step_grows_brighter_to_the_right(step, tmp_path):
    code, out, err = run("sobel/axis=x", step, tmp_path / "out.png")  # through a real worker
    assert (code, out) == (0, "")
    assert pixels_of(tmp_path / "out.png")[2].tolist() == [128, 128, 255, 255, 128, 128]
    assert "6 x 5 pixels of sobel/axis=x" in err
    assert err.splitlines()[0] == f"sobel/axis=x over {step} …", "said before it is done: large pictures take a while"
    assert "response = (level - 128) * 0.0315, of a picture from 0 (black) to 1 (white)" in err, "4 / 127"
    assert "clipped" not in err
    assert "CPU" in err, "no answer without its price"
    assert sorted(os.listdir(tmp_path)) == ["out.png", "step.png"], "nothing is left beside it"


def test_correlation_turns_the_kernel(inline, step, tmp_path):
    run("sobel/axis=x", step, tmp_path / "out.png", "--correlate")
    assert pixels_of(tmp_path / "out.png")[2].tolist() == [128, 128, 1, 1, 128, 128]


def test_json_says_how_to_read_the_levels(inline, photo, tmp_path):
    code, out, err = run("gabor/sigma=2", photo, tmp_path / "o.png", "--stride", 2, "--padding", "wrap", "--json")
    assert (code, err) == (0, "")
    [told] = [json.loads(line) for line in out.splitlines()]
    assert told["schema"] == "lightmeter.filter/1"
    assert told["filter"] == build("gabor/sigma=2", "filter").spec
    assert (told["width"], told["height"], told["out_width"], told["out_height"]) == (40, 31, 20, 16)
    assert (told["stride"], told["padding"], told["correlate"], told["pool"]) == (2, "wrap", False, None)
    assert "pool_size" not in told, "it is for --pool"
    kernel = build("gabor/sigma=2", "filter").kernel
    response = convolve(grey(photo), kernel, stride=2, padding="wrap")
    assert (told["least"], told["greatest"]) == pytest.approx((response.min(), response.max()), abs=1e-6)
    drawn = (pixels_of(tmp_path / "o.png").astype(float) - told["zero_level"]) * told["unit_per_level"]
    strong = np.sort(np.abs(response), axis=None)[-1 - response.size // 100]
    assert told["unit_per_level"] == pytest.approx(strong / 127, rel=1e-4)
    assert told["clipped"] == 3, "of 320"
    np.testing.assert_allclose(drawn, response.clip(-strong, strong), atol=0.51 * told["unit_per_level"])
    assert told["cost"]["cpu_s"] > 0
    assert told["cost"]["macs"] > 0


def test_the_block_is_convolution_detector_pooling(inline, photo, tmp_path):
    for how in ("max", "average"):
        done = run("laplacian", photo, tmp_path / "o.png", "--relu", "--pool", how, "--pool-size", 3, "--json")
        told = json.loads(done[1])
        assert (told["zero_level"], told["pool_size"], told["relu"]) == (0, 3, True)
        response = pooled(relu(convolve(grey(photo), build("laplacian", "filter").kernel)), 3, how=how)
        drawn = pixels_of(tmp_path / "o.png")
        assert drawn.shape == (10, 13)
        strong = np.sort(response, axis=None)[-1 - response.size // 100]
        np.testing.assert_allclose(
            drawn * told["unit_per_level"], response.clip(max=strong), atol=0.51 * told["unit_per_level"]
        )
        assert drawn.max() == 255
        assert told["clipped"] == (response > strong).sum() == 1


def test_colours_are_filtered_each_alone(inline, photo, tmp_path):
    code, _, _ = run("gaussian/sigma=1.5", photo, tmp_path / "o.png", "--colour", "--padding", "zero", "-q")
    assert code == 0
    expected = [
        convolve(pixels_of(photo)[..., at], build("gaussian/sigma=1.5", "filter").kernel, padding="zero")
        for at in range(3)
    ]
    np.testing.assert_allclose(pixels_of(tmp_path / "o.png"), np.moveaxis(expected, 0, 2), atol=0.51)


@pytest.mark.parametrize("padding", ["none", "zero", "edge", "reflect", "symmetric", "wrap"])
def test_every_padding_is_done(inline, photo, padding):
    ask = FilterAsk("laplacian", padding=padding)
    made = filtered(photo, ask)
    response = convolve(grey(photo), build("laplacian", "filter").kernel, padding=padding)
    assert made.pixels.shape == response.shape
    strong = 127 * made.unit_per_level
    drawn = (made.pixels - 128.0) * made.unit_per_level
    np.testing.assert_allclose(drawn, response.clip(-strong, strong), atol=0.51 * made.unit_per_level)


@pytest.mark.parametrize("options", [[], ["--relu"], ["--colour"]])
def test_a_dark_border_does_not_leave_the_rest_grey(inline, tmp_path, options):
    """Scaled by the strongest response, this picture's faint waves were one or two levels from mid-grey."""
    waves = 140 + 6 * np.sin(np.arange(600) / 4)[None] * np.sin(np.arange(400) / 4)[:, None]
    waves[:2], waves[-2:] = 0, 0
    Pillow.fromarray(waves.astype(np.uint8)).convert("RGB").save(tmp_path / "bordered.png")
    _, out, err = run("laplacian", tmp_path / "bordered.png", tmp_path / "o.png", "--json", *options)
    told = json.loads(out)
    drawn = pixels_of(tmp_path / "o.png")[10:-10].astype(float)
    assert drawn.std() > 25
    assert told["clipped"] == 1200 if "--relu" in options else told["clipped"] == 2400
    assert told["greatest"] > 10 * (255 - told["zero_level"]) * told["unit_per_level"], "all is told, though not drawn"
    assert err == ""


def test_clipped_pixels_are_named(inline, photo, tmp_path):
    _, _, err = run("sobel", photo, tmp_path / "o.png")
    assert "12 pixels are clipped: responses go from -" in err, "a hundredth of 1,240"


@pytest.mark.parametrize("spec", ["sobel", "laplacian", "difference-of-gaussians", "gabor"])
def test_rounding_in_a_flat_picture_is_not_blown_up(inline, tmp_path, spec):
    Pillow.fromarray(np.full((30, 30, 3), 137, np.uint8)).save(tmp_path / "flat.png")
    made = filtered(tmp_path / "flat.png", FilterAsk(spec))
    assert (made.pixels == 128).all()


def test_a_density_above_one_is_not_clipped(inline, tmp_path):
    Pillow.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "white.png")
    made = filtered(tmp_path / "white.png", FilterAsk("gaussian/sigma=0.3,normalised=false"))
    assert made.greatest == pytest.approx(1.7958397643, abs=1e-6)
    assert (made.pixels == 255).all()
    assert made.unit_per_level == pytest.approx(made.greatest / 255)


def test_large_pictures_come_in_tiles(inline, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (400, 1800), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "large.png")
    made = filtered(tmp_path / "large.png", FilterAsk("gaussian/sigma=2"))
    np.testing.assert_allclose(made.pixels, convolve(pixels, build("gaussian/sigma=2", "filter").kernel), atol=0.51)


# -- what it says -----------------------------------------------------------------------------------------------------


def test_options_that_change_nothing_are_named(inline, photo, tmp_path):
    _, _, err = run("gaussian", photo, tmp_path / "o.png", "--correlate", "--relu")
    assert "correlation and convolution are one" in err
    assert "ReLU changes nothing" in err
    _, _, err = run("sobel", photo, tmp_path / "o.png", "--correlate", "--relu")
    assert "are one" not in err
    assert "nothing" not in err


def test_quiet_is_silent_and_an_older_file_is_replaced(inline, photo, tmp_path):
    (tmp_path / "o.png").write_bytes(b"older")
    assert run("sobel", photo, tmp_path / "o.png", "--quiet") == (0, "", "")
    assert pixels_of(tmp_path / "o.png").shape == (31, 40)


def test_a_damaged_picture_is_used_and_named(inline, tmp_path):
    whole = picture(tmp_path / "w.jpg", "red", size=(200, 150)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    code, _, err = run("sobel", tmp_path / "cut.jpg", tmp_path / "o.png")
    assert code == 0
    assert "cut.jpg: decoded as far as possible" in err


# -- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["same", "symlink", "hardlink", "dotted"])
def test_the_picture_itself_is_not_overwritten(photo, tmp_path, way):
    before = photo.read_bytes()
    out = tmp_path / "other.png"
    if way == "symlink":
        out.symlink_to(photo)
    elif way == "hardlink":
        out.hardlink_to(photo)
    else:
        out = photo if way == "same" else tmp_path / "x" / ".." / "photo.png"
        (tmp_path / "x").mkdir()
    with pytest.raises(InvalidValueError, match="OUT must not be the picture itself"):
        run("sobel", photo, out)
    assert photo.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "missing"), (b"", "empty"), (b"\x89PNG\r\n\x1a\nnonsense", "unreadable"), ("sound", "not-a-picture")],
)
def test_what_is_no_picture_is_refused_and_nothing_written(inline, tmp_path, content, code):
    path = tmp_path / "x.png"
    if content == "sound":
        sound(path, 440)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(RejectedFileError) as caught:
        run("sobel", path, tmp_path / "o.png")
    assert caught.value.code == code
    assert caught.value.exit_code == 1
    assert not [each for each in os.listdir(tmp_path) if each != "x.png"]


def test_a_picture_smaller_than_kernel_or_pool_is_refused(inline, step, tmp_path):
    with pytest.raises(RejectedFileError, match="too-small: a window of 9 must fit into 5"):
        run("gaussian", step, tmp_path / "o.png", "--padding", "none")
    with pytest.raises(RejectedFileError, match="too-small: a window of 6 must fit into 5"):
        run("sobel", step, tmp_path / "o.png", "--pool", "max", "--pool-size", 6)
    assert not (tmp_path / "o.png").exists()


@pytest.mark.parametrize("reason", ["signal", "timeout", "memory"])
def test_what_kills_the_worker_becomes_a_refusal(monkeypatch, photo, reason):
    monkeypatch.setattr(filtering, "_LIMITS", Limits(silent_s=0.5, memory_bytes=500_000_000, attempts=1))
    monkeypatch.setattr(filtering, "FilterStage", lambda ask: Killer(reason))
    with pytest.raises(RejectedFileError) as caught:
        filtered(photo, FilterAsk("sobel"))
    assert caught.value.code == reason


def test_wrong_use(photo, tmp_path):
    out = tmp_path / "o.png"
    assert run("sobel", photo)[0] == 2
    assert run("sobel", photo, out, "--stride", 0)[0] == 2
    assert run("sobel", photo, out, "--padding", "mirror")[0] == 2
    assert run("sobel", photo, tmp_path)[0] == 2
    code, _, err = run("sobel", photo, out, "--pool-size", 3)
    assert code == 2
    assert "--pool-size is for --pool" in err
    for spec, error, says in (
        ("sobbel", UnknownNameError, "did you mean 'sobel'"),
        ("gaussian/sigma=-1", LightmeterError, "sigma must be"),
        ("color-histogram", UnknownNameError, "no filter called"),
    ):
        with pytest.raises(error, match=says):
            run(spec, photo, out)
    with pytest.raises(InvalidValueError, match=r"OUT must end in \.png, got 'o\.jpg'"):
        run("sobel", photo, tmp_path / "o.jpg")
    with pytest.raises(InvalidValueError, match=r"OUT must lie in a folder that is there, got '.*o\.png': make '.*b'"):
        run("sobel", photo, tmp_path / "a" / "b" / "o.png")
    assert sorted(os.listdir(tmp_path)) == ["photo.png"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"stride": 0}, "stride must be 1 or more"),
        ({"padding": "mirror"}, "padding must be one of none, zero"),
        ({"pool": "mean"}, "pool must be one of max, average or None, got 'mean'"),
        ({"pool_size": 0}, "pool_size must be 1 or more"),
    ],
)
def test_bad_asks_say_what_must_be(asked, says):
    with pytest.raises(InvalidValueError, match=says):
        FilterAsk("sobel", **asked)


def test_a_write_that_fails_leaves_the_older_file(inline, photo, tmp_path, monkeypatch):
    (tmp_path / "o.png").write_bytes(b"older")

    def full(self, file, **options):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pillow.Image, "save", full)
    with pytest.raises(OSError):
        run("sobel", photo, tmp_path / "o.png")
    assert (tmp_path / "o.png").read_bytes() == b"older"
    assert sorted(os.listdir(tmp_path)) == ["o.png", "photo.png"]


def test_no_torch_is_needed(inline, photo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now fails
    assert run("gabor", photo, tmp_path / "o.png")[0] == 0
