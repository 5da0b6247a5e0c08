"""The one table where dense encoders are found; each is imported when it is asked for."""

from __future__ import annotations

DENSE_ENCODERS: dict[str, str] = {
    "pixels": "lightmeter.encoders.dense_pixels:Pixels",
    "random": "lightmeter.encoders.dense_random:RandomWeights",
    "untrained": "lightmeter.encoders.dense_random:Untrained",
    "sampled-future": "lightmeter.encoders.dense_sampled:SampledFuture",
    "lite-maps": "lightmeter.encoders.dense_lite:LiteMaps",
    "future-codes": "lightmeter.encoders.dense_future:FutureCodesMaps",
    "v-jepa2": "lightmeter.encoders.dense_hf:VJepa2",
    "videomae": "lightmeter.encoders.dense_hf:VideoMae",
    "timesformer": "lightmeter.encoders.dense_hf:Timesformer",
    "dino": "lightmeter.encoders.dense_hf:Dino",
    "video-vae": "lightmeter.encoders.dense_diffusers:VideoVae",
    "wan-transformer": "lightmeter.encoders.dense_diffusers:WanTransformer",
    "videogpt-frame": "lightmeter.encoders.dense_videogpt:VideoGptFrame",
    "videogpt-vqvae": "lightmeter.encoders.dense_videogpt:VideoGptVqVae",
    "videogpt-prior": "lightmeter.encoders.dense_videogpt:VideoGptPrior",
}
