"""Exact unconditional test of a paired difference: the one engine behind every paired gate.

The null is Delta <= delta0 with Delta = P(gain) - P(loss); delta0 = +margin asks for superiority, delta0 = -margin for
non-inferiority. Outcomes are ordered by Tango's score statistic and the p-value is the largest probability, over every
loss rate that the null allows, of an outcome at least as extreme (the supremum is on the boundary Delta = delta0:
Hsueh, Liu & Chen 2001). It holds its level at every n and every flip rate.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import special

from ._checks import check_open, check_pairs
from .tango import Floats, Ints, score_z, tango_z

EXACT_MAX_N = 2000
"""Largest n that gets the exact test; above it the asymptotic score test answers, and says so."""

EXACT = "exact unconditional"
ASYMPTOTIC = "Tango score (asymptotic)"

_TIE = 1e-9
"""Two score statistics closer than this are one value (they differ by rounding only)."""
_GRID = 160
"""Loss rates tried before refining; spaced so that the binomial standard deviation spans several at EXACT_MAX_N."""
_PEAKS = 3
_ZOOMS = 3
_ZOOM_POINTS = 17
_NEGLIGIBLE = -40.0
"""Log-probability below which a loss count is left out: 2000 of them weigh less than 1e-13."""


def paired_method(n: int) -> str:
    """Which test `paired_p_value` runs at this n; a report quotes it."""
    return EXACT if n <= EXACT_MAX_N else ASYMPTOTIC


def paired_p_value(gains: int, losses: int, n: int, *, delta0: float) -> float:
    """One-sided p-value of the null Delta <= delta0; small means proven better than delta0.

    The opposite direction (null Delta >= delta0) is the mirror: `paired_p_value(losses, gains, n, delta0=-delta0)`.
    Exact up to EXACT_MAX_N pairs, asymptotic beyond (`paired_method` says which). Raises ValueError on counts that
    cannot be and on delta0 outside (-1, 1).
    """
    check_pairs(gains, losses, n)
    return _paired_p_value(gains, losses, n, delta0)


@lru_cache(maxsize=4096)
def _paired_p_value(gains: int, losses: int, n: int, delta0: float) -> float:
    """Kept, since gate, slices and plans of one run ask for the same tables again."""
    z = tango_z(gains, losses, n, delta0=delta0)
    if n > EXACT_MAX_N:
        return float(special.ndtr(-z))
    return _supremum(n, delta0, _least_gains(n, delta0, z - _TIE))


@lru_cache(maxsize=512)
def critical_z(n: int, delta0: float, alpha: float) -> float:
    """The score statistic must exceed this to be rejected at alpha: `tango_z >= critical_z` iff p <= alpha."""
    check_open("alpha", alpha, 0.0, 1.0)
    z_alpha = -float(special.ndtri(alpha))
    if n > EXACT_MAX_N:
        return z_alpha
    accepted, rejected = _bracket(n, delta0, alpha, z_alpha)
    too_large, small_enough = _least_gains(n, delta0, accepted), _least_gains(n, delta0, rejected)
    # The statistic takes finitely many values: stop once none lies between.
    while rejected - accepted > _TIE / 10.0 and not np.array_equal(too_large, small_enough):
        middle = (accepted + rejected) / 2.0
        region = _least_gains(n, delta0, middle)
        if _rejects(n, delta0, region, alpha):
            rejected, small_enough = middle, region
        else:
            accepted, too_large = middle, region
    return rejected + _TIE


def _bracket(n: int, delta0: float, alpha: float, z_alpha: float) -> tuple[float, float]:
    """(accepted, rejected): score statistics with the critical one between them."""
    accepted, rejected = z_alpha - 0.25, z_alpha + 0.25
    while _rejects(n, delta0, _least_gains(n, delta0, accepted), alpha):
        accepted -= 1.0
    # Above every attained statistic the region is empty, so this ends.
    while not _rejects(n, delta0, _least_gains(n, delta0, rejected), alpha):
        rejected += 1.0
    return accepted, rejected


def rejection_region(n: int, delta0: float, alpha: float) -> Ints:
    """Fewest gains that reject Delta <= delta0 at alpha, for 0..n losses; n - losses + 1 where no gains suffice."""
    return _least_gains(n, delta0, critical_z(n, delta0, alpha))


def region_probability(n: int, least_gains: Ints, gain_rate: float, loss_rate: float) -> float:
    """Exact P(gains >= least_gains[losses]) for n pairs with these gain and loss rates."""
    return float(_probability(n, least_gains, np.array([gain_rate]), np.array([loss_rate]))[0])


def _least_gains(n: int, delta0: float, z: float) -> Ints:
    """For 0..n losses, the fewest gains whose score statistic reaches z (bisection: z rises with gains)."""
    losses = np.arange(n + 1)
    low, high = np.zeros(n + 1, dtype=np.int64), n - losses + 1
    while bool(np.any(low < high)):
        middle = (low + high) // 2
        open_ = low < high
        # `middle` is an impossible count only where the search is over; min keeps the statistic defined there.
        reached = score_z(np.minimum(middle, n - losses), losses, n, delta0) >= z
        high = np.where(open_ & reached, middle, high)
        low = np.where(open_ & ~reached, middle + 1, low)
    return low


def _probability(n: int, least_gains: Ints, gain_rate: Floats, loss_rate: Floats) -> Floats:
    """P(gains >= least_gains[losses]) at each pair of rates (1-d arrays of one length)."""
    losses = np.flatnonzero(least_gains <= n - np.arange(n + 1))
    if losses.size == 0:
        return np.zeros_like(loss_rate)
    ways = special.gammaln(n + 1) - special.gammaln(losses + 1) - special.gammaln(n - losses + 1)
    rate = loss_rate[:, None]
    log_weight = ways + special.xlogy(losses, rate) + special.xlog1py(n - losses, -rate)
    point, column = np.nonzero(log_weight > _NEGLIGIBLE)
    given = np.clip(gain_rate / np.maximum(1.0 - loss_rate, 1e-300), 0.0, 1.0)[point]
    needed, rest = least_gains[losses[column]], n - losses[column]
    # betainc(k, m - k + 1, p) = P(Bin(m, p) >= k); k = 0 is certain and outside its domain.
    tail = np.where(needed == 0, 1.0, special.betainc(np.maximum(needed, 1), rest - needed + 1, given))
    total = np.bincount(point, np.exp(log_weight[point, column]) * tail, minlength=loss_rate.size)
    return np.minimum(total, 1.0)


def _along_boundary(n: int, delta0: float, least_gains: Ints, position: Floats) -> Floats:
    """Probability of the region where Delta = delta0, at positions in [0, 1] along the loss rates allowed there.

    The position is the square root of the distance from the lowest loss rate: there a binomial has a steady width.
    """
    low, high = max(0.0, -delta0), (1.0 - delta0) / 2.0
    loss_rate = low + (high - low) * position * position
    return _probability(n, least_gains, np.maximum(loss_rate + delta0, 0.0), loss_rate)


def _rejects(n: int, delta0: float, least_gains: Ints, alpha: float) -> bool:
    """Whether the region's supremum is at most alpha; a coarse look settles most regions that are too large."""
    if float(np.max(_along_boundary(n, delta0, least_gains, np.linspace(0.0, 1.0, 24)))) > alpha:
        return False
    return _supremum(n, delta0, least_gains) <= alpha


