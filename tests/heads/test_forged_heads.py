"""Saved heads that someone forged, their hashes in order: every one is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import RejectedFileError
from lightmeter.parts import build

SPECS = [
    "ridge", "ridge/grows=false", "svm", "svm/kernel=rbf", "forest/trees=4,depth=3", "knn", "knn/pca=4", "knn/first=5",
    "pnn",
]  # fmt: skip
DIM = {"ridge": 80}
"""More features than rows, so that ridge keeps its rows."""


def fitted(spec):
    drawn = np.random.default_rng(0)
    y = np.arange(60) % 4
    x = drawn.standard_normal((60, DIM.get(spec, 12))) + y[:, None]
    return build(spec, "head").fit(x.astype(np.float32), y)


def refused(model, folder, forge):
    model.save(folder)
    arrays, about = load_model(folder)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    forge(arrays, about)
    save_model(folder, arrays, about)
    with pytest.raises(RejectedFileError) as error:
        type(model).load(folder)
    assert str(error.value).count("\n") == 0


def other(array):
    """The same numbers in another type."""
    return array.astype(np.float32 if array.dtype == np.float64 else np.float64)


CHANGES = {
    "dropped": lambda arrays, name: arrays.pop(name),
    "shorter": lambda arrays, name: arrays.update({name: arrays[name][:-1]}),
    "narrower": lambda arrays, name: arrays.update({name: np.ascontiguousarray(arrays[name][..., :-1])}),
    "deeper": lambda arrays, name: arrays.update({name: arrays[name][None]}),
    "of another type": lambda arrays, name: arrays.update({name: other(arrays[name])}),
}

SOUND = {("svm", "weights"), ("svm/kernel=rbf", "vectors")}
"""A machine of fewer features is a machine."""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("spec", SPECS)
def test_an_array_that_was_changed_is_refused(spec, change, tmp_path):
    model = fitted(spec)
    if hasattr(model, "base") and model.base is not None:
        model = model.add(np.ones((2, model.weights.shape[1])), np.array([0, 1]))
    model.save(tmp_path)
    names = [name for name, array in load_model(tmp_path)[0].items() if array.size or change is CHANGES["dropped"]]
    assert names
    for name in names:
        if change is not CHANGES["narrower"] or (spec, name) not in SOUND:
            refused(model, tmp_path, lambda arrays, _, name=name: change(arrays, name))


@pytest.mark.parametrize("spec", SPECS)
def test_another_spec_is_refused(spec, tmp_path):
    model = fitted(spec)
    own = spec.partition("/")[0]
    others = [each for each in ("ridge", "knn", "forest", "svm", "pnn") if each != own]
    for wrong in [*others, "brute", "knn/k=0", "no such", None, 7, ["knn"]]:
        refused(model, tmp_path, lambda _, about, wrong=wrong: about.update(spec=wrong))
    refused(model, tmp_path, lambda _, about: about.pop("spec"))


@pytest.mark.parametrize("spec", SPECS)
def test_facts_beside_the_arrays_are_held(spec, tmp_path):
    model = fitted(spec)
    model.save(tmp_path)
    for name in [name for name in load_model(tmp_path)[1] if name != "spec"]:
        refused(model, tmp_path, lambda _, about, name=name: about.pop(name))
        for wrong in (-1, "3", None, True, 1 << 70 if name != "gamma" and name != "seen" else [1]):
            refused(model, tmp_path, lambda _, about, name=name, wrong=wrong: about.update({name: wrong}))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("svm", "seen"), ("svm/kernel=rbf", "ends"), ("knn", "starts"), ("knn", "seen"), ("forest/trees=4", "features"),
        ("forest/trees=4", "children"), ("forest/trees=4", "roots"), ("forest/trees=4", "starts"),
        ("forest/trees=4", "labels"), ("forest/trees=4", "seen"),
    ],
)  # fmt: skip
def test_places_out_of_range_are_refused(spec, name, tmp_path):
    for wrong in (-1, 1 << 30):
        refused(fitted(spec), tmp_path, lambda arrays, _, wrong=wrong: arrays[name].flat.__setitem__(0, wrong))


@pytest.mark.parametrize("spec", SPECS)
def test_numbers_that_are_none_are_refused(spec, tmp_path):
    model = fitted(spec)
    model.save(tmp_path)
    names = [name for name, array in load_model(tmp_path)[0].items() if array.dtype.kind == "f" and array.size]
    assert names
    for name in names:
        refused(model, tmp_path, lambda arrays, _, name=name: arrays[name].fill(np.nan))


def test_kernels_do_not_mix(tmp_path):
    for spec, wrong in (("svm", "svm/kernel=rbf"), ("svm/kernel=rbf", "svm")):
        refused(fitted(spec), tmp_path, lambda _, about, wrong=wrong: about.update(spec=wrong))


def test_flags_are_bits(tmp_path):
    refused(fitted("pnn"), tmp_path, lambda arrays, _: arrays["there"].view(np.uint8).fill(2))


def test_ridge_without_its_factor_is_refused(tmp_path):
    refused(fitted("ridge/grows=false"), tmp_path, lambda _, about: about.update(spec="ridge"))
    refused(fitted("ridge"), tmp_path, lambda arrays, _: arrays["lower"].fill(0))
