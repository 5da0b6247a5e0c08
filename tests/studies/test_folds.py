"""Studies on folds: everybody on the same folds, what fails says why, and what is printed is what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.meter.cost import Cost
from lightmeter.metrics.bootstrap import bootstrap, paired_difference
from lightmeter.metrics.ranking import VideoScores
from lightmeter.studies.declared import Asked
from lightmeter.studies.fold_results import fold_record
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


def noisy(fold: Fold) -> FoldAnswer:
    """What learns by chance: another answer by each seed."""
    x = fold.items.values["x"]
    noise = np.random.default_rng(fold.seed).normal(0, 0.4, x.shape).astype(np.float32)
    dev, test = (squashed((x + noise)[rows]) for rows in (fold.dev, fold.test))
    return FoldAnswer(dev, test, Cost(2.0, 1.0, 9), Cost(0.2, 0.1, 9), "noisy", 100, 7)


NOISY = FoldRow("noisy", noisy, "ours", PRINTED)


@pytest.fixture(scope="module")
def several():
    return study(NOISY, GOOD, BAD, pairs=(("good", "noisy"), ("good", "bad"))).run(Asked(seed=4, seeds=3))


class TestSeveralSeeds:
    def test_quality_is_the_mean_over_runs_by_one_seed(self, several):
        singles = [study(NOISY).run(Asked(seed=seed)).sections[0].outcomes[0] for seed in (4, 5, 6)]
        made = several.sections[0].outcomes[0]
        assert [each.quality for each in singles] == list(made.by_seed)
        assert len({each.gap for each in made.by_seed}) == 3
        assert made.quality.gap == pytest.approx(np.mean([each.quality.gap for each in singles]))
        assert made.quality.videos == ITEMS
        folds = [[each.by_fold[at].gap for each in singles] for at in range(3)]
        assert [each.gap for each in made.by_fold] == pytest.approx(np.mean(folds, axis=1).tolist())
        assert (made.fit.cpu_s, made.ask.cpu_s) == (pytest.approx(9.0), pytest.approx(0.9))

    def test_what_does_not_learn_by_chance_is_as_by_one_seed(self, several):
        (single,) = study(GOOD).run(Asked()).sections[0].outcomes
        made = several.sections[0].outcomes[1]
        assert made.quality.gap == pytest.approx(single.quality.gap)
        for name, interval in single.intervals.items():
            assert made.intervals[name].low == pytest.approx(interval.low)
            assert made.intervals[name].high == pytest.approx(interval.high)

    def test_intervals_and_differences_hold_both_kinds_of_chance(self, several):
        (section,) = several.sections
        scores = {each.row.label: each.scores for each in section.outcomes}
        groups = np.arange(ITEMS)
        assert section.outcomes[0].intervals == bootstrap(scores["noisy"], rounds=50, groups=groups)
        wanted = paired_difference(scores["good"], scores["noisy"], rounds=50, groups=groups)
        assert section.differences[("good", "noisy")] == wanted
        assert section.differences[("good", "bad")]["gap"].clear

    def test_tables_say_how_many_there_are(self, several):
        text = several.text()
        assert text.startswith("toy (smoke, seeds 4 to 6): Which?")
        assert "3 seeds: every row learnt so often on each fold" in text
        gaps = [100 * each.gap for each in several.sections[0].outcomes[0].by_seed]
        assert f"{min(gaps):.1f}-{max(gaps):.1f}" in next(row for row in text.splitlines() if "noisy" in row)
        row = json.loads(json.dumps(several.json_rows()))[0]
        assert [each["gap"] for each in row["by_seed"]] == [
            each.gap for each in several.sections[0].outcomes[0].by_seed
        ]
        assert fold_record(several).notes["seeds"] == [4, 5, 6]
        assert fold_record(several).seed == 4

    def test_a_row_that_fails_by_one_seed_is_not_run(self):
        def fickle(fold):
            if fold.seed == 1:
                raise InvalidValueError("no luck")
            return noisy(fold)

        rows = (FoldRow("fickle", fickle, "ours"), FoldRow("after", noisy, "ours", (), ("fickle",)), GOOD)
        outcomes = study(*rows).run(Asked(seeds=2)).sections[0].outcomes
        assert [each.why for each in outcomes] == ["no luck", "needs fickle, which was not run: no luck", ""]
        assert len(outcomes[2].scores) == 2

    def test_every_step_names_its_seed(self):
        told = []
        study(GOOD).run(Asked(seeds=2, tell=told.append))
        assert told[1:3] == ["toys, fold 1 of 3, seed 0: good", "toys, fold 1 of 3, seed 1: good"]
        told.clear()
        study(GOOD).run(Asked(tell=told.append))
        assert told[1] == "toys, fold 1 of 3: good"

    def test_none_is_refused(self):
        with pytest.raises(InvalidValueError, match="seeds must be at least 1, got 0"):
            Asked(seeds=0)


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
        for said in (
            "one seed: every row learnt once",
            "said above",
            "not run: skipped: too dear",
            "good less bad: GAP +",
            "note: a note",
            "toys 60",
        ):
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