def _supremum(n: int, delta0: float, least_gains: Ints) -> float:
    """Largest probability of the region on the boundary of the null: a grid, then a zoom on its highest peaks."""
    grid = np.linspace(0.0, 1.0, _GRID)
    values = _along_boundary(n, delta0, least_gains, grid)
    best = float(np.max(values))
    padded = np.concatenate(([-1.0], values, [-1.0]))
    # The grid is fine enough that a peak far below the highest cannot overtake it.
    peaks = np.flatnonzero((values >= padded[:-2]) & (values >= padded[2:]) & (values >= 0.8 * best))
    for peak in peaks[np.argsort(values[peaks])][-_PEAKS:]:
        best = max(best, _zoom(n, delta0, least_gains, float(grid[peak]), 1.0 / (_GRID - 1)))
    return best


def _zoom(n: int, delta0: float, least_gains: Ints, centre: float, reach: float) -> float:
    """Highest probability within `reach` of a grid point, by ever finer grids around the highest one."""
    best = 0.0
    for _ in range(_ZOOMS):
        points = np.linspace(max(0.0, centre - reach), min(1.0, centre + reach), _ZOOM_POINTS)
        values = _along_boundary(n, delta0, least_gains, points)
        centre, reach = float(points[int(np.argmax(values))]), 2.0 * reach / (_ZOOM_POINTS - 1)
        best = max(best, float(np.max(values)))
    return best
