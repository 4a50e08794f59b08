"""The mean of bounded scores: betting tests that stay valid whenever they are looked at.

A gambler starts with capital 1 and bets before each value that it exceeds mean0: the capital is multiplied by
1 + bet * (value - mean0). While the mean is at most mean0 it is a nonnegative supermartingale, so that it ever reaches
1/alpha has probability at most alpha (Ville). Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables
by betting"; bets aim at the number of values still to come, as in the STaR bets of Voracek & Orabona 2025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ._checks import check_count, check_open
from .tango import Floats

_LARGEST_BET = 0.97
"""Share of the capital at most at stake: a single worst value can never ruin the gambler."""
_PRIOR_WEIGHT = 1.0
"""Values that the first guess of the second moment counts for."""


def graded_p_value(
    values: Sequence[float], *, mean0: float, low: float, high: float, seed: int, alpha: float = 0.05
) -> float:
    """P-value of the null mean <= mean0 for independent values in [low, high]; valid at every n and spread.

    values: one per independent unit (an example, or a cluster's mean), in file order; they are bet on in a random order
    drawn from `seed`. alpha: the level that the bets aim for; the p-value is valid whatever it is. For the null
    mean >= mean0, pass the negated values with -mean0, -high, -low. Raises ValueError on values outside [low, high], on
    mean0 outside (low, high) and on no values.
    """
    ordered = _shuffled(values, low, high, seed)
    check_open("mean0", mean0, low, high)
    check_open("alpha", alpha, 0.0, 1.0)
    return float(np.exp(-_highest_log_capital(ordered, np.array([mean0]), low, high, alpha)[0]))


def graded_lower_bound(values: Sequence[float], *, low: float, high: float, seed: int, alpha: float = 0.05) -> float:
    """L such that "mean >= L" is certified with confidence 1 - alpha: the first mean0, from low up, not rejected."""
    ordered = _shuffled(values, low, high, seed)
    check_open("alpha", alpha, 0.0, 1.0)
    rejected, accepted = low, high
    for _ in range(3):
        grid = np.linspace(rejected, accepted, 66)[1:-1]
        kept = np.flatnonzero(_highest_log_capital(ordered, grid, low, high, alpha) < -math.log(alpha))
        first = int(kept[0]) if kept.size else grid.size
        edges = np.concatenate(([rejected], grid, [accepted]))
        rejected, accepted = float(edges[first]), float(edges[first + 1])
    return rejected


def graded_interval(
    values: Sequence[float], *, low: float, high: float, seed: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Two-sided interval for the mean; each side misses with probability at most (1 - confidence) / 2, at every n."""
    check_open("confidence", confidence, 0.0, 1.0)
    side = (1.0 - confidence) / 2.0
    lower = graded_lower_bound(values, low=low, high=high, seed=seed, alpha=side)
    mirrored = graded_lower_bound([-value for value in values], low=-high, high=-low, seed=seed, alpha=side)
    return lower, -mirrored


def _shuffled(values: Sequence[float], low: float, high: float, seed: int) -> Floats:
    """The values in a random order drawn from seed, checked."""
    array = np.asarray(values, dtype=np.float64)
    check_count("number of values", array.size, least=1)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"low and high must be finite with low < high, not {low!r} and {high!r}")
    outside = np.flatnonzero(~((array >= low) & (array <= high)))
    if outside.size:
        found = float(array[outside[0]])
        raise ValueError(f"{outside.size} of {array.size} values outside [{low:g}, {high:g}], the first is {found!r}")
    return array[np.random.default_rng(seed).permutation(array.size)]


def _highest_log_capital(ordered: Floats, mean0: Floats, low: float, high: float, alpha: float) -> Floats:
    """Log of the highest capital reached, at least 0, for each mean0 (1-d array)."""
    n, target, decade = ordered.size, -math.log(alpha), math.log(10.0)
    cap = _LARGEST_BET / (mean0 - low)
    squares = np.full_like(mean0, _PRIOR_WEIGHT * (high - low) ** 2 / 16.0)
    log_capital, highest = np.zeros_like(mean0), np.zeros_like(mean0)
    for t, value in enumerate(ordered):
        # Once alpha is reached, aim at the next tenth of it: the p-value keeps meaning something below alpha.
        goal = target + decade * np.maximum(np.floor((highest - target) / decade) + 1.0, 0.0)
        spread = squares / (t + _PRIOR_WEIGHT)
        bet = np.minimum(np.sqrt(2.0 * np.maximum(goal - log_capital, 0.0) / ((n - t) * spread)), cap)
        step = value - mean0
        log_capital = log_capital + np.log1p(bet * step)
        squares = squares + step * step
        highest = np.maximum(highest, log_capital)
    return highest
