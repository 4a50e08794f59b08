"""The cost gate: tokens are counted exactly, on the same examples, in one tokenizer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from answered import FAILED, evalset, example

from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.gates.contamination import judge_with_leaks
from pytest_ftgate.gates.curtailment import cannot_stop
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.power import hopeless_verdict, needs_answers, warnings_before
from pytest_ftgate.results import Generation, Verdict
from pytest_ftgate.trust.attempts.counting import is_counted


def took(prompt: int, new: int) -> Generation:
    return Generation("yes", tuple(range(new)), "stop", prompt)


def given(ours: list[Generation], theirs: list[Generation], max_ratio: float = 0.5, **changes: Any) -> GateInput:
    asked = evalset([example(i) for i in range(len(ours))], rungs=("zero_shot", "few_shot"), scorer=None)
    gate = GateSpec("cost", max_ratio, {"of": "few_shot"}, 7)
    asked = replace(asked, gates=(gate,))
    answers = {
        "candidate": {e.id: one for e, one in zip(asked.examples, ours, strict=True)},
        "baseline:few_shot": {e.id: one for e, one in zip(asked.examples, theirs, strict=True)},
    }
    return GateInput(asked, gate, answers, Levels(), **changes)


def cost(*args: Any, **changes: Any) -> Verdict:
    return judge(given(*args, **changes))


def test_the_ratio_is_that_of_the_sums() -> None:
    """Not the mean of the ratios, which would be (0.1 + 0.9) / 2 = 0.5 here."""
    verdict = cost([took(8, 2), took(700, 200)], [took(90, 10), took(900, 100)])
    assert verdict.outcome == "FAIL"
    assert verdict.value == pytest.approx(910 / 1100)
    assert (verdict.bound, verdict.n, verdict.p_value, verdict.interval) == (0.5, 2, None, None)
    assert verdict.worst == ("e1",)
    assert "910 tokens against 1,100 of baseline:few_shot on 2 examples" in verdict.summary
    assert "prompts 708 against 990, answers 202 against 110" in verdict.summary
    assert verdict.fix


def test_prompt_and_answer_both_count() -> None:
    assert cost([took(40, 10)] * 3, [took(90, 10)] * 3).outcome == "PASS"
    assert cost([took(41, 10)] * 3, [took(90, 10)] * 3).outcome == "FAIL"
    assert cost([took(40, 11)] * 3, [took(90, 10)] * 3).outcome == "FAIL"


@pytest.mark.parametrize("bound", [0.29, 0.07, 0.57, 1.1])
def test_a_ratio_that_is_exactly_the_bound_passes(bound: float) -> None:
    """0.29 * 100 is less than 29 in binary."""
    ours = round(100 * bound)
    assert cost([took(ours - 1, 1)], [took(99, 1)], bound).outcome == "PASS"
    assert cost([took(ours, 1)], [took(99, 1)], bound).outcome == "FAIL"


def test_few_examples_and_copies_of_one_are_counted_too() -> None:
    asked = given([took(8, 2)] * 4, [took(90, 10)] * 4)
    same = replace(asked.evalset, examples=tuple(replace(e, fields={"q": "one"}) for e in asked.evalset.examples))
    assert judge(replace(asked, evalset=same)).outcome == "PASS"


@pytest.mark.parametrize(
    ("ours", "theirs", "changes", "reason"),
    [
        ([took(8, 2), FAILED], [took(90, 10)] * 2, {}, "GENERATION"),
        ([took(8, 2)] * 2, [took(90, 10), FAILED], {}, "GENERATION"),
        ([took(8, 2)] * 2, [took(90, 10), took(0, 10)], {}, "TOKENS"),
        ([took(0, 2)] * 2, [took(90, 10)] * 2, {}, "TOKENS"),
        ([Generation("yes", (), "stop")] * 2, [took(90, 10)] * 2, {}, "TOKENS"),
        ([Generation("yes", (), "stop", 8)] * 2, [took(90, 10)] * 2, {}, "TOKENS"),
        ([took(8, 2)] * 2, [took(90, 10)] * 2, {"engine": {"own_tokenizer": True}}, "TOKENIZER"),
    ],
)
def test_what_cannot_be_counted_is_an_error(
    ours: list[Generation], theirs: list[Generation], changes: dict[str, Any], reason: str
) -> None:
    verdict = cost(ours, theirs, **changes)
    assert (verdict.outcome, verdict.reason) == ("ERROR", reason)


@pytest.mark.parametrize("system", ["candidate", "baseline:few_shot"])
def test_an_answer_that_is_missing_is_an_error(system: str) -> None:
    asked = given([took(8, 2)] * 3, [took(90, 10)] * 3)
    mine = dict(asked.answers[system])
    mine.pop("e1")
    verdict = judge(replace(asked, answers={**asked.answers, system: mine}))
    assert (verdict.outcome, verdict.reason) == ("ERROR", "MISSING")


def test_a_rung_that_is_not_there_is_an_error() -> None:
    asked = given([took(8, 2)], [took(90, 10)])
    gone = replace(asked.evalset, baselines=())
    assert judge(replace(asked, evalset=gone)).reason == "NO_REFERENCE"


def test_a_pass_that_rests_on_leaked_examples_is_none() -> None:
    asked = given([took(8, 2), took(80, 20)], [took(190, 10), took(90, 10)])
    assert judge_with_leaks(asked, set()).outcome == "PASS"
    assert judge_with_leaks(asked, {"e0"}).reason == "LEAKED"


def test_nothing_is_tested_so_nothing_is_planned_counted_or_cut_short() -> None:
    asked = given([took(8, 2)], [took(90, 10)])
    evals, gate = asked.evalset, asked.gate
    assert not is_counted("cost")
    assert hopeless_verdict(evals, gate, 0.05) is None
    assert needs_answers(evals, gate, 0.05, judge_hopeless=False)
    assert warnings_before([(evals, gate, 0.05)]) == []
    assert cannot_stop(evals, [gate]) == "cost, which is measured on every example"
