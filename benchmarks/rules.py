"""Rules that gates use today, to measure ours against; none of them decides anything in pytest_ftgate.

Tables are given as gains, losses (arrays of one shape) and n pairs; a rule answers, for each table, whether it ships.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from pytest_ftgate.stats import rejection_region
from pytest_ftgate.stats.tango import score_z

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rule = Callable[[Ints, Ints, int, float], Bools]
"""(gains, losses, n, delta0) -> ships; delta0 = -margin for forgetting, +margin for superiority."""

ALPHA = 0.05


def exact(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """Ours: Delta <= delta0 rejected by the exact unconditional test."""
    return gains >= rejection_region(n, delta0, ALPHA)[losses]


def exact_fail(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """Ours, hard failure: Delta >= delta0 rejected."""
    return exact(losses, gains, n, -delta0)


def point_estimate(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """The difference seen is at least delta0."""
    return gains - losses >= delta0 * n - 1e-9


def unless_significantly_worse(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """Ships unless the drop reaches the margin and McNemar's exact test finds a difference."""
    worse = (gains - losses <= delta0 * n + 1e-9) & (mcnemar_p_value(gains, losses) < ALPHA)
    return np.asarray(np.invert(worse))


def significant_and_large(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """McNemar's one-sided exact test finds a gain, and the one seen is at least delta0: the margin is not tested."""
    found = special.bdtr(losses.astype(float), gains + losses, 0.5) < ALPHA
    return np.asarray(point_estimate(gains, losses, n, delta0) & found)


def wald(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """One-sided normal interval around the difference seen; no flip, no width."""
    low, _ = wald_interval(gains, losses, n, -float(special.ndtri(ALPHA)))
    return low > delta0


def paired_t(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """One-sided Student interval around the mean of the differences."""
    quantile = -float(special.stdtrit(n - 1, ALPHA)) * math.sqrt(n / (n - 1))
    low, _ = wald_interval(gains, losses, n, quantile)
    return low > delta0


def bonett_price(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """One-sided Bonett-Price interval: Wald after adding one gain and one loss."""
    low, _ = bonett_price_interval(gains, losses, n, -float(special.ndtri(ALPHA)))
    return low > delta0


def tango(gains: Ints, losses: Ints, n: int, delta0: float) -> Bools:
    """Tango's score test with its normal quantile."""
    return score_z(gains, losses, n, delta0) > -float(special.ndtri(ALPHA))


def wald_interval(gains: Ints, losses: Ints, n: int, quantile: float) -> tuple[Floats, Floats]:
    """Difference seen, minus and plus quantile standard errors."""
    difference = (gains - losses) / n
    half = quantile * np.sqrt(np.maximum((gains + losses) / n - difference**2, 0.0) / n)
    return difference - half, difference + half


def bonett_price_interval(gains: Ints, losses: Ints, n: int, quantile: float) -> tuple[Floats, Floats]:
    """Bonett & Price 2012: Wald with one gain, one loss and so two pairs more."""
    return wald_interval(gains + 1, losses + 1, n + 2, quantile)


def newcombe_interval(
    both: int, gains: int, losses: int, neither: int, quantile: float, *, corrected: bool = True
) -> tuple[float, float]:
    """Newcombe 1998, method 10 (8 where the correlation is not corrected): Wilson limits, squared and added."""
    n = both + gains + losses + neither
    first, second = _wilson(both + gains, n, quantile), _wilson(both + losses, n, quantile)
    phi = _phi(both, gains, losses, neither, corrected)
    d1, d2 = (both + gains) / n, (both + losses) / n
    below = (d1 - first[0], second[1] - d2)
    above = (first[1] - d1, d2 - second[0])
    low, high = (math.sqrt(x * x - 2 * phi * x * y + y * y) for x, y in (below, above))
    return d1 - d2 - low, d1 - d2 + high


def _wilson(successes: int, n: int, z: float) -> tuple[float, float]:
    centre, half = 2 * successes + z * z, z * math.sqrt(z * z + 4 * successes * (1 - successes / n))
    return (centre - half) / (2 * (n + z * z)), (centre + half) / (2 * (n + z * z))


def _phi(both: int, gains: int, losses: int, neither: int, corrected: bool) -> float:
    """Correlation of the two answers; where corrected, a positive one is moved half a table towards 0."""
    scale = (both + gains) * (losses + neither) * (both + losses) * (gains + neither)
    if scale == 0:
        return 0.0
    cross = float(both * neither - gains * losses)
    if corrected and cross > 0:
        cross = max(cross - (both + gains + losses + neither) / 2, 0.0)
    return cross / math.sqrt(scale)


McNemar = Literal["exact", "mid-p", "asymptotic", "continuity corrected"]


def mcnemar_p_value(gains: Ints, losses: Ints, *, method: McNemar = "exact") -> Floats:
    """Two-sided McNemar test of no difference; exact: twice the smaller binomial tail of the flips."""
    flips, fewer = gains + losses, np.minimum(gains, losses)
    if method in ("exact", "mid-p"):
        tail = special.bdtr(fewer.astype(float), flips, 0.5)
        if method == "exact":
            return np.asarray(np.minimum(2.0 * tail, 1.0))
        ways = special.gammaln(flips + 1) - special.gammaln(fewer + 1) - special.gammaln(flips - fewer + 1)
        return np.asarray(np.minimum(2.0 * tail - np.exp(ways - flips * math.log(2.0)), 1.0))
    excess = np.maximum(np.abs(gains - losses) - (method == "continuity corrected"), 0)
    return np.asarray(special.chdtrc(1, excess**2 / np.maximum(flips, 1)))
