"""What is a copy of a question and what is not, owed to nothing but the texts; and what a gate makes of copies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from answered import evalset, example, gate

from pytest_ftgate.answers.prompting import question_text, target_text
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.gates.given import GateInput, clusters_of, unit_of
from pytest_ftgate.gates.measure import Levels, measure_rate
from pytest_ftgate.gates.power import Question, why_not
from pytest_ftgate.rows.copies import groups_of_copies
from pytest_ftgate.run.judging import evalset_facts

ROOT = Path(__file__).parents[3]
TICKETS = (
    "The app crashes when I open the settings page on my phone",
    "I was charged twice for the same order last month",
    "How can I change the email address of my account",
    "Please cancel my subscription at the end of the year",
)
DOTTED: Sequence[Callable[[str], str]] = (
    *(lambda s: s, lambda s: s + ".", lambda s: s + "...", lambda s: s + " Ref i."),
    *(lambda s: s.replace(" ", "\u200b "), lambda s: s[:5] + "\u200b" + s[5:]),
)
SPELLED: Sequence[Callable[[str], str]] = (
    *(lambda s: s, str.upper, str.lower, lambda s: s + "!", " ".join, lambda s: s.replace("a", "\u0430")),
    *(lambda s: "Please: " + s, lambda s: s + " Thanks", lambda s: s.replace(" ", "  "), lambda s: s + " #123"),
)
NOUNS = ["invoice", "parcel", "password", "refund", "camera", "printer", "charger", "keyboard", "garden", "bicycle"]

TWENTY = [f"Why did the {noun} that my sister bought in {town} not work" for noun in NOUNS for town in ("Rome", "Oslo")]


def groups(questions: Sequence[str], answer: str = "x") -> int:
    return len(set(groups_of_copies(questions, [answer] * len(questions))))


@pytest.mark.parametrize(("texts", "ways"), [(TICKETS, DOTTED), (TWENTY, SPELLED), (TICKETS, SPELLED)])
def test_s8_copies_of_a_question_are_one(texts: Sequence[str], ways: Sequence[Callable[[str], str]]) -> None:
    assert groups(texts) == len(texts)
    assert groups([way(text) for text in texts for way in ways]) == len(texts)


DIFFERENT = {
    "sums": [f"What is {a} {sign} {b}?" for a in range(2, 6) for b in range(2, 6) for sign in "+-*/"],
    "terse": [f"{a}{sign}{b}" for a in range(2, 6) for b in range(2, 6) for sign in "+-*/"],
    "languages": [f"Write hello world in {name}" for name in ("C", "C++", "C#", "F", "F#", "R", "Java")],
    "negated": ["Classify: the service was good today for us", "Classify: the service was not good today for us"],
    "passage": [f"{TICKETS[0]}. {TICKETS[1]}. {TICKETS[2]}.\n{q}" for q in ("Who writes?", "What is bought?", "Why?")],
    "numbers": [f"Order {n} has not arrived, where is it" for n in range(40)],
    "cyrillic": ["Где мой заказ", "Где мой счёт"],
    "han": ["北京在哪里", "上海在哪里"],
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_s8_other_questions_of_one_template_are_no_copies(name: str) -> None:
    assert groups(DIFFERENT[name]) == len(DIFFERENT[name])


@pytest.mark.parametrize(
    "path", ["examples/tickets/evals/tickets.eval.yaml", "examples/tickets/evals/general.eval.yaml"]
)
def test_s8_the_sets_of_the_demo_hold_no_copies(path: str) -> None:
    loaded = load_evalset(ROOT / path)
    assert set(clusters_of(loaded)) == {None}


def test_s8_the_order_of_the_examples_decides_nothing() -> None:
    texts = [way(text) for text in TWENTY for way in SPELLED]
    order = list(range(len(texts)))
    random.Random(5).shuffle(order)
    straight, mixed = (
        groups_of_copies(texts, ["x"] * len(texts)),
        groups_of_copies([texts[i] for i in order], ["x"] * len(texts)),
    )
    as_sets = {frozenset(i for i in order if straight[i] == g) for g in set(straight)}
    assert as_sets == {frozenset(order[i] for i in range(len(order)) if mixed[i] == g) for g in set(mixed)}


def test_s8_three_thousand_examples_take_seconds() -> None:
    words = [f"w{i}" for i in range(400)]
    draw = random.Random(2)
    texts = [" ".join(draw.choices(words, k=12)) for _ in range(3000)]
    began = time.process_time()
    assert groups(texts) == len(set(texts))
    assert time.process_time() - began < 30


def spelled(texts: Sequence[str], ways: Sequence[Callable[[str], str]]) -> list[str]:
    return [way(text) for text in texts for way in ways]


def test_s8_plan_preflight_and_report_count_questions() -> None:
    examples = [example(i, question=q) for i, q in enumerate(spelled(TICKETS, DOTTED))]
    few = evalset(examples)
    asked = Question.of(few, gate("accuracy", 0.8), 0.05)
    assert (asked.n, asked.unit) == (4, "distinct questions")
    assert "4 distinct questions are too few to judge" in why_not(asked)
    given = GateInput(few, gate("accuracy", 0.8), {}, Levels())
    assert given.counted(4) == "4 distinct questions (24 examples)"
    assert (evalset_facts(few)["n"], evalset_facts(few)["distinct"]) == (24, 4)  # the receipt counts as the gates do


def test_s8_copies_in_two_named_clusters_join_them() -> None:
    examples = [
        example(i, question=q, cluster=c)
        for i, (q, c) in enumerate(zip([TICKETS[0], TICKETS[1], TICKETS[0] + "!", TICKETS[2]], "aabc", strict=True))
    ]
    clustered = evalset(examples)
    found = clusters_of(clustered)
    assert found[0] == found[1] == found[2] != found[3]
    assert unit_of(clustered, found) == "clusters"
    alone = [replace(e, cluster=None) for e in examples[2:]]
    assert len(set(clusters_of(evalset([*examples[:2], *alone])))) == 2


def test_s8_a_set_of_copies_ships_a_bad_model_as_rarely_as_it_says() -> None:
    """20 questions in 10 spellings, a model that knows 80 % of questions, a floor of 80 %: nominal 5 %."""
    texts = spelled(TWENTY, SPELLED)
    counted = evalset([example(i, question=q) for i, q in enumerate(texts)])
    clusters = clusters_of(counted)
    draw = random.Random(8)
    passed = before = 0
    for _ in range(300):
        right = [float(draw.random() < 0.8) for _ in TWENTY]
        values = [value for value in right for _ in SPELLED]
        passed += measure_rate(values, clusters, 0.8, Levels()).p_good <= 0.05
        before += measure_rate(values, [None] * len(values), 0.8, Levels()).p_good <= 0.05
    assert passed <= 25
    assert before >= 75  # what counting every copy would do


def test_questions_of_a_set_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ftgate.rows import copies

    calls: list[int] = []
    real = copies.find_overlaps
    monkeypatch.setattr(copies, "find_overlaps", lambda *a, **k: calls.append(1) or real(*a, **k))
    asked = evalset([example(i, question=f"what is the {i}th thing that nobody else asks") for i in range(30)])
    texts = {question_text(asked.prompt, e) for e in asked.examples} | {target_text(e.target) for e in asked.examples}
    for kind in ("accuracy", "format", "beats_baseline"):
        Question.of(asked, gate(kind, 0.5), 0.05)
    assert len(calls) == 1
    assert len(texts) == 31
