"""DD-Ranking's scores: what of a condensed set's accuracy is the set, and what soft labels and augmentation.

All accuracies are shares, 0 to 1; the published package 0.2.0 puts percent into the exponentials, where the scores no
longer rank.  Source: Li et al. 2025, arXiv:2505.13300, and the package `ddranking` (definitions, not code).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightmeter.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class LabelRobust:
    """HLR, the accuracy that hard labels lose against the full set; IOR, the gain over a random set; LRS of both."""

    hlr: float
    ior: float
    lrs: float


def label_robust(real_hard: float, set_hard: float, set_any: float, random_any: float, w: float = 0.5) -> LabelRobust:
    """Label-robust score; higher is better.

    real_hard: accuracy after learning from the full set · set_hard: from the condensed set, both with hard labels
    set_any: from the condensed set with labels and protocol of its own · random_any: from as many random pictures, the
    same way (each with the rate that suits it)
    HLR = real_hard − set_hard · IOR = set_any − random_any · LRS = normalised(w · IOR − (1 − w) · HLR)

    >>> round(label_robust(0.88, 0.50, 0.50, 0.33).lrs, 4)
    0.2265
    """
    _check_shares(real_hard=real_hard, set_hard=set_hard, set_any=set_any, random_any=random_any, w=w)
    hlr, ior = real_hard - set_hard, set_any - random_any
    return LabelRobust(hlr, ior, normalised_score(w * ior - (1 - w) * hlr))


def augmentation_robust(
    set_changed: float, random_changed: float, set_plain: float, random_plain: float, gamma: float = 0.5
) -> float:
    """Augmentation-robust score: gains over random with and without augmentation; higher is better.

    ARS = normalised(γ (set_changed − random_changed) + (1 − γ) (set_plain − random_plain))

    >>> augmentation_robust(0.6, 0.5, 0.4, 0.3) == normalised_score(0.1)
    True
    """
    _check_shares(
        set_changed=set_changed, random_changed=random_changed, set_plain=set_plain, random_plain=random_plain,
        gamma=gamma,
    )  # fmt: skip
    return normalised_score(gamma * (set_changed - random_changed) + (1 - gamma) * (set_plain - random_plain))


def normalised_score(value: float) -> float:
    """(e^value − e^−1) / (e − e^−1): −1 is 0, 1 is 1.

    >>> normalised_score(-1.0), normalised_score(1.0)
    (0.0, 1.0)
    """
    return (math.exp(value) - math.exp(-1)) / (math.exp(1) - math.exp(-1))


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise InvalidValueError(f"{name} must be a share from 0 to 1, got {value}: divide percent by 100")
