"""The public API: its names, and assertions that decide as the gates do."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from answered import answers_of, evalset, example, judged, pair, yes

import pytest_ftgate as public
from pytest_ftgate.errors import FtgateError, ScoringError
from pytest_ftgate.gates.asserting import Results

NAMES = [
    *("Engine", "Example", "Generation", "Request", "Score", "assert_accuracy", "assert_beats_baseline"),
    *("assert_format", "assert_no_forgetting", "assert_no_overlap", "judge", "load_evalset", "score"),
]


def results(n: int = 60, **systems: list[str]) -> Results:
    asked = evalset([example(i) for i in range(n)])
    examples = tuple(replace(e, fields={**e.fields, "half": i % 2}) for i, e in enumerate(asked.examples))
    return Results(replace(asked, examples=examples), answers_of(asked, systems))


def test_the_public_names_are_these() -> None:
    assert public.__all__ == sorted(NAMES)
    assert all(getattr(public, name) is not None for name in NAMES)
    assert set(NAMES) <= set(dir(public))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = public.nothing  # type: ignore[attr-defined]


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    program = "import sys, pytest_ftgate; print([m for m in sys.modules if m.startswith('pytest_ftgate.')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("right", [20, 45, 51, 60])
def test_accuracy_holds_exactly_where_the_gate_passes(right: int) -> None:
    verdict = judged("accuracy", 0.7, candidate=yes(right, 60))
    if verdict.outcome == "PASS":
        public.assert_accuracy(results(candidate=yes(right, 60)), at_least=0.7)
        return
    with pytest.raises(AssertionError) as raised:
        public.assert_accuracy(results(candidate=yes(right, 60)), at_least=0.7)
    assert verdict.summary in str(raised.value)
    assert verdict.outcome in str(raised.value)


@pytest.mark.parametrize(("gains", "losses"), [(30, 0), (3, 3), (0, 20)])
def test_pairs_hold_exactly_where_the_gate_passes(gains: int, losses: int) -> None:
    table = pair(gains, losses, 60)
    given = results(candidate=table["candidate"], zero_shot=table["reference"], base=table["reference"])
    kinds = (("beats_baseline", 0.05), ("forgetting", 0.05))
    named = ({"zero_shot": table["reference"]}, {"base": table["reference"]})
    for (kind, bound), others in zip(kinds, named, strict=True):
        verdict = judged(kind, bound, candidate=table["candidate"], **others)
        check = public.assert_beats_baseline if kind == "beats_baseline" else public.assert_no_forgetting
        key = "min_gain" if kind == "beats_baseline" else "max_drop"
        if verdict.outcome == "PASS":
            check(given, **{key: bound})
        else:
            with pytest.raises(AssertionError, match=verdict.outcome):
                check(given, **{key: bound})


def test_format_takes_the_rules_of_the_gate() -> None:
    given = results(candidate=yes(60, 60))
    public.assert_format(given, min_rate=0.9, choices=["yes"])
    with pytest.raises(AssertionError):
        public.assert_format(given, min_rate=0.9, choices=["no"])


def test_where_chooses_examples_and_never_none() -> None:
    given = results(candidate=yes(60, 60))
    assert len(given.where(half=1)) == 30
    for fields in ({"half": 2}, {"nothing": 1}):
        with pytest.raises(ValueError, match="found none of 60"):
            given.where(**fields)


def test_what_could_not_judge_is_no_failure_and_no_pass() -> None:
    given = results(candidate=yes(60, 60))
    unanswered = replace(given, answers={})
    with pytest.raises(FtgateError, match="never answered"):
        public.assert_accuracy(unanswered, at_least=0.5)
    with pytest.raises(FtgateError, match="not known"):
        public.assert_no_overlap(given)
    with pytest.raises(ValueError, match="between 0 and 1"):
        public.assert_accuracy(given, at_least=95)


@pytest.mark.parametrize(
    ("scorer", "target", "answer", "value"),
    [
        ("exact", "yes", "yes", 1.0),
        ("exact", "yes", "no", 0.0),
        ({"json_fields": ["a", "b"]}, {"a": "1", "b": "2"}, '{"a": "1", "b": "3"}', 0.0),
        ({"json_fields": ["a", "b"]}, {"a": "1", "b": "2"}, '{"a": "1", "b": "2"}', 1.0),
        ({"numeric": {"tolerance": 0.1}}, 3, "it is 3.05", 1.0),
    ],
)
def test_score_takes_what_stands_in_an_eval_set(scorer: object, target: object, answer: str, value: float) -> None:
    assert public.score(scorer, target=target, answer=answer) == value


@pytest.mark.parametrize("scorer", [None, "exacct", {"exact": {"nothing": 1}}, [], 3, {}, {"regex": {}}])
def test_score_refuses_what_may_not_stand_there(scorer: object) -> None:
    with pytest.raises(ValueError, match="expected what may stand under"):
        public.score(scorer, target="x", answer="x")


def test_a_score_that_cannot_be_given_is_an_error(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    (__import__("pathlib").Path("own_score.py")).write_text("def f(example, generation):\n    return 1 / 0\n")
    with pytest.raises(ScoringError, match="ZeroDivisionError"):
        public.score("own_score:f", target="x", answer="x")
