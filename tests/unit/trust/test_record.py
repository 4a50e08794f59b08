"""What becomes of an attempt when it is written down and others were written meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answered import evalset, example, gate
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.evalset.types import AttemptPolicy
from pytest_ftgate.results import Outcome, Verdict
from pytest_ftgate.trust.attempts.counting import Attempt, count_attempt, draft_entry
from pytest_ftgate.trust.attempts.ledger import FOLDER, LEDGER, begin_ledger, read_ledger
from pytest_ftgate.trust.attempts.recording import Recorded, record_attempts

ALPHA = 0.05
HARMONIC = AttemptPolicy("harmonic")
SAME = AttemptPolicy("fixed-budget", 3)
NONE = AttemptPolicy()


def count(root: Path, candidate: str, policy: AttemptPolicy = HARMONIC, n: int = 20) -> Attempt:
    """The attempt as a run counts it when it begins."""
    begin_ledger(root, declared=True)
    of = replace(evalset([example(i) for i in range(n)]), gates=(gate("accuracy", 0.5),), attempts=policy)
    draft = draft_entry(of, candidate=candidate, form=("auto", "none"), alpha=ALPHA)
    return count_attempt(draft, read_ledger(root), beside=("set",), alpha=ALPHA)


def write(root: Path, attempt: Attempt, outcome: Outcome = "PASS", looked_at: Sequence[str] = ()) -> Recorded:
    """The attempt as a run writes it down when it ends."""
    given: dict[str, Any] = {"summary": "MARK", "fix": "", "n": 20, "value": 0.9, "interval": (0.8, 1.0)}
    verdict = Verdict("set::accuracy", "accuracy", outcome, bound=0.5, p_value=0.001, **given)
    return record_attempts(root, [attempt], [verdict], beside=("set",), alpha=ALPHA, looked_at=looked_at)


@pytest.mark.parametrize("outcome", ["PASS", "FAIL", "INCONCLUSIVE"])
def test_a_gate_judged_at_the_share_of_another_attempt_is_refused(tmp_path: Path, outcome: Outcome) -> None:
    one, other = count(tmp_path, "one"), count(tmp_path, "other")
    assert one.entry.alpha == other.entry.alpha == ALPHA / 2
    assert not write(tmp_path, one).refused
    late = write(tmp_path, other, outcome)
    refused = late.refused["set::accuracy"]
    assert (refused.outcome, refused.reason, refused.p_value) == ("ERROR", "LEDGER", None)
    assert refused.summary == (
        "another run was counted on these examples while this one was judged at alpha 0.025; as attempt 2 it has 0.0083"
    )
    assert (late.attempts[0].entry.index, late.attempts[0].entry.alpha) == (2, pytest.approx(ALPHA / 6))
    first, second = read_ledger(tmp_path).entries
    assert (first.outcomes, second.outcomes) == ({"accuracy": "PASS"}, {})
    again = count(tmp_path, "other")
    assert (again.entry.index, again.entry.alpha, again.repeated) == (2, pytest.approx(ALPHA / 6), True)
    assert not write(tmp_path, again, outcome).refused


def test_where_the_share_is_the_same_the_gates_count_and_the_number_is_right(tmp_path: Path) -> None:
    attempts = [count(tmp_path, name, SAME) for name in ("a", "b", "c", "d")]
    *within, beyond = [write(tmp_path, attempt) for attempt in attempts]
    assert [r.attempts[0].entry.index for r in within] == [1, 2, 3]
    assert not any(r.refused or r.attempts[0].refused for r in within)
    assert beyond.refused["set::accuracy"].fix.startswith("add fresh examples")
    assert [(e.index, bool(e.outcomes)) for e in read_ledger(tmp_path).entries] == [(1, 1), (2, 1), (3, 1), (4, 0)]


def test_where_no_alpha_is_shared_only_the_number_changes(tmp_path: Path) -> None:
    one, other = count(tmp_path, "one", NONE), count(tmp_path, "other", NONE)
    write(tmp_path, one)
    late = write(tmp_path, other)
    assert (late.refused, late.attempts[0].entry.index, late.attempts[0].refused) == ({}, 2, "")
    assert [e.outcomes for e in read_ledger(tmp_path).entries] == [{"accuracy": "PASS"}] * 2


def test_the_same_candidate_is_not_drawn_twice_at_once(tmp_path: Path) -> None:
    one, twin = count(tmp_path, "one"), count(tmp_path, "one")
    assert not write(tmp_path, one, "FAIL").refused
    late = write(tmp_path, twin, "PASS")
    assert late.refused["set::accuracy"].reason == "NOT_REPEATED"
    assert "FAIL when this candidate was judged on the same inputs before, PASS now" in late.attempts[0].refused
    assert len(read_ledger(tmp_path).entries) == 1
    assert not write(tmp_path, count(tmp_path, "one"), "FAIL").refused


def test_a_ledger_that_vanishes_meanwhile_stops_gates_that_share_alpha(tmp_path: Path) -> None:
    write(tmp_path, count(tmp_path, "before"))
    sharing, free = count(tmp_path, "one"), count(tmp_path, "two", NONE)
    (tmp_path / FOLDER / LEDGER).unlink()
    late = write(tmp_path, sharing)
    assert late.refused["set::accuracy"].summary.startswith(
        "the attempt count cannot be verified: .ftgate/ledger.jsonl"
    )
    assert late.to_json()["attempts"][0]["verified"] is False  # type: ignore[index,call-overload]
    assert not write(tmp_path, free).refused


def test_u1_a_look_that_costs_nothing_is_counted_apart(tmp_path: Path) -> None:
    for times in (1, 2):
        (seen,) = write(tmp_path, count(tmp_path, "one", NONE), looked_at=("set",)).attempts
        assert (seen.is_look, seen.looks, seen.made) == (True, times, 0)
    first = count(tmp_path, "one", NONE)
    assert (first.entry.index, first.repeated, first.looks) == (1, False, 2)
    write(tmp_path, first)
    assert count(tmp_path, "two", NONE).entry.index == 2
    assert count(tmp_path, "two").entry.alpha == pytest.approx(ALPHA / 6)  # of attempt 2: no look moved it
    found = read_ledger(tmp_path)
    assert ([e.outcomes for e in found.looks], len(found.entries), found.problem) == ([{}, {}], 1, "")


@pytest.mark.parametrize("policy", [HARMONIC, AttemptPolicy(feedback="sealed")])
def test_a_look_that_is_spent_is_written_once(tmp_path: Path, policy: AttemptPolicy) -> None:
    one, twin = count(tmp_path, "one", policy), count(tmp_path, "one", policy)
    for attempt in (one, twin):
        assert not write(tmp_path, attempt, looked_at=("set",)).refused
    assert [e.outcomes for e in read_ledger(tmp_path).entries] == [{}]


@given(steps=st.permutations([name for name in "abcd" for _ in range(2)]), policy=st.sampled_from([HARMONIC, SAME]))
def test_however_runs_interleave_no_more_than_alpha_is_spent(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], policy: AttemptPolicy
) -> None:
    """The first step of a candidate begins its run, the second ends it; what passes does so at its own level."""
    root = tmp_path_factory.mktemp("ledger")
    running: dict[str, Attempt] = {}
    spent = 0.0
    for candidate in steps:
        if candidate not in running:
            running[candidate] = count(root, candidate, policy)
        elif running[candidate].entry.alpha > 0 and not write(root, running[candidate]).refused:
            spent += running[candidate].entry.alpha
    assert spent <= ALPHA * (1 + 1e-9)
