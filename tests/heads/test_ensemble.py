"""Several classifiers as one: combined by hand, kept in one folder, refused where they do not fit."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.heads.answering import load_answering
from lightmeter.heads.ensemble import (
    EnsembleClassifier,
    ForestVotes,
    Max,
    Mean,
    candidates,
    combining,
    fit_ensemble,
    load_combined,
)
from lightmeter.heads.examples import ArrayExamples, Block, Chosen
from lightmeter.heads.label_ridge import LabelRidge
from lightmeter.heads.training import Adam, fit_net
from lightmeter.parts import KINDS, build, table
from lightmeter.types import Labels

NAN = float("nan")


def scores(*models):
    return np.array(models, np.float32)


def examples(count=60, seed=0):
    """Sight tells label 0 by its sign, sound label 1; label 2 is both."""
    chance = np.random.default_rng(seed)
    sight, sound = (chance.normal(size=(count, 3)).astype(np.float32) for _ in range(2))
    on = np.stack([sight[:, 0] > 0, sound[:, 0] > 0, (sight[:, 0] > 0) & (sound[:, 0] > 0)], axis=1)
    lists = [np.flatnonzero(row) for row in on]
    blocks = (Block("sight", "features", 3, "eye"), Block("sound", "features", 3))
    ids = [f"v{at}" for at in range(count)]
    return ArrayExamples(blocks, {"sight": sight, "sound": sound}, ids, ("a", "b", "c"), Labels.of(lists, 3))


def fitted(block, data=None, seed=0):
    data = Chosen.of(data or examples(), blocks=[block] if block else None)
    return fit_net(
        build("moe/experts=1"), data, training=Adam(lr=0.1, batch=20, epochs=3, precision="float32"), seed=seed
    )


def test_mean_and_max_by_hand():
    both = scores([[0.25, 1.0, 0.0]], [[0.75, 0.5, 0.0]])
    assert Mean().combine(both).tolist() == [[0.5, 0.75, 0.0]]
    assert Max().combine(both).tolist() == [[0.75, 1.0, 0.0]]
    assert Mean().combine(both).dtype == np.float32


def test_what_a_model_does_not_say_counts_as_stated():
    cut = scores([[0.5, NAN, NAN]], [[0.25, 0.5, NAN]])
    assert Mean().combine(cut).tolist() == [[0.375, 0.25, 0.0]]
    assert Mean("skip").combine(cut).tolist() == [[0.375, 0.5, 0.0]]
    assert Max().combine(cut).tolist() == [[0.5, 0.5, 0.0]]


def test_the_order_of_models_changes_nothing():
    drawn = np.random.default_rng(0).random((7, 5, 9), np.float32)
    for how in (Mean(), Max()):
        assert np.array_equal(how.combine(drawn), how.combine(drawn[::-1].copy()))


def test_candidates_are_the_top_of_any_model():
    two = scores([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]], [[0.1, 0.2, 0.3, 0.4], [NAN, NAN, NAN, 0.1]])
    videos, classes = candidates(two, 1)
    assert list(zip(videos.tolist(), classes.tolist(), strict=True)) == [(0, 0), (0, 3), (1, 3)]
    assert candidates(two, 9)[0].tolist() == [0] * 4 + [1] * 4


def pairs(models=3, count=120, classes=5):
    """One model that knows, the others that guess."""
    chance = np.random.default_rng(1)
    truth = chance.random((count, classes)) < 0.3
    said = chance.random((models, count, classes)).astype(np.float32)
    said[0] = np.clip(0.5 * truth + 0.7 * said[0], 0, 1)
    return said, Labels.of([np.flatnonzero(row) for row in truth], classes), truth


@pytest.mark.parametrize("vote", ["mode", "proba"])
def test_a_forest_is_scikit_learns(vote):
    said, labels, truth = pairs()
    model = ForestVotes(trees=9, vote=vote, top=20, depth=4).fit(said, labels)
    theirs = RandomForestClassifier(9, max_depth=4, random_state=0)
    x, y = said.reshape(3, -1).T, truth.reshape(-1).astype(int)
    theirs.fit(x, y)
    wanted = (
        np.mean([tree.predict(x) for tree in theirs.estimators_], axis=0)
        if vote == "mode"
        else theirs.predict_proba(x)[:, 1]
    )
    assert np.allclose(model.combine(said).reshape(-1), wanted, atol=1e-7)
    if vote == "mode":
        assert set(np.unique(np.round(wanted * 9)).tolist()) <= set(range(10))


def test_classes_that_no_model_ranks_get_nothing():
    said, labels, _ = pairs(classes=30)
    made = ForestVotes(trees=5, top=2).fit(said, labels).combine(said)
    kept = np.zeros(made.shape, bool)
    kept[candidates(said, 2)] = True
    assert not made[~kept].any()
    assert made[kept].any()


def test_a_forest_that_saw_no_label_says_no():
    said, labels, _ = pairs()
    nothing = Labels.of([[] for _ in range(len(labels))], labels.count)
    assert not ForestVotes(trees=3).fit(said, nothing).combine(said).any()


def test_batches_of_a_fit_are_a_fit():
    said, labels, _ = pairs()
    halves = [(said[:, part], labels.take(np.arange(120)[part])) for part in (slice(50), slice(50, None))]
    whole, parts = ForestVotes(trees=4).fit(said, labels), ForestVotes(trees=4).fit_batches(halves)
    assert np.array_equal(whole.combine(said), parts.combine(said))


@pytest.mark.parametrize("spec", ["mean", "mean/absent=skip", "max", "forest-votes/trees=3,vote=proba"])
def test_what_combines_is_spelled_and_kept(spec, tmp_path):
    said, labels, _ = pairs()
    recipe = combining(spec)
    assert build(recipe.spec) == recipe
    model = recipe.fit(said, labels)
    model.save(tmp_path)
    assert np.array_equal(load_combined(tmp_path).combine(said), model.combine(said))
    assert load_combined(tmp_path).recipe == recipe


def test_names_of_parts_are_unique():
    names = [name for kind in KINDS for name in table(kind)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("wrong", [np.zeros((2, 3)), np.zeros((0, 1, 3)), np.zeros((1, 1, 0)), np.full((1, 1, 1), 1.5)])
def test_scores_that_are_none_are_refused(wrong):
    with pytest.raises(InvalidValueError, match="scores"):
        Mean().combine(wrong.astype(np.float32))


def test_other_labels_and_other_models_are_refused():
    said, labels, _ = pairs()
    with pytest.raises(InvalidValueError, match="120 videos and 5 classes"):
        ForestVotes(trees=1).fit(said, labels.take(np.arange(3)))
    with pytest.raises(InvalidValueError, match="3 models, got 2"):
        ForestVotes(trees=1).fit(said, labels).combine(said[:2])


def test_an_ensemble_reads_the_union_and_answers_as_combined(tmp_path):
    data = examples()
    sight, sound, ridge = fitted("sight"), fitted("sound"), LabelRidge().fit(data)
    both = EnsembleClassifier((sight, sound, ridge), Mean())
    assert [block.name for block in both.blocks] == ["sight", "sound"]
    rows = np.arange(10)
    batch = both.view(data).batch(rows)
    each = [own.scores(own.view(data).batch(rows)) for own in both.members]
    assert np.array_equal(both.scores(batch), Mean().combine(np.stack(each)))
    assert both.size_bytes == sum(own.size_bytes for own in both.members)
    assert both.macs == sum(own.macs for own in both.members) + 9
    both.save(tmp_path / "first")
    shutil.move(tmp_path / "first", tmp_path / "moved")
    again = load_answering(tmp_path / "moved")
    assert isinstance(again, EnsembleClassifier)
    assert np.array_equal(again.scores(batch), both.scores(batch))
    assert again.head.spec == both.head.spec


def test_a_forest_learns_which_member_to_trust():
    data = examples(200)
    members = (fitted("sight"), fitted("sound"))
    learnt = fit_ensemble(members, ForestVotes(trees=30, leaf=5), data, rows=64)
    view = learnt.view(data)
    labels, said = data.labels.dense(), learnt.scores(view.batch(np.arange(200)))
    mean = EnsembleClassifier(members, Mean()).scores(view.batch(np.arange(200)))
    assert ((said > 0.5) == labels).mean() > ((mean > 0.5) == labels).mean() + 0.05
    with pytest.raises(InvalidValueError, match="labelled examples"):
        fit_ensemble(members, ForestVotes(trees=3))


def test_members_that_do_not_fit_are_refused():
    own = fitted("sight")
    names = own.label_names
    for other, said in (
        ((*names[:-1], "d"), "1 in member 2 alone, as 'd'"),
        (names[:-1], f"1 in member 1 alone, as {names[-1]!r}"),
        ((*names[1:], names[0]), f"{names[1]!r} in member 2 where member 1 has {names[0]!r}"),
    ):
        with pytest.raises(InvalidValueError, match=f"same labels in the same order, got {said}"):
            EnsembleClassifier((own, replace(own, label_names=other)), Mean())
    other = replace(own, blocks=(replace(own.blocks[0], made_by="ear"),))
    with pytest.raises(InvalidValueError, match="sight must be the same"):
        EnsembleClassifier((own, other), Mean())
    with pytest.raises(InvalidValueError, match="1 to 256"):
        EnsembleClassifier((), Mean())
    batch = own.view(examples()).batch(np.arange(2))
    with pytest.raises(InvalidValueError, match="present"):
        EnsembleClassifier((own, fitted("sound")), Mean()).scores(batch)


def test_a_member_that_is_asked_always_answers():
    """NaN is for tables that were cut: of a member it comes of NaN in the data, whatever the others say."""
    data, members = examples(), (fitted("sound"), fitted("sight"))
    data.values["sight"][7, 1] = NAN
    for how in (Mean(), Mean("skip"), Max()):
        both = EnsembleClassifier(members, how)
        view = both.view(data)
        with pytest.raises(InvalidValueError, match="numbers, got NaN of member 2, moe/experts=1"):
            both.scores(view.batch(np.arange(20)))
        assert np.isfinite(both.scores(view.batch(np.arange(20, 40)))).all()
    with pytest.raises(InvalidValueError, match="got NaN of member 2"):
        fit_ensemble(members, ForestVotes(trees=3), data)


def test_a_member_that_was_exchanged_is_refused(tmp_path):
    EnsembleClassifier((fitted("sight"), fitted("sight", seed=1)), Mean()).save(tmp_path)
    fitted("sight", seed=2).save(tmp_path / "members" / "1")
    with pytest.raises(RejectedFileError, match="members/1"):
        load_answering(tmp_path)
    shutil.rmtree(tmp_path / "members" / "1")
    with pytest.raises(RejectedFileError, match="members/1"):
        load_answering(tmp_path)


def test_folders_of_other_things_are_refused(tmp_path):
    with pytest.raises(MissingAssetError):
        load_answering(tmp_path)
    (tmp_path / "model.json").write_text('{"schema": "other"}')
    with pytest.raises(RejectedFileError, match="lightmeter.ensemble/1"):
        load_answering(tmp_path)
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(RejectedFileError):
        load_answering(tmp_path)
