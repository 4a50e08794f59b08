"""The one door to a Verdict: which function judges a gate.

JUDGES is the half of the table of kinds (`evalset/kinds.py`) that needs the functions of this room: one for each kind
that asks a model. Importing this module fails where the two halves do not name the same kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_ftgate.errors import UnknownGateKind
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.gates.cost import judge_cost
from pytest_ftgate.gates.given import GateInput, error_verdict, too_few
from pytest_ftgate.gates.paired import judge_paired
from pytest_ftgate.gates.rates import judge_accuracy, judge_format
from pytest_ftgate.results import Verdict

Judge = Callable[[GateInput], Verdict]

JUDGES: dict[str, Judge] = {
    "format": judge_format,
    "accuracy": judge_accuracy,
    "beats_baseline": judge_paired,
    "forgetting": judge_paired,
    "cost": judge_cost,
}
"""Kind -> how it is judged. A kind that asks no model is judged from the training rows (`gates/overlap.py`)."""


def check_complete(judges: Mapping[str, Judge]) -> None:
    """Raises UnknownGateKind where a kind has a row and no function, or a function and no row."""
    unknown = [kind for kind in judges if not KINDS[kind].asks_model]
    missing = [row.name for row in KINDS.values() if row.asks_model and row.name not in judges]
    if unknown or missing:
        what = (
            f"expected one function for each kind of gate that asks a model; {missing} have none, {unknown} need none"
        )
        raise UnknownGateKind(what, fix="correct JUDGES in gates/judge.py or the row in evalset/kinds.py")


check_complete(JUDGES)


def judge(given: GateInput) -> Verdict:
    """The Verdict of one gate that asks a model.

    Raises ScoringError where a scorer or format check breaks; the caller makes that an ERROR.
    """
    if given.gate.row.test is not None and (lost := too_few(given)):
        return lost
    verdict = JUDGES[given.gate.kind](given)
    if verdict.outcome == "PASS" and given.evalset.bounded_slices(given.gate.kind) and not verdict.slices:
        # A slice with a bound is part of its gate: a judge that forgot them must not pass it.
        return error_verdict(
            verdict.gate,
            verdict.kind,
            f"{verdict.gate} was judged without its slices, which have bounds of their own",
            "end the function that judges this kind with gates/slices.with_slices",
            reason="SLICES_NOT_JUDGED",
        )
    return verdict
