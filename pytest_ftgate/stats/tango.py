"""Tango's score statistic and interval for the difference of two paired proportions.

Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17. Pairs: `gains` are right only for the candidate, `losses` only for the reference.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from ._checks import check_open, check_pairs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def score_z(gains: Floats | Ints, losses: Floats | Ints, n: int, delta0: float) -> Floats:
    """Tango's z for each (gains, losses), arrays of one shape; large z speaks against Delta <= delta0.

    The variance under the null uses the restricted maximum-likelihood estimate of the loss rate. It vanishes only for
    delta0 = 0 without any flip: z is 0 there.
    """
    b, c = np.asarray(gains, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    loss_rate = _restricted_loss_rate(b, c, n, delta0)
    variance = n * (2.0 * loss_rate + delta0 * (1.0 - delta0))
    effect = b - c - n * delta0
    return np.divide(effect, np.sqrt(variance), out=np.zeros_like(effect), where=variance > 0.0)


def _restricted_loss_rate(b: Floats, c: Floats, n: int, delta0: float) -> Floats:
    """Larger root of 2n q^2 + B q + C = 0: the loss rate most likely given a difference of exactly delta0."""
    linear = -b - c + (2.0 * n - b + c) * delta0
    constant = -c * delta0 * (1.0 - delta0)
    root = np.sqrt(np.maximum(linear * linear - 8.0 * n * constant, 0.0))
    # For linear > 0 the textbook form subtracts two nearly equal numbers: use the reciprocal form there.
    textbook = (root - linear) / (4.0 * n)
    reciprocal = np.divide(-2.0 * constant, linear + root, out=np.zeros_like(root), where=linear > 0.0)
    return np.maximum(np.where(linear > 0.0, reciprocal, textbook), 0.0)


def tango_z(gains: int, losses: int, n: int, *, delta0: float) -> float:
    """Tango's score statistic for one table; large values speak against Delta <= delta0."""
    check_pairs(gains, losses, n)
    check_open("delta0", delta0, -1.0, 1.0)
    return float(score_z(np.array([gains]), np.array([losses]), n, delta0)[0])


def score_crossing(gains: int, losses: int, n: int, z: float) -> float:
    """The delta0 in [-1, 1] at which the score statistic, falling in delta0, equals z."""
    low, high = -1.0, 1.0
    while True:
        middle = (low + high) / 2.0
        if not low < middle < high or high - low < 1e-13:
            return middle
        if tango_z(gains, losses, n, delta0=middle) > z:
            low = middle
        else:
            high = middle


def tango_interval(gains: int, losses: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval for Delta = P(gain) - P(loss); approximate, for display. ValueError on bad counts."""
    check_pairs(gains, losses, n)
    check_open("confidence", confidence, 0.0, 1.0)
    z = float(special.ndtri((1.0 + confidence) / 2.0))
    low, high = score_crossing(gains, losses, n, z), score_crossing(gains, losses, n, -z)
    # The bisection stops a hair inside the ends of the scale; an interval that reaches them says so exactly.
    return (-1.0 if math.isclose(low, -1.0) else low), (1.0 if math.isclose(high, 1.0) else high)
