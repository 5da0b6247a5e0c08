"""Meshes of the arm: STL files read, and made so coarse that a small picture of them costs little."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.types import Array

_HEAD_BYTES, _FACE_BYTES = 84, 50


def read_stl(path: Path | str) -> Array:
    """Triangles of a binary STL file: float32 [F, 3 corners, 3], in the file's own unit.

    Raises RejectedFileError where the file is not exactly as long as its count of triangles says.
    """
    data = Path(path).read_bytes()
    count = int.from_bytes(data[80:_HEAD_BYTES], "little")
    if len(data) != _HEAD_BYTES + _FACE_BYTES * count or not count:
        raise RejectedFileError(
            "truncated", f"{Path(path).name} must be a binary STL of {_HEAD_BYTES} + {_FACE_BYTES} bytes a triangle"
        )
    face = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
    corners: Array = np.frombuffer(data, face, count, _HEAD_BYTES)["corners"].astype(np.float32)
    return corners


def decimate(triangles: Array, cell: float) -> tuple[Array, Array]:
    """Corners of one cell of a grid become one corner, their mean; triangles that collapse or repeat go.

    triangles: float [F, 3, 3] · cell: side of a cell, in the same unit
    Returns corners float64 [V, 3] and faces int64 [G, 3], turned as they were.  Cost: O(F log F).
    Source: Rossignac & Borrel, "Multi-resolution 3D approximations for rendering complex scenes", 1993.
    """
    if cell <= 0:
        raise InvalidValueError(f"cell must be above 0, got {cell}")
    corners = triangles.reshape(-1, 3).astype(np.float64)
    _, owner = np.unique(np.round(corners / cell).astype(np.int64), axis=0, return_inverse=True)
    owner = owner.reshape(-1)
    counts = np.bincount(owner)
    merged = np.stack([np.bincount(owner, corners[:, axis]) / counts for axis in range(3)], 1)
    faces = owner.reshape(-1, 3)
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (a != c)]
    # The smallest corner first: equal triangles are equal rows, and one and its back stay two, or thin parts get holes.
    turned = np.take_along_axis(faces, (faces.argmin(1)[:, None] + np.arange(3)) % 3, 1)
    _, first = np.unique(turned, axis=0, return_index=True)
    return merged, faces[np.sort(first)]
