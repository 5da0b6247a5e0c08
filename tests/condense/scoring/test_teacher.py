"""A teacher learns a set, is kept by what it learnt from, and goes on where it was stopped."""

import numpy as np
import pytest
import torch
from striped_pictures import stripes

from lightmeter.condense.scoring.presets import Rded
from lightmeter.condense.scoring.scores import score
from lightmeter.condense.scoring.teacher import FittedTeacher, fit_teacher
from lightmeter.errors import InvalidValueError, RejectedFileError

TINY = "conv-net/depth=2,width=8"


@pytest.fixture(scope="module")
def taught():
    return fit_teacher(stripes(30), seed=0, student=TINY, steps=60, flip=False)


def test_it_knows_new_pictures(taught):
    new = stripes(20, seed=5)
    logits, features = taught.logits(new.images), taught.features(new.images)
    assert (logits.argmax(axis=1) == new.labels).mean() > 0.9
    assert features.shape == (60, 32)
    last = taught.net().last
    np.testing.assert_allclose(
        features @ last.weight.detach().numpy().T + last.bias.detach().numpy(), logits, atol=1e-4
    )
    with pytest.raises(InvalidValueError, match=r"images must be \[M, 8, 8, 1\]"):
        taught.logits(np.zeros((1, 9, 8, 1), np.uint8))


def test_it_comes_back_from_its_folder(taught, tmp_path):
    taught.save(tmp_path)
    again = FittedTeacher.load(tmp_path)
    images = stripes(2).images
    assert np.array_equal(again.logits(images), taught.logits(images))
    assert dict(again.about) == dict(taught.about)
    assert not again.net().training
    (tmp_path / "model.json").write_text((tmp_path / "model.json").read_text().replace("depth=2", "depth=1"))
    with pytest.raises(RejectedFileError, match="must be"):
        FittedTeacher.load(tmp_path)


def test_it_is_kept_by_what_it_learnt_from(tmp_path):
    lines = []
    one = fit_teacher(stripes(4), seed=0, folder=tmp_path, student=TINY, steps=3, tell=lines.append)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.json", "model.safetensors"]
    again = fit_teacher(stripes(4), seed=0, folder=tmp_path, student=TINY, steps=3, tell=lines.append)
    assert len(lines) == 1, "read, not learnt"
    images = stripes(1).images
    assert np.array_equal(one.logits(images), again.logits(images))
    other = fit_teacher(stripes(4, seed=1), seed=0, folder=tmp_path, student=TINY, steps=3, tell=lines.append)
    assert len(lines) == 2
    assert not np.array_equal(one.logits(images), other.logits(images))


def test_stopped_it_goes_on_bit_for_bit(tmp_path, monkeypatch):
    from lightmeter.condense.scoring import teacher as module

    images = stripes(4)
    whole = fit_teacher(images, seed=0, student=TINY, steps=6)
    asked = []
    monkeypatch.setattr(module.Stop, "asked", lambda self: (asked.append(1), len(asked) > 6)[1])
    with pytest.raises(KeyboardInterrupt):
        fit_teacher(images, seed=0, folder=tmp_path, student=TINY, steps=6)
    assert (tmp_path / "steps").exists()
    monkeypatch.undo()
    rest = fit_teacher(images, seed=0, folder=tmp_path, student=TINY, steps=6)
    for one, other in zip(whole.net().parameters(), rest.net().parameters(), strict=True):
        assert torch.equal(one, other)
    assert not (tmp_path / "steps").exists()


def test_a_student_learns_from_it(taught):
    made = score(stripes(4), stripes(20, seed=7), Rded(epochs=40, batch=12), student=TINY, seeds=[0], soft=taught)
    assert made.labelled > 0.9
    assert made.last[0] > 0.6


def test_what_cannot_be_learnt_is_refused():
    with pytest.raises(InvalidValueError, match="at least 16 px a side"):
        fit_teacher(stripes(2), seed=0, student="conv-net/depth=4")
    with pytest.raises(InvalidValueError, match="needs pictures of two classes"):
        fit_teacher(stripes(2, classes=1), seed=0, student=TINY)
