"""The format gate's check: strict decides, lenient is shown, and a rule that refuses nothing is refused itself."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.files import saferegex
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.results import FormatCheck, Generation
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.json_answer import NotJson, first_json, same_json, strict_json
from pytest_ftgate.scoring.json_schema import Schema

TICKET = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "category": {"enum": ["billing", "bug"]},
        "priority": {"type": "integer", "minimum": 1, "maximum": 3},
        "id": {"type": "string", "pattern": "^[A-Z]{2}-\\d+$"},
    },
    "required": ["category", "priority"],
    "additionalProperties": False,
}
GOOD = '{"category": "bug", "priority": 1}'


def check(options: dict[str, Any], text: str, tmp_path: Path, finish_reason: Any = "stop") -> FormatCheck:
    (tmp_path / "ticket.json").write_text(json.dumps(TICKET))
    return make_format_check(options, base_dir=tmp_path)(Generation(text, (1,), finish_reason, 3))


@pytest.mark.parametrize("text", [GOOD, f" {GOOD}\n", '{"priority":3,"category":"bug","id":"AB-1"}'])
def test_strict_accepts_the_whole_output(text: str, tmp_path: Path) -> None:
    assert check({"json_schema": "ticket.json"}, text, tmp_path) == FormatCheck(True, True, "")


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{GOOD}\n```",
        f"```{GOOD}```",
        f"Sure! {GOOD}",
        f"{GOOD} Anything else?",
        f'<think>{{"category": "billing"}} or ...</think>{GOOD}',
        f"thinking {{aloud}}</think>\n{GOOD}",
        f"{GOOD}{GOOD}",
    ],
)
def test_lenient_alone_accepts_what_has_to_be_dug_out(text: str, tmp_path: Path) -> None:
    result = check({"json_schema": "ticket.json"}, text, tmp_path)
    assert (result.strict, result.lenient) == (False, True)
    assert result.explanation


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("billing", "not JSON"),
        ("null", "expected 'object'"),
        ("[]", "expected 'object'"),
        ("{}", "missing 'category' and 'priority'"),
        ('{"category": "bug"}', "missing 'priority'"),
        ('{"category": "refund", "priority": 1}', "properties.category.enum"),
        ('{"category": "bug", "priority": "1"}', "properties.priority.type"),
        ('{"category": "bug", "priority": true}', "properties.priority.type"),
        ('{"category": "bug", "priority": 4}', "properties.priority.maximum"),
        ('{"category": "bug", "priority": 1, "SURPRISE": 1}', "additionalProperties"),
        ('{"category": "bug", "priority": 1, "id": "AB-1\\n"}', "properties.id.pattern"),
        ('{"category": "bug", "priority": 1, "id": "AB-\u0661"}', "properties.id.pattern"),
        ('{"category": "bug", "priority": 2, "priority": 1}', "duplicate key"),
        ('{"category": "bug", "priority": NaN}', "not strict JSON"),
        ('{"category": "bug", "priority": 1', "not JSON"),
        ("{'category': 'bug', 'priority': 1}", "not JSON"),
        ("[" * 100_000, "not strict JSON"),
    ],
)
def test_both_reject(text: str, why: str, tmp_path: Path) -> None:
    result = check({"json_schema": "ticket.json"}, text, tmp_path)
    assert (result.strict, result.lenient) == (False, False)
    assert why in result.explanation
    assert "SURPRISE" not in result.explanation
    assert len(result.explanation) < 300


def test_a_cut_output_is_wrong_even_if_it_parses(tmp_path: Path) -> None:
    result = check({"json_schema": "ticket.json"}, GOOD, tmp_path, "length")
    assert result == FormatCheck(False, True, "cut at max_new_tokens")


def test_nothing_obtained_is_an_error(tmp_path: Path) -> None:
    run = make_format_check({"max_length": 5}, base_dir=tmp_path)
    with pytest.raises(ScoringError, match=r"nothing was generated .out of memory"):
        run(Generation("", (), "error", 0, error="out of memory"))


@pytest.mark.parametrize(
    ("options", "text", "strict", "lenient"),
    [
        ({"regex": "[A-Z]+"}, "ABC", True, True),
        ({"regex": "[A-Z]+"}, "ABC ", False, True),
        ({"regex": "[A-Z]+$"}, "ABC\n", False, True),
        ({"regex": "[A-Z]+"}, "ABCd", False, False),
        ({"regex": "[A-Z]+"}, "```\nABC\n```", False, True),
        ({"choices": ["yes", "no"]}, "no", True, True),
        ({"choices": ["yes", "no"]}, " no\n", False, True),
        ({"choices": ["yes", "no"]}, "<think>yes?</think>no", False, True),
        ({"choices": ["yes", "no"]}, "not", False, False),
        ({"choices": ["yes", "no"]}, "No", False, False),
        ({"max_length": 3}, "abc", True, True),
        ({"max_length": 3}, "abcd", False, False),
        ({"max_length": 3}, "abc  ", False, True),
        ({"max_length": 2}, "\U0001f600\U0001f600", True, True),
        ({"json_schema": "ticket.json", "max_length": 10}, GOOD, False, False),
        ({"choices": ["yes", "no"], "regex": "y.*"}, "no", False, False),
    ],
)
def test_rules(options: dict[str, Any], text: str, strict: bool, lenient: bool, tmp_path: Path) -> None:
    result = check(options, text, tmp_path)
    assert (result.strict, result.lenient) == (strict, lenient)
    assert bool(result.explanation) is not strict


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "gates.format"),
        ({"regexp": "a"}, "found `regexp`"),
        ({"regex": "("}, "gates.format.regex"),
        ({"regex": r"[\s\S]*"}, "refuses something"),
        ({"regex": 5}, "gates.format.regex"),
        ({"choices": []}, "gates.format.choices"),
        ({"choices": [True, False]}, "quote yes, no"),
        ({"max_length": 0}, "gates.format.max_length"),
        ({"max_length": True}, "gates.format.max_length"),
        ({"json_schema": "missing.json"}, "missing.json"),
        ({"json_schema": {"type": "object"}}, "expected a file name"),
    ],
)
def test_rules_that_cannot_work_are_refused(options: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        make_format_check(options, base_dir=tmp_path)
    assert key in str(caught.value)


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "object", "requried": ["a"], "properties": {"a": {"minimun": 1}}}')
    with pytest.raises(InputError) as caught:
        make_format_check({"json_schema": "s.json", "regex": "(", "max_length": 0}, base_dir=tmp_path)
    assert len(caught.value.problems) == 4
    assert "`required`" in str(caught.value)
    assert "`minimum`" in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (True, "expected a JSON Schema"),
        ({}, "at least one rule"),
        ({"title": "anything"}, "accepts every probe"),
        ({"anyOf": [{"type": "object"}, {}]}, "accepts every probe"),
        ({"properties": {"a": {"type": "string"}}, "type": "object"}, "without any of its properties"),
        ({"type": "object", "properties": {"a": {"format": "emial"}}, "required": ["a"]}, "found 'emial'"),
        ({"type": "objekt"}, "objekt"),
        ({"type": "string", "pattern": "("}, "regular expression"),
        ({"type": "string", "minLenght": 3}, "found `minLenght`"),
        ({"allOf": [{"type": "object", "if": {"requierd": []}}]}, "found `requierd`"),
        ({"$schema": "https://example.org/mine", "type": "object"}, "expected a draft from 06"),
        ({"$ref": "http://127.0.0.1:9/x.json"}, "into this file"),
        ({"$ref": "file:///etc/hostname"}, "into this file"),
        ({"type": "object", "not": {"$ref": "other.json"}}, "into this file"),
        ({"$ref": "#/$defs/missing"}, "leads to a schema"),
        ({"$ref": "#"}, "leads back to itself"),
        ({"type": "object", "patternProperties": {"(": {}}}, "regular expression"),
        ({"patternProperties": {"a": {}}, "unevaluatedProperties": False}, "found both"),
        ({"type": "object", "$defs": {"a": {"$id": "http://example.org/a"}}}, "only at the top"),
    ],
)
def test_schemas_that_would_not_refuse_are_refused(schema: Any, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise RuntimeError("a schema must not reach the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(InputError) as caught:
        Schema(schema)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object"}, {}, []),
        ({"$schema": "http://json-schema.org/draft-06/schema#", "type": "integer"}, 1, "1"),
        ({"$schema": "http://json-schema.org/draft-07/schema", "const": {"a": 1}}, {"a": 1}, {"a": True}),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}, "type": "array"}, [1], ["1"]),
        ({"$id": "http://example.org/a", "$defs": {"n": {"type": "null"}}, "$ref": "#/$defs/n"}, None, 1),
        ({"type": "array", "uniqueItems": True}, [1, True, "1", {"a": 1}, [1]], [{"a": 1, "b": 2}, {"b": 2, "a": 1.0}]),
        ({"type": "object", "patternProperties": {"^x": {"type": "integer"}}}, {"x": 1, "y": ""}, {"x": ""}),
        (
            {"type": "object", "patternProperties": {"^x": {}}, "properties": {"a": {}}, "additionalProperties": False},
            {"x1": 1, "a": 2},
            {"y": 1},
        ),
        ({"type": "object", "patternProperties": {"^x$": {"type": "integer"}}}, {"x\n": ""}, {"x": ""}),
        (
            {"type": "object", "patternProperties": {"^x$": {}}, "additionalProperties": False},
            {"x": 1},
            {"x\n": 1},
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": ""}),
        ({"type": "string", "format": "date"}, "2024-02-29", "2023-02-29"),
        ({"type": "string", "pattern": r"^\w$"}, "a", "\u00e9"),
        ({"type": "string", "pattern": "^a$"}, "a", "a\n"),
        ({"type": "string", "pattern": r"[$\d]\$"}, "5$", "\u0665$"),
        ({"type": "string", "pattern": r"\p{Lu}"}, "\u00c9", "\u00e9"),
    ],
)
def test_schemas_decide(schema: Any, good: Any, bad: Any) -> None:
    assert Schema(schema).violation(good) is None
    assert "violates" in str(Schema(schema).violation(bad))


def test_schemas_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saferegex, "SECONDS", 0.2)
    start = time.perf_counter()
    assert Schema({"type": "array", "uniqueItems": True}).violation([{"a": i} for i in range(20_000)]) is None
    for schema in ({"pattern": "(a|aa)+c", "type": "string"}, {"propertyNames": {"pattern": "(a|aa)+c"}}):
        with pytest.raises(ScoringError, match="took more than"):
            Schema(schema).violation("a" * 60 if "type" in schema else {"a" * 60: 1})
    assert time.perf_counter() - start < 15


def test_a_tree_schema_reads_deep_values() -> None:
    tree = Schema(
        {"type": "object", "properties": {"c": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["c"]}
    )
    value: Any = None
    for _ in range(60):
        value = {"c": value}
    assert tree.violation(strict_json(json.dumps(value))) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.sampled_from(["", "Here: ", "{oops ", "[ or ", "<think>[1]</think>"]), st.sampled_from(["", " .", "}"]))
def test_first_json_finds_what_was_written(value: Any, before: str, after: str) -> None:
    if isinstance(value, dict | list):
        assert same_json(first_json(before + json.dumps(value) + after), value)


@given(JSON, JSON)
def test_same_json_is_equality_of_canonical_text(one: Any, other: Any) -> None:
    assert same_json(one, one)
    if same_json(one, other):
        assert same_json(other, one)
        assert one == other


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "[1," * 100_000, '["' * 100_000, "{" * 200_000])
def test_first_json_ends_in_time(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(NotJson):
        first_json(text)
    assert time.perf_counter() - start < 2
