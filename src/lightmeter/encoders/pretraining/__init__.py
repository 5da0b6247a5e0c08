"""How video encoders are pretrained: tokenizers, and predictors of what comes next."""

from lightmeter.encoders.pretraining.future import FuturePretraining
from lightmeter.encoders.pretraining.prior import PriorPretraining
from lightmeter.encoders.pretraining.running import Pretrained, PretrainRun, pretrain
from lightmeter.encoders.pretraining.tokenizer import Tokenizer
from lightmeter.encoders.pretraining.vqvae import VqVaePretraining

__all__ = [
    "FuturePretraining",
    "PretrainRun",
    "Pretrained",
    "PriorPretraining",
    "Tokenizer",
    "VqVaePretraining",
    "pretrain",
]
