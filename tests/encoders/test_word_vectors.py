"""Word vectors: every format, by hand and from files that lie."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightmeter.assets.finding import find_or_none
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


FORMATS = {
    "word2vec.bin": write_bin,
    "gensim.bin": lambda path: write_bin(path, end=b""),
    "word2vec.txt": write_text,
    "glove.txt": lambda path: write_text(path, header=False),
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
        path.write_bytes(path.read_bytes()[:-14])
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
}


@pytest.mark.parametrize("data", LINES.values(), ids=LINES)
def test_what_is_no_text_of_vectors_is_refused(data, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_bytes(data)
    with pytest.raises((UnsafeFileError, RejectedFileError)):
        read_vectors(path)


def test_a_pickle_says_how_to_export(tmp_path):
    path = tmp_path / "vectors.kv"
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(UnsafeFileError, match=r"save_word2vec_format\('vectors.bin', binary=True\)"):
        read_vectors(path)
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
