"""Fifths by hand; the same words for the same picture; a price that is kept."""

from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightmeter.encoders.captioning.attributes import WORDS, Attributes, FittedAttributes, _chosen
from lightmeter.encoders.captioning.measuring import ATTRIBUTES, MEASURES
from lightmeter.encoders.captioning.protocol import Captioner, fitted
from lightmeter.errors import InvalidValueError, RejectedFileError
from lightmeter.parts import build


def five():
    """A white square that grows on black, five pictures: 2 to 6 of 10 pixels wide."""
    made = np.zeros((5, 10, 10, 1), np.uint8)
    for at in range(5):
        made[at, 2 : 4 + at, 2 : 4 + at] = 50 * (at + 1)
    return made


def test_each_fifth_has_its_word():
    told = Attributes().caption(five(), ["square"] * 5, ["x"] * 5)
    assert told[0] == (
        "The square in the image is dark and tiny, square and thin in shape, balanced and high in the frame, "
        "with a shaded surface and mixed edges."
    )  # asymmetry 4, 18, 24, 20, 0: the second; top 1, 1, 0.75, 0.6, 0.5: it shares the highest; all else are alike
    for name in ("brightness", "size", "coverage"):
        assert all(word in text for word, text in zip(WORDS[name], told, strict=True)), name


def test_words_by_hand():
    edges = np.quantile([1.0, 2, 3, 4, 5], [0.2, 0.4, 0.6, 0.8]).tolist()
    assert _chosen(np.array([1.0, 2, 3, 4, 5]), edges, "abcde") == list("abcde")
    assert _chosen(np.array([0.0, 1.8, 9]), edges, "abcde") == ["a", "a", "e"]
    assert _chosen(np.array([7.0]), [7.0] * 4, "abcde") == ["c"]  # all are alike: the middle
    assert _chosen(np.array([0.0, 1]), [0.0, 0, 0, 1], "abcde") == ["b", "d"]  # 0 spans three fifths, from a to d


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40))
def test_more_is_never_less(values):
    row = np.array(values, np.float32)
    edges = np.quantile(row.astype(np.float64), [0.2, 0.4, 0.6, 0.8]).tolist()
    words = [_chosen(row, edges, "abcde")[at] for at in np.argsort(row)]
    assert words == sorted(words)


def test_no_word_stands_for_two_things():
    words = [word for each in WORDS.values() for word in each]
    assert len(words) == len(set(words)) == 40
    assert all(word.isalpha() and word.islower() for word in words)
    assert tuple(WORDS) == ATTRIBUTES


def test_a_fitted_one_is_blind_to_its_batch(made):
    pictures = [made(seed, 20 + seed % 3, 24) for seed in range(25)]
    names = [f"a/{at}" for at in range(25)]
    model = Attributes().fit(pictures)
    whole = model.caption(pictures, ["cat"] * 25, names)
    assert whole == Attributes().caption(pictures, ["cat"] * 25, names), "unfitted fits itself on the batch"
    assert [model.caption([pictures[at]], ["cat"], [names[at]])[0] for at in (3, 17)] == [whole[3], whole[17]]
    assert Attributes().fit(pictures[::-1]) == model
    assert len(set(whole)) > 20


def test_colours_are_named_where_the_set_has_any(made):
    red = np.full((4, 12, 12, 3), 255, np.uint8)
    red[:, 3:9, 3:9] = (200, 20, 20)
    assert Attributes().caption(red, ["ball"] * 4, ["x"] * 4)[0].endswith(", mostly red, the background white.")
    assert Attributes(colours=False).caption(red, ["ball"] * 4, ["x"] * 4)[0].endswith(" edges.")
    grey = np.repeat(five(), 3, axis=-1)
    assert "mostly" not in Attributes().caption(grey, ["ball"] * 5, ["x"] * 5)[0]


def test_a_class_without_a_name_is_an_object():
    assert Attributes().caption(five()[:1], [""], [""])[0].startswith("The object in the image is ")


def test_a_set_must_have_pictures():
    with pytest.raises(InvalidValueError, match="at least one picture"):
        Attributes().fit([])
    assert Attributes().caption([], [], []) == []
    with pytest.raises(InvalidValueError, match="names must be 5, one a picture, got 4"):
        Attributes().caption(five(), ["x"] * 5, ["x"] * 4)
    with pytest.raises(InvalidValueError, match="threshold must be above 0 and below 1, got 1"):
        build("attributes/threshold=1.0", "captioner")


def test_what_was_learnt_is_kept(tmp_path):
    model = Attributes(threshold=0.2).fit(five())
    model.save(tmp_path)
    again = FittedAttributes.load_from(tmp_path)
    assert again == model
    assert again.fingerprint == model.fingerprint != Attributes().fit(five()[:3]).fingerprint
    assert build(model.spec, "captioner") == model.recipe
    (tmp_path / "model.json").write_text((tmp_path / "model.json").read_text().replace("attributes/", "sidecar/"))
    with pytest.raises(RejectedFileError):
        FittedAttributes.load_from(tmp_path)


def test_is_a_captioner():
    for each in (Attributes(), Attributes().fit(five())):
        assert isinstance(each, Captioner)
        assert pickle.loads(pickle.dumps(each)) == each
    model = fitted(Attributes(), five())
    assert fitted(model, five()[:1]) is model, "what is fitted stays so"


def test_the_price(made):
    """20,000 pictures of 32 x 32 in 4 CPU-seconds at most: here a tenth of both."""
    many = np.stack([made(seed) for seed in range(100)] * 20)
    Attributes().caption(many[:10], ["x"] * 10, ["x"] * 10)
    began = time.process_time()
    Attributes().caption(many, ["x"] * 2000, ["x"] * 2000)
    assert time.process_time() - began < 0.4


def test_measures_are_all_finite(made):
    odd = [np.zeros((1, 1, 3), np.uint8), np.full((1, 300, 3), 9, np.uint8), made(0, 200, 2), made(1, 3, 3, 1)]
    rows = Attributes().measure(odd)
    assert rows.shape == (4, len(MEASURES))
    assert np.isfinite(rows).all()
