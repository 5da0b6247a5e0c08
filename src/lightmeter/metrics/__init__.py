"""Pure scores on arrays: what an answer is worth."""

from lightmeter.metrics.binomial import binomial_cdf, fewest_without_error, lower_bound, upper_bound, wilson
from lightmeter.metrics.bootstrap import Interval, bootstrap, compared, paired_difference
from lightmeter.metrics.calibration import Calibration
from lightmeter.metrics.dense_errors import (
    DepthQuality,
    DepthScores,
    FlowQuality,
    FlowScores,
    compared_depths,
    compared_flows,
)
from lightmeter.metrics.effective_rank import EffectiveRank, effective_rank
from lightmeter.metrics.frechet import frechet_distance
from lightmeter.metrics.frequency import FrequencyBand, FrequencyCurve, by_frequency, moving_average
from lightmeter.metrics.full import FullQuality, FullScores
from lightmeter.metrics.masks import MaskQuality, MaskScores, compared_masks
from lightmeter.metrics.ranking import VideoQuality, VideoScores, quality_by_group
from lightmeter.metrics.segments import SegmentQuality, SegmentScores
from lightmeter.metrics.selective import CoverageRisk, coverage_risk
from lightmeter.metrics.shares import Share, accuracy, agreement, balanced_accuracy, error, top_k
from lightmeter.metrics.thresholds import F1, Thresholds, f1_at, thresholds_for
from lightmeter.metrics.top import top_scores

__all__ = [
    "F1",
    "Calibration",
    "CoverageRisk",
    "DepthQuality",
    "DepthScores",
    "EffectiveRank",
    "FlowQuality",
    "FlowScores",
    "FrequencyBand",
    "FrequencyCurve",
    "FullQuality",
    "FullScores",
    "Interval",
    "MaskQuality",
    "MaskScores",
    "SegmentQuality",
    "SegmentScores",
    "Share",
    "Thresholds",
    "VideoQuality",
    "VideoScores",
    "accuracy",
    "agreement",
    "balanced_accuracy",
    "binomial_cdf",
    "bootstrap",
    "by_frequency",
    "compared",
    "compared_depths",
    "compared_flows",
    "compared_masks",
    "coverage_risk",
    "effective_rank",
    "error",
    "f1_at",
    "fewest_without_error",
    "frechet_distance",
    "lower_bound",
    "moving_average",
    "paired_difference",
    "quality_by_group",
    "thresholds_for",
    "top_k",
    "top_scores",
    "upper_bound",
    "wilson",
]
