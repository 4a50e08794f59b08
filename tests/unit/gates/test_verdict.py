"""One run verdict from all gates: SHIP only where everything required passed and nothing else went wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.gates.decision import EXIT_CODES, Decision, RunFacts, decide
from pytest_ftgate.results import Outcome, RunVerdict, Verdict

NAMES = [f"set::{kind}" for kind in ("overlap", "format", "accuracy", "beats_baseline", "forgetting")]
# From what speaks loudest against shipping to what does not.
ORDER: list[RunVerdict] = ["BLOCK", "NOT_EVALUATED", "INCONCLUSIVE", "PARTIAL", "SHIP"]


def verdict(name: str, outcome: Outcome) -> Verdict:
    return Verdict(name, name.partition("::")[2], outcome, "measured", "", 9, None, None, None, None)


def facts(
    outcomes: dict[str, Outcome],
    *,
    required: list[str] | None = None,
    selected: list[str] | None = None,
    other_failures: int = 0,
    partial: str = "",
) -> RunFacts:
    names = sorted(outcomes)
    verdicts = {name: verdict(name, outcome) for name, outcome in outcomes.items()}
    return RunFacts(
        names if required is None else required, names if selected is None else selected, verdicts, other_failures,
        partial,
    )  # fmt: skip


runs = st.builds(
    facts,
    st.dictionaries(st.sampled_from([*NAMES, "elsewhere::accuracy"]), st.sampled_from(get_args(Outcome))),
    required=st.lists(st.sampled_from(NAMES), unique=True),
    selected=st.lists(st.sampled_from(NAMES), unique=True),
    other_failures=st.sampled_from([0, 0, 0, 2]),
    partial=st.sampled_from(["", "", "--ft-limit leaves out examples"]),
)


@given(runs)
def test_ship_exactly_where_every_required_gate_passed_and_nothing_else_is_wrong(run: RunFacts) -> None:
    outcomes = {name: v.outcome for name, v in run.verdicts.items()}
    ships = (
        bool(run.required)
        and all(outcomes.get(name) == "PASS" for name in run.required)
        and set(outcomes.values()) <= {"PASS"}
        and set(run.selected) <= outcomes.keys()
        and not run.other_failures
        and not run.partial_because
    )
    decision = decide(run)
    assert (decision.verdict == "SHIP") == ships == (decision.exit_code == 0)


@given(runs)
def test_precedence(run: RunFacts) -> None:
    outcomes = {name: v.outcome for name, v in run.verdicts.items()}
    missing = set(run.required) - outcomes.keys()
    applies: dict[RunVerdict, bool] = {
        "BLOCK": "FAIL" in outcomes.values() or run.other_failures > 0,
        "NOT_EVALUATED": not run.required or "ERROR" in outcomes.values() or bool(set(run.selected) - outcomes.keys()),
        "INCONCLUSIVE": "INCONCLUSIVE" in outcomes.values(),
        "PARTIAL": bool(missing) or bool(run.partial_because),
        "SHIP": True,
    }
    decision = decide(run)
    assert decision.verdict == next(v for v in ORDER if applies[v])
    assert decision.exit_code == EXIT_CODES[decision.verdict]
    assert decision.reason
    assert "\n" not in decision.reason


@given(runs, st.data())
def test_p3_dropping_a_gate_or_its_verdict_never_ships(run: RunFacts, data: st.DataObject) -> None:
    if not run.required:
        return
    name = data.draw(st.sampled_from(sorted(run.required)))
    verdicts = {k: v for k, v in run.verdicts.items() if k != name}
    selected = [s for s in run.selected if s != name] if data.draw(st.booleans()) else run.selected
    dropped = RunFacts(run.required, selected, verdicts, run.other_failures, run.partial_because)
    assert decide(dropped).verdict != "SHIP"


@given(runs, st.data(), st.sampled_from(["FAIL", "INCONCLUSIVE", "ERROR"]))
def test_a_worse_outcome_never_ships(run: RunFacts, data: st.DataObject, outcome: Outcome) -> None:
    if not run.verdicts:
        return
    name = data.draw(st.sampled_from(sorted(run.verdicts)))
    worse = {**run.verdicts, name: verdict(name, outcome)}
    decision = decide(RunFacts(run.required, run.selected, worse, run.other_failures, run.partial_because))
    assert decision.verdict != "SHIP"


@given(runs, st.randoms(use_true_random=False))
def test_the_order_of_reports_does_not_matter(run: RunFacts, random: object) -> None:
    shuffled = dict(reversed(list(run.verdicts.items())))
    again = decide(RunFacts(run.required[::-1], run.selected[::-1], shuffled, run.other_failures, run.partial_because))
    assert again.verdict == decide(run).verdict


PASSED: dict[str, Outcome] = dict.fromkeys(NAMES, "PASS")


@pytest.mark.parametrize(
    ("run", "verdict", "reason"),
    [
        (facts(PASSED), "SHIP", "all 5 gates passed"),
        (facts({"a::format": "PASS"}), "SHIP", "the only gate passed"),
        (facts({**PASSED, "set::format": "FAIL"}), "BLOCK", "set::format failed"),
        (facts(PASSED, other_failures=1), "BLOCK", "1 other test(s) failed"),
        (
            facts({}),
            "NOT_EVALUATED",
            "no gate was found: no *.eval.yaml file lies under the paths given to pytest",
        ),
        (facts({**PASSED, "set::format": "ERROR"}), "NOT_EVALUATED", "set::format could not be judged"),
        (
            facts({"a::format": "PASS"}, required=["a::format", "a::accuracy"], selected=["a::format", "a::accuracy"]),
            "NOT_EVALUATED",
            "no verdict was received from a::accuracy (skipped, crashed or stopped)",
        ),
        (
            facts({**PASSED, "set::format": "INCONCLUSIVE"}),
            "INCONCLUSIVE",
            "set::format could not be certified with these examples",
        ),
        (
            facts({"a::format": "PASS"}, required=["a::format", "a::accuracy"]),
            "PARTIAL",
            "a::accuracy was not selected; a subset never ships",
        ),
        (facts(PASSED, partial="--ft-limit was given"), "PARTIAL", "--ft-limit was given"),
    ],
)
def test_the_reason_is_one_plain_sentence(run: RunFacts, verdict: RunVerdict, reason: str) -> None:
    assert decide(run) == Decision(verdict, reason)


def test_many_names_are_cut() -> None:
    outcomes: dict[str, Outcome] = {f"s{i}::format": "FAIL" for i in range(7)}
    assert decide(facts(outcomes)).reason == "s0::format, s1::format, s2::format, s3::format and 3 more failed"
    left = decide(facts({"a::format": "PASS"}, required=["a::format", "b::format", "c::format"]))
    assert left.reason == "b::format, c::format were not selected; a subset never ships"


def test_two_required_gates_of_one_name_are_not_one() -> None:
    """One verdict cannot stand for two gates."""
    decision = decide(facts({"a::format": "PASS"}, required=["a::format", "a::format"]))
    assert decision.verdict == "NOT_EVALUATED"
    assert "a::format" in decision.reason


def test_exit_codes_are_the_documented_ones() -> None:
    assert EXIT_CODES == {"SHIP": 0, "BLOCK": 1, "INCONCLUSIVE": 20, "NOT_EVALUATED": 21, "PARTIAL": 22}


@given(runs)
def test_gates_of_a_part_of_the_examples_decide_nothing(run: RunFacts) -> None:
    decision = decide(replace(run, only_part="at most 5 examples were asked"))
    lost = set(run.selected) - run.verdicts.keys()
    expected = "BLOCK" if run.other_failures else "NOT_EVALUATED" if lost or not run.required else "PARTIAL"
    assert decision.verdict == expected
