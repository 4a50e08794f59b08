"""Why a gate could not decide: the reason, the clause, and advice that works when it is followed."""

from __future__ import annotations

import pytest
from answered import yes

from pytest_ftgate import stats
from pytest_ftgate.gates.examples_needed import Shortfall, exact_percent, exact_points, paired_shortfall, rate_shortfall
from pytest_ftgate.gates.measure import BETTING, Levels, compare, measure_rate


def rate(values: list[float], floor: float, *, unit: str = "examples") -> Shortfall:
    measured = measure_rate(values, [None] * len(values), floor, Levels())
    assert measured.p_good > 0.05
    return rate_shortfall(measured, values, floor, 0.05, unit=unit)


def binary(right: int, n: int) -> list[float]:
    return [float(word == "yes") for word in yes(right, n)]


def pairs(ours: list[float], theirs: list[float], delta0: float, reference: str = "base") -> Shortfall:
    c = compare(ours, theirs, [None] * len(ours), name=reference, delta0=delta0)
    assert c.p_good > 0.05
    return paired_shortfall(c, ours, theirs, 0.05, unit="examples")


def flips(gains: int, losses: int, n: int, right: bool = True) -> tuple[list[float], list[float]]:
    ties = [float(right)] * (n - gains - losses)
    return [1.0] * gains + [0.0] * losses + ties, [0.0] * gains + [1.0] * losses + ties


@pytest.mark.parametrize(
    ("bound", "shown"),
    [(0.05, "5.0"), (0.95, "95.0"), (0.0125, "1.25"), (0.9995, "99.95"), (0.0, "0.0"), (0.07, "7.0")],
)  # fmt: skip
def test_bounds_are_shown_as_they_are(bound: float, shown: str) -> None:
    assert exact_percent(bound) == f"{shown}%"
    assert exact_points(bound) == f"{shown} points"


@pytest.mark.parametrize(("n", "floor", "needed"), [(58, 0.95, 59), (28, 0.9, 29), (100, 0.99, 299)])
def test_a_floor_no_outcome_can_reach(n: int, floor: float, needed: int) -> None:
    said = rate(binary(n, n), floor)
    assert said.reason == "CANNOT_PASS_AT_N"
    assert said.why == f"{n} examples cannot certify a floor of {exact_percent(floor)} whatever the model answers"
    assert said.fix == f"use at least {needed} examples"


def test_a_rate_at_or_below_its_floor_is_near_the_margin() -> None:
    said = rate(binary(90, 100), 0.9)
    assert (said.reason, said.why) == ("NEAR_MARGIN", "the measured 90.0% is not above the floor")
    assert "improve the model" in said.fix


@pytest.mark.parametrize(("right", "n", "floor"), [(95, 100, 0.9), (48, 50, 0.9), (59, 60, 0.95)])
def test_as_many_examples_as_advised_have_the_power_that_is_said(right: int, n: int, floor: float) -> None:
    said = rate(binary(right, n), floor)
    assert said.reason == "UNDERPOWERED"
    needed = int(said.fix.split()[2])
    assert said.fix == f"use about {needed} examples (80% power if {right / n:.1%} is true)"
    assert needed > n
    assert stats.floor_power(needed, p0=floor, rate=right / n) >= 0.8
    assert stats.floor_power(needed - 1, p0=floor, rate=right / n) < 0.8


def test_sixty_examples_and_two_points() -> None:
    said = pairs(*flips(0, 0, 60), -0.02)
    assert said == Shortfall(
        "CANNOT_PASS_AT_N",
        "60 examples cannot certify a loss below 2.0 points without improving on the base",
        "use at least 149 examples",
    )


def test_where_the_base_leaves_room_gains_could_have_certified_it() -> None:
    """Base right on 54 of 60: six gains would have passed, so more examples at no loss are the honest advice."""
    said = pairs(binary(54, 60), binary(54, 60), -0.02)
    assert (said.reason, said.fix) == ("UNDERPOWERED", "use about 149 examples (80% power if +0.0 points is true)")


def test_a_gain_that_a_good_baseline_leaves_no_room_for() -> None:
    said = pairs(*flips(2, 0, 100), 0.05, "baseline:few_shot")
    assert said.reason == "CANNOT_PASS_AT_N"
    assert said.why == "baseline:few_shot scores 98.0%, which leaves no room for a gain above 5.0 points"
    assert said.fix == "ship that prompt, or use harder examples"
    tight = pairs(*flips(8, 0, 100), 0.05, "baseline:few_shot")
    assert tight.reason == "CANNOT_PASS_AT_N"
    needed = int(tight.fix.split()[3])
    correct = -(-92 * needed // 100)
    assert stats.best_p_value("superiority", needed, bound=0.05, reference_correct=correct) <= 0.05


def test_a_drop_of_zero_is_never_advised_to_ship_a_prompt() -> None:
    said = pairs(binary(60, 60), binary(60, 60), -0.0)
    assert (said.reason, said.fix) == ("CANNOT_PASS_AT_N", "allow a larger max_drop")


def test_a_difference_at_or_below_its_bound_is_near_the_margin() -> None:
    said = pairs(*flips(0, 5, 100), -0.05)
    assert (said.reason, said.why) == ("NEAR_MARGIN", "the measured -5.0 points is not above -5.0 points")
    said = pairs(*flips(9, 5, 60, right=False), 0.1, "baseline:few_shot")
    assert said.why == "the measured +6.7 points is not above +10.0 points"


def test_a_pair_is_told_how_many_examples_have_the_power_that_is_said() -> None:
    said = pairs(*flips(8, 2, 40, right=False), 0.02, "baseline:few_shot")
    assert said.reason == "UNDERPOWERED"
    needed = int(said.fix.split()[2])
    assert said.fix.endswith("(80% power if +15.0 points is true)")
    assert needed > 40
    assert stats.paired_power(needed, delta0=0.02, delta=0.15, flip_rate=0.25) >= 0.8


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_graded_ties_are_told_how_many_examples_pass(margin: float) -> None:
    n = 20
    said = pairs([0.9] * n, [0.9] * n, -margin)
    needed = int("".join(c for c in said.fix.split("examples")[0] if c.isdigit()))
    more = [0.9] * needed
    c = compare(more, more, [None] * needed, name="base", delta0=-margin)
    assert (c.method, c.p_good <= 0.05) == (BETTING, True)
    assert needed < 1.2 * stats.examples_needed_at_best("non_inferiority", bound=margin)  # type: ignore[operator]


def test_graded_scores_are_told_about_how_many_like_them_pass() -> None:
    values = [0.95, 0.6, 0.9, 0.75] * 8
    said = rate(values, 0.75, unit="clusters")
    assert (said.reason, said.why) == ("UNDERPOWERED", "32 clusters are too few")
    needed = int(said.fix.split()[2])
    assert said.fix == f"use about {needed} clusters (if they score like these)"
    more = (values * 20)[:needed]
    assert measure_rate(more, [None] * needed, 0.75, Levels()).p_good <= 0.05


def test_a_graded_best_case_is_that_of_the_betting_process() -> None:
    """Exact tests certify 5 points with 59 ties; bets need a few more, and where those are out of reach it is said."""
    base = [0.999] * 59
    said = pairs([0.999] * 59, base, -0.05)
    assert said.reason == "CANNOT_PASS_AT_N"
    needed = int(said.fix.split()[3])
    best = compare([1.0] * needed, [0.999] * needed, [None] * needed, name="base", delta0=-0.05)
    assert best.p_good <= 0.05
