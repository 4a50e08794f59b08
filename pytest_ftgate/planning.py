"""Why a gate could not decide, and how many examples would let it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ftgate import stats
from pytest_ftgate.types import Comparison

POWER = stats.PLANNED_POWER


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What an INCONCLUSIVE verdict says."""

    reason: str
    """CANNOT_PASS_AT_N · UNDERPOWERED · NEAR_MARGIN"""
    why: str
    """One clause for the summary."""
    fix: str


def rate_shortfall(n: int, value: float, floor: float, alpha: float) -> Shortfall:
    """Why a rate that was measured as `value` on n examples is not certified to reach `floor`."""
    if stats.best_p_value("floor", n, bound=floor) > alpha:
        needed = stats.examples_needed_at_best("floor", bound=floor, alpha=alpha)
        return _cannot_pass(n, needed, f"a floor of {floor:.1%}")
    if value <= floor:
        return _near(f"the measured {value:.1%} is not above the floor")
    # A measured 100% is planned for as one miss more than seen, or no number would ever do.
    rate = min(value, 1.0 - 1.0 / (2 * n))
    needed = stats.examples_for_floor_power(p0=floor, rate=rate, alpha=alpha, power=POWER)
    return _underpowered(n, needed, f"{value:.1%} is true")


def paired_shortfall(c: Comparison, alpha: float) -> Shortfall:
    """Why a paired difference is not certified to lie above its delta0."""
    superiority = c.delta0 >= 0
    test: stats.GateTest = "superiority" if superiority else "non_inferiority"
    bound = abs(c.delta0)
    right = round(c.base * c.n)
    best = stats.best_p_value(test, c.n, bound=bound, reference_correct=right)
    if best > alpha:
        rate = c.base if superiority else None
        needed = stats.examples_needed_at_best(test, bound=bound, alpha=alpha, reference_rate=rate)
        if superiority and needed is None:
            why = f"{c.reference} is right on {c.base:.1%}, which leaves no room for a gain of {bound:.1%}"
            return Shortfall("CANNOT_PASS_AT_N", why, "ship that prompt, or use harder examples")
        return _cannot_pass(c.n, needed, f"a margin of {bound:.1%}")
    if c.delta <= c.delta0:
        return _near(f"the measured {c.delta:+.1%} is not above {c.delta0:+.1%}")
    flips = min(1.0, max((c.gains + c.losses) / c.n, abs(c.delta)))
    needed = stats.examples_for_power(delta0=c.delta0, delta=c.delta, flip_rate=flips, alpha=alpha, power=POWER)
    return _underpowered(c.n, needed, f"{c.delta:+.1%} is true")


def _cannot_pass(n: int, needed: int | None, what: str) -> Shortfall:
    why = f"{n} examples cannot certify {what} at any outcome"
    fix = "lower the bound" if needed is None else f"use at least {needed} examples"
    return Shortfall("CANNOT_PASS_AT_N", why, fix)


def _near(measured: str) -> Shortfall:
    return Shortfall(
        "NEAR_MARGIN", measured, "improve the model: at this value more examples alone are unlikely to pass"
    )


def _underpowered(n: int, needed: int | None, condition: str) -> Shortfall:
    if needed is None or needed <= n:
        return _near("the measured value lies close to the bound")
    why = f"{n} examples are too few"
    return Shortfall("UNDERPOWERED", why, f"use about {needed} examples ({POWER:.0%} power if {condition})")
