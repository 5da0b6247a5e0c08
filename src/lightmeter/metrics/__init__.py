"""Pure scores on arrays: what an answer is worth."""

from lightmeter.metrics.binomial import binomial_cdf, fewest_without_error, lower_bound, upper_bound, wilson
from lightmeter.metrics.selective import CoverageRisk, coverage_risk
from lightmeter.metrics.shares import Share, accuracy, agreement, balanced_accuracy, error, top_k

__all__ = [
    "CoverageRisk",
    "Share",
    "accuracy",
    "agreement",
    "balanced_accuracy",
    "binomial_cdf",
    "coverage_risk",
    "error",
    "fewest_without_error",
    "lower_bound",
    "top_k",
    "upper_bound",
    "wilson",
]
