"""Curtailment changes no outcome (random runs, brute force) and says what it saw; early_stop keeps its level."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from answered import FAILED, NUMBER, answers_of, evalset, example, gate
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ftgate import stats
from pytest_ftgate.evalset.order import ORDER_SEED, in_order
from pytest_ftgate.evalset.types import EvalSet, GateSpec, ScorerSpec
from pytest_ftgate.gates.curtailment import Looks, as_far_as_settled, cannot_stop
from pytest_ftgate.gates.examples_needed import Shortfall
from pytest_ftgate.gates.given import Answers, GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels, paired_p_bad, paired_p_good
from pytest_ftgate.gates.part_answered import E_PROCESS
from pytest_ftgate.results import Verdict

unplanned = mock.patch(
    "pytest_ftgate.gates.paired.paired_shortfall", mock.Mock(return_value=Shortfall("UNDERPOWERED", "why", "fix"))
)
REFERENCES = ("base", "zero_shot", "few_shot")


def asked_with(n: int, gates: Sequence[GateSpec], *, early: bool = False) -> EvalSet:
    made = evalset([example(i) for i in range(n)], rungs=REFERENCES[1:])
    return replace(made, gates=tuple(gates), early_stop=early)


def texts(right: Sequence[bool]) -> list[str]:
    return ["yes" if r else "no" for r in right]


def first(asked: EvalSet, answers: Answers, count: int) -> dict[str, Any]:
    """The answers when the candidate has been asked the first `count` of the order."""
    mine = {e.id: answers["candidate"][e.id] for e in in_order(asked)[:count]}
    return {**answers, "candidate": mine}


def stop(asked: EvalSet, answers: Answers, levels: Levels, chunk: int) -> dict[str, Any]:
    """What is answered when the stage asks in chunks until everything is settled."""
    looks, n = Looks(asked, asked.gates, levels), len(asked.examples)
    for count in range(chunk, n, chunk):
        if looks.settled(first(asked, answers, count)):
            return first(asked, answers, count)
    return dict(answers)


def verdict_of(asked: EvalSet, one: GateSpec, answers: Answers, levels: Levels) -> Verdict:
    stopped = len(answers["candidate"]) < len(asked.examples)
    return judge(as_far_as_settled(GateInput(asked, one, answers, levels), stopped=stopped))


@unplanned
@settings(max_examples=80)
@given(st.integers(0, 2**32 - 1))
def test_a_run_that_stops_decides_what_the_full_run_decides(seed: int) -> None:
    """Random answers of up to five systems, several gates that share them, chunks of any size."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(12, 61))
    kinds = [k for k in ("format", "accuracy", "beats_baseline", "forgetting") if rng.random() < 0.6] or ["accuracy"]
    bounds = {"format": rng.uniform(0.3, 0.95), "accuracy": rng.uniform(0.3, 0.95)}
    gates = [gate(k, float(bounds.get(k, rng.choice([0.0, 0.02, 0.05, 0.1, 0.3])))) for k in kinds]
    skill = rng.choice([0.02, 0.3, 0.7, 0.9, 1.0])
    systems = {name: texts(rng.random(n) < rng.uniform(0.2, 1.0)) for name in REFERENCES}
    asked, levels = asked_with(n, gates), Levels(0.05, int(rng.integers(1, 6)))
    answers = answers_of(asked, {"candidate": texts(rng.random(n) < skill), **systems})
    part = stop(asked, answers, levels, int(rng.integers(1, 20)))
    for one in gates:
        full = judge(GateInput(asked, one, answers, levels))
        assert verdict_of(asked, one, part, levels).outcome == full.outcome


def test_runs_do_stop_early() -> None:
    """The property above would hold of a rule that never stops."""
    n, levels = 100, Levels(0.05, 3)
    gates = [gate("accuracy", 0.8), gate("beats_baseline", 0.05), gate("format", 0.8)]
    asked = asked_with(n, gates)
    refs = {name: texts([i % 2 == 0 for i in range(n)]) for name in REFERENCES}
    for right, most in ((texts([True] * n), 90), (texts([False] * n), 70)):
        part = stop(asked, answers_of(asked, {"candidate": right, **refs}), levels, 5)
        assert len(part["candidate"]) <= most


