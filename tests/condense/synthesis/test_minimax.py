"""The two criteria by hand, their memories, and tuning that goes on where it was stopped."""

import numpy as np
import pytest
from synthesis_models import Stub

from lightmeter.condense.protocol import Condenser
from lightmeter.condense.synthesis.minimax import Memories, Minimax, minimax_terms
from lightmeter.errors import InvalidValueError
from lightmeter.parts import build

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
QUICK = Minimax(learn=4, batch=4, memory=3, steps=3)


def memories(real, made):
    """Of one class, rows as they came."""
    kept = Memories(2, 4, 2)
    for one, other in zip(real, made, strict=True):
        kept.add(1, np.array(one, np.float32), np.array(other, np.float32))
    return kept


def test_criteria_by_hand():
    """Seen (3, 4). Real: (1, 0), cosine 0.6, and (0, 5), 0.8: the worst is 0.6. Made: (-3, -4), -1, and (4, 3), 0.96.

    0.5·(1 - 0.6) + 2·0.96 = 2.12; the second picture is of a class of which nothing is held: the mean is 1.06.
    """
    kept = memories([(1, 0), (0, 5)], [(-3, -4), (4, 3)])
    seen = torch.tensor([[3.0, 4.0], [1.0, 1.0]])
    made = minimax_terms(seen, np.array([1, 0]), kept, positive=0.5, negative=2.0)
    assert float(made) == pytest.approx(1.06)


def test_slopes_go_towards_the_worst_real_one_and_away_from_the_nearest_made():
    kept = memories([(1, 0), (0, 1)], [(0, 1), (0, 1)])
    seen = torch.tensor([[0.2, 1.0]], requires_grad=True)
    minimax_terms(seen, np.array([1]), kept, positive=1.0, negative=0.0).backward()
    assert seen.grad[0, 0] < 0 < seen.grad[0, 1]  # downhill is towards (1, 0)
    seen = torch.tensor([[0.2, 1.0]], requires_grad=True)
    minimax_terms(seen, np.array([1]), kept, positive=0.0, negative=1.0).backward()
    assert seen.grad[0, 0] < 0 < seen.grad[0, 1]  # and away from (0, 1)


def test_without_memories_there_is_nothing():
    seen = torch.ones(2, 2, requires_grad=True)
    made = minimax_terms(seen, np.array([0, 1]), Memories(2, 4, 2), positive=1.0, negative=1.0)
    made.backward()
    assert made.item() == 0


def test_memories_are_rings():
    kept = Memories(1, 2, 1)
    for value in range(5):
        kept.add(0, np.array([value], np.float32), np.array([-value], np.float32))
    assert sorted(kept.held(0, "real")[:, 0].tolist()) == [3, 4]
    assert sorted(kept.held(0, "made")[:, 0].tolist()) == [-4, -3]
    assert kept.counts.tolist() == [[5], [5]]
    with pytest.raises(InvalidValueError, match="condense some classes"):
        Memories(1000, 64, 16_384)


def test_specs_come_back():
    assert build(Minimax().spec, "condenser") == Minimax()
    assert isinstance(QUICK, Condenser)
    published = Minimax()
    assert (published.positive, published.negative, published.memory, published.lr) == (0.002, 0.008, 64, 1e-3)
    for wrong in ({"learn": 0}, {"lr": 0.0}, {"positive": -1.0}, {"tunes": "some"}, {"steps": 0}):
        with pytest.raises(InvalidValueError):
            Minimax(**wrong)


def test_it_tunes_a_copy_and_draws(tiny, tiny_set):
    before = {name: each.clone() for name, each in tiny.parts.unet.state_dict().items()}
    bench = Stub(tiny_set, tiny)
    made = QUICK.condense(bench, 2, seed=0)
    assert made.images.shape == (4, 8, 8, 1)
    assert made.texts == ("tall bar", "tall bar", "wide bar", "wide bar")
    assert all(torch.equal(before[name], each) for name, each in tiny.parts.unet.state_dict().items())
    assert any(line.startswith("minimax: 4 of 4 steps") for line in bench.told)


@pytest.mark.parametrize("tunes", ["small", "all"])
def test_what_is_tuned(tiny, tiny_set, tunes):
    tuned = Minimax(learn=2, batch=4, tunes=tunes).tuned(tiny, Stub(tiny_set, tiny), seed=0)
    old = dict(tiny.parts.unet.named_parameters())
    moved = {name for name, each in tuned.parts.unet.named_parameters() if not torch.equal(each, old[name])}
    assert moved
    assert all(old[name].ndim == 1 for name in moved) == (tunes == "small")
    assert tuned.fingerprint != tiny.fingerprint


def test_a_stopped_run_goes_on_to_the_same_bits(tiny, tiny_set, tmp_path, monkeypatch):
    whole = QUICK.tuned(tiny, Stub(tiny_set, tiny), seed=0)
    bench = Stub(tiny_set, tiny, tmp_path)

    def broken(*given, **told):
        if broken.left == 0:
            raise KeyboardInterrupt
        broken.left -= 1
        return minimax_terms(*given, **told)

    broken.left = 2
    monkeypatch.setattr("lightmeter.condense.synthesis.minimax.minimax_terms", broken)
    monkeypatch.setattr("lightmeter.condense.synthesis.minimax._CHECKPOINT_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        QUICK.tuned(tiny, bench, seed=0)
    broken.left = 99
    again = QUICK.tuned(tiny, bench, seed=0)
    assert broken.left in (96, 97)  # one or two steps of four were kept
    for one, other in zip(whole.parts.unet.parameters(), again.parts.unet.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_diffusers_models_can_be_tuned(tiny_set):
    with pytest.raises(InvalidValueError, match="a generator of diffusers"):
        QUICK.condense(Stub(tiny_set, object()), 1, seed=0)
