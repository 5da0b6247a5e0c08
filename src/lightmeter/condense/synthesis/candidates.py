"""Which of several pictures of a prototype is kept: one that a teacher knows, and that is unlike those kept already."""

from __future__ import annotations

import numpy as np

from lightmeter.errors import InvalidValueError
from lightmeter.types import Array, check_axes


def kept_candidates(losses: Array, features: Array, *, apart: float = 0.0) -> Array:
    """For each prototype in turn, the number of the candidate that is kept: int64 [P].

    The lowest of loss + apart · the greatest cosine to a picture kept before it, of this class; the first of equals.
    losses: float [P, n], cross-entropy of a teacher in nats · features: float [P, n, D] · apart: nats a cosine of 1
    Cost: O(P²·n·D).
    Source: Zou et al. 2025, arXiv:2507.13074 (detector-guided selection: confident and dissimilar). Changed: one sum in
    place of a threshold on the confidence and a choice among those above.
    """
    check_axes("losses", losses, "P n")
    check_axes("features", features, f"{losses.shape[0]} {losses.shape[1]} D")
    if not 0 <= apart < np.inf:
        raise InvalidValueError(f"apart must be 0 or more and finite, got {apart}")
    rows = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)
    kept = np.zeros(len(losses), np.int64)
    for at, some in enumerate(losses):
        scores = some.astype(np.float64)
        if at and apart:
            before = rows[np.arange(at), kept[:at]]
            scores = scores + apart * (rows[at] @ before.T).max(axis=1)
        kept[at] = scores.argmin()
    return kept


def cross_entropies(logits: Array, label: int) -> Array:
    """Cross-entropy of each row of logits [M, K] with one class, in nats: float64 [M]."""
    rows = logits.astype(np.float64)
    top = rows.max(axis=1, keepdims=True)
    found: Array = np.log(np.exp(rows - top).sum(axis=1)) + top[:, 0] - rows[:, label]
    return found
