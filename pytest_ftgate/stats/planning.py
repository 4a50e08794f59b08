"""Before anything is generated: can this gate pass at this n, how likely will it, and how many examples would do?

Everything up to PLAN_EXACT_MAX_N pairs is exact (enumeration of the trinomial); beyond it the sample sizes come from
the normal approximation of Tango's test, whose power differs little there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from scipy import special

from ._checks import check_closed, check_count, check_open
from .binomial import binomial_p_value
from .paired import paired_p_value, region_probability, rejection_region

GateTest = Literal["floor", "superiority", "non_inferiority"]
"""floor: rate > bound · superiority: Delta > +bound · non_inferiority: Delta > -bound."""

PLAN_EXACT_MAX_N = 500
_MOST = 1_000_000
"""No plan asks for more examples than this: it answers None, "no number of examples would do"."""


def best_p_value(test: GateTest, n: int, *, bound: float, reference_correct: int | None = None) -> float:
    """Smallest p-value that a gate can reach at n: above alpha, it cannot pass whatever the model answers.

    floor: every example right. Paired: no example lost, and every example gained that the reference got wrong. Where
    reference_correct is None, superiority counts every example as one that can be gained, and non-inferiority none: a
    forgetting gate is planned as if nothing improved (`gains_needed` says what improvement would rescue it).
    """
    check_count("n", n, least=1)
    if test == "floor":
        return binomial_p_value(n, n, p0=bound, alternative="greater")
    check_open("bound", bound, 0.0, 1.0) if test == "non_inferiority" else check_closed("bound", bound, 0.0, 1.0)
    gains = (n if test == "superiority" else 0) if reference_correct is None else n - reference_correct
    return paired_p_value(gains, 0, n, delta0=_delta0(test, bound))


def _delta0(test: GateTest, bound: float) -> float:
    return bound if test == "superiority" else -bound


def examples_needed_at_best(
    test: GateTest, *, bound: float, alpha: float = 0.05, reference_rate: float | None = None
) -> int | None:
    """Fewest examples at which the best outcome passes; None where no number would do.

    reference_rate: share of examples that the reference gets right, where it is known; the candidate can gain only the
    others. A superiority gate whose bound is at least 1 - reference_rate cannot be passed at all.
    """

    def passes(n: int) -> bool:
        correct = None if reference_rate is None else math.ceil(reference_rate * n - 1e-9)
        return best_p_value(test, n, bound=bound, reference_correct=correct) <= alpha

    check_open("alpha", alpha, 0.0, 1.0)
    if test == "superiority" and reference_rate is not None and bound >= 1.0 - reference_rate:
        return None
    return _fewest(passes, 1)


def _fewest(passes: Callable[[int], bool], start: int) -> int | None:
    """Fewest n >= 1 that passes, for a condition that holds from some n on; None above _MOST."""
    high = max(start, 1)
    while not passes(high):
        if high >= _MOST:
            return None
        high = min(2 * high, _MOST)
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return high


def gains_needed(n: int, *, delta0: float, alpha: float = 0.05, losses: int = 0) -> int | None:
    """Fewest gains that reject Delta <= delta0 at alpha beside this many losses; None where no number does."""
    check_count("losses", losses)
    check_count("n", n, least=max(losses, 1))
    needed = int(rejection_region(n, delta0, alpha)[losses])
    return needed if needed <= n - losses else None


def losses_tolerated(n: int, *, margin: float, alpha: float = 0.05) -> int | None:
    """Most losses, without any gain, that still pass non-inferiority within margin; None where not even 0 does."""
    check_open("margin", margin, 0.0, 1.0)
    passing = (rejection_region(n, -margin, alpha) == 0).nonzero()[0]
    return int(passing[-1]) if passing.size else None


def successes_needed(n: int, *, p0: float, alpha: float = 0.05) -> int | None:
    """Fewest successes of n that reject a rate <= p0 at alpha; None where not even n do."""
    check_count("n", n, least=1)
    if binomial_p_value(n, n, p0=p0, alternative="greater") > alpha:
        return None
    return _fewest(lambda k: k >= n or binomial_p_value(k, n, p0=p0, alternative="greater") <= alpha, n)


def smallest_margin(n: int, *, alpha: float = 0.05) -> float:
    """Smallest non-inferiority margin that n examples without any flip can certify: 1 - alpha^(1/n).

    So at the usual alpha; at one below about 0.04 the exact test needs more, and this is a bound from below.
    """
    check_count("n", n, least=1)
    check_open("alpha", alpha, 0.0, 1.0)
    return -math.expm1(math.log(alpha) / n)


def floor_power(n: int, *, p0: float, rate: float, alpha: float = 0.05) -> float:
    """Exact chance that a floor gate passes at n where the true rate is `rate`."""
    needed = successes_needed(n, p0=p0, alpha=alpha)
    return 0.0 if needed is None else binomial_p_value(needed, n, p0=rate, alternative="greater")


def paired_power(n: int, *, delta0: float, delta: float, flip_rate: float, alpha: float = 0.05) -> float:
    """Exact chance that a paired gate passes at n where the truth is Delta = delta with this flip rate.

    flip_rate: P(gain) + P(loss), so at least |delta|. Exact at every n whose test is exact; fast up to
    PLAN_EXACT_MAX_N, and cached by (n, delta0, alpha) so that further truths are nearly free.
    """
    gain_rate, loss_rate = _rates(delta, flip_rate)
    return region_probability(n, rejection_region(n, delta0, alpha), gain_rate, loss_rate)


def _rates(delta: float, flip_rate: float) -> tuple[float, float]:
    check_closed("delta", delta, -1.0, 1.0)
    check_closed("flip_rate", flip_rate, abs(delta) - 1e-12, 1.0)
    return max((flip_rate + delta) / 2.0, 0.0), max((flip_rate - delta) / 2.0, 0.0)


def examples_for_floor_power(*, p0: float, rate: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """About the fewest examples at which a floor gate passes with this chance; None where rate <= p0.

    Power rises in a saw-tooth: the answer reaches it, and one example fewer does not.
    """
    check_open("power", power, 0.0, 1.0)
    if rate <= p0:
        return None
    return _fewest(lambda n: floor_power(n, p0=p0, rate=rate, alpha=alpha) >= power, 16)


def examples_for_power(
    *, delta0: float, delta: float, flip_rate: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """About the fewest examples at which a paired gate passes with this chance; None where delta <= delta0.

    Exact up to PLAN_EXACT_MAX_N (the answer reaches the power and one example fewer does not), the normal approximation
    beyond. For a run of K gates that should ship with chance 1 - b, plan each gate at power 1 - b / K.
    """
    check_open("power", power, 0.0, 1.0)
    check_open("alpha", alpha, 0.0, 1.0)
    _rates(delta, flip_rate)
    if delta <= delta0:
        return None

    def reaches(n: int) -> bool:
        return paired_power(n, delta0=delta0, delta=delta, flip_rate=flip_rate, alpha=alpha) >= power

    about = _examples_approximate(delta0, delta, flip_rate, alpha, power)
    if about > PLAN_EXACT_MAX_N and not reaches(PLAN_EXACT_MAX_N):
        return about if about <= _MOST else None
    return _fewest(reaches, min(about, PLAN_EXACT_MAX_N))


def _examples_approximate(delta0: float, delta: float, flip_rate: float, alpha: float, power: float) -> int:
    """Examples for this power if Tango's statistic were normal, with its variances at the truth and at the null."""
    null, truth = _deviations(delta0, delta, flip_rate)
    spread = -special.ndtri(alpha) * null + special.ndtri(power) * truth
    # The gap may be tiny: no more than this is ever planned for, and its square must be a number.
    root = min(max(float(spread), 0.0) / (delta - delta0), float(_MOST))
    return max(math.ceil(root**2), 1)


