"""The one door to a Verdict: which function judges a gate."""

from __future__ import annotations

from pytest_ftgate.gates.given import GateInput, too_few
from pytest_ftgate.gates.paired import judge_paired
from pytest_ftgate.gates.rates import judge_accuracy, judge_format
from pytest_ftgate.results import Verdict


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
