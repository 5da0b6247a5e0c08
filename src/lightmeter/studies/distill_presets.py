"""Seed 002's eight data sets with its settings: tables 4 to 7 of the supplement, and what its public code adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightmeter.condense.synthesis.vlcp import NEGATIVE, D4m, Vlcp
from lightmeter.errors import UnknownNameError, nearest

Validation = Literal["minimax", "rded"]


@dataclass(frozen=True, slots=True)
class Preset:
    """One data set as the seed treats it.

    classes: how many it has · learnt_size: pixels a side in fine-tuning · size: of the pictures that are made
    outliers: α, of the local outlier factor · beta: of words that say nothing · protocol: spec by which it is scored
    students: specs · per_class: budgets · tables: published tables of it
    """

    name: str
    classes: int
    learnt_size: int
    size: int
    outliers: float
    beta: float
    protocol: str
    students: tuple[str, ...]
    per_class: tuple[int, ...]
    tables: tuple[str, ...] = ()

    @property
    def vlcp(self) -> Vlcp:
        """The method with the seed's settings: 30 words, strength 0.7, guidance 10 on all sets."""
        return Vlcp(
            strength=0.7, guidance=10.0, negative=NEGATIVE, outliers=self.outliers, beta=self.beta, top=30,
            matching="published", clusters="full",
        )  # fmt: skip

    @property
    def d4m(self) -> D4m:
        """Its nearest rival with the settings that its authors publish."""
        return D4m(strength=0.7, guidance=8.0, negative=NEGATIVE)


CONV_NET = "conv-net/depth=6,width=128"
RESNET_AP = "resnet-ap/depth=10"
RESNET = "resnet/depth=18,norm=instance"
RESNET_BATCH = "resnet/depth=18"
"""With batch norm; up to 64 pixels it has the small stem ("modified")."""
THREE = (CONV_NET, RESNET_AP, RESNET)
MINIMAX, RDED, RDED_TINY = "minimax-hard/size=224", "rded-soft/size=224", "rded-soft/batch=100"
IMAGENET_100, TINY = "distill-imagenet-100", "distill-tiny-imagenet"

PRESETS: dict[str, Preset] = {
    each.name: each
    for each in (
        Preset("imagewoof", 10, 512, 256, 0.0, 0.7, MINIMAX, THREE, (10, 20, 50)),
        Preset("imagenette", 10, 512, 256, 0.01, 0.7, MINIMAX, (RESNET_AP,), (10, 20, 50)),
        Preset("imageidc", 10, 512, 256, 0.1, 0.7, MINIMAX, (RESNET_AP,), (10, 20, 50)),
        Preset("imagenet-100", 100, 512, 256, 0.1, 0.7, MINIMAX, THREE, (10, 20), (IMAGENET_100,)),
        Preset("imagenet-1k", 1000, 512, 224, 0.0, 0.7, RDED, (RESNET_BATCH,), (10, 50)),
        Preset("cifar-10", 10, 32, 32, 0.0, 0.8, "rded-soft/epochs=500", (RESNET_BATCH,), (10, 50)),
        Preset("cifar-100", 100, 32, 32, 0.0, 0.2, "rded-soft/epochs=500", (RESNET_BATCH,), (10, 50)),
        Preset("tiny-imagenet", 200, 64, 64, 0.0, 0.7, RDED_TINY, (RESNET_BATCH,), (10, 50), (TINY,)),
    )
}
"""Batch 100 of Tiny-ImageNet and 500 epochs of CIFAR stand in the public code alone. Its scripts have α 0.1 for
ImageNette and β 0.3 for CIFAR-100, the supplement 0.01 and 0.2: the supplement's are kept."""


def preset_called(name: str) -> Preset:
    """A preset by its name, as `imagenette`; raises UnknownNameError with the nearest."""
    if name not in PRESETS:
        raise UnknownNameError(
            f"no preset called {name!r}{nearest(name, PRESETS)}: name the folder of --data after its set, one of "
            f"{', '.join(PRESETS)}"
        )
    return PRESETS[name]
