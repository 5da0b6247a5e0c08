"""Pictures of every mode and format come out upright, in sRGB, on white, and no larger than asked."""

import io
import os

import numpy as np
import pytest
from hostile import exif_with, picture, wav
from media_makers import numbered_frame, package_folder
from PIL import Image, ImageCms

from lightmeter.errors import RejectedFileError
from lightmeter.media import MediaLimits, read_image
from lightmeter.media.images import upright


def encoded(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pixels_of(data: bytes, **options) -> np.ndarray:
    return read_image(data, **options).value.pixels


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_lossless_formats_keep_their_pixels(form):
    frame = np.kron(
        np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8), np.ones((8, 8, 1), np.uint8)
    )
    options = {"lossless": True} if form == "WEBP" else {}
    reading = read_image(encoded(Image.fromarray(frame), form, **options))
    np.testing.assert_array_equal(reading.value.pixels, frame)
    assert reading.state == "ok"
    assert reading.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(form, orientation):
    true = np.zeros((32, 48, 3), np.uint8)
    true[:16, :24], true[:16, 24:], true[16:, :24] = (250, 10, 10), (10, 250, 10), (10, 10, 250)
    back = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(upright(true, back)), form, exif=exif)
    assert np.abs(pixels_of(data).astype(int) - true).mean() < 6


def test_orientations_by_hand():
    a = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)  # 0 1 2 / 3 4 5
    flat = {n: upright(a, n)[..., 0].tolist() for n in range(1, 9)}
    assert flat[2] == [[2, 1, 0], [5, 4, 3]]
    assert flat[3] == [[5, 4, 3], [2, 1, 0]]
    assert flat[6] == [[3, 0], [4, 1], [5, 2]]
    assert flat[8] == [[2, 5], [1, 4], [0, 3]]


@pytest.mark.parametrize(("short_side", "got"), [(None, 400), (400, 400), (200, 200), (199, 200), (100, 100), (10, 10)])
def test_a_jpeg_is_scaled_while_it_is_decoded(short_side, got):
    assert min(pixels_of(picture("JPEG", (600, 400)), short_side=short_side).shape[:2]) == got


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_a_scaled_decode_is_never_smaller_than_asked(form):
    for short_side in (50, 60, 77, 128, 400, 1000):
        side = min(pixels_of(picture(form, (300, 200)), short_side=short_side).shape[:2])
        assert min(200, short_side) <= side <= max(200, 2 * short_side)


def test_transparency_lies_on_white():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (255, 0, 0, 255)
    rgba[2] = (255, 0, 0, 128)
    out = pixels_of(encoded(Image.fromarray(rgba), "PNG"))
    assert out[0, 0].tolist() == [255, 0, 0]
    assert out[3, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(out[2, 0], [255, 127, 127], atol=1)


def test_a_transparent_palette_lies_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 100, 50])
    assert pixels_of(encoded(image, "PNG", transparency=1))[0, 0].tolist() == [255, 255, 255]
    assert pixels_of(encoded(image, "PNG"))[0, 0].tolist() == [200, 100, 50]


