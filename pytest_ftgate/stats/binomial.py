"""One proportion against a floor: exact binomial tests and Clopper-Pearson bounds.

Source: Clopper & Pearson 1934, through the identity between binomial tails and the beta distribution.
"""

from __future__ import annotations

from typing import Literal

from scipy import special

from ._checks import check_closed, check_open, check_successes


def binomial_p_value(successes: int, n: int, *, p0: float, alternative: Literal["greater", "less"]) -> float:
    """Exact one-sided p-value of the null rate <= p0 (`greater`) or rate >= p0 (`less`).

    `greater` is P(Bin(n, p0) >= successes), `less` is P(Bin(n, p0) <= successes). Raises ValueError on counts that
    cannot be and on p0 outside [0, 1].
    """
    check_successes(successes, n)
    check_closed("p0", p0, 0.0, 1.0)
    if alternative not in ("greater", "less"):
        raise ValueError(f"alternative must be 'greater' or 'less', not {alternative!r}")
    if alternative == "greater":
        return 1.0 if successes == 0 else float(special.betainc(successes, n - successes + 1, p0))
    return 1.0 if successes == n else float(special.betaincc(successes + 1, n - successes, p0))


def binomial_lower_bound(successes: int, n: int, *, alpha: float = 0.05) -> float:
    """One-sided Clopper-Pearson lower bound: the rate lies at or above it with confidence 1 - alpha."""
    check_successes(successes, n)
    check_open("alpha", alpha, 0.0, 1.0)
    return 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, alpha))


def binomial_upper_bound(successes: int, n: int, *, alpha: float = 0.05) -> float:
    """One-sided Clopper-Pearson upper bound: the rate lies at or below it with confidence 1 - alpha."""
    return 1.0 - binomial_lower_bound(n - successes, n, alpha=alpha)


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact interval for a rate; each side misses with probability at most (1 - confidence) / 2."""
    check_open("confidence", confidence, 0.0, 1.0)
    side = (1.0 - confidence) / 2.0
    lower = binomial_lower_bound(successes, n, alpha=side)
    return lower, binomial_upper_bound(successes, n, alpha=side)
