"""Studies on folds: everybody on the same folds, what fails says why, and what is printed is what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.meter.cost import Cost
from lightmeter.metrics.ranking import VideoScores
from lightmeter.studies.declared import Asked
from lightmeter.studies.folds import Fold, FoldAnswer, FoldRow, FoldSet, FoldStudy
from lightmeter.studies.stamp_clips import folds_of
from lightmeter.types import Labels

ITEMS, CLASSES = 60, 4


def toy_set(folds=3) -> FoldSet:
    rng = np.random.default_rng(0)
    lists = [sorted(set(rng.integers(0, CLASSES, 2).tolist())) for _ in range(ITEMS)]
    labels = Labels.of(lists, CLASSES)
    x = labels.dense().astype(np.float32) + 0.6 * rng.standard_normal((ITEMS, CLASSES)).astype(np.float32)
    examples = ArrayExamples(
        (Block("x", "features", CLASSES),), {"x": x}, [f"v{at}" for at in range(ITEMS)], tuple("abcd"), labels
    )
    place = folds_of(np.arange(ITEMS), folds)

    def fold(number: int) -> Fold:
        rest = np.flatnonzero(place != number)
        return Fold(number, examples, rest[::2], rest[1::2], np.flatnonzero(place == number))

    return FoldSet(
        "toys", ITEMS, CLASSES, folds, fold, np.arange(ITEMS), "made here", "none", examples.fingerprint, {"toys": 60.0}
    )


def answering(scores_of):
    def answer(fold: Fold) -> FoldAnswer:
        x = fold.items.values["x"]
        dev, test = (scores_of(x[rows]) for rows in (fold.dev, fold.test))
        return FoldAnswer(dev, test, Cost(2.0, 1.0, 9), Cost(0.2, 0.1, 9), "toy", 100, 7)

    return answer


def squashed(x):
    return (1 / (1 + np.exp(-4 * (x - 0.5)))).astype(np.float32)


def constant(x):
    return np.full(x.shape, 0.5, np.float32)


PRINTED = (("yt8m-text-models", "Unigram"),)
GOOD = FoldRow("good", answering(squashed), "ours", PRINTED)
BAD = FoldRow("bad", answering(constant), "baseline")


def study(*rows, pairs=(), sets=None):
    sets = sets or (lambda _asked: {"toys here": toy_set})
    return FoldStudy("toy", "Which?", rows, sets, {"yt8m-text-models": "said above"}, pairs, ("a note",))


def test_quality_is_that_of_all_items_each_asked_once():
    result = study(GOOD, BAD, pairs=(("good", "bad"),)).run(Asked())
    (section,) = result.sections
    good, bad = section.outcomes
    whole = toy_set().fold(0).items
    direct = VideoScores(CLASSES).update(squashed(whole.values["x"]), whole.labels).result()
    assert good.quality == direct
    assert good.quality.videos == ITEMS
    assert [each.videos for each in good.by_fold] == [20, 20, 20]
    assert good.fit.cpu_s == pytest.approx(3.0)
    assert good.intervals["gap"].low <= good.quality.gap <= good.intervals["gap"].high
    assert bad.quality.gap < good.quality.gap
    assert section.differences[("good", "bad")]["gap"].clear


def test_a_row_that_fails_says_why_and_the_rest_goes_on():
    def broken(_fold):
        raise InvalidValueError("no such thing")

    rows = (FoldRow("broken", broken, "ours"), GOOD, FoldRow("after", broken, "ours", (), ("broken",)))
    outcomes = study(*rows).run(Asked()).sections[0].outcomes
    assert [each.why for each in outcomes] == ["no such thing", "", "needs broken, which was not run: no such thing"]
    assert outcomes[1].quality is not None


def test_our_own_faults_are_not_hidden():
    def fault(_fold):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        study(FoldRow("fault", fault, "ours")).run(Asked())


def test_a_set_that_is_missing_says_what_brings_it():
    def missing():
        raise MissingAssetError("add it")

    result = study(GOOD, sets=lambda _asked: {"gone": missing, "here": toy_set}).run(Asked())
    assert [each.why for each in result.sections] == ["add it", ""]
    assert "not run: add it" in result.text()
    with pytest.raises(MissingAssetError):
        study(GOOD, sets=lambda _asked: {"gone": missing}).run(Asked(data="somewhere"))


def test_rows_come_once_and_after_what_they_need():
    with pytest.raises(InvalidValueError, match="must come once, after good"):
        study(FoldRow("first", answering(squashed), "ours", (), ("good",)), GOOD)
    with pytest.raises(InvalidValueError, match="'good' must come once"):
        study(GOOD, GOOD)


def test_rows_see_the_answers_of_those_before_them():
    def echo(fold):
        before = fold.answers["good"]
        assert set(fold.answers) == {"good"}
        return before

    echoed = study(GOOD, FoldRow("echo", echo, "ours", (), ("good",))).run(Asked()).sections[0].outcomes
    assert echoed[0].quality == echoed[1].quality


def test_an_encoder_is_refused_as_it_would_be_ignored():
    with pytest.raises(InvalidValueError, match="leave --encoder out"):
        study(GOOD).run(Asked(encoder="dlib-face"))


@pytest.fixture(scope="module")
def result():
    skipped = FoldRow("skipped", answering(squashed), "ours", skip=lambda _asked: "too dear")
    return study(GOOD, BAD, skipped, pairs=(("good", "bad"),)).run(Asked())


class TestShown:
    def test_text_holds_ours_beside_the_published(self, result):
        text = result.text()
        line = next(line for line in text.splitlines() if line.startswith("Unigram"))
        assert "good" in line
        assert "22.60%" in line
        assert f"{100 * result.sections[0].outcomes[0].quality.gap:.2f}" in line
        assert (
            next(line for line in text.splitlines() if line.strip().startswith("TextCNN A")).count("no part of ours")
            == 1
        )
        for said in ("said above", "not run: skipped: too dear", "good less bad: GAP +", "note: a note", "toys 60"):
            assert said in text

    def test_json_holds_quality_price_and_cells(self, result):
        rows = json.loads(json.dumps(result.json_rows()))
        good = rows[0]
        assert good["gap"] == result.sections[0].outcomes[0].quality.gap
        assert good["published"][0]["cells"]["GAP"] == {"printed": "22.60%", "value": 22.6}
        assert good["fit"]["cpu_s"] == 3.0
        assert len(good["by_fold"]) == 3
        assert (rows[2]["state"], rows[2]["why"]) == ("not run", "too dear")
        assert rows[3]["difference"] == ["good", "bad"]

    def test_files_are_whole_and_named(self, result, tmp_path):
        written = result.write(tmp_path)
        assert [path.name for path in written] == [
            "study-toy-smoke.txt",
            "study-toy-smoke.json",
            "study-toy-smoke-frontier.png",
        ]
        record = json.loads((tmp_path / "study-toy-smoke.json").read_text())
        assert record["notes"]["sets"]["toys here"]["licence"] == "none"
        assert (tmp_path / "study-toy-smoke-frontier.png").read_bytes()[:4] == b"\x89PNG"
