"""What leaked examples do to the other gates, and what the models say of them."""

from __future__ import annotations

from typing import Any

import pytest
from answered import answers_of, evalset, example, gate, rungs_of

from pytest_ftgate.gates.contamination import judge_with_leaks
from pytest_ftgate.gates.corroboration import Corroboration, corroborate, with_corroboration
from pytest_ftgate.gates.given import GateInput, error_verdict
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Generation


def given(kind: str, bound: float, **systems: list[str]) -> GateInput:
    n = len(next(iter(systems.values())))
    asked = evalset([example(i) for i in range(n)], rungs=rungs_of(systems))
    return GateInput(asked, gate(kind, bound), answers_of(asked, systems), Levels())


def ids(numbers: range) -> frozenset[str]:
    return frozenset(f"e{i}" for i in numbers)


def test_a_gate_that_passes_only_with_leaked_examples_fails() -> None:
    gated = given("accuracy", 0.8, candidate=["yes"] * 90 + ["no"] * 10)
    assert judge(gated).outcome == "PASS"
    verdict = judge_with_leaks(gated, ids(range(60)))
    assert (verdict.outcome, verdict.reason) == ("FAIL", "LEAKED")
    assert "60 examples" in verdict.summary
    assert verdict.fix
    assert set(verdict.worst) <= ids(range(60))
    shown: Any = verdict.details["contamination"]
    assert shown["all"]["value"] == 0.9
    assert (shown["clean"]["n"], shown["clean"]["value"]) == (40, 0.75)


def test_a_gate_that_passes_on_the_clean_examples_too_passes_and_shows_both() -> None:
    verdict = judge_with_leaks(given("accuracy", 0.8, candidate=["yes"] * 98 + ["no"] * 2), ids(range(5)))
    assert verdict.outcome == "PASS"
    shown: Any = verdict.details["contamination"]
    assert (shown["leaked_examples"], shown["clean"]["n"]) == (5, 95)
    assert shown["clean"]["value"] == pytest.approx(93 / 95)


def test_without_leaks_nothing_is_added() -> None:
    gated = given("accuracy", 0.8, candidate=["yes"] * 100)
    assert judge_with_leaks(gated, frozenset()) == judge(gated)
    assert judge_with_leaks(gated, frozenset({"of another set"})) == judge(gated)


def test_where_every_example_leaked_nothing_passes() -> None:
    verdict = judge_with_leaks(given("format", 0.8, candidate=["yes"] * 50), ids(range(50)))
    assert verdict.outcome == "FAIL"
    assert "no example is left" in verdict.summary


def test_a_failing_gate_stays_as_it_was_judged() -> None:
    gated = given("accuracy", 0.9, candidate=["no"] * 50 + ["yes"] * 50)
    verdict = judge_with_leaks(gated, ids(range(50, 60)))
    assert (verdict.outcome, verdict.reason, verdict.summary) == ("FAIL", "", judge(gated).summary)


def test_gains_that_sit_on_leaked_examples_show_in_the_difference_in_differences() -> None:
    reference = ["no"] * 100
    memorised = given("beats_baseline", 0.05, candidate=["yes"] * 30 + ["no"] * 70, zero_shot=reference)
    (found,) = judge_with_leaks(memorised, ids(range(30))).details["contamination"]["differences"]  # type: ignore[index]
    assert (found["reference"], found["leaked"], found["clean"], found["excess"]) == ("baseline:zero_shot", 1, 0, 1)
    assert found["p_value"] < 0.001
    even = given("beats_baseline", 0.05, candidate=["yes", "no"] * 50, zero_shot=reference)
    (found,) = judge_with_leaks(even, ids(range(30))).details["contamination"]["differences"]  # type: ignore[index]
    assert found["excess"] == 0
    assert found["p_value"] > 0.4


def likelihoods(shift: dict[int, float], n: int = 60, tokens: int = 8) -> dict[str, dict[str, Generation]]:
    """The candidate prefers each reference by a little that varies, and some by `shift` nats per token more."""
    base = {f"e{i}": Generation("", tuple(range(tokens)), "stop", 5, label_logprobs={"yes": -20.0}) for i in range(n)}
    ours = {
        f"e{i}": Generation(
            "", tuple(range(tokens)), "stop", 5, label_logprobs={"yes": -20 + tokens * (i % 7 / 70 + shift.get(i, 0))}
        )
        for i in range(n)
    }
    return {"candidate:reference": ours, "base:reference": base}


def test_leaked_references_that_the_candidate_knows_better_are_a_strong_signal() -> None:
    asked = evalset([example(i) for i in range(60)])
    found = corroborate(asked, likelihoods(dict.fromkeys(range(10), 0.5)), ids(range(10)))
    assert isinstance(found, Corroboration)
    assert (found.leaked, found.clean, found.strength) == (10, 50, "strong")
    assert found.median_leaked - found.median_clean == pytest.approx(0.5, abs=0.05)
    assert found.outliers == ()
    verdict = with_corroboration(error_verdict("set::overlap", "overlap", "said", "", reason="X"), found)
    assert verdict.outcome == "ERROR"
    assert "strong" in verdict.summary


def test_no_difference_is_no_signal() -> None:
    found = corroborate(evalset([example(i) for i in range(60)]), likelihoods({}), ids(range(7, 14)))
    assert isinstance(found, Corroboration)
    assert found.strength == "none"
    assert found.p_value > 0.1


def test_an_unflagged_example_known_by_heart_is_named() -> None:
    found = corroborate(evalset([example(i) for i in range(60)]), likelihoods({33: 3.0}), frozenset())
    assert isinstance(found, Corroboration)
    assert found.outliers == ("e33",)


def test_labels_and_small_sets_are_not_enough_to_say_anything() -> None:
    asked = evalset([example(i) for i in range(60)])
    assert isinstance(corroborate(asked, likelihoods({}, tokens=2), frozenset()), str)
    few = evalset([example(i) for i in range(20)])
    note = corroborate(few, likelihoods({}, n=20), ids(range(3)))
    assert isinstance(note, str)
    verdict = error_verdict("set::overlap", "overlap", "said", "", reason="X")
    assert with_corroboration(verdict, note).summary == verdict.summary