@pytest.mark.parametrize(("kind", "bound"), [("accuracy", 0.4), ("forgetting", 0.3), ("beats_baseline", 0.1)])
def test_settled_exactly_where_every_completion_decides_alike(kind: str, bound: float) -> None:
    """Every state of every run of eight: neither wrong nor late."""
    n, levels, one = 8, Levels(0.1, 1), gate(kind, bound)
    asked = replace(asked_with(n, [one]), baselines=evalset([], rungs=["zero_shot"]).baselines)
    name = "base" if kind == "forgetting" else "zero_shot"
    theirs = [True, False] * 4 if kind == "beats_baseline" else [True] * 6 + [False] * 2
    order = [int(e.id[1:]) for e in in_order(asked)]
    outcomes: dict[tuple[bool, ...], str] = {}
    with unplanned:
        seen: dict[Any, str] = {}
        for right in itertools.product((False, True), repeat=n):
            by_id = [False] * n
            for place, value in zip(order, right, strict=True):
                by_id[place] = value
            table = tuple(sorted(zip(by_id, theirs, strict=True)))
            if table not in seen:
                answers = answers_of(asked, {"candidate": texts(by_id), name: texts(theirs)})
                seen[table] = judge(GateInput(asked, one, answers, levels)).outcome
            outcomes[right] = seen[table]
    assert len(set(outcomes.values())) > 1
    looks, early = Looks(asked, [one], levels), 0
    for count in range(1, n):
        for head in itertools.product((False, True), repeat=count):
            reached = {o for right, o in outcomes.items() if right[:count] == head}
            by_id = [False] * n
            for place, value in zip(order, head, strict=False):
                by_id[place] = value
            answers = answers_of(asked, {"candidate": texts(by_id), name: texts(theirs)})
            found = looks_without_memory(looks, one, first(asked, answers, count))
            assert (found.outcome if found else None) == (reached.pop() if len(reached) == 1 else None)
            early += found is not None
    assert early > 0


def looks_without_memory(looks: Looks, one: GateSpec, answers: Answers) -> Any:
    """The same example has another answer in every state here; in a run it never has."""
    looks._known.clear()
    looks._scores.kept.clear()
    return looks.look(one, answers)


@pytest.mark.parametrize(("n", "delta0", "alpha"), [(20, 0.04, 0.05), (20, -0.1, 0.05), (24, 0.02, 0.01)])
def test_better_answers_never_undo_a_rejection(n: int, delta0: float, alpha: float) -> None:
    passes, fails = {}, {}
    for b in range(n + 1):
        for c in range(n + 1 - b):
            passes[b, c] = paired_p_good(b, c, n, delta0) <= alpha
            fails[b, c] = paired_p_bad(b, c, n, delta0) <= alpha
    for (b, c), passed in passes.items():
        for better in ((b + 1, c), (b, c - 1)):
            if better in passes:
                assert passes[better] >= passed
                assert fails[better] <= fails[b, c]
        assert not (passed and fails[b, c])


# --- What it says -----------------------------------------------------------------------------------------------------


def settled_verdict(kind: str, bound: float, right: Sequence[bool], **systems: Sequence[bool]) -> Verdict:
    one = gate(kind, bound)
    asked = replace(
        asked_with(len(right), [one]), baselines=evalset([], rungs=[k for k in systems if k != "base"]).baselines
    )
    answers = answers_of(asked, {"candidate": texts(right), **{k: texts(v) for k, v in systems.items()}})
    return verdict_of(asked, one, stop(asked, answers, Levels(0.05, 2), 4), Levels(0.05, 2))


