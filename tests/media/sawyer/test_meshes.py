"""STL files and their decimation, on meshes made here."""

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.media.sawyer.meshes import decimate, read_stl


def stl_bytes(triangles) -> bytes:
    rows = np.zeros(len(triangles), np.dtype([("n", "<f4", 3), ("v", "<f4", (3, 3)), ("x", "<u2")]))
    rows["v"] = triangles
    return b"made here".ljust(80) + len(triangles).to_bytes(4, "little") + rows.tobytes()


def sheet(cells: int) -> np.ndarray:
    """A flat square of side 1, seen from above: 2 * cells**2 triangles [F, 3, 3], all wound alike."""
    low = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), [0]), -1).reshape(-1, 1, 3) / cells
    step = 1 / cells
    first = np.array([[0, 0, 0], [step, 0, 0], [step, step, 0]])
    second = np.array([[0, 0, 0], [step, step, 0], [0, step, 0]])
    return np.concatenate([low + first, low + second]).astype(np.float32)


def areas(corners, faces):
    a, b, c = (corners[faces[:, each]] for each in range(3))
    return np.cross(b - a, c - a)[:, 2] / 2


def test_an_stl_comes_back(tmp_path):
    triangles = sheet(3)
    (tmp_path / "x.stl").write_bytes(stl_bytes(triangles))
    np.testing.assert_array_equal(read_stl(tmp_path / "x.stl"), triangles)


@pytest.mark.parametrize(
    "data", [b"", b"solid text", stl_bytes(sheet(2))[:-1], stl_bytes(sheet(2)) + b"x", stl_bytes(sheet(1)[:0])]
)
def test_another_file_is_refused(tmp_path, data):
    (tmp_path / "x.stl").write_bytes(data)
    with pytest.raises(RejectedFileError, match=r"x\.stl must be a binary STL"):
        read_stl(tmp_path / "x.stl")


def test_fine_cells_change_nothing():
    corners, faces = decimate(sheet(4), 1e-4)
    assert (len(corners), len(faces)) == (25, 32)
    assert areas(corners, faces).sum() == pytest.approx(1)


def test_coarse_cells_keep_the_surface_and_its_side():
    corners, faces = decimate(sheet(40), 0.1)
    assert len(faces) <= 250 < 3200
    assert (areas(corners, faces) > 0).all(), "wound as before"
    assert areas(corners, faces).sum() == pytest.approx(1, abs=0.15)
    assert corners.min() >= 0
    assert corners.max() <= 1


def test_doubles_go_and_backs_stay():
    one = sheet(1)[:1]
    back = one[:, ::-1]
    turned = np.roll(one, 1, axis=1)
    _, faces = decimate(np.concatenate([one, turned, back, one]), 0.01)
    assert len(faces) == 2


def test_a_cell_has_a_size():
    with pytest.raises(InvalidValueError, match="above 0"):
        decimate(sheet(1), 0)
