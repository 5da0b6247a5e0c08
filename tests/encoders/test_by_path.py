"""Encoders that read what the user names: old specs stay, and a library can hold them to what lies there now."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest

from lightmeter.encoders.by_path import PIN_DIGITS, content_sha256, digest_of, pinned, stamp_of, weights_id
from lightmeter.encoders.codebook import Codebook
from lightmeter.encoders.word_vectors import WordVectors, open_vectors
from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.parts import build
from lightmeter.types import Image, Labels, Words

STORED = {
    "clip": "clip/folder='/no/c',device=cpu",
    "learnt": "learnt/model='/no/m'",
    "tokens": "tokens/vectors='/no/v',part=title,profile=modern,english=names,lexicon=none,length=40",
    "word-histogram": "word-histogram/vectors=glove,part=keywords,profile=modern,english=names,lexicon=none,"
    "codebook='/no/c',metric=l2",
}
"""As libraries, sets and models have them from the time before encoders could be held to a hash."""


@pytest.mark.parametrize("spec", STORED.values(), ids=STORED)
def test_a_spec_that_was_stored_without_a_hash_stays_as_it_is(spec):
    assert build(spec).spec == spec
    held = f"{spec},sha256=deadbeef"
    assert build(held).spec == held
    assert build(held) != build(spec)
    with pytest.raises(InvalidValueError, match="first 8 to 64 hex digits"):
        build(f"{spec},sha256=xyz")


def vectors(folder, shift=0.0):
    table = np.array([[0], [1], [1], [2], [8], [9]], np.float32) + np.float32(shift)
    table[0] = 0
    WordVectors(("cat", "mat", "red", "ships", "sea"), table).save(folder)


def learn(folder, seed):
    pytest.importorskip("torch")
    from lightmeter.heads.net_head import net_head
    from lightmeter.heads.training import Adam, fit_net

    rows = np.random.default_rng(0).random((8, 8), np.float32)
    block = Block("visual", "features", 8, build("color-histogram/bins=2").spec)
    labels = Labels.of([[at % 2] for at in range(8)], 2)
    examples = ArrayExamples((block,), {"visual": rows}, list("abcdefgh"), ("x", "y"), labels)
    head, training = net_head("keyword-mlp/widths=[6,4]"), Adam(epochs=1, batch=8)
    made: Classifier = fit_net(head, examples, training=training, seed=seed)
    made.save(folder)


@pytest.fixture(params=["clip", "learnt", "tokens", "word-histogram"])
def changing(request, tmp_path):
    """A spec, an item, and a call that changes what lies at the spec's path: another answer for the item then."""
    name, place = request.param, tmp_path / "mine"
    if name == "clip":
        shutil.copytree(request.getfixturevalue("clip_folder"), place)
        return f"clip/folder='{place}'", Image(np.full((40, 40, 3), 90, np.uint8)), lambda: _other_clip(place)
    if name == "learnt":
        learn(place, seed=0)
        return f"learnt/model='{place}'", Image(np.full((9, 9, 3), 90, np.uint8)), lambda: learn(place, seed=1)
    vectors(place)
    spec = f"{name}/vectors='{place}',part=both"
    if name == "word-histogram":
        Codebook(np.array([[1], [9]], np.float32)).save(tmp_path / "codebook")
        spec += f",codebook='{tmp_path / 'codebook'}'"
        return spec, Words("cat mat ships"), lambda: vectors(place, shift=7)
    return spec, Words("cat mat ships"), lambda: WordVectors(("mat",), np.eye(2, 1, -1, np.float32)).save(place)


def _other_clip(folder):
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    save_file({name: np.asarray(each * 0.5) for name, each in load_file(path).items()}, path)


def test_one_that_is_held_answers_for_its_files_alone(changing):
    spec, item, change = changing
    free = build(spec)
    held = pinned(free)
    assert len(held.sha256) == PIN_DIGITS
    assert held.sha256 in held.spec
    assert build(held.spec) == held != free
    assert pinned(held) is held
    before = free.encode([item])
    np.testing.assert_array_equal(held.encode([item]), before)
    change()
    for call in (held.load, lambda: held.encode([item])):
        with pytest.raises(MissingAssetError, match=f"must have the sha256 {held.sha256}…, got "):
            call()
    anew = pinned(free)
    assert anew.spec != held.spec
    assert not np.array_equal(anew.encode([item]), before), "nothing of the old one is kept"
    np.testing.assert_array_equal(free.encode([item]), anew.encode([item]))


def test_files_that_are_gone_are_named(tmp_path):
    with pytest.raises(MissingAssetError, match=f"{tmp_path}/v is not there"):
        pinned(build(f"tokens/vectors='{tmp_path}/v'"))


def test_encoders_inside_are_held_too(tmp_path, word_folders):
    inner = f"word-histogram/{word_folders['word-histogram']}"
    outer = build(f"centred/text=({inner})", "encoder")
    held = pinned(outer)
    assert held.text == pinned(build(inner))
    assert held.text.sha256
    assert build(held.spec) == held
    assert weights_id(held) == weights_id(build(inner))


@pytest.mark.parametrize("spec", ["color-histogram", "bge-small", "conse", "tokens/vectors=glove"])
def test_what_comes_with_us_needs_no_hash(spec):
    made = build(spec, "encoder")
    assert pinned(made) is made
    assert weights_id(made) == ""


def test_of_several_files_every_one_counts(tmp_path, word_folders):
    made = build(f"word-histogram/{word_folders['word-histogram']}")
    paths = [made.codebook.parent / "vectors", made.codebook]
    both = " ".join(map(content_sha256, paths)).encode()
    assert pinned(made).sha256 == hashlib.sha256(both).hexdigest()[:PIN_DIGITS] == digest_of(paths)[:PIN_DIGITS]
    (tmp_path / "english.txt").write_text("cat\n")
    listed = f"tokens/vectors='{paths[0]}',english=published,lexicon='{tmp_path / 'english.txt'}'"
    before = pinned(build(listed)).sha256
    (tmp_path / "english.txt").write_text("mat\n")
    assert pinned(build(listed)).sha256 != before


def test_arrays_beside_a_file_of_gensims_count(tmp_path):
    path, beside = tmp_path / "v.kv", tmp_path / "v.kv.vectors.npy"
    path.write_bytes(b"\x80\x04.")
    alone, bare = content_sha256(path), stamp_of(path)
    assert alone == hashlib.sha256(path.read_bytes()).hexdigest()
    np.save(beside, np.zeros(3))
    with_zeros = content_sha256(path)
    np.save(beside, np.ones(3))
    assert len({alone, with_zeros, content_sha256(path)}) == 3
    assert stamp_of(path)[: len(bare)] == bare
    assert stamp_of(tmp_path / "none") == ()


def test_vectors_are_read_once_while_they_stay(tmp_path):
    vectors(tmp_path / "v")
    first = open_vectors(str(tmp_path / "v"))
    assert open_vectors(str(tmp_path / "v")) is first
    vectors(tmp_path / "v", shift=1)
    again = open_vectors(str(tmp_path / "v"))
    np.testing.assert_array_equal(again.table[1:], first.table[1:] + 1)
