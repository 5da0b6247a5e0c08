"""The tables where heads, trainings and losses of masks are found; each is imported when it is asked for."""

from __future__ import annotations

MASK_HEADS: dict[str, str] = {
    "linear-patch": "lightmeter.heads.segmenting.linear:LinearPatchHead",
    "linear-global": "lightmeter.heads.segmenting.linear:LinearGlobalHead",
    "linear-dual": "lightmeter.heads.segmenting.dual:LinearDual",
    "light-conv": "lightmeter.heads.segmenting.convolutional:LightConvHead",
    "fc-conv": "lightmeter.heads.segmenting.convolutional:FcConvHead",
    "attention-conv": "lightmeter.heads.segmenting.convolutional:AttentionConvHead",
    "deep-conv": "lightmeter.heads.segmenting.convolutional:DeepConvHead",
    "mask-unet": "lightmeter.heads.segmenting.convolutional:UNetHead",
    "multi-scale": "lightmeter.heads.segmenting.convolutional:MultiScaleHead",
}

MASK_TRAININGS: dict[str, str] = {"mask-training": "lightmeter.heads.segmenting.training:MaskTraining"}

MASK_LOSSES: dict[str, str] = {
    "mask-bce": "lightmeter.heads.segmenting.losses:MaskBce",
    "mask-weighted-bce": "lightmeter.heads.segmenting.losses:MaskWeightedBce",
    "mask-dice": "lightmeter.heads.segmenting.losses:MaskDice",
    "mask-jaccard": "lightmeter.heads.segmenting.losses:MaskJaccard",
    "mask-bce-dice": "lightmeter.heads.segmenting.losses:MaskBceDice",
}
