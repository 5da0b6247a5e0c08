"""What is learnt: losses worked by hand, figures of the held-out, recipes that spell themselves."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from lightmeter.encoders.pretraining.cells import Cells, first_frames, moving_cells
from lightmeter.encoders.pretraining.future import FuturePretraining
from lightmeter.encoders.pretraining.vqvae import Errors, VqVaePretraining
from lightmeter.encoders.pretraining.windows import Footage, Window
from lightmeter.errors import InvalidValueError, SpecError
from lightmeter.parts import build

VQVAE = build("vqvae/steps=6,batch=3,frames=4,hiddens=8,layers=1,downsample=[2,4,4],dim=4,codes=16")
FUTURE = build("future/steps=6,batch=3,width=12,layers=1,heads=2,base=8,levels=1,lr=0.01")


@pytest.mark.parametrize("recipe", [VqVaePretraining(), FuturePretraining(), VQVAE, FUTURE], ids=lambda r: r.spec[:20])
def test_a_recipe_spells_itself(recipe):
    assert build(recipe.spec) == recipe
    assert build(recipe.spec, "pretraining") == recipe


@pytest.mark.parametrize("spec", [
    "vqvae/steps=0", "vqvae/batch=0", "vqvae/lr=0.0", "vqvae/warm_up=1.0", "vqvae/clip=-1.0", "vqvae/frames=0",
    "vqvae/variance=-1.0", "future/blank=1.5", "future/motion=0.0", "future/still=2.0", "future/weight_decay=inf",
    "vqvae/of=sound", "future/condition=by-magic",
])  # fmt: skip
def test_an_option_out_of_range(spec):
    with pytest.raises((InvalidValueError, SpecError)):
        build(spec)


class TestVqVae:
    @pytest.mark.parametrize("of", ["frames", "changes"])
    def test_the_loss_is_error_over_variance_plus_commitment(self, footage, of):
        torch.manual_seed(0)
        task = dataclasses.replace(VQVAE, of=of).task(footage, seed=2)
        task.net.codebook.N.fill_(100.0)  # begun, and nothing is drawn anew
        windows = task.cut.batch_of(footage.learn, task.draw.windows(4))
        pixels = torch.from_numpy(windows).movedim(-1, 1) / 255
        seen = pixels - (0.5 if of == "frames" else pixels[:, :, :1])
        twin = dataclasses.replace(VQVAE, of=of).task(footage, seed=2)
        twin.net.load_state_dict(task.net.state_dict())
        expected = twin.net.train()(seen)
        loss, told = task.loss(4)
        assert loss.item() == pytest.approx(
            functional.mse_loss(expected.clips, seen).item() / task.variance + expected.commitment.item(), rel=1e-5
        )
        assert told["error"] + told["commitment"] == pytest.approx(loss.item(), rel=1e-5)

    def test_the_variance_is_that_of_what_is_seen(self, footage):
        task = VQVAE.task(footage, seed=0)
        windows = footage.learn[:, 1:5].astype(np.float32) / 255  # the middle of six frames
        assert task.variance == pytest.approx(float(np.square(windows - windows[:, :1]).mean()), rel=1e-4)
        assert dataclasses.replace(VQVAE, variance=0.06).task(footage, seed=0).variance == 0.06
        frames = dataclasses.replace(VQVAE, of="frames").task(footage, seed=0)
        assert frames.variance == pytest.approx(float(windows.var()), rel=1e-4)

    def test_the_score_is_of_the_net_as_it_stands(self, footage):
        task = VQVAE.task(footage, seed=0)
        state = {name: each.clone() for name, each in task.net.state_dict().items()}
        first, second = task.score(), task.score()
        assert first == second
        assert all(torch.equal(each, state[name]) for name, each in task.net.state_dict().items())
        assert set(first) == {
            "loss", "psnr_db", "moving_psnr_db", "frozen_moving_psnr_db", "codes_used", "perplexity"
        }  # fmt: skip
        assert 1 <= first["perplexity"] <= first["codes_used"] <= 16

    def test_codes_are_drawn_anew_below_least_use(self, footage):
        assert VQVAE.task(footage, seed=0).net.codebook.least_use == 1.0
        lazy = dataclasses.replace(VQVAE, least_use=0.0).task(footage, seed=0)
        lazy.loss(0)
        lazy.net.codebook.N.fill_(1e-3)
        lazy.net.codebook.z_avg.copy_(lazy.net.codebook.embeddings * 1e-3)
        unused = torch.full((4,), 1e4)
        lazy.net.codebook.embeddings[7] = unused
        lazy.net.codebook.z_avg[7] = unused * 1e-3
        lazy.loss(1)
        assert float(lazy.net.codebook.embeddings[7].mean()) == pytest.approx(1e4, rel=0.05), "never drawn anew"

    def test_sizes_that_do_not_divide(self, footage, tokens):
        with pytest.raises(InvalidValueError, match="multiples of"):
            dataclasses.replace(VQVAE, frames=3).task(footage, seed=0)
        with pytest.raises(InvalidValueError, match="three powers of two"):
            dataclasses.replace(VQVAE, downsample=(4, 4)).task(footage, seed=0)
        with pytest.raises(InvalidValueError, match="no tokens"):
            VQVAE.task(footage, seed=0, tokens=tokens)


def test_errors_by_hand():
    """Two frames of two pixels; one pixel moves by 0.5 and is predicted half-way, the other is off by 0.1."""
    truth = np.zeros((2, 1, 2, 3), np.float32)
    truth[1, 0, 0] = 0.5
    made = np.zeros_like(truth)
    made[1, 0, 0], made[1, 0, 1] = 0.25, 0.1
    found = Errors()
    found.add(made, truth)
    result = found.result()
    assert result["psnr_db"] == pytest.approx(-10 * np.log10((0.25**2 + 0.1**2) / 4))
    assert result["moving_psnr_db"] == pytest.approx(-10 * np.log10(0.25**2))
    assert result["frozen_moving_psnr_db"] == pytest.approx(-10 * np.log10(0.25))
    assert "moving_psnr_db" not in _still().result()


def _still():
    found = Errors()
    found.add(np.zeros((2, 1, 1, 3)), np.zeros((2, 1, 1, 3)))
    return found


class TestFuture:
    def test_cells_that_move(self):
        frames = np.full((1, 4, 4, 8, 3), 100, np.uint8)
        frames[0, 2, 1, 5] = 180  # one of 8 pixels of the cell [1, 0, 1], in one of its two frames
        found = moving_cells(frames, (2, 2, 2), 0.01)
        assert np.argwhere(found).tolist() == [[0, 1, 0, 1]]
        assert not moving_cells(frames, (2, 2, 2), 0.05).any(), "80 / 8 of 255 is 0.039"

    def test_the_loss_by_hand(self, footage, tokens):
        """Everything hidden and motion=3: a weighted mean over all cells of the plain cross-entropy."""
        recipe = dataclasses.replace(FUTURE, blank=1.0, motion=3.0)
        task = recipe.task(footage, seed=4, tokens=tokens)
        loss, told = task.loss(2)
        frames = tokens.cut.batch_of(footage.learn, task.draw.windows(2))
        codes, moves = torch.from_numpy(tokens.codes(frames)), moving_cells(frames, tokens.grid, recipe.still)
        logits = task.net(first_frames(frames))
        nats = functional.cross_entropy(logits.flatten(0, 3), codes.flatten(), reduction="none").view(codes.shape)
        weights = torch.where(torch.from_numpy(moves), 3.0, 1.0)
        assert 0 < moves.mean() < 1
        assert loss.item() == pytest.approx(((weights * nats).sum() / weights.sum()).item(), rel=1e-5)
        assert told["nats"] == pytest.approx(nats.mean().item(), rel=1e-5)
        assert told["moving_nats"] == pytest.approx(nats[torch.from_numpy(moves)].mean().item(), rel=1e-5)

    def test_smoothing_is_of_the_loss_alone(self, footage, tokens):
        """By hand, a tenth of the target over all 16 codes; nats, scores and diagnostics stay plain."""
        plain, smooth = (
            dataclasses.replace(FUTURE, blank=1.0, motion=1.0, smoothing=each).task(footage, seed=4, tokens=tokens)
            for each in (0.0, 0.1)
        )
        smooth.net.load_state_dict(plain.net.state_dict())
        loss, told = smooth.loss(2)
        assert told == plain.loss(2)[1]
        frames = tokens.cut.batch_of(footage.learn, smooth.draw.windows(2))
        chances = smooth.net(first_frames(frames)).log_softmax(-1)
        expected = 0.9 * told["nats"] - 0.1 * chances.mean().item()
        assert loss.item() == pytest.approx(expected, rel=1e-5)
        assert abs(loss.item() - told["nats"]) > 1e-4
        assert smooth.score() == plain.score()
        windows = tokens.cut.batch_of(footage.held_out, tokens.cut.fixed(footage.held_out, 4))
        assert smooth.diagnosed(windows) == plain.diagnosed(windows)

    def test_codes_that_are_known_are_not_asked_for(self, footage, tokens, monkeypatch):
        """Without blank windows, cells that are not hidden add nothing."""
        recipe = dataclasses.replace(FUTURE, blank=0.0, motion=1.0)
        task = recipe.task(footage, seed=4, tokens=tokens)
        hidden = torch.zeros((3, *tokens.grid), dtype=torch.bool)
        hidden[:, 1, 2, 3] = True
        monkeypatch.setattr("lightmeter.nets.masked_decoding.drawn_hidden", lambda batch, grid: hidden.clone())
        loss, _ = task.loss(0)
        frames = tokens.cut.batch_of(footage.learn, task.draw.windows(0))
        codes = torch.from_numpy(tokens.codes(frames))
        logits = task.net(first_frames(frames), codes, hidden)
        assert loss.item() == pytest.approx(functional.cross_entropy(logits[hidden], codes[hidden]).item(), rel=1e-5)

    def test_the_score_is_blind(self, footage, tokens):
        task = FUTURE.task(footage, seed=4, tokens=tokens)
        first = task.score()
        assert first == task.score()
        share = first["moving_share"]
        weighted = (first["nats"] + 3 * share * first["moving_nats"]) / (1 + 3 * share)
        assert first["loss"] == pytest.approx(weighted, rel=1e-5)
        assert first["nats"] == pytest.approx(np.log(16), abs=1.0), "about chance before it has learnt"

    def test_codes_are_kept(self, footage, tokens, monkeypatch):
        cells, asked = Cells(tokens), []
        plain = tokens.codes
        monkeypatch.setattr(tokens, "codes", lambda frames: asked.append(len(frames)) or plain(frames))
        windows = [Window(0, 1), Window(1, 0, mirrored=True), Window(2, 2, backwards=True)]
        frames = tokens.cut.batch_of(footage.learn, windows)
        first = cells.codes(frames[:2], windows[:2])
        second = cells.codes(frames, windows)
        assert asked == [2, 1]
        np.testing.assert_array_equal(second, plain(frames))
        np.testing.assert_array_equal(first, second[:2])
        cells.codes(frames[:1], windows[:1], held_out=True)
        assert asked == [2, 1, 1], "the same place of another set is another window"
        cells.store = cells.store[:0]
        other = [Window(0, 0)]
        for _ in range(2):
            cells.codes(tokens.cut.batch_of(footage.learn, other), other)
        assert asked[-2:] == [1, 1], "no more than fits is kept"

    def test_what_does_not_fit(self, footage, tokens):
        with pytest.raises(InvalidValueError, match="got none: pretrain a vqvae first"):
            FUTURE.task(footage, seed=0)
        large = Footage(np.zeros((2, 6, 32, 32, 3), np.uint8), None, "")
        with pytest.raises(InvalidValueError, match=r"must be \(16, 16\) pixels"):
            FUTURE.task(large, seed=0, tokens=tokens)
