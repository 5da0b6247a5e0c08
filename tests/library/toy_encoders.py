"""Encoders of the features that tests write: a library takes in no series that nobody could have made."""

from dataclasses import dataclass

import numpy as np

from lightmeter.errors import RejectedFileError
from lightmeter.parts import Spelled


@dataclass(frozen=True)
class Toy(Spelled):
    """Two numbers a picture."""

    size: int = 0
    dim = 2
    takes = "image"


@dataclass(frozen=True)
class ToyWords(Spelled):
    """Three numbers a text."""

    dim = 3
    takes = "words"

    def encode(self, items):
        return np.array([[len(each.title), len(each.keywords), 1] for each in items], np.float32)


@dataclass(frozen=True)
class ToyBright(Spelled):
    """Mean brightness, of pictures that are bright enough: it rejects the others, as networks of faces do."""

    least: int = 60
    dim, takes, unit, macs, size_bytes, short_side = 1, "image", "picture", 0, 0, None

    def load(self):
        """Nothing to read."""

    def encode(self, items):
        means = [float(each.pixels.mean()) for each in items]
        if min(means) < self.least:
            raise RejectedFileError("too-dark", f"of brightness {min(means):.0f}")
        return np.array(means, np.float32)[:, None]


TOYS = {"toy": "toy_encoders:Toy", "toy-words": "toy_encoders:ToyWords", "toy-bright": "toy_encoders:ToyBright"}
