"""The benchmark behind docs/measured/statistics.md: naive rules against published values, tables against claims."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import early_stopping, rules, stats
from benchmarks.enumeration import Bounds, ship_probability, simulate, worst_false_ship

Z95 = 1.959964


def one(value: int) -> rules.Ints:
    return np.array([value])


def ends(interval: tuple[rules.Floats, rules.Floats]) -> tuple[float, float]:
    return round(float(interval[0][0]), 3), round(float(interval[1][0]), 3)


def test_bentur_intervals() -> None:
    assert ends(rules.wald_interval(one(1), one(7), 21, Z95)) == (-0.520, -0.052)
    assert ends(rules.bonett_price_interval(one(1), one(7), 21, Z95)) == (-0.508, -0.013)
    low, high = rules.newcombe_interval(1, 1, 7, 12, Z95)
    # Printed there as -0.026; the value is -0.02556.
    assert (round(low, 3), round(high, 3)) == (-0.507, -0.026)


def test_newcombe_1998() -> None:
    assert rules.newcombe_interval(20, 12, 2, 16, Z95) == pytest.approx((0.0562, 0.3292), abs=5e-5)
    assert rules.newcombe_interval(20, 12, 2, 16, Z95, corrected=False) == pytest.approx((0.0618, 0.3242), abs=5e-5)


@pytest.mark.parametrize(
    ("method", "p_value"),
    [("exact", 0.0703), ("mid-p", 0.0391), ("asymptotic", 0.0339), ("continuity corrected", 0.0771)],
)
def test_mcnemar_bentur(method: rules.McNemar, p_value: float) -> None:
    assert rules.mcnemar_p_value(one(1), one(7), method=method)[0] == pytest.approx(p_value, abs=5e-5)


@pytest.mark.parametrize(
    ("rule", "delta", "expected"),
    [
        (rules.point_estimate, -0.05, {50: 0.510, 100: 0.568, 200: 0.548}),
        (rules.unless_significantly_worse, -0.05, {50: 0.933, 100: 0.777, 200: 0.523}),
        (rules.wald, -0.05, {50: 0.081, 100: 0.066, 200: 0.058}),
        (rules.exact, -0.05, {50: 0.030, 100: 0.041, 200: 0.042}),
        (rules.exact, 0.0, {50: 0.242, 100: 0.543, 200: 0.834}),
        (rules.exact_fail, -0.10, {50: 0.194, 100: 0.314, 200: 0.574}),
    ],
)
def test_forgetting_gate_table(rule: rules.Rule, delta: float, expected: dict[int, float]) -> None:
    for n, chance in expected.items():
        found = ship_probability(rule, n, -0.05, delta, abs(delta) + 0.06)
        assert found == pytest.approx(chance, abs=6e-4)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (rules.point_estimate, {50: 0.495, 200: 0.534}),
        (rules.significant_and_large, {50: 0.120, 200: 0.503}),
        (rules.exact, {50: 0.037, 200: 0.046}),
    ],
)
def test_superiority_gate_table(rule: rules.Rule, expected: dict[int, float]) -> None:
    for n, chance in expected.items():
        assert ship_probability(rule, n, 0.05, 0.05, 0.15) == pytest.approx(chance, abs=6e-4)


@pytest.mark.parametrize(
    ("n", "delta0", "wald", "tango", "exact"),
    [(20, -0.02, 0.668, 0.055, 0.049), (50, -0.05, 0.105, 0.052, 0.040), (60, 0.05, 0.060, 0.088, 0.045)],
)
def test_worst_case_table(n: int, delta0: float, wald: float, tango: float, exact: float) -> None:
    found = worst_false_ship({"w": rules.wald, "t": rules.tango, "e": rules.exact}, n, delta0)
    # The grid of flip rates is finite, so a printed maximum may differ in its last digit.
    assert found == pytest.approx({"w": wald, "t": tango, "e": exact}, abs=1.1e-3)


def test_no_bad_model_ships_more_often_than_promised() -> None:
    rng, runs = np.random.default_rng(3), 20_000
    tolerance = 3 * math.sqrt(0.05 * 0.95 / runs)
    bad = [truth for truth in stats.TRUTHS if truth.name.startswith("BAD")]
    assert len(bad) == 6
    for truth in bad:
        for n in (50, 100, 200):
            shares = simulate(truth, Bounds(), n, runs, rng)
            assert shares.ship <= 0.05 + tolerance
            assert shares.bonferroni_ship <= shares.ship
            assert shares.ship + shares.fail + shares.inconclusive == pytest.approx(1.0)


def test_early_stopping_saves_and_keeps_its_level() -> None:
    rng, runs = np.random.default_rng(4), 1500
    boundary, _, very_good, *_ = stats.SCENARIOS
    at_bound = early_stopping.simulate(boundary, 60, runs, rng)
    assert at_bound.early <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert at_bound.peeking > 0.09
    assert at_bound.curtailed_use < 1.0
    clear = early_stopping.simulate(very_good, 150, 300, rng)
    assert clear.early > 0.97
    assert clear.early_use < 0.75


def test_the_short_table_keeps_its_promise_for_ours_alone() -> None:
    rows = stats.in_short().rows
    ours = [row for row in rows if row[1] == "exact (ours)"]
    assert len(ours) == 2
    assert all(float(cell) <= 0.05 for row in ours for cell in row[2:])
    assert all(
        any(float(cell) > 0.05 for cell in row[2:]) for row in rows if "estimate" in row[1] or "signif" in row[1]
    )


def test_document_is_what_the_tables_say() -> None:
    """Cheap sections are made again and must be found in the document word for word."""
    text = Path(stats.DOCUMENT).read_text(encoding="utf-8")
    assert "python -m benchmarks.stats" in text
    for section in (stats.in_short, stats.superiority_gate, stats.published):
        assert section().markdown() in text
