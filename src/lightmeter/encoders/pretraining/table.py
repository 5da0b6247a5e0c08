"""The one table where pretrainings are found; each is imported when it is asked for."""

from __future__ import annotations

PRETRAININGS: dict[str, str] = {
    "vqvae": "lightmeter.encoders.pretraining.vqvae:VqVaePretraining",
    "prior": "lightmeter.encoders.pretraining.prior:PriorPretraining",
    "future": "lightmeter.encoders.pretraining.future:FuturePretraining",
}
