"""Values that come in clusters: means by cluster, and the labelled approximation CR1 with Student's t.

Standard error: Miller 2024, "Adding error bars to evals", with the small-sample factor C / (C - 1) over C clusters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from ._checks import check_count, check_open
from .tango import Floats, Ints

MIN_CLUSTERS = 8
"""Fewer clusters than this cannot judge anything."""
MIN_CLUSTERS_APPROXIMATE = 30
MIN_EACH_SIGN_APPROXIMATE = 5
"""Clusters with a mean above 0, and as many below, that the t approximation needs; rare big losses mislead it."""


class TooFewClusters(ValueError):
    """The values fall into fewer than MIN_CLUSTERS clusters: no verdict may rest on them."""


class NotApproximable(ValueError):
    """The values do not allow the t approximation; `graded_p_value` on the cluster means does."""


@dataclass(frozen=True, slots=True)
class ClusteredTest:
    """An approximate test of a mean over clusters."""

    mean: float
    """Mean over all values."""
    standard_error: float
    """CR1: robust to dependence inside clusters."""
    clusters: int
    p_value: float
    """Of the null mean <= mean0, Student's t with clusters - 1 degrees of freedom."""
    interval: tuple[float, float]
    """Two-sided, for the mean."""
    method: str = "CR1 + t (approximate)"


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """Mean of each cluster, in the order of first appearance: the independent units of a clustered eval set.

    Raises TooFewClusters below MIN_CLUSTERS clusters and ValueError where the lengths differ.
    """
    array, index = _indexed(values, clusters)
    count = np.bincount(index)
    if count.size < MIN_CLUSTERS:
        raise TooFewClusters(f"at least {MIN_CLUSTERS} clusters are needed to judge, found {count.size}")
    return [float(mean) for mean in np.bincount(index, array) / count]


def clustered_standard_error(
    values: Sequence[float], clusters: Sequence[Hashable], *, small_sample: bool = True
) -> float:
    """Standard error of the mean of all values, robust to dependence inside clusters.

    small_sample: multiply the variance by C / (C - 1) over C clusters (CR1) instead of leaving it (CR0).
    """
    array, index = _indexed(values, clusters)
    residuals = np.bincount(index, array - array.mean())
    check_count("number of clusters", residuals.size, least=2)
    factor = residuals.size / (residuals.size - 1) if small_sample else 1.0
    return float(np.sqrt(factor * np.sum(residuals**2)) / array.size)


def clustered_t_test(
    values: Sequence[float], clusters: Sequence[Hashable], *, mean0: float, confidence: float = 0.95
) -> ClusteredTest:
    """Approximate test of the null mean <= mean0 for values in clusters; its error rate is not guaranteed.

    Raises TooFewClusters below MIN_CLUSTERS clusters, and NotApproximable below MIN_CLUSTERS_APPROXIMATE or where fewer
    than MIN_EACH_SIGN_APPROXIMATE cluster means are positive, or negative.
    """
    check_open("confidence", confidence, 0.0, 1.0)
    means = np.array(cluster_means(values, clusters))
    _check_approximable(means)
    mean = float(np.mean(np.asarray(values, dtype=np.float64)))
    error, df = clustered_standard_error(values, clusters), means.size - 1
    half = float(special.stdtrit(df, (1.0 + confidence) / 2.0)) * error
    p_value = float(special.stdtr(df, (mean0 - mean) / error))
    return ClusteredTest(mean, error, means.size, p_value, (mean - half, mean + half))


def _check_approximable(means: Floats) -> None:
    positive, negative = int(np.sum(means > 0.0)), int(np.sum(means < 0.0))
    if means.size < MIN_CLUSTERS_APPROXIMATE or min(positive, negative) < MIN_EACH_SIGN_APPROXIMATE:
        raise NotApproximable(
            f"the t approximation needs {MIN_CLUSTERS_APPROXIMATE} clusters, {MIN_EACH_SIGN_APPROXIMATE} with a "
            f"positive and {MIN_EACH_SIGN_APPROXIMATE} with a negative mean; "
            f"found {means.size}, {positive} and {negative}"
        )


def _indexed(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[Floats, Ints]:
    """Values as an array, and for each the number of its cluster in order of first appearance."""
    if len(values) != len(clusters):
        raise ValueError(f"one cluster per value is needed: {len(values)} values, {len(clusters)} clusters")
    check_count("number of values", len(values), least=1)
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError("values must be finite")
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
    return array, index
