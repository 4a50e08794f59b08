"""Holm, the three values, their reasons; planning before a run."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.stats import (
    best_p_value,
    decide,
    examples_for_floor_power,
    examples_for_power,
    examples_needed_at_best,
    floor_power,
    gains_needed,
    holm,
    inconclusive_reason,
    losses_tolerated,
    margin_at_power,
    paired_power,
    smallest_margin,
    successes_needed,
)

p_lists = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(p_lists)
def test_holm_is_the_closure_of_bonferroni(p_values: list[float]) -> None:
    """Adjusted p of a hypothesis = the largest Bonferroni p over all the intersections that hold it."""
    for i, adjusted in enumerate(holm(p_values)):
        others = [j for j in range(len(p_values)) if j != i]
        sets = [[i, *rest] for size in range(len(p_values)) for rest in combinations(others, size)]
        closure = max(min(1.0, len(s) * min(p_values[j] for j in s)) for s in sets)
        assert adjusted == pytest.approx(closure)


@given(p_lists, st.randoms(use_true_random=False))
def test_holm_keeps_order_and_ignores_arrangement(p_values: list[float], random: object) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    ranked = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in ranked] == sorted(adjusted)
    assert holm(p_values[::-1]) == adjusted[::-1]


@pytest.mark.parametrize(
    ("p_good", "p_bad", "decision"),
    [(0.05, 0.95, "PASS"), (0.0501, 0.05, "FAIL"), (0.2, 0.2, "INCONCLUSIVE"), (1.0, 0.0, "FAIL")],
)
def test_decide(p_good: float, p_bad: float, decision: str) -> None:
    assert decide(p_good, p_bad, alpha=0.05, fail_alpha=0.05) == decision


def test_reasons() -> None:
    assert inconclusive_reason(0.2, 150, 100, alpha=0.05) == "CANNOT_PASS_AT_N"
    assert inconclusive_reason(0.2, None, 100, alpha=0.05) == "CANNOT_PASS_AT_N"
    assert inconclusive_reason(0.05, 101, 100, alpha=0.05) == "UNDERPOWERED"
    assert inconclusive_reason(0.04, 100, 100, alpha=0.05) == "NEAR_MARGIN"
    assert inconclusive_reason(0.04, None, 100, alpha=0.05) == "NEAR_MARGIN"
    with pytest.raises(ValueError, match="best_p"):
        inconclusive_reason(math.nan, 101, 100, alpha=0.05)


@pytest.mark.parametrize("p_value", [-0.1, 1.1, math.nan, math.inf, -math.inf])
def test_impossible_p_values_are_refused(p_value: float) -> None:
    with pytest.raises(ValueError, match="p-value"):
        holm([0.5, p_value])
    with pytest.raises(ValueError, match="p_good"):
        decide(p_value, 0.5, alpha=0.05, fail_alpha=0.05)
    with pytest.raises(ValueError, match="p_bad"):
        decide(0.01, p_value, alpha=0.05, fail_alpha=0.05)


@given(p_lists)
def test_holm_blocks_a_run_exactly_where_bonferroni_does(p_values: list[float]) -> None:
    """Holm's first step is Bonferroni's: it can only name more gates in a run that is blocked already."""
    assert (min(holm(p_values)) <= 0.05) == (len(p_values) * min(p_values) <= 0.05)


def test_sixty_examples_cannot_certify_two_points() -> None:
    assert best_p_value("non_inferiority", 60, bound=0.02) == pytest.approx(0.98**60)
    assert examples_needed_at_best("non_inferiority", bound=0.02) == 149
    assert best_p_value("non_inferiority", 148, bound=0.02) > 0.05 >= best_p_value("non_inferiority", 149, bound=0.02)


def test_gains_can_rescue_a_small_forgetting_set() -> None:
    assert gains_needed(60, delta0=-0.02) == 2
    assert best_p_value("non_inferiority", 60, bound=0.02, reference_correct=58) <= 0.05
    assert best_p_value("non_inferiority", 60, bound=0.02, reference_correct=59) > 0.05


def test_smallest_margins() -> None:
    sizes = (20, 30, 50, 60, 80, 100, 149, 200, 299, 500)
    points = [round(100 * smallest_margin(n), 1) for n in sizes]
    assert points == [13.9, 9.5, 5.8, 4.9, 3.7, 3.0, 2.0, 1.5, 1.0, 0.6]


@pytest.mark.parametrize(
    ("margin", "tolerated"),
    [
        (0.02, {100: None, 148: None, 149: 0}),
        (0.05, {50: None, 60: 0, 100: 1, 200: 4, 500: 16}),
        (0.10, {50: 1, 100: 4, 200: 12}),
    ],
)
def test_losses_tolerated(margin: float, tolerated: dict[int, int | None]) -> None:
    assert {n: losses_tolerated(n, margin=margin) for n in tolerated} == tolerated


@pytest.mark.parametrize(("n", "needed"), [(50, [3, 5, 7]), (100, [3, 6, 10]), (200, [3, 9, 16])])
def test_gains_needed(n: int, needed: list[int]) -> None:
    assert [gains_needed(n, delta0=gain) for gain in (0.0, 0.02, 0.05)] == needed


def test_successes_needed() -> None:
    assert [successes_needed(n, p0=0.90) for n in (50, 100, 200, 500)] == [49, 96, 188, 462]
    assert [successes_needed(n, p0=0.95) for n in (58, 59, 100, 200)] == [None, 59, 99, 196]
    assert [successes_needed(n, p0=0.99) for n in (298, 500)] == [None, 499]


def test_examples_needed_at_best() -> None:
    assert examples_needed_at_best("floor", bound=0.95) == 59
    assert examples_needed_at_best("floor", bound=0.99) == 299
    assert examples_needed_at_best("superiority", bound=0.05, reference_rate=0.90) == 100
    assert examples_needed_at_best("superiority", bound=0.10, reference_rate=0.90) is None
    assert examples_needed_at_best("floor", bound=1.0) is None


@pytest.mark.parametrize(
    ("delta0", "delta", "flip_rate", "powers"),
    [
        (-0.05, 0.00, 0.02, {20: 0.014, 50: 0.245, 60: 0.587, 100: 0.789, 200: 0.986}),
        (-0.05, 0.05, 0.15, {20: 0.246, 50: 0.474, 60: 0.596, 100: 0.796, 200: 0.976}),
        (0.00, 0.10, 0.20, {20: 0.166, 50: 0.455, 60: 0.532, 100: 0.743, 200: 0.944}),
        (0.05, 0.15, 0.25, {20: 0.183, 50: 0.377, 60: 0.464, 100: 0.601, 200: 0.904, 500: 0.999}),
        (0.05, 0.20, 0.30, {20: 0.314, 50: 0.601, 60: 0.709, 100: 0.869, 200: 0.994}),
        (-0.05, -0.05, 0.11, {50: 0.030, 60: 0.040, 100: 0.041, 200: 0.042, 500: 0.046}),
    ],
)
def test_power_table(delta0: float, delta: float, flip_rate: float, powers: dict[int, float]) -> None:
    for n, power in powers.items():
        assert paired_power(n, delta0=delta0, delta=delta, flip_rate=flip_rate) == pytest.approx(power, abs=6e-4)


@pytest.mark.parametrize(
    ("flip_rate", "margins"),
    [(0.02, {30: 14.9, 60: 7.7}), (0.05, {50: 9.9, 80: 7.7}), (0.10, {60: 11.5})],
)
def test_margin_at_power(flip_rate: float, margins: dict[int, float]) -> None:
    for n, points in margins.items():
        found = margin_at_power(n, flip_rate=flip_rate)
        assert found is not None
        # Rounded up to a tenth of a point here, to the nearest there.
        assert 100 * found == pytest.approx(points, abs=0.11)


def test_floor_power() -> None:
    for rate, n, p0 in ((0.983, 50, 0.90), (0.969, 100, 0.90), (0.992, 100, 0.95)):
        assert floor_power(n, p0=p0, rate=rate) == pytest.approx(0.8, abs=0.011)
    needed = examples_for_floor_power(p0=0.85, rate=0.95)
    assert needed is not None
    assert floor_power(needed, p0=0.85, rate=0.95) >= 0.8 > floor_power(needed - 1, p0=0.85, rate=0.95)
    assert examples_for_floor_power(p0=0.9, rate=0.9) is None


def test_examples_for_power() -> None:
    needed = examples_for_power(delta0=-0.05, delta=0.0, flip_rate=0.06)
    assert needed is not None
    assert needed == pytest.approx(188, abs=2)
    assert paired_power(needed, delta0=-0.05, delta=0.0, flip_rate=0.06) >= 0.8
    assert paired_power(needed - 1, delta0=-0.05, delta=0.0, flip_rate=0.06) < 0.8
    assert examples_for_power(delta0=0.05, delta=0.05, flip_rate=0.1) is None


@pytest.mark.parametrize(("margin", "flip_rate", "about"), [(0.01, 0.02, 1402), (0.02, 0.10, 1587), (0.02, 0.05, 842)])
def test_large_plans_use_the_normal_approximation(margin: float, flip_rate: float, about: int) -> None:
    assert examples_for_power(delta0=-margin, delta=0.0, flip_rate=flip_rate) == pytest.approx(about, rel=0.01)


def test_planning_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="flip_rate"):
        paired_power(50, delta0=0.0, delta=0.2, flip_rate=0.1)
    with pytest.raises(ValueError, match="n must"):
        smallest_margin(0)
    with pytest.raises(ValueError, match="gains"):
        best_p_value("superiority", 50, bound=0.1, reference_correct=51)
