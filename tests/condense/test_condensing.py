"""The whole, on eighty digits: what is written, chosen, resumed, refused; real parts, tiny sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from lightmeter.condense.answering import (
    AUTO,
    Bar,
    CondenseOptions,
    Listener,
    answer,
    chosen,
    methods_of,
)
from lightmeter.condense.attempts import Attempt
from lightmeter.condense.condensing import Running, condense, planned
from lightmeter.condense.image_set import ImageSet
from lightmeter.condense.protocol import Condensed
from lightmeter.condense.splitting import parted
from lightmeter.engines.inline import Inline
from lightmeter.errors import InvalidValueError
from lightmeter.meter.cost import Cost

pytest.importorskip("torch")
QUICK = {"protocol": "quick/steps=6,flip=false", "seeds": 2, "teacher_steps": 20}
SLOWER = QUICK | {"protocol": "quick/steps=30,flip=false", "seeds": 1}


def digits(count=160, classes=4):
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits(n_class=classes)
    pixels = (found.images[:count, :, :, None] * 15.9).astype(np.uint8)
    return ImageSet.of(pixels, found.target[:count].astype(np.int64), [f"digit {at}" for at in range(classes)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """160 digits of four classes, a broken file, and one that is there twice."""
    place = tmp_path_factory.mktemp("digits")
    images = digits()
    for name, pixels in zip(images.names, images.images, strict=True):
        (place / name).parent.mkdir(exist_ok=True)
        Pillow.fromarray(pixels[..., 0]).save(place / f"{name}.png")
    (place / "digit 0" / "broken.png").write_bytes(b"no picture")
    Pillow.fromarray(images.images[0, ..., 0]).save(place / "digit 0" / "zwin.png")
    return place


@pytest.fixture(scope="module")
def produced(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    options = CondenseOptions(3, "herding", students=("conv-net/depth=2,width=4",), **QUICK)
    return condense(folder, out, options, Running(engine=Inline(), exports=("npz", "dd-ranking")))


def test_out_holds_the_set_and_all_about_it(produced, folder):
    out = produced.out
    assert sorted(len(list((out / f"digit {at}").glob("*.png"))) for at in range(4)) == [3] * 4
    told = json.loads((out / "provenance.json").read_text())
    assert told["method"].startswith("herding/")
    assert (told["source"]["pictures"], told["source"]["findings"]) == (160, {"broken": 1, "duplicate": 1})
    assert told["source"]["learnt_from"] + told["source"]["held_out"] == 160
    assert [each["method"].partition("/")[0] for each in told["trials"]] == ["random-rows", "herding"]
    assert told["models"][0]["what"] == "teacher"
    for each in told["images"]:
        with Pillow.open(out / each["file"]) as kept, Pillow.open(folder / each["source"]) as real:
            np.testing.assert_array_equal(np.asarray(kept), np.asarray(real))
    left = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert [each["what"] for each in left] == ["broken", "duplicate"]
    assert {each.name for each in produced.exported} == {"condensed.npz", "images.pt", "hard_labels.pt", "config.yaml"}
    assert not list(out.parent.glob(".*")), "no work folder is left"


def test_nothing_that_is_kept_was_scored_on(produced):
    held = set(produced.answer.split.held.names)
    told = json.loads((produced.out / "provenance.json").read_text())
    assert not held & {each["source"] for each in told["images"]}
    assert len(held) == len(produced.answer.split.held) == 32


def test_the_page_says_price_and_plan(produced):
    page = (produced.out / "report.html").read_text("utf-8")
    [(_, (mine, base))] = produced.answer.across.items()
    assert mine.small.images is not None
    assert mine.hits.shape == base.hits.shape == (2, 32)
    for words in (
        "learnt by other networks",
        "herding keeps 12 of 128 pictures",
        "CPU-s",
        "took / planned",
        "digit 3: 3 of 3",
        "duplicate",
    ):
        assert words in page, words
    assert len(page) < 1_000_000
    assert produced.plan.wall_s > 0
    assert set(produced.plan.phases) <= {*produced.took_s, "report"}


def test_finished_trials_are_kept_and_give_the_same(folder, tmp_path, monkeypatch):
    from lightmeter.condense import scoring

    calls, whole = [], scoring.score

    def counted(*args, **more):
        calls.append(more["seeds"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*args, **more)

    monkeypatch.setattr(scoring, "score", counted)
    options, running = CondenseOptions(2, "herding", **QUICK), Running(engine=Inline())
    with pytest.raises(KeyboardInterrupt):
        condense(folder, tmp_path / "out", options, running)
    assert not (tmp_path / "out").exists()
    made = condense(folder, tmp_path / "out", options, running)
    assert len(calls) == 6, "random's two students were not taught again"
    monkeypatch.undo()
    again = condense(folder, tmp_path / "other", options, running)
    for one, other in zip(made.answer.attempts, again.answer.attempts, strict=True):
        np.testing.assert_array_equal(one.hits, other.hits)
        np.testing.assert_array_equal(one.small.images, other.small.images)


def test_the_fewest_pictures_that_reach_a_bar(tmp_path):
    heard = []
    options = CondenseOptions(10, "herding", at_least=Bar(0.5), **SLOWER)
    listener = Listener(trial=lambda number, total, name: heard.append((number, total, name)))
    made = answer(digits(), tmp_path, options, listener=listener)
    assert made.kept.name == "herding"
    below = [each for each in made.attempts if each.name == "herding" and each.per_class < made.kept.per_class]
    assert all(each.accuracy(made.split.choosing) < 0.5 for each in below)
    assert made.kept.accuracy(made.split.choosing) >= 0.5
    assert heard[:2] == [(0, 8, "teacher"), (0, 8, "random-rows × 1")], "budgets 1, 2, 5 and 10"
    assert len(made.reported) < len(made.split.held), "what is told was not chosen by"


def test_a_bar_that_nothing_reaches_names_the_best(tmp_path):
    options = CondenseOptions(2, "random-rows", at_least=Bar(1.0), **QUICK)
    with pytest.raises(
        InvalidValueError, match=r"at_least must be 0\.\d+ or less, got 1 \(1\.000\): the best there is"
    ):
        answer(digits(), tmp_path, options)


def attempt(name, share, *, makes=False, cpu_s=1.0, pictures=400):
    hits = np.zeros((2, pictures), bool)
    hits[:, : round(share * pictures)] = True
    small = Condensed(np.zeros((1, 8, 8, 1), np.uint8), np.zeros(1, np.int64))
    cost = Cost(1.0, cpu_s, 1)
    return Attempt(name, 1, makes, small, hits, hits.mean(axis=1), cost, cost)


ROWS = np.arange(400)


@pytest.mark.parametrize(("share", "kept"), [(0.9, "vlcp"), (0.705, "herding"), (0.5, "herding")])
def test_made_pictures_must_be_clearly_better(share, kept):
    tried = [attempt("random-rows", 0.6), attempt("herding", 0.7), attempt("vlcp", share, makes=True)]
    best, why = chosen(tried, ROWS, CondenseOptions())
    assert best.name == kept
    assert ("coreset" in why) == (share > 0.7)


def test_the_best_that_costs_little_enough():
    tried = [attempt("random-rows", 0.6, cpu_s=0.1), attempt("herding", 0.7, cpu_s=5.0)]
    assert chosen(tried, ROWS, CondenseOptions(within_s=1.0))[0].name == "random-rows"
    with pytest.raises(InvalidValueError, match=r"within must be 0\.1 CPU-seconds or more, got 0\.01"):
        chosen(tried, ROWS, CondenseOptions(within_s=0.01))


def test_auto_tries_every_kind_and_says_what_it_leaves_out():
    options = CondenseOptions(within_s=5.0)
    methods = methods_of(options)
    assert [each.partition("/")[0] for each in methods.specs] == [each.partition("/")[0] for each in AUTO]
    fewer = methods.within({methods.specs[-1]: 400.0}, options)
    assert fewer.specs == methods.specs[:-1]
    assert "about 6 min 40 s of CPU by the plan, more than 5.00 s" in fewer.not_run[methods.specs[-1]]
    asked = methods_of(CondenseOptions(method="vlcp"))
    assert asked.within({asked.specs[-1]: 400.0}, CondenseOptions(method="vlcp")) == asked


def test_a_plan_says_what_would_be_done_and_leaves_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    look, methods, plan = planned(folder, CondenseOptions(5, "herding", **QUICK), size=8)
    assert (look.files, look.classes, look.largest, look.side) == (162, 4, 42, 8)
    assert [each.partition("/")[0] for each in methods.specs] == ["random-rows", "herding"]
    assert list(plan.phases) == ["read", "learn once", "make sets", "score", "report"]
    assert plan.memory_bytes > 100_000_000
    assert "in all: about" in plan.text()
    assert planned(folder, CondenseOptions(5), timed=False)[2] is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("text", "bar"), [("0.85", Bar(0.85)), ("0.9-of-full", Bar(0.9, True)), ("1", Bar(1.0))])
def test_bars_are_read(text, bar):
    assert Bar.of(text) == bar
    assert Bar.of(str(bar)) == bar


@pytest.mark.parametrize("text", ["0", "1.5", "nan", "much", "-of-full", "0.9-of-all"])
def test_other_bars_are_refused(text):
    with pytest.raises(InvalidValueError, match="at_least must be"):
        Bar.of(text)


def test_a_set_is_parted_class_by_class(tmp_path):
    split = parted(digits(), tmp_path, share=0.25, seed=0)
    assert isinstance(split.learn.images, np.memmap)
    assert not set(split.learn.names) & set(split.held.names)
    assert len(split.learn) + len(split.held) == 160
    assert (split.held.counts() >= 8).all()
    assert not set(split.choosing.tolist()) & set(split.reporting.tolist())
    with pytest.raises(InvalidValueError, match="two pictures or more"):
        parted(digits().take(np.array([0, 1, 2, 3])), tmp_path, share=0.25, seed=0)


def test_a_folder_that_is_no_set_leaves_nothing_behind(tmp_path):
    (tmp_path / "set" / "cat").mkdir(parents=True)
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "set" / "cat" / "a.png")
    with pytest.raises(InvalidValueError, match="two folders of pictures or more"):
        condense(
            tmp_path / "set", tmp_path / "out", CondenseOptions(2, "random-rows", **QUICK), Running(engine=Inline())
        )
    assert [each.name for each in tmp_path.iterdir()] == ["set"]


def test_the_page_of_docs_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "condense.md").read_text("utf-8")
    left: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "condense.md", "exec"), left)  # our own page
    assert len(left["kept"].small) == 4
    assert (tmp_path / "small" / "report.html").stat().st_size > 10_000


def test_out_is_no_class_of_the_folder(folder):
    with pytest.raises(InvalidValueError, match="OUT must lie outside of FOLDER"):
        condense(folder, folder / "small", CondenseOptions(2, "random-rows", **QUICK), Running(engine=Inline()))
    assert not (folder / "small").exists()


def test_a_stranger_in_the_work_folder_is_not_touched(folder, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("dear")
    with pytest.raises(InvalidValueError, match=r"thesis\.txt"):
        condense(folder, tmp_path / "out", CondenseOptions(2, "random-rows", **QUICK), Running(work=tmp_path / "work"))
