"""Target rows against the eval sets: each fault caught, clean rows passed in silence."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet, Message
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.results import Generation
from pytest_ftgate.rows.types import TrainingRow
from pytest_ftgate.scoring.format_check import make_format_check
from training import targets
from training.targets import target_warnings, total_variation

KINDS = ("billing", "bug", "idea")
SCHEMA = {
    "type": "object",
    "required": ["kind"],
    "properties": {"kind": {"enum": list(KINDS)}},
    "additionalProperties": False,
}
JSON_GATES = (
    "scorer: {json_fields: [kind]}\ngates: {format: {json_schema: s.json, min_rate: 0.9}, accuracy: {min: 0.5}}\n"
)
CHOICE = (
    "scorer: {choice: {labels: [billing, bug, idea]}}\ngates: {format: {FORMAT, min_rate: 0.9}, accuracy: {min: 0.5}}\n"
)


def evalset(
    here: Path, gates: str = JSON_GATES, *, prompt: str = "{system: Triage., user: '{q}'}", n: int = 60
) -> EvalSet:
    """An eval set with as many examples of each kind."""
    as_json = "json_fields" in gates
    rows = [
        {"id": f"e{i}", "q": f"q {i}", "target": {"kind": KINDS[i % 3]} if as_json else KINDS[i % 3]} for i in range(n)
    ]
    (here / "e.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (here / "s.json").write_text(json.dumps(SCHEMA))
    path = here / "desk.eval.yaml"
    path.write_text(f"version: 1\nexamples: e.jsonl\nprompt: {prompt}\ngeneration: {{max_new_tokens: 9}}\n{gates}")
    return load_evalset(path)


def rows(answers: list[str], *, system: str = "Triage.", form: str = "messages") -> list[TrainingRow]:
    first = (Message("system", system),) if system else ()
    return [
        TrainingRow("t.jsonl", i, (*first, Message("user", f"x {i}"), Message("assistant", text)), form)  # type: ignore[arg-type]
        for i, text in enumerate(answers, 1)
    ]


def kinds(n: int = 90, *, weights: tuple[int, ...] = (1, 1, 1)) -> list[str]:
    cycle = [kind for kind, weight in zip(KINDS, weights, strict=True) for _ in range(weight)]
    return [cycle[i % len(cycle)] for i in range(n)]


def as_json(answers: list[str]) -> list[str]:
    return [json.dumps({"kind": kind}) for kind in answers]


def test_clean_rows_give_no_warning(tmp_path: Path) -> None:
    assert target_warnings([evalset(tmp_path)], rows(as_json(kinds()))) == []
    assert target_warnings([], rows(["x"])) == []


def test_answers_that_fail_the_format_gate_are_counted_and_named(tmp_path: Path) -> None:
    answers = as_json(kinds())
    answers[4], answers[9] = '{"kind": "other"}', 'Sure! {"kind": "bug"}'
    (warning,) = target_warnings([evalset(tmp_path)], rows(answers))
    assert warning == "2 of 90 target answers would fail desk::format themselves: t.jsonl:5 and t.jsonl:10"


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("regex: 'b[a-z]+|idea'", "bug", "bug!"),
        ("choices: [billing, bug, idea]", "bug", "Bug"),
        ("max_length: 8", "bug", "bug, I think"),
    ],
)
def test_every_kind_of_format_gate_is_asked(tmp_path: Path, form: str, good: str, bad: str) -> None:
    desk = evalset(tmp_path, CHOICE.replace("FORMAT", form))
    assert target_warnings([desk], rows([*kinds(), good])) == []
    warnings = target_warnings([desk], rows([*kinds(), bad]))
    assert warnings[0] == "1 of 91 target answers would fail desk::format themselves: t.jsonl:91"


def with_pattern(here: Path, pattern: str) -> EvalSet:
    """An eval set whose format gate asks for an object with `kind` of that pattern."""
    desk = evalset(here)
    schema = {"type": "object", "required": ["kind"], "properties": {"kind": {"pattern": pattern}}}
    (here / "s.json").write_text(json.dumps(schema))
    return desk


@pytest.mark.parametrize("form", ["schema", "regex"])
@pytest.mark.parametrize("text", ["abc", "abc\n", "abc\n\n", "ABC", ""])
def test_h1_what_the_gate_says_of_a_text_the_pre_flight_says_of_it(tmp_path: Path, form: str, text: str) -> None:
    pattern = "^[a-z]+$"
    if form == "schema":
        desk, answer = with_pattern(tmp_path, pattern), json.dumps({"kind": text})
    else:
        desk, answer = evalset(tmp_path, CHOICE.replace("FORMAT", f"regex: '{pattern}'")), text
    obeys = make_format_check(desk.gates[0].options, base_dir=tmp_path)(Generation(answer, (), "stop", 0)).strict
    assert any("would fail" in line for line in target_warnings([desk], rows([answer]))) is not obeys


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|aa)+$", "^(a|a)*$"])
def test_h1_a_pattern_that_does_not_end_does_not_hold_the_pre_flight(tmp_path: Path, pattern: str) -> None:
    slow = as_json(["a" * 60 + "!" * n for n in range(1, 40)])
    began = time.monotonic()
    first, *_ = target_warnings([with_pattern(tmp_path, pattern)], rows(slow))
    assert time.monotonic() - began < 20
    assert "desk::format" in first
    assert "t.jsonl:1" in first


def test_h1_many_rows_that_are_slow_but_end_do_not_hold_the_pre_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "MOST_SECONDS", 0.0)
    (warning,) = target_warnings([evalset(tmp_path)], rows(["no JSON", *as_json(kinds())]))
    assert warning.startswith("1 of 1 target answers would fail ")
    assert "first 1 of 91" in warning


def test_a_row_may_be_for_any_of_the_eval_sets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (
        evalset(tmp_path / "a"),
        evalset(tmp_path / "b", CHOICE.replace("FORMAT", "choices: [billing, bug, idea]")),
    )
    mixed = rows([*as_json(kinds()), *kinds()])
    assert target_warnings([first, second], mixed) == []
    (warning,) = target_warnings([first, second], [*mixed, *rows(["neither"])])
    assert "desk::format" in warning


def test_a_forgetting_set_asks_nothing_of_target_rows(tmp_path: Path) -> None:
    general = evalset(tmp_path, "scorer: exact\ngates: {forgetting: {max_drop: 0.05}}\n", prompt="{user: '{q}'}")
    assert target_warnings([general], rows(["anything"])) == []


def test_a_class_that_no_row_teaches_is_named(tmp_path: Path) -> None:
    taught = [kind for kind in kinds(120) if kind != "idea"]
    missing, _ = target_warnings([evalset(tmp_path)], rows(as_json(taught)))
    assert missing == "desk: of 'kind', 'idea' (20 of 60 examples) in no target row"
    desk = evalset(tmp_path, CHOICE.replace("FORMAT", "max_length: 20"))
    missing, _ = target_warnings([desk], rows(taught))
    assert missing == "desk: 'idea' (20 of 60 examples) in no target row"


def test_other_shares_are_a_warning_where_chance_does_not_explain_them(tmp_path: Path) -> None:
    desk = evalset(tmp_path)
    (warning,) = target_warnings([desk], rows(as_json(kinds(120, weights=(10, 1, 1)))))
    assert warning.startswith(
        "desk: of 'kind', classes have other shares (total variation distance 0.50): 'billing' 83%"
    )
    assert target_warnings([desk], rows(as_json(kinds(8, weights=(6, 1, 1))))) == []  # eight rows say little
    assert target_warnings([desk], rows(as_json(kinds(120, weights=(3, 2, 3))))) == []


def test_a_free_text_field_has_no_classes(tmp_path: Path) -> None:
    desk = evalset(tmp_path, n=4)
    assert target_warnings([desk], rows(as_json(["bug"] * 60))) == []


def test_another_system_turn_or_form_than_in_evaluation_is_named(tmp_path: Path) -> None:
    answers = as_json(kinds())
    (warning,) = target_warnings([evalset(tmp_path)], rows(answers, system="Classify."))
    assert warning == "desk asks with the system turn 'Triage.', but no target row does"
    (warning,) = target_warnings([evalset(tmp_path, prompt="{user: '{q}'}")], rows(answers))
    assert warning == "desk asks without a system turn, but no target row does"
    (warning,) = target_warnings([evalset(tmp_path, prompt="{text: '{q}'}")], rows(answers))
    assert warning == "desk asks in plain text, but every target row is a chat"
    plain = [TrainingRow("t", 1, row.messages[1:], "text_completion") for row in rows(answers)]
    (warning,) = target_warnings([evalset(tmp_path)], plain)
    assert warning == "desk asks in a chat, but every target row is plain text"
    by_field = evalset(tmp_path, prompt="{system: 'About {id}.', user: '{q}'}")
    assert target_warnings([by_field], rows(answers)) == []


def test_a_format_gate_that_is_broken_stops_the_run(tmp_path: Path) -> None:
    desk = evalset(tmp_path)
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(TrainingDataError, match=r"s\.json"):
        target_warnings([desk], rows(as_json(kinds())))


counts = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 50), min_size=1).map(Counter)


@given(counts, counts)
def test_total_variation_is_a_distance(first: Counter[str], second: Counter[str]) -> None:
    found = total_variation(first, second)
    assert -1e-12 <= found <= 1 + 1e-12
    assert abs(found - total_variation(second, first)) < 1e-12
    assert total_variation(first, Counter({k: 3 * v for k, v in first.items()})) < 1e-12
    if not first.keys() & second.keys():
        assert found == pytest.approx(1)
