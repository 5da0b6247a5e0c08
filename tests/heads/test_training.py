"""Training: the starter's steps, one order for ever, resumed bit for bit, a few classes at a time with the same end."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_examples import labelled
from moe_reference import NaiveMoe, starter_loss

from lightmeter.engines.order import BLOCK, WINDOW, Order
from lightmeter.errors import InvalidValueError
from lightmeter.heads.examples import ArrayExamples, Block
from lightmeter.heads.feeding import dense_range, hidden_blocks
from lightmeter.heads.learner import Learner
from lightmeter.heads.losses import CrossEntropy
from lightmeter.heads.moe import Moe
from lightmeter.heads.text_heads import KeywordMlp
from lightmeter.heads.training import Adam, Plan, few_steps, fit_net, told_text
from lightmeter.metrics.ranking import VideoScores
from lightmeter.parts import build
from lightmeter.types import Labels

QUICK = Adam(batch=32, epochs=3, precision="float32")


def scores_of(classifier, examples):
    return classifier.scores(classifier.view(examples).batch(np.arange(len(examples))))


def same(one, other):
    for mine, theirs in zip(one.parts, other.parts, strict=True):
        assert mine.arrays.keys() == theirs.arrays.keys()
        for name, array in mine.arrays.items():
            np.testing.assert_array_equal(array, theirs.arrays[name], err_msg=name)


# -- order ------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 500), st.integers(1, 70), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_every_epoch_has_every_item_once(items, batch, epochs, seed):
    order = Order(items, min(batch, items), epochs, seed)
    rows = np.concatenate([order.rows(step) for step in range(order.steps)])
    assert len(rows) == order.steps * order.batch > items * epochs - order.batch
    for epoch in range(epochs):
        part = rows[epoch * items : (epoch + 1) * items]
        assert len(set(part.tolist())) == len(part)
    np.testing.assert_array_equal(order.rows(order.steps - 1), rows[-order.batch :])


def test_over_several_windows_too():
    items = BLOCK * WINDOW * 2 + 1000
    order = Order(items, 5000, 2, 3)
    rows = np.concatenate([order.rows(step) for step in range(order.steps)])
    assert sorted(rows[:items].tolist()) == list(range(items))
    assert not np.array_equal(rows[:1000], rows[items : items + 1000])
    assert np.corrcoef(np.arange(items), rows[:items])[0, 1] < 0.1
    np.testing.assert_array_equal(Order(items, 5000, 2, 3).rows(7), order.rows(7))
    assert not np.array_equal(Order(items, 5000, 2, 4).rows(7), order.rows(7))


# -- steps ------------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_straightforward_loop():
    examples = labelled()
    training = Adam(batch=50, epochs=2, precision="float32", decay=0.5, decay_every=100)
    torch.manual_seed(4)
    net = Moe().net(examples.blocks, 11)
    naive = NaiveMoe(24, 11, 2).take(net.moe)
    adam = torch.optim.Adam(naive.parameters(), lr=0.01)
    learner = Learner(net, training, CrossEntropy().ready(np.ones(11)), precision="float32", seed=0)
    from lightmeter.heads.feeding import Feed

    feed = Feed(examples, Order(200, 50, 2, 0), 0, 11)
    for step, (batch, inputs) in enumerate(feed.batches(0)):
        x = torch.nn.functional.normalize(torch.cat([inputs.values["visual"], inputs.values["audio"]], 1))
        loss = starter_loss(naive(x), torch.from_numpy(batch.labels.dense()).float())
        (loss + 1e-8 * sum(each.weight.square().sum() for each in (naive.gates, naive.answers)) / 2).backward()
        for each in naive.parameters():  # the starter: every variable on its own; ours has gates and experts in one
            assert each.grad.norm() < 100
        slopes = [naive.gates.weight.grad, naive.answers.weight.grad]
        length = torch.stack([each.norm() for each in slopes]).norm()
        for each in slopes:
            each.mul_((1 / length).clamp(max=1))
        naive.answers.bias.grad.mul_((1 / naive.answers.bias.grad.norm()).clamp(max=1))
        for group in adam.param_groups:
            group["lr"] = 0.01 * 0.5 ** (step * 50 // 100)
        adam.step()
        adam.zero_grad()
        assert learner.step(step, inputs)[0] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(net.moe(x), naive(x), atol=1e-5, rtol=0)


def test_rates_fall_in_steps():
    training = Adam(lr=1.0, batch=10, decay=0.5, decay_every=25)
    assert [training.rate(step) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_it_learns_and_says_so():
    examples, heard = labelled(), []
    made = fit_net(Moe(), examples, training=Adam(lr=0.03, batch=32, epochs=10), tell=heard.append)
    fresh = labelled(100, seed=5)
    quality = VideoScores(11).update(scores_of(made, fresh), fresh.labels).result()
    assert quality.gap > 0.9
    assert heard[-1].done == heard[-1].total == 32 * (200 * 10 // 32)
    assert heard[-1].loss < heard[0].loss
    assert "GAP" in told_text(heard[-1])


def test_the_same_again_is_the_same_and_chance_elsewhere_stays():
    examples = labelled(absent=0.3)
    training = Adam(batch=32, epochs=2, drop=0.5, precision="float32")
    torch.manual_seed(7)
    one = fit_net(Moe(), examples, training=training, seed=2)
    after = torch.rand(1)
    torch.manual_seed(7)
    assert torch.rand(1) == after, "fitting leaves the global generator as it was"
    torch.rand(3)
    same(one, fit_net(Moe(), examples, training=training, seed=2))
    other = fit_net(Moe(), examples, training=training, seed=3)
    assert np.abs(scores_of(one, examples) - scores_of(other, examples)).max() > 1e-3


def learner_of(head, examples, training):
    torch.manual_seed(0)
    net = head.net(examples.blocks, len(examples.label_names))
    return Learner(net, training, CrossEntropy().ready(np.ones(11)), precision="float32", seed=0)


@pytest.mark.parametrize("clip_by", ["variable", "class", "all", "off"])
def test_slopes_are_clipped_as_asked(clip_by):
    from lightmeter.heads.feeding import Feed

    examples = labelled()
    learner = learner_of(Moe(), examples, Adam(clip=0.01, clip_by=clip_by, l2=0.0))
    _, inputs = Feed(examples, Order(200, 50, 1, 0), 0, 11).batch(0)
    learner.step(0, inputs)
    weight, bias = (learner.weights[name].grad for name in ("moe.weight", "moe.bias"))
    by_class = (weight.square().sum(dim=(0, 2)) + bias.square().sum(dim=0)).sqrt()
    lengths = {
        "variable": [weight.norm(), bias.norm()], "class": list(by_class), "all": [by_class.norm()], "off": []
    }  # fmt: skip
    for length in lengths[clip_by]:
        assert length.item() == pytest.approx(0.01, rel=1e-4)
    assert (by_class.norm() > 0.1) == (clip_by == "off")


def test_the_average_moves_slowly_and_is_what_is_kept():
    examples = labelled()
    plain = fit_net(Moe(), examples, training=QUICK)
    slow = fit_net(Moe(), examples, training=Adam(batch=32, epochs=3, precision="float32", ema=0.999))
    fresh = fit_net(Moe(), examples, training=Adam(batch=32, epochs=1, precision="float32", lr=1e-12))
    moved = [
        np.abs(each.parts[0].arrays["moe.weight"] - fresh.parts[0].arrays["moe.weight"]).max() for each in (plain, slow)
    ]
    assert 0 < moved[1] < moved[0]


def test_a_student_listens_to_its_teacher():
    examples = labelled()
    teacher = fit_net(Moe(), examples, training=QUICK)
    alone = Adam(batch=32, epochs=5, precision="float32", distil=1.0)
    student = fit_net(Moe(), examples, training=alone, plan=Plan(teacher=teacher), seed=9)
    apart = np.abs(scores_of(student, examples) - scores_of(teacher, examples)).mean()
    other = fit_net(Moe(), examples, training=Adam(batch=32, epochs=5, precision="float32"), seed=9)
    assert apart < np.abs(scores_of(other, examples) - scores_of(teacher, examples)).mean()


def test_other_networks_learn_too():
    examples = labelled()
    made = fit_net(KeywordMlp(widths=(32, 16)), examples, training=Adam(lr=0.02, batch=32, epochs=15))
    assert VideoScores(11).update(scores_of(made, examples), examples.labels).gap()[0] > 0.8
    assert made.hidden(made.view(examples).batch(np.arange(5))).shape == (5, 16)
    with pytest.raises(InvalidValueError, match="classes must share nothing"):
        fit_net(KeywordMlp(widths=(8,)), examples, training=Adam(clip_by="class"))


def test_a_chain_learns_by_all_its_stages():
    examples = labelled(100)
    made = fit_net(build("chain/links=1,cells=8", "head"), examples, training=QUICK)
    fresh = fit_net(build("chain/links=1,cells=8", "head"), examples, training=Adam(batch=32, epochs=1, lr=1e-12))
    support = np.abs(made.parts[0].arrays["mixtures.0.weight"] - fresh.parts[0].arrays["mixtures.0.weight"]).max()
    assert support > 0.01


# -- what is hidden and rated -----------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 4), st.floats(0, 0.99), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_a_block_that_is_there_stays(items, blocks, drop, step):
    present = np.random.default_rng(step).random((items, blocks)) < 0.7
    kept = hidden_blocks(present, drop, 0, step)
    assert not (kept & ~present).any()
    np.testing.assert_array_equal(kept.any(axis=1), present.any(axis=1))
    np.testing.assert_array_equal(hidden_blocks(present, drop, 0, step), kept)


def test_about_so_many_are_hidden():
    kept = hidden_blocks(np.ones((4000, 4), bool), 0.3, 1, 0)
    assert 0.69 < kept.mean() < 0.73


def test_modality_dropout_helps_where_a_block_is_missing():
    examples, fresh = labelled(dims=(12, 12)), labelled(100, dims=(12, 12), seed=8)
    gaps = []
    for drop in (0.0, 0.4):
        made = fit_net(Moe(), examples, training=Adam(lr=0.03, batch=40, epochs=12, drop=drop, precision="float32"))
        batch = made.view(fresh, without=["audio"]).batch(np.arange(100))
        gaps.append(VideoScores(11).update(made.scores(batch), fresh.labels).gap()[0])
    assert gaps[1] > gaps[0] + 0.01


def test_ranges_of_labels():
    labels = Labels.of([[0, 3], [], [2, 3, 4]], 5)
    np.testing.assert_array_equal(dense_range(labels, 2, 5), labels.dense()[:, 2:5])


# -- a few classes at a time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clip_by", "loss"), [("class", "(bce/reduce=mean)"), ("off", "logit-adjusted")])
def test_shards_of_classes_are_the_whole(clip_by, loss):
    examples, loss = labelled(300, 30), build(loss.strip("()"), "loss")
    training = Adam(batch=50, epochs=2, clip=0.01, clip_by=clip_by, loss=loss, drop=0.3, l2=1e-3, precision="float32")
    joint = fit_net(Moe(), examples, training=training, seed=1)
    shards = fit_net(Moe(), examples, training=training, seed=1, plan=Plan(class_shard=7))
    assert [(part.first, part.last) for part in shards.parts] == [(0, 7), (7, 14), (14, 21), (21, 28), (28, 30)]
    assert np.abs(scores_of(joint, examples) - scores_of(shards, examples)).max() <= 1e-5
    assert joint.macs == shards.macs
    assert joint.size_bytes == shards.size_bytes


def test_the_starters_clip_couples_classes():
    """Why it is refused for shards: with it, a class learns otherwise alone than among the rest."""
    examples = labelled(300, 30)
    few = ArrayExamples(
        examples.blocks, examples.values, examples.ids, examples.label_names[:15],
        Labels.of([[c for c in np.flatnonzero(row).tolist() if c < 15] for row in examples.labels.dense()], 15),
    )  # fmt: skip
    apart = {}
    for clip_by in ("variable", "class"):
        training = Adam(batch=32, epochs=2, clip=0.05, clip_by=clip_by, precision="float32", l2=0.0)
        starts = [fit_net(Moe(), each, training=training) for each in (few, examples)]
        apart[clip_by] = np.abs(scores_of(starts[0], few) - scores_of(starts[1], examples)[:, :15]).max()
    assert apart["variable"] > 0.005


@pytest.mark.parametrize(
    ("head", "training", "words"),
    [
        (Moe(), Adam(), "clip_by=class"),
        (Moe(missing="learned"), Adam(clip_by="off"), "missing=zero"),
        (KeywordMlp(), Adam(clip_by="off"), "share weights"),
    ],
)
def test_what_cannot_be_cut_is_refused(head, training, words):
    with pytest.raises(InvalidValueError, match=words):
        fit_net(head, labelled(), training=training, plan=Plan(class_shard=5))


# -- going on ---------------------------------------------------------------------------------------------------------


class KilledError(Exception):
    pass


@pytest.mark.parametrize("head", [Moe(), KeywordMlp(widths=(8,))], ids=["moe", "keyword-mlp"])
@pytest.mark.parametrize("at", [1, 4, 17])
def test_a_run_that_died_goes_on_bit_for_bit(head, at, tmp_path, monkeypatch):
    examples = labelled(absent=0.2)
    training = Adam(batch=32, epochs=3, drop=0.3, ema=0.9, precision="float32")
    whole = fit_net(head, examples, training=training, seed=1)
    took = Learner.step

    def dying(self, number, inputs):
        if number == at:
            raise KilledError
        return took(self, number, inputs)

    monkeypatch.setattr(Learner, "step", dying)
    with pytest.raises(KilledError):
        fit_net(head, examples, training=training, seed=1, folder=tmp_path, plan=Plan(checkpoint_s=0.0))
    steps = []

    def counted(self, number, inputs):
        steps.append(number)
        return took(self, number, inputs)

    monkeypatch.setattr(Learner, "step", counted)
    same(whole, fit_net(head, examples, training=training, seed=1, folder=tmp_path))
    assert steps == list(range(steps[0], 18))
    assert 0 < steps[0] <= at


def test_ctrl_c_keeps_the_state_and_shards_that_are_done_stay(tmp_path, monkeypatch):
    examples, took, steps = labelled(), Learner.step, []
    training = Adam(batch=50, epochs=2, clip_by="class", precision="float32")

    def stopped(self, number, inputs):
        steps.append(number)
        if len(steps) == 11:  # the second shard's third
            signal.raise_signal(signal.SIGINT)
        return took(self, number, inputs)

    monkeypatch.setattr(Learner, "step", stopped)
    plan = Plan(class_shard=4)
    with pytest.raises(KeyboardInterrupt):
        fit_net(Moe(), examples, training=training, folder=tmp_path, plan=plan)
    made = fit_net(Moe(), examples, training=training, folder=tmp_path, plan=plan)
    assert steps == [*range(8), 0, 1, 2, *range(3, 8), *range(8)]
    same(made, fit_net(Moe(), examples, training=training, plan=plan))


@pytest.mark.slow
def test_kill_9_in_mid_epoch(tmp_path):
    runner = Path(__file__).parent / "fit_runner.py"
    done = subprocess.run([sys.executable, str(runner), str(tmp_path), "9"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    sys.path.insert(0, str(runner.parent))
    from fit_runner import TRAINING

    resumed = fit_net(Moe(), labelled(absent=0.2), training=TRAINING, seed=1, folder=tmp_path)
    same(resumed, fit_net(Moe(), labelled(absent=0.2), training=TRAINING, seed=1))


@pytest.mark.parametrize("change", ["seed", "data", "head", "training"])
def test_a_checkpoint_of_another_run_is_refused(change, tmp_path):
    def run(seed=0, examples=None, head=None, training=None):
        return fit_net(
            head or Moe(), examples or labelled(), training=training or Adam(batch=32, clip_by="class"), seed=seed,
            folder=tmp_path,
        )  # fmt: skip

    run()
    others = {"seed": 1, "data": labelled(seed=1), "head": Moe(3), "training": Adam(batch=64)}
    name = {"data": "examples"}.get(change, change)
    with pytest.raises(InvalidValueError, match=rf"whose {change}(/\w+)? is .*--anew"):
        run(**{name: others[change]})


def test_a_run_goes_on_in_the_precision_that_it_began_with(tmp_path, monkeypatch):
    examples = labelled()
    fit_net(Moe(), examples, training=Adam(batch=32), folder=tmp_path)
    monkeypatch.setattr("lightmeter.heads.training.measured_precision", lambda: "bfloat16")
    assert fit_net(Moe(), examples, training=Adam(batch=32), folder=tmp_path).about["precision"] == "float32"
    assert fit_net(Moe(), examples, training=Adam(batch=32, epochs=1)).about["precision"] == "bfloat16"


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_loss_that_runs_away_is_told():
    examples = labelled()
    with pytest.raises(InvalidValueError, match="loss must stay finite"):
        fit_net(KeywordMlp(widths=(8,)), examples, training=Adam(lr=1e30, clip_by="off", batch=32, precision="float32"))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_data_that_are_no_numbers_are_told_as_such(wrong):
    """It is not the rate that is to blame."""
    examples = labelled()
    examples.values["audio"][3, 2] = wrong
    with pytest.raises(InvalidValueError, match=r"^audio must be finite, .* in 1 of the 200 examples of step 0: check"):
        fit_net(Moe(), examples, training=Adam(precision="float32"))


def test_a_teacher_that_is_no_good_is_told_as_such():
    class Lost:
        def scores(self, batch):
            return np.full((len(batch), 11), np.nan, np.float32)

    with pytest.raises(InvalidValueError, match="^what the teacher says must be finite, got NaN"):
        fit_net(Moe(), labelled(), training=Adam(distil=0.5, precision="float32"), plan=Plan(teacher=Lost()))


def test_few_steps_are_told_once_all_is_checked(tmp_path):
    examples, told = labelled(30), []
    plan, quick = Plan(note=told.append), Adam(batch=30, epochs=2, precision="float32")
    for head, training, more in (
        (build("nextvlad"), quick, plan),
        (Moe(), Adam(distil=0.5), plan),
        (Moe(), quick, replace(plan, class_shard=3)),
        (Moe(), quick, replace(plan, only=1)),
        (KeywordMlp(), replace(quick, clip_by="class"), plan),
    ):
        with pytest.raises(InvalidValueError):
            fit_net(head, examples, training=training, plan=more)
    assert not told
    first = fit_net(Moe(), examples, training=quick, plan=plan, folder=tmp_path)
    assert first
    assert told == [few_steps(quick, 30)]
    with pytest.raises(InvalidValueError):
        fit_net(Moe(), examples, training=replace(quick, l2=0.1), plan=plan, folder=tmp_path)
    assert len(told) == 1


def test_a_training_that_is_told_can_be_pasted_into_a_shell():
    plain, nested = Adam(), build("adam/loss=(logit-adjusted/tau=1.0)", "training")
    for training in (plain, nested):
        advice = few_steps(training, 30).partition("try ")[2]
        shell = shlex.shlex(advice, posix=True, punctuation_chars=True)  # to which an unquoted `(` is a word
        shell.whitespace_split = True
        option, spec = shell
        assert option == "--training"
        assert build(spec, "training") == replace(training, batch=30, epochs=300)


def test_what_is_refused():
    examples = labelled()
    bare = ArrayExamples(examples.blocks, examples.values, examples.ids, examples.label_names)
    with pytest.raises(InvalidValueError, match="must have labels"):
        fit_net(Moe(), bare)
    with pytest.raises(InvalidValueError, match="--blocks"):
        fit_net(build("dbof", "head"), examples)
    with pytest.raises(InvalidValueError, match="teacher go together"):
        fit_net(Moe(), examples, training=Adam(distil=0.5))
    frames = ArrayExamples((Block("rgb", "frames", 2),), {"rgb": [np.ones((1, 2))] * 2}, ["a", "b"], ("x",))
    with pytest.raises(InvalidValueError, match="moe must read features"):
        fit_net(Moe(), frames)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"lr": 0.0},
        {"drop": 1.0},
        {"ema": -0.1},
        {"distil": 2.0},
        {"l2": -1.0},
        {"clip": 0.0},
        {"loss": 3},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InvalidValueError, match=next(iter(options))):
        Adam(**options)


@pytest.mark.parametrize("training", [Adam(), Adam(clip_by="off", loss=CrossEntropy(reduce="mean"), ema=0.99)])
def test_it_is_rebuilt_by_its_spec(training):
    assert build(training.spec, "training") == training
