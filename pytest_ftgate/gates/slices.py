"""Judges each slice of an eval set. A slice with a bound of its own is part of its gate. Pure.

A bound of its own is a requirement: the gate passes only where every such slice is certified at alpha (a further
intersection, so nothing is corrected), and fails where one is proven to miss it. That is a union, so its p-values are
corrected by Holm over the bounded slices of the gate, at the level that the gate itself needs for a FAIL (the run
counts them as one hypothesis more). Slices without a bound of their own are shown against the gate's bound, and decide
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_ftgate import stats
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.slices import slice_value
from pytest_ftgate.evalset.types import EvalSet, GateSpec, SliceSpec
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.examples_needed import Shortfall, exact_percent, exact_points
from pytest_ftgate.gates.given import WORST, GateInput, clusters_of, decide
from pytest_ftgate.results import SliceResult, Verdict

NAMED = 3
"""Slices spoken of in a sentence; all are in the table."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One slice against one bound: a floor, or a margin to one reference."""

    reference: str
    """As in Comparison. Empty for a floor."""
    n: int
    """Units: examples, clusters or distinct questions."""
    value: float
    interval: tuple[float, float]
    bound: float
    """The floor, or delta0."""
    p_good: float
    p_bad: float
    method: str
    shortfall: Callable[[], Shortfall]
    """Why it is not certified; slow, so only asked where it is not."""


Measure = Callable[[Sequence[int], Sequence[str | None], float], list[Measured]]
"""(places of the examples, their clusters, bound as written) -> one Measured per reference. Raises ScoringError."""


@dataclass(frozen=True, slots=True)
class TooSmall:
    """A bounded slice that no answers could certify."""

    field: str
    value: str
    n: int
    """Units that it has."""
    needed: int | None
    """Units that would do if every answer is right; None where no number would."""


@dataclass(frozen=True, slots=True)
class _Slice:
    spec: SliceSpec
    value: str
    places: list[int]
    required: bool
    bound: float
    found: list[Measured]
    problem: Shortfall | None
    """Why nothing could be measured."""


def with_slices(given: GateInput, verdict: Verdict, measure: Measure, lost: Sequence[float]) -> Verdict:
    """The Verdict with its slices, and what those with bounds of their own make of it.

    `lost`: for each example, how much it speaks against the candidate; names the examples to look at.
    """
    if not given.evalset.slices:
        return verdict
    slices = [_measured(given, spec, value, measure) for spec in given.evalset.slices for value in spec.values]
    family = [m.p_bad for one in slices if one.required for m in one.found]
    adjusted = iter(stats.holm(family))
    judged = [(one, *_result(given, one, adjusted)) for one in slices]
    verdict = replace(verdict, slices=tuple(result for _, result, _ in judged))
    required = [(one, result, why) for one, result, why in judged if one.required]
    failed = [(one, result) for one, result, _ in required if result.outcome == "FAIL"]
    unsure = [(result, why) for _, result, why in required if result.outcome == "INCONCLUSIVE" and why]
    if failed:
        count = f"{len(required)} slices" if len(family) == len(required) else f"{len(family)} slice hypotheses"
        said = [f"{_sentence(r)}, proven {_miss(r)} (p = {r.p_bad:.2g}, Holm over {count})" for _, r in failed]
        verdict = replace(verdict, summary=f"{verdict.summary}; {_some(said)}")
        return verdict if verdict.outcome == "FAIL" else _failed(given, verdict, failed, lost)
    if unsure:
        said = [f"{_sentence(r)}, not certified {_need(r)}: {why.why}" for r, why in unsure]
        verdict = replace(verdict, summary=f"{verdict.summary}; {_some(said)}")
        if verdict.outcome == "PASS":
            fix = "; ".join(f"{_name(r)}: {why.fix}" for r, why in unsure[:NAMED])
            verdict = replace(verdict, outcome="INCONCLUSIVE", reason=unsure[0][1].reason, fix=fix)
    elif required:
        verdict = replace(verdict, summary=f"{verdict.summary}; each of {len(required)} slices keeps its own bound")
    return verdict


def too_small(evalset: EvalSet, gate: GateSpec, alpha: float) -> list[TooSmall]:
    """Bounded slices of this gate that cannot be certified whatever the model answers: known before any generation."""
    clusters = clusters_of(evalset)
    kind = gate.row.test
    if kind is None:
        return []
    found = []
    for spec in evalset.bounded_slices(gate.kind):
        bound = spec.bounds[gate.kind]
        for value in spec.values:
            here = [clusters[i] for i in _places(evalset, spec, value)]
            n = len(here) if None in here else len(set(here))
            if kind == "non_inferiority" and bound == 0.0:  # no loss at all: only an improvement can show that
                found.append(TooSmall(spec.field, value, n, None))
            elif n == 0 or stats.best_p_value(kind, n, bound=bound) > alpha:
                needed = stats.examples_needed_at_best(kind, bound=bound, alpha=alpha)
                found.append(TooSmall(spec.field, value, n, needed))
    return found


