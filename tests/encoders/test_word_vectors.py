"""Word vectors: every format, by hand and from files that lie."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import time
import tracemalloc
import types
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmeter.assets import keyed_vectors
from lightmeter.assets.finding import find_or_none
from lightmeter.assets.keyed_vectors import arrays_beside
from lightmeter.assets.saving import load_model, save_model
from lightmeter.encoders import word_vectors
from lightmeter.encoders.word_vectors import WordVectors, open_vectors, read_vectors
from lightmeter.errors import InvalidValueError, LightmeterError, RejectedFileError, UnsafeFileError

WORDS = ("cat", "New_York", "été", "the")
ROWS = np.array([[1, 2, 3], [0.5, -1, 0], [9, 8, 7], [1e-3, 1e3, -2]], np.float32)


def made(words=WORDS, rows=ROWS):
    return WordVectors(tuple(words), np.concatenate([np.zeros((1, rows.shape[1]), np.float32), rows]))


def write_bin(path, words=WORDS, rows=ROWS, *, header=None, end=b"\n"):
    """As word2vec.c writes, with a line end after each vector, or without, as gensim does."""
    body = b"".join(word.encode() + b" " + row.astype("<f4").tobytes() + end for word, row in zip(words, rows))  # noqa: B905
    path.write_bytes((header or f"{len(words)} {rows.shape[1]}").encode() + b"\n" + body)
    return path


def write_text(path, words=WORDS, rows=ROWS, *, header=True):
    lines = [f"{word} {' '.join(map(repr, row.tolist()))}" for word, row in zip(words, rows, strict=True)]
    path.write_text("\n".join([*([f"{len(words)} {rows.shape[1]}"] if header else []), *lines]) + "\n", "utf-8")
    return path


def gensim_class(module, name):
    """A stand-in that pickles under a name of gensim's: what gensim writes is its name and its attributes."""
    return type(name, (), {"__module__": module, "__qualname__": name})


def write_kv(path, words=WORDS, rows=ROWS, *, beside=False, protocol=4, name="KeyedVectors", **more):
    """As `KeyedVectors.save` of gensim 4.4.0 writes: an object's attributes, arrays of 10 million numbers beside it.

    Checked once against gensim itself, which loads these files: same words, same rows.
    """
    module = "gensim.models.keyedvectors"
    made = gensim_class(module, name)()
    made.vector_size = rows.shape[1]
    made.index_to_key = list(words)
    made.next_index = 0
    made.key_to_index = {word: at for at, word in enumerate(words)}
    made.norms, made.expandos = None, {"count": np.arange(len(words))}
    made.lifecycle_events = [{"ignore": frozenset(), "event": "saving", "gensim": "4.4.0"}]
    if beside:
        np.save(f"{path}.vectors.npy", rows)
    else:
        made.vectors = rows
    for part, value in {"numpys": ["vectors"] if beside else [], "scipys": [], "ignoreds": []}.items():
        setattr(made, f"__{part}", value)
    vars(made).update(more)
    return dump(path, made, protocol)


def write_kv_3(path, words=WORDS, rows=ROWS, *, beside=False, vectors="vectors"):
    """As gensim 3 wrote: protocol 2, a `vocab` of objects, `index2word`; `vectors` was `syn0` before that."""
    made = gensim_class("gensim.models.keyedvectors", "Word2VecKeyedVectors")()
    word = gensim_class("gensim.models.keyedvectors", "Vocab")
    vocab = {each: word() for each in words}
    for at, each in enumerate(vocab.values()):
        vars(each).update(count=np.int64(9), index=at, sample_int=2**32 - 1)
    vars(made).update(vocab=vocab, vector_size=rows.shape[1], index2word=list(words), vectors_norm=None)
    vars(made)["__numpys"] = [vectors] if beside else []
    if beside:
        np.save(f"{path}.{vectors}.npy", rows)
    else:
        setattr(made, vectors, rows)
    return dump(path, made, 2)


