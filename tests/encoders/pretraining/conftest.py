"""Tiny clips, and a tokenizer that has seen them for a few steps."""

import pytest

from lightmeter.encoders.pretraining.running import PretrainRun, pretrain
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.windows import Footage
from lightmeter.media.moving_shapes import moving_shapes
from lightmeter.parts import build

VQVAE = "vqvae/steps=6,batch=3,frames=4,hiddens=8,layers=1,downsample=[2,4,4],dim=4,codes=16"
PRIOR = "prior/steps=3,batch=3,width=12,layers=1,heads=2,base=8,dim=6,lr=0.01,dropout=0.0"
FUTURE = "future/steps=3,batch=3,width=12,layers=1,heads=2,base=8,levels=1,lr=0.01"


@pytest.fixture(scope="session")
def clips():
    return moving_shapes(10, frames=6, size=16, clips_a_scene=2)


@pytest.fixture(scope="session")
def footage(clips):
    return Footage.of(clips, share=0.4)


@pytest.fixture(scope="session")
def made(footage, tmp_path_factory):
    """A pretrained tokenizer's folder."""
    return pretrain(build(VQVAE), footage, tmp_path_factory.mktemp("tokens"), PretrainRun(seed=1, report=False)).folder


@pytest.fixture(scope="session")
def tokens(made):
    return Tokenizer.load(made)


@pytest.fixture(scope="session")
def models(footage, tokens, tmp_path_factory):
    """Folders of predictors on that tokenizer, by name."""
    run = PretrainRun(tokens, report=False)
    return {
        name: pretrain(build(spec), footage, tmp_path_factory.mktemp(name), run).folder
        for name, spec in (("prior", PRIOR), ("future", FUTURE))
    }
