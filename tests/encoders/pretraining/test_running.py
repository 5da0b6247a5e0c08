"""Runs: killed and gone on, the same bits, started from another, refused; what lies in the folder."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest

from lightmeter.assets.saving import load_model
from lightmeter.encoders.dense_future import FutureCodesMaps
from lightmeter.encoders.pretraining import running
from lightmeter.encoders.pretraining.curve import Curve
from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.sample_scores import first_windows, score_samples
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.vqvae import VqVaeTask
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.engines.checkpoints import Checkpoints
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.parts import build

VQVAE = build("vqvae/steps=6,batch=3,frames=4,hiddens=8,layers=1,downsample=[2,4,4],dim=4,codes=16")
FUTURE = build("future/steps=6,batch=3,width=12,layers=1,heads=2,base=8,levels=1,lr=0.01")


PRIOR = build("prior/steps=6,batch=3,width=12,layers=1,heads=2,base=8,dim=6,lr=0.01,dropout=0.2")
quick = partial(PretrainRun, report=False)


def weights(folder):
    return load_model(folder)[0]


def same(one, other):
    return set(one) == set(other) and all(np.array_equal(each, other[name]) for name, each in one.items())


@pytest.fixture(params=["vqvae", "future", "prior"])
def job(request, tokens):
    return (VQVAE, None) if request.param == "vqvae" else ({"future": FUTURE, "prior": PRIOR}[request.param], tokens)


def test_a_killed_run_ends_as_if_nothing_had_happened(job, footage, tmp_path, monkeypatch):
    recipe, tokens = job
    whole = pretrain(recipe, footage, tmp_path / "whole", quick(tokens))
    monkeypatch.setattr(Checkpoints, "due", property(lambda self: True))
    kind = type(recipe.task(footage, seed=0, tokens=tokens))
    plain, seen = kind.loss, []

    def dying(self, step):
        seen.append(step)
        if len(seen) == 5:
            raise OSError("killed")
        return plain(self, step)

    monkeypatch.setattr(kind, "loss", dying)
    with pytest.raises(OSError, match="killed"):
        pretrain(recipe, footage, tmp_path / "killed", quick(tokens))
    told = []
    again = pretrain(recipe, footage, tmp_path / "killed", quick(tokens, tell=told.append))
    assert seen == [0, 1, 2, 3, 4, 4, 5], "only the step in flight is done again"
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"))
    assert (tmp_path / "whole" / "curve.jsonl").read_text() == (tmp_path / "killed" / "curve.jsonl").read_text()
    assert again.curve.learnt == whole.curve.learnt
    assert (told[-1].step, told[-1].steps, told[-1].began) == (6, 6, 4)
    assert not (tmp_path / "killed" / "run").exists()
    standing = pretrain(recipe, footage, tmp_path / "killed", quick(tokens))
    assert standing.again
    cost = standing.about["cost"]
    assert (cost["steps"], cost["calls"]) == (6, 2)
    assert cost["cpu_s"] >= again.about["cost"]["cpu_s"] > 0
    assert len(seen) == 7, "a finished run is read"
    assert standing.curve.learnt == whole.curve.learnt
    assert standing.curve.scored == whole.curve.scored
    assert same(
        {name: each.numpy() for name, each in standing.task.net.state_dict().items()},
        {name: each.numpy() for name, each in whole.task.net.state_dict().items()},
    )


def test_another_run_is_not_written_over(footage, tokens, tmp_path):
    recipe = FUTURE
    pretrain(recipe, footage, tmp_path, quick(tokens))
    before = weights(tmp_path)
    longer = dataclasses.replace(recipe, steps=8)
    with pytest.raises(InvalidValueError, match="whose pretraining/steps is 6, not 8"):
        pretrain(longer, footage, tmp_path, quick(tokens))
    with pytest.raises(InvalidValueError, match="whose seed is 0, not 1"):
        pretrain(recipe, footage, tmp_path, quick(tokens, seed=1))
    assert same(before, weights(tmp_path))
    anew = pretrain(longer, footage, tmp_path, quick(tokens, anew=True))
    assert (len(anew.curve.learnt), anew.again) == (8, False)
    assert not same(before, weights(tmp_path))


def test_what_stands_there_stays_until_a_new_run_can_begin(footage, tokens, tmp_path):
    """`anew` with what cannot be: the net, its curve and its tokens are still there afterwards."""
    out, other = tmp_path / "out", tmp_path / "other"
    pretrain(FUTURE, footage, out, quick(tokens))
    pretrain(dataclasses.replace(FUTURE, width=18, steps=1), footage, other, quick(tokens))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InvalidValueError, match="must have tokens"):
        pretrain(FUTURE, footage, out, quick(anew=True))
    with pytest.raises(RejectedFileError, match="of a model must be"):
        pretrain(FUTURE, footage, out, quick(tokens, anew=True, start=other))
    with pytest.raises(MissingAssetError):
        pretrain(FUTURE, footage, out, quick(tokens, anew=True, start=tmp_path / "nothing"))
    for start in (out, out / "tokens"):
        with pytest.raises(InvalidValueError, match="must lie outside of the folder that is written"):
            pretrain(FUTURE, footage, out, quick(tokens, anew=True, start=start))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert {"curve.jsonl", "model.json", "model.safetensors"} <= {path.name for path in before}


def test_killed_while_it_saves(footage, tmp_path, monkeypatch):
    """At any moment after the last step: the same call ends the run, and the folder is as that of a run left alone."""
    recipe = dataclasses.replace(VQVAE, steps=2)
    pretrain(recipe, footage, tmp_path / "whole", PretrainRun())
    for kind, name in ((Curve, "draw"), (Checkpoints, "clear")):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, _dies)
            with pytest.raises(OSError, match="killed"):
                pretrain(recipe, footage, tmp_path / name, PretrainRun())
    assert not (tmp_path / "draw" / "model.json").exists(), "the net comes last"
    for name in ("draw", "clear"):
        made = pretrain(recipe, footage, tmp_path / name, PretrainRun())
        assert made.again == (name == "clear")
        assert made.about["cost"]["steps"] == 2
        assert same(weights(tmp_path / "whole"), weights(tmp_path / name))
        for file in ("curve.jsonl", "curve.png"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
        assert not (tmp_path / name / "run").exists()


def _dies(*_):
    raise OSError("killed")


def test_the_price_is_of_all_calls(footage, tmp_path, monkeypatch):
    """Each call by its own clock, 10 s of CPU a step: stopped after 2 and after 4 of 6 steps, 60 s in all."""
    clock = [0.0]
    monkeypatch.setattr(running, "_clocks_s", lambda: (2 * clock[0], clock[0]))
    monkeypatch.setattr(Checkpoints, "due", property(lambda self: True))
    plain, left = VqVaeTask.loss, [2]

    def slow(self, step):
        if not left[0]:
            raise OSError("killed")
        left[0] -= 1
        clock[0] += 10
        return plain(self, step)

    monkeypatch.setattr(VqVaeTask, "loss", slow)
    for _ in range(2):
        with pytest.raises(OSError, match="killed"):
            pretrain(VQVAE, footage, tmp_path, quick())
        left[0], clock[0] = 2, 1000.0
    made = pretrain(VQVAE, footage, tmp_path, quick())
    cost = made.about["cost"]
    assert (cost["steps"], cost["calls"]) == (6, 3)
    assert 40 < cost["cpu_s"] < 45, "40 s before, and what this call took by the meter"
    assert 80 < cost["wall_s"] < 90
    assert "read_bytes" not in cost, "not known of the calls before"


def test_what_is_held_out_must_be_new(clips, footage, tmp_path):
    """A net that learnt from all clips is no start for a run that holds some of them out."""
    short = dataclasses.replace(VQVAE, steps=1)
    pretrain(short, Footage.of(clips), tmp_path / "all", quick())
    with pytest.raises(InvalidValueError, match="must be new to the net in"):
        pretrain(short, footage, tmp_path / "out", quick(start=tmp_path / "all"))
    pretrain(short, footage, tmp_path / "part", quick())
    assert not pretrain(short, footage, tmp_path / "out", quick(start=tmp_path / "part")).again


def test_a_run_starts_from_another(footage, tmp_path):
    recipe, tokens = VQVAE, None
    first = dataclasses.replace(recipe, steps=4)
    pretrain(first, footage, tmp_path / "first", quick(tokens))
    slow = dataclasses.replace(recipe, steps=1, lr=1e-9)
    pretrain(slow, footage, tmp_path / "second", quick(tokens, start=tmp_path / "first"))
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    floats = [name for name in before if name.endswith(("weight", "bias", "w"))]
    assert floats
    assert all(np.allclose(before[name], after[name], atol=1e-6) for name in floats)
    other = dataclasses.replace(recipe, hiddens=6)
    with pytest.raises(RejectedFileError, match="of a model must be"):
        pretrain(other, footage, tmp_path / "third", quick(tokens, start=tmp_path / "first"))
    with pytest.raises(InvalidValueError, match="whose from is"):
        pretrain(slow, footage, tmp_path / "second", quick(tokens))


def test_same_seed_same_bits(footage, tokens, tmp_path):
    recipe = dataclasses.replace(PRIOR, steps=3)
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        pretrain(recipe, footage, tmp_path / name, quick(tokens, seed=seed))
    assert same(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert not same(weights(tmp_path / "one"), weights(tmp_path / "other"))


def test_what_lies_in_the_folder(footage, tokens, tmp_path):
    made = pretrain(FUTURE, footage, tmp_path, PretrainRun(tokens))
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "learnt"] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if row["kind"] == "scored"] == [1, 2, 3, 4, 5, 6]
    for name in ("curve.png", "strip.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert Tokenizer.load(tmp_path / "tokens").fingerprint == tokens.fingerprint
    about = load_model(tmp_path)[1]
    assert (about["kind"], about["pretraining"], about["seed"]) == ("future-codes", FUTURE.spec, 0)
    assert about["tokens"] == tokens.fingerprint
    assert about["cost"]["cpu_s"] > 0
    assert about["figures"] == made.curve.last
    for kind, row in (("learnt", rows[-2]), ("held_out", rows[-1])):
        assert about["figures"][kind]["moving_nats"] == row["moving_nats"], kind
    assert about["figures"]["learnt"]["nats"] != about["figures"]["held_out"]["nats"]
    assert about["cost"]["calls"] == 1
    assert about["diagnostics"] == made.about["diagnostics"]
    assert pretrain(FUTURE, footage, tmp_path, PretrainRun(tokens)).about["diagnostics"] == about["diagnostics"]
    assert set(about["diagnostics"]) == {"codes", "effective_rank", "conditioning"}
    assert set(about["samples"]["psnr_db"]) == {"predicted", "recoded", "frozen"}
    encoder = FutureCodesMaps(tmp_path)
    assert {name: (each.channels, each.stride) for name, each in encoder.feature_sets.items()} == {
        "stride2": (8, 2), "stride4": (16, 4)
    }  # fmt: skip
    maps = encoder.features(footage.learn[:2], np.array([0, 3]))
    import torch

    with torch.no_grad():
        frames = torch.from_numpy(footage.learn[[0, 1], [0, 3]]).movedim(-1, 1) / 255 - 0.5
        expected = made.task.net.maps(frames)[4]
    np.testing.assert_allclose(maps["stride4"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recipe", [VQVAE, PRIOR], ids=["vqvae", "prior"])
def test_what_is_told_at_the_end(recipe, footage, tokens, tmp_path):
    """Of windows that are held out, by the net as it stands."""
    made = pretrain(recipe, footage, tmp_path, PretrainRun(None if recipe is VQVAE else tokens))
    windows = first_windows(made.task.cut, footage.held_out, 8)
    assert len(windows) == 4
    assert made.about["diagnostics"] == made.task.diagnosed(windows)
    shown = made.task.shown(windows)
    assert made.about["samples"] == score_samples(windows, shown)
    assert set(shown) == ({"recoded"} if recipe is VQVAE else {"predicted", "recoded"})


def test_a_curve_of_means():
    curve = Curve(2)
    made = [curve.add(done, {"loss": float(done)}, ends=done == 5) for done in range(1, 4)]
    curve.score(2, {"loss": 9.0})
    curve.score(3, {})
    again = Curve(2)
    again.restore({name: each.copy() for name, each in curve.state().items()})
    made += [again.add(done, {"loss": float(done)}, ends=done == 5) for done in (4, 5)]
    assert made == [False, True, False, True, True]
    assert again.learnt == [{"step": 2, "loss": 1.5}, {"step": 4, "loss": 3.5}, {"step": 5, "loss": 5.0}]
    assert again.scored == [{"step": 2, "loss": 9.0}]
    assert again.last == {"learnt": {"loss": 5.0}, "held_out": {"loss": 9.0}}
    assert Curve(2).last == {"learnt": {}, "held_out": {}}


@pytest.mark.parametrize("text", ["{", "[]", '{"step": 1}', '{"kind": "learnt", "step": "x"}', "3"])
def test_a_curve_of_a_stranger(tmp_path, text):
    (tmp_path / "curve.jsonl").write_text(text)
    with pytest.raises(RejectedFileError, match="must be the curve of a run"):
        Curve(1).read(tmp_path / "curve.jsonl")
    with pytest.raises(MissingAssetError, match="put it back, or train anew"):
        Curve(1).read(tmp_path / "other.jsonl")