def dump(path, made, protocol):
    parts = [made, *(each for value in vars(made).values() if isinstance(value, dict) for each in value.values())]
    modules = {name: types.ModuleType(name) for name in ("gensim", "gensim.models")}
    for kind in {type(each) for each in parts if type(each).__module__.startswith("gensim")}:
        module = modules.setdefault(kind.__module__, types.ModuleType(kind.__module__))
        setattr(module, kind.__name__, kind)
    with mock.patch.dict(sys.modules, modules):
        path.write_bytes(pickle.dumps(made, protocol))
    return path


FORMATS = {
    "word2vec.bin": write_bin,
    "gensim.bin": lambda path: write_bin(path, end=b""),
    "word2vec.txt": write_text,
    "glove.txt": lambda path: write_text(path, header=False),
    "gensim 4.kv": write_kv,
    "gensim 3.kv": write_kv_3,
}


@pytest.mark.parametrize("name", FORMATS)
class TestEveryFormat:
    def test_gives_words_and_rows(self, name, tmp_path):
        vectors = read_vectors(FORMATS[name](tmp_path / name))
        assert vectors.words == WORDS
        assert vectors.table.dtype == np.float32
        np.testing.assert_array_equal(vectors.table, made().table)

    def test_gives_only_what_is_asked_for(self, name, tmp_path):
        vectors = read_vectors(FORMATS[name](tmp_path / name), only={"the", "cat", "dog"})
        assert vectors.words == ("cat", "the")
        np.testing.assert_array_equal(vectors.table[1:], ROWS[[0, 3]])
        with pytest.raises(RejectedFileError, match="none of the words to keep"):
            read_vectors(tmp_path / name, only={"dog"})

    def test_is_held_to_a_limit(self, name, tmp_path):
        path = FORMATS[name](tmp_path / name)
        with pytest.raises(UnsafeFileError, match="more than 0 MB of vectors: name the words to keep"):
            read_vectors(path, most_bytes=30)
        assert len(read_vectors(path, most_bytes=30, only={"cat"})) == 1

    def test_that_breaks_off_is_refused(self, name, tmp_path):
        path = FORMATS[name](tmp_path / name)
        path.write_bytes(path.read_bytes()[:-14])  # of gensim's: the end of the pickle
        if name == "glove.txt":  # it states no count: a line that is short is all that shows
            path.write_bytes(path.read_bytes().rstrip()[:-4])
        with pytest.raises((RejectedFileError, UnsafeFileError)):
            read_vectors(path)


def test_numbers_are_rows_of_the_table():
    vectors = made()
    numbers = vectors.numbers(["the", "dog", "cat"])
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [4, 0, 1]
    np.testing.assert_array_equal(vectors.table[numbers], [ROWS[3], [0, 0, 0], ROWS[0]])
    assert ("cat" in vectors, "dog" in vectors, len(vectors), vectors.dim) == (True, False, 4, 3)
    assert vectors.only({"the"}).numbers(["the", "cat"]).tolist() == [1, 0]


def test_of_a_doubled_word_the_first_counts_and_a_broken_word_is_left_out(tmp_path):
    vectors = read_vectors(write_bin(tmp_path / "a.bin", ("a", "b", "a"), ROWS[:3]))
    np.testing.assert_array_equal(vectors.table[1:], ROWS[:2])
    body = b"2 1\n" + b"caf\xe9 " + struct.pack("<f", 1) + b"cat " + struct.pack("<f", 2)
    (tmp_path / "b.bin").write_bytes(body)
    assert read_vectors(tmp_path / "b.bin").words == ("cat",)


