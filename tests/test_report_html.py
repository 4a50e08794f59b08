"""The HTML report: what stands in it, that it stays small, and that text of models and data stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evalsets.types import EvalSet, Example, GateSpec, GenerationSettings, Prompt, Rung, ScorerSpec
from pytest_ftgate.gates import GateInput, error_verdict, judge, scores_of
from pytest_ftgate.measure import Levels
from pytest_ftgate.report.data import Answer, ExampleRow, ReportData
from pytest_ftgate.report.files import write_html
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.markup import Html, el
from pytest_ftgate.report.plots import Scale, bound_text, forest_plot, scale_for
from pytest_ftgate.report.rows import by_importance, example_rows, flips_of
from pytest_ftgate.report.rowsection import MAX_BYTES, MAX_ROWS
from pytest_ftgate.run import STAGE_FILE, read_stage, shared_stage
from pytest_ftgate.stage import StageResult
from pytest_ftgate.types import Generation, Verdict
from pytest_ftgate.verdict import Decision, RunFacts, decide

Answers = dict[str, dict[str, Generation]]
VOID = {"meta", "link", "br", "input"}

# --- A run to look at -------------------------------------------------------------------------------------------------

CATEGORIES = {
    "billing": ["I was charged twice for order {n}.", "The invoice {n} shows a wrong VAT rate, please correct it."],
    "login": ["I cannot log in since the update, it says error {n}.", "The reset mail for account {n} never arrives."],
    "shipping": ["Parcel {n} is stuck in customs for nine days.", "Order {n} came without the second box."],
    "refund": ["Please refund order {n}, the jacket does not fit.", "I sent back {n} weeks ago and saw no money yet."],
}
RUNGS = ("zero_shot", "few_shot", "retrieval")


def said(text: str, finish: str = "stop") -> Generation:
    return Generation(text, tuple(range(8)), finish, 120, error="the prompt is too long" if finish == "error" else "")  # type: ignore[arg-type]


def tickets(n: int, bounds: Mapping[str, float]) -> EvalSet:
    rng = random.Random(7)
    examples = []
    for i in range(n):
        category = rng.choice(list(CATEGORIES))
        text = rng.choice(CATEGORIES[category]).format(n=4000 + i)
        target = {"category": category, "priority": rng.choice(["low", "normal", "high"])}
        examples.append(Example(f"t-{i:04d}", {"ticket": text}, target, None, "tickets.jsonl", i + 1))
    prompt = Prompt(system="Triage the ticket. Answer as JSON with category and priority.", user="{ticket}")
    gates = [GateSpec(kind, bound, {}, i + 10) for i, (kind, bound) in enumerate(bounds.items())]
    gates = [replace(g, options={"regex": r"\{.*\}"}) if g.kind == "format" else g for g in gates]
    return EvalSet(
        name="tickets",
        path=Path("evals/tickets.eval.yaml"),
        examples=tuple(examples),
        prompt=prompt,
        baselines=tuple(Rung(name, prompt) for name in RUNGS),
        scorer=ScorerSpec("json_fields", {"fields": ["category", "priority"]}),
        generation=GenerationSettings(64),
        gates=tuple(gates),
        digest="0" * 64,
    )


def answers_for(evalset: EvalSet, rates: Mapping[str, float], *, seed: int = 3) -> Answers:
    rng, found = random.Random(seed), {}
    for system, rate in rates.items():
        found[system] = {e.id: _answer(rng, e, right=rng.random() < rate) for e in evalset.examples}
    return found


def _answer(rng: random.Random, asked: Example, *, right: bool) -> Generation:
    if right:
        return said(json.dumps(asked.target))
    kind = rng.random()
    if kind < 0.1:
        return said('{"category": "billing", "priority": "the customer writes that the', "length")
    if kind < 0.3:
        return said(f"Sure! Here is the triage:\n```json\n{json.dumps({**asked.target, 'priority': 'urgent'})}\n```")
    return said(json.dumps({**asked.target, "category": rng.choice(["other", "sales"])}))


def general(n: int) -> EvalSet:
    examples = [Example(f"g-{i:03d}", {"q": f"What is {i} + {i + 1}?"}, str(2 * i + 1), None, "g", i) for i in range(n)]
    evalset = tickets(1, {"forgetting": 0.05})
    scorer = ScorerSpec("exact", {})
    prompt = Prompt(user="{q}")
    path = Path("evals/general.eval.yaml")
    return replace(
        evalset, name="general", path=path, examples=tuple(examples), prompt=prompt, baselines=(), scorer=scorer
    )


def make_run(*, ship: bool) -> ReportData:
    """Two eval sets, five gates, three rungs; the judges are the real ones."""
    bounds = {"format": 0.9, "accuracy": 0.85, "beats_baseline": 0.05}
    asked, quiz = tickets(240, bounds), general(200)
    rates = {"candidate": 0.97 if ship else 0.82, "baseline:zero_shot": 0.55}
    rates |= {"baseline:few_shot": 0.79, "baseline:retrieval": 0.71}
    generations = {"tickets": answers_for(asked, rates)}
    plain = {e.id: said(str(e.target)) for e in quiz.examples}
    tuned = {**plain, **{f"g-{i:03d}": said("I don't know") for i in ((3,) if ship else range(0, 60, 3))}}
    generations["general"] = {"candidate": tuned, "base": plain}
    leaked = () if ship else ("t-0004", "t-0017")
    details: dict[str, object] = {"rows": 3120, "share": False, "leaks": [_leak(i) for i in leaked]}
    summary = f"{len(leaked)} of 240 examples stand in the training data (3120 rows of 1 file(s)); at most 0 allowed"
    overlap = Verdict(
        "tickets::overlap", "overlap", "FAIL" if leaked else "PASS", summary, "remove these rows" if leaked else "",
        240, float(len(leaked)), None, 0.0, None, worst=leaked, details=details,
    )  # fmt: skip
    levels = Levels(0.05, 6)
    verdicts = [overlap]
    for evalset in (asked, quiz):
        verdicts += [judge(GateInput(evalset, g, generations[evalset.name], levels)) for g in evalset.gates]
    names = [v.gate for v in verdicts]
    return ReportData(
        decision=decide(RunFacts(names, names, {v.gate: v for v in verdicts})),
        verdicts=tuple(verdicts),
        engine=ENGINE,
        counts={"candidate": _count(440, 440, 0), "base": _count(920, 0, 904)},
        withheld={"tickets/baseline:few_shot": 5},
        command="pytest evals/ --ft-model=runs/tickets-lora --ft-html=report.html --ft-verdict=require",
        rows=example_rows([asked, quiz], generations),
    )


def _leak(example_id: str) -> dict[str, object]:
    return {
        "example_id": example_id,
        "class": "input",
        "file": "train.jsonl",
        "row": 81,
        "identity": 1.0,
        "reason": "same words",
    }


def _count(planned: int, generated: int, stored: int) -> dict[str, int]:
    unique = generated + stored
    return {"planned": planned, "unique": unique, "stored": stored, "generated": generated, "rejected": 0}


ENGINE = {
    "model": "tickets-lora",
    "kind": "adapter",
    "digest": "3f2a9c1e" * 8,
    "base_model": "Qwen/Qwen3-0.6B",
    "base_digest": "77ab01de" * 8,
    "training_known": True,
    "device": "cuda",
    "dtype": "bfloat16",
    "quantize": "none",
    "batch_size": 64,
    "batch_halvings": 0,
    "effect": 4.0625,
    "read_back_tensors": 392,
    "base": "adapter off (probe logits equal the bare base's bit by bit)",
    "versions": {"torch": "2.10.0", "transformers": "5.3.0", "peft": "0.20.0"},
}


# --- Reading it back --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with attributes in order, and the text of each element that can be told apart by tag, id or class."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:60]!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data[:60]!r}")

    def handle_data(self, data: str) -> None:
        for name in self.open:
            self.texts.setdefault(name, []).append(data)

    def text(self, name: str) -> str:
        return "".join(self.texts.get(name, []))

    @property
    def data(self) -> dict[str, list[object]]:
        return json.loads(self.text("data"))


@pytest.fixture(scope="module")
def blocked() -> ReportData:
    return make_run(ship=False)


@pytest.fixture(scope="module")
def shipped() -> ReportData:
    return make_run(ship=True)


def test_sections_come_in_the_order_of_every_report(blocked: ReportData) -> None:
    page = render_html(blocked)
    assert Page(page).text("h1").strip() == "✕ BLOCK"
    marks = ['<header class="banner block">', "<dl ", *(f'<section id="{n}">' for n in SECTIONS)]
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)


SECTIONS = ("gates", "plot", "flips", "worst", "hygiene", "reproduce", "examples")


def test_ship_names_the_verdict_the_reason_and_who_was_judged(shipped: ReportData) -> None:
    page = Page(render_html(shipped))
    assert page.text("h1").strip() == "✓ SHIP"
    assert "all 5 gates passed" in page.text("header")
    identity = page.text("dl")
    for fact in ("tickets-lora", "3f2a9c1e3f2a", "Qwen/Qwen3-0.6B", "77ab01de77ab", "cuda", "bfloat16", "torch 2.10.0"):
        assert fact in identity


def test_gate_table_holds_every_gate_and_rung_with_its_numbers(blocked: ReportData) -> None:
    page = Page(render_html(blocked))
    gates = page.text("gates")
    for verdict in blocked.verdicts:
        assert verdict.gate in gates
        assert verdict.summary in gates
    beats = next(v for v in blocked.verdicts if v.kind == "beats_baseline")
    for c in beats.comparisons:
        assert f"[{100 * c.interval[0]:+.1f}, {100 * c.interval[1]:+.1f}]" in gates
        assert "> +5.0 points" in gates
        assert c.reference.removeprefix("baseline:") in gates
    assert "2 leaked" in gates


def test_forest_plot_draws_value_interval_and_bound_where_they_belong() -> None:
    verdict = Verdict("t::accuracy", "accuracy", "PASS", "", "", 100, 0.9, (0.8, 1.0), 0.85, 0.01)
    svg = str(forest_plot([verdict]))
    scale = scale_for([0.9, 0.85, 0.8, 1.0], low=0.0, high=1.0)
    assert f'<circle cx="{scale.place(0.9)}%"' in svg
    assert f'<line x1="{scale.place(0.8)}%" x2="{scale.place(1.0)}%" y1="13.0" y2="13.0" class="spread">' in svg
    assert f'<line x1="{scale.place(0.85)}%" x2="{scale.place(0.85)}%" y1="0" y2="26" class="bound">' in svg
    assert f'<rect x="0.0%" y="0" width="{scale.place(0.85):.2f}%"' in svg
    assert 'class="plot pass"' in svg


def test_forest_plot_has_one_line_per_gate_and_rung_and_names_what_was_not_judged(blocked: ReportData) -> None:
    lost = error_verdict("more::accuracy", "accuracy", "", "", reason="ENGINE")
    plot = str(forest_plot([*blocked.verdicts, lost]))
    assert plot.count('role="img"') == 1 + 2 + 3 + 1  # overlap, format and accuracy, three rungs, forgetting
    assert "Not judged, so not drawn: more::accuracy." in plot


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_scale_holds_its_values_and_few_ticks(values: list[float]) -> None:
    scale = scale_for(values, low=-1.0, high=1.0)
    assert scale.low <= min(values) <= max(values) <= scale.high
    assert 2 <= len(scale.ticks()) <= 9
    places = [scale.place(tick) for tick in scale.ticks()]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


def test_scale_places_are_percent() -> None:
    assert Scale(0.5, 1.0, 0.1).place(0.75) == 50.0


@pytest.mark.parametrize(("share", "found", "needs"), [(False, "1 leaked", "≤ 0"), (True, "100.0% leaked", "≤ 1.25%")])
def test_leaks_are_a_count_or_a_share(share: bool, found: str, needs: str) -> None:
    bound = 0.0125 if share else 0.0
    verdict = Verdict("t::overlap", "overlap", "FAIL", "", "", 40, 1.0, None, bound, None, details={"share": share})
    gates = Page(render_html(report(verdicts=(verdict,)))).text("gates")
    assert found in gates
    assert needs in gates
    assert ("100.0%" if share else "2.5%") in str(forest_plot([verdict]))


@pytest.mark.parametrize(
    ("bound", "above", "signed", "text"),
    [
        (0.8625, True, False, "≥ 86.25%"),
        (0.0, False, False, "≤ 0.0%"),
        (0.05, True, True, "> +5.0 points"),
        (-0.0125, True, True, "> -1.25 points"),
    ],
)
def test_a_bound_is_never_rounded(bound: float, above: bool, signed: bool, text: str) -> None:
    assert bound_text(bound, above=above, signed=signed) == text


def test_what_a_gate_says_without_leaked_examples_is_shown() -> None:
    contamination = {
        "all": {"outcome": "PASS", "n": 60, "value": 0.95, "p": 0.01},
        "leaked_examples": 12,
        "clean": {"outcome": "FAIL", "n": 48, "value": 0.7021, "p": 0.9},
        "differences": [
            {"reference": "baseline:few_shot", "leaked": 0.4, "clean": -0.1, "excess": 0.5, "p_value": 0.002}
        ],
    }
    verdict = Verdict(
        "t::accuracy", "accuracy", "FAIL", "", "", 60, 0.95, (0.9, 1.0), 0.9, 0.01,
        details={"contamination": contamination},
    )  # fmt: skip
    details = Page(render_html(report(verdicts=(verdict,)))).text("details")
    for text in ("12 examples stand in the training data", "0.702", "+40.0", "-10.0", "+50.0", "0.0020"):
        assert text in details


def test_flips_agree_with_the_comparison_that_decided(blocked: ReportData) -> None:
    found = {(f.evalset, f.reference): f for f in flips_of(blocked.rows)}
    compared = [(v.gate.split("::")[0], c) for v in blocked.verdicts for c in v.comparisons]
    assert {(name, c.reference) for name, c in compared} == set(found)
    page = Page(render_html(blocked)).text("flips")
    for name, c in compared:
        flips = found[name, c.reference]
        assert (flips.gained, flips.lost, flips.both_right + flips.both_wrong) == (c.gains, c.losses, c.ties)
        assert flips.both_right + flips.gained == round(c.candidate * c.n)
        assert f"net {c.gains - c.losses:+d} of {c.n}" in page


def test_worst_examples_stand_in_plain_html_with_what_was_answered(blocked: ReportData) -> None:
    worst = Page(render_html(blocked)).text("worst")
    named = next(v for v in blocked.verdicts if v.kind == "accuracy").worst[0]
    row = next(r for r in blocked.rows if r.id == named)
    for text in (named, row.prompt[-1][1], row.reference, row.candidate.text, "few_shot"):
        assert text in worst


def test_hygiene_counts_errors_cut_answers_withheld_shots_and_the_store() -> None:
    evalset = tickets(4, {"accuracy": 0.5})
    answers = answers_for(evalset, {"candidate": 1.0, "baseline:few_shot": 1.0})
    answers["candidate"]["t-0001"] = said("", "error")
    answers["candidate"]["t-0002"] = said('{"a', "length")
    del answers["baseline:few_shot"]["t-0003"]
    rows = example_rows([evalset], {"tickets": answers})
    page = Page(render_html(report(rows, withheld={"tickets/baseline:few_shot": 5}, counts={"base": _count(4, 1, 3)})))
    hygiene = page.text("hygiene")
    assert "base: 1 generated, 3 from the store" in hygiene
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", render_html(report(rows)).split('id="hygiene"')[1])
    assert cells[:8] == ["tickets", "candidate", "4", "0.667", "1", "1", "0", "0"]
    assert cells[8:15] == ["tickets", "baseline:few_shot", "4", "1.000", "1", "0", "0"]
    assert "5" in hygiene


def report(rows: tuple[ExampleRow, ...] = (), **changes: object) -> ReportData:
    plain = ReportData(Decision("BLOCK", "x failed"), (), {}, {}, {}, "pytest", rows)
    return replace(plain, **changes)  # type: ignore[arg-type]


def test_command_stands_there_to_the_letter() -> None:
    command = "pytest 'my evals/' -k \"a & b\" --ft-model=<dir>" + " x" * 4000
    assert Page(render_html(report(command=command))).text("command") == command


def test_a_run_without_answers_is_still_a_page() -> None:
    verdict = error_verdict(
        "t::accuracy", "accuracy", "the model could not be loaded", "check it", reason="EngineError"
    )
    data = report(decision=Decision("NOT_EVALUATED", "t::accuracy could not be judged"), verdicts=(verdict,))
    page = Page(render_html(data))
    assert "! NOT_EVALUATED" in page.text("h1")
    assert "the model could not be loaded" in page.text("gates")
    assert "No model was loaded" in page.text("p")


def test_an_engine_that_tells_little_is_shown_without_gaps() -> None:
    identity = Page(render_html(report(engine={"model": "mine", "effect": "some"}))).text("dl")
    assert "mine" in identity
    assert "None" not in identity
    assert "Runtime" not in identity


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


def plain_rows(n: int, score: Callable[[int], tuple[float, float]], text: str = "ok") -> tuple[ExampleRow, ...]:
    rows = []
    for i in range(n):
        mine, theirs = score(i)
        answers = (Answer("candidate", f"{text}{i}", "stop", mine, "why"), Answer("base", text, "stop", theirs, "why"))
        rows.append(ExampleRow("big", f"e-{i}", (("user", f"question {i}"),), "yes", answers))
    return tuple(rows)


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


# --- Untrusted text ---------------------------------------------------------------------------------------------------

ATTACKS = [
    "</script><img src=x onerror=alert(1)>",
    "</SCRIPT ><svg/onload=1><!-- <script>",
    "<!--<script>",
    "]]><![CDATA[<?php",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='1",
    "</textarea></title></style></pre></main><base href=//e.org>",
    "::error::boo\n##[error]boo",
    "\x1b[31mred\x1b]8;;http://x\x1b\\\x9b",
    "\u202egnp.exe\u2066\u2028\u2029\u200b",
    "\ud800 half \udfff \x00",
    "&lt;script&gt; &#60;b&#62; javascript:alert(1)",
    "{{constructor}} ${1} %s {x}",
    "<" * 5000,
]


def hostile(text: str) -> ReportData:
    """A run in which every string that others wrote is `text`."""
    answers = tuple(
        Answer(system, text, finish, score, text, text)
        for system, finish, score in (("candidate", "length", 0.0), (f"baseline:{text}", "error", None))
    )
    rows = (ExampleRow(text, text, ((text, text), ("user", text)), text, answers, text),)
    details: dict[str, object] = {
        "fields": {text: 0.5},
        "violations": {text: 3},
        "leaks": [{"example_id": text, "file": text, "class": text, "row": 1, "reason": text}],
        "classification": {"labels": [text], "matrix": [[1, 2]], "macro_f1": 0.5, "n": 3},
        "method": text,
        "contamination": {
            "all": {"outcome": text, "n": 1, "value": 0.5, "p": 0.5},
            "leaked_examples": text,
            "differences": [{"reference": text, "leaked": 0.1, "clean": 0.1, "excess": 0.0, "p_value": 0.5}],
        },
    }
    verdicts = tuple(
        Verdict(f"{text}::{kind}", kind, "FAIL", text, text, 1, 0.5, (0.4, 0.6), 0.5, 0.1, (text,), text, (), details)
        for kind in ("accuracy", "overlap")
    )
    engine = {"model": text, "kind": text, "digest": text, "base": text, "base_model": text, "versions": {text: text}}
    return ReportData(
        Decision("BLOCK", text),
        verdicts,
        {**engine, "device": text},
        {},
        {text: 1},
        text,
        rows,
        (text,),
    )


HARMLESS = render_html(hostile("word"))
SHAPE = Page(HARMLESS).shape
TEXT = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.characters(exclude_categories=[]), min_size=1, max_size=30),
    st.text("<>/!-&'\"= \n\r\x00\x1bscriptonerr\u202e\ud800", min_size=1, max_size=40),
)


@settings(max_examples=30, deadline=None)
@given(text=TEXT)
@example(text=ATTACKS[0])
@example(text=ATTACKS[2])
@example(text=ATTACKS[-1])
def test_no_element_and_no_attribute_comes_from_data(text: str) -> None:
    page = Page(render_html(hostile(text)))
    # A gate is `name::kind`: with `::` in the name, or `:` at its end, no example is found, so it has no card.
    assert page.shape == SHAPE if "::" not in f"{text}:" else set(page.shape) <= set(SHAPE)


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_invisible_and_no_log_command_reaches_the_file(text: str) -> None:
    source = render_html(hostile(text))
    source.encode("utf-8")
    odd = {c for c in source if not c.isprintable()} - {"\n"}
    assert odd == set()
    assert not re.search(r"(?m)^\s*::\w|##\[", source)


@pytest.mark.parametrize("text", ATTACKS)
def test_links_lead_only_into_the_page(text: str) -> None:
    page = Page(render_html(hostile(text)))
    links = [value or "" for tag, name, value in page.attributes if name in ("href", "action") and tag != "link"]
    assert links
    assert all(re.fullmatch(r"#example=[A-Za-z0-9%._/~-]+.*", link) for link in links)


def test_what_was_written_can_be_read_back_from_the_data() -> None:
    page = Page(render_html(hostile("</script><b>")))
    assert "</script><b>" in page.data["strings"]


def test_policy_lets_run_only_the_script_and_style_of_the_page(blocked: ReportData) -> None:
    source = render_html(blocked)
    policy = next(value for _, name, value in Page(source).attributes if name == "content" and "default-src" in value)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert source.index("Content-Security-Policy") < source.index("<style>")


def test_nothing_is_loaded_from_elsewhere(blocked: ReportData) -> None:
    source = render_html(blocked)
    assert not re.search(r"https?://|url\(|@import|\bsrc=", source)
    links = [value for tag, name, value in Page(source).attributes if tag == "link" and name == "href"]
    assert links == ["data:,"]


def test_the_script_writes_text_only() -> None:
    script = HARMLESS.rsplit("<script>", 1)[1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|Function\(|setHTML", script)


def test_a_string_becomes_markup_only_where_we_made_it() -> None:
    assert el("p", "<b>", el("i", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert el("p", Html("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"
    assert el("meta", name="a", content=None) == '<meta name="a">'


def test_environment_secrets_do_not_reach_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    source = render_html(hostile("see hf_abcdefghijkl"))
    assert "hf_abcdefghijkl" not in source
    assert "[redacted HF_TOKEN]" in source


# --- From a run to a file ---------------------------------------------------------------------------------------------


def written_set(folder: Path) -> Path:
    rows = [{"id": f"t{i}", "q": f"what is {i}?", "target": str(i)} for i in range(3)]
    (folder / "q.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    file = folder / "q.eval.yaml"
    file.write_text(
        'version: 1\nexamples: q.jsonl\nprompt: {user: "{q}"}\ngeneration: {max_new_tokens: 8}\nscorer: exact\n'
        "gates:\n  accuracy: {min: 0.5}\n",
        encoding="utf-8",
    )
    return file


def test_write_html_reads_the_stage_and_the_eval_sets(tmp_path: Path) -> None:
    file = written_set(tmp_path)
    answers = {"candidate": {f"t{i}": said(str(i if i else 9)) for i in range(3)}}
    shared_stage(tmp_path, lambda: StageResult({"q": answers, "gone": answers}))
    target = tmp_path / "out" / "report.html"
    write_html(
        target,
        decision=Decision("BLOCK", "q::accuracy failed"),
        verdicts=[],
        engine={},
        counts={},
        command="pytest",
        shared=tmp_path,
        evalsets={"q": file},
    )
    page = Page(target.read_text(encoding="utf-8"))
    assert len(page.data["rows"]) == 3
    assert "what is 0?" in page.data["strings"]


def test_write_html_without_a_stage_or_with_a_broken_eval_set_still_writes(tmp_path: Path) -> None:
    file, target = written_set(tmp_path), tmp_path / "report.html"

    def write() -> str:
        decision = Decision("NOT_EVALUATED", "no gate was found")
        write_html(
            target,
            decision=decision,
            verdicts=[],
            engine={},
            counts={},
            command="pytest",
            shared=tmp_path,
            evalsets={"q": file},
        )
        return target.read_text(encoding="utf-8")

    assert "NOT_EVALUATED" in write()
    shared_stage(tmp_path, lambda: StageResult({"q": {"candidate": {}}}))
    file.write_text("version: 1\n", encoding="utf-8")
    assert "The examples of q are not listed" in write()


def test_read_stage_gives_nothing_for_a_stage_that_failed(tmp_path: Path) -> None:
    assert read_stage(tmp_path) is None
    (tmp_path / STAGE_FILE).write_text('{"error": {"message": "x", "fix": ""}}', encoding="utf-8")
    assert read_stage(tmp_path) is None
