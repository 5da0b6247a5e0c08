"""What is made once: the same again from disk, priced once, going on where it stopped."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.condense import workbench
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.workbench import Setting, Workbench, cross_entropy, licence_of
from lightmeter.errors import InvalidValueError

pytest.importorskip("torch")


def images(count=24, seed=0, channels=1):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)
    return ImageSet.of(pixels, np.arange(count) % 3, ("a", "b", "my cat"))


def bench(folder, source=None, **more):
    return Workbench(source or images(), folder, setting=Setting(teacher_steps=3), **more)


def test_pixels_are_shares_of_255(tmp_path):
    rows = bench(tmp_path).features("pixels")
    assert (rows.dtype, rows.shape) == (np.float32, (24, 64))
    np.testing.assert_allclose(rows, images().images.reshape(24, 64) / 255, rtol=1e-6)
    assert isinstance(rows, np.memmap)


def test_features_of_an_encoder_are_the_encoders(tmp_path):
    from lightmeter.parts import build
    from lightmeter.types import Image

    made = bench(tmp_path).features("color-histogram/bins=2")
    rgb = np.repeat(images().images[5], 3, axis=-1)
    np.testing.assert_array_equal(made[5], build("color-histogram/bins=2").encode([Image(rgb)])[0])
    with pytest.raises(InvalidValueError, match="an encoder of pictures"):
        bench(tmp_path).features("log-mel")


def test_the_teacher_is_learnt_once_and_its_losses_are_its_own(tmp_path, monkeypatch):
    from lightmeter.condense import scoring

    first = bench(tmp_path)
    losses = np.array(first.losses())
    logits = first.teacher().logits(images().images)
    np.testing.assert_allclose(losses, cross_entropy(logits, images().labels), atol=1e-5)
    assert first.features("teacher").shape == (24, 32)
    learnt = []
    whole = scoring.fit_teacher
    monkeypatch.setattr("lightmeter.condense.scoring.fit_teacher", lambda *a, **k: learnt.append(1) or whole(*a, **k))
    second = bench(tmp_path)
    np.testing.assert_array_equal(second.losses(), losses)
    assert second.costs() == first.costs(), "read back, it costs what it cost"


def test_a_block_pays_for_what_was_learnt_for_it_by_whoever(tmp_path):
    made = bench(tmp_path)
    with made.priced() as first:
        made.losses()
    with made.priced() as second:
        made.losses()
    with made.priced() as other:
        made.features("pixels")
    teacher = made.costs()["teacher"].cpu_s
    assert first.cost.cpu_s >= teacher
    assert second.cost.cpu_s >= teacher, "the second did not learn it, but needs it"
    assert second.cost.cpu_s == pytest.approx(first.cost.cpu_s, abs=0.05)
    assert other.cost.cpu_s < teacher


def test_rows_go_on_where_they_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(workbench, "_ROWS", 5)
    monkeypatch.setattr(workbench, "_TOLD_S", 0.0)
    asked = []

    def rows_of(rows):
        asked.append(rows.start)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return images().images[rows].reshape(-1, 64)

    with pytest.raises(KeyboardInterrupt):
        bench(tmp_path)._rows("toy", "", rows_of)
    made = bench(tmp_path)._rows("toy", "", rows_of)
    assert asked == [0, 5, 10, 10, 15, 20]
    np.testing.assert_array_equal(made, images().images.reshape(24, 64))
    assert len(list(tmp_path.iterdir())) == 1


def test_captions_name_the_class_and_are_kept(tmp_path):
    made = bench(tmp_path).captions()
    assert len(made) == 24
    assert "my cat" in made[2]
    assert bench(tmp_path).captions() == made


def test_sets_do_not_meet(tmp_path):
    one, other = bench(tmp_path).features("pixels"), bench(tmp_path, images(seed=1)).features("pixels")
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("card", "licence"),
    [("---\nlicense: creativeml-openrail-m\n---\n# A model", "creativeml-openrail-m"), ("# A model", "not told"),
     ("---\nlicense_name: 'my own'\n", "my own")],
)  # fmt: skip
def test_a_licence_is_what_the_card_says(tmp_path, card, licence):
    (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path).startswith(licence)
    assert licence_of(tmp_path / "none").startswith("not told")


def test_cross_entropy_survives_large_logits():
    found = cross_entropy(np.array([[1e4, 0.0], [0.0, 0.0]], np.float32), np.array([0, 1]))
    np.testing.assert_allclose(found, [0.0, np.log(2)], rtol=1e-6)
