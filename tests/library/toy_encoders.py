"""Encoders of the features that tests write: a library takes in no series that nobody could have made."""

from dataclasses import dataclass

import numpy as np

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


TOYS = {"toy": "toy_encoders:Toy", "toy-words": "toy_encoders:ToyWords"}