def test_sixteen_bits_are_scaled():
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    assert pixels_of(encoded(Image.fromarray(values), "PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]
    assert pixels_of(encoded(Image.fromarray(values), "TIFF"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floats_are_scaled_and_odd_ranges_noted():
    assert pixels_of(encoded(Image.fromarray(np.array([[0.0, 0.5, 1.0]], np.float32)), "TIFF"))[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]
    odd = read_image(encoded(Image.fromarray(np.array([[-5.0, np.nan, 5.0]], np.float32)), "TIFF"))
    assert odd.value.pixels[0, :, 0].tolist() == [0, 128, 255]
    assert "stretched" in odd.notes[0]


def test_cmyk_becomes_rgb():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for form in ("JPEG", "TIFF"):
        red, green, blue = pixels_of(encoded(cyan, form))[8, 8]
        assert red < 40
        assert min(green, blue) > 200


def test_a_profile_is_honoured():
    """A profile with swapped primaries would show if it were ignored: here, gamma 1 of XYZ against sRGB."""
    frame = Image.new("RGB", (8, 8), (128, 128, 128))
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_image(encoded(frame, "PNG", icc_profile=srgb)).value.pixels[0, 0].tolist() == [128, 128, 128]
    for wrong in (xyz, lab, b"nonsense" * 40):
        reading = read_image(encoded(frame, "PNG", icc_profile=wrong))
        assert reading.value.pixels[0, 0].tolist() == [128, 128, 128]
        assert "profile" in reading.notes[0]
    gamma_one = bytearray(
        srgb.replace(b"s\0R\0G\0B", b"t\0e\0s\0t").replace(b"\0s\0R\0G\0B", b"\0t\0e\0s\0t").replace(b"sRGB", b"test")
    )
    at = gamma_one.index(b"para", 128 + 12 * 12)
    gamma_one[at + 8 : at + 16] = b"\0\0\0\0\0\x01\0\0"  # parametric curve, type 0, gamma 1.0
    brighter = read_image(encoded(frame, "PNG", icc_profile=bytes(gamma_one))).value.pixels[0, 0]
    assert brighter.min() > 180  # linear 0.5 is about 188 in sRGB


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF"])
def test_the_first_of_several_is_taken_and_noted(form):
    pages = [Image.fromarray(numbered_frame(n)) for n in (3, 4)]
    reading = read_image(encoded(pages[0], form, save_all=True, append_images=pages[1:]))
    assert "first" in reading.notes[0]
    assert np.abs(reading.value.pixels.astype(int) - numbered_frame(3)).mean() < 12


def test_cut_jpegs_keep_their_upper_part():
    whole = picture("JPEG", (320, 240), quality=95)
    for short_side in (None, 60):
        reading = read_image(whole[: len(whole) // 2], short_side=short_side)
        assert reading.state == "damaged"
        true = pixels_of(whole, short_side=short_side)
        np.testing.assert_array_equal(reading.value.pixels[: len(true) // 4], true[: len(true) // 4])
    assert read_image(whole[:-2]).state == "damaged"


def test_limits_hold_before_decoding():
    with pytest.raises(RejectedFileError, match="too-large"):
        read_image(picture("PNG", (100, 100)), limits=MediaLimits(pixels=9_999))
    with pytest.raises(RejectedFileError, match="too-large"):
        read_image(picture("WEBP", (100, 100)), limits=MediaLimits(decode_bytes=100_000))
    read_image(picture("PNG", (100, 100)), limits=MediaLimits(pixels=10_000))


def test_only_pictures_are_read(tmp_path):
    with pytest.raises(RejectedFileError, match="not-a-picture"):
        read_image(wav(np.zeros(10)))
    with pytest.raises(RejectedFileError, match="missing"):
        read_image(tmp_path / "no.jpg")
    (tmp_path / "big.jpg").write_bytes(picture("JPEG"))
    with pytest.raises(RejectedFileError, match="too-large"):
        read_image(tmp_path / "big.jpg", limits=MediaLimits(picture_bytes=100))
    assert read_image(os.fspath(tmp_path / "big.jpg")).value.pixels.shape == (64, 96, 3)


def test_an_orientation_in_a_hostile_exif_is_1():
    for tiff in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0"):
        assert read_image(picture("JPEG", exif=b"Exif\0\0" + tiff)).value.pixels.shape == (64, 96, 3)
    assert read_image(picture("JPEG", exif=exif_with(b""))).state == "ok"


def test_natural_photos():
    data = package_folder("skimage") + "/data/"
    for name, shape in (
        ("chelsea.png", (300, 451, 3)),
        ("rocket.jpg", (427, 640, 3)),
        ("no_time_for_that_tiny.gif", (25, 14, 3)),
    ):
        assert read_image(data + name).value.pixels.shape == shape
