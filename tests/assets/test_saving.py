from __future__ import annotations

import numpy as np
import pytest

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError

ARRAYS = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 4), np.int64),
    "yes": np.array([True, False]), "half": np.ones(3, np.float16),
    "codes": np.arange(-3, 3, dtype=np.int8), "turned": np.arange(6.0).reshape(2, 3).T,
}  # fmt: skip


def test_what_was_saved_is_loaded(tmp_path):
    save_model(tmp_path / "m", ARRAYS, {"spec": "x/y=1", "list": [1, 2]})
    arrays, about = load_model(tmp_path / "m")
    assert about == {"spec": "x/y=1", "list": [1, 2]}
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_the_package_reads_it_too(tmp_path):
    from safetensors.numpy import load_file

    save_model(tmp_path, ARRAYS, {})
    for name, array in load_file(tmp_path / "model.safetensors").items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize("letters", range(1, 200, 7))
def test_no_length_of_header_is_taken_for_a_pickle(letters, tmp_path):
    save_model(tmp_path, {"x" * letters: np.zeros(3, np.float32)}, {})
    assert list(load_model(tmp_path)[0]) == ["x" * letters]


def test_half_a_model_is_none(tmp_path):
    save_model(tmp_path, ARRAYS, {})
    (tmp_path / "model.json").unlink()
    with pytest.raises(MissingAssetError, match=r"has no model\.json"):
        load_model(tmp_path)


def test_two_savings_do_not_mix(tmp_path):
    save_model(tmp_path / "a", {"w": np.zeros(2)}, {})
    save_model(tmp_path / "b", {"w": np.ones(2)}, {})
    (tmp_path / "a" / "model.json").replace(tmp_path / "b" / "model.json")
    with pytest.raises(RejectedFileError, match="of one saving"):
        load_model(tmp_path / "b")


@pytest.mark.parametrize("text", ["{", "[]", "nothing", "[" * 100_000])
def test_broken_json_is_refused(text, tmp_path):
    save_model(tmp_path, ARRAYS, {})
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(RejectedFileError):
        load_model(tmp_path)


def test_types_without_a_name_are_refused(tmp_path):
    with pytest.raises(InvalidValueError, match="w must be of float64"):
        save_model(tmp_path, {"w": np.zeros(2, np.complex64)}, {})
    assert not list(tmp_path.iterdir()), "nothing half-written stays"
