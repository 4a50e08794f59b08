"""Turns p-values into a verdict: three values for a gate, one reason where it could not judge, Holm for a family.

A run ships only if every gate passes its own test at alpha (intersection-union test, Berger 1982): no correction is
needed for that. Hard failures are a union: they, and slices, are corrected by Holm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ._checks import check_closed, check_count, check_open

Decision = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Reason = Literal["CANNOT_PASS_AT_N", "UNDERPOWERED", "NEAR_MARGIN"]

PLANNED_POWER = 0.8
"""Chance to pass below which a gate counts as underpowered."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given: reject where adjusted <= alpha.

    Controls the chance of any false rejection under every dependence. Holm 1979. Raises ValueError outside [0, 1].
    """
    for p_value in p_values:
        check_closed("p-value", p_value, 0.0, 1.0)
    count, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        running = max(running, (count - rank) * p_values[index])
        adjusted[index] = min(running, 1.0)
    return adjusted


def decide(p_good: float, p_bad: float, *, alpha: float, fail_alpha: float) -> Decision:
    """PASS where the bad null is rejected at alpha, FAIL where the good null is at fail_alpha, else INCONCLUSIVE.

    p_bad: already adjusted by Holm over the gates of the run where fail_alpha is the run's level.
    """
    for name, value in (("p_good", p_good), ("p_bad", p_bad)):
        check_closed(name, value, 0.0, 1.0)
    for name, value in (("alpha", alpha), ("fail_alpha", fail_alpha)):
        check_open(name, value, 0.0, 0.5)
    if p_good <= alpha:
        return "PASS"
    return "FAIL" if p_bad <= fail_alpha else "INCONCLUSIVE"


def inconclusive_reason(best_p: float, needed: int | None, n: int, *, alpha: float) -> Reason:
    """Why an inconclusive gate could not judge at n.

    best_p: p-value of the best outcome possible at this n (`best_p_value`). needed: examples at which the effect
    measured, if it is the true one, passes with PLANNED_POWER; None where no number of them would do. NEAR_MARGIN: the
    gate could have judged, and the truth seems to sit at the margin.
    """
    check_closed("best_p", best_p, 0.0, 1.0)
    check_count("n", n, least=1)
    check_open("alpha", alpha, 0.0, 1.0)
    if best_p > alpha:
        return "CANNOT_PASS_AT_N"
    return "UNDERPOWERED" if needed is not None and needed > n else "NEAR_MARGIN"
