"""The HTML report: what stands in it, that it stays small, and that text of models and data stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import Page, answers_for, count, report, said, tickets

from pytest_ftgate.answers.shared_stage import STAGE_FILE, read_stage, shared_stage
from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.gates.given import error_verdict
from pytest_ftgate.report.data import ReportData
from pytest_ftgate.report.files import text as page_text
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.plots import Scale, bound_text, forest_plot, scale_for
from pytest_ftgate.report.rows import example_rows, flips_of
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.types import Policy, PolicyInForce


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
    page = Page(render_html(report(rows, withheld={"tickets/baseline:few_shot": 5}, counts={"base": count(4, 1, 3)})))
    hygiene = page.text("hygiene")
    assert "base: 1 generated, 3 from the store" in hygiene
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", render_html(report(rows)).split('id="hygiene"')[1])
    assert cells[:8] == ["tickets", "candidate", "4", "0.667", "1", "1", "0", "0"]
    assert cells[8:15] == ["tickets", "baseline:few_shot", "4", "1.000", "1", "0", "0"]
    assert "5" in hygiene


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


def ended(decision: Decision, folder: Path, file: Path) -> RunReport:
    policy = PolicyInForce(Policy())
    return RunReport(decision, (), {}, {}, "pytest", policy, {}, evalsets={"q": file}, stage=read_stage(folder))


def test_the_page_has_what_the_stage_and_the_eval_sets_hold(tmp_path: Path) -> None:
    file = written_set(tmp_path)
    answers = {"candidate": {f"t{i}": said(str(i if i else 9)) for i in range(3)}}
    shared_stage(tmp_path, lambda: StageResult({"q": answers, "gone": answers}))
    page = Page(page_text(ended(Decision("BLOCK", "q::accuracy failed"), tmp_path, file)))
    assert len(page.data["rows"]) == 3
    assert "what is 0?" in page.data["strings"]


def test_without_a_stage_or_with_a_broken_eval_set_there_is_a_page(tmp_path: Path) -> None:
    file, decision = written_set(tmp_path), Decision("NOT_EVALUATED", "no gate was found")
    assert "NOT_EVALUATED" in page_text(ended(decision, tmp_path, file))
    shared_stage(tmp_path, lambda: StageResult({"q": {"candidate": {}}}))
    file.write_text("version: 1\n", encoding="utf-8")
    assert "The examples of q are not listed" in page_text(ended(decision, tmp_path, file))


def test_read_stage_gives_nothing_for_a_stage_that_failed(tmp_path: Path) -> None:
    assert read_stage(tmp_path) is None
    (tmp_path / STAGE_FILE).write_text('{"error": {"message": "x", "fix": ""}}', encoding="utf-8")
    assert read_stage(tmp_path) is None
