"""The folder of a small set: all of it or nothing, nobody's files lost, every picture's origin in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.condense.exporting import export, normal_of
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.near_copies import nearest_real
from lightmeter.condense.protocol import Condensed
from lightmeter.condense.writing import Provenance, check_condensed_out, fill_folder, folder_name, write_folder
from lightmeter.errors import InvalidValueError


def real_set(channels=3):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, channels), dtype=np.uint8)
    return ImageSet.of(pixels, np.arange(12) % 3, ("cat", "dog", "my bird"), [f"{at}/x.png" for at in range(12)])


def coreset(real):
    rows = np.array([0, 3, 1, 2])
    return Condensed.of_rows(real, rows, [np.array([row, row + 6]) for row in rows], notes=("said",))


def written(out, small, real, **more):
    about = Provenance(real, nearest_real(small, real), {"method": "toy"}, **more)
    return write_folder(out, lambda folder: fill_folder(folder, small, about))


def pixels_of(path):
    with Pillow.open(path) as picture:
        return np.asarray(picture)


def test_pictures_and_where_they_come_from(tmp_path):
    real = real_set()
    out = written(tmp_path / "out", coreset(real), real, captions=tuple(f"caption {at}" for at in range(12)))
    files = sorted(str(each.relative_to(out)) for each in out.rglob("*.png"))
    assert files == ["cat/00000.png", "cat/00001.png", "dog/00000.png", "my bird/00000.png"]
    np.testing.assert_array_equal(pixels_of(out / "cat" / "00001.png"), real.images[3])
    told = json.loads((out / "provenance.json").read_text())
    assert (told["method"], told["notes"], told["near_copy_rate"]) == ("toy", ["said"], 0.0)
    second = told["images"][1]
    assert (second["file"], second["source"], second["members"]) == ("cat/00001.png", "3/x.png", ["3/x.png", "9/x.png"])
    assert second["near_copy"] is None
    assert second["nearest"] != "3/x.png"
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert lines[1] == {"file_name": "cat/00001.png", "text": "caption 3", "label": "cat"}
    assert json.loads((out / told["label_file"]).read_text()) == ["cat", "dog", "my bird"]


def test_made_grey_pictures_with_soft_labels(tmp_path):
    real = real_set(channels=1)
    soft = np.full((2, 3), 1 / 3, np.float32)
    small = Condensed(real.images[:2], np.array([0, 1]), texts=("a cat", "a dog"), soft=soft)
    out = written(tmp_path / "out", small, real)
    assert pixels_of(out / "cat" / "00000.png").shape == (8, 8)
    told = json.loads((out / "provenance.json").read_text())
    assert [each["near_copy"] for each in told["images"]] == [True, True]
    assert told["images"][0]["text"] == "a cat"
    np.testing.assert_array_equal(np.load(out / told["soft_label_file"]), soft)


def test_nothing_is_there_when_it_fails(tmp_path):
    def fill(folder):
        (folder / "half").write_text("x")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        write_folder(tmp_path / "out", fill)
    assert list(tmp_path.iterdir()) == []


def test_what_a_kill_left_behind_goes(tmp_path):
    (tmp_path / ".out.0123abcd.tmp").mkdir()
    (tmp_path / ".out.mine").mkdir()
    written(tmp_path / "out", coreset(real_set()), real_set())
    assert sorted(each.name for each in tmp_path.iterdir()) == [".out.mine", "out"]


def test_files_of_others_are_never_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("dear")
    for anew in (False, True):
        with pytest.raises(InvalidValueError, match=r"thesis\.txt"):
            check_condensed_out(out, anew=anew)


def test_an_old_set_is_replaced_only_when_told(tmp_path):
    real = real_set()
    out = written(tmp_path / "out", coreset(real), real)
    with pytest.raises(InvalidValueError, match="--anew"):
        check_condensed_out(out)
    small = Condensed.of_rows(real, np.array([4]))
    about = Provenance(real, nearest_real(small, real))
    write_folder(out, lambda folder: fill_folder(folder, small, about), anew=True)
    assert [each.parent.name for each in out.rglob("*.png")] == ["dog"]
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "provenance.json", "x" * 300, "\udcff", "a\0b"])
def test_a_class_is_a_folder_of_the_set(name):
    with pytest.raises(InvalidValueError, match="class"):
        folder_name(name)


def test_npz_holds_no_objects(tmp_path):
    real = real_set()
    [path] = export("npz", tmp_path, coreset(real), real)
    with np.load(path, allow_pickle=False) as found:
        assert sorted(found) == ["classes", "images", "labels"]
        assert found["classes"].tolist() == list(real.classes)
        np.testing.assert_array_equal(found["images"], coreset(real).images)


def test_dd_ranking_files_load_as_weights_alone(tmp_path):
    torch = pytest.importorskip("torch")
    real = real_set(channels=1)
    files = export("dd-ranking", tmp_path, coreset(real), real)
    assert [each.name for each in files] == ["images.pt", "hard_labels.pt", "config.yaml"]
    images = torch.load(files[0], weights_only=True)
    assert (images.dtype, tuple(images.shape)) == (torch.float32, (4, 3, 8, 8))
    normal = normal_of(real.images)
    back = (images[:, :1].numpy() * normal.std[0] + normal.mean[0]) * 255
    np.testing.assert_allclose(back.transpose(0, 2, 3, 1), coreset(real).images, atol=1e-3)
    assert torch.load(files[1], weights_only=True).tolist() == [0, 0, 1, 2]
    config = files[2].read_text()
    assert "ipc: 2\n" in config
    assert f"{normal.mean[0]:.6f}"[:6] in config


def test_pictures_that_hold_several_are_opened_for_dd_ranking(tmp_path):
    torch = pytest.importorskip("torch")
    real = real_set()
    small = Condensed(real.images[:2], np.array([0, 1]), formation=2)
    files = export("dd-ranking", tmp_path, small, real)
    assert torch.load(files[0], weights_only=True).shape == (8, 3, 8, 8)
    assert torch.load(files[1], weights_only=True).tolist() == [0] * 4 + [1] * 4
    with np.load(export("npz", tmp_path, small, real)[0]) as found:
        assert (found["images"].shape, int(found["formation"])) == ((2, 8, 8, 3), 2)


def test_mean_and_deviation_are_numpys():
    images = real_set().images
    found = normal_of(images)
    flat = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(found.mean, flat.mean(axis=0))
    np.testing.assert_allclose(found.std, flat.std(axis=0))
