"""A classifier is what was learnt, in one folder: loaded as it was, refused when somebody forged it."""

from __future__ import annotations

import numpy as np
import pytest
from labelled_examples import labelled

from lightmeter.assets.saving import load_model, save_model
from lightmeter.errors import InvalidValueError, MissingAssetError, RejectedFileError
from lightmeter.heads.classifier import Classifier
from lightmeter.heads.examples import ArrayExamples, Batch, Block, Chosen
from lightmeter.heads.moe import Moe
from lightmeter.heads.text_heads import KeywordMlp
from lightmeter.heads.training import Adam, Plan, fit_net
from lightmeter.parts import build
from lightmeter.types import Labels

QUICK = Adam(batch=64, epochs=1, clip_by="off", precision="float32")


@pytest.fixture(scope="module")
def examples():
    return labelled(absent=0.2)


@pytest.fixture(scope="module")
def made(examples):
    return fit_net(Moe(), examples, training=QUICK)


@pytest.fixture(scope="module")
def cut(examples):
    return fit_net(Moe(), examples, training=QUICK, plan=Plan(class_shard=4))


def all_of(classifier, examples):
    return classifier.scores(classifier.view(examples).batch(np.arange(len(examples))))


@pytest.mark.parametrize("which", ["made", "cut"])
def test_it_is_loaded_as_it_was(which, examples, tmp_path, request):
    model = request.getfixturevalue(which)
    model.save(tmp_path)
    again = Classifier.load(tmp_path)
    np.testing.assert_array_equal(all_of(again, examples), all_of(model, examples))
    assert (again.head, again.blocks, again.label_names) == (model.head, model.blocks, model.label_names)
    assert again.about == model.about
    file = (tmp_path / "model.safetensors").read_bytes()
    assert again.size_bytes == len(file) - 8 - int.from_bytes(file[:8], "little")
    assert again.macs == 5 * 11 * 24
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


def test_a_row_is_blind_to_its_batch(made, examples):
    view = made.view(examples)
    many, one = made.scores(view.batch(np.arange(50))), made.scores(view.batch(np.array([7])))
    np.testing.assert_allclose(many[7], one[0], atol=1e-6)
    assert many.dtype == np.float32
    assert ((many >= 0) & (many <= 1)).all()
    assert made.scores(view.batch(np.arange(0))).shape == (0, 11)


def test_blocks_are_found_by_name(made, examples):
    turned = Chosen.of(examples, blocks=["audio", "visual"])
    np.testing.assert_array_equal(all_of(made, turned), all_of(made, examples))


def test_without_a_block_is_as_if_it_were_absent(made, examples):
    absent = np.array(examples.present)
    absent[:, 1] = False
    bare = ArrayExamples(
        examples.blocks, examples.values, examples.ids, examples.label_names, examples.labels, absent
    )  # fmt: skip
    hidden = made.view(examples, without=["audio"])
    np.testing.assert_array_equal(made.scores(hidden.batch(np.arange(200))), all_of(made, bare))
    assert np.abs(all_of(made, bare) - all_of(made, examples)).max() > 0.01


def test_data_that_does_not_fit_is_told(made, examples):
    def other(*blocks):
        values = {block.name: np.zeros((1, block.dim), np.float32) for block in blocks}
        return ArrayExamples(blocks, values, ["a"], examples.label_names)

    visual, audio = examples.blocks
    with pytest.raises(InvalidValueError, match="must have visual, audio, got no audio"):
        made.view(other(visual))
    with pytest.raises(InvalidValueError, match="features of 8 as the model has it, got features of 9"):
        made.view(other(visual, Block("audio", "features", 9)))
    with pytest.raises(InvalidValueError, match="reads no block called 'audoi': did you mean 'audio'"):
        made.view(examples, without=["audoi"])
    with pytest.raises(InvalidValueError, match="`view` first"):
        made.scores(Batch({"visual": np.zeros((1, 16)), "audio": np.zeros((1, 8))}, np.ones((1, 3), bool)))


def test_blocks_of_another_maker_are_told():
    examples = labelled(64)
    block = Block("visual", "features", 16, "mine")
    mine = ArrayExamples(
        (block,), {"visual": examples.values["visual"]}, examples.ids, examples.label_names, examples.labels
    )
    model = fit_net(Moe(), mine, training=QUICK)
    theirs = ArrayExamples(
        (Block("visual", "features", 16, "theirs"),), {"visual": examples.values["visual"]}, examples.ids, ("x",)
    )  # fmt: skip
    with pytest.raises(InvalidValueError, match="must be made by mine as the model learnt it, got theirs"):
        model.view(theirs)


def test_what_has_no_hidden_layer_says_so(made, examples):
    with pytest.raises(InvalidValueError, match="no layer before the last"):
        made.hidden(made.view(examples).batch(np.arange(2)))


# -- forged ones ------------------------------------------------------------------------------------------------------


