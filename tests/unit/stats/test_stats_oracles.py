"""Published values and values recomputed independently: the statistics against the literature."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from pytest_ftgate import stats


@pytest.mark.parametrize(
    ("gains", "losses", "n", "confidence", "low", "high"),
    [
        pytest.param(9, 3, 32, 0.95, -0.027, 0.390, id="tango-1998-table-7"),
        pytest.param(0, 1, 44, 0.90, -0.096, 0.037, id="tango-1998-table-5"),
        pytest.param(16, 8, 86, 0.95, -0.020, 0.207, id="agresti-min-2005"),
        pytest.param(1, 7, 21, 0.95, -0.517, -0.026, id="bentur-in-fagerland-2014"),
    ],
)
def test_tango_interval_reproduces_published_tables(
    gains: int, losses: int, n: int, confidence: float, low: float, high: float
) -> None:
    found = stats.tango_interval(gains, losses, n, confidence=confidence)
    assert tuple(round(end, 3) for end in found) == (low, high)


def test_tango_1998_table_5_statistic() -> None:
    assert stats.tango_z(0, 1, 44, delta0=-0.1) == pytest.approx(1.7086, abs=5e-5)


@pytest.mark.parametrize(
    ("gains", "losses", "n", "delta0", "p_value"),
    [
        (12, 2, 50, 0.0, 0.00375),
        (12, 2, 50, 0.05, 0.02183),
        (1, 3, 100, -0.05, 0.12979),
        (0, 0, 60, -0.05, 0.95**60),
        (0, 0, 60, -0.02, 0.98**60),
        (0, 0, 29, -0.1, 0.0486),
        (3, 0, 50, 0.0, 0.0495),
        (7, 1, 21, 0.0, 0.01766),
    ],
)
def test_exact_p_values(gains: int, losses: int, n: int, delta0: float, p_value: float) -> None:
    assert stats.paired_p_value(gains, losses, n, delta0=delta0) == pytest.approx(p_value, abs=1e-4)


def test_bentur_exact_unconditional_two_sided() -> None:
    assert 2 * stats.paired_p_value(7, 1, 21, delta0=0.0) == pytest.approx(0.0353, abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "n", "p0", "p_value", "lower"),
    [
        (59, 59, 0.95, 0.0485, None),
        (58, 58, 0.95, 0.0511, None),
        (96, 100, 0.90, 0.0237, 0.9108),
        (188, 200, 0.90, 0.0320, 0.9046),
    ],
)
def test_binomial_oracles(successes: int, n: int, p0: float, p_value: float, lower: float | None) -> None:
    found = stats.binomial_p_value(successes, n, p0=p0, alternative="greater")
    assert found == pytest.approx(p_value, abs=6e-5)
    if lower is not None:
        assert round(stats.binomial_lower_bound(successes, n), 4) == lower


def test_cluster_standard_errors() -> None:
    values = [1, 0, 0, -1, 1, 1, 0, 0, 0, 1, -1, 0, 1, 1, 0]
    clusters = [i // 3 for i in range(15)]
    assert stats.clustered_standard_error(values, clusters, small_sample=False) == pytest.approx(0.1115547, abs=5e-8)
    assert stats.clustered_standard_error(values, clusters) == pytest.approx(0.1247219, abs=5e-8)


@pytest.mark.parametrize(("n", "limit"), [(500, 0.1), (2000, 1.0), (100_000, 1.0)])
def test_p_value_is_fast(n: int, limit: float) -> None:
    best = min(_seconds(n) for _ in range(3))
    assert best < limit


def _seconds(n: int) -> float:
    start = time.perf_counter()
    stats.paired_p_value(n // 10, n // 20, n, delta0=0.03)
    return time.perf_counter() - start


def test_method_is_named_truthfully() -> None:
    assert stats.paired_method(stats.EXACT_MAX_N) == "exact unconditional"
    assert stats.paired_method(stats.EXACT_MAX_N + 1) == "Tango score (asymptotic)"


def test_imports_neither_torch_nor_pytest() -> None:
    code = "import sys, pytest_ftgate.stats; print(sorted({'torch', 'pytest', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_exist() -> None:
    """Constants, then types, then functions, each in alphabetical order."""
    assert stats.__all__ == sorted(stats.__all__, key=lambda name: (name.islower(), not name.isupper(), name))
    assert all(name in vars(stats) for name in stats.__all__)
