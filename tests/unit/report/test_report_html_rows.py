"""The examples of the HTML report: what each system said, how it was scored, what is left out of a large set."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pages import Page, answers_for, plain_rows, report, said, tickets

from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.gates.given import scores_of
from pytest_ftgate.report.data import Answer, ExampleRow, ReportData
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.rows import by_importance, example_rows, flips_of
from pytest_ftgate.report.rowsection import MAX_BYTES, MAX_ROWS

# --- Rows -------------------------------------------------------------------------------------------------------------


def test_rows_carry_prompt_reference_and_the_scores_that_the_gates_use(blocked: ReportData) -> None:
    evalset = tickets(240, {"accuracy": 0.85})
    rates = {"candidate": 0.82, "baseline:zero_shot": 0.55, "baseline:few_shot": 0.79, "baseline:retrieval": 0.71}
    answers = answers_for(evalset, rates)
    rows = example_rows([evalset], {"tickets": answers})
    assert [r.id for r in rows] == [e.id for e in evalset.examples]
    for place, name in enumerate(rates):
        assert [r.answers[place].system for r in rows] == [name] * 240
        assert [r.answers[place].score for r in rows] == [s.value for s in scores_of(evalset, answers[name])]
    first = evalset.examples[0]
    assert rows[0].prompt == (("system", evalset.prompt.system), ("user", first.fields["ticket"]))
    assert json.loads(rows[0].reference) == first.target


def test_an_answer_that_cannot_be_scored_is_shown_and_hides_no_other() -> None:
    evalset = tickets(3, {"accuracy": 0.5, "format": 0.9})
    answers = answers_for(evalset, {"candidate": 1.0, "base": 1.0})
    answers["candidate"]["t-0000"] = said("", "error")
    del answers["base"]["t-0001"]
    rows = example_rows([evalset], {"tickets": answers})
    assert [r.candidate.score for r in rows] == [None, 1.0, 1.0]
    assert rows[0].candidate.explanation == "the prompt is too long"
    assert rows[0].tags == {"error"}
    assert rows[1].answers[1] == Answer("base", "", "missing", None, "not answered in this run")
    assert rows[1].tags == {"error"}
    assert rows[2].tags == frozenset()


@pytest.mark.parametrize(
    "scorer", [None, ScorerSpec("regex", {"pattern": "("}), ScorerSpec("function", {"path": "none_such:f"})]
)
def test_a_scorer_that_is_absent_or_broken_leaves_rows_without_scores(scorer: ScorerSpec | None) -> None:
    evalset = replace(tickets(3, {"format": 0.5}), scorer=scorer)
    answers = answers_for(evalset, {"candidate": 1.0, "base": 1.0})
    rows = example_rows([evalset], {"tickets": answers})
    assert [r.candidate.score for r in rows] == [None] * 3
    assert all(r.candidate.explanation for r in rows)
    assert flips_of(rows)[0].unscored == 3
    Page(render_html(report(rows)))


def test_one_example_that_breaks_the_scorer_leaves_the_others_their_scores() -> None:
    evalset = replace(tickets(3, {"accuracy": 0.5}), scorer=ScorerSpec("exact", {"ignore_punctuation": True}))
    targets = ("yes", "!!!", "no")
    examples = tuple(replace(e, target=target) for e, target in zip(evalset.examples, targets, strict=True))
    answers = {"candidate": {e.id: said("yes") for e in examples}}
    rows = example_rows([replace(evalset, examples=examples)], {"tickets": answers})
    assert [r.candidate.score for r in rows] == [1.0, None, 0.0]
    assert rows[1].candidate.explanation.startswith("not scored: ")
    assert rows[1].candidate.text == "yes"


def test_what_was_read_out_is_shown_where_it_is_not_the_whole_answer() -> None:
    evalset = tickets(2, {"accuracy": 0.5})
    fields = evalset.examples[0].target
    answers = {"candidate": {"t-0000": said(json.dumps(fields)), "t-0001": said(f"Here: {json.dumps(fields)}")}}
    rows = example_rows([evalset], {"tickets": answers})
    assert rows[0].candidate.read is None
    assert json.loads(rows[1].candidate.read or "") == fields


def test_an_eval_set_that_no_system_answered_makes_rows_without_answers() -> None:
    rows = example_rows([tickets(2, {"accuracy": 0.5})], {})
    assert [r.candidate.finish_reason for r in rows] == ["missing", "missing"]


def test_tags_say_what_happened() -> None:
    answers = (Answer("candidate", "x", "length", 0.5, ""), Answer("a", "", "stop", 1.0, ""))
    row = ExampleRow("s", "1", (), "", (*answers, Answer("b", "", "stop", 0.0, "")), "not JSON")
    assert row.tags == {"lost", "gained", "wrong", "format", "cut_off"}


def test_a_large_set_keeps_lost_and_wrong_rows_and_says_what_is_left_out() -> None:
    rows = plain_rows(20_000, lambda i: (0.0, 1.0) if i % 40 == 0 else (0.0, 0.0) if i % 40 == 1 else (1.0, 1.0))
    source = render_html(report(rows))
    page = Page(source)
    shown = page.data
    ids = [shown["strings"][row[1]] for row in shown["rows"]]  # type: ignore[index]
    assert len(ids) == MAX_ROWS
    assert set(ids) >= {f"e-{i}" for i in range(20_000) if i % 40 in (0, 1)}
    assert ids[0] == "e-0"
    assert "2000 of 20000 examples. 18000 are left out" in page.text("examples")
    assert "none of them was lost, wrong or cut off" in page.text("examples")
    assert len(source) < 1_000_000


def test_answers_of_a_megabyte_do_not_make_a_megabyte_each() -> None:
    rows = plain_rows(60, lambda i: (0.0, 1.0), text="\x1b" * 1_000_000)
    source = render_html(report(rows))
    assert "more characters" in source
    assert len(source) < 1_000_000


def test_the_file_is_bounded_in_bytes_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_ftgate.report.rowsection.MAX_BYTES", 20_000)
    rows = plain_rows(500, lambda i: (0.0, 1.0), text="long " * 100)
    page = Page(render_html(report(rows)))
    shown = len(page.data["rows"])
    assert 5 < shown < 40
    assert f"{500 - shown} are left out" in page.text("examples")
    assert f"({500 - shown} lost, {500 - shown} wrong among them)" in page.text("examples")
    assert MAX_BYTES < 20_000_000


def test_examples_that_gates_name_come_first_even_when_they_are_right() -> None:
    rows = plain_rows(50, lambda i: (1.0, 1.0) if i != 30 else (0.0, 1.0))
    ordered = by_importance(rows, [("big", "e-49"), ("other", "e-1")])
    assert [r.id for r in ordered[:3]] == ["e-49", "e-30", "e-0"]
