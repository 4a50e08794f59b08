"""docs/reference/false_greens.md names every row of the list, and tests that exist, with their exit codes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from false_greens_rows import ROWS

from pytest_ftgate.gates.decision import EXIT_CODES

TESTS = Path(__file__).parents[1]
LISTED = (
    *(1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 15, 16, 18, 19, 20, 22, 23, 25, 26, 27, 29, 30, 31, 32, 34, 35, 36, 37, 38),
    *(40, 41, 42, 44, 45, 47, 48, 49, 50, 51, 52, 53, 54, 56, 57, 58, 59, 61, 62, 63, 65, 66, 68, 69, 70, 71, 73, 74),
    *(75, 77, 78, 79),
)
"""Numbers of the first list; those that are missing in it were never given out."""
LINE = re.compile(r"^\| F(\d+) \| .+ \| ([^|]+) \| `(\w+)` \|$", re.MULTILINE)


def lines() -> list[tuple[int, str, str]]:
    """(number, exit codes, tests) of each line of the tables."""
    text = (TESTS.parent / "docs" / "reference" / "false_greens.md").read_text(encoding="utf-8")
    return [(int(number), codes, tests) for number, codes, tests in LINE.findall(text)]


def names() -> set[str]:
    """Functions of all test files, and names of rows."""
    found = {row.name for row in ROWS}
    for path in TESTS.rglob("test_*.py"):
        found |= {
            n.name for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)
        }
    return found


def numbers(name: str) -> set[int]:
    """`test_f40_f77_a_receipt_of_other_bytes` -> {40, 77}"""
    return {int(part) for part in re.findall(r"(?:^|_)f(\d+)(?=_)", name)}


def test_every_row_of_the_list_is_there_once() -> None:
    told = [number for number, _, _ in lines()]
    assert len(LISTED) == 62
    assert set(LISTED) <= set(told)
    assert len(told) == len(set(told))


def test_every_line_names_tests_that_exist() -> None:
    known = names()
    tested = {number for name in known for number in numbers(name)}
    for number, _, tests in lines():
        if tests.startswith("test_"):
            assert tests in known, number
        else:
            assert int(tests.removeprefix("f")) in tested, number


def test_every_tested_row_has_its_line() -> None:
    told = {number for number, _, _ in lines()}
    assert {number for name in names() for number in numbers(name)} <= told


def test_exit_codes_are_those_that_the_rows_assert() -> None:
    told = {number: {int(code) for code in re.findall(r"\d+", codes)} for number, codes, _ in lines()}
    asserted = [(row.name, 4 if row.verdict is None else EXIT_CODES[row.verdict]) for row in ROWS]
    wrong = [(name, code) for name, code in asserted for number in numbers(name) if code not in told[number]]
    assert wrong == []
