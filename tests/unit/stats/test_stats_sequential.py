"""Stopping early: the e-process keeps its level (enumeration)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pytest_ftgate.stats import (
    early_level,
    final_level,
    floor_e_value,
    paired_e_value,
    rejection_region,
    successes_needed,
)

ALPHA, FAIL = 0.05, 0.05 / 3


def trinomial_paths(length: int) -> np.ndarray:
    return np.array(list(itertools.product((-1, 0, 1), repeat=length)))


@pytest.mark.parametrize("delta0", [-0.2, -0.05, 0.0, 0.05, 0.2])
def test_paired_e_process_is_a_supermartingale(delta0: float) -> None:
    """Every path of eight pairs: mean at most 1 at every time, and Ville's inequality for the highest value."""
    paths = trinomial_paths(8)
    gains, losses = np.cumsum(paths == 1, axis=1), np.cumsum(paths == -1, axis=1)
    states = {(t + 1, int(b[t]), int(c[t])) for b, c in zip(gains, losses, strict=True) for t in range(8)}
    values = {(t, b, c): paired_e_value(b, c, t, delta0=delta0) for t, b, c in states}
    table = np.array(
        [[values[t + 1, int(b[t]), int(c[t])] for t in range(8)] for b, c in zip(gains, losses, strict=True)]
    )
    for delta in (delta0, delta0 - 0.1):
        for flip_rate in np.linspace(abs(delta), 1.0, 7):
            law = np.array([(flip_rate - delta) / 2, 1 - flip_rate, (flip_rate + delta) / 2])
            weights = np.prod(law[paths + 1], axis=1)
            assert np.all(weights @ table <= 1.0 + 1e-9)
            if delta == delta0:
                assert np.allclose(weights @ table, 1.0)
            for level in (0.5, 0.2, 0.05):
                assert weights[table.max(axis=1) >= 1 / level].sum() <= level + 1e-9


@pytest.mark.parametrize("p0", [0.1, 0.5, 0.9])
def test_floor_e_values_have_mean_one(p0: float) -> None:
    n = 12
    weights = [math.comb(n, x) * p0**x * (1 - p0) ** (n - x) for x in range(n + 1)]
    assert sum(w * floor_e_value(x, n, p0=p0) for x, w in enumerate(weights)) == pytest.approx(1.0)
    assert sum(w * floor_e_value(n - x, n, p0=1 - p0) for x, w in enumerate(weights)) == pytest.approx(1.0)


def early_paired(gains: int, losses: int, done: int, delta0: float) -> str:
    """How the gates use e-values (gates/curtailment.py): the good null first, then its mirror."""
    if paired_e_value(gains, losses, done, delta0=delta0) >= 1.0 / early_level(ALPHA):
        return "PASS"
    return "FAIL" if paired_e_value(losses, gains, done, delta0=-delta0) >= 1.0 / early_level(FAIL) else ""


def early_floor(successes: int, done: int, p0: float) -> str:
    if floor_e_value(successes, done, p0=p0) >= 1.0 / early_level(ALPHA):
        return "PASS"
    return "FAIL" if floor_e_value(done - successes, done, p0=1.0 - p0) >= 1.0 / early_level(FAIL) else ""


def run_paired(n: int, delta0: float, gain: float, loss: float) -> tuple[float, float]:
    """(P(PASS), P(early FAIL)) of the early-stopping design, exactly, by stepping the law of (gains, losses)."""
    law, passed, failed = {(0, 0): 1.0}, 0.0, 0.0
    region = rejection_region(n, delta0, final_level(ALPHA))
    for t in range(1, n + 1):
        new: dict[tuple[int, int], float] = {}
        for (b, c), weight in law.items():
            for state, chance in (((b + 1, c), gain), ((b, c + 1), loss), ((b, c), 1 - gain - loss)):
                new[state] = new.get(state, 0.0) + weight * chance
        law = {}
        for (b, c), weight in new.items():
            early = early_paired(b, c, t, delta0)
            if early == "PASS" or (t == n and b >= region[c]):
                passed += weight
            elif early == "FAIL":
                failed += weight
            else:
                law[b, c] = weight
    return passed, failed


@pytest.mark.parametrize(("delta0", "flips"), [(-0.05, 0.05), (-0.05, 0.11), (0.05, 0.15), (0.0, 0.3)])
def test_early_stopping_keeps_its_level(delta0: float, flips: float) -> None:
    passed, failed = run_paired(45, delta0, (flips + delta0) / 2, (flips - delta0) / 2)
    assert passed <= ALPHA + 1e-9
    assert failed <= early_level(FAIL) + 1e-9


def test_early_stopping_stops_early_on_clear_cases() -> None:
    assert early_paired(35, 0, 60, delta0=0.05) == "PASS"
    assert early_paired(0, 35, 60, delta0=0.05) == "FAIL"
    assert early_paired(3, 1, 60, delta0=0.05) == ""
    assert early_floor(80, 80, p0=0.85) == "PASS"
    assert early_floor(20, 60, p0=0.85) == "FAIL"
    assert early_floor(50, 60, p0=0.85) == ""


def test_early_floor_keeps_its_level() -> None:
    n, p0 = 60, 0.8
    needed = successes_needed(n, p0=p0, alpha=final_level(ALPHA))
    law, passed = {0: 1.0}, 0.0
    for t in range(1, n + 1):
        new: dict[int, float] = {}
        for x, weight in law.items():
            new[x + 1] = new.get(x + 1, 0.0) + weight * p0
            new[x] = new.get(x, 0.0) + weight * (1 - p0)
        stops = {x for x in new if early_floor(x, t, p0=p0) == "PASS" or (t == n and x >= needed)}
        passed += sum(new[x] for x in stops)
        law = {x: w for x, w in new.items() if x not in stops}
    assert 0.0 < passed <= ALPHA


def test_split_of_alpha() -> None:
    assert early_level(0.05) == pytest.approx(0.01)
    assert final_level(0.05) == pytest.approx(0.04)


def test_impossible_states_are_refused() -> None:
    with pytest.raises(ValueError, match="gains"):
        paired_e_value(3, 3, 5, delta0=0.0)
