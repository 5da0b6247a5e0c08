"""Maps of features → masks: heads, how they learn, what they are compared with."""

from lightmeter.heads.segmenting.fitting import MaskTold, Run, fit_prepared, fit_segmenter, score_prepared
from lightmeter.heads.segmenting.prepared import Changes, Prepared, prepared
from lightmeter.heads.segmenting.protocol import MaskHead, mask_head
from lightmeter.heads.segmenting.segmenter import Segmenter
from lightmeter.heads.segmenting.training import MaskTraining

__all__ = [
    "Changes",
    "MaskHead",
    "MaskTold",
    "MaskTraining",
    "Prepared",
    "Run",
    "Segmenter",
    "fit_prepared",
    "fit_segmenter",
    "mask_head",
    "prepared",
    "score_prepared",
]
