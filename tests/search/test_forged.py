"""Saved indexes that someone forged, their hashes in order: every one is refused in a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.assets.files import file_sha256
from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import RejectedFileError
from lightmeter.parts import build

SPECS = [
    "brute", "one-bit", "hyperplanes", "permutation", "permutation/metric=kl", "pivots/check=1", "pivots/matrix=full",
    "faiss", "faiss/kind=ivf", "faiss/kind=hnsw", "faiss/kind=pca-refine,components=8", "faiss/kind=one-bit", "usearch",
]  # fmt: skip


def fitted(spec):
    return build(spec, "index").fit(rows())


def rows(count=200):
    return np.abs(np.random.default_rng(0).standard_normal((count, 24))).astype(np.float32) + 0.1


def forged(index, folder, forge):
    """Saved, opened, changed by `forge(arrays, about)`, and put back under a hash that fits."""
    index.save(folder)
    arrays, about = load_model(folder)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    forge(arrays, about)
    save_model(folder, arrays, about)
    return type(index), folder


def refused(index, folder, forge):
    made, folder = forged(index, folder, forge)
    with pytest.raises(RejectedFileError) as error:
        made.load(folder)
    assert str(error.value).count("\n") == 0


def other(array):
    """The same numbers in another type."""
    return array.astype(np.float32 if array.dtype == np.float64 else np.float64)


CHANGES = {
    "dropped": lambda arrays, name: arrays.pop(name),
    "shorter": lambda arrays, name: arrays.update({name: arrays[name][: len(arrays[name]) // 2]}),
    "narrower": lambda arrays, name: arrays.update({name: np.ascontiguousarray(arrays[name][..., :-1])}),
    "deeper": lambda arrays, name: arrays.update({name: arrays[name][None]}),
    "of another type": lambda arrays, name: arrays.update({name: other(arrays[name])}),
}

SOUND = {"brute", "pivots"}
"""A gallery of fewer dimensions is one, where nothing else is as wide as its vectors."""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("spec", SPECS)
def test_an_array_that_was_changed_is_refused(spec, change, tmp_path):
    index = fitted(spec)
    index.save(tmp_path)
    names = list(load_model(tmp_path)[0])
    assert names
    for name in names:
        if change is not CHANGES["narrower"] or name != "vectors" or spec.partition("/")[0] not in SOUND:
            refused(index, tmp_path, lambda arrays, _, name=name: change(arrays, name))


@pytest.mark.parametrize("spec", SPECS)
def test_another_spec_is_refused(spec, tmp_path):
    index = fitted(spec)
    own = spec.partition("/")[0]
    others = {
        "granular",
        "brute",
        "usearch",
        "hnswlib",
        "trees",
        "faiss/kind=sq8",
        "ridge",
        "brute/metric=loud",
        "é" * 9,
    }
    for wrong in [*sorted(each for each in others if each != own), None, 7, ["brute"], "brute/threads=" + "9" * 5000]:
        refused(index, tmp_path, lambda _, about, wrong=wrong: about.update(spec=wrong))
    refused(index, tmp_path, lambda _, about: about.pop("spec"))


@pytest.mark.parametrize("spec", SPECS)
def test_numbers_that_are_none_are_refused(spec, tmp_path):
    index = fitted(spec)
    index.save(tmp_path)
    for name, array in load_model(tmp_path)[0].items():
        if array.dtype.kind == "f":
            refused(index, tmp_path, lambda arrays, _, name=name: arrays[name].fill(np.nan))


@pytest.mark.parametrize("spec", ["brute", "hyperplanes", "faiss", "usearch", "pivots/check=1"])
def test_a_gallery_without_rows_is_refused(spec, tmp_path):
    def empty(arrays, _):
        arrays.update(vectors=arrays["vectors"][:0], alive=arrays["alive"][:0])

    refused(fitted(spec), tmp_path, empty)


def test_ids_out_of_range_are_refused(tmp_path):
    for wrong in (-1, 200, 1 << 40):
        refused(fitted("pivots"), tmp_path, lambda arrays, _, wrong=wrong: arrays["pivots"].__setitem__(0, wrong))
    refused(fitted("pivots"), tmp_path, lambda arrays, _: arrays["pivots"].fill(3))
    refused(fitted("permutation"), tmp_path, lambda arrays, _: arrays["codes"].__setitem__((0, 0), 32))
    for wrong in (-1.0, float("inf"), "1", None, True):
        refused(fitted("pivots"), tmp_path, lambda _, about, wrong=wrong: about.update(stop_below=wrong))
    for wrong in (0.0, -1.0, float("nan"), [1.0]):
        refused(fitted("one-bit"), tmp_path, lambda _, about, wrong=wrong: about.update(unit=wrong))


def test_rows_outside_the_domain_are_refused(tmp_path):
    refused(fitted("permutation/metric=kl"), tmp_path, lambda arrays, _: arrays["vectors"].__setitem__((0, 0), -1))
    refused(fitted("permutation/metric=kl"), tmp_path, lambda arrays, _: arrays["pivots"].__setitem__((0, 0), -1))


@pytest.mark.parametrize("spec", ["faiss", "faiss/kind=ivf", "faiss/kind=hnsw", "usearch"])
def test_a_library_s_index_of_another_gallery_is_refused(spec, tmp_path):
    more = build(spec, "index").fit(rows(210)).engine.frozen()
    wider = build(spec, "index").fit(np.tile(rows(), (1, 2))).engine.frozen()
    noise = np.zeros(len(more), np.uint8)
    for wrong in (more, wider, noise):
        refused(fitted(spec), tmp_path, lambda arrays, _, wrong=wrong: arrays.update(index=np.array(wrong)))


@pytest.mark.parametrize(
    "wrong",
    [rows()[:100], rows()[:, :20], rows().astype(np.float64), rows()[0], np.full((200, 24), np.nan, np.float32)],
    ids=["short", "narrow", "wide numbers", "flat", "nan"],
)
def test_one_bit_s_vectors_are_held_to_their_codes(wrong, tmp_path):
    index = fitted("one-bit")
    index.save(tmp_path)
    np.save(tmp_path / "vectors.npy", wrong)
    with pytest.raises(RejectedFileError, match="of one saving"):
        type(index).load(tmp_path)
    arrays, about = load_model(tmp_path)
    save_model(tmp_path, arrays, {**about, "vectors_sha256": file_sha256(tmp_path / "vectors.npy")})
    with pytest.raises(RejectedFileError):
        type(index).load(tmp_path)
    (tmp_path / "vectors.npy").unlink()
    with pytest.raises(RejectedFileError, match="has none"):
        type(index).load(tmp_path)


@pytest.mark.parametrize("spec", SPECS)
def test_what_was_not_forged_still_answers(spec, tmp_path):
    index = fitted(spec)
    if index.abilities.remove:
        index.remove(np.array([5]))
    made, folder = forged(index, tmp_path, lambda *_: None)
    assert made.load(folder).search(rows()[:9], 2).ids.tolist() == index.search(rows()[:9], 2).ids.tolist()
