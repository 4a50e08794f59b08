"""Scores -> numbers that decide: one rate against a floor, one pair of score lists against a margin. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.order import ORDER_SEED
from pytest_ftgate.results import Comparison

CONFIDENCE = 0.95
"""Of every two-sided interval that is shown."""
BETTING = "betting (anytime valid)"
APPROXIMATE = "CR1 + t (approximate)"
Interval = tuple[float, float]
_GRID = 200
"""Easier bounds that must be rejected too: the multiples of 1/200 below the bound."""
_DECISIVE = 0.1
"""No gate passes at a p-value above this."""
_OVERWHELMING = 0.005
"""Where an easier bound is rejected at this, no bound below it is looked at."""


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


def measure_rate(
    values: Sequence[float],
    clusters: Sequence[str | None],
    floor: float,
    levels: Levels,
    *,
    approximate: bool = False,
) -> Rate:
    """Judge the mean of per-example scores in [0, 1] against `floor`.

    0/1 units get exact binomial tests; graded scores and mixed clusters get the betting process, or, `approximate`,
    Student's t. Raises ScoringError where clusters are too few, or do not allow the approximation, and ValueError where
    there is nothing to judge.
    """
    units = unit_means(values, clusters)
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
    if approximate:
        shifted = [u - floor for u in units]
        good, bad, (low, high) = _approximation(shifted, 0.0, confidence=CONFIDENCE)
        certified = floor + _approximation(shifted, 0.0, confidence=1.0 - 2.0 * levels.alpha)[2][0]
        return Rate(n, value, (max(0.0, floor + low), min(1.0, floor + high)), certified, good, bad, APPROXIMATE)
    lower = stats.graded_lower_bound(units, low=0.0, high=1.0, alpha=levels.alpha, seed=ORDER_SEED)
    good = graded_p_good(units, floor, low=0.0)
    return Rate(
        n,
        value,
        stats.graded_interval(units, low=0.0, high=1.0, confidence=CONFIDENCE, seed=ORDER_SEED),
        max(lower, floor) if good <= levels.alpha else lower,
        good,
        stats.graded_p_value([-u for u in units], mean0=-floor, low=-1.0, high=0.0, seed=ORDER_SEED),
        BETTING,
    )


def compare(
    candidate: Sequence[float],
    reference: Sequence[float],
    clusters: Sequence[str | None],
    *,
    name: str,
    delta0: float,
    approximate: bool = False,
) -> Comparison:
    """Candidate against reference, paired by example: scores in [0, 1], same order, same length.

    The bad null says delta <= delta0: +min_gain for beats_baseline, -max_drop for forgetting. 0/1 units get the exact
    unconditional paired test; everything else the betting process, or, `approximate`, Student's t. Raises ScoringError
    as `measure_rate` does.
    """
    ours, theirs = unit_means(candidate, clusters), unit_means(reference, clusters)
    units = [c - r for c, r in zip(ours, theirs, strict=True)]
    n = len(units)
    gains, losses = sum(d > 0 for d in units), sum(d < 0 for d in units)
    if _binary(ours) and _binary(theirs):
        interval = stats.tango_interval(gains, losses, n, confidence=CONFIDENCE)
        good = paired_p_good(gains, losses, n, delta0)
        bad = paired_p_bad(gains, losses, n, delta0)
        method = stats.paired_method(n)
    elif approximate:
        good, bad, (low, high) = _approximation(units, delta0, confidence=CONFIDENCE)
        interval, method = (max(-1.0, low), min(1.0, high)), APPROXIMATE
    else:
        interval = stats.graded_interval(units, low=-1.0, high=1.0, confidence=CONFIDENCE, seed=ORDER_SEED)
        good = graded_p_good(units, delta0, low=-1.0)
        bad = stats.graded_p_value([-u for u in units], mean0=-delta0, low=-1.0, high=1.0, seed=ORDER_SEED)
        method = BETTING
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


def paired_p_good(gains: int, losses: int, n: int, delta0: float) -> float:
    """p-value of the null Delta <= delta0 for 0/1 scores. More gains or fewer losses never make a rejection undone."""
    return _steady(lambda at: stats.paired_p_value(gains, losses, n, delta0=at), delta0, low=-1.0)


def paired_p_bad(gains: int, losses: int, n: int, delta0: float) -> float:
    """p-value of the null Delta >= delta0 for 0/1 scores; rises with gains, falls with losses."""
    return stats.paired_p_value(losses, gains, n, delta0=-delta0)


def _approximation(units: Sequence[float], mean0: float, *, confidence: float) -> tuple[float, float, Interval]:
    """(p_good, p_bad, interval) of the mean of independent units; the mean of means, as in the guaranteed test."""
    places = range(len(units))
    try:
        good = stats.clustered_t_test(units, places, mean0=mean0, confidence=confidence)
        bad = stats.clustered_t_test([-u for u in units], places, mean0=-mean0)
    except (stats.NotApproximable, stats.TooFewClusters) as error:
        fix = "delete `rigor: approx`; the guaranteed test holds for any scores"
        raise ScoringError(f"`rigor: approx` was asked for, but {error}", fix) from None
    return good.p_value, bad.p_value, good.interval


def graded_p_good(units: Sequence[float], mean0: float, *, low: float) -> float:
    """p-value of the null mean <= mean0 for units in [low, 1]."""
    return _steady(lambda at: stats.graded_p_value(units, mean0=at, low=low, high=1.0, seed=ORDER_SEED), mean0, low=low)


def unit_means(values: Sequence[float], clusters: Sequence[str | None]) -> list[float]:
    """Means over what shares a cluster, else the values: what counts as one independent observation.

    Raises ScoringError where clusters are too few, ValueError for a score outside [0, 1] (NaN is outside).
    """
    if not all(0.0 <= value <= 1.0 for value in values):
        raise ValueError("a score lies outside [0, 1]")
    if all(c is None for c in clusters):
        return list(values)
    try:
        return stats.cluster_means(values, [str(c) for c in clusters])
    except stats.TooFewClusters as error:
        raise ScoringError(str(error), fix="add examples from other clusters, or drop `cluster:`") from None


def _steady(p_at: Callable[[float], float], bound: float, *, low: float) -> float:
    """p-value at `bound`, and no less than at an easier bound.

    As the bound rises these p-values rise, but for dips of up to 0.01 (16 gains, 6 losses of 40: 0.0512 at 4 points,
    0.0483 just above). Without this, asking for more could turn a no into a yes.

    Better answers never turn a yes into a no (curtailment needs that). They lower the p-value at every bound, so the
    walk, which ends at a fixed p-value, ends no later and meets nothing larger: what was at most alpha stays so.
    """
    worst = easier = p_at(bound)
    step = math.ceil(bound * _GRID - 1e-9) - 1
    while easier >= _OVERWHELMING and worst <= _DECISIVE and step > low * _GRID:
        easier = p_at(step / _GRID)
        worst = max(worst, easier)
        step -= 1
    return worst


def _binary(values: Sequence[float]) -> bool:
    return all(v in (0.0, 1.0) for v in values)
