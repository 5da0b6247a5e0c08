"""Small labelled pictures that a tiny network learns in a second."""

import numpy as np

from lightmeter.condense.image_set import ImageSet


def stripes(per_class, seed=0, channels=1, size=(8, 8), classes=3):
    """Pictures whose class is a direction, in noise: lying stripes, standing ones, a slope."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    kinds = [rows % 4 < 2, columns % 4 < 2, (rows + columns) % 6 < 3][:classes]
    labels = np.repeat(np.arange(classes), per_class)
    pictures = np.stack([kinds[label] for label in labels])[..., None] * 120 + rng.integers(
        0, 100, (*(len(labels), *size), channels)
    )
    return ImageSet.of(pictures.astype(np.uint8), labels, ("lying", "standing", "slope")[:classes])