def test_words_of_glove_may_hold_spaces(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("cat 1 2\n. . . 3 4\nat name@x 5 6\n")
    assert read_vectors(path).words == ("cat", ". . .", "at name@x")


def test_saved_and_loaded(tmp_path):
    made().save(tmp_path / "v")
    loaded = WordVectors.load(tmp_path / "v")
    assert loaded.words == WORDS
    np.testing.assert_array_equal(loaded.table, made().table)
    assert sorted(load_model(tmp_path / "v")[0]) == ["table", "words"]
    assert open_vectors(str(tmp_path / "v")).words == WORDS
    assert open_vectors(str(tmp_path / "v")) is open_vectors(str(tmp_path / "v"))


FORGED = {
    "fewer words": lambda arrays, about: arrays.update(words=np.frombuffer(b"a\nb", np.uint8)),
    "doubled words": lambda arrays, about: arrays.update(words=np.frombuffer(b"a\na\nb\nc", np.uint8)),
    "no UTF-8": lambda arrays, about: arrays.update(words=np.frombuffer(b"\xff\na\nb\nc", np.uint8)),
    "row 0": lambda arrays, about: arrays["table"].__setitem__(0, 1),
    "NaN": lambda arrays, about: arrays["table"].__setitem__(1, np.nan),
    "another type": lambda arrays, about: arrays.update(table=arrays["table"].astype(np.float64)),
    "another count": lambda arrays, about: about.update(words=3),
    "no count": lambda arrays, about: about.pop("words"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_forged_folders_are_refused(forge, tmp_path):
    made().save(tmp_path)
    arrays, about = load_model(tmp_path)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    forge(arrays, about)
    save_model(tmp_path, arrays, about)
    with pytest.raises(RejectedFileError):
        WordVectors.load(tmp_path)


@pytest.mark.parametrize(
    "header", ["999999999 300", "4 0", "0 3", "4 5000", "4 99999999999", "4", "x y", "4 3 2", "-4 3", "", "4 4"]
)
def test_a_header_that_lies_is_refused_before_anything_is_read(header, tmp_path):
    path = write_bin(tmp_path / "a.bin", header=header or " ")
    with pytest.raises((UnsafeFileError, RejectedFileError)):
        read_vectors(path)


LINES = {
    "no numbers": b"cat a b\ndog 1 2\n",
    "fewer numbers": b"cat 1 2\ndog 1\n",
    "infinite": b"cat 1 inf\n",
    "too long": b"cat " + b"1 " * 600_000 + b"\n",
    "one word": b"cat\n",
    "nothing": b"",
    "fewer lines than it says": b"3 2\ncat 1 2\n",
    "gzip": b"\x1f\x8b\x08\x00",
    "a pickle": pickle.dumps({"cat": 1}),
    "a pickle of no object": pickle.dumps([1]),
    "an old pickle": pickle.dumps({"cat": 1}, 0),
}


@pytest.mark.parametrize("data", LINES.values(), ids=LINES)
def test_what_is_no_text_of_vectors_is_refused(data, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(data)
    with pytest.raises((UnsafeFileError, RejectedFileError)):
        read_vectors(path)


OTHER_FORMS = {
    "the array beside it": lambda path: write_kv(path, beside=True),
    "the array beside it, gensim 3": lambda path: write_kv_3(path, beside=True),
    "syn0": lambda path: write_kv_3(path, vectors="syn0"),
    "syn0 beside it": lambda path: write_kv_3(path, vectors="syn0", beside=True),
    "protocol 2": lambda path: write_kv(path, protocol=2),
    "protocol 3": lambda path: write_kv(path, protocol=3),
    "float64": lambda path: write_kv(path, rows=ROWS.astype(np.float64)),
    "big-endian": lambda path: write_kv(path, rows=ROWS.astype(">f4")),
    "columns first": lambda path: write_kv(path, rows=np.asfortranarray(ROWS)),
    "room for more words": lambda path: write_kv(
        path, (*WORDS, None), np.concatenate([ROWS, np.ones((2, 3), np.float32)])
    ),
    "another name": lambda path: write_kv(path.with_suffix(".vec")),
}


@pytest.mark.parametrize("write", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_every_form_of_gensim_is_read(write, tmp_path):
    vectors = read_vectors(write(tmp_path / "v.kv"))
    assert vectors.words == WORDS
    np.testing.assert_array_equal(vectors.table, made().table)


def test_words_of_gensim_may_be_those_of_python_2(tmp_path):
    """There bytes were text: the vectors stand as a string of as many letters."""
    raw = ROWS.tobytes()
    path = write_kv(tmp_path / "v.kv", protocol=3)
    old = b"T" + struct.pack("<I", len(raw)) + raw
    assert path.read_bytes().count(b"C" + bytes([len(raw)]) + raw) == 1
    path.write_bytes(path.read_bytes().replace(b"C" + bytes([len(raw)]) + raw, old))
    np.testing.assert_array_equal(read_vectors(path).table, made().table)


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


BAD_KV = {
    "code in an attribute": lambda path: write_kv(path, norms=Evil()),
    "code in the words": lambda path: write_kv(path, index_to_key=[Evil()]),
    "code in place of the vectors": lambda path: write_kv(path, vectors=Evil()),
    "a whole model": lambda path: dump(path, gensim_class("gensim.models.word2vec", "Word2Vec")(), 4),
    "FastText": lambda path: dump(path, gensim_class("gensim.models.fasttext", "FastTextKeyedVectors")(), 4),
    "an array of objects": lambda path: write_kv(path, rows=np.array([[Evil()]], object)),
    "too wide": lambda path: write_kv(path, ("a",), np.ones((1, 5000), np.float32)),
}
BROKEN_KV = {
    "no state": lambda path: dump(path, gensim_class("gensim.models.keyedvectors", "KeyedVectors")(), 4),
    "a word's entry alone": lambda path: dump(path, gensim_class("gensim.models.keyedvectors", "Vocab")(), 4),
    "no words": lambda path: write_kv(path, index_to_key=None),
    "numbers for words": lambda path: write_kv(path, index_to_key=[1, 2]),
    "more words than vectors": lambda path: write_kv(path, ("a", "b"), ROWS[:1]),
    "whole numbers": lambda path: write_kv(path, rows=ROWS.astype(np.int32)),
    "one axis": lambda path: write_kv(path, ("a",), np.ones((1, 1), np.float32), vectors=np.ones(3, np.float32)),
    "no vectors": lambda path: write_kv(path, vectors=None),
    "nothing beside it": lambda path: write_kv(path, vectors=None, __numpys=["vectors"]),
    "not finite": lambda path: write_kv(path, rows=ROWS * np.inf),
    "another pickle of numpy's": lambda path: write_kv(path, vectors=np.float32(1)),
}


@pytest.mark.parametrize("write", BAD_KV.values(), ids=BAD_KV)
def test_gensim_that_asks_for_more_is_refused_unrun(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "v.kv")
    with pytest.raises(UnsafeFileError) as caught:
        read_vectors(path)
    assert "nothing was run; in gensim, write vectors.save_word2vec_format('vectors.bin'" in str(caught.value) or (
        "must hold vectors of 1 to 4096 numbers, got 5000" in str(caught.value)
    )
    assert [each.name for each in tmp_path.iterdir()] == ["v.kv"]


def test_python_itself_would_have_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_kv(tmp_path / "v.kv", norms=Evil())
    modules = {name: types.ModuleType(name) for name in ("gensim", "gensim.models", "gensim.models.keyedvectors")}
    modules["gensim.models.keyedvectors"].KeyedVectors = gensim_class("gensim.models.keyedvectors", "KeyedVectors")
    with mock.patch.dict(sys.modules, modules):
        pickle.loads(path.read_bytes())
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("write", BROKEN_KV.values(), ids=BROKEN_KV)
def test_gensim_that_is_broken_is_refused(write, tmp_path):
    with np.errstate(invalid="ignore"):
        path = write(tmp_path / "v.kv")
    with pytest.raises(RejectedFileError):
        read_vectors(path)


def test_an_array_beside_gensims_file_is_held_to_its_header(tmp_path):
    path = write_kv(tmp_path / "v.kv", beside=True)
    file = tmp_path / "v.kv.vectors.npy"
    assert arrays_beside(path) == [file]
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(RejectedFileError, match=r"v.kv.vectors.npy must hold 48 bytes, got 44"):
        read_vectors(path)
    np.save(file, np.array([[None]], object))
    with pytest.raises(UnsafeFileError, match="holds Python objects"):
        read_vectors(path)
    file.unlink()
    with pytest.raises(RejectedFileError, match=r"v.kv.vectors.npy must lie beside v.kv, it does not: put it back"):
        read_vectors(path)


def test_gensims_limits(tmp_path, monkeypatch):
    path = write_kv(tmp_path / "v.kv")
    monkeypatch.setattr(keyed_vectors, "MOST_OPCODES", 50)
    with pytest.raises(UnsafeFileError, match="at most 50 steps"):
        read_vectors(path)
    monkeypatch.setattr(keyed_vectors, "MOST_PICKLE_BYTES", 100)
    with pytest.raises(UnsafeFileError, match="at most 100 bytes"):
        read_vectors(path)


def test_bytes_that_are_asked_for_again_and_again_are_not_copied(tmp_path):
    """Text of a megabyte, encoded 10,000 times by a file that is hardly longer."""
    path, text = tmp_path / "v.kv", b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    again = (
        b"(c_codecs\nencode\nq\x01" + text + b"q\x02X\x06\x00\x00\x00latin1q\x030]" + b"h\x01h\x02h\x03\x86Ra" * 10_000
    )
    path.write_bytes(b"\x80\x02" + again + b"t.")
    tracemalloc.start()
    with pytest.raises(RejectedFileError):
        read_vectors(path)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_what_is_no_file_of_vectors_says_so(tmp_path):
    (tmp_path / "v.kv").write_bytes(b"cat 1 2\n")
    with pytest.raises(RejectedFileError, match="must be what gensim's KeyedVectors.save writes"):
        read_vectors(tmp_path / "v.kv")
    with pytest.raises(RejectedFileError, match="must be a file or a folder"):
        read_vectors(tmp_path / "no")


def test_vectors_hold_to_themselves():
    with pytest.raises(InvalidValueError, match="row 0"):
        WordVectors(("a",), np.ones((2, 2), np.float32))
    with pytest.raises(InvalidValueError, match="each once"):
        made(("a", "b", "a", "c"))
    with pytest.raises(InvalidValueError, match=r"table must be \[3, D\]"):
        WordVectors(("a", "b"), np.zeros((2, 2), np.float32))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutants_are_read_or_refused(data, tmp_path):
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    path = FORMATS[name](tmp_path / name)
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(body[: data.draw(st.integers(0, len(body)))])
    try:
        vectors = read_vectors(path)
    except LightmeterError:
        return
    assert vectors.table.shape == (len(vectors) + 1, vectors.dim)
    assert np.isfinite(vectors.table).all()


def test_the_packaged_glove():
    if find_or_none("glove") is None:
        pytest.skip("`lightmeter assets add glove` brings the vectors")
    pytest.importorskip("pyarrow")
    vectors = word_vectors._glove(find_or_none("glove"))
    assert (len(vectors), vectors.dim) == (400_000, 50)
    unit = vectors.table / np.maximum(np.linalg.norm(vectors.table, axis=1, keepdims=True), 1e-9)
    cat, dog, treaty = vectors.numbers(["cat", "dog", "treaty"])
    assert unit[cat] @ unit[dog] > 0.8 > 0.3 > unit[cat] @ unit[treaty]


@pytest.mark.parametrize("bomb", [b"(", b"N"])
def test_a_pickle_that_only_piles_up_is_refused_at_once(tmp_path, bomb):
    (tmp_path / "bomb.kv").write_bytes(b"\x80\x02" + bomb * 5_000_000)
    start = time.process_time()
    with pytest.raises(UnsafeFileError, match=r"bomb\.kv: a pickle must hold at most 100,000 unfinished values"):
        read_vectors(tmp_path / "bomb.kv")
    assert time.process_time() - start < 2


def test_a_pickle_that_is_broken_is_named(tmp_path):
    (tmp_path / "broken.kv").write_bytes(b"\x80\x02NN.")
    with pytest.raises(RejectedFileError, match=r"broken-pickle: broken\.kv: it does not end with one value"):
        read_vectors(tmp_path / "broken.kv")
