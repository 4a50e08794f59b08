"""The exact paired test: its level, its supremum, its symmetries and its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from pytest_ftgate.stats import (
    binomial_p_value,
    binomial_upper_bound,
    clopper_pearson,
    critical_z,
    paired_p_value,
    rejection_region,
    tango_interval,
    tango_z,
)

MARGINS = (-0.2, -0.1, -0.05, -0.02, -0.005, 0.0, 0.005, 0.02, 0.05, 0.1, 0.2)


def trinomial(n: int, gain_rate: float, loss_rate: float) -> np.ndarray:
    """P(gains = i, losses = j) as an (n + 1, n + 1) array, by scipy's multinomial: none of the code under test."""
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    rest = n - i - j
    counts = np.stack([i, j, np.maximum(rest, 0)], axis=-1)
    tie_rate = max(1.0 - gain_rate - loss_rate, 0.0)
    pmf = scipy_stats.multinomial.pmf(counts, n, [gain_rate, loss_rate, tie_rate])
    return np.where(rest >= 0, np.nan_to_num(pmf), 0.0)


def region_mask(n: int, delta0: float, alpha: float) -> np.ndarray:
    """Whether (gains = i, losses = j) rejects, as an (n + 1, n + 1) array."""
    return np.arange(n + 1)[:, None] >= rejection_region(n, delta0, alpha)[None, :]


@st.composite
def tables(draw: st.DrawFn, most: int = 60) -> tuple[int, int, int]:
    n = draw(st.integers(1, most))
    gains = draw(st.integers(0, n))
    return gains, draw(st.integers(0, n - gains)), n


deltas = st.floats(-0.9, 0.9).map(lambda x: round(x, 3))


@given(tables(), deltas)
def test_score_rises_with_gains_and_falls_with_losses(table: tuple[int, int, int], delta0: float) -> None:
    gains, losses, n = table
    assume(gains + losses < n)
    here = tango_z(gains, losses, n, delta0=delta0)
    assert tango_z(gains + 1, losses, n, delta0=delta0) >= here - 1e-9
    assert tango_z(gains, losses + 1, n, delta0=delta0) <= here + 1e-9


@settings(max_examples=40, deadline=None)
@given(tables(), deltas)
def test_p_value_falls_with_gains_and_rises_with_losses(table: tuple[int, int, int], delta0: float) -> None:
    gains, losses, n = table
    assume(gains + losses < n)
    here = paired_p_value(gains, losses, n, delta0=delta0)
    assert 0.0 <= here <= 1.0
    assert paired_p_value(gains + 1, losses, n, delta0=delta0) <= here + 1e-9
    assert paired_p_value(gains, losses + 1, n, delta0=delta0) >= here - 1e-9


@given(tables(), deltas)
def test_mirror_symmetry_of_score_and_interval(table: tuple[int, int, int], delta0: float) -> None:
    gains, losses, n = table
    mirrored = tango_z(losses, gains, n, delta0=-delta0)
    assert tango_z(gains, losses, n, delta0=delta0) == pytest.approx(-mirrored, abs=1e-6)
    low, high = tango_interval(gains, losses, n)
    assert (-high, -low) == pytest.approx(tango_interval(losses, gains, n), abs=1e-6)
    assert low - 1e-9 <= (gains - losses) / n <= high + 1e-9


@settings(max_examples=60, deadline=None)
@given(tables(40), st.sampled_from(MARGINS))
def test_good_and_bad_direction_never_reject_together(table: tuple[int, int, int], delta0: float) -> None:
    gains, losses, n = table
    good = paired_p_value(gains, losses, n, delta0=delta0)
    bad = paired_p_value(losses, gains, n, delta0=-delta0)
    assert good + bad >= 1.0 - 1e-9


@pytest.mark.parametrize("n", [7, 20, 60])
@pytest.mark.parametrize("delta0", MARGINS)
def test_level_holds_on_the_whole_null_by_enumeration(n: int, delta0: float) -> None:
    """Not only on the boundary: Delta from delta0 downward, every flip rate on a grid."""
    rejects = region_mask(n, delta0, 0.05)
    for delta in (delta0, delta0 - 0.01, delta0 - 0.1):
        for flip_rate in np.linspace(abs(delta), 1.0, 24):
            size = trinomial(n, (flip_rate + delta) / 2, (flip_rate - delta) / 2)[rejects].sum()
            assert size <= 0.05 + 1e-9, (delta, flip_rate)


@pytest.mark.slow
@pytest.mark.parametrize("delta0", MARGINS)
def test_level_holds_for_every_n_to_60(delta0: float) -> None:
    for n in range(1, 61):
        for alpha in (0.05, 0.01):
            rejects = region_mask(n, delta0, alpha)
            for flip_rate in np.linspace(abs(delta0), 1.0, 60):
                size = trinomial(n, (flip_rate + delta0) / 2, (flip_rate - delta0) / 2)[rejects].sum()
                assert size <= alpha + 1e-9, (n, alpha, flip_rate)


