"""Changes the Verdict of a gate for its attempt: refused, not drawn again, used up, sealed. Pure."""

from __future__ import annotations

from dataclasses import replace

from pytest_ftgate import stats
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.gates.given import error_verdict
from pytest_ftgate.results import Outcome, Verdict
from pytest_ftgate.trust.attempts.counting import Attempt
from pytest_ftgate.trust.attempts.ledger import FIX

RESULTS = ("PASS", "FAIL", "INCONCLUSIVE")
OPEN = ("LEDGER", "NOT_REPEATED", "XFAIL", "TOO_FEW", "EngineError", "FolderError", "IdentityError", "UnknownTraining")
"""Reasons whose sentences tell of files and settings, never of answers: shown of a sealed eval set too."""


def refuse(attempt: Attempt, evalset: EvalSet, gate: GateSpec) -> Verdict | None:
    """The Verdict of a gate that must not be judged in this attempt; None where it may."""
    name = gate_name(evalset.name, gate.kind)
    if not attempt.spends:
        return None
    if attempt.problem:
        summary = f"the attempt count cannot be verified: {attempt.problem}"
        return error_verdict(name, gate.kind, summary, FIX, reason="LEDGER")
    if attempt.entry.alpha > 0.0:
        return None
    summary = f"at attempt {attempt.entry.index}, the budget of these examples ({attempt.entry.spend}) is used up"
    fix = "add fresh examples: a set of which more than half was never used starts a new count"
    return replace(error_verdict(name, gate.kind, summary, fix, reason="CANNOT_PASS_AT_N"), outcome="INCONCLUSIVE")


def keep_result(verdict: Verdict, attempt: Attempt) -> Verdict:
    """The Verdict, unless the same candidate had another result on the same inputs: no gate is drawn twice."""
    before = attempt.known.get(verdict.kind)
    if not attempt.spends or not is_redrawn(verdict, before):
        return verdict
    summary = f"{before} when this candidate was judged on the same inputs before, {verdict.outcome} now"
    fix = "find out what changed (versions, device, batch size); the same attempt cannot be drawn again"
    return error_verdict(verdict.gate, verdict.kind, summary, fix, reason="NOT_REPEATED", n=verdict.n)


def is_redrawn(verdict: Verdict, before: Outcome | None) -> bool:
    """Whether a gate passes now and did not before on the same inputs, or the other way round."""
    return before in RESULTS and verdict.outcome in RESULTS and (before == "PASS") != (verdict.outcome == "PASS")


def say_used_up(verdict: Verdict, attempt: Attempt, gate: GateSpec, *, alpha: float) -> Verdict:
    """Where a gate cannot pass any more with the alpha that is left, its fix counts the fresh examples it needs."""
    fresh = _fresh_needed(gate, verdict.n, attempt.entry.alpha, alpha) if verdict.reason == "CANNOT_PASS_AT_N" else 0
    if not fresh:
        return verdict
    level = f"alpha {attempt.entry.alpha:.2g} of {alpha:g} is left"
    fix = f"the eval set is used up at attempt {attempt.entry.index} ({level}): add at least {fresh} fresh examples"
    return replace(verdict, fix=fix)


def _fresh_needed(gate: GateSpec, n: int, level: float, alpha: float) -> int:
    """Examples to add so that the best outcome passes at `level`; 0 where it could not pass at all of alpha either."""
    test = gate.row.test
    if test is None or not (n and 0.0 < level < alpha) or stats.best_p_value(test, n, bound=gate.bound) > alpha:
        return 0
    needed = stats.examples_needed_at_best(test, bound=gate.bound, alpha=level)
    return max(0, needed - n) if needed else 0


def seal(verdict: Verdict) -> Verdict:
    """Verdict and reason code, and nothing that was measured: whatever is made from it can show no more."""
    summary, fix = verdict.summary, verdict.fix
    if verdict.outcome == "PASS" and verdict.reason not in OPEN:
        summary, fix = "passed (sealed: no result is shown)", ""
    elif verdict.reason not in OPEN:
        what = "could not be judged" if verdict.outcome == "ERROR" else "not passed"
        summary = f"{what} (sealed: no result is shown)"
        fix = "find the cause on other examples, in an eval set with `feedback: full`"
    # Not `replace`: a field that a Verdict is given later is left out as well.
    return Verdict(
        gate=verdict.gate,
        kind=verdict.kind,
        outcome=verdict.outcome,
        summary=summary,
        fix=fix,
        n=verdict.n,
        value=None,
        interval=None,
        bound=None,
        p_value=None,
        reason=verdict.reason,
        details={"sealed": True},
    )
