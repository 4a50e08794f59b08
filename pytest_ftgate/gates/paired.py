"""Gates on a paired difference: beats_baseline and forgetting, example by example. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.gates.examples_needed import Shortfall, exact_points, paired_shortfall
from pytest_ftgate.gates.given import WORST, GateInput, decide, error_verdict, said_approximate, unanswered
from pytest_ftgate.gates.measure import compare, unit_means
from pytest_ftgate.gates.slices import Measure, Measured, with_slices
from pytest_ftgate.results import Comparison, Verdict


def references_of(given: GateInput) -> list[str]:
    """Names of the Systems that a paired gate compares the candidate with."""
    if given.gate.row.references == "base":
        return ["base"]
    return [f"baseline:{rung.name}" for rung in given.evalset.rungs_of(given.gate)]


def judge_paired(given: GateInput) -> Verdict:
    """beats_baseline and forgetting: the same paired comparison with another reference and another bound."""
    references = references_of(given)
    if not references:
        raise ScoringError("the eval set has no baselines to beat", fix="add `baselines:` to the eval-set file")
    if lost := unanswered(given, ["candidate", *references]):
        return lost
    delta0 = given.gate.row.delta0(given.gate.bound)
    scores = {name: [s.value for s in given.scores_of(name)] for name in ("candidate", *references)}
    comparisons = tuple(
        compare(
            scores["candidate"], scores[name], given.clusters, name=name, delta0=delta0, approximate=given.approximate
        )
        for name in references
    )
    if given.part:
        comparisons = tuple(given.part.bounded(c) for c in comparisons)
    elif given.gate.row.test == "non_inferiority" and comparisons[0].base <= given.gate.bound:
        # Where the base can do nothing, nothing can be lost: such a set would pass every candidate.
        summary = f"the base scores {comparisons[0].base:.1%}: it cannot lose more than {exact_points(-delta0)}"
        fix = "use general queries that the base answers well, or a smaller max_drop"
        return error_verdict(given.name, given.gate.kind, summary, fix, reason="NOTHING_TO_FORGET", n=comparisons[0].n)
    return _paired_verdict(given, scores, comparisons)


def _paired_verdict(
    given: GateInput, scores: Mapping[str, Sequence[float]], comparisons: tuple[Comparison, ...]
) -> Verdict:
    levels, gain = given.levels, given.gate.row.test == "superiority"
    # The best prompt is the one that is hardest to beat, and one proven better is enough to fail.
    hardest = max(comparisons, key=lambda c: (c.p_good, -c.delta))
    bad = min(comparisons, key=lambda c: (c.p_bad, c.delta))
    outcome = decide(hardest.p_good, bad.p_bad, levels)
    decisive, reason, fix = hardest, "", ""
    if outcome == "PASS":
        end = f"certified {given.p(hardest.p_good)}"
    elif outcome == "FAIL":
        decisive = bad
        end, fix = _proven(bad, given.p(bad.p_bad), gain=gain)
    else:
        ours, theirs = (unit_means(scores[name], given.clusters) for name in ("candidate", hardest.reference))
        planned = given.part.planned_pair(hardest) if given.part else hardest
        shortfall = paired_shortfall(planned, ours, theirs, levels.alpha, unit=given.unit)
        reason, fix = shortfall.reason, shortfall.fix
        end = f"not certified {given.p_missed(hardest.p_good)}: {shortfall.why}"
    details: dict[str, object] = {"method": decisive.method, "reference": decisive.reference, "p_bad": decisive.p_bad}
    if given.part:
        end, details = f"{end}; {given.part.sentence}", {**details, **given.part.details}
    verdict = Verdict(
        gate=given.name,
        kind=given.gate.kind,
        outcome=outcome,
        summary=f"{_paired_sentence(given, decisive)}, {end}",
        fix=fix,
        n=decisive.n,
        value=decisive.delta,
        interval=decisive.interval,
        bound=decisive.delta0,
        p_value=decisive.p_good,
        worst=_most_lost(given, scores["candidate"], scores[decisive.reference]),
        reason=reason,
        comparisons=comparisons,
        details=details,
    )
    lost = [r - c for c, r in zip(scores["candidate"], scores[decisive.reference], strict=True)]
    return with_slices(given, verdict, _slice_measure(given, scores), lost)


def _slice_measure(given: GateInput, scores: Mapping[str, Sequence[float]]) -> Measure:
    row = given.gate.row

    def measure(places: Sequence[int], clusters: Sequence[str | None], bound: float) -> list[Measured]:
        unit = "examples" if all(c is None for c in clusters) else given.unit
        here = {name: [values[i] for i in places] for name, values in scores.items()}
        return [_slice_measured(given, here, name, clusters, row.delta0(bound), unit) for name in references]

    references = references_of(given)
    return measure


def _slice_measured(
    given: GateInput,
    scores: Mapping[str, Sequence[float]],
    name: str,
    clusters: Sequence[str | None],
    delta0: float,
    unit: str,
) -> Measured:
    ours, theirs = scores["candidate"], scores[name]
    c = compare(ours, theirs, clusters, name=name, delta0=delta0, approximate=given.approximate)

    def shortfall() -> Shortfall:
        means = (unit_means(ours, clusters), unit_means(theirs, clusters))
        return paired_shortfall(c, *means, given.levels.alpha, unit=unit)

    if given.gate.row.test == "non_inferiority" and c.base <= -delta0:
        # As for the gate: where the base can do nothing, nothing can be lost, so nothing is certified either.
        why = f"the base scores {c.base:.1%} there: it cannot lose more than {exact_points(-delta0)}"
        nothing = Shortfall("CANNOT_PASS_AT_N", why, "add examples that the base answers well")
        return Measured(name, c.n, c.delta, c.interval, delta0, 1.0, 1.0, c.method, lambda: nothing)
    return Measured(name, c.n, c.delta, c.interval, delta0, c.p_good, c.p_bad, c.method, shortfall)


def _proven(bad: Comparison, p: str, *, gain: bool) -> tuple[str, str]:
    """(what a FAIL has proven, what to do about it)"""
    bound = exact_points(abs(bad.delta0))
    if gain:
        rung = bad.reference.partition(":")[2]
        return f"proven to gain less {p}", f"ship the prompt of rung {rung} instead, or train for what it cannot do"
    fix = "mix general rows into the training data (replay), or lower the learning rate or the epochs"
    return f"proven to lose more than {bound} {p}", fix


def _most_lost(given: GateInput, candidate: Sequence[float], reference: Sequence[float]) -> tuple[str, ...]:
    """Ids of the examples that lost most, most first."""
    drops = [r - c for c, r in zip(candidate, reference, strict=True)]
    order = sorted(range(len(drops)), key=lambda i: (-drops[i], i))
    return tuple(given.evalset.examples[i].id for i in order if drops[i] > 0)[:WORST]


def _paired_sentence(given: GateInput, c: Comparison) -> str:
    bound = exact_points(abs(c.delta0))
    gain = given.gate.row.test == "superiority"
    need = f"a gain above {bound} needed" if gain else f"a loss below {bound} needed"
    low, high = (100 * end for end in c.interval)
    spread = f"95% interval {low:+.1f} to {high:+.1f}{said_approximate(c.method)}"
    return (
        f"{c.candidate:.1%} against {c.base:.1%} of {c.reference} on {given.counted(c.n)}: {100 * c.delta:+.1f} points "
        f"({spread}; {c.gains} gained, {c.losses} lost); {need}"
    )