@pytest.mark.parametrize("kind", ["format", "accuracy"])
@pytest.mark.parametrize(
    ("right", "outcome", "p", "where"),
    [
        (1.0, "PASS", "p_value", " at worst"),
        (0.0, "FAIL", "p_bad", " at best"),
        (0.9, "INCONCLUSIVE", "p_value", " at best"),
    ],
)
def test_a_rate_says_what_it_saw(kind: str, right: float, outcome: str, p: str, where: str) -> None:
    n = 100
    flags = [i >= (1 - right) * n for i in range(n)]
    verdict = settled_verdict(kind, 0.9, flags)
    assert verdict.outcome == outcome
    answered = verdict.details["answered"]
    assert isinstance(answered, int)
    assert answered < n
    assert (verdict.n, verdict.details["planned"], verdict.details["order_seed"]) == (answered, n, ORDER_SEED)
    assert f"of the {answered} examples answered" in verdict.summary
    assert verdict.summary.endswith(
        f"{answered} of 100 examples answered: no outcome of the other {n - answered} can change this"
    )
    shown = re.search(r"\(p = ([\d.e-]+)( at worst| at best)\)", verdict.summary)
    assert shown is not None
    value = verdict.p_value if p == "p_value" else verdict.details[p]
    assert (float(shown[1]), shown[2]) == (pytest.approx(value, rel=0.06), where)
    assert verdict.value is not None
    right_so_far = round(verdict.value * answered)
    assert verdict.interval == pytest.approx(stats.clopper_pearson(right_so_far, answered))
    if outcome == "PASS":
        assert verdict.p_value == pytest.approx(stats.binomial_p_value(right_so_far, n, p0=0.9, alternative="greater"))
        assert float(str(verdict.details["certified"])) <= stats.binomial_lower_bound(n, n)
        assert verdict.fix == ""
    elif outcome == "INCONCLUSIVE":
        assert verdict.reason in ("NEAR_MARGIN", "UNDERPOWERED")
        assert verdict.fix


def test_a_pair_says_what_it_saw_of_every_rung() -> None:
    n = 100
    verdict = settled_verdict(
        "beats_baseline",
        0.05,
        [True] * n,
        zero_shot=[i % 2 == 0 for i in range(n)],
        few_shot=[i % 3 == 0 for i in range(n)],
    )
    assert verdict.outcome == "PASS"
    answered = verdict.details["answered"]
    assert isinstance(answered, int)
    assert answered < n
    assert {c.n for c in verdict.comparisons} == {answered}
    hardest = max(verdict.comparisons, key=lambda c: c.p_good)
    assert hardest.reference == "baseline:zero_shot"
    # At worst: every example to come that the rung gets right is lost.
    can_lose = 50 - (answered - hardest.gains)
    assert verdict.p_value == pytest.approx(paired_p_good(hardest.gains, can_lose, n, 0.05))
    assert "on the " in verdict.summary
    assert f"no outcome of the other {n - answered} can change this" in verdict.summary


def test_a_forgetting_fail_stops_and_says_so() -> None:
    verdict = settled_verdict("forgetting", 0.05, [False] * 200, base=[True] * 190 + [False] * 10)
    assert verdict.outcome == "FAIL"
    assert int(str(verdict.details["answered"])) < 100
    assert "at best" in verdict.summary


# --- Where it must not stop -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scorer": NUMBER}, "scores between 0 and 1"),
        ({"scorer": ScorerSpec("json_fields", {"fields": ["a"], "score": "mean"})}, "scores between 0 and 1"),
        ({"examples": tuple(example(i, cluster=f"c{i % 10}") for i in range(40))}, "clusters of several examples"),
        ({"examples": tuple(example(i, question=f"q{i % 30}") for i in range(40))}, "distinct questions of several"),
        ({}, ""),
    ],
)
def test_what_the_proof_does_not_cover(changes: Mapping[str, Any], why: str) -> None:
    one = gate("accuracy", 0.5)
    found = cannot_stop(replace(asked_with(40, [one]), **changes), [one])
    assert found.startswith(why)
    assert bool(found) == bool(why)


