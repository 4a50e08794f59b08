"""What is refused, or said, of an eval set before a model is loaded: what asks nothing, or takes anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from answered import evalset, example, gate

from pytest_ftgate.evalset.types import EvalSet, ScorerSpec
from pytest_ftgate.files.problems import EvalSetError
from pytest_ftgate.gates.power import warnings_before
from pytest_ftgate.gates.preconditions import check_usable


def matching(pattern: str, match: str = "full") -> EvalSet:
    return evalset([example(i) for i in range(20)], scorer=ScorerSpec("regex", {"pattern": pattern, "match": match}))


@pytest.mark.parametrize("blank", [" ", "\n\t", "\u200b", "\u00a0\u2060"])
def test_s15_blank_questions_are_refused(blank: str) -> None:
    asked = evalset([example(i, question=blank if i in (3, 5) else "") for i in range(20)])
    with pytest.raises(EvalSetError, match=r"found blank text in example 'e3' \(and 1 more like it\)"):
        check_usable(asked)


def test_s15_questions_with_text_are_taken() -> None:
    check_usable(evalset([example(i) for i in range(20)]))


@pytest.mark.parametrize("bound", [1e-7, 0.02, 0.6])
def test_s15_a_floor_that_every_guess_meets_is_said(bound: float) -> None:
    asked = evalset([example(i, target="yes" if i < 60 else f"no {i}") for i in range(100)])
    said = "\n".join(warnings_before([(asked, gate("accuracy", bound), 0.05)]))
    assert f"a floor of {bound:.2g} proves nothing: 'yes' to every question is right for 60.0%" in said


def test_s15_a_floor_above_the_best_guess_is_left_alone() -> None:
    asked = evalset([example(i, target="yes" if i < 60 else f"no {i}") for i in range(100)])
    assert "proves nothing" not in "\n".join(warnings_before([(asked, gate("accuracy", 0.7), 0.05)]))
    free = replace(asked, examples=tuple(replace(e, target=None) for e in asked.examples))
    assert "proves nothing" not in "\n".join(warnings_before([(free, gate("accuracy", 0.5), 0.05)]))


@pytest.mark.parametrize(
    ("pattern", "how"),
    [("(?s).*", "full"), ("", "search"), (r"[\s\S]*", "full"), ("(?s).*?", "search"), ("(?s).+", "full")],
)
def test_s9_a_pattern_that_calls_anything_right_is_refused(pattern: str, how: str) -> None:
    with pytest.raises(
        EvalSetError, match="expected a pattern that some answers do not match, found one that calls each of 'zq!'"
    ):
        check_usable(matching(pattern, how))


@pytest.mark.parametrize("pattern", ["yes|no", r"\d+", "(?P<answer>.*)", "[a-z ]*"])
def test_s9_a_pattern_that_refuses_something_is_taken(pattern: str) -> None:
    check_usable(matching(pattern))
