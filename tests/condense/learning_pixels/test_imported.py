"""Sets from elsewhere: what is read, what is refused, and that nothing of a file is executed."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from PIL import Image

from lightmeter.condense.exporting import normal_of, write_dd_ranking
from lightmeter.condense.learning_pixels.imported import Imported
from lightmeter.condense.protocol import Condensed
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError, UnsafeFileError
from lightmeter.parts import build

torch = pytest.importorskip("torch")


@pytest.fixture
def images(stripes):
    return stripes(6)


def tensor_of(images, rows):
    return torch.from_numpy(images.images[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255)


def read(folder, images, material, per_class=1, **options):
    return Imported(folder, **options).condense(material(images), per_class, seed=0)


def test_is_rebuilt_by_its_spec(tmp_path):
    recipe = Imported(tmp_path, "normalised", (0.5,), (0.25,))
    assert build(recipe.spec) == recipe
    assert build("imported/path=./made") == Imported(path=build("imported/path=./made").path)


def test_tensors_come_class_after_class_whatever_their_order(images, material, tmp_path):
    rows = np.array([7, 2, 1, 9])
    torch.save(tensor_of(images, rows), tmp_path / "images.pt")
    torch.save(torch.tensor([1, 0, 0, 1]), tmp_path / "labels.pt")
    small = read(tmp_path, images, material, 2)
    assert (small.images == images.images[[2, 1, 7, 9]]).all()
    assert small.labels.tolist() == [0, 0, 1, 1]
    assert small.soft is None
    assert small.rows is None
    assert small.notes == ()


def test_soft_labels_are_shares_or_logits_and_hard_ones_go_first(images, material, tmp_path):
    torch.save(tensor_of(images, [0, 6]), tmp_path / "images.pt")
    torch.save(torch.tensor([[np.log(3.0), 0.0], [0.0, 0.0]]), tmp_path / "soft_labels.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "hard_labels.pt")
    small = read(tmp_path, images, material)
    assert small.labels.tolist() == [0, 1]
    np.testing.assert_allclose(small.soft, [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)
    (tmp_path / "hard_labels.pt").unlink()
    torch.save(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), tmp_path / "soft_labels.pt")
    small = read(tmp_path, images, material)
    np.testing.assert_allclose(small.soft, [[0.9, 0.1], [0.4, 0.6]], rtol=1e-6)


def test_our_own_export_comes_back_as_it_was(images, material, tmp_path):
    shares = np.float32([[0.8, 0.2], [0.3, 0.7]])
    small = Condensed(images.images[[3, 8]], np.array([0, 1]), soft=shares)
    write_dd_ranking(tmp_path, small, images)
    with pytest.raises(InvalidValueError, match="values=normalised"):
        read(tmp_path / "dd-ranking", images, material)
    again = read(tmp_path / "dd-ranking", images, material, values="normalised")
    assert (again.images == small.images).all()
    assert (again.soft == shares).all()


def test_numbers_of_a_set_are_turned_back_by_its_mean_and_deviation(images, material, tmp_path):
    normal = normal_of(images.images)
    torch.save((tensor_of(images, [0, 6]) - normal.mean[0]) / normal.std[0], tmp_path / "images.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    assert (read(tmp_path, images, material, values="normalised").images == images.images[[0, 6]]).all()
    told = read(tmp_path, images, material, values="normalised", mean=(0.9,), std=(normal.std[0],))
    assert told.notes[0].endswith("lie beyond what a picture can hold and were cut")
    with pytest.raises(InvalidValueError, match=r"images must be 0 to 1, got -.*values=normalised"):
        read(tmp_path, images, material)
    with pytest.raises(InvalidValueError, match="a number for each of 1 channels, got 3"):
        read(tmp_path, images, material, values="normalised", mean=(0, 0, 0), std=(1, 1, 1))


def test_bytes(images, material, tmp_path):
    torch.save(torch.from_numpy(images.images[[0, 6]].transpose(0, 3, 1, 2).copy()), tmp_path / "images.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    assert (read(tmp_path, images, material, values="bytes").images == images.images[[0, 6]]).all()


def test_one_file_with_both_as_idc_and_dm_save_them(images, material, tmp_path):
    torch.save([tensor_of(images, [0, 6]), torch.tensor([0, 1])], tmp_path / "data.pt")
    nested = {"data": [[tensor_of(images, [0, 6]), torch.tensor([0, 1])]], "accs_all_exps": {"ConvNet": [0.5]}}
    torch.save(nested, tmp_path / "res.pt")
    for name in ("data.pt", "res.pt"):
        assert (read(tmp_path / name, images, material).images == images.images[[0, 6]]).all()
    nested["data"] *= 2
    torch.save({**nested, "more": tensor_of(images, [0])}, tmp_path / "res.pt")
    with pytest.raises(InvalidValueError, match="pictures .* once and labels once"):
        read(tmp_path / "res.pt", images, material)


def test_a_folder_a_class_in_the_sets_order_and_size(images, material, tmp_path):
    for name, row in (("down/b.png", 7), ("across/z.png", 1), ("down/a.png", 6), ("across/c.png", 0)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(images.images[row, ..., 0]).resize((16, 16), Image.Resampling.NEAREST).save(tmp_path / name)
    small = read(tmp_path, images, material, 2)
    assert (small.images == images.images[[0, 1, 6, 7]]).all()
    assert small.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "down").rename(tmp_path / "downward")
    with pytest.raises(InvalidValueError, match="got 'downward': did you mean 'down'"):
        read(tmp_path, images, material, 2)


def test_other_sizes_and_channels_are_brought_to_the_sets(stripes, material, tmp_path):
    images = stripes(6, channels=3)
    grey = torch.full((2, 1, 16, 16), 0.4)
    torch.save(grey, tmp_path / "images.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    small = read(tmp_path, images, material)
    assert small.images.shape == (2, 8, 8, 3)
    assert (small.images == 102).all()
    assert small.notes[0] == "pictures of 16 × 16 were resized"


def test_colours_do_not_become_grey_by_themselves(images, material, tmp_path):
    torch.save(torch.rand(2, 3, 8, 8), tmp_path / "images.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    with pytest.raises(InvalidValueError, match="must be grey"):
        read(tmp_path, images, material)


def test_labels_in_another_order_are_told(images, material, tmp_path):
    torch.save(tensor_of(images, [0, 6]), tmp_path / "images.pt")
    torch.save(torch.tensor([1, 0]), tmp_path / "labels.pt")
    (note,) = read(tmp_path, images, material).notes
    assert note.startswith("the network that learnt the whole set gives 0% of these pictures")


def test_a_file_that_would_run_code_is_refused_and_runs_none(images, material, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    torch.save({"images": tensor_of(images, [0, 6]), "x": Touch()}, tmp_path / "images.pt")
    with pytest.raises(UnsafeFileError, match="nothing was run"):
        read(tmp_path, images, material)
    (tmp_path / "images.pt").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(LightmeterError):
        read(tmp_path, images, material)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (torch.tensor([0, 2]), "whole numbers of 0 to 1, got 0 to 2"),
        (torch.tensor([0.0, 0.5]), "whole numbers of 0 to 1"),
        (torch.tensor([0, 1, 1]), "labels must be 2, one a picture, got 3"),
        (torch.zeros(2, 3), r"\[M\] or \[M, 2\]"),
        (torch.tensor([0, 0]), "1 pictures a class that are asked for, got 2 of across"),
    ],
)
def test_labels_that_do_not_fit(images, material, tmp_path, labels, says):
    torch.save(tensor_of(images, [0, 6]), tmp_path / "images.pt")
    torch.save(labels, tmp_path / "labels.pt")
    with pytest.raises(InvalidValueError, match=says):
        read(tmp_path, images, material)


def test_what_is_no_set(images, material, tmp_path):
    with pytest.raises(InvalidValueError, match="check the spelling"):
        read(tmp_path / "nowhere", images, material)
    with pytest.raises(InvalidValueError, match="got neither"):
        read(tmp_path, images, material)
    torch.save(torch.full((2, 1, 8, 8), float("nan")), tmp_path / "images.pt")
    torch.save(torch.tensor([0, 1]), tmp_path / "labels.pt")
    with pytest.raises(RejectedFileError, match="finite"):
        read(tmp_path, images, material)
    torch.save(torch.zeros(2, 64), tmp_path / "images.pt")
    with pytest.raises(InvalidValueError, match="M, C, H, W"):
        read(tmp_path, images, material)
    with pytest.raises(InvalidValueError, match="one of unit"):
        Imported(tmp_path, "pixels")
    with pytest.raises(InvalidValueError, match="come together"):
        Imported(tmp_path, "normalised", (0.5,), ())


def test_files_that_change_are_another_set(tmp_path):
    torch.save(torch.zeros(2), tmp_path / "images.pt")
    before = Imported(tmp_path)
    first = before.content
    torch.save(torch.ones(3), tmp_path / "images.pt")
    assert Imported(tmp_path).content != first
    assert Imported(tmp_path).spec == before.spec
    assert Imported(tmp_path / "nowhere").content == ""
