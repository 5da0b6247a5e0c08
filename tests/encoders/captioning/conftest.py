"""Pictures made on the spot, and folders of tiny models."""

import numpy as np
import pytest

from lightmeter.types import Image


def noise(seed, height=32, width=32, channels=3):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (4, 4, channels))
    big = np.kron(blocks, np.ones((-(-height // 4), -(-width // 4), 1)))[:height, :width]
    return np.clip(big + rng.normal(0, 8, big.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def made():
    """(seed, height, width, channels) -> a picture uint8 [H, W, C], unlike for every seed"""
    return noise


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """(kind) -> the folder of a tiny model, made when first asked for"""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from caption_models import save_caption_model

    folders = {}

    def folder(kind):
        if kind not in folders:
            folders[kind] = save_caption_model(kind, tmp_path_factory.mktemp(kind))
        return folders[kind]

    return folder


@pytest.fixture
def gallery(tmp_path):
    """(classes, each) -> a folder of class folders with small PNGs, made by seed"""
    from lightmeter.media.write import write_image

    def write(classes=("my_cat", "dog"), each=3):
        folder = tmp_path / "pictures"
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for at in range(each):
                write_image(Image(noise(100 * number + at)), folder / name / f"{at}.png")
        return folder

    return write
