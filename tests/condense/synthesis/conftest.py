"""One tiny model for all tests of synthesis."""

import os

import pytest
from synthesis_models import bars, captions_of, tiny_recipe

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_set():
    """40 pictures 8 x 8, grey, two classes."""
    return bars()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_set):
    """A model that learnt them for six steps."""
    pytest.importorskip("diffusers")
    from lightmeter.condense.synthesis.small import small_generator

    folder = tmp_path_factory.mktemp("tiny") / "model"
    small_generator(tiny_set, captions_of(tiny_set), folder, tiny_recipe())
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder, tiny_set):
    """The same, in use."""
    from lightmeter.condense.synthesis.generator import DiffusersGenerator

    return DiffusersGenerator.of(tiny_folder, tiny_set)
