"""The pull towards a mode, by hand and as a law."""

import math

import pytest

from lightmeter.condense.synthesis.denoising import Noised
from lightmeter.condense.synthesis.modes import pulled

torch = pytest.importorskip("torch")

KINDS = ("epsilon", "v_prediction", "sample")


def test_by_hand():
    """noisy 1 = 0.8·x + 0.6·e; e = 0.5 is said, so x = (1 - 0.3)/0.8 = 0.875.

    Half way to 2 is 1.4375, for which e = (1 - 0.8·1.4375)/0.6 = -0.25.
    """
    made = pulled(torch.tensor(0.5), torch.tensor(1.0), torch.tensor(2.0), signal=0.64, pull=0.5)
    assert float(made) == pytest.approx(-0.25, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pull", [0.0, 0.3, 1.0])
def test_what_is_seen_moves_by_the_share_whatever_is_said(kind, pull):
    chance = torch.Generator().manual_seed(0)
    clean, noise, mode, said = (torch.randn(2, 4, 3, 3, generator=chance, dtype=torch.float64) for _ in range(4))
    for signal in (0.999, 0.5, 0.005):
        given = Noised(clean, noise, torch.zeros(2), torch.full((2, 1, 1, 1), signal, dtype=torch.float64))
        made = pulled(said, given.noisy, mode, signal=signal, pull=pull, kind=kind)
        before, after = given.seen(said, kind), given.seen(made, kind)
        torch.testing.assert_close(after, before + pull * (mode - before), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_before_guidance_is_after_guidance(kind):
    chance = torch.Generator().manual_seed(1)
    free, told, noisy, mode = (torch.randn(4, 3, 3, generator=chance, dtype=torch.float64) for _ in range(4))

    def pull(said):
        return pulled(said, noisy, mode, signal=0.3, pull=0.4, kind=kind)

    torch.testing.assert_close(pull(free) + 7 * (pull(told) - pull(free)), pull(free + 7 * (told - free)))


@pytest.mark.parametrize("kind", KINDS)
def test_targets_stand_for_the_latents_they_were_made_of(kind):
    chance = torch.Generator().manual_seed(2)
    clean, noise = (torch.randn(3, 4, 2, 2, generator=chance, dtype=torch.float64) for _ in range(2))
    given = Noised(
        clean, noise, torch.zeros(3), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)[:, None, None, None]
    )
    torch.testing.assert_close(given.seen(given.target(kind), kind), clean)
    assert math.isclose(float(given.noisy[1, 0, 0, 0]), math.sqrt(0.5) * float(clean[1, 0, 0, 0] + noise[1, 0, 0, 0]))
