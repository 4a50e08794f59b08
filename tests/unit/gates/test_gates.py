"""What holds for every kind of gate: what was not answered, what counts once, what must never move a verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from answered import (
    EXACT,
    FAILED,
    KINDS,
    NUMBER,
    RATES,
    answers_of,
    beats,
    evalset,
    example,
    forgetting,
    gate,
    judged,
    numbers,
    pair,
    quick,
    said,
    unplanned,
    yes,
)
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Generation, Verdict

# --- What was not answered --------------------------------------------------------------------------------------------


def all_right(kind: str, n: int = 100) -> dict[str, list[object]]:
    """Systems with which this kind of gate passes."""
    systems: dict[str, list[object]] = {"candidate": ["yes"] * n}
    if kind == "beats_baseline":
        systems["zero_shot"] = ["no"] * n
    if kind == "forgetting":
        systems["base"] = ["yes"] * n
    return systems


SIDES = [(kind, side) for kind in KINDS for side in all_right(kind)]


@pytest.mark.parametrize(("kind", "side"), SIDES)
def test_one_answer_that_failed_makes_the_gate_an_error(kind: str, side: str) -> None:
    systems = all_right(kind)
    assert judged(kind, 0.05, **systems).outcome == "PASS"
    systems[side][7] = FAILED
    verdict = judged(kind, 0.05, **systems)
    assert (verdict.outcome, verdict.reason, verdict.n) == ("ERROR", "GENERATION", 100)
    assert "1 of 100 examples could not be answered" in verdict.summary
    assert "e7" in verdict.summary
    assert "900 tokens" in verdict.summary
    assert verdict.fix


@pytest.mark.parametrize(("kind", "side"), SIDES)
def test_one_answer_that_is_missing_makes_the_gate_an_error(kind: str, side: str) -> None:
    asked = evalset([example(i) for i in range(100)])
    answers = answers_of(asked, all_right(kind))
    name = side if side in answers else f"baseline:{side}"
    del answers[name]["e3"]
    verdict = judge(GateInput(asked, gate(kind, 0.05), answers, Levels()))
    assert (verdict.outcome, verdict.reason, verdict.n) == ("ERROR", "MISSING", 100)
    assert f"1 of 100 examples were never answered by {name} (e3)" in verdict.summary
    verdict = judge(GateInput(asked, gate(kind, 0.05), {k: v for k, v in answers.items() if k != name}, Levels()))
    assert "100 of 100 examples were never answered" in verdict.summary
    assert "(e0, e1, e2, e3, e4 and 95 more)" in verdict.summary


def test_the_error_of_a_generation_is_bounded_and_printable() -> None:
    hostile = replace(FAILED, error="\x1b[2J::error::" + "x" * 5000)
    verdict = judged("accuracy", 0.5, candidate=[hostile, *["yes"] * 20])
    assert len(verdict.summary) < 400
    assert verdict.summary.isprintable()


@given(kind=st.sampled_from(KINDS), data=st.data())
@quick
def test_p1_turning_answers_into_errors_never_helps(kind: str, data: st.DataObject) -> None:
    systems = all_right(kind, 60)
    side = data.draw(st.sampled_from(sorted(systems)))
    for i in data.draw(st.sets(st.integers(0, 59), min_size=1)):
        systems[side][i] = FAILED
    assert judged(kind, 0.05, **systems).outcome == "ERROR"


@pytest.mark.parametrize("broken", ["nan", "-inf", "1.01", "-0.01"])
@pytest.mark.parametrize(("kind", "side"), [s for s in SIDES if s[0] != "format"])
def test_p5_a_score_that_is_no_number_in_0_1_never_passes(kind: str, side: str, broken: str) -> None:
    high, low = "0.9", "0.1"
    systems = {
        "accuracy": {"candidate": [high] * 80},
        "beats_baseline": {"candidate": [high] * 80, "zero_shot": [low] * 80},
        "forgetting": {"candidate": [high] * 80, "base": [high] * 80},
    }[kind]
    assert judged(kind, 0.05, scorer=NUMBER, **systems).outcome == "PASS"
    systems[side][11] = broken
    with pytest.raises(ScoringError, match="e11"):
        judged(kind, 0.05, scorer=NUMBER, **systems)


# --- What counts once, and what may not matter -----------------------------------------------------------------------

tables = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(8, 60)).map(lambda t: (t[0], t[1], sum(t)))


def paired(kind: str, bound: float, table: tuple[int, int, int], **more: Any) -> Verdict:
    return forgetting(table[1], table[2], bound, gains=table[0], **more) if kind == "forgetting" else beats(
        *table, bound, **more
    )  # fmt: skip


@given(kind=st.sampled_from(KINDS), table=tables, order=st.randoms(use_true_random=False))
@quick
@unplanned
def test_p2_the_order_of_examples_does_not_change_a_verdict(kind: str, table: tuple[int, int, int], order: Any) -> None:
    gains, losses, n = table
    given_ = pair(gains, losses, n)
    systems = {"candidate": given_["candidate"]}
    if kind not in RATES:
        systems["base" if kind == "forgetting" else "zero_shot"] = given_["reference"]
    examples = [example(i) for i in range(n)]
    places = list(range(n))
    order.shuffle(places)
    one = judged(kind, 0.6 if kind in RATES else 0.05, examples=examples, **systems)
    shuffled = {name: [texts[i] for i in places] for name, texts in systems.items()}
    two = judged(kind, 0.6 if kind in RATES else 0.05, examples=[examples[i] for i in places], **shuffled)
    same = ("outcome", "reason", "n", "value", "interval", "p_value", "summary", "fix")
    assert [asdict(one)[k] for k in same] == [asdict(two)[k] for k in same]


scores = st.lists(st.sampled_from(["0.0", "0.3", "0.8", "1.0"]), min_size=8, max_size=40)


@given(kind=st.sampled_from(("accuracy", "beats_baseline", "forgetting")), data=st.data(), copies=st.integers(2, 3))
@quick
@unplanned
def test_p4_copies_of_examples_are_no_new_evidence(kind: str, data: st.DataObject, copies: int) -> None:
    graded = data.draw(st.booleans())
    texts = scores if graded else st.lists(st.sampled_from(["0", "1"]), min_size=8, max_size=40)
    ours = data.draw(texts)
    theirs = data.draw(st.lists(st.sampled_from(["0.0", "1.0"]), min_size=len(ours), max_size=len(ours)))
    systems = {"candidate": ours}
    if kind != "accuracy":
        systems["base" if kind == "forgetting" else "zero_shot"] = theirs
    bound = data.draw(st.sampled_from([0.05, 0.2, 0.5]))
    once = judged(kind, bound, scorer=NUMBER, **systems)
    examples = [example(i, question=f"question  {i % len(ours)}") for i in range(copies * len(ours))]
    repeated = {name: given_ * copies for name, given_ in systems.items()}
    twice = judged(kind, bound, scorer=NUMBER, examples=examples, **repeated)
    assert (twice.outcome, twice.n, twice.interval) == (once.outcome, once.n, pytest.approx(once.interval, abs=1e-4))
    assert (twice.value, twice.p_value) == (pytest.approx(once.value), pytest.approx(once.p_value))


def test_copies_are_counted_in_the_sentence() -> None:
    examples = [example(i, question=f"question {i % 59}") for i in range(118)]
    verdict = judged("accuracy", 0.95, candidate=yes(118, 118), examples=examples)
    assert (verdict.outcome, verdict.n) == ("PASS", 59)
    assert "100.0% of 59 distinct questions (118 examples) are right" in verdict.summary
    verdict = judged("accuracy", 0.96, candidate=yes(118, 118), examples=examples)
    assert verdict.fix == "use at least 74 distinct questions"


@pytest.mark.parametrize("clustered", [True, False])
def test_fewer_than_eight_units_are_refused(clustered: bool) -> None:
    def examples(units: int) -> list[Any]:
        named = {"cluster": "c"} if clustered else {"question": "q"}
        return [example(i, **{k: f"{v}{i % units}" for k, v in named.items()}) for i in range(210)]

    verdict = judged("accuracy", 0.5, candidate=yes(210, 210), examples=examples(7))
    assert (verdict.outcome, verdict.reason, verdict.n) == ("ERROR", "TOO_FEW", 7)
    unit = "clusters" if clustered else "distinct questions"
    assert verdict.summary == f"210 examples are only 7 {unit}; at least 8 needed to judge"
    assert judged("accuracy", 0.5, candidate=yes(210, 210), examples=examples(8)).outcome == "PASS"


def test_examples_of_one_cluster_count_once() -> None:
    """300 examples pass; as 20 clusters, they are 20 observations and do not."""
    texts = ["no" if i % 15 == 0 else "yes" for i in range(300)]
    assert judged("accuracy", 0.9, candidate=texts).outcome == "PASS"
    examples = [example(i, cluster=f"c{i // 15}") for i in range(300)]
    verdict = judged("accuracy", 0.9, candidate=texts, examples=examples)
    assert (verdict.outcome, verdict.n) == ("INCONCLUSIVE", 20)
    assert verdict.details["method"] == "betting (anytime valid)"
    assert "a mean score of 93.3% on 20 clusters (300 examples)" in verdict.summary


# --- Graded scores ---------------------------------------------------------------------------------------------------


def test_graded_scores_are_bet_on() -> None:
    similarity = ScorerSpec("similarity", {"metric": "chrf"})
    examples = [example(i, target="a red house by the sea") for i in range(100)]
    texts = ["a red house by the sea", "a red house by a lake"] * 50
    verdict = judged("accuracy", 0.5, candidate=texts, examples=examples, scorer=similarity)
    assert (verdict.outcome, verdict.details["method"]) == ("PASS", "betting (anytime valid)")
    assert verdict.summary.startswith("a mean score of ")
    against = judged(
        "beats_baseline", 0.05, candidate=texts, zero_shot=["house"] * 100, examples=examples, scorer=similarity
    )
    assert (against.outcome, against.details["method"]) == ("PASS", "betting (anytime valid)")
    fields = ScorerSpec("json_fields", {"fields": ["a", "b"], "score": "mean"})
    examples = [example(i, target={"a": 1, "b": 2}) for i in range(100)]
    verdict = judged("accuracy", 0.3, candidate=['{"a": 1}'] * 100, examples=examples, scorer=fields)
    assert (verdict.outcome, verdict.value, verdict.details["method"]) == ("PASS", 0.5, "betting (anytime valid)")
    assert float(str(verdict.details["certified"])) >= 0.3


def test_a_graded_gate_that_could_not_pass_says_how_many_would_and_they_do() -> None:
    def tied(n: int) -> Verdict:
        return judged("forgetting", 0.05, candidate=["0.9"] * n, base=["0.9"] * n, scorer=NUMBER)

    verdict = tied(40)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "UNDERPOWERED")
    assert verdict.details["p_bad"] == 1.0  # no loss at all speaks for a loss of more than 5 points
    needed = int(numbers(verdict.fix)[0])
    assert 40 < needed < 100
    assert tied(needed).outcome == "PASS"
    assert tied(needed - 3).outcome != "PASS"


def test_a_graded_loss_fails_and_names_what_lost_most_first() -> None:
    drops = ["0.9"] * 40 + ["0.3", "0.1", "0.5"] * 20
    verdict = judged("forgetting", 0.05, candidate=drops, base=["0.9"] * 100, scorer=NUMBER)
    assert verdict.outcome == "FAIL"
    assert verdict.worst == ("e41", "e44", "e47", "e50", "e53", "e56", "e59", "e62")
    assert verdict.comparisons[0].p_bad < 0.001 < 0.9 < verdict.comparisons[0].p_good


def test_a_graded_gate_whose_best_case_fails_says_so() -> None:
    perfect = [*["1.0"] * 20, "0.5"]
    verdict = judged("forgetting", 0.02, candidate=perfect, base=perfect, scorer=NUMBER)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    needed = int(numbers(verdict.fix)[0])
    base = (perfect * 50)[:needed]
    assert judged("forgetting", 0.02, candidate=["1.0"] * needed, base=base, scorer=NUMBER).outcome == "PASS"


# --- Every verdict ---------------------------------------------------------------------------------------------------


@given(kind=st.sampled_from(KINDS), table=tables, percent=st.integers(1, 99), hypotheses=st.integers(1, 9))
@quick
@unplanned
def test_every_verdict_is_complete(kind: str, table: tuple[int, int, int], percent: int, hypotheses: int) -> None:
    levels, bound = Levels(0.05, hypotheses), percent / 100
    if kind in RATES:
        verdict = judged(kind, bound, candidate=pair(*table)["candidate"], levels=levels)
    else:
        verdict = paired(kind, bound, table, levels=levels)
    json.dumps(asdict(verdict), allow_nan=False)
    assert verdict.summary.isprintable()
    assert bool(verdict.fix) == (verdict.outcome != "PASS")
    if verdict.outcome == "ERROR":
        return
    assert verdict.value is not None
    assert verdict.interval is not None
    assert verdict.p_value is not None
    assert verdict.interval[0] <= verdict.value <= verdict.interval[1]
    assert (verdict.outcome == "PASS") == (verdict.p_value <= 0.05)
    assert (verdict.outcome == "FAIL") == (
        verdict.p_value > 0.05 and float(str(verdict.details["p_bad"])) <= levels.alpha_fail
    )
    assert bool(verdict.reason) == (verdict.outcome == "INCONCLUSIVE")
    assert verdict.summary.count("(p = ") == 1


def test_a_set_without_a_scorer_is_an_error() -> None:
    asked = evalset([example(i) for i in range(20)], scorer=None)
    with pytest.raises(ScoringError, match="no scorer"):
        judge(GateInput(asked, gate("accuracy", 0.5), answers_of(asked, {"candidate": yes(20, 20)}), Levels()))


def test_answers_are_scored_by_id_and_not_by_place() -> None:
    examples = [example(i, target=f"t{i}") for i in range(60)]
    asked = evalset(examples, scorer=EXACT)
    answers: dict[str, Generation] = {e.id: said(e.target) for e in reversed(examples)}
    assert judge(GateInput(asked, gate("accuracy", 0.9), {"candidate": answers}, Levels())).outcome == "PASS"
