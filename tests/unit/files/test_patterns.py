"""Patterns of users end: in a second, in 300 MB, whatever they are; what is refused says why."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.files import saferegex
from pytest_ftgate.files.patterns import pattern_problem
from pytest_ftgate.files.saferegex import compile_pattern

RECURSION = [
    "(?R)",
    "a(?R)?b",
    "(?1)(a)",
    "(?0)",
    "(a)(?-1)",
    "(?+1)(a)",
    "(?P<x>a(?&x)?)",
    "(?P<x>(?P>x))",
    "(?=(?R))a",
]
HIDDEN = ["(?x)(?#c)(?R)", "(?x)[ # [ \n (?R) ]", "\\\\(?R)", "[]](?R)", "(?(DEFINE)(?P<q>a(?&q)))(?&q)"]
FUZZY = [
    "(?:hello){e}",
    "(?:hello){e<=2}",
    "(?:ab){i<=1,d<2}",
    "x{1<=e<=3}",
    "(?:ab){2i+2d+1s<=4}",
    "(?:ab){s<=2:[a-z]}",
]
HUGE = [
    "(a{1000}){1000}",
    "(?:(?:a?){300}){300}",
    "a{50}{50}{50}{50}",
    "|".join(["(?:a{300}){300}"] * 100),
    "a{999999}",
]
HUGE_TOO = [
    "(?:(?:x{300}){300}){1}" * 80,
    "(?x)(a{300}#)\n){300}",
    "(?x)(?:(?:a{90}#)\n){90}#)\n){90}",
    "((?#(()a{999}){999}",
]
PLAIN = [
    r"\w{3}-\d{4}",
    "[(?R)]",
    r"\(?R\)",
    r"x\{e\}",
    "(?P<answer>yes|no)",
    "(?i:yes)",
    "(?<=a)b",
    r"a{2,}",
    "(?!x)y",
]
PLAIN_TOO = [
    r"\p{L}+",
    "[[:alpha:]]+",
    "(?x) a # one\n b",
    "(?#why)a",
    r"(\d{1,3},){0,9}\d{3}",
    "{",
    "a{,3}",
    r"(a)\1",
    "(?>a+)b",
]


@pytest.mark.parametrize("pattern", RECURSION + HIDDEN)
def test_x4_recursion_is_refused(pattern: str) -> None:
    assert "expected a pattern without recursion" in str(pattern_problem(pattern))


@pytest.mark.parametrize("pattern", FUZZY)
def test_x4_matching_with_errors_is_refused(pattern: str) -> None:
    assert "expected a pattern that matches without errors" in str(pattern_problem(pattern))


@pytest.mark.parametrize("pattern", HUGE + HUGE_TOO)
def test_x4_what_grows_beyond_bounds_when_compiled_is_refused(pattern: str) -> None:
    assert "expected at most 100000" in str(pattern_problem(pattern))


@pytest.mark.parametrize("pattern", PLAIN + PLAIN_TOO)
def test_x4_plain_patterns_stay_allowed(pattern: str) -> None:
    assert pattern_problem(pattern) is None


NEARLY = ["(a{300}){300}", "a{99999}", "(?:(?:a?){200}){200}", "(a+)+b|c", "(?:a|aa)+c", "(?<=(a|aa)+b)c", "((a*)*)*b"]
MEASURE = """
import resource, sys, time
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.files.saferegex import compile_pattern, PatternError
def mib(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began = mib(), time.process_time()
try:
    compile_pattern(sys.argv[1]).fullmatch("a" * 4000 + "b")
except (PatternError, ScoringError) as error:
    print(type(error).__name__)
print(mib() - before, time.process_time() - began)
"""


@pytest.mark.parametrize("pattern", [*RECURSION[:2], HUGE_TOO[0], *NEARLY])
def test_x4_no_pattern_takes_more_than_its_share(pattern: str) -> None:
    done = subprocess.run([sys.executable, "-c", MEASURE, pattern], capture_output=True, text=True, check=True)
    mib, seconds = map(float, done.stdout.splitlines()[-1].split())
    assert mib < 300
    assert seconds < 1.5


def test_a_pattern_that_runs_out_of_time_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saferegex, "SECONDS", 0.05)
    slow = compile_pattern("(?:a|aa)+c")
    for _ in range(saferegex.MOST_TIMEOUTS):
        with pytest.raises(ScoringError, match="took more than"):
            slow.fullmatch("a" * 4000)
    monkeypatch.setattr(saferegex, "SECONDS", 1e9)  # it would not end
    with pytest.raises(ScoringError, match="took more than"):
        slow.fullmatch("a" * 4000)
