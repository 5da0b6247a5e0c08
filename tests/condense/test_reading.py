"""A folder of labelled pictures, with all that folders hold: what is used, what is left out, and why."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.condense.reading import default_side, open_image_folder
from lightmeter.engines.inline import Inline
from lightmeter.errors import InvalidValueError


def noise(seed, height=24, width=24, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pixels if isinstance(pixels, Pillow.Image) else Pillow.fromarray(pixels.squeeze())
    picture.save(path, **options)


def opened(folder, tmp_path, **more):
    return open_image_folder(folder, work=tmp_path / "work", engine=Inline(), **more)


@pytest.fixture
def messy(tmp_path):
    """Two classes, and one of everything that goes wrong."""
    folder = tmp_path / "set"
    for at in range(3):
        save(folder / "cat" / f"{at}.png", noise(at))
        save(folder / "dog" / f"{at}.jpg", noise(10 + at), quality=95)
    save(folder / "cat" / "deep" / "grey.png", noise(20, channels=1))
    save(folder / "cat" / "again.bmp", noise(0))
    save(folder / "cat" / "both.png", noise(30))
    save(folder / "dog" / "both.png", noise(30))
    save(folder / "dog" / "print.jpg", Pillow.fromarray(noise(31)).convert("CMYK"), quality=95)
    frames = [Pillow.fromarray(noise(seed)) for seed in (32, 33)]
    frames[0].save(folder / "dog" / "moves.gif", save_all=True, append_images=frames[1:])
    save(folder / "dog" / "dot.png", noise(34, 2, 40))
    save(folder / "dog" / "small.png", noise(35, 12, 12))
    (folder / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    save(folder / "cat" / "cut.jpg", noise(37, 96, 96), quality=95)
    whole = (folder / "cat" / "cut.jpg").read_bytes()
    (folder / "cat" / "cut.jpg").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "cat" / "empty.jpg").touch()
    (folder / "cat" / "list.png").write_text("#EXTM3U\n")
    (folder / "cat" / "notes.txt").write_text("a cat")
    (folder / "cat" / "out.png").symlink_to("/etc/hostname")
    save(folder / "stray.png", noise(36))
    (folder / "bird").mkdir()
    return folder


def test_each_file_is_used_or_left_out_for_a_reason(messy, tmp_path):
    found = opened(messy, tmp_path)
    said = {(each.name, each.what): each.used for each in found.findings}
    assert said.pop(("cat/cut.jpg", "damaged"))
    assert said == {
        ("", "other-kind"): False, ("stray.png", "outside"): False, ("cat/out.png", "link"): False,
        ("cat/broken.png", "broken"): False, ("cat/empty.jpg", "broken"): False, ("cat/list.png", "broken"): False,
        ("cat/again.bmp", "duplicate"): False, ("cat/both.png", "twin"): False, ("dog/both.png", "twin"): False,
        ("dog/dot.png", "tiny"): False, ("dog/small.png", "enlarged"): True, ("dog/print.jpg", "cmyk"): True,
        ("dog/moves.gif", "animated"): True, ("cat/deep/grey.png", "grey"): True,
    }  # fmt: skip
    assert found.failed == 4
    assert found.images.names == (
        "cat/0.png", "cat/1.png", "cat/2.png", "cat/cut.jpg", "cat/deep/grey.png", "dog/0.jpg", "dog/1.jpg",
        "dog/2.jpg", "dog/moves.gif", "dog/print.jpg", "dog/small.png",
    )  # fmt: skip
    assert found.images.images.shape == (11, 24, 24, 3)
    np.testing.assert_array_equal(found.images.images[0], noise(0))
    assert found.images.counts().tolist() == [5, 6]
    duplicate = next(each for each in found.findings if each.what == "duplicate")
    assert duplicate.detail == "the same picture as cat/0.png"
    assert "disguise" in next(each.detail for each in found.findings if each.name == "cat/list.png")


def test_the_middle_square_is_taken_and_resized(tmp_path):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    for at in range(2):
        wide[0, 8] = at
        save(tmp_path / "set" / f"c{at}" / "a.png", wide)
    found = opened(tmp_path / "set", tmp_path, size=8)
    assert found.images.images[0, 1:].min() == 255


def test_grey_sets_have_one_channel(tmp_path):
    for at in range(4):
        save(tmp_path / "set" / f"c{at % 2}" / f"{at}.png", np.repeat(noise(at, channels=1), 1 + 2 * (at % 2), axis=-1))
    found = opened(tmp_path / "set", tmp_path)
    assert found.images.images.shape == (4, 24, 24, 1)
    assert not found.findings
    np.testing.assert_array_equal(found.images.images[0], noise(0, channels=1))


def test_it_is_read_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    from lightmeter.condense import picture_stage

    folder = tmp_path / "set"
    for at in range(4):
        save(folder / f"c{at % 2}" / f"{at}.png", noise(at))
    first = opened(folder, tmp_path)
    looked = []
    monkeypatch.setattr(picture_stage, "read_image", lambda *_, **__: looked.append(1))
    again = opened(folder, tmp_path)
    assert not looked
    assert (again.images.fingerprint, again.notes) == (first.images.fingerprint, first.notes)
    monkeypatch.undo()
    save(folder / "c0" / "0.png", noise(99, 30, 30))
    assert opened(folder, tmp_path).images.fingerprint != first.images.fingerprint
    assert len(list((tmp_path / "work").glob("pictures-*"))) == 1


def test_a_stopped_reading_goes_on(tmp_path, monkeypatch):
    from lightmeter.condense import picture_stage, reading

    for at in range(6):
        save(tmp_path / "set" / f"c{at % 2}" / f"{at}.png", noise(at))
    monkeypatch.setattr(reading, "_BATCH", 1)
    whole, looked = picture_stage.read_image, []

    def some(data, **more):
        looked.append(1)
        if len(looked) == 3:
            raise KeyboardInterrupt
        return whole(data, **more)

    monkeypatch.setattr(picture_stage, "read_image", some)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path / "set", tmp_path, size=24)
    found = opened(tmp_path / "set", tmp_path, size=24)
    assert len(looked) == 3 + 4, "two were kept"
    np.testing.assert_array_equal(found.images.images[0], noise(0))


def test_the_same_pictures_elsewhere_have_the_same_fingerprint(tmp_path):
    marks = []
    for name in ("a", "b"):
        for at in range(4):
            save(tmp_path / name / f"c{at % 2}" / f"{at}.png", noise(at))
        marks.append(opened(tmp_path / name, tmp_path).images.fingerprint)
    assert marks[0] == marks[1]


@pytest.mark.parametrize(
    ("classes", "says"), [((), "two folders of pictures"), (("a",), "got 1"), (("a", "b"), "can be used, got 0")]
)
def test_what_is_no_set_is_refused(tmp_path, classes, says):
    (tmp_path / "set").mkdir()
    for name in classes:
        save(tmp_path / "set" / name / "same.png", noise(0))
    with pytest.raises(InvalidValueError, match=says):
        opened(tmp_path / "set", tmp_path)


def test_sizes_have_bounds_and_a_default(tmp_path):
    for at in range(2):
        save(tmp_path / "set" / f"c{at}" / "a.png", noise(at))
    with pytest.raises(InvalidValueError, match="size must be 8 to 512"):
        opened(tmp_path / "set", tmp_path, size=4)
    assert [default_side(each) for each in ([9], [64], [65], [3000, 20, 20])] == [16, 64, 64, 24]
