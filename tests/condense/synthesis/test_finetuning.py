"""Fine-tuning as published, on the tiny model."""

import json

import pytest
from synthesis_models import StopAfter, captions_of, weights

from lightmeter.condense.synthesis.finetuning import FineTuning, TuneRun, _learner, fine_tune
from lightmeter.condense.synthesis.generator import DiffusersGenerator
from lightmeter.errors import InvalidValueError

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
QUICK = FineTuning(epochs=1, batch=4, accumulate=2, lr=1e-3)


def test_defaults_are_the_published_ones():
    made = FineTuning()
    assert (made.epochs, made.batch, made.accumulate, made.lr) == (8, 8, 4, 1e-5)
    assert (made.weight_decay, made.clip, made.decay, made.mirror) == (0.01, 1.0, 0.9999, True)


@pytest.fixture(scope="module")
def tuned(tiny_folder, tiny_set, tmp_path_factory):
    """(where it stands, the generator, what was told)"""
    told, out = [], tmp_path_factory.mktemp("tuned")
    made = fine_tune(tiny_folder, tiny_set, captions_of(tiny_set), out, QUICK, TuneRun(tell=told.append))
    return out, made, told


def test_only_the_denoiser_learns(tiny_folder, tiny_set, tuned):
    out, made, told = tuned
    before, after = weights(tiny_folder), weights(out)
    assert {name for name in after if after[name] != before[name]} == {"unet/diffusion_pytorch_model.safetensors"}
    assert told == [f"fine-tuning: 5 of 5 steps, {told[-1].partition('steps, ')[2]}"]
    assert made.fitting == DiffusersGenerator.of(tiny_folder, tiny_set).fitting
    about = json.loads((out / "lightmeter.json").read_text())
    assert about["figures"]["loss"] > 0
    again = fine_tune(tiny_folder, tiny_set, captions_of(tiny_set), out, QUICK)
    assert again.folder == out
    with pytest.raises(InvalidValueError, match="must be free or hold this model"):
        fine_tune(tiny_folder, tiny_set, captions_of(tiny_set), out, QUICK, TuneRun(seed=3))


def test_a_stopped_run_goes_on_to_the_same_bits(tiny_folder, tiny_set, tuned, tmp_path):
    captions = captions_of(tiny_set)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tiny_folder, tiny_set, captions, tmp_path, QUICK, TuneRun(asked=StopAfter(2)))
    fine_tune(tiny_folder, tiny_set, captions, tmp_path, QUICK)
    assert weights(tmp_path) == weights(tuned[0])


def test_pieces_of_a_step_add_up(tiny_folder, tiny_set, monkeypatch):
    """With a loss that is the mean of what it is shown, one piece of 8 and four of 2 have the same slope."""

    def mean(base, parts, pixels, texts):
        return sum(each.sum() for each in parts.unet.parameters()) * float(pixels.mean()) * 1e-3

    monkeypatch.setattr("lightmeter.condense.synthesis.finetuning._piece_loss", mean)
    found = []
    for batch, accumulate in ((8, 1), (2, 4)):
        base = DiffusersGenerator.of(tiny_folder, tiny_set)
        recipe = FineTuning(batch=batch, accumulate=accumulate)
        learner = _learner(base, tiny_set, captions_of(tiny_set), recipe, 0)
        value = learner.learning.loss(0)
        value.backward()
        found.append((value.item(), base.parts.unet.conv_in.bias.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1])


def test_the_running_mean_is_kept(tiny_folder, tiny_set):
    """From w0 by steps w1, w2: the mean is first kept by 1/10, then by 2/11."""
    base = DiffusersGenerator.of(tiny_folder, tiny_set)
    learner = _learner(base, tiny_set, captions_of(tiny_set), QUICK, 0)
    weight = base.parts.unet.conv_in.bias
    wanted = weight.detach().clone()
    for number, keep in enumerate((1 / 10, 2 / 11)):
        learner.step(number)
        wanted = keep * wanted + (1 - keep) * weight.detach()
    learner.finish()
    torch.testing.assert_close(weight, wanted)


def test_checkpointing_changes_no_step(tiny_folder, tiny_set):
    found = []
    for checkpointing in (False, True):
        base = DiffusersGenerator.of(tiny_folder, tiny_set)
        recipe = FineTuning(batch=4, accumulate=1, checkpointing=checkpointing)
        _learner(base, tiny_set, captions_of(tiny_set), recipe, 0).step(0)
        found.append(base.parts.unet.conv_in.weight.detach().clone())
    torch.testing.assert_close(found[0], found[1])


def test_some_pictures_are_mirrored(tiny_folder, tiny_set, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "lightmeter.condense.synthesis.finetuning._piece_loss",
        lambda base, parts, pixels, texts: seen.append(pixels) or parts.unet.conv_in.bias.sum(),
    )
    base = DiffusersGenerator.of(tiny_folder, tiny_set)
    _learner(base, tiny_set, captions_of(tiny_set), FineTuning(batch=40, accumulate=1), 0).learning.loss(0)
    whole = {each.tobytes() for each in tiny_set.images}
    turned = {each[:, ::-1].tobytes() for each in tiny_set.images}
    straight = sum(each.tobytes() in whole for each in seen[0])
    assert 8 < straight < 32
    assert all(each.tobytes() in whole | turned for each in seen[0])


def test_recipes_that_cannot_be_are_refused(tiny_folder, tiny_set, tmp_path):
    with pytest.raises(InvalidValueError):
        FineTuning(epochs=0)
    with pytest.raises(InvalidValueError, match="captions must be"):
        fine_tune(tiny_folder, tiny_set, ["one"], tmp_path, QUICK)
