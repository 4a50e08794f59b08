"""Rates and paired comparisons: exact where scores are 0 or 1, betting elsewhere, and never easier at harder bounds."""

from __future__ import annotations

import math

import pytest
from answered import yes
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.gates.measure import BETTING, Levels, compare, measure_rate, unit_means
from pytest_ftgate.results import Comparison

quick = settings(max_examples=20, deadline=None)
LEVELS = Levels()


def alone(values: list[float]) -> list[None]:
    return [None] * len(values)


def table(gains: int, losses: int, n: int, delta0: float) -> Comparison:
    ours = [1.0] * gains + [0.0] * losses + [1.0] * (n - gains - losses)
    theirs = [0.0] * gains + [1.0] * losses + [1.0] * (n - gains - losses)
    return compare(ours, theirs, alone(ours), name="base", delta0=delta0)


def test_f63_levels_share_alpha_only_for_failing() -> None:
    assert Levels(0.05, 5).alpha_fail == pytest.approx(0.01)
    assert Levels(0.05, 0).alpha_fail == 0.05
    assert Levels(0.05, 5).alpha == 0.05


@pytest.mark.parametrize(("right", "n", "floor", "lower"), [(96, 100, 0.9, 0.9108), (188, 200, 0.9, 0.9046)])
def test_a_binary_rate_against_published_bounds(right: int, n: int, floor: float, lower: float) -> None:
    values = [float(word == "yes") for word in yes(right, n)]
    rate = measure_rate(values, alone(values), floor, LEVELS)
    assert (rate.n, rate.value, rate.method) == (n, right / n, "exact binomial")
    assert rate.certified == pytest.approx(lower, abs=5e-5)
    assert rate.p_good == pytest.approx(stats.binomial_p_value(right, n, p0=floor, alternative="greater"))
    assert rate.p_bad == pytest.approx(stats.binomial_p_value(right, n, p0=floor, alternative="less"))
    assert rate.interval == pytest.approx(stats.clopper_pearson(right, n))


@pytest.mark.parametrize(
    ("gains", "losses", "n", "delta0", "p"),
    [
        (12, 2, 50, 0.0, 0.00375),
        (12, 2, 50, 0.05, 0.02183),
        (1, 3, 100, -0.05, 0.12979),
        (0, 0, 60, -0.05, 0.04607),
        (0, 0, 60, -0.02, 0.29755),
    ],
)
def test_a_binary_pair_against_the_oracles(gains: int, losses: int, n: int, delta0: float, p: float) -> None:
    c = table(gains, losses, n, delta0)
    assert c.p_good == pytest.approx(p, abs=6e-6)
    assert (c.n, c.gains, c.losses, c.ties, c.delta0) == (n, gains, losses, n - gains - losses, delta0)
    assert c.delta == pytest.approx((gains - losses) / n)
    assert c.candidate - c.base == pytest.approx(c.delta)
    assert (c.method, c.confidence) == ("exact unconditional", 0.95)
    assert c.interval == pytest.approx(stats.tango_interval(gains, losses, n))
    assert c.p_bad == pytest.approx(stats.paired_p_value(losses, gains, n, delta0=-delta0))


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 30), st.sampled_from([-0.1, -0.02, 0.0, 0.03, 0.1]))
@quick
def test_swapping_the_sides_mirrors_everything(gains: int, losses: int, ties: int, delta0: float) -> None:
    n = gains + losses + ties
    one, other = table(gains, losses, n, delta0), table(losses, gains, n, -delta0)
    assert one.delta == pytest.approx(-other.delta)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=1e-6)
    # p_good may only be raised, to where an easier bound is.
    assert other.p_good >= one.p_bad - 1e-12


def test_p10_where_the_exact_p_value_dips() -> None:
    """16 gains and 6 losses of 40: p is 0.0512 at 4 points and falls to 0.0483 above."""
    raw = [stats.paired_p_value(16, 6, 40, delta0=points / 1000) for points in range(0, 120, 5)]
    assert raw != sorted(raw)
    steady = [table(16, 6, 40, points / 1000).p_good for points in range(0, 120, 5)]
    decisive = [p for p in steady if p <= 0.1]
    assert decisive == sorted(decisive)
    assert all(a >= b for a, b in zip(steady, raw, strict=True))
    assert [p <= 0.05 for p in steady] == sorted([p <= 0.05 for p in steady], reverse=True)
    assert steady[8] > 0.05
    assert table(16, 6, 40, 0.05).p_good > 0.05 > raw[10]


