"""Decides whether the answers still to come can change what a gate decides. Pure; knows no model and no stage.

Curtailment (always on). Let S be what a gate decides when all n examples are answered. For 0/1 scores of independent
examples S depends on counts alone, and it only rises (FAIL < INCONCLUSIVE < PASS) with right answers: the binomial
p-values and `paired_p_bad` are monotone in them, and so is `paired_p_good <= alpha` (`measure._steady` says why). Every
way in which the remaining examples can turn out lies between "all wrong" and "all right", for each reference by itself.
So where both ends decide alike, every full run decides so, and asking the rest is waste. An example that is never asked
cannot turn out to be unanswerable either; it counts as wrong in the worst case, as a model that fails to answer should.

Early stopping (`early_stop: true` in the eval-set file). The design of Haybittle and Peto with an e-process: a share of
alpha (stats.EARLY_SHARE) is spent on e-values looked at after every example in a recorded random order, the rest on the
exact test at the last example. Under the bad null the e-process ever reaches 1/a with probability at most a (Ville
1939), so both together err at most alpha, however often one looks (union bound). It spends alpha/K of FAIL alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from pytest_ftgate import stats
from pytest_ftgate.errors import FtgateError, ScoringError
from pytest_ftgate.evalset.order import in_order
from pytest_ftgate.evalset.scorer_options import is_graded
from pytest_ftgate.evalset.types import EvalSet, Example, GateSpec
from pytest_ftgate.gates.given import Answers, GateInput
from pytest_ftgate.gates.measure import Levels, paired_p_bad, paired_p_good
from pytest_ftgate.gates.paired import references_of
from pytest_ftgate.gates.part_answered import Bounds, Part, Settled
from pytest_ftgate.results import Generation
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.kept import Scores


def cannot_stop(evalset: EvalSet, gates: Sequence[GateSpec]) -> str:
    """Why these gates need every example answered, in a few words. Empty where the proof above covers them."""
    if evalset.slices:
        return "slices"
    if measured := [gate.kind for gate in gates if gate.row.asks_model and not gate.row.curtailed]:
        return f"{measured[0]}, which is measured on every example"
    if any(gate.row.scores for gate in gates) and is_graded(evalset.scorer):
        return "scores between 0 and 1"
    unit = GateInput(evalset, evalset.gates[0], {}, Levels()).unit if evalset.gates else "examples"
    return "" if unit == "examples" else f"{unit} of several examples"


def final_levels(levels: Levels) -> Levels:
    """What early_stop leaves for the test at the last example."""
    return replace(levels, alpha=stats.final_level(levels.alpha))


def as_far_as_settled(given: GateInput, *, stopped: bool, leaked: bool = False) -> GateInput:
    """`given` as the gate must be judged where its eval set was stopped (`stopped`), or may stop early.

    Where nothing is settled it comes back whole, so that what was not answered is an ERROR. `leaked`: some examples
    stand in the training data; then all were asked, and nothing stops early.
    """
    early = given.evalset.early_stop
    settled = _look(given) if stopped or (early and not leaked) else None
    if early:
        given = replace(given, levels=final_levels(given.levels))
    if settled is None or not (stopped or settled.early):
        return given
    mine, examples = given.answers["candidate"], given.evalset.examples
    part = Part(len(examples), sum(e.id in mine for e in examples), settled)
    answered = replace(given.evalset, examples=tuple(e for e in examples if e.id in mine))
    return replace(given, evalset=answered, part=part)


def _look(given: GateInput) -> Settled | None:
    if cannot_stop(given.evalset, [given.gate]):
        return None
    return Looks(given.evalset, [given.gate], given.levels, given.scores).look(given.gate, given.answers)


@dataclass(frozen=True, slots=True)
class _Count:
    """One thing that a gate tests, counted over the examples answered, in their order."""

    name: str
    """Reference. Empty for a rate."""
    ups: tuple[int, ...]
    """1 for each example answered that speaks for the candidate (right; gained), else 0."""
    downs: tuple[int, ...]
    """1 for each that speaks against it (wrong; lost)."""
    can_rise: int
    """Examples to come that can be right, or gained."""
    can_fall: int


_P = Callable[[int, int], tuple[float, float]]
"""(ups, downs) of the full run -> (p_good, p_bad)"""


class Looks:
    """Looks at the answers so far of one eval set; an answer is scored once, however often it is looked at.

    Only for gates for which `cannot_stop` is "". Raises InputError where scorer or format check cannot be built.
    """

    def __init__(
        self, evalset: EvalSet, gates: Sequence[GateSpec], levels: Levels, scores: Scores | None = None
    ) -> None:
        """`scores`: those of this run that are known already; what is scored here is kept there."""
        self._evalset, self._gates, self._levels = evalset, gates, levels
        self._order = in_order(evalset)
        self._known: dict[tuple[bool, str, str], int] = {}
        folder = evalset.path.parent
        self._scores = scores or Scores()
        if evalset.scorer:
            self._scores.scorer(evalset)
        formats = [gate for gate in gates if gate.row.reads == "format"]
        self._obeys = make_format_check(formats[0].options, base_dir=folder) if formats else None

    def settled(self, answers: Answers) -> bool:
        """Whether no gate needs another answer."""
        return all(self.look(gate, answers) is not None for gate in self._gates)

    def look(self, gate: GateSpec, answers: Answers) -> Settled | None:
        """What this gate decides whatever the remaining examples are; None where that is open, or cannot be known."""
        try:
            counts = self._counts(gate, answers)
        except FtgateError:
            return None  # the gate itself says so, as an ERROR
        if counts is None:
            return None
        early = self._evalset.early_stop
        found = self._early(gate, counts) if early and self._is_prefix(answers) else None
        return found or self._curtailed(gate, counts, final_levels(self._levels) if early else self._levels)

    def _is_prefix(self, answers: Answers) -> bool:
        mine = answers["candidate"]
        return all(example.id in mine for example in self._order[: len(mine)])

    def _counts(self, gate: GateSpec, answers: Answers) -> list[_Count] | None:
        """One _Count per reference, or one for a rate; None where something could not be answered."""
        mine = answers.get("candidate", {})
        asked = [e for e in self._order if e.id in mine]
        rest = [e for e in self._order if e.id not in mine]
        if not asked or any(mine[e.id].finish_reason == "error" for e in asked):
            return None
        strict = gate.row.reads == "format"
        ours = [self._value(strict, "candidate", e, mine[e.id]) for e in asked]
        if gate.row.test == "floor":
            return [_Count("", tuple(ours), tuple(1 - x for x in ours), len(rest), len(rest))]
        found = []
        for name in references_of(GateInput(self._evalset, gate, answers, self._levels)):
            theirs = answers.get(name, {})
            if any(e.id not in theirs or theirs[e.id].finish_reason == "error" for e in self._order):
                return None
            known = {e.id: self._value(False, name, e, theirs[e.id]) for e in self._order}
            if gate.row.test == "non_inferiority" and fmean(known.values()) <= gate.bound:
                return None  # nothing to forget: an ERROR
            pairs = list(zip(ours, (known[e.id] for e in asked), strict=True))
            ups, downs = tuple(int(a > b) for a, b in pairs), tuple(int(a < b) for a, b in pairs)
            right = sum(known[e.id] for e in rest)
            found.append(_Count(name, ups, downs, len(rest) - right, right))
        return found or None

    def _value(self, strict: bool, system: str, example: Example, answer: Generation) -> int:
        key = (strict, system, example.id)
        if key not in self._known:
            if strict and self._obeys is not None:
                self._known[key] = int(self._obeys(answer).strict)
            else:
                self._known[key] = _whole(self._scores.score(self._evalset, system, example, answer).value)
        return self._known[key]

    def _curtailed(self, gate: GateSpec, counts: Sequence[_Count], levels: Levels) -> Settled | None:
        n, p = len(self._order), self._p_values(gate)
        ends = [(sum(c.ups), sum(c.downs), c.can_rise, c.can_fall) for c in counts]
        worst = [p(up, down + fall) for up, down, _, fall in ends]
        if all(good <= levels.alpha for good, _ in worst):
            return Settled("PASS", _bounds(counts, worst), n)
        best = [p(up + rise, down) for up, down, rise, _ in ends]
        if any(good > levels.alpha and bad <= levels.alpha_fail for good, bad in best):
            return Settled("FAIL", _bounds(counts, best), n)
        if any(good > levels.alpha for good, _ in best) and all(bad > levels.alpha_fail for _, bad in worst):
            mixed = [(good, bad) for (good, _), (_, bad) in zip(best, worst, strict=True)]
            return Settled("INCONCLUSIVE", _bounds(counts, mixed), n)
        return None

    def _p_values(self, gate: GateSpec) -> _P:
        """The very p-values that the gate decides by, of a full run with these counts."""
        n, bound = len(self._order), gate.bound
        if gate.row.test == "floor":
            return lambda right, _: (
                stats.binomial_p_value(right, n, p0=bound, alternative="greater"),
                stats.binomial_p_value(right, n, p0=bound, alternative="less"),
            )
        delta0 = gate.row.delta0(bound)
        return lambda up, down: (paired_p_good(up, down, n, delta0), paired_p_bad(up, down, n, delta0))

    def _early(self, gate: GateSpec, counts: Sequence[_Count]) -> Settled | None:
        """The e-process design: PASS once every null was rejected, FAIL once a mirrored one was; the first counts."""
        good_at, bad_at = stats.early_level(self._levels.alpha), stats.early_level(self._levels.alpha_fail)
        values = [self._e_values(gate, c) for c in counts]
        passed = [_first(good, 1.0 / good_at) for good, _ in values]
        failed = min(_first(bad, 1.0 / bad_at) for _, bad in values)
        if max(passed) < failed:
            found = [(1.0 / float(good.max()), 1.0) for good, _ in values]
            return Settled("PASS", _bounds(counts, found), max(passed) + 1, early=True)
        if failed < len(counts[0].ups):
            found = [(1.0, min(1.0, 1.0 / float(bad.max()))) for _, bad in values]
            return Settled("FAIL", _bounds(counts, found), failed + 1, early=True)
        return None

    def _e_values(self, gate: GateSpec, count: _Count) -> tuple[stats.Floats, stats.Floats]:
        """E-values against the bad null, and against its mirror, after 1, 2, ... examples."""
        up, down = np.cumsum(count.ups), np.cumsum(count.downs)
        done = np.arange(1, len(up) + 1)
        if gate.row.test == "floor":
            good = stats.floor_e_values(up, done, p0=gate.bound)
            return good, stats.floor_e_values(down, done, p0=1.0 - gate.bound)
        delta0 = gate.row.delta0(gate.bound)
        good = stats.paired_e_values(up, down, done, delta0=delta0)
        return good, stats.paired_e_values(down, up, done, delta0=-delta0)


def _whole(value: float) -> int:
    """A score that counts as right or wrong. Raises ScoringError for one between: rounding it would misjudge."""
    if value not in (0.0, 1.0):
        raise ScoringError(f"a scorer that is said to give 0 or 1 gave {value!r}", "correct its row in SCORERS")
    return int(value)


def _first(values: stats.Floats, goal: float) -> int:
    """Place of the first value that reaches the goal; one past the end where none does."""
    reached = np.flatnonzero(values >= goal)
    return int(reached[0]) if reached.size else len(values)


def _bounds(counts: Sequence[_Count], found: Sequence[tuple[float, float]]) -> Mapping[str, Bounds]:
    return {count.name: Bounds(*pair) for count, pair in zip(counts, found, strict=True)}
