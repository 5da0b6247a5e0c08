"""A condensed set on disk, as arrays and what is told of them, beside whatever else a caller keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from lightmeter.assets.saving import expect, insist
from lightmeter.condense.protocol import Condensed
from lightmeter.types import Array


def condensed_arrays(small: Condensed) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and JSON of a set, for `assets.saving.save_model`."""
    arrays = {"images": small.images, "labels": small.labels}
    if small.rows is not None:
        arrays["rows"] = small.rows
    if small.members:
        arrays["members"] = np.concatenate(small.members).astype(np.int64)
        arrays["ends"] = np.cumsum([len(each) for each in small.members])
    if small.soft is not None:
        arrays["soft"] = small.soft.astype(np.float32)
    return arrays, {"texts": list(small.texts), "notes": list(small.notes), "formation": small.formation}


def condensed_of(arrays: dict[str, Array], about: dict[str, Any]) -> Condensed:
    """The inverse; raises RejectedFileError for anything else."""
    images = expect(arrays, "images", "uint8", None, None, None, None)
    count = len(images)
    rows = expect(arrays, "rows", "int64", count) if "rows" in arrays else None
    soft = expect(arrays, "soft", "float32", count, None) if "soft" in arrays else None
    members: tuple[Array, ...] = ()
    if "members" in arrays:
        ends = expect(arrays, "ends", "int64", count)
        members = tuple(np.split(expect(arrays, "members", "int64", None), ends[:-1]))
    formation = about.get("formation", 1)  # sets of before have none
    insist(type(formation) is int and formation >= 1, "formation of a set must be a whole number from 1 on")
    return Condensed(
        images, expect(arrays, "labels", "int64", count), rows, members, tuple(about["texts"]), soft,
        tuple(about["notes"]), formation,
    )  # fmt: skip
