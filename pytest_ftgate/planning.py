"""Why a gate could not decide, and how many examples would let it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pytest_ftgate import stats
from pytest_ftgate.measure import BETTING, Rate, graded_p_good
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


def exact_percent(bound: float) -> str:
    """A bound as a sentence shows it: 0.95 -> `95.0%`, but 0.9995 -> `99.95%`."""
    return f"{_short(100.0 * bound)}%"


def exact_points(bound: float) -> str:
    """A bound in percentage points: 0.05 -> `5.0 points`, but 0.0125 -> `1.25 points`."""
    return f"{_short(100.0 * bound)} points"


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value - round(value, 1)) < 1e-9 else f"{value:.10g}"


def rate_shortfall(rate: Rate, units: Sequence[float], floor: float, alpha: float, *, unit: str) -> Shortfall:
    """Why this rate is not certified to reach `floor`; `units` are what it is the mean of, `unit` their name."""
    if stats.best_p_value("floor", rate.n, bound=floor) > alpha:
        needed = stats.examples_needed_at_best("floor", bound=floor, alpha=alpha)
        return _cannot_pass(rate.n, needed, f"a floor of {exact_percent(floor)}", unit)
    if rate.value <= floor:
        return _near(f"the measured {rate.value:.1%} is not above the floor")
    if rate.method == BETTING:
        return _graded(units, floor, low=0.0, alpha=alpha, unit=unit)
    # A measured 100% is planned for as one miss more than seen, or no number would ever do.
    value = min(rate.value, 1.0 - 1.0 / (2 * rate.n))
    needed = stats.examples_for_floor_power(p0=floor, rate=value, alpha=alpha, power=POWER)
    return _underpowered(rate.n, needed, f"{POWER:.0%} power if {rate.value:.1%} is true", unit)


def paired_shortfall(
    c: Comparison, ours: Sequence[float], theirs: Sequence[float], alpha: float, *, unit: str
) -> Shortfall:
    """Why a paired difference is not certified to lie above its delta0; `ours` and `theirs` are scores by unit."""
    bound = exact_points(abs(c.delta0))
    sign = "+" if c.delta0 >= 0 else "-"
    room = [1.0 - t for t in theirs]
    if c.delta0 >= 0 and fmean(room) <= c.delta0:
        fix = "ship that prompt, or use harder examples" if c.reference != "base" else "allow a larger max_drop"
        why = f"{c.reference} scores {c.base:.1%}, which leaves no room for a gain above {bound}"
        return Shortfall("CANNOT_PASS_AT_N", why, fix)
    what = f"a {'gain' if c.delta0 >= 0 else 'loss'} {'above' if c.delta0 >= 0 else 'below'} {bound}"
    if c.method == BETTING:
        differences = [o - t for o, t in zip(ours, theirs, strict=True)]
        if graded_p_good(room, c.delta0, low=-1.0) > alpha:
            # As for 0/1 scores, a forgetting gate is planned as if nothing improved.
            best = room if c.delta0 >= 0 else [0.0]
            return _cannot_pass(c.n, graded_needed(best, c.delta0, low=-1.0, alpha=alpha), what, unit)
        if c.delta > c.delta0:
            return _graded(differences, c.delta0, low=-1.0, alpha=alpha, unit=unit)
    elif _best_p(c, sum(theirs)) > alpha:
        return _cannot_pass(c.n, _needed_at_best(c, alpha), what, unit)
    if c.delta <= c.delta0:
        return _near(f"the measured {100 * c.delta:+.1f} points is not above {sign}{bound}")
    flips = min(1.0, max((c.gains + c.losses) / c.n, abs(c.delta)))
    needed = stats.examples_for_power(delta0=c.delta0, delta=c.delta, flip_rate=flips, alpha=alpha, power=POWER)
    return _underpowered(c.n, needed, f"{POWER:.0%} power if {100 * c.delta:+.1f} points is true", unit)


def _test(c: Comparison) -> stats.GateTest:
    return "superiority" if c.delta0 >= 0 else "non_inferiority"


def _best_p(c: Comparison, right: float) -> float:
    return stats.best_p_value(_test(c), c.n, bound=abs(c.delta0), reference_correct=round(right))


def _needed_at_best(c: Comparison, alpha: float) -> int | None:
    rate = c.base if c.delta0 >= 0 else None
    return stats.examples_needed_at_best(_test(c), bound=abs(c.delta0), alpha=alpha, reference_rate=rate)


def graded_needed(units: Sequence[float], mean0: float, *, low: float, alpha: float) -> int:
    """About how many units like these make the betting process pass; their mean lies above mean0.

    With L = log(1/alpha), the best constant bet reaches 1/alpha after 2 L E[(x - mean0)^2] / (mean - mean0)^2 values,
    and the largest bet allowed after L / log(1 + mean gain): Waudby-Smith & Ramdas 2024, section 4. The first bets are
    made before the spread is known, which costs about ten values more.
    """
    gap, goal = fmean(units) - mean0, -math.log(alpha)
    spread = fmean((u - mean0) ** 2 for u in units)
    fastest = goal / math.log1p(0.95 * gap / (mean0 - low))
    return math.ceil(max(2.0 * goal * spread / gap**2 + 10.0, fastest))


def _graded(units: Sequence[float], mean0: float, *, low: float, alpha: float, unit: str) -> Shortfall:
    n = len(units)
    # These did not pass, whatever the formula says.
    needed = max(graded_needed(units, mean0, low=low, alpha=alpha), n + n // 5 + 1)
    return _underpowered(n, needed, "if they score like these", unit)


def _cannot_pass(n: int, needed: int | None, what: str, unit: str) -> Shortfall:
    why = f"{n} {unit} cannot certify {what} whatever the model answers"
    fix = "change the bound, or use other examples" if needed is None else f"use at least {needed} {unit}"
    return Shortfall("CANNOT_PASS_AT_N", why, fix)


def _near(measured: str) -> Shortfall:
    return Shortfall(
        "NEAR_MARGIN", measured, "improve the model: at this value more examples alone are unlikely to pass"
    )


def _underpowered(n: int, needed: int | None, condition: str, unit: str) -> Shortfall:
    if needed is None or needed <= n:
        return _near("the measured value lies close to the bound")
    return Shortfall("UNDERPOWERED", f"{n} {unit} are too few", f"use about {needed} {unit} ({condition})")
