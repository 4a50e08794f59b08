"""`slices:` and `rigor:` in an eval-set file: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_ftgate.evalset.discovery import read_files
from pytest_ftgate.evalset.loader import load_evalset, read_header
from pytest_ftgate.files.problems import EvalSetError

HEAD = """\
version: 1
examples: rows.jsonl
prompt: {user: "{q}"}
generation: {max_new_tokens: 8}
scorer: exact
"""
GATES = "gates: {accuracy: {min: 0.5}, forgetting: {max_drop: 0.1}}\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, slices: str, *, rows: list[dict[str, Any]] | None = None, more: str = "") -> Path:
    rows = rows or [{"language": "de" if i % 2 else "en", "urgent": i % 3 == 0, "level": i % 3} for i in range(12)]
    full = [{"id": f"e{i}", "q": f"q{i}", "target": "x", **row} for i, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in full))
    path = folder / "set.eval.yaml"
    path.write_text(HEAD + more + (f"slices: {slices}\n" if slices else "") + GATES)
    return path


def told(path: Path) -> list[str]:
    with pytest.raises(EvalSetError) as caught:
        load_evalset(path)
    return [str(p) for p in caught.value.problems]


def test_fields_alone_and_fields_with_bounds(folder: Path) -> None:
    path = write(folder, "[urgent, level, {field: language, accuracy: {min: 0.8}, forgetting: {max_drop: 0.2}}]")
    evalset = load_evalset(path)
    urgent, level, language = evalset.slices
    assert (urgent.field, urgent.values, urgent.bounds) == ("urgent", ("false", "true"), {})
    assert level.values == ("0", "1", "2")
    assert (language.values, language.bounds) == (("de", "en"), {"accuracy": 0.8, "forgetting": 0.2})
    assert language.line == 6
    assert evalset.bounded_slices("accuracy") == evalset.bounded_slices("forgetting") == (language,)
    assert evalset.bounded_slices("format") == ()
    assert read_header(path).sliced == ("accuracy", "forgetting")
    # Two gates, and the bounded slices of each.
    assert read_files([path])[0].hypotheses == 4


def test_slices_and_rigor_are_part_of_the_digest_and_their_absence_changes_nothing(folder: Path) -> None:
    plain = load_evalset(write(folder, ""))
    assert (plain.slices, plain.rigor) == ((), "guaranteed")
    assert load_evalset(write(folder, "", more="rigor: guaranteed\n")).digest == plain.digest
    digests = [
        load_evalset(write(folder, slices, more=more)).digest
        for slices, more in [
            ("[language]", ""),
            ("[{field: language, accuracy: {min: 0.8}}]", ""),
            ("[{field: language, accuracy: {min: 0.9}}]", ""),
            ("", "rigor: approx\n"),
        ]
    ]
    assert len({plain.digest, *digests}) == 5


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        (
            "[langage]",
            "set.eval.yaml:6: slices[0]: expected a field of the rows (`id`, `language`, `level`, `q`, `target` and "
            "`urgent`), found `langage`. Fix: did you mean `language`?",
        ),
        ("[language, level, language]", "slices[2]: expected each field once, found `language` again"),
        (
            "[{field: language, format: {min_rate: 0.9}}]",
            "slices[0].format: expected a gate of this file (`accuracy` and `forgetting`), found a bound for `format`. "
            "Fix: add `format:` to gates, or delete this bound",
        ),
        ("[q]", "slices[0]: expected at most 50 values of `q` in the rows, found 60"),
        ("[{accuracy: {min: 0.8}}]", "needs `field`, found only `accuracy`"),
        ("[{field: language, accuracy: {min: 80}}]", "write 0.8 (a fraction, not a percentage)"),
        ("language", "expected a list of field names"),
        ("[{field: language, overlap: {max: 0}}]", "unknown key `overlap`"),
    ],
)
def test_what_cannot_be_sliced_is_told_at_its_line(folder: Path, slices: str, expected: str) -> None:
    rows: list[dict[str, Any]] = [{"language": "de", "level": i % 3, "urgent": True} for i in range(60)]
    assert any(expected in problem for problem in told(write(folder, slices, rows=rows))), told(
        folder / "set.eval.yaml"
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "expected a value to slice by, found none. Fix: fill it in"),
        ("", "expected a value to slice by, found none"),
        (0.5, "expected a text, a whole number, true or false to slice by"),
        (["de"], "expected a text, a whole number, true or false to slice by, found a list"),
        ("de ", "expected a short text of printable characters"),
        ("x" * 101, "use at most 100 characters"),
        ("\x1b[2J", "expected a short text of printable characters"),
    ],
)
def test_a_row_without_a_usable_value_is_told_with_its_line(folder: Path, value: Any, expected: str) -> None:
    rows: list[dict[str, Any]] = [{"language": "de"}, {"language": value}, {"language": "en"}]
    [problem] = told(write(folder, "[language]", rows=rows))
    assert problem.startswith("rows.jsonl:2: language: ")
    assert expected in problem
    assert problem.isprintable()


def test_a_field_that_some_rows_lack_is_told_once(folder: Path) -> None:
    rows: list[dict[str, Any]] = [{"language": "de"}, {}, {"language": "en"}, {}]
    [problem] = told(write(folder, "[language]", rows=rows))
    assert "expected a value to slice by, found none (2 rows: 2, 4)" in problem


def test_one_value_written_in_two_ways_is_not_guessed_to_be_one(folder: Path) -> None:
    [problem] = told(write(folder, "[level]", rows=[{"level": 1}, {"level": "1"}, {"level": 2}]))
    assert "expected one kind of value in `level`" in problem


def test_rigor_is_one_of_two_words(folder: Path) -> None:
    assert load_evalset(write(folder, "", more="rigor: approx\n")).rigor == "approx"
    [problem] = told(write(folder, "", more="rigor: approximate\n"))
    assert "set.eval.yaml:6: rigor: expected guaranteed or approx" in problem
