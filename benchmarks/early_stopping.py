"""What stopping early costs and saves: simulated gates that are looked at after every batch of examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks import rules
from pytest_ftgate.stats import critical_z, early_level, final_level, rejection_region
from pytest_ftgate.stats.sequential import paired_e_values
from pytest_ftgate.stats.tango import score_z

BATCH = 10


@dataclass(frozen=True, slots=True)
class StoppingLevels:
    """Levels at which one gate of a run passes and fails."""

    alpha: float
    """PASS where the p-value of the bad null is at most this."""
    fail_first: float
    """FAIL at or below this: the run's level over its number of gates."""

    def final(self) -> StoppingLevels:
        """What is left for the last example, and for curtailment, where stopping early was allowed."""
        return StoppingLevels(final_level(self.alpha), final_level(self.fail_first))


LEVELS = StoppingLevels(alpha=rules.ALPHA, fail_first=rules.ALPHA / 3)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One paired gate and the truth that it meets."""

    words: str
    delta0: float
    delta: float
    flip_rate: float
    reference: float
    """Accuracy of the reference, whose answers are known before the run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a gate of n examples fares over many runs."""

    full: float
    """Chance to pass with all n examples at the whole alpha."""
    curtailed_use: float
    """Mean share of examples used if only curtailment stops; it passes exactly as often as the full run."""
    early: float
    """Chance to pass with early stopping."""
    early_use: float
    peeking: float
    """Chance to pass if the full test is asked after every batch, at the whole alpha each time."""


def simulate(scenario: Scenario, n: int, runs: int, rng: np.random.Generator) -> Outcome:
    """Monte Carlo; after every batch of BATCH examples the gate is asked whether it may stop."""
    gains, losses, wrong = _paths(scenario, n, runs, rng)
    looks = range(BATCH, n + 1, BATCH)
    curtailed = [_curtailed(scenario, n, gains, losses, wrong, t, LEVELS) for t in looks]
    after_early = [_curtailed(scenario, n, gains, losses, wrong, t, LEVELS.final()) for t in looks]
    evidence = [_evidence(scenario, gains[:, t - 1], losses[:, t - 1], t) for t in looks]
    good = np.stack([good for good, _ in evidence])
    stops = np.stack([a | g | b for a, (g, b) in zip(after_early, evidence, strict=True)])
    first = np.argmax(stops, axis=0)
    at_end = gains[:, -1] >= rejection_region(n, scenario.delta0, LEVELS.final().alpha)[losses[:, -1]]
    # Stopped by evidence: that decides. Stopped by curtailment: the full run's verdict is already certain.
    bad = np.stack([bad for _, bad in evidence])
    index = np.arange(runs)
    passed = good[first, index] | (at_end & ~bad[first, index])
    peeks = [_passes(scenario, gains[:, t - 1], losses[:, t - 1], t) for t in looks]
    return Outcome(
        full=float(np.mean(_passes(scenario, gains[:, -1], losses[:, -1], n))),
        curtailed_use=float(np.mean(np.argmax(np.stack(curtailed), axis=0) + 1)) * BATCH / n,
        early=float(np.mean(passed)),
        early_use=float(np.mean(first + 1)) * BATCH / n,
        peeking=float(np.mean(np.any(np.stack(peeks), axis=0))),
    )


def _paths(
    scenario: Scenario, n: int, runs: int, rng: np.random.Generator
) -> tuple[rules.Ints, rules.Ints, rules.Ints]:
    """Gains, losses and examples that the reference got wrong, after each example: (runs, n) each."""
    gain, loss = (scenario.flip_rate + scenario.delta) / 2, (scenario.flip_rate - scenario.delta) / 2
    kinds = rng.choice(4, p=[gain, loss, 1 - scenario.reference - gain, scenario.reference - loss], size=(runs, n))
    gains, losses = np.cumsum(kinds == 0, axis=1), np.cumsum(kinds == 1, axis=1)
    return gains, losses, np.cumsum((kinds == 0) | (kinds == 2), axis=1)


def _passes(scenario: Scenario, gains: rules.Ints, losses: rules.Ints, n: int) -> rules.Bools:
    return np.asarray(gains >= rejection_region(n, scenario.delta0, LEVELS.alpha)[losses])


def _evidence(scenario: Scenario, gains: rules.Ints, losses: rules.Ints, done: int) -> tuple[rules.Bools, rules.Bools]:
    """Whether the e-values already certify good, and bad."""
    good = paired_e_values(gains, losses, done, delta0=scenario.delta0) >= 1 / early_level(LEVELS.alpha)
    bad = paired_e_values(losses, gains, done, delta0=-scenario.delta0) >= 1 / early_level(LEVELS.fail_first)
    return np.asarray(good), np.asarray(bad)


def _curtailed(
    scenario: Scenario,
    n: int,
    gains: rules.Ints,
    losses: rules.Ints,
    wrong: rules.Ints,
    done: int,
    levels: StoppingLevels,
) -> rules.Bools:
    """Whether no example to come can change the verdict."""
    b, c = gains[:, done - 1], losses[:, done - 1]
    can_gain = wrong[:, -1] - wrong[:, done - 1]
    best = _verdict(scenario, b + can_gain, c, n, levels)
    worst = _verdict(scenario, b, c + (n - done) - can_gain, n, levels)
    return np.asarray(best == worst)


def _verdict(scenario: Scenario, gains: rules.Ints, losses: rules.Ints, n: int, levels: StoppingLevels) -> rules.Ints:
    """2 passes, 0 fails, 1 neither; a single gate's level of failing is the first one."""
    good = score_z(gains, losses, n, scenario.delta0) >= critical_z(n, scenario.delta0, levels.alpha)
    bad = score_z(losses, gains, n, -scenario.delta0) >= critical_z(n, -scenario.delta0, levels.fail_first)
    return np.where(good, 2, np.where(bad, 0, 1))
