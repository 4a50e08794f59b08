"""Before anything is generated: can this gate pass at all with these examples, and how likely will it? Pure.

Whether it can is exact. How likely it is needs an assumption about the candidate, which every text states: for a floor,
half the way from the floor to 1; for beats_baseline, ten points more than min_gain, with 20 % of the answers flipping;
for forgetting, no change on average, with 5 % flipping. Where `pytest-ftgate calibrate` found that the base differs
from itself on more than that, as much flips: no candidate is steadier than its base.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_ftgate import stats
from pytest_ftgate.answers.prompting import target_text
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.scorer_options import is_graded
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.examples_needed import exact_percent, exact_points, graded_needed
from pytest_ftgate.gates.given import GateInput, clusters_of
from pytest_ftgate.gates.measure import Levels, graded_p_good
from pytest_ftgate.gates.slices import NAMED, TooSmall, too_small
from pytest_ftgate.results import Verdict

POWER = stats.PLANNED_POWER
CLEARLY_UNDERPOWERED = 0.5
"""Chance to pass below which a gate is worth a line before the run."""
GAIN = 0.10
"""Assumed of a candidate that beats its baselines: so much more than min_gain."""
FLIPS = {row.name: row.flips for row in KINDS.values() if row.paired}
"""Assumed share of examples on which candidate and reference differ."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one gate asks of the numbers, known before any answer."""

    gate: str
    """`tickets::accuracy`"""
    kind: str
    n: int
    """Units: examples, or clusters, or distinct questions."""
    unit: str
    bound: float
    exact: bool
    """Whether all units score 0 or 1; otherwise they may score between, and the betting process judges."""
    alpha: float

    @classmethod
    def of(cls, evalset: EvalSet, gate: GateSpec, alpha: float) -> Question:
        """`alpha` is that of the eval set; early_stop leaves less of it for the last example."""
        given = GateInput(evalset, gate, {}, Levels(alpha))
        clusters, unit = given.clusters, given.unit
        n = len(clusters) if unit == "examples" else len(set(clusters))
        exact = unit == "examples" and (not gate.row.scores or not is_graded(evalset.scorer))
        level = stats.final_level(alpha) if evalset.early_stop else alpha
        return cls(given.name, gate.kind, n, unit, gate.bound, exact, level)

    @property
    def test(self) -> stats.GateTest:
        """What is tested."""
        test = KINDS[self.kind].test
        if test is None:
            raise ValueError(f"a gate of kind {self.kind} tests nothing, so there is nothing to plan")
        return test

    @property
    def delta0(self) -> float:
        """Of a paired gate: the bad null says delta <= delta0."""
        return KINDS[self.kind].delta0(self.bound)

    @property
    def too_few(self) -> bool:
        """Whether there are fewer clusters than can be judged at all."""
        return self.unit != "examples" and self.n < stats.MIN_CLUSTERS

    @property
    def best_p(self) -> float:
        """Smallest p-value in reach: all right, all gained; for forgetting, nothing lost and nothing gained."""
        if self.test == "non_inferiority" and self.bound == 0.0:
            return 1.0
        return stats.best_p_value(self.test, self.n, bound=self.bound)

    @property
    def can_pass(self) -> bool:
        """Whether `best_p` suffices."""
        return not self.too_few and self.best_p <= self.alpha

    @property
    def needed_at_best(self) -> int | None:
        """Fewest units with which the best outcome passes; None where no number does."""
        if self.test == "non_inferiority":
            if self.bound == 0.0:
                return None
            if not self.exact:
                return graded_needed([0.0], self.delta0, low=-1.0, alpha=self.alpha)
        return stats.examples_needed_at_best(self.test, bound=self.bound, alpha=self.alpha)

    @property
    def least(self) -> str:
        """What the least passing outcome looks like, in a few words. Empty where it depends on more than counts."""
        if not self.exact:
            return ""
        if self.test == "floor":
            right = stats.successes_needed(self.n, p0=self.bound, alpha=self.alpha)
            return "" if right is None else f"{right} of {self.n} right"
        if self.test == "non_inferiority" and self.can_pass:
            return f"at most {stats.losses_tolerated(self.n, margin=self.bound, alpha=self.alpha)} lost"
        gains = stats.gains_needed(self.n, delta0=self.delta0, alpha=self.alpha)
        return "" if gains is None else f"{gains} gained, none lost"

    @property
    def certifiable(self) -> str:
        """The strictest bound that the best outcome certifies. Empty for a gain, where that depends on the baseline."""
        margin = stats.smallest_margin(self.n, alpha=self.alpha)
        if self.test == "floor":
            return f"{math.floor(1000.0 * (1.0 - margin)) / 10.0:.1f}%"
        return f"{self._points(margin):.1f} points" if self.test == "non_inferiority" else ""

    def _points(self, least: float) -> float:
        """Smallest margin in tenths of a point that the exact test certifies without a flip; `least` bounds it below.

        At a small alpha its p-value lies above (1 - margin)^n: outcomes with gains count against it too.
        """

        def certifies(tenths: int) -> bool:
            return stats.best_p_value(self.test, self.n, bound=tenths / 1000.0) <= self.alpha

        low = high = math.ceil(1000.0 * least)
        step = 1
        while high < 999 and not certifies(high):
            low, high, step = high, min(high + step, 999), 2 * step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if certifies(middle) else (middle, high)
        return high / 10.0


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is taken to be true of a candidate that ought to pass."""

    effect: float
    """Its rate (floors), or its difference to the reference."""
    flip_rate: float
    """Share of examples on which it differs from the reference; 0 for floors."""

    @classmethod
    def of(cls, question: Question, flip_rate: float | None = None, *, noise: float = 0.0) -> Assumed:
        """`flip_rate`: as told, or None for the defaults above, and at least `noise`."""
        if question.test == "floor":
            return cls((1.0 + question.bound) / 2.0, 0.0)
        flips = max(FLIPS[question.kind], noise) if flip_rate is None else flip_rate
        if question.test == "non_inferiority":
            return cls(0.0, flips)
        gain = min(question.bound + GAIN, 1.0)
        return cls(gain, max(flips, gain))

    def words(self, question: Question) -> str:
        """`98.5% are right` · `+15.0 points, 20% of the answers flip`"""
        if question.test == "floor":
            return f"{_percent(self.effect)} are right"
        return f"{100 * self.effect:+.1f} points, {_percent(self.flip_rate)} of the answers flip"

    def power(self, question: Question) -> float | None:
        """Chance that the gate passes, about so beyond 500; None where it depends on the spread of graded scores."""
        q = question
        if not q.exact:
            return None
        if q.test == "floor":
            return stats.floor_power(q.n, p0=q.bound, rate=self.effect, alpha=q.alpha)
        how = stats.paired_power if q.n <= stats.PLAN_EXACT_MAX_N else stats.paired_power_approximate
        return how(q.n, delta0=q.delta0, delta=self.effect, flip_rate=self.flip_rate, alpha=q.alpha)

    def examples(self, question: Question, power: float = POWER) -> int | None:
        """Examples with which the gate passes with this chance; None where no number does, or the spread decides."""
        q = question
        if not q.exact:
            return None
        if q.test == "floor":
            return stats.examples_for_floor_power(p0=q.bound, rate=self.effect, alpha=q.alpha, power=power)
        return stats.examples_for_power(
            delta0=q.delta0, delta=self.effect, flip_rate=self.flip_rate, alpha=q.alpha, power=power
        )


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"


def why_not(question: Question) -> str:
    """Why the gate cannot pass, with what it would need. Empty where it can."""
    q = question
    if q.can_pass:
        return ""
    if q.too_few:
        return f"{q.n} {q.unit} are too few to judge; at least {stats.MIN_CLUSTERS} needed"
    needed = q.needed_at_best
    more = "no number of examples would do" if needed is None else f"{needed} needed"
    if q.test == "non_inferiority":
        return f"{q.n} {q.unit} cannot pass within {exact_points(q.bound)} without improving on the base; {more}"
    what = f"a floor of {exact_percent(q.bound)}" if q.test == "floor" else f"a gain above {exact_points(q.bound)}"
    return f"{q.n} {q.unit} cannot certify {what} whatever the model answers; {more}"


def slices_too_small(evalset: EvalSet, gate: GateSpec, alpha: float) -> str:
    """Why a slice with a bound of its own keeps the gate from passing whatever is answered. Empty where none does."""
    clustered = any(cluster is not None for cluster in clusters_of(evalset))
    if evalset.rigor == "approx" and (clustered or (gate.row.scores and is_graded(evalset.scorer))):
        return ""  # Student's t sets no such limit
    found = too_small(evalset, gate, alpha)
    said = [_too_small(one, gate, evalset) for one in found[:NAMED]]
    return "; ".join([*said, *([f"and {len(found) - NAMED} more slices"] if len(found) > NAMED else [])])


def _too_small(one: TooSmall, gate: GateSpec, evalset: EvalSet) -> str:
    bound = next(s.bounds[gate.kind] for s in evalset.slices if s.field == one.field and gate.kind in s.bounds)
    more = "no number would do" if one.needed is None else f"{one.needed} needed"
    name = f"slice {visible(one.field, limit=40)}={visible(one.value, limit=40)} of {one.n}"
    if gate.row.test == "non_inferiority":
        return f"{name} cannot pass within {exact_points(bound)} without improving on the base; {more}"
    what = f"a gain above {exact_points(bound)}" if gate.row.paired else f"a floor of {exact_percent(bound)}"
    return f"{name} cannot certify {what} whatever the model answers; {more}"


def hopeless_verdict(evalset: EvalSet, gate: GateSpec, alpha: float) -> Verdict | None:
    """The Verdict of a gate that cannot pass with these examples: nothing needs to be generated for it.

    None where it can pass or tests nothing, and where it has too few clusters to be judged at all: an ERROR of its own.
    """
    if gate.row.test is None:
        return None
    q = Question.of(evalset, gate, alpha)
    if q.too_few:
        return None
    if q.can_pass:
        why = slices_too_small(evalset, gate, q.alpha)
        return _hopeless_slices(q, why) if why else None
    best, needed = q.best_p, q.needed_at_best
    shown = {"floor": "all right", "superiority": "all gained", "non_inferiority": "none lost, none gained"}[q.test]
    instead = q.least if q.test == "non_inferiority" else ""
    rescue = f"; {instead} would pass" if instead else ""
    summary = (
        f"not judged: {why_not(q)} ({shown}: p = {best:.2g}, {q.alpha:.3g} needed{rescue}); "
        "no answer was generated for this gate"
    )
    fix = "change the bound" if needed is None else f"use at least {needed} {q.unit}"
    if needed is not None and q.certifiable:
        fix += f", or a bound that {q.n} can certify ({q.certifiable})"
    still = "it could still FAIL, or pass by improving" if rescue else "it could still FAIL"
    return Verdict(
        gate=q.gate,
        kind=gate.kind,
        outcome="INCONCLUSIVE",
        summary=summary,
        fix=f"{fix}; --ft-judge-hopeless judges it all the same: {still}",
        n=q.n,
        value=None,
        interval=None,
        bound=gate.bound if q.test == "floor" else q.delta0,
        p_value=best,
        reason="CANNOT_PASS_AT_N",
        details={"judged": False, "best_p": best, "alpha": q.alpha, "needed": needed},
    )


def _hopeless_slices(q: Question, why: str) -> Verdict:
    return Verdict(
        gate=q.gate,
        kind=q.kind,
        outcome="INCONCLUSIVE",
        summary=f"not judged: {why}; no answer was generated for this gate",
        fix="add examples of these slices, or change their bound; "
        "--ft-judge-hopeless judges it all the same: it could still FAIL",
        n=q.n,
        value=None,
        interval=None,
        bound=q.bound,
        p_value=None,
        reason="CANNOT_PASS_AT_N",
        details={"judged": False, "alpha": q.alpha, "slices": why},
    )


def needs_answers(evalset: EvalSet, gate: GateSpec, alpha: float, *, judge_hopeless: bool) -> bool:
    """Whether generating for this gate can be of use."""
    if gate.row.test is None:
        return True
    q = Question.of(evalset, gate, alpha)
    if q.too_few or judge_hopeless:
        return not q.too_few
    return q.can_pass and not slices_too_small(evalset, gate, q.alpha)


def warnings_before(
    gates: Sequence[tuple[EvalSet, GateSpec, float]],
    *,
    flip_rate: float | None = None,
    noise: Callable[[EvalSet], float] = lambda _: 0.0,
    judge_hopeless: bool = False,
) -> list[str]:
    """One line for each gate (EvalSet, GateSpec, alpha) that cannot pass, or hardly will, for the end of collection.

    `noise`: share of an eval set's examples on which the base was measured to differ from itself.
    """
    lines: list[str] = []
    hopeless = False
    for evalset, gate, alpha in gates:
        if gate.row.test is None:
            continue
        q = Question.of(evalset, gate, alpha)
        if why := why_not(q) or slices_too_small(evalset, gate, q.alpha):
            hopeless = hopeless or not q.too_few
            lines.append(f"ftgate: {q.gate}: {why}")
        elif why := _unlikely(q, Assumed.of(q, flip_rate, noise=noise(evalset))):
            lines.append(f"ftgate: {q.gate}: {why}")
        if why := _met_by_a_guess(evalset, gate):
            lines.append(f"ftgate: {q.gate}: {why}")
    if hopeless and not judge_hopeless:
        lines.append(
            "ftgate: nothing is generated for a gate that cannot pass: it is INCONCLUSIVE, which never ships "
            "(--ft-judge-hopeless judges it all the same)"
        )
    return lines


def _met_by_a_guess(evalset: EvalSet, gate: GateSpec) -> str:
    """That one answer to every question reaches the floor. Empty where it does not, or nothing is known of answers."""
    targets = [target_text(e.target) for e in evalset.examples if e.target is not None]
    if gate.kind != "accuracy" or not targets:
        return ""
    answer, count = max(Counter(targets).items(), key=lambda pair: (pair[1], pair[0]))
    share = count / len(evalset.examples)
    if gate.bound > share:
        return ""
    return (
        f"a floor of {gate.bound:.2g} proves nothing: {visible(answer, limit=40)!r} to every question is right for "
        f"{share:.1%}; raise it above that"
    )


def _unlikely(question: Question, assumed: Assumed) -> str:
    """Why a gate that can pass hardly will. Empty where its chance is fair, or not known."""
    q = question
    if q.test == "non_inferiority" and not q.exact:
        needed = q.needed_at_best
        if needed is None or graded_p_good([0.0] * q.n, q.delta0, low=-1.0) <= q.alpha:
            return ""
        return f"{q.n} {q.unit} with graded scores pass only where it improves on the base; about {needed} needed"
    power = assumed.power(q)
    if power is None or power >= CLEARLY_UNDERPOWERED:
        return ""
    needed = assumed.examples(q)
    more = f"; about {needed} needed for {POWER:.0%}" if needed else ""
    return f"{q.n} {q.unit} pass with a chance of {power:.0%} if {assumed.words(q)}{more}"
