"""Says why a gate could not decide, and how many examples would let it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from pytest_ftgate import stats
from pytest_ftgate.gates.measure import APPROXIMATE, BETTING, Rate, graded_p_good
from pytest_ftgate.results import Comparison

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
    best = stats.best_p_value("floor", rate.n, bound=floor)
    needed: int | None = None
    condition = "if they score like these"
    if best <= alpha and rate.value > floor:
        if rate.method == BETTING:
            needed = _more_like_these(units, floor, low=0.0, alpha=alpha)
        elif rate.method == APPROXIMATE:
            needed = _normal_needed(units, floor, alpha)
        else:
            # A measured 100% is planned for as one miss more than seen, or no number would ever do.
            value = min(rate.value, 1.0 - 1.0 / (2 * rate.n))
            needed = stats.examples_for_floor_power(p0=floor, rate=value, alpha=alpha, power=POWER)
            condition = f"{POWER:.0%} power if {rate.value:.1%} is true"
    reason = stats.inconclusive_reason(best, needed, rate.n, alpha=alpha)
    if reason == "CANNOT_PASS_AT_N":
        enough = stats.examples_needed_at_best("floor", bound=floor, alpha=alpha)
        return _cannot_pass(rate.n, enough, f"a floor of {exact_percent(floor)}", unit)
    below = f"the measured {rate.value:.1%} is not above the floor" if rate.value <= floor else ""
    return _possible(reason, rate.n, needed, condition, below, unit)


def paired_shortfall(
    c: Comparison, ours: Sequence[float], theirs: Sequence[float], alpha: float, *, unit: str
) -> Shortfall:
    """Why a paired difference is not certified to lie above its delta0.

    `ours` and `theirs`: scores in [0, 1] of the units that were measured, of one length. `c` may speak of more units
    than were measured (`Part.planned_pair`), so numbers of units and of right answers come from `c` alone.
    """
    bound = exact_points(abs(c.delta0))
    sign = "+" if c.delta0 >= 0 else "-"
    room = [1.0 - t for t in theirs]
    if c.delta0 >= 0 and fmean(room) <= c.delta0:
        fix = "ship that prompt, or use harder examples" if c.reference != "base" else "allow a larger max_drop"
        why = f"{c.reference} scores {c.base:.1%}, which leaves no room for a gain above {bound}"
        return Shortfall("CANNOT_PASS_AT_N", why, fix)
    best = _best_p(c, room)
    needed: int | None = None
    condition = "if they score like these"
    if best <= alpha and c.delta > c.delta0:
        differences = [o - t for o, t in zip(ours, theirs, strict=True)]
        if c.method == BETTING:
            needed = _more_like_these(differences, c.delta0, low=-1.0, alpha=alpha)
        elif c.method == APPROXIMATE:
            needed = _normal_needed(differences, c.delta0, alpha)
        else:
            flips = min(1.0, max((c.gains + c.losses) / c.n, abs(c.delta)))
            needed = stats.examples_for_power(delta0=c.delta0, delta=c.delta, flip_rate=flips, alpha=alpha, power=POWER)
            condition = f"{POWER:.0%} power if {100 * c.delta:+.1f} points is true"
    reason = stats.inconclusive_reason(best, needed, c.n, alpha=alpha)
    if reason == "CANNOT_PASS_AT_N":
        what = f"a {'gain' if c.delta0 >= 0 else 'loss'} {'above' if c.delta0 >= 0 else 'below'} {bound}"
        limit = "whatever the model answers" if c.delta0 >= 0 else "without improving on the base"
        return _cannot_pass(c.n, _needed_at_best(c, room, alpha), what, unit, limit)
    below = f"the measured {100 * c.delta:+.1f} points is not above {sign}{bound}" if c.delta <= c.delta0 else ""
    return _possible(reason, c.n, needed, condition, below, unit)


def _test(c: Comparison) -> stats.GateTest:
    return "superiority" if c.delta0 >= 0 else "non_inferiority"


def _best_p(c: Comparison, room: Sequence[float]) -> float:
    """p-value of the best answers possible; 0 where the test is approximate and sets no such limit."""
    if c.method == APPROXIMATE:
        return 0.0
    if c.method == BETTING:
        return graded_p_good(room, c.delta0, low=-1.0)
    return stats.best_p_value(_test(c), c.n, bound=abs(c.delta0), reference_correct=round(c.base * c.n))


def _needed_at_best(c: Comparison, room: Sequence[float], alpha: float) -> int | None:
    if c.method == BETTING:
        # As for 0/1 scores, a forgetting gate is planned as if nothing improved.
        return graded_needed(room if c.delta0 >= 0 else [0.0], c.delta0, low=-1.0, alpha=alpha)
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


def _more_like_these(units: Sequence[float], mean0: float, *, low: float, alpha: float) -> int:
    n = len(units)
    # These did not pass, whatever the formula says.
    return max(graded_needed(units, mean0, low=low, alpha=alpha), n + n // 5 + 1)


def _normal_needed(units: Sequence[float], mean0: float, alpha: float) -> int:
    """Units of this mean and spread that pass a z-test with POWER: ((z_alpha + z_power) sd / gap)^2."""
    z = NormalDist().inv_cdf(1.0 - alpha) + NormalDist().inv_cdf(POWER)
    return max(math.ceil((z * stdev(units) / (fmean(units) - mean0)) ** 2), len(units) + 1)


def _cannot_pass(
    n: int, needed: int | None, what: str, unit: str, limit: str = "whatever the model answers"
) -> Shortfall:
    why = f"{n} {unit} cannot certify {what} {limit}"
    fix = "change the bound, or use other examples" if needed is None else f"use at least {needed} {unit}"
    return Shortfall("CANNOT_PASS_AT_N", why, fix)


def _possible(reason: stats.Reason, n: int, needed: int | None, condition: str, below: str, unit: str) -> Shortfall:
    """What is said of a gate that could have passed: too few, or too near its bound."""
    if reason == "UNDERPOWERED":
        return Shortfall(reason, f"{n} {unit} are too few", f"use about {needed} {unit} ({condition})")
    fix = "improve the model: at this value more examples alone are unlikely to pass"
    return Shortfall(reason, below or "the measured value lies close to the bound", fix)