def _places(evalset: EvalSet, spec: SliceSpec, value: str) -> list[int]:
    return [i for i, e in enumerate(evalset.examples) if slice_value(e.fields.get(spec.field)) == value]


def _measured(given: GateInput, spec: SliceSpec, value: str, measure: Measure) -> _Slice:
    places = _places(given.evalset, spec, value)
    required = given.gate.kind in spec.bounds
    bound = spec.bounds.get(given.gate.kind, given.gate.bound)
    clusters: list[str | None] = [given.clusters[i] for i in places]
    if given.unit != "clusters" and len(set(clusters)) == len(clusters):
        clusters = [None] * len(clusters)
    try:
        found = measure(places, clusters, bound) if places else []
        problem = None if places else Shortfall("CANNOT_PASS_AT_N", "it has no example left", "add examples")
    except ScoringError as error:
        found, problem = [], Shortfall("CANNOT_PASS_AT_N", error.message, error.fix)
    return _Slice(spec, value, places, required, bound, found, problem)


def _result(given: GateInput, one: _Slice, adjusted: Iterator[float]) -> tuple[SliceResult, Shortfall | None]:
    """The slice as it is reported, and why it is not certified where it must be and is not."""
    result = SliceResult(
        one.spec.field,
        one.value,
        len(one.places),
        0,
        None,
        None,
        "",
        given.gate.row.null_bound(one.bound),
        one.required,
    )
    if one.problem is not None:
        why = one.problem
        return replace(result, outcome="INCONCLUSIVE" if one.required else "", note=why.why), why
    p_bads = [next(adjusted) if one.required else m.p_bad for m in one.found]
    p_bad = min(p_bads)
    # As in the gate itself: the reference hardest to beat decides, and a FAIL speaks of the one that proves it.
    hardest = max(one.found, key=lambda m: (m.p_good, -m.value))
    outcome = decide(hardest.p_good, p_bad, given.levels)
    decisive = one.found[p_bads.index(p_bad)] if outcome == "FAIL" and one.required else hardest
    result = replace(
        result,
        n=decisive.n,
        measured=decisive.value,
        interval=decisive.interval,
        reference=decisive.reference,
        bound=decisive.bound,
        p_value=decisive.p_good,
        method=decisive.method,
    )
    if not one.required:
        return result, None
    result = replace(result, p_bad=p_bad, outcome=outcome)
    return result, hardest.shortfall() if outcome == "INCONCLUSIVE" else None


def _failed(
    given: GateInput, verdict: Verdict, failed: Sequence[tuple[_Slice, SliceResult]], lost: Sequence[float]
) -> Verdict:
    places = sorted({i for one, _ in failed for i in one.places if lost[i] > 0}, key=lambda i: (-lost[i], i))
    return replace(
        verdict,
        outcome="FAIL",
        reason="SLICE",
        fix=f"read the worst answers of {_some([_name(r) for _, r in failed])}, then train on other rows of that kind",
        worst=tuple(given.evalset.examples[i].id for i in places[:WORST]),
    )


def _name(result: SliceResult) -> str:
    return f"{visible(result.field, limit=40)}={visible(result.value, limit=40)}"


def _sentence(result: SliceResult) -> str:
    if result.measured is None:
        return f"slice {_name(result)} of {result.examples} examples"
    if result.reference:
        return f"slice {_name(result)}: {100 * result.measured:+.1f} points to {result.reference} on {result.n}"
    return f"slice {_name(result)}: {result.measured:.1%} of {result.n}"


def _miss(result: SliceResult) -> str:
    return f"below {_bound(result)}"


def _need(result: SliceResult) -> str:
    p = "" if result.p_value is None else f" (p = {result.p_value:.2g})"
    return f"to be {'above' if result.reference else 'at least'} {_bound(result)}{p}"


def _bound(result: SliceResult) -> str:
    if not result.reference:
        return exact_percent(result.bound)
    return f"{'-' if result.bound < 0 else '+'}{exact_points(abs(result.bound))}"


def _some(said: Sequence[str]) -> str:
    return "; ".join(said[:NAMED]) + (f"; and {len(said) - NAMED} more slices" if len(said) > NAMED else "")
