"""Scorers: what each must accept, what each must reject, and what none may turn into a zero."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import Example, ScorerSpec
from pytest_ftgate.files import saferegex
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.results import Generation, Score
from pytest_ftgate.scoring.scorers import classification_table, make_scorer, needed_labels

HERE = Path(__file__).parent

EXACT: dict[str, Any] = {"ignore_case": False, "ignore_punctuation": False}
NO_PUNCTUATION: dict[str, Any] = {"ignore_case": True, "ignore_punctuation": True}
CHOICE: dict[str, Any] = {"labels": ["billing", "bug report", "C++"], "by": "generation"}
FIELDS: dict[str, Any] = {"fields": ["category", "priority"], "score": "all"}


def example(target: Any, id: str = "e1") -> Example:
    return Example(id, {"q": "?"}, target, None, "rows.jsonl", 7)


def said(text: str, finish_reason: Any = "stop", **more: Any) -> Generation:
    return Generation(text, (1, 2), finish_reason, 5, **more)


def score(kind: str, options: dict[str, Any], target: Any, generation: Generation | str) -> Score:
    answer = said(generation) if isinstance(generation, str) else generation
    return make_scorer(ScorerSpec(kind, options), base_dir=HERE)(example(target), answer)


ACCEPT = [
    ("exact", EXACT, "Paris", " Paris\n"),
    ("exact", EXACT, ["Paris", "Lutetia"], "Lutetia"),
    ("exact", EXACT, "caf\u00e9", "cafe\u0301"),
    ("exact", EXACT, "Paris", "<think>Rome or Paris?</think>\nParis"),
    ("exact", EXACT, "Paris", "the prompt opened the block</think>Paris"),
    ("exact", EXACT, {"b": 1, "a": [True, None]}, '{"a": [true, null], "b": 1}'),
    ("exact", EXACT, 12, "12"),
    ("exact", NO_PUNCTUATION, "Yes, sir", "yes sir!"),
    ("exact", NO_PUNCTUATION, "-3.5", "**-3.5**."),
    ("includes", {}, "no", "Well, no."),
    ("includes", {}, "New York", "It is New\nYork, surely"),
    ("includes", {}, "Paris", "Paris's mayor"),
    ("includes", {}, ["one", "1"], "(1)"),
    ("includes", {}, 12, "exactly 12, thanks"),
    ("includes", {}, "-5", "it is -5 outside"),
    ("includes", {}, "C++", "I write C++."),
    ("includes", {}, "\u5317\u4eac", "\u7b54\u6848\u662f\u5317\u4eac\u3002"),
    ("includes", {"ignore_case": True}, "paris", "PARIS"),
    ("choice", CHOICE, "billing", " Billing.\n"),
    ("choice", CHOICE, "C++", "c++!"),
    ("regex", {"pattern": r"[A-Z]{3}-\d+", "match": "full"}, None, "ABC-12\n"),
    ("regex", {"pattern": r"answer: (?P<answer>\w+)", "match": "search"}, "yes", "my answer: yes of course"),
    ("numeric", {"tolerance": 0.0}, 12, "The answer is 12."),
    ("numeric", {"tolerance": 0.0}, "1234.5", "$1,234.50"),
    ("numeric", {"tolerance": 0.0}, -3, "x = \u22123"),
    ("numeric", {"tolerance": 0.0}, 5, "2 + 3 = 5"),
    ("numeric", {"tolerance": 0.0}, "45%", "about 45 percent"),
    ("numeric", {"tolerance": 0.0}, 0.45, "45%"),
    ("numeric", {"tolerance": 0.01}, 1, "1.01"),
    ("numeric", {"tolerance": 0.3}, 1, "1.3"),
    ("numeric", {"tolerance": 0.0}, 1000, "1e3"),
    ("numeric", {"tolerance": 0.0}, 42, "\\boxed{42}"),
    ("numeric", {"tolerance": 0.0}, 12, "12 kg"),
    ("numeric", {"tolerance": 0.0}, 0.5, ".5"),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"priority": 1, "category": "a", "more": 0}'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, 'Sure:\n```json\n{"category": "a", "priority": 1}\n```'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, 'see [1] {x}: {"category": "a", "priority": 1}'),
    ("similarity", {"metric": "chrf"}, "the cat sat", "the cat sat"),
]

REJECT = [
    ("exact", EXACT, "Paris", "paris"),
    ("exact", EXACT, "Paris", "Paris."),
    ("exact", EXACT, "Paris", ""),
    ("exact", EXACT, "Paris", "<think>Paris</think>"),
    ("exact", EXACT, "Paris", "<think>Paris"),
    ("exact", EXACT, {"a": 1}, '{"a": 1.0}'),
    ("exact", EXACT, {"a": 1}, '{"a": true}'),
    ("exact", EXACT, {"a": 1}, '{"a": "1"}'),
    ("exact", EXACT, {"a": 1}, '{"a": 2, "a": 1}'),
    ("exact", EXACT, {"a": 1}, 'so {"a": 1}'),
    ("exact", EXACT, [1, 2], "[2, 1]"),
    ("exact", EXACT, 1, "true"),
    ("exact", NO_PUNCTUATION, "3.5", "35"),
    ("exact", NO_PUNCTUATION, "-5", "5"),
    ("exact", NO_PUNCTUATION, "(-5)", "5"),
    ("exact", NO_PUNCTUATION, "3-5", "35"),
    ("exact", NO_PUNCTUATION, "C#", "C"),
    ("exact", NO_PUNCTUATION, "5%", "5"),
    ("includes", {}, "no", "not now, I know nothing"),
    ("includes", {}, "refundable", "non-refundable"),
    ("includes", {}, "t", "don't"),
    ("includes", {}, "1", "12"),
    ("includes", {}, "1", "1.5 or 2,1"),
    ("includes", {}, "5", "-5"),
    ("includes", {}, "5", "5%"),
    ("includes", {}, "-5", "2-5"),
    ("includes", {}, "Paris", "paris"),
    ("includes", {}, "a.c", "abc"),
    ("includes", {}, "Paris", "<think>Paris, no</think>Rome"),
    ("choice", CHOICE, "billing", "billing or bug report"),
    ("choice", CHOICE, "billing", "not billing"),
    ("choice", CHOICE, "billing", "bug report"),
    ("choice", CHOICE, "C++", "C"),
    ("choice", CHOICE, "billing", ""),
    ("regex", {"pattern": r"\d+", "match": "full"}, None, "12 apples"),
    ("regex", {"pattern": "yes|no", "match": "full"}, None, "not"),
    ("regex", {"pattern": r"answer: (?P<answer>\w+)", "match": "search"}, "yes", "answer: yesterday"),
    ("regex", {"pattern": r"x|(?P<answer>y)", "match": "full"}, "x", "x"),
    ("numeric", {"tolerance": 0.0}, 2, "12"),
    ("numeric", {"tolerance": 0.0}, 2, "H2O"),
    ("numeric", {"tolerance": 0.0}, 2, "1/2"),
    ("numeric", {"tolerance": 0.0}, 5, "3,5"),
    ("numeric", {"tolerance": 0.0}, 5, "5\u00b2"),
    ("numeric", {"tolerance": 0.0}, 345, "12 345"),
    ("numeric", {"tolerance": 0.0}, 12, "12k"),
    ("numeric", {"tolerance": 0.0}, 12, "12 million"),
    ("numeric", {"tolerance": 0.0}, 5, "5? no: inf"),
    ("numeric", {"tolerance": 1e9}, 5, "NaN"),
    ("numeric", {"tolerance": 1e9}, 5, "1e999"),
    ("numeric", {"tolerance": 0.0}, 5, "-5"),
    ("numeric", {"tolerance": 0.0}, 45, "45%"),
    ("numeric", {"tolerance": 0.01}, 1, "1.011"),
    ("numeric", {"tolerance": 0.0}, 7, "It is 7, or 8"),
    ("numeric", {"tolerance": 0.0}, 7, "seven"),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"category": "a", "priority": "1"}'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"category": "a", "priority": 1.0}'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"category": "a", "priority": true}'),
    ("json_fields", FIELDS, {"category": "a", "priority": None}, '{"category": "a"}'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"category": "b", "category": "a", "priority": 1}'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '{"x": {"category": "a", "priority": 1}, "y": '),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, '[{"category": "a", "priority": 1}]'),
    ("json_fields", FIELDS, {"category": "a", "priority": 1}, ""),
    ("similarity", {"metric": "chrf"}, "the cat sat", ""),
    ("similarity", {"metric": "chrf"}, "the cat sat", "zzzz"),
]


@pytest.mark.parametrize(("kind", "options", "target", "text"), ACCEPT)
def test_must_accept(kind: str, options: dict[str, Any], target: Any, text: str) -> None:
    assert score(kind, options, target, text).value == 1.0


@pytest.mark.parametrize(("kind", "options", "target", "text"), REJECT)
def test_f56_must_reject(kind: str, options: dict[str, Any], target: Any, text: str) -> None:
    assert score(kind, options, target, text).value == 0.0


@pytest.mark.parametrize(("kind", "options", "target", "text"), ACCEPT + REJECT)
def test_nothing_obtained_is_no_score(kind: str, options: dict[str, Any], target: Any, text: str) -> None:
    failed = Generation(text, (), "error", 0, error="out of memory\x1b[31m")
    with pytest.raises(ScoringError, match=r"'e1'.*out of memory\\x1b"):
        score(kind, options, target, failed)


@pytest.mark.parametrize(("kind", "options", "target", "text"), ACCEPT + REJECT)
def test_cut_answers_are_scored_and_named(kind: str, options: dict[str, Any], target: Any, text: str) -> None:
    whole, cut = score(kind, options, target, text), score(kind, options, target, said(text, "length"))
    assert cut.value == whole.value
    assert "cut at max_new_tokens" in cut.explanation
    assert "cut" not in whole.explanation


@given(st.text(max_size=60), st.sampled_from([row[:3] for row in ACCEPT]))
def test_any_text_is_scored_in_the_unit_interval(text: str, row: tuple[str, dict[str, Any], Any]) -> None:
    marked = f"{text}\u2603marker"
    result = score(*row, marked)
    assert 0.0 <= result.value <= 1.0
    assert "marker" not in result.explanation
    assert "\u2603" not in result.explanation


@given(st.integers(-(10**12), 10**12), st.integers(1, 9))
def test_numeric_reads_what_was_printed(value: int, other: int) -> None:
    for text in (f"{value}", f"{value:,}", f"The answer is {value:,}.", f"**{value}**", f"x={value}.0"):
        assert score("numeric", {"tolerance": 0.0}, value, text).value == 1.0
        assert score("numeric", {"tolerance": 0.0}, value + other, text).value == 0.0


@given(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9]{1,3}", fullmatch=True))
def test_includes_never_finds_a_part_of_a_word(word: str, more: str) -> None:
    assert score("includes", {}, word, f"so {word} then").value == 1.0
    assert score("includes", {}, word, f"so {word}{more} then").value == 0.0
    assert score("includes", {}, word, f"so {more}{word} then").value == 0.0


def test_json_fields_parts_and_mean() -> None:
    mean = {"fields": ["category", "priority"], "score": "mean"}
    result = score("json_fields", mean, {"category": "a", "priority": 1}, '{"category": "a"}')
    assert result.value == 0.5
    assert dict(result.parts) == {"category": 1.0, "priority": 0.0}
    assert result.explanation == "missing 'priority'"
    nothing = score("json_fields", mean, {"category": "a", "priority": 1}, "{broken")
    assert (nothing.value, nothing.answer, dict(nothing.parts)) == (0.0, None, {"category": 0.0, "priority": 0.0})


def test_choice_by_loglikelihood() -> None:
    spec = ScorerSpec("choice", {"labels": ["a", "b", "c"], "by": "loglikelihood"})
    assert needed_labels(spec) == ("a", "b", "c")
    assert needed_labels(ScorerSpec("choice", {"labels": ["a", "b"], "by": "generation"})) == ()
    scorer = make_scorer(spec, base_dir=HERE)
    best = scorer(example("b"), said("", label_logprobs={"a": -3.0, "b": -1.0, "c": -math.inf}))
    assert (best.value, best.answer) == (1.0, "b")
    assert scorer(example("a"), said("a", label_logprobs={"a": -3.0, "b": -1.0, "c": -2.0})).value == 0.0
    tie = scorer(example("a"), said("a", label_logprobs={"a": -1.0, "b": -1.0, "c": -2.0}))
    assert (tie.value, tie.answer) == (0.0, None)
    assert "tie" in tie.explanation
    for broken in (None, {}, {"a": -1.0, "b": -2.0}, {"a": math.nan, "b": -1.0, "c": -1.0}):
        with pytest.raises(ScoringError, match="no log-probability"):
            scorer(example("a"), said("a", label_logprobs=broken))


@pytest.mark.parametrize(
    ("kind", "options", "target"),
    [
        ("exact", EXACT, None),
        ("exact", EXACT, ""),
        ("exact", EXACT, []),
        ("exact", EXACT, ["a", " "]),
        ("exact", NO_PUNCTUATION, "..."),
        ("includes", {}, " "),
        ("includes", {}, {"a": 1}),
        ("choice", CHOICE, "Billing"),
        ("choice", CHOICE, None),
        ("numeric", {"tolerance": 0.0}, "three"),
        ("numeric", {"tolerance": 0.0}, "3 or 4"),
        ("numeric", {"tolerance": 0.0}, "1e999"),
        ("numeric", {"tolerance": 0.0}, True),
        ("json_fields", FIELDS, {"category": "a"}),
        ("json_fields", FIELDS, '{"category": "a", "priority": 1}'),
        ("regex", {"pattern": "(?P<answer>a)", "match": "full"}, None),
        ("similarity", {"metric": "chrf"}, None),
    ],
)
def test_an_unusable_reference_is_an_error(kind: str, options: dict[str, Any], target: Any) -> None:
    with pytest.raises(ScoringError, match=r"'e1': expected .* as target"):
        score(kind, options, target, "a")


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        ("exakt", {}, "scorer"),
        ("choice", {"labels": ["a"]}, "choice.labels"),
        ("choice", {"labels": ["yes", "Yes."]}, "choice.labels"),
        ("choice", {"labels": ["a", "?"]}, "choice.labels"),
        ("regex", {"pattern": "("}, "regex.pattern"),
        ("regex", {"pattern": "a" * 5000}, "regex.pattern"),
        ("regex", {"pattern": "a", "match": "fuzzy"}, "regex"),
        ("numeric", {"tolerance": -1}, "tolerance"),
        ("numeric", {"tolerance": math.nan}, "tolerance"),
        ("json_fields", {"fields": []}, "fields"),
        ("json_fields", {"fields": ["a"], "score": "any"}, "score"),
        ("similarity", {"metric": "bleu"}, "metric"),
        ("function", {"path": "nosuchmodule_ftgate:f"}, "nosuchmodule_ftgate"),
        ("function", {"path": "math:nosuch"}, "nosuch"),
        ("function", {"path": "math:pi"}, "pi"),
        ("function", {"path": "math"}, "pkg.mod:function"),
        ("function", {"path": "os;x:f"}, "pkg.mod:function"),
    ],
)
def test_options_that_cannot_work_are_refused(kind: str, options: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        make_scorer(ScorerSpec(kind, options), base_dir=HERE)
    assert key in str(caught.value)


def test_a_pattern_that_would_hang_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saferegex, "SECONDS", 0.2)
    with pytest.raises(ScoringError, match="took more than"):
        score("regex", {"pattern": "(a|aa)+c", "match": "full"}, None, "a" * 60)


def write_scorers(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(body)
    return folder


def test_function_scorer(tmp_path: Path) -> None:
    body = (
        "from pytest_ftgate.results import Score\n"
        "def half(example, generation): return 0.5\n"
        "def same(example, generation): return generation.text == example.target\n"
        "def whole(example, generation): return Score(1.0, 'x', 'because\\x1b[31m', {'p': 0.25})\n"
        "def none(example, generation): return None\n"
        "def nan(example, generation): return float('nan')\n"
        "def big(example, generation): return 1.5\n"
        "def part(example, generation): return Score(1.0, 'x', '', {'p': 2.0})\n"
        "def text(example, generation): return '1.0'\n"
        "def crash(example, generation): return 1 / 0\n"
    )
    folder = write_scorers(tmp_path / "a", "ftgate_scorers_one", body)

    def run(name: str) -> Score:
        spec = ScorerSpec("function", {"path": f"ftgate_scorers_one:{name}"})
        return make_scorer(spec, base_dir=folder)(example("hi"), said("hi"))

    assert run("half").value == 0.5
    assert run("same").value == 1.0
    assert run("whole") == Score(1.0, "x", "because\\x1b[31m", {"p": 0.25})
    for name in ("none", "nan", "big", "part", "text", "crash"):
        with pytest.raises(ScoringError, match=f"'ftgate_scorers_one:{name}' on example 'e1'"):
            run(name)
    assert str(folder) not in sys.path


def test_two_folders_with_one_module_name_do_not_share_a_scorer(tmp_path: Path) -> None:
    spec = ScorerSpec("function", {"path": "ftgate_scorers_two:f"})
    first = write_scorers(tmp_path / "a", "ftgate_scorers_two", "def f(example, generation): return 1.0\n")
    second = write_scorers(tmp_path / "b", "ftgate_scorers_two", "def f(example, generation): return 0.0\n")
    assert make_scorer(spec, base_dir=first)(example("x"), said("x")).value == 1.0
    with pytest.raises(InputError, match="another file of that name is loaded already"):
        make_scorer(spec, base_dir=second)


def test_classification_table_counts_unreadable_answers_as_misses() -> None:
    table = classification_table(["a", "a", "b", "b"], ["a", None, "b", "a"], ["a", "b", "c"])
    assert table["matrix"] == [[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert table["macro_f1"] == pytest.approx((0.5 + 2 / 3) / 2)
    assert classification_table(["a"], ["no label"], ["a", "b"])["matrix"] == [[0, 0, 1], [0, 0, 0]]
    assert classification_table(["a", "b"], [None, None], ["a", "b"])["macro_f1"] == 0.0
    assert classification_table(["a", "b"], ["a", "b"], ["a", "b"])["macro_f1"] == 1.0
    for targets, answers, labels in ([], [], ["a"]), (["a"], [], ["a"]), (["x"], ["a"], ["a"]):
        with pytest.raises(ValueError, match="expected"):
            classification_table(targets, answers, labels)


def test_importing_the_scorers_imports_no_heavy_library() -> None:
    code = (
        "import sys, pytest_ftgate.scoring.scorers, pytest_ftgate.scoring.format_check\n"
        "print([m for m in ('torch', 'transformers', 'sklearn', 'sacrebleu', 'datasets') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
