"""Exact probabilities over every table of n pairs, and a simulation of a whole run of three gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from benchmarks import rules
from pytest_ftgate.stats import rejection_region, successes_needed


@lru_cache(maxsize=8)
def tables(n: int) -> tuple[rules.Ints, rules.Ints, rules.Floats]:
    """Gains, losses and log of the number of arrangements, for every table of n pairs (1-d arrays)."""
    gains, losses = np.nonzero(np.add.outer(np.arange(n + 1), np.arange(n + 1)) <= n)
    ways = special.gammaln(n + 1) - special.gammaln(gains + 1) - special.gammaln(losses + 1)
    return gains, losses, ways - special.gammaln(n - gains - losses + 1)


def law(n: int, delta: float, flip_rate: float) -> rules.Floats:
    """Probability of every table where the truth is this difference and flip rate."""
    gains, losses, ways = tables(n)
    gain_rate, loss_rate = max((flip_rate + delta) / 2, 0.0), max((flip_rate - delta) / 2, 0.0)
    log_p = ways + special.xlogy(gains, gain_rate) + special.xlogy(losses, loss_rate)
    log_p = log_p + special.xlogy(n - gains - losses, max(1.0 - gain_rate - loss_rate, 0.0))
    return np.asarray(np.exp(log_p))


def ship_probability(rule: rules.Rule, n: int, delta0: float, delta: float, flip_rate: float) -> float:
    """Exact chance that the rule ships."""
    gains, losses, _ = tables(n)
    return float(law(n, delta, flip_rate) @ rule(gains, losses, n, delta0))


def worst_false_ship(
    judges: Mapping[str, rules.Rule], n: int, delta0: float, *, flip_rates: int = 150
) -> dict[str, float]:
    """For each rule, its highest chance to ship at Delta = delta0, over a grid of flip rates dense near the least."""
    gains, losses, _ = tables(n)
    ships = np.stack([rule(gains, losses, n, delta0) for rule in judges.values()]).astype(float)
    rates = abs(delta0) + (1.0 - abs(delta0)) * np.linspace(0.0, 1.0, flip_rates) ** 2
    sizes = np.max([ships @ law(n, delta0, float(rate)) for rate in rates], axis=0)
    return dict(zip(judges, (float(size) for size in sizes), strict=True))


@dataclass(frozen=True, slots=True)
class Truth:
    """What three gates are asked to judge: floor and baseline on one eval set, forgetting on another of equal size."""

    name: str
    tuned: float
    """True accuracy of the fine-tuned model; the baseline is right or wrong independently of it."""
    baseline: float
    general_delta: float
    general_flips: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """The three bounds."""

    floor: float = 0.85
    gain: float = 0.05
    drop: float = 0.05


@dataclass(frozen=True, slots=True)
class Shares:
    """How often a run of three gates ends how."""

    naive_ship: float
    """All three point estimates reach their bounds."""
    ship: float
    """Every gate passes at alpha."""
    fail: float
    """No ship, and some gate is proven bad at alpha / 3 (Holm's first threshold)."""
    bonferroni_ship: float
    """Every gate passes at alpha / 3: what correcting for the number of gates would cost."""

    @property
    def inconclusive(self) -> float:
        return 1.0 - self.ship - self.fail


def simulate(truth: Truth, bounds: Bounds, n: int, runs: int, rng: np.random.Generator) -> Shares:
    """Monte Carlo over runs of n target and n general examples."""
    t, b = truth.tuned, truth.baseline
    both, gains, losses, _ = rng.multinomial(n, [t * b, t * (1 - b), (1 - t) * b, (1 - t) * (1 - b)], size=runs).T
    up, down = (truth.general_flips + truth.general_delta) / 2, (truth.general_flips - truth.general_delta) / 2
    general_gains, general_losses, _ = rng.multinomial(n, [up, down, 1 - up - down], size=runs).T
    right = both + gains

    def passes(alpha: float) -> rules.Bools:
        needed = successes_needed(n, p0=bounds.floor, alpha=alpha)
        beats = gains >= rejection_region(n, bounds.gain, alpha)[losses]
        keeps = general_gains >= rejection_region(n, -bounds.drop, alpha)[general_losses]
        return np.asarray((right >= (n + 1 if needed is None else needed)) & beats & keeps)

    def fails(alpha: float) -> rules.Bools:
        wrong_needed = successes_needed(n, p0=1 - bounds.floor, alpha=alpha)
        below = n - right >= (n + 1 if wrong_needed is None else wrong_needed)
        lags = losses >= rejection_region(n, -bounds.gain, alpha)[gains]
        forgets = general_losses >= rejection_region(n, bounds.drop, alpha)[general_gains]
        return np.asarray(below | lags | forgets)

    naive = (
        (right >= bounds.floor * n - 1e-9)
        & rules.point_estimate(gains, losses, n, bounds.gain)
        & rules.point_estimate(general_gains, general_losses, n, -bounds.drop)
    )
    third = rules.ALPHA / 3
    ship, corrected = passes(rules.ALPHA), passes(third)
    fail = fails(third) & ~ship
    return Shares(float(naive.mean()), float(ship.mean()), float(fail.mean()), float(corrected.mean()))
