"""Decisions with guaranteed error rates: pure functions on counts and scores (numpy and scipy only).

>>> from pytest_ftgate.stats import paired_p_value
>>> round(paired_p_value(12, 2, 50, delta0=0.05), 5)
0.02183
"""

from .binomial import binomial_lower_bound, binomial_p_value, binomial_upper_bound, clopper_pearson
from .clusters import (
    MIN_CLUSTERS,
    ClusteredTest,
    NotApproximable,
    TooFewClusters,
    cluster_means,
    clustered_standard_error,
    clustered_t_test,
)
from .decision import PLANNED_POWER, Decision, Reason, decide, holm, inconclusive_reason
from .graded import graded_interval, graded_lower_bound, graded_p_value
from .paired import (
    EXACT_MAX_N,
    critical_z,
    paired_method,
    paired_p_value,
    region_probability,
    rejection_region,
)
from .planning import (
    PLAN_EXACT_MAX_N,
    GateTest,
    best_p_value,
    examples_approximate,
    examples_for_floor_power,
    examples_for_power,
    examples_needed_at_best,
    floor_power,
    gains_needed,
    losses_tolerated,
    margin_at_power,
    paired_power,
    paired_power_approximate,
    smallest_margin,
    successes_needed,
)
from .sequential import (
    early_level,
    final_level,
    floor_e_value,
    floor_e_values,
    paired_e_value,
    paired_e_values,
)
from .tango import Floats, tango_interval, tango_z

__all__ = [
    "EXACT_MAX_N",
    "MIN_CLUSTERS",
    "PLANNED_POWER",
    "PLAN_EXACT_MAX_N",
    "ClusteredTest",
    "Decision",
    "Floats",
    "GateTest",
    "NotApproximable",
    "Reason",
    "TooFewClusters",
    "best_p_value",
    "binomial_lower_bound",
    "binomial_p_value",
    "binomial_upper_bound",
    "clopper_pearson",
    "cluster_means",
    "clustered_standard_error",
    "clustered_t_test",
    "critical_z",
    "decide",
    "early_level",
    "examples_approximate",
    "examples_for_floor_power",
    "examples_for_power",
    "examples_needed_at_best",
    "final_level",
    "floor_e_value",
    "floor_e_values",
    "floor_power",
    "gains_needed",
    "graded_interval",
    "graded_lower_bound",
    "graded_p_value",
    "holm",
    "inconclusive_reason",
    "losses_tolerated",
    "margin_at_power",
    "paired_e_value",
    "paired_e_values",
    "paired_method",
    "paired_p_value",
    "paired_power",
    "paired_power_approximate",
    "region_probability",
    "rejection_region",
    "smallest_margin",
    "successes_needed",
    "tango_interval",
    "tango_z",
]
