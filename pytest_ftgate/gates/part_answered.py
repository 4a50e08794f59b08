"""A gate that was settled before its last example was answered: what it may say of the rest. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pytest_ftgate import stats
from pytest_ftgate.evalset.order import ORDER_SEED
from pytest_ftgate.gates.measure import Levels, Rate
from pytest_ftgate.results import Comparison, Outcome

E_PROCESS = "e-process (early_stop)"


@dataclass(frozen=True, slots=True)
class Bounds:
    """p-values that no outcome of the examples not answered can make speak against what was decided."""

    p_good: float
    p_bad: float


@dataclass(frozen=True, slots=True)
class Settled:
    """What a gate decides, however the examples not answered would have turned out."""

    outcome: Outcome
    bounds: Mapping[str, Bounds]
    """Reference -> Bounds. Empty for a rate."""
    after: int
    """Examples of the recorded order that early stopping needed; all of them where it did not decide."""
    early: bool = False
    """Decided by early_stop; otherwise by curtailment."""


@dataclass(frozen=True, slots=True)
class Part:
    """The part of an eval set that was answered, and what is settled by it."""

    planned: int
    answered: int
    settled: Settled

    @property
    def sentence(self) -> str:
        """`120 of 320 examples answered: no outcome of the other 200 can change this`"""
        if self.settled.early:
            return (
                f"{self.answered} of {self.planned} examples answered: stopped early, as early_stop allows, "
                f"the evidence of the first {self.settled.after} being enough"
            )
        return (
            f"{self.answered} of {self.planned} examples answered: no outcome of the other "
            f"{self.planned - self.answered} can change this"
        )

    @property
    def reach(self) -> str:
        """What a p-value in the sentence is, ` at worst`: of the outcome of the rest that speaks most against it."""
        if self.settled.early:
            return ", by e-value"
        return " at worst" if self.settled.outcome == "PASS" else " at best"

    @property
    def details(self) -> dict[str, object]:
        """For Verdict.details."""
        found: dict[str, object] = {"planned": self.planned, "answered": self.answered, "order_seed": ORDER_SEED}
        if self.settled.early:
            found["stopped_early_after"] = self.settled.after
        return found

    def bounded_rate(self, rate: Rate, floor: float, levels: Levels) -> Rate:
        """The rate of what was answered, with p-values and certified bound that hold for all that was planned."""
        bounds = self.settled.bounds[""]
        right = round(rate.value * rate.n)
        lower = stats.binomial_lower_bound(right, self.planned, alpha=levels.alpha)
        certified = max(lower, floor) if self.settled.outcome == "PASS" else lower
        method = E_PROCESS if self.settled.early else rate.method
        return replace(rate, p_good=bounds.p_good, p_bad=bounds.p_bad, certified=certified, method=method)

    def bounded(self, comparison: Comparison) -> Comparison:
        """The comparison of what was answered, with p-values that hold for all that was planned."""
        bounds = self.settled.bounds[comparison.reference]
        method = E_PROCESS if self.settled.early else comparison.method
        return replace(comparison, p_good=bounds.p_good, p_bad=bounds.p_bad, method=method)

    def planned_rate(self, rate: Rate) -> Rate:
        """The rate as if all that was planned had gone alike: what more examples are planned from."""
        return replace(rate, n=self.planned)

    def planned_pair(self, c: Comparison) -> Comparison:
        """The comparison as if all that was planned had gone alike; its counts add up to what was planned."""
        gains = round(c.gains * self.planned / c.n)
        # Both may be rounded up (1 and 1 of 2 become 2 and 2 of 3): a pair is not gained and lost at once.
        losses = min(round(c.losses * self.planned / c.n), self.planned - gains)
        return replace(c, n=self.planned, gains=gains, losses=losses, ties=self.planned - gains - losses)
