"""Whole runs on scikit-learn's digits: a model that learns them, and what is drawn by it teaches them."""

import dataclasses

import numpy as np
import pytest
from synthesis_models import Stub

from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.synthesis.autoencoder import SmallVae
from lightmeter.condense.synthesis.denoiser import SmallDenoiser
from lightmeter.condense.synthesis.minimax import Minimax
from lightmeter.condense.synthesis.small import SmallDiffusion, SmallRun, small_generator
from lightmeter.condense.synthesis.vlcp import D4m, Vlcp

pytest.importorskip("diffusers")
pytest.importorskip("sklearn")
pytestmark = pytest.mark.slow
NAMES = "zero one two three four five six seven eight nine".split()


@pytest.fixture(scope="module")
def digits():
    """Pictures to condense, and to test on."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(images))
    learn, test = order[:1300], order[1300:]
    return tuple(ImageSet.of(images[rows], data.target[rows].astype(np.int64), NAMES) for rows in (learn, test))


@pytest.fixture(scope="module")
def bench(digits, tmp_path_factory):
    """With a generator that learnt the digits for about a minute, their names as captions."""
    images, _ = digits
    vae = SmallVae((16, 32), steps=300, batch=32)
    recipe = SmallDiffusion(vae, SmallDenoiser((32, 64), text=32, steps=600, batch=64))
    captions = [f"the number {NAMES[label]}" for label in images.labels.tolist()]
    folder = tmp_path_factory.mktemp("digits")
    made = small_generator(images, captions, folder / "model", recipe, SmallRun())
    return Named(images, made, folder)


@dataclasses.dataclass(eq=False)
class Named(Stub):
    def captions(self):
        return tuple(f"the number {NAMES[label]}" for label in self.images.labels.tolist())


def taught(small, test):
    """Share of the test pictures that a linear model knows which learnt the small set."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(small.images.reshape(len(small), -1) / 255.0, small.labels)
    return model.score(test.images.reshape(len(test), -1) / 255.0, test.labels)


@pytest.mark.parametrize("method", [Vlcp(), Vlcp(strength=0.7), D4m(), Vlcp(strength=1.0, mode=0.5)], ids=str)
def test_what_is_drawn_from_prototypes_teaches(bench, digits, method):
    made = method.condense(bench, 10, seed=0)
    assert made.images.shape == (100, 8, 8, 1)
    assert taught(made, digits[1]) > 0.75


def test_what_minimax_draws_teaches(bench, digits):
    made = Minimax(learn=100).condense(bench, 10, seed=0)
    assert made.images.shape == (100, 8, 8, 1)
    assert taught(made, digits[1]) > 0.6
    assert list(bench.folder.glob("minimax-*"))


def test_pictures_of_one_prompt_differ(bench):
    made = Minimax(learn=1).condense(bench, 5, seed=0)
    flat = made.images.reshape(10, 5, -1).astype(float)
    assert (np.linalg.norm(flat[:, :1] - flat[:, 1:], axis=-1) > 50).all()
