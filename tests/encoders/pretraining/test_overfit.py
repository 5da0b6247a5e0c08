"""Every predictor first overfits one sequence, as the seed's figure 2 shows, and then draws that very sequence."""

import numpy as np
import pytest

from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.sample_scores import frame_psnrs
from lightmeter.encoders.pretraining.sampling import load_sampler
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.parts import build

ONE = "mirror=false,reverse=false,weight_decay=0.0,warm_up=0.1"
SMALL = {
    "vqvae": "steps=60,batch=2,frames=4,hiddens=16,layers=0,downsample=[2,4,4],dim=8,codes=32,lr=0.01,least_use=0.0",
    "prior": "steps=100,batch=1,width=24,layers=1,heads=2,base=8,dim=12,lr=0.01,dropout=0.0",
    "future": "steps=40,batch=2,width=24,layers=1,heads=2,base=8,levels=1,lr=0.02",
}
LARGE = {
    "vqvae": "steps=120,batch=1,frames=8,hiddens=32,layers=1,dim=32,codes=128,lr=0.01,least_use=0.0",
    "prior": "steps=220,batch=1,lr=0.005,dropout=0.0,base=16",
    "future": "steps=60,batch=1,lr=0.003,base=16",
}


def overfitted(sizes, clips, folder, *, report=False):
    """The tokenizer, and each predictor's curve and what it draws of the one clip, all at their likeliest."""
    footage, run = Footage.of(clips), {"report": report}
    pretrain(build(f"vqvae/{sizes['vqvae']},{ONE}"), footage, folder / "vqvae", PretrainRun(**run))
    tokens, found = Tokenizer.load(folder / "vqvae"), {}
    for name in ("prior", "future"):
        recipe = build(f"{name}/{sizes[name]},{ONE}")
        made = pretrain(recipe, footage, folder / name, PretrainRun(tokens, **run))
        drawn = load_sampler(folder / name, temperature=0.0).clips(clips.frames[:1, 0])
        found[name] = made.curve.learnt, drawn
    return tokens, found


def check(tokens, found, clips):
    window = clips.frames[:1, : tokens.cut.frames]
    codes = tokens.codes(window)
    assert len(np.unique(codes)) > 3, "there is something to learn"
    frozen = frame_psnrs(np.repeat(window[:, :1], window.shape[1], 1), window)
    for name, (curve, drawn) in found.items():
        assert curve[0]["nats"] > 0.9 * np.log(tokens.count)
        assert curve[-1]["nats"] < 0.05, name
        np.testing.assert_array_equal(drawn, tokens.pictures(codes, window[:, 0]), err_msg=name)
        assert np.mean(frame_psnrs(drawn, window)[1:]) > np.mean(frozen[1:]) + 3


def test_one_small_sequence(tmp_path):
    clips = moving_shapes(1, frames=4, size=16, seed=3)
    check(*overfitted(SMALL, clips, tmp_path), clips)


@pytest.mark.slow
def test_one_sequence_of_the_usual_size(tmp_path):
    """8 x 64 x 64 pixels, 2 x 16 x 16 codes, the default nets; the curves are in the folders."""
    clips = moving_shapes(1, frames=8, size=64, seed=3)
    check(*overfitted(LARGE, clips, tmp_path, report=True), clips)
    for name in ("vqvae", "prior", "future"):
        assert (tmp_path / name / "curve.png").read_bytes().startswith(b"\x89PNG")