def _deviations(delta0: float, delta: float, flip_rate: float) -> tuple[float, float]:
    """Standard deviation of one pair's difference under the null next to this truth, and under the truth."""
    gain_rate, loss_rate = _rates(delta, flip_rate)
    # Tango's restricted estimate of the loss rate, at the table expected under the truth.
    linear = -gain_rate - loss_rate + (2.0 - gain_rate + loss_rate) * delta0
    constant = -loss_rate * delta0 * (1.0 - delta0)
    null_loss = max((-linear + math.sqrt(max(linear * linear - 8.0 * constant, 0.0))) / 4.0, 0.0)
    null_variance = 2.0 * null_loss + delta0 * (1.0 - delta0)
    return math.sqrt(max(null_variance, 0.0)), math.sqrt(max(flip_rate - delta * delta, 0.0))


def paired_power_approximate(n: int, *, delta0: float, delta: float, flip_rate: float, alpha: float = 0.05) -> float:
    """`paired_power` by the normal approximation of Tango's test: at once, at any n."""
    check_count("n", n, least=1)
    check_open("alpha", alpha, 0.0, 1.0)
    null, truth = _deviations(delta0, delta, flip_rate)
    shift = math.sqrt(n) * (delta - delta0) + float(special.ndtri(alpha)) * null
    return float(special.ndtr(shift / max(truth, 1e-12)))


def examples_approximate(
    *, delta0: float, delta: float, flip_rate: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """`examples_for_power` by the normal approximation: at once; None where delta <= delta0."""
    check_open("power", power, 0.0, 1.0)
    check_open("alpha", alpha, 0.0, 1.0)
    return None if delta <= delta0 else _examples_approximate(delta0, delta, flip_rate, alpha, power)


def margin_at_power(n: int, *, flip_rate: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest non-inferiority margin, in whole thousandths, certified with this chance if nothing truly changed.

    Exact; None where no margin below 1 is. The flip rate is taken to be half gains and half losses.
    """
    check_count("n", n, least=1)
    check_open("power", power, 0.0, 1.0)

    def reaches(thousandths: int) -> bool:
        margin = thousandths / 1000.0
        return paired_power(n, delta0=-margin, delta=0.0, flip_rate=flip_rate, alpha=alpha) >= power

    low, high = 0, 999
    if not reaches(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high / 1000.0
