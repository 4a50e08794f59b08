"""Rates with intervals, and whether the examples overlap more than training rows do among themselves."""

from __future__ import annotations

from math import exp, lgamma, sqrt

from pytest_ftgate.rows.overlap.report import Rate

_Z = 1.959963984540054  # two-sided 95 %


def rate(flagged: int, n: int) -> Rate:
    """A share with its Wilson score interval (Wilson 1927, JASA 22)."""
    if not n:
        return Rate(0, 0, (0.0, 1.0))
    p, z2 = flagged / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Rate(n, flagged, (max(centre - half, 0.0), min(centre + half, 1.0)))


def excess(examples: Rate, training: Rate) -> float:
    """One-sided Fisher p-value: the chance of so many flagged examples if both were drawn from the same lot."""
    n, flagged = examples.n + training.n, examples.flagged + training.flagged
    top = min(flagged, examples.n)
    terms = [
        exp(_log_choose(flagged, k) + _log_choose(n - flagged, examples.n - k) - _log_choose(n, examples.n))
        for k in range(examples.flagged, top + 1)
        if examples.n - k <= n - flagged
    ]
    return min(sum(terms), 1.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
