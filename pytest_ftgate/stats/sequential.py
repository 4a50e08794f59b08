"""Stopping before the last example by an e-process, which spends some alpha. (Curtailment, which spends none, is
`gates/curtailment.py`.)

The e-process is a mixture of betting capitals (Waudby-Smith & Ramdas 2024): under its null it ever reaches 1/alpha with
probability at most alpha (Ville). A design that stops early spends EARLY_SHARE of alpha on the e-process while running
and the rest on the exact test at the last example, so that together they err at most alpha (union bound).
"""

from __future__ import annotations

import math

import numpy as np

from ._checks import check_open, check_pairs, check_successes
from .tango import Floats, Ints

EARLY_SHARE = 0.2
"""Share of alpha spent on stopping early: 0.01 of 0.05, which leaves 0.04 for the exact test at the last example."""
_BETS = np.geomspace(0.02, 1.0, 24) * 0.97
"""Stakes mixed with equal weight, as shares of the largest stake that cannot ruin the gambler."""


def paired_e_value(gains: int, losses: int, done: int, *, delta0: float) -> float:
    """Evidence against Delta <= delta0 after `done` pairs; depends on the counts alone, not on their order."""
    check_pairs(gains, losses, done)
    check_open("delta0", delta0, -1.0, 1.0)
    return float(paired_e_values(np.array(gains), np.array(losses), done, delta0=delta0))


def floor_e_value(successes: int, done: int, *, p0: float) -> float:
    """Evidence against a rate <= p0 after `done` examples."""
    check_successes(successes, done)
    check_open("p0", p0, 0.0, 1.0)
    return float(floor_e_values(np.array(successes), np.array(done), p0=p0))


def floor_e_values(successes: Ints, done: Ints, *, p0: float) -> Floats:
    """`floor_e_value` for arrays of counts of one shape; the counts are not checked."""
    return _mixture((successes, done - successes), (1.0 - p0, -p0), p0)


def paired_e_values(gains: Ints, losses: Ints, done: int | Ints, *, delta0: float) -> Floats:
    """`paired_e_value` for arrays of counts of one shape; the counts are not checked."""
    counts = (gains, losses, done - gains - losses)
    return _mixture(counts, (1.0 - delta0, -1.0 - delta0, -delta0), 1.0 + delta0)


def _mixture(counts: tuple[Ints, ...], payoffs: tuple[float, ...], worst: float) -> Floats:
    """Mean capital over the bets after these counts of payoffs (arrays of one shape); `worst`: largest loss a stake."""
    bets = _BETS / worst
    log_capital = sum(
        np.asarray(count)[..., None] * np.log1p(bets * payoff) for count, payoff in zip(counts, payoffs, strict=True)
    )
    total = np.logaddexp.reduce(log_capital, axis=-1) - math.log(bets.size)
    # Capital past the largest float is overwhelming evidence all the same.
    return np.asarray(np.exp(np.minimum(total, 700.0)))


def early_level(level: float) -> float:
    """Share of a level that stopping early may spend: stop where an e-value reaches 1 / early_level."""
    return EARLY_SHARE * level


def final_level(level: float) -> float:
    """What is left of a level for the exact test at the last example, where stopping early was allowed."""
    return (1.0 - EARLY_SHARE) * level