def test_a_format_gate_does_not_care_how_answers_are_scored() -> None:
    one = gate("format", 0.5)
    assert cannot_stop(replace(asked_with(40, [one]), scorer=NUMBER), [one]) == ""


def test_an_answer_that_could_not_be_had_settles_nothing() -> None:
    one = gate("accuracy", 0.9)
    asked = asked_with(60, [one])
    given_texts: list[object] = ["no"] * 60
    given_texts[int(in_order(asked)[40].id[1:])] = FAILED
    answers = answers_of(asked, {"candidate": given_texts})
    assert Looks(asked, [one], Levels()).settled(first(asked, answers, 40))
    assert not Looks(asked, [one], Levels()).settled(first(asked, answers, 50))
    assert verdict_of(asked, one, answers, Levels()).outcome == "ERROR"


@pytest.mark.parametrize("kind", ["forgetting", "beats_baseline"])
@pytest.mark.parametrize("place", [3, 55], ids=["asked of the candidate", "still to come"])
def test_an_answer_of_a_reference_that_could_not_be_had_settles_nothing(kind: str, place: int) -> None:
    one = gate(kind, 0.2)
    asked = asked_with(60, [one])
    said: dict[str, list[object]] = {"candidate": ["yes"] * 60}
    said |= {name: ["no"] * 60 for name in REFERENCES} | {"base": ["yes"] * 20 + ["no"] * 40}
    whole = answers_of(asked, said)
    assert Looks(asked, [one], Levels()).settled(first(asked, whole, 50))
    for name in ("base",) if kind == "forgetting" else REFERENCES[1:]:
        lost = {**said, name: list(said[name])}
        lost[name][int(in_order(asked)[place].id[1:])] = FAILED
        answers = answers_of(asked, lost)
        assert not Looks(asked, [one], Levels()).settled(first(asked, answers, 50)), name
        assert verdict_of(asked, one, answers, Levels()).outcome == "ERROR"


def test_lost_answers_stay_an_error() -> None:
    """An answer that is missing without a plan, and one that is missing although nothing is settled."""
    one = gate("accuracy", 0.5)
    asked = asked_with(60, [one])
    answers = answers_of(asked, {"candidate": ["yes"] * 60})
    part = first(asked, answers, 59)
    lost = judge(as_far_as_settled(GateInput(asked, one, part, Levels()), stopped=False))
    assert (lost.outcome, lost.reason) == ("ERROR", "MISSING")
    few = first(asked, answers, 5)
    assert verdict_of(asked, one, few, Levels()).reason == "MISSING"


def test_a_base_that_can_do_nothing_settles_nothing() -> None:
    one = gate("forgetting", 0.05)
    asked = asked_with(100, [one])
    answers = answers_of(asked, {"candidate": ["no"] * 100, "base": ["yes"] * 5 + ["no"] * 95})
    assert not Looks(asked, [one], Levels()).settled(first(asked, answers, 90))


# --- early_stop -------------------------------------------------------------------------------------------------------


