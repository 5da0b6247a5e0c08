"""Histograms and numbers of words, by hand on ten vectors."""

from __future__ import annotations

import numpy as np
import pytest

from lightmeter.encoders.codebook import Codebook
from lightmeter.encoders.text_words import TextOptions
from lightmeter.encoders.word_histogram import Lookup, WordHistogram
from lightmeter.encoders.word_tokens import WordTokens
from lightmeter.encoders.word_vectors import WordVectors
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build
from lightmeter.types import Words

ROWS = {"cat": (0, 0), "dog": (1, 0), "game": (9, 9), "chess": (9, 8), "grand_theft_auto": (8, 9), "Paris": (0, 9)}


@pytest.fixture
def folders(tmp_path):
    table = np.array([(0, 0), *ROWS.values()], np.float32)
    WordVectors(tuple(ROWS), table).save(tmp_path / "vectors")
    Codebook(np.array([[0, 0], [9, 9], [0, 9]], np.float32)).save(tmp_path / "codebook")
    return tmp_path


def test_a_histogram_by_hand(folders):
    encoder = WordHistogram(vectors=str(folders / "vectors"), codebook=folders / "codebook")
    rows = encoder.encode([
        Words("chess", ("Cat", "dog", "Grand Theft Auto")),
        Words("cat", ()),
        Words("", ("PARIS", "zzz", "game", "game")),
    ])  # fmt: skip
    assert rows.tolist() == [[2, 1, 0], [0, 0, 0], [0, 2, 1]]
    assert rows.dtype == np.float32
    both = WordHistogram(vectors=str(folders / "vectors"), codebook=folders / "codebook", part="both")
    assert both.encode([Words("chess", ("cat",))]).tolist() == [[1, 1, 0]]


def test_numbers_by_hand(folders):
    encoder = WordTokens(vectors=str(folders / "vectors"), length=3)
    numbers, cut = encoder.numbers([Words("The DOG: a cat"), Words("game game cat dog"), Words("zzz")])
    assert numbers.tolist() == [[2, 1, 0], [3, 3, 1], [0, 0, 0]]
    assert numbers.dtype == np.int32
    assert cut == 1
    assert (encoder.encode([Words("dog")]) == [[2, 0, 0]]).all()


def test_as_published_titles_keep_their_case(folders):
    options = {"vectors": str(folders / "vectors"), "length": 4, "profile": "code", "english": "published"}
    assert WordTokens(**options).encode([Words("Paris paris Dog dog-cat")]).tolist() == [[6, 0, 0, 0]]
    (folders / "list.txt").write_text("dog\nparis\n")
    tags = WordTokens(**options, part="keywords", lexicon=str(folders / "list.txt"))
    assert tags.encode([Words("", ("Dog, cat", "paris"))]).tolist() == [[2, 0, 0, 0]]


def test_none_keeps_phrases(folders):
    encoder = WordTokens(vectors=str(folders / "vectors"), length=2, part="keywords", english="none")
    assert encoder.encode([Words("", ("grand theft auto", "Paris"))]).tolist() == [[5, 0]]


def test_the_lookup_asks_once(folders, monkeypatch):
    vectors, asked = WordVectors.load(folders / "vectors"), []
    codebook = Codebook.load(folders / "codebook")
    own = Codebook.assign
    monkeypatch.setattr(
        Codebook, "assign", lambda self, rows, metric: asked.append(len(rows)) or own(self, rows, metric)
    )
    look = Lookup(vectors, codebook, "l1")
    assert look(np.array([1, 1, 3])).tolist() == [0, 0, 1]
    assert look(np.array([3, 1, 6])).tolist() == [1, 0, 2]
    assert look(np.zeros(0, np.int32)).tolist() == []
    assert asked == [2, 1]


def test_vectors_and_codebook_must_fit(folders):
    Codebook(np.zeros((2, 3), np.float32)).save(folders / "other")
    with pytest.raises(InvalidValueError, match="the codebook must be of 2 dimensions as the vectors are, got 3"):
        WordHistogram(vectors=str(folders / "vectors"), codebook=folders / "other").load()


def test_specs(folders):
    spec = f"word-histogram/vectors='{folders}/vectors',codebook='{folders}/codebook',metric=l1"
    encoder = build(spec, "encoder")
    assert encoder.metric == "l1"
    assert (encoder.part, encoder.dim, encoder.size_bytes) == ("keywords", 3, 7 * 2 * 4 + 3 * 2 * 4)
    assert build(encoder.spec, "encoder") == encoder


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"part": "tags"}, "part must be one of title, keywords, both"),
        ({"profile": "new"}, "profile must be one of"),
        ({"english": "all"}, "english must be one of published, names, none"),
        ({"lexicon": "words.txt"}, "lexicon is for english=published"),
    ],
)
def test_bad_options_are_refused(options, match):
    with pytest.raises(InvalidValueError, match=match):
        TextOptions(**options)
    with pytest.raises(InvalidValueError, match=match):
        WordTokens(**options)


def test_bad_lengths_and_metrics_are_refused(folders):
    with pytest.raises(InvalidValueError, match="length must be 1 to 10000"):
        WordTokens(length=0)
    with pytest.raises(InvalidValueError, match="metric must be l1 or l2"):
        WordHistogram(codebook=folders, metric="cosine")
