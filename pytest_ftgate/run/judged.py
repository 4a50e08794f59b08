"""One gate of a run: judged under its policy and at the level that is left for this attempt, and put on its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.gates.given import error_verdict
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.overlap import Overlaps
from pytest_ftgate.results import Verdict, verdict_to_json
from pytest_ftgate.run.gate_in_force import GateInForce
from pytest_ftgate.run.judging import evalset_facts, judge_gate
from pytest_ftgate.run.session import EVALSET_PROPERTY, STAGE_PROPERTY, VERDICT_PROPERTY, Session
from pytest_ftgate.trust.attempts.counting import is_counted
from pytest_ftgate.trust.attempts.verdicts import keep_result, say_used_up, seal
from pytest_ftgate.trust.policy.enforce import settle


def levels_of(session: Session, evalset: EvalSet, shared: Path) -> Levels:
    """Error rates of the gates of one eval set: alpha is what is left for this attempt."""
    counted = any(is_counted(gate.kind) for gate in evalset.gates)
    alpha = session.attempt(evalset, shared).entry.alpha if counted else session.alpha
    return Levels(alpha, sum(file.hypotheses for file in session.required))


def in_force(session: Session, evalset: EvalSet, gate: GateSpec, shared: Path) -> GateInForce:
    """The gate as it is judged. Raises FtgateError where it cannot be known which attempt this is."""
    strict = session.subset.of(session.held(evalset))
    attempt = session.attempt(evalset, shared) if gate.row.counted else None
    return GateInForce(strict, gate, strict.gate(gate.kind), attempt, levels_of(session, evalset, shared))


def refuse_xfail(evalset: EvalSet, gate: GateSpec) -> Verdict:
    """The Verdict of a gate that another plugin marked as expected to fail."""
    name, why = gate_name(evalset.name, gate.kind), "a gate cannot be expected to fail"
    return error_verdict(name, gate.kind, why, "remove the xfail mark", reason="XFAIL")


def judge(
    session: Session,
    evalset: EvalSet,
    gate: GateSpec,
    overlaps: Overlaps,
    stage: Callable[[], StageResult],
    shared: Path,
) -> Verdict:
    """The Verdict of one gate, held to the policy, at the level that is left for this attempt."""
    name = gate_name(evalset.name, gate.kind)
    if session.policy_changed:
        why = "policy or eval sets were changed while the run was starting"
        return error_verdict(name, gate.kind, why, "run again", reason="POLICY_CHANGED")
    try:
        force = in_force(session, evalset, gate, shared)
    except FtgateError as error:
        return error_verdict(name, gate.kind, error.message, error.fix, reason=type(error).__name__)
    if refused := force.refused:
        return refused
    verdict = judge_gate(
        force.evalset,
        force.used,
        overlaps,
        force.levels,
        stage,
        corroborate=session.corroborate,
        judge_hopeless=session.judge_hopeless,
    )
    verdict = settle(session.policy.policy, gate, force.used, verdict)
    if force.attempt is not None and not session.subset.is_part:  # what a part shows is no result of the whole
        verdict = keep_result(verdict, force.attempt)
    if evalset.attempts.feedback == "sealed":
        verdict = seal(verdict)
    if force.attempt is None or session.subset.is_part:
        return verdict
    return say_used_up(verdict, force.attempt, force.used, alpha=session.alpha)


def properties(verdict: Verdict, evalset: EvalSet, used: Sequence[StageResult]) -> list[tuple[str, object]]:
    """What travels on the report: into junit as properties, and through xdist to the controller."""
    plain: list[tuple[str, object]] = [("ftgate.outcome", verdict.outcome), ("ftgate.n", verdict.n)]
    if verdict.value is not None:
        plain += [("ftgate.value", verdict.value), ("ftgate.bound", verdict.bound)]
    if verdict.interval is not None:
        plain += [("ftgate.low", verdict.interval[0]), ("ftgate.high", verdict.interval[1])]
    if verdict.p_value is not None:
        plain.append(("ftgate.p", verdict.p_value))
    for result in used[:1]:
        facts = {"engine": dict(result.engine), "counts": result.counts, "withheld": result.withheld}
        plain.append((STAGE_PROPERTY, json.dumps(facts, allow_nan=False)))
    plain.append((EVALSET_PROPERTY, json.dumps(evalset_facts(evalset), allow_nan=False)))
    return [*plain, (VERDICT_PROPERTY, json.dumps(verdict_to_json(verdict), allow_nan=False))]
