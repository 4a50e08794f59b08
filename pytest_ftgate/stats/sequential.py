"""Stopping before the last example: curtailment, which changes no verdict, and an e-process, which spends some alpha.

Curtailment asks whether any outcome of the examples still to come can change the verdict. The e-process is a mixture of
betting capitals (Waudby-Smith & Ramdas 2024): under its null it ever reaches 1/alpha with probability at most alpha
(Ville). A design that stops early spends EARLY_SHARE of alpha on the e-process while running and the rest on the exact
test at the last example, so that together they err at most alpha (union bound).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ._checks import check_count, check_open, check_pairs, check_successes
from .binomial import binomial_p_value
from .decision import Decision
from .paired import critical_z
from .tango import Floats, Ints, tango_z

EARLY_SHARE = 0.2
"""Share of alpha spent on stopping early: 0.01 of 0.05, which leaves 0.04 for the exact test at the last example."""
_BETS = np.geomspace(0.02, 1.0, 24) * 0.97
"""Stakes mixed with equal weight, as shares of the largest stake that cannot ruin the gambler."""


@dataclass(frozen=True, slots=True)
class StoppingLevels:
    """StoppingLevels at which one gate of a run passes and fails."""

    alpha: float
    """PASS where the p-value of the bad null is at most this."""
    fail_first: float
    """FAIL for certain at or below this: the run's level over its number of gates, Holm's first threshold."""
    fail_last: float
    """No FAIL for certain above this: the run's whole level, Holm's last threshold."""

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("fail_first", self.fail_first), ("fail_last", self.fail_last)):
            check_open(name, value, 0.0, 0.5)
        if self.fail_first > self.fail_last:
            raise ValueError(f"fail_first must not exceed fail_last: {self.fail_first} > {self.fail_last}")

    def final(self) -> StoppingLevels:
        """What is left for the last example, and for curtailment, where stopping early was allowed."""
        return StoppingLevels(final_level(self.alpha), final_level(self.fail_first), final_level(self.fail_last))


@dataclass(frozen=True, slots=True)
class Curtailment:
    """What the examples still to come can make of a gate. None: Holm decides, by the other gates' p-values."""

    best: Decision | None
    """Decision if every example to come turns out as well as it can."""
    worst: Decision | None
    """Decision if every example to come turns out as badly as it can."""

    @property
    def settled(self) -> Decision | None:
        """The decision that no remaining example can change, or None: then go on."""
        return self.best if self.best == self.worst else None

    @property
    def can_pass(self) -> bool:
        """Whether some outcome of the remaining examples still passes."""
        return self.best == "PASS"


def curtail_floor(successes: int, done: int, n: int, *, p0: float, levels: StoppingLevels) -> Curtailment:
    """Curtailment of a floor (null: rate <= p0) after `done` of n examples."""
    check_successes(successes, done)
    check_count("n", n, least=done)
    remaining = n - done
    return Curtailment(_floor(successes + remaining, n, p0, levels), _floor(successes, n, p0, levels))


def curtail_paired(
    gains: int, losses: int, n: int, *, can_gain: int, can_lose: int, delta0: float, levels: StoppingLevels
) -> Curtailment:
    """Curtailment of a paired gate (null: Delta <= delta0) that will have n pairs.

    can_gain, can_lose: among the examples to come, those that the reference got wrong, and right; where its answers are
    not known yet, the number to come for both.
    """
    check_pairs(gains, losses, n)
    check_count("can_gain", can_gain)
    check_count("can_lose", can_lose)
    best = _paired(gains + can_gain, losses, n, delta0, levels)
    return Curtailment(best, _paired(gains, losses + can_lose, n, delta0, levels))


def _floor(successes: int, n: int, p0: float, levels: StoppingLevels) -> Decision | None:
    if binomial_p_value(successes, n, p0=p0, alternative="greater") <= levels.alpha:
        return "PASS"
    p_bad = binomial_p_value(successes, n, p0=p0, alternative="less")
    return _failed(p_bad <= levels.fail_first, p_bad <= levels.fail_last)


def _paired(gains: int, losses: int, n: int, delta0: float, levels: StoppingLevels) -> Decision | None:
    """The decision through critical values: they are cached, so that a look after every batch costs nothing."""
    if tango_z(gains, losses, n, delta0=delta0) >= critical_z(n, delta0, levels.alpha):
        return "PASS"
    z_bad = tango_z(losses, gains, n, delta0=-delta0)
    return _failed(
        z_bad >= critical_z(n, -delta0, levels.fail_first), z_bad >= critical_z(n, -delta0, levels.fail_last)
    )


def _failed(surely: bool, perhaps: bool) -> Decision | None:
    if surely:
        return "FAIL"
    return None if perhaps else "INCONCLUSIVE"


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


def ceiling_e_value(successes: int, done: int, *, p0: float) -> float:
    """Evidence against a rate >= p0 after `done` examples: the mirror of `floor_e_value`."""
    return floor_e_value(done - successes, done, p0=1.0 - p0)


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


def early_paired(gains: int, losses: int, done: int, *, delta0: float, levels: StoppingLevels) -> Decision | None:
    """PASS or FAIL where the evidence of the first `done` pairs already suffices, else None; ask at any time."""
    if paired_e_value(gains, losses, done, delta0=delta0) >= 1.0 / early_level(levels.alpha):
        return "PASS"
    mirrored = paired_e_value(losses, gains, done, delta0=-delta0)
    return "FAIL" if mirrored >= 1.0 / early_level(levels.fail_first) else None


def early_floor(successes: int, done: int, *, p0: float, levels: StoppingLevels) -> Decision | None:
    """PASS or FAIL where the evidence of the first `done` examples already suffices, else None."""
    if floor_e_value(successes, done, p0=p0) >= 1.0 / early_level(levels.alpha):
        return "PASS"
    mirrored = ceiling_e_value(successes, done, p0=p0)
    return "FAIL" if mirrored >= 1.0 / early_level(levels.fail_first) else None