def refused(model, folder, forge):
    model.save(folder)
    arrays, about = load_model(folder)
    arrays = {name: np.array(array) for name, array in arrays.items()}
    forge(arrays, about)
    save_model(folder, arrays, about)
    with pytest.raises(RejectedFileError) as error:
        Classifier.load(folder)
    assert str(error.value).count("\n") == 0


CHANGES = {
    "dropped": lambda arrays, name: arrays.pop(name),
    "shorter": lambda arrays, name: arrays.update({name: arrays[name][:-1]}),
    "narrower": lambda arrays, name: arrays.update({name: np.ascontiguousarray(arrays[name][..., :-1])}),
    "deeper": lambda arrays, name: arrays.update({name: arrays[name][None]}),
    "of another type": lambda arrays, name: arrays.update({name: arrays[name].astype(np.float64)}),
    "not finite": lambda arrays, name: arrays[name].fill(np.nan),
    "one more": lambda arrays, name: arrays.update({f"{name}x": arrays[name]}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("which", ["made", "cut"])
def test_an_array_that_was_changed_is_refused(which, change, tmp_path, request):
    model = request.getfixturevalue(which)
    model.save(tmp_path)
    for name in load_model(tmp_path)[0]:
        refused(model, tmp_path, lambda arrays, _, name=name: change(arrays, name))


def block(name="v", kind="features", dim=24):
    return {"name": name, "kind": kind, "dim": dim, "made_by": ""}


WRONG = {
    "schema": ["lightmeter.classifier/9", None, 3],
    "spec": [
        "ridge", "moe/experts=3", "moe/experts=0", "moe/experts=1024", "brute", "no such", None, 7, ["moe"], "chain",
        "dbof", "text-cnn",
    ],
    "blocks": [
        None, [], "visual", [{"name": "visual"}], [3], [block(dim=1 << 40)], [block(kind="pictures")],
        [block(dim=12)] * 2, [block(kind="frames")],
    ],
    "label_names": [None, [], ["a"], ["a"] * 11, [1] * 11, "abcdefghijk", [f"{at}" for at in range(12)]],
    "parts": [
        None, [], [[0, 10]], [[0, 12]], [[1, 11]], [[0, 5], [6, 11]], [[0, 11], [11, 11]], [[0, "11"]], [[0, True]],
        [[0, 4], [4, 11]], [[0.0, 11.0]],
    ],
    "about": [None, [], "x"],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_facts_beside_the_arrays_are_held(name, made, tmp_path):
    for wrong in WRONG[name]:
        refused(made, tmp_path, lambda _, about, wrong=wrong: about.update({name: wrong}))
    refused(made, tmp_path, lambda _, about: about.pop(name))


def test_shards_of_classes_that_share_weights_are_refused(examples, tmp_path):
    model = fit_net(KeywordMlp(widths=(4,)), examples, training=QUICK)
    refused(model, tmp_path, lambda _, about: about.update(parts=[[0, 5], [5, 11]]))


def test_another_models_arrays_are_refused(made, cut, tmp_path):
    made.save(tmp_path)
    kept = (tmp_path / "model.json").read_text()
    cut.save(tmp_path)
    (tmp_path / "model.json").write_text(kept)
    with pytest.raises(RejectedFileError, match="of one saving"):
        Classifier.load(tmp_path)
    with pytest.raises(MissingAssetError):
        Classifier.load(tmp_path / "nowhere")


def test_labels_stay_as_they_are_given(tmp_path):
    names = ("ß/ü", "a,b;c", "line\nend", "\x1b[31m")
    rows = np.eye(4, dtype=np.float32)
    mine = ArrayExamples(
        (Block("v", "features", 4),), {"v": rows}, list("abcd"), names, Labels.of([[0], [1], [2], [3]], 4)
    )
    fit_net(Moe(), mine, training=QUICK).save(tmp_path)
    assert Classifier.load(tmp_path).label_names == names


@pytest.mark.parametrize(
    "spec",
    ["chain/links=65", "lstm/layers=1000000", "text-cnn/widths=65", f"keyword-mlp/widths=[{','.join(['2'] * 17)}]"],
)
def test_recipes_without_end_are_refused_before_they_are_built(spec, made, tmp_path, monkeypatch):
    monkeypatch.setattr("lightmeter.heads.classifier.bare_net", lambda *told: pytest.fail("built"))
    refused(made, tmp_path, lambda _, about: about.update(spec=spec, blocks=[block(kind="frames")]))
    refused(made, tmp_path, lambda _, about: about.update(spec=spec))


def test_variances_below_zero_are_refused(tmp_path):
    data = ArrayExamples(
        (Block("v", "frames", 3),), {"v": [np.ones((2, 3), np.float32)] * 4}, list("abcd"), ("x", "y"),
        Labels.of([[0], [1], [0], [1]], 2),
    )  # fmt: skip
    model = fit_net(build("dbof/clusters=2,hidden=2,frames=2", "head"), data, training=Adam(batch=4, epochs=1))
    names = [name for name in model.parts[0].arrays if name.endswith("running_var")]
    assert names
    for name in names:
        refused(model, tmp_path, lambda arrays, _, name=name: arrays[f"0.{name}"].__setitem__(0, -1))