@pytest.mark.parametrize(
    ("gains", "losses", "n", "delta0"),
    [
        (12, 2, 50, 0.05),
        (1, 3, 100, -0.05),
        (0, 0, 60, -0.02),
        (0, 0, 29, -0.1),
        (20, 5, 200, 0.0326),
        (30, 21, 120, 0.0),
    ],
)
def test_supremum_is_the_highest_of_a_dense_scan(gains: int, losses: int, n: int, delta0: float) -> None:
    """An independent p-value: every table by brute force, 1500 loss rates."""
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    inside = i + j <= n
    observed = tango_z(gains, losses, n, delta0=delta0)
    extreme = np.zeros(inside.shape, dtype=bool)
    for x, y in zip(i[inside], j[inside], strict=True):
        extreme[x, y] = tango_z(int(x), int(y), n, delta0=delta0) >= observed - 1e-9
    low, high = max(0.0, -delta0), (1.0 - delta0) / 2.0
    rates = low + (high - low) * np.linspace(0.0, 1.0, 1500) ** 2
    log_ways = scipy_stats.multinomial.logpmf(
        np.stack([i[extreme], j[extreme], n - i[extreme] - j[extreme]], axis=-1), n, [1 / 3, 1 / 3, 1 / 3]
    ) + n * math.log(3)
    highest = max(_extreme_probability(log_ways, i[extreme], j[extreme], n, q + delta0, q) for q in rates)
    found = paired_p_value(gains, losses, n, delta0=delta0)
    assert found >= highest - 1e-9
    assert found == pytest.approx(highest, abs=2e-4)


def _extreme_probability(log_ways: np.ndarray, i: np.ndarray, j: np.ndarray, n: int, gain: float, loss: float) -> float:
    gain, ties = max(gain, 0.0), max(1.0 - max(gain, 0.0) - loss, 0.0)
    return float(np.sum(np.exp(log_ways) * gain**i * loss**j * ties ** (n - i - j)))


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3, 0.01])
@pytest.mark.parametrize(("n", "delta0"), [(12, -0.1), (30, 0.0), (30, -0.05), (45, 0.05)])
def test_rejection_region_agrees_with_the_p_values(n: int, delta0: float, alpha: float) -> None:
    region = rejection_region(n, delta0, alpha)
    for losses in range(n + 1):
        for gains in {max(int(region[losses]) - 1, 0), min(int(region[losses]), n - losses)}:
            if gains + losses <= n:
                rejects = paired_p_value(gains, losses, n, delta0=delta0) <= alpha
                assert rejects == (gains >= region[losses])
                assert rejects == (tango_z(gains, losses, n, delta0=delta0) >= critical_z(n, delta0, alpha))


@pytest.mark.parametrize(("n", "margin"), [(1, 0.02), (20, 0.02), (60, 0.02), (149, 0.02), (1, 0.05), (60, 0.05)])
def test_no_flip_at_all(n: int, margin: float) -> None:
    assert paired_p_value(0, 0, n, delta0=-margin) == pytest.approx((1 - margin) ** n, abs=1e-9)
    assert paired_p_value(0, 0, n, delta0=0.0) == 1.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("delta0", [-0.999999, -1e-12, 0.0, 1e-12, 0.999999])
@pytest.mark.parametrize("n", [1, 2, 77])
def test_extreme_tables_and_margins_give_probabilities(n: int, delta0: float) -> None:
    for gains, losses in ((0, 0), (n, 0), (0, n), (n // 2, n - n // 2)):
        p_value = paired_p_value(gains, losses, n, delta0=delta0)
        assert 0.0 <= p_value <= 1.0
        assert p_value + paired_p_value(losses, gains, n, delta0=-delta0) >= 1.0 - 1e-6


@pytest.mark.parametrize("n", [1, 5, 60])
@pytest.mark.parametrize("p0", [0.0, 0.5, 0.9, 1.0])
def test_binomial_agrees_with_scipy(n: int, p0: float) -> None:
    for k in {0, 1, n // 2, n}:
        for alternative in ("greater", "less"):
            expected = scipy_stats.binomtest(k, n, p0, alternative=alternative).pvalue
            assert binomial_p_value(k, n, p0=p0, alternative=alternative) == pytest.approx(expected, abs=1e-12)
        interval = scipy_stats.binomtest(k, n).proportion_ci(method="exact")
        assert clopper_pearson(k, n) == pytest.approx((interval.low, interval.high), abs=1e-9)
        side = scipy_stats.binomtest(k, n, alternative="less").proportion_ci(method="exact")
        assert binomial_upper_bound(k, n) == pytest.approx(side.high, abs=1e-9)


@pytest.mark.parametrize(
    ("gains", "losses", "n"),
    [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0), (1.5, 0, 5), (math.nan, 0, 5), (0, math.inf, 5)],
)
def test_impossible_counts_are_refused(gains: int, losses: int, n: int) -> None:
    for call in (
        lambda: paired_p_value(gains, losses, n, delta0=0.0),
        lambda: tango_interval(gains, losses, n),
    ):
        with pytest.raises(ValueError, match=r"gains|losses|n must"):
            call()


@pytest.mark.parametrize("delta0", [-1.0, 1.0, math.nan, math.inf, 5.0])
def test_impossible_margins_are_refused(delta0: float) -> None:
    with pytest.raises(ValueError, match="delta0"):
        paired_p_value(1, 1, 5, delta0=delta0)


@pytest.mark.parametrize(
    ("successes", "n", "p0"), [(-1, 5, 0.5), (6, 5, 0.5), (0, 0, 0.5), (1, 5, 1.5), (1, 5, math.nan)]
)
def test_impossible_proportions_are_refused(successes: int, n: int, p0: float) -> None:
    with pytest.raises(ValueError, match=r"successes|n must|p0"):
        binomial_p_value(successes, n, p0=p0, alternative="greater")


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        tango_interval(1, 1, 5, confidence=confidence)
