"""Graded scores and clusters: validity by enumeration, power, refusals."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ftgate.stats import (
    NotApproximable,
    TooFewClusters,
    cluster_means,
    clustered_t_test,
    graded_interval,
    graded_lower_bound,
    graded_p_value,
)


def laws_with_mean(mean: float) -> list[tuple[float, float, float]]:
    """Probabilities of -1, 0, 1 with this mean, from no spread to the largest."""
    spreads = np.linspace(abs(mean), 1.0, 9)
    return [((s - mean) / 2, 1.0 - s, (s + mean) / 2) for s in spreads]


@pytest.mark.parametrize("mean0", [-0.3, -0.05, 0.0, 0.1])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_betting_p_value_is_valid_by_enumeration(mean0: float, alpha: float) -> None:
    """Every sequence of seven values in {-1, 0, 1}: P(p <= level) <= level wherever the mean is at most mean0."""
    paths = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=7)))
    p_values = np.array([graded_p_value(list(p), mean0=mean0, low=-1, high=1, seed=3, alpha=alpha) for p in paths])
    for mean in (mean0, mean0 - 0.1):
        for law in laws_with_mean(mean):
            weights = np.prod(np.asarray(law)[(paths + 1).astype(int)], axis=1)
            assert weights.sum() == pytest.approx(1.0)
            for level in (0.5, 0.3, 0.1, 0.05, 0.01):
                assert weights[p_values <= level].sum() <= level + 1e-9


def test_betting_rarely_ships_at_the_boundary_where_t_does() -> None:
    """Rare big losses: mean exactly at the margin, one value in twenty is -1."""
    rng = np.random.default_rng(11)
    ships, t_ships, runs = 0, 0, 400
    for run in range(runs):
        values = np.where(rng.random(60) < 0.05, -1.0, 0.0)
        ships += graded_p_value(list(values), mean0=-0.05, low=-1, high=1, seed=run) <= 0.05
        error = values.std(ddof=1) / math.sqrt(60)
        t_ships += (values.mean() + 0.05) > 1.671 * error
    # 0.05 and three binomial standard errors of 400 runs.
    assert ships / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert t_ships / runs > 0.12


@pytest.mark.parametrize(("n", "least"), [(60, 0.45), (100, 0.7), (200, 0.95)])
def test_betting_has_power_on_ordinary_differences(n: int, least: float) -> None:
    rng = np.random.default_rng(5)
    passed = 0
    for run in range(100):
        values = np.clip(rng.normal(0.1, 0.34, n), -1, 1)
        passed += graded_p_value(list(values), mean0=0.0, low=-1, high=1, seed=run) <= 0.05
    assert passed / 100 >= least


def test_overwhelming_evidence_goes_far_below_alpha() -> None:
    assert graded_p_value([1.0] * 200, mean0=0.2, low=0, high=1, seed=0) < 1e-10


def test_no_evidence_is_one() -> None:
    assert graded_p_value([0.0] * 50, mean0=0.5, low=0, high=1, seed=0) == 1.0


def test_first_stake_by_hand() -> None:
    """One value, alpha 0.5: bet min(sqrt(2 ln 2 / (1/16)), 0.97 / 0.5) = 1.94; capital 1 + 1.94 * 0.5."""
    assert graded_p_value([1.0], mean0=0.5, low=0, high=1, seed=0, alpha=0.5) == pytest.approx(1 / 1.97)


def test_seed_fixes_the_order() -> None:
    values = list(np.random.default_rng(2).random(40))
    first = graded_p_value(values, mean0=0.4, low=0, high=1, seed=9)
    assert first == graded_p_value(values, mean0=0.4, low=0, high=1, seed=9)
    assert first != graded_p_value(values, mean0=0.4, low=0, high=1, seed=10)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(0, 3))
def test_bound_and_interval_hold_the_mean(values: list[float], seed: int) -> None:
    bound = graded_lower_bound(values, low=0, high=1, seed=seed)
    low, high = graded_interval(values, low=0, high=1, seed=seed)
    mean = float(np.mean(values))
    assert 0.0 <= low <= bound <= mean + 1e-6
    assert low <= mean + 1e-6
    assert mean <= high + 1e-6
    assert high <= 1.0


def test_lower_bound_agrees_with_the_p_value() -> None:
    values = list(np.clip(np.random.default_rng(4).normal(0.7, 0.2, 80), 0, 1))
    bound = graded_lower_bound(values, low=0, high=1, seed=1)
    assert graded_p_value(values, mean0=bound, low=0, high=1, seed=1) <= 0.05
    assert graded_p_value(values, mean0=bound + 1e-4, low=0, high=1, seed=1) > 0.05


@pytest.mark.slow
def test_interval_covers() -> None:
    rng, missed, runs = np.random.default_rng(8), [0, 0], 400
    for run in range(runs):
        values = list((rng.random(50) < 0.9).astype(float))
        low, high = graded_interval(values, low=0, high=1, seed=run)
        missed[0] += low > 0.9
        missed[1] += high < 0.9
    assert max(missed) / runs <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / runs)


@pytest.mark.parametrize(
    ("values", "mean0", "words"),
    [
        ([], 0.5, "at least 1"),
        ([0.2, 1.2, -3.0], 0.5, "2 of 3 values outside"),
        ([0.2, math.nan], 0.5, "1 of 2 values outside"),
        ([0.2], 0.0, "mean0"),
        ([0.2], 1.0, "mean0"),
        ([0.2], math.nan, "mean0"),
    ],
)
def test_impossible_values_are_refused(values: list[float], mean0: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        graded_p_value(values, mean0=mean0, low=0, high=1, seed=0)


def test_cluster_means_keep_the_order_of_appearance() -> None:
    values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.5]
    clusters = ["b", "a", "b", "c", "d", "e", "f", "g", "h", "b"]
    assert cluster_means(values, clusters) == [pytest.approx(2.5 / 3), 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0]


def test_fewer_than_eight_clusters_are_refused() -> None:
    with pytest.raises(TooFewClusters, match="found 7"):
        cluster_means([1.0] * 70, [i % 7 for i in range(70)])
    with pytest.raises(TooFewClusters):
        clustered_t_test([1.0] * 70, [i % 7 for i in range(70)], mean0=0.0)
    with pytest.raises(ValueError, match="2 values, 1 clusters"):
        cluster_means([1.0, 0.0], ["a"])


def test_clustered_t_only_where_it_may_be_trusted() -> None:
    mixed = [(-0.5, 0.5)[i % 2] for i in range(29)]
    with pytest.raises(NotApproximable, match="found 29"):
        clustered_t_test(mixed, range(29), mean0=-0.5)
    mostly_flat = [0.0] * 40 + [1.0] * 5 + [-1.0] * 4
    with pytest.raises(NotApproximable, match="5 and 4"):
        clustered_t_test(mostly_flat, range(49), mean0=-0.5)
    assert clustered_t_test([*mostly_flat, -1.0], range(50), mean0=-0.5).method == "CR1 + t (approximate)"


def test_clustered_t_on_singletons_is_the_one_sample_t_test() -> None:
    from scipy.stats import ttest_1samp

    values = list(np.random.default_rng(6).normal(0.1, 0.4, 40))
    expected = ttest_1samp(values, 0.0, alternative="greater")
    found = clustered_t_test(values, range(40), mean0=0.0)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high))


def test_clustered_t_keeps_its_level_under_dependence() -> None:
    rng, rejected, runs = np.random.default_rng(12), 0, 600
    clusters = np.repeat(np.arange(40), 5)
    for _ in range(runs):
        values = rng.normal(0, 0.3, 40)[clusters] + rng.normal(0, 0.3, 200)
        rejected += clustered_t_test(list(values), list(clusters), mean0=0.0).p_value <= 0.05
    assert rejected / runs == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / runs))
