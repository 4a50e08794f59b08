"""Which attempt it is, and what is left of alpha: counted right, and never more than alpha in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from answered import evalset, example, gate
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate import stats
from pytest_ftgate.evalset.types import AttemptPolicy, EvalSet
from pytest_ftgate.report.attempts import attempt_sentences, attempts_line
from pytest_ftgate.results import Comparison, Verdict
from pytest_ftgate.trust.attempts.counting import Attempt, alpha_at, count_attempt, draft_entry, shared_share
from pytest_ftgate.trust.attempts.ledger import Entry, Ledger
from pytest_ftgate.trust.attempts.verdicts import keep_result, refuse, say_used_up, seal

ALPHA = 0.05
HARMONIC = AttemptPolicy("harmonic")


def asked(start: int = 0, n: int = 40, **changes: Any) -> EvalSet:
    made = evalset([example(i) for i in range(start, start + n)])
    return replace(made, **{"gates": (gate("accuracy", 0.5),), "digest": "a" * 64, **changes})


def count(
    of: EvalSet, before: Sequence[Entry] = (), candidate: str = "m1", beside: Sequence[str] = ("set",)
) -> Attempt:
    draft = draft_entry(of, candidate=candidate, form=("auto", "none"), alpha=ALPHA)
    return count_attempt(draft, Ledger(tuple(before), declared=True), beside=beside, alpha=ALPHA)


def judged(attempt: Attempt, **outcomes: Any) -> Entry:
    return replace(attempt.entry, outcomes=outcomes or {"accuracy": "FAIL"})


def verdict(**changes: Any) -> Verdict:
    given: dict[str, Any] = {
        "gate": "set::accuracy",
        "kind": "accuracy",
        "outcome": "PASS",
        "summary": "MARK 91.2%",
        "fix": "MARK",
        "n": 40,
        "value": 0.9,
        "interval": (0.8, 0.95),
        "bound": 0.5,
        "p_value": 0.01,
        "worst": ("MARK",),
        "details": {"MARK": 1},
    }
    return Verdict(**{**given, **changes})


# -- counting ----------------------------------------------------------------------------------------------------------


def test_each_candidate_is_an_attempt_and_the_same_one_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first = count(asked())
    assert (first.entry.index, first.repeated) == (1, False)
    past = [judged(first)]
    again = count(asked(), past)
    assert (again.entry.index, again.repeated, again.known) == (1, True, {"accuracy": "FAIL"})
    assert count(asked(), past, "m2").entry.index == 2
    other_form = draft_entry(asked(), candidate="m1", form=("auto", "nf4"), alpha=ALPHA)
    assert count_attempt(other_form, Ledger(tuple(past), declared=True), beside=(), alpha=ALPHA).entry.index == 2


def test_what_is_changed_after_a_look_is_a_new_attempt_and_said() -> None:
    past = [judged(count(asked()))]
    easier = asked(gates=(gate("accuracy", 0.3),), digest="b" * 64)
    found = count(easier, past)
    assert (found.entry.index, found.changed) == (2, "gates")
    assert "its gates changed since this candidate was judged" in attempt_sentences([found], {}, alpha=ALPHA)[0]
    reworded = count(asked(digest="c" * 64), past)
    assert (reworded.entry.index, "prompts" in reworded.changed) == (2, True)


def test_neither_ids_nor_references_nor_spelling_make_an_example_fresh() -> None:
    past = [judged(count(asked()))]
    renamed = [replace(e, id=f"new{i}", fields={**e.fields, "id": f"new{i}"}) for i, e in enumerate(asked().examples)]
    corrected = [replace(e, target="no", fields={**e.fields, "target": "no"}) for e in asked().examples]
    spelt = [replace(e, fields={"q": str(e.fields["q"]).upper() + " ?"}) for e in asked().examples]
    for examples in (renamed, corrected, spelt, reversed(asked().examples)):
        assert count(asked(examples=tuple(examples), digest="b" * 64), past).entry.index == 2


def test_a_set_goes_on_counting_until_half_of_it_is_fresh() -> None:
    past = [judged(count(asked()))]
    assert count(asked(n=80, digest="b" * 64), past).entry.index == 2  # 40 of 80 were used
    assert count(asked(n=81, digest="b" * 64), past).entry.index == 1
    assert count(asked(start=40, digest="b" * 64), past).entry.index == 1
    assert count(asked(n=10, digest="b" * 64), past).entry.index == 2  # all of them were used


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 60))
def test_what_small_sets_share_is_exact(mine: int, other: int, shift: int) -> None:
    a, b = (
        draft_entry(asked(start, n), candidate="m", form=(), alpha=ALPHA) for start, n in ((0, mine), (shift, other))
    )
    both = max(0, min(mine, shift + other) - shift)
    assert shared_share(a, b) == pytest.approx(both / mine)


def test_what_large_sets_share_is_near() -> None:
    a, b = (draft_entry(asked(start, 2000), candidate="m", form=(), alpha=ALPHA) for start in (0, 1000))
    assert shared_share(a, b) == pytest.approx(0.5, abs=0.12)


def test_other_eval_sets_of_the_same_run_are_no_further_attempt() -> None:
    """The candidate must pass both; a set that is gone may have been renamed to begin anew."""
    past = [judged(count(asked(name="general", digest="b" * 64)))]
    assert count(asked(), past, beside=("set", "general")).entry.index == 1
    assert count(asked(), past, beside=("set",)).entry.index == 2
    assert count(asked(), past, "m2", beside=("set", "general")).entry.index == 2


def test_an_attempt_survives_its_way_between_processes() -> None:
    found = count(asked(attempts=HARMONIC), [judged(count(asked()))], "m2")
    assert Attempt.from_json(found.to_json()) == found


# -- alpha -------------------------------------------------------------------------------------------------------------


def test_levels_are_those_of_the_table() -> None:
    assert [round(alpha_at(HARMONIC, j, alpha=ALPHA), 5) for j in (1, 2, 3, 10)] == [0.025, 0.00833, 0.00417, 0.00045]
    budget = AttemptPolicy("fixed-budget", 10)
    assert [alpha_at(budget, j, alpha=ALPHA) for j in (1, 10, 11)] == [0.005, 0.005, 0.0]
    assert alpha_at(AttemptPolicy(), 99, alpha=ALPHA) == ALPHA


@given(st.floats(1e-6, 0.2), st.integers(1, 400), st.integers(1, 50))
def test_what_is_spent_is_never_more_than_alpha(alpha: float, attempts: int, budget: int) -> None:
    for policy in (HARMONIC, AttemptPolicy("fixed-budget", budget)):
        spent = 0.0
        for j in range(1, attempts + 1):
            spent += alpha_at(policy, j, alpha=alpha, spent=spent)
        assert spent <= alpha * (1 + 1e-9)


POLICIES = st.sampled_from([HARMONIC, *(AttemptPolicy("fixed-budget", h) for h in (1, 2, 5))])


@given(st.lists(st.tuples(POLICIES, st.integers(0, 9)), min_size=1, max_size=12))
def test_nor_where_the_policy_changes_on_the_way(steps: list[tuple[AttemptPolicy, int]]) -> None:
    past: list[Entry] = []
    levels: dict[object, float] = {}
    for policy, model in steps:
        digest = f"{policy.spend}{policy.budget}"
        found = count(asked(attempts=policy, digest=digest), past, f"m{model}")
        levels[(found.entry.index, digest, model)] = found.entry.alpha
        past.append(judged(found))
    assert sum(levels.values()) <= ALPHA * (1 + 1e-9)


def critical(n: int, p0: float, alpha: float) -> int:
    """Fewest right answers of n that certify more than p0 at alpha; n + 1 where no number does."""
    passing = (k for k in range(n + 1) if stats.binomial_p_value(k, n, p0=p0, alternative="greater") <= alpha)
    return next(passing, n + 1)


@pytest.mark.parametrize(("n", "p0"), [(60, 0.5), (200, 0.9), (500, 0.95), (30, 0.7)])
def test_no_more_than_alpha_of_unfit_models_ships_however_often_one_tries(n: int, p0: float) -> None:
    """Exact: independent models exactly at the floor, judged until one passes, at the levels of each attempt."""
    from scipy.stats import binom

    none_ships = naive = 1.0
    for j in range(1, 41):
        level = alpha_at(HARMONIC, j, alpha=ALPHA)
        none_ships *= float(binom.cdf(critical(n, p0, level) - 1, n, p0)) if level > 1e-4 else 1.0
        naive *= float(binom.cdf(critical(n, p0, ALPHA) - 1, n, p0)) if j <= 20 else 1.0
    assert 1 - none_ships <= ALPHA
    assert 1 - naive > 0.3  # what the same 20 attempts come to without


def test_looks_that_spent_nothing_are_said_and_not_counted_as_spent() -> None:
    past = [judged(count(asked(), candidate=f"m{i}")) for i in range(1)]
    past.append(judged(count(asked(), past, "m2")))
    found = count(asked(attempts=HARMONIC, digest="b" * 64), past, "m3")
    assert (found.entry.index, found.uncovered) == (3, 2)
    assert found.entry.alpha == pytest.approx(ALPHA / 12)
    assert "2 earlier ones spent no alpha" in attempt_sentences([found], {}, alpha=ALPHA)[0]


# -- what becomes of a Verdict -----------------------------------------------------------------------------------------


def test_a_used_up_budget_stops_the_gate() -> None:
    one = asked(attempts=AttemptPolicy("fixed-budget", 1))
    past = [judged(count(one))]
    refused = refuse(count(one, past, "m2"), one, one.gates[0])
    assert refused is not None
    assert (refused.outcome, refused.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    assert "used up" in refused.summary
    assert "add fresh examples" in refused.fix
    assert refuse(count(one, past), one, one.gates[0]) is None  # the same attempt is shown again


def test_an_unsure_count_stops_only_gates_that_share_alpha() -> None:
    shared = asked(attempts=HARMONIC)
    refused = refuse(replace(count(shared), problem="line 2 was changed"), shared, shared.gates[0])
    assert refused is not None
    assert (refused.outcome, refused.reason) == ("ERROR", "LEDGER")
    assert "restore .ftgate/ledger.jsonl" in refused.fix
    assert refuse(replace(count(asked()), problem="line 2 was changed"), asked(), asked().gates[0]) is None
    told = attempt_sentences([replace(count(asked()), problem="line 2 was changed")], {}, alpha=ALPHA)
    assert "attempt count cannot be verified: line 2 was changed" in told[0]


@pytest.mark.parametrize(("before", "now"), [("FAIL", "PASS"), ("INCONCLUSIVE", "PASS"), ("PASS", "FAIL")])
def test_the_same_attempt_is_not_drawn_again(before: str, now: str) -> None:
    shared = count(asked(attempts=HARMONIC), [judged(count(asked(attempts=HARMONIC)), accuracy=before)])
    kept = keep_result(verdict(outcome=now), shared)
    assert (kept.outcome, kept.reason) == ("ERROR", "NOT_REPEATED")
    free = count(asked(), [judged(count(asked()), accuracy=before)])
    assert keep_result(verdict(outcome=now), free).outcome == now
    told = attempt_sentences([free], {"set::accuracy": verdict(outcome=now)}, alpha=ALPHA)
    assert any(f"{before} before, {now} now" in text for text in told)


@pytest.mark.parametrize(("before", "now"), [("FAIL", "INCONCLUSIVE"), ("PASS", "PASS"), ("PASS", "ERROR")])
def test_the_same_result_or_none_is_no_other_draw(before: str, now: str) -> None:
    shared = count(asked(attempts=HARMONIC), [judged(count(asked(attempts=HARMONIC)), accuracy=before)])
    assert keep_result(verdict(outcome=now), shared).outcome == now


def test_a_set_that_is_used_up_says_how_many_fresh_examples_it_needs() -> None:
    """A floor of 0.9: 29 right answers of 29 pass at 0.05 (0.9^29 = 0.047), at 0.05/12 it takes 52 (0.9^52)."""
    found = replace(count(asked(attempts=HARMONIC)), entry=replace(count(asked()).entry, index=3, alpha=ALPHA / 12))
    unsure = verdict(outcome="INCONCLUSIVE", reason="CANNOT_PASS_AT_N", n=29)
    said = say_used_up(unsure, found, gate("accuracy", 0.9), alpha=ALPHA)
    assert said.fix == (
        "the eval set is used up at attempt 3 (alpha 0.0042 of 0.05 is left): add at least 24 fresh examples"
    )
    assert 0.9 ** (29 + 24) <= ALPHA / 12 < 0.9 ** (29 + 22)
    small = replace(unsure, n=28)  # could not pass at 0.05 either: not for want of alpha
    assert say_used_up(small, found, gate("accuracy", 0.9), alpha=ALPHA) == small


def test_a_sealed_verdict_holds_its_outcome_and_its_reason_alone() -> None:
    pair = Comparison("base", 40, 7, 3, 30, 0.8, 0.7, 0.1, (0.0, 0.2), 0.95, 0.0, 0.0123, 0.9, "MARK")
    for outcome, reason in (("PASS", ""), ("FAIL", "LEAKED"), ("INCONCLUSIVE", "UNDERPOWERED"), ("ERROR", "MISSING")):
        sealed = seal(verdict(outcome=outcome, reason=reason, comparisons=(pair,)))
        assert (sealed.outcome, sealed.reason, sealed.n) == (outcome, reason, 40)
        text = str(sealed)
        assert not [found for found in ("MARK", "91.2", "0.9", "0.01", "0.8", "0.5") if found in text], text
    open_error = seal(verdict(outcome="ERROR", reason="EngineError", summary="the model does not fit"))
    assert open_error.summary == "the model does not fit"


# -- in words ----------------------------------------------------------------------------------------------------------


def third(**changes: Any) -> Attempt:
    past = [judged(count(asked(**changes)))]
    past.append(judged(count(asked(**changes), past, "m2")))
    return count(asked(**changes), past, "m3")


def test_the_line_and_what_several_attempts_come_to() -> None:
    sealed = third(attempts=AttemptPolicy("harmonic", None, "sealed"), name="gate")
    assert attempts_line([third(), sealed]) == "set 3 (none), gate 3 (harmonic, alpha 0.0042, sealed)"
    free, bound = attempt_sentences([third(), sealed], {}, alpha=ALPHA)
    assert free == (
        "set: attempt 3 on these examples: no alpha is spent, so one of 3 unfit models ships with up to 14.3% "
        "(15.0% if their errors depend on each other); no bound holds for a model that was tuned on what an earlier "
        "attempt showed"
    )
    assert bound == (
        "gate: attempt 3 on these examples, judged at alpha 0.0042: all attempts together ship an unfit model with at "
        "most 5.0%"
    )
    shown = attempt_sentences([third(attempts=HARMONIC)], {}, alpha=ALPHA)[0]
    assert shown.endswith("as long as no model is tuned on what an attempt showed (`feedback: sealed` shows nothing)")
    assert attempt_sentences([count(asked())], {}, alpha=ALPHA) == []
