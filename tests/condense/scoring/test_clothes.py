"""On Fashion-MNIST: students of random pictures, a teacher, and a student of its labels. Minutes of CPU."""

import numpy as np
import pytest

from lightmeter.assets.finding import find_or_none
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.scoring.presets import Rded
from lightmeter.condense.scoring.scores import difference, score
from lightmeter.condense.scoring.teacher import fit_teacher
from lightmeter.studies.idx import read_idx

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_or_none("fashion-mnist") is None, reason="needs `lightmeter assets add fashion-mnist`"),
]


def clothes(which, per_class):
    folder = find_or_none("fashion-mnist")
    pictures = read_idx(folder / f"{which}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{which}-labels-idx1-ubyte.gz").astype(np.int64)
    some = np.concatenate([np.flatnonzero(labels == at)[:per_class] for at in range(10)])
    wide = np.pad(pictures[some], ((0, 0), (2, 2), (2, 2)))[..., None]
    return ImageSet.of(wide, labels[some], [str(at) for at in range(10)])


def some(images, per_class, seed):
    rng = np.random.default_rng(seed)
    return images.take(np.concatenate([rng.choice(images.rows_of(at), per_class, replace=False) for at in range(10)]))


@pytest.fixture(scope="module")
def real():
    return clothes("train", 1000), clothes("t10k", 200)


def test_students_of_random_pictures_know_what_was_measured_before(real):
    """69.2 ± 0.5 % at ten pictures a class and 16 px; at 32 px it must be as much within a few points."""
    learn, unseen = real
    ten = score(some(learn, 10, 0), unseen, "quick", seeds=[0, 1])
    one = score(some(learn, 1, 0), unseen, "quick", seeds=[0, 1])
    assert 0.64 < ten.last.mean() < 0.76
    assert difference(ten, one).low > 0.05


def test_a_teacher_and_a_student_of_its_labels(real, tmp_path):
    learn, unseen = real
    teacher = fit_teacher(learn, seed=0, folder=tmp_path, steps=600)
    assert (teacher.logits(unseen.images).argmax(axis=1) == unseen.labels).mean() > 0.82
    soft = score(
        some(learn, 10, 0), unseen, Rded(epochs=60), student="conv-net/depth=3,width=32", seeds=[0], soft=teacher
    )
    assert soft.labelled > 0.82
    assert soft.last[0] > 0.55