def simulate(kind: str, bound: float, truth: Any, n: int, runs: int, seed: int) -> tuple[dict[str, int], float]:
    """Outcomes, and the mean share of examples asked, of runs with answers drawn by `truth(rng) -> systems`."""
    rng, one, levels = np.random.default_rng(seed), gate(kind, bound), Levels(0.05, 3)
    asked = replace(asked_with(n, [one], early=True), baselines=evalset([], rungs=["zero_shot"]).baselines)
    counted = {"PASS": 0, "FAIL": 0, "INCONCLUSIVE": 0}
    asked_for = 0
    for _ in range(runs):
        answers = answers_of(asked, {k: texts(v) for k, v in truth(rng).items()})
        part = stop(asked, answers, levels, n // 4)
        found = Looks(asked, [one], levels).look(one, part)
        assert found is not None
        counted[found.outcome] += 1
        asked_for += len(part["candidate"])
    return counted, asked_for / (runs * n)


def flips(n: int, gain: float, loss: float, reference: str) -> Any:
    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        u = rng.random(n)
        theirs = (u >= gain) & ((u < gain + loss) | (rng.random(n) < 0.8))
        return {"candidate": (u < gain) | ((u >= gain + loss) & theirs), reference: theirs}

    return draw


TOLERANCE = 4.0
"""Standard deviations of a binomial above alpha: 1 in 30,000 seeds would be red by chance; the seed is fixed."""


@pytest.mark.parametrize("runs", [40, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("kind", "bound", "truth"),
    [
        ("accuracy", 0.85, lambda rng: {"candidate": rng.random(80) < 0.85}),
        ("beats_baseline", 0.05, flips(80, 0.10, 0.05, "zero_shot")),
        ("forgetting", 0.05, flips(80, 0.02, 0.07, "base")),
    ],
)
def test_early_stop_passes_the_boundary_at_most_at_alpha(kind: str, bound: float, truth: Any, runs: int) -> None:
    counted, _ = simulate(kind, bound, truth, 80, runs, seed=7)
    assert counted["PASS"] <= 0.05 * runs + TOLERANCE * (0.05 * 0.95 * runs) ** 0.5
    assert counted["FAIL"] <= 0.05 * runs + TOLERANCE * (0.05 * 0.95 * runs) ** 0.5


def test_early_stop_saves_most_of_a_clear_case() -> None:
    counted, share = simulate("beats_baseline", 0.05, flips(200, 0.5, 0.02, "zero_shot"), 200, 10, seed=1)
    assert counted["PASS"] == 10
    assert share < 0.4
    counted, share = simulate("accuracy", 0.85, lambda rng: {"candidate": rng.random(200) < 0.3}, 200, 10, seed=1)
    assert counted["FAIL"] == 10
    assert share < 0.3


def test_early_stop_says_so_and_only_looks_at_the_recorded_order() -> None:
    n, one, levels = 200, gate("accuracy", 0.8), Levels()
    asked = asked_with(n, [one], early=True)
    answers = answers_of(asked, {"candidate": ["yes"] * n})
    part = stop(asked, answers, levels, 25)
    verdict = verdict_of(asked, one, part, levels)
    assert verdict.outcome == "PASS"
    assert verdict.details["method"] == E_PROCESS
    assert "stopped early, as early_stop allows" in verdict.summary
    after = int(str(verdict.details["stopped_early_after"]))
    assert stats.floor_e_value(after, after, p0=0.8) >= 100 > stats.floor_e_value(after - 1, after - 1, p0=0.8)
    # Answers that were picked out of the order are no evidence.
    picked = {e.id: answers["candidate"][e.id] for e in in_order(asked)[-len(part["candidate"]) :]}
    assert Looks(asked, [one], levels).look(one, {"candidate": picked}) is None


def test_early_stop_pays_at_the_last_example() -> None:
    """59 of 59 pass a floor of 95 % at 5 % and not at 4 %."""
    one = gate("accuracy", 0.95)
    for n, early, outcome in ((59, False, "PASS"), (59, True, "INCONCLUSIVE"), (63, True, "PASS")):
        asked = asked_with(n, [one], early=early)
        answers = answers_of(asked, {"candidate": ["yes"] * n})
        assert verdict_of(asked, one, answers, Levels()).outcome == outcome


def test_a_kind_that_no_proof_covers_is_asked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind is curtailed only where its row says that counts decide it: a new one may test another statistic."""
    from pytest_ftgate.evalset.kinds import KINDS

    asked = replace(evalset([example(i) for i in range(20)]), gates=(gate("accuracy", 0.5),))
    assert cannot_stop(asked, asked.gates) == ""
    monkeypatch.setitem(KINDS, "accuracy", replace(KINDS["accuracy"], curtailed=False))
    assert cannot_stop(asked, asked.gates) == "accuracy, which is measured on every example"