@given(
    st.integers(0, 25), st.integers(0, 10), st.integers(1, 40), st.lists(st.integers(-40, 40), min_size=2, max_size=5)
)
@quick
def test_p10_for_pairs(gains: int, losses: int, ties: int, bounds: list[int]) -> None:
    passed = [table(gains, losses, gains + losses + ties, b / 200).p_good <= 0.05 for b in sorted(bounds)]
    assert passed == sorted(passed, reverse=True)


scores = st.lists(st.sampled_from([0.0, 0.25, 0.6, 0.9, 1.0]), min_size=8, max_size=60)


@given(scores, st.lists(st.integers(2, 198), min_size=2, max_size=5), st.booleans())
@quick
def test_p10_for_rates(values: list[float], floors: list[int], binary: bool) -> None:
    if binary:
        values = [float(v > 0.5) for v in values]
    rates = [measure_rate(values, alone(values), f / 200, LEVELS) for f in sorted(floors)]
    passed = [rate.p_good <= 0.05 for rate in rates]
    assert passed == sorted(passed, reverse=True)
    for rate, f in zip(rates, sorted(floors), strict=True):
        assert 0.0 <= rate.interval[0] <= rate.value + 1e-9 <= rate.interval[1] + 2e-9 <= 1.0 + 3e-9
        if rate.p_good <= 0.05:
            assert rate.certified >= f / 200 - 1e-12


@given(scores, st.data())
@quick
def test_a_graded_pair_bets_and_is_repeatable(ours: list[float], data: st.DataObject) -> None:
    ours = [*ours, 0.3]
    theirs = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=len(ours), max_size=len(ours)))
    one, two = (compare(ours, theirs, alone(ours), name="base", delta0=-0.1) for _ in range(2))
    assert one == two
    assert one.method == BETTING
    assert one.gains + one.losses + one.ties == one.n == len(ours)
    assert one.interval[0] <= one.delta <= one.interval[1]


def test_one_graded_score_on_either_side_is_enough_to_bet() -> None:
    right, mixed = [1.0] * 30, [*[1.0] * 29, 0.5]
    assert compare(right, mixed, alone(right), name="base", delta0=0.0).method == BETTING
    assert compare(mixed, right, alone(right), name="base", delta0=0.0).method == BETTING
    # Differences of -1, 0 and 1 do not make scores binary.
    assert compare(mixed, mixed, alone(right), name="base", delta0=-0.5).method == BETTING
    assert compare(right, right, alone(right), name="base", delta0=-0.5).method == "exact unconditional"


def test_clusters_are_averaged_and_few_are_refused() -> None:
    values = [1.0, 0.0, 1.0, 1.0] * 8
    clusters = [f"c{i // 4}" for i in range(32)]
    assert unit_means(values, clusters) == [0.75] * 8
    assert unit_means(values, alone(values)) == values
    with pytest.raises(ScoringError, match="at least 8 clusters are needed to judge, found 7"):
        unit_means(values[:28], clusters[:28])
    rate = measure_rate(values, clusters, 0.5, LEVELS)
    assert (rate.n, rate.value, rate.method) == (8, 0.75, BETTING)
    whole = measure_rate([1.0] * 32, clusters, 0.5, LEVELS)
    assert (whole.n, whole.method) == (8, "exact binomial")


def test_clusters_weigh_the_same_whatever_their_size() -> None:
    clusters = ["big"] * 93 + [f"c{i}" for i in range(7)]
    rate = measure_rate([1.0] * 93 + [0.0] * 7, clusters, 0.5, LEVELS)
    assert (rate.n, rate.value) == (8, 0.125)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 1.5, -0.5])
def test_p5_no_number_comes_out_of_a_broken_score(broken: float) -> None:
    values = [*[0.9] * 30, broken]
    with pytest.raises(ValueError, match="outside"):
        measure_rate(values, alone(values), 0.5, LEVELS)
    with pytest.raises(ValueError, match="outside"):
        compare(values, [0.5] * 31, alone(values), name="base", delta0=0.0)
    clusters = [f"c{i}" for i in range(31)]
    with pytest.raises(ValueError, match="outside"):
        measure_rate(values, clusters, 0.5, LEVELS)


def test_nothing_to_judge_is_no_rate() -> None:
    with pytest.raises(ValueError, match="at least one"):
        measure_rate([], [], 0.5, LEVELS)
    with pytest.raises(ValueError, match=r".+"):
        compare([], [], [], name="base", delta0=0.0)
    with pytest.raises(ValueError, match=r".+"):
        compare([1.0], [1.0, 0.0], [None], name="base", delta0=0.0)
