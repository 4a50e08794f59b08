"""Generations -> Scores -> one Verdict per gate. Pure: no pytest, no model, no files beyond what scorers name.

Every gate has a bad null and passes only where that null is rejected (intersection-union over gates, rungs and bounded
slices: a model with any one thing wrong ships with probability at most alpha). What was not answered is never scored:
it is an ERROR.
"""

from __future__ import annotations

from pytest_ftgate.gates.given import WORST, Answers, GateInput, error_verdict, scores_of, too_few
from pytest_ftgate.gates.paired import judge_paired, references_of
from pytest_ftgate.gates.rates import judge_accuracy, judge_format
from pytest_ftgate.results import Verdict

__all__ = ["WORST", "Answers", "GateInput", "error_verdict", "judge", "references_of", "scores_of"]


def judge(given: GateInput) -> Verdict:
    """The Verdict of one format, accuracy, beats_baseline or forgetting gate.

    Raises ScoringError where a scorer or format check breaks; the caller makes that an ERROR.
    """
    if lost := too_few(given):
        return lost
    if given.gate.kind == "format":
        return judge_format(given)
    if given.gate.kind == "accuracy":
        return judge_accuracy(given)
    return judge_paired(given)
