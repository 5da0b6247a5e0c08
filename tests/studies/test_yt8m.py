"""The study of seed 003: all of its rows run, on sets that learn nothing from what is asked."""

from __future__ import annotations

import gc
import tempfile
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.library.yt8m.generate import Wanted, generate
from lightmeter.library.yt8m.world import Statistics
from lightmeter.studies.declared import Asked, study_called
from lightmeter.studies.published import published
from lightmeter.studies.yt8m import YT8M, rows_of
from lightmeter.studies.yt8m_rows import Fit
from lightmeter.studies.yt8m_sets import generated_set, stamp_set, user_set, word_blocks

TABLES = ("yt8m-visual-audio", "yt8m-models", "yt8m-text", "yt8m-text-models")


@pytest.mark.parametrize("scale", ["smoke", "cpu", "paper"])
def test_every_published_row_has_one_of_ours(scale):
    printed = {(name, row) for name in TABLES for row in published(name).rows}
    assert printed == {cell for row in rows_of(scale) for cell in row.published}
    assert study_called("yt8m") is YT8M
    YT8M.at(scale)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return generated_set(tmp_path_factory.mktemp("toys"), videos=120, classes=12)


def test_folds_part_the_items_and_the_codebook_sees_train_alone(toys):
    folds = [toys.fold(number) for number in range(toys.folds)]
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == list(range(toys.items))
    for fold in folds:
        parts = [set(rows.tolist()) for rows in (fold.train, fold.dev, fold.test)]
        assert sum(map(len, parts)) == toys.items == len(set.union(*parts))
    fold = folds[0]
    blind = word_blocks(fold.texts, fold.train, clusters=16, seed=0)
    changed = fold.texts.whole
    words = list(changed.keywords)
    for row in fold.test.tolist():
        words[row] = ()
    texts = type(fold.texts)(
        changed.with_words(list(changed.titles), words, step=1), fold.texts.filtered, fold.texts.raw
    )
    again = word_blocks(texts, fold.train, clusters=16, seed=0)
    assert np.array_equal(blind.values["keywords"][fold.train], again.values["keywords"][fold.train])


def test_filtered_words_name_no_label_of_their_item(toys):
    fold = toys.fold(0)
    names = [{fold.items.label_names[each].lower() for each in row} for row in _rows(fold.items.labels)]
    for words, own in zip(fold.texts.filtered.keywords, names, strict=True):
        assert not own & {word.lower() for word in words}


def _rows(labels):
    return [labels.classes[a:b].tolist() for a, b in zip(labels.offsets[:-1], labels.offsets[1:], strict=True)]


def test_all_rows_run(monkeypatch, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    import lightmeter.studies.yt8m as module

    monkeypatch.setattr(module, "_generated", lambda seed: generated_set(tmp_path, videos=120, classes=12, seed=seed))
    result = YT8M.run(Asked())
    (section,) = result.sections
    assert [each.why for each in section.outcomes if each.quality is None] == []
    assert all(0 <= each.quality.gap <= 1 for each in section.outcomes)
    quality = {each.row.label: each.quality.gap for each in section.outcomes}
    assert quality["Visual, Audio"] > quality["prior"]  # it learnt
    assert len(section.differences) == len(YT8M.at("smoke").pairs)
    assert "no quality here means anything" in result.text()


def test_the_folder_of_a_generated_set_lives_as_long_as_it(monkeypatch, tmp_path):
    import lightmeter.studies.yt8m as module

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small = partial(generated_set, videos=60, classes=8)
    monkeypatch.setattr(module, "generated_set", small)
    made = module._generated(0)
    assert len(made.fold(1).texts.vectors)
    assert list(tmp_path.glob("lightmeter-yt8m-*"))
    del made
    gc.collect()
    assert not list(tmp_path.glob("lightmeter-*"))


def test_a_seed_is_another_learning_on_the_same_fold(toys):
    pytest.importorskip("torch")
    fit = Fit("moe/experts=2,normalise=block", "adam/lr=0.02,batch=64,epochs=1", ("visual",))
    fold = toys.fold(0)
    one, again, other = (fit(replace(fold, seed=seed)).test for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)


def test_sets_of_the_user(tmp_path):
    wanted = Wanted(videos=80, statistics=Statistics(classes=8), test_share=0.25)
    generate(tmp_path / "mine", wanted)
    vectors = generated_set(tmp_path / "toys", videos=40, classes=8)  # leaves word vectors behind
    assert vectors.items
    whole = user_set(tmp_path / "mine", clusters=8, vectors=str(tmp_path / "toys" / "vectors"))
    fold = whole.fold(0)
    assert (whole.items, whole.folds) == (80, 1)
    assert fold.test.tolist() == list(range(60, 80))
    assert {block.name for block in fold.items.blocks} >= {"visual", "audio", "keywords", "title"}
    with pytest.raises(RejectedFileError, match="make a set with"):
        user_set(tmp_path)
    with pytest.raises(InvalidValueError, match="--scale paper needs --data"):
        YT8M.run(Asked("paper"))


@pytest.mark.slow
def test_stamps_as_clips_at_cpu_scale(tmp_path):
    """The figures of docs/results/study-yt8m-cpu.json: all together at least as good as every part, GAP 0.90."""
    try:
        stamp_set(tell=lambda _text: None)
    except MissingAssetError as error:
        pytest.skip(str(error))
    result = YT8M.run(Asked("cpu"))
    (section,) = result.sections
    quality = {each.row.label: each.quality.gap for each in section.outcomes if each.quality}
    every = "Visual, Audio, Keyword, Title"
    single = ("Visual", "Audio", "Keyword", "Title")
    subsets = [other for one, other in section.differences if one == every and "," in other and "removed" not in other]
    subsets = [each for each in subsets if each != "late mean"]
    assert len(subsets) == 10  # with the single ones, all proper subsets of four
    assert quality[every] >= 0.90
    assert all(section.differences[(every, each)]["gap"].low > 0 for each in single)
    assert quality[every] >= max(quality[each] for each in subsets) - 0.01
    assert quality["no text when asked, modality dropout"] > quality["no text when asked"]
