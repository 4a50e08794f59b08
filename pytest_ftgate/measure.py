"""Scores -> numbers that decide: one rate against a floor, one pair of score lists against a margin. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.types import Comparison

ORDER_SEED = 20_240_229
"""Seed of the order in which graded scores are bet on; fixed, so that a verdict can be repeated."""
CONFIDENCE = 0.95
"""Of every two-sided interval that is shown."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Error rates of one run."""

    alpha: float = 0.05
    """One-sided: a gate passes only where its bad null is rejected at this level."""
    hypotheses: int = 1
    """How many bad nulls the run's gates test in all."""

    @property
    def alpha_fail(self) -> float:
        """Level of a hard FAIL: alpha shared among all hypotheses (Bonferroni), so that a good model rarely FAILs."""
        return self.alpha / max(1, self.hypotheses)


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean score against a floor."""

    n: int
    """Units: examples, or clusters."""
    value: float
    interval: tuple[float, float]
    certified: float
    """Lower bound at 1 - alpha, one-sided: the gate passes where this reaches the floor."""
    p_good: float
    p_bad: float
    method: str


def measure_rate(values: Sequence[float], clusters: Sequence[str | None], floor: float, levels: Levels) -> Rate:
    """Judge the mean of per-example scores in [0, 1] against `floor`.

    0/1 units get exact binomial tests; graded scores and mixed clusters get the betting process.
    Raises ScoringError where clusters are too few, ValueError where there is nothing to judge.
    """
    units = _units(values, clusters)
    n, value = len(units), fmean(units)
    if _binary(units):
        right = round(sum(units))
        return Rate(
            n,
            value,
            stats.clopper_pearson(right, n, confidence=CONFIDENCE),
            stats.binomial_lower_bound(right, n, alpha=levels.alpha),
            stats.binomial_p_value(right, n, p0=floor, alternative="greater"),
            stats.binomial_p_value(right, n, p0=floor, alternative="less"),
            "exact binomial",
        )
    lower = stats.graded_lower_bound(units, low=0.0, high=1.0, alpha=levels.alpha, seed=ORDER_SEED)
    return Rate(
        n,
        value,
        stats.graded_interval(units, low=0.0, high=1.0, confidence=CONFIDENCE, seed=ORDER_SEED),
        lower,
        stats.graded_p_value(units, mean0=floor, low=0.0, high=1.0, seed=ORDER_SEED),
        stats.graded_p_value([-u for u in units], mean0=-floor, low=-1.0, high=0.0, seed=ORDER_SEED),
        "betting (anytime valid)",
    )


def compare(
    candidate: Sequence[float],
    reference: Sequence[float],
    clusters: Sequence[str | None],
    *,
    name: str,
    delta0: float,
) -> Comparison:
    """Candidate against reference, paired by example: scores in [0, 1], same order, same length.

    The bad null says delta <= delta0: +min_gain for beats_baseline, -max_drop for forgetting. 0/1 units get the exact
    unconditional paired test; everything else the betting process.
    """
    ours, theirs = _units(candidate, clusters), _units(reference, clusters)
    units = [c - r for c, r in zip(ours, theirs, strict=True)]
    n = len(units)
    gains, losses = sum(d > 0 for d in units), sum(d < 0 for d in units)
    if _binary(ours) and _binary(theirs):
        interval = stats.tango_interval(gains, losses, n, confidence=CONFIDENCE)
        good = stats.paired_p_value(gains, losses, n, delta0=delta0)
        bad = stats.paired_p_value(losses, gains, n, delta0=-delta0)
        method = stats.paired_method(n)
    else:
        interval = stats.graded_interval(units, low=-1.0, high=1.0, confidence=CONFIDENCE, seed=ORDER_SEED)
        good = stats.graded_p_value(units, mean0=delta0, low=-1.0, high=1.0, seed=ORDER_SEED)
        bad = stats.graded_p_value([-u for u in units], mean0=-delta0, low=-1.0, high=1.0, seed=ORDER_SEED)
        method = "betting (anytime valid)"
    return Comparison(
        reference=name,
        n=n,
        gains=gains,
        losses=losses,
        ties=n - gains - losses,
        candidate=fmean(ours),
        base=fmean(theirs),
        delta=fmean(units),
        interval=interval,
        confidence=CONFIDENCE,
        delta0=delta0,
        p_good=good,
        p_bad=bad,
        method=method,
    )


def _binary(values: Sequence[float]) -> bool:
    return all(v in (0.0, 1.0) for v in values)


def _units(values: Sequence[float], clusters: Sequence[str | None]) -> list[float]:
    """Means over what shares a cluster, else the values: what counts as one independent observation."""
    if all(c is None for c in clusters):
        return list(values)
    try:
        return stats.cluster_means(values, [str(c) for c in clusters])
    except stats.TooFewClusters as error:
        raise ScoringError(str(error), fix="add examples from other clusters, or drop `cluster:`") from None
