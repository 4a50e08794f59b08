"""Format and accuracy gates on constructed answers: bounds, reasons, numbers."""

from __future__ import annotations

import re

import pytest
from answered import (
    NUMBER,
    RATES,
    example,
    judged,
    numbers,
    p_of,
    said,
    yes,
)
from scipy.stats import binomtest

from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.gates.measure import Levels


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize(
    ("right", "n", "floor", "outcome", "reason"),
    [
        (59, 59, 0.95, "PASS", ""),
        (58, 58, 0.95, "INCONCLUSIVE", "CANNOT_PASS_AT_N"),
        (96, 100, 0.90, "PASS", ""),
        (95, 100, 0.90, "INCONCLUSIVE", "UNDERPOWERED"),
        (188, 200, 0.90, "PASS", ""),
        (187, 200, 0.90, "INCONCLUSIVE", "UNDERPOWERED"),
        (49, 50, 0.90, "PASS", ""),
        (48, 50, 0.90, "INCONCLUSIVE", "UNDERPOWERED"),
        (499, 500, 0.99, "PASS", ""),
        (498, 500, 0.99, "INCONCLUSIVE", "UNDERPOWERED"),
        (90, 100, 0.90, "INCONCLUSIVE", "NEAR_MARGIN"),
        (85, 100, 0.90, "INCONCLUSIVE", "NEAR_MARGIN"),
        (84, 100, 0.90, "FAIL", ""),
        (0, 10, 0.90, "FAIL", ""),
        (100, 100, 0.90, "PASS", ""),
    ],
)
def test_a_floor_at_its_exact_bounds(kind: str, right: int, n: int, floor: float, outcome: str, reason: str) -> None:
    verdict = judged(kind, floor, candidate=yes(right, n))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert verdict.p_value == pytest.approx(binomtest(right, n, floor, "greater").pvalue)
    interval = binomtest(right, n).proportion_ci(0.95, "exact")
    assert verdict.interval == pytest.approx((interval.low, interval.high))
    assert (verdict.n, verdict.value, verdict.bound) == (n, right / n, floor)
    assert bool(verdict.fix) == (outcome != "PASS")


def test_a_fail_shares_alpha_among_all_hypotheses() -> None:
    assert binomtest(84, 100, 0.9, "less").pvalue == pytest.approx(0.0399, abs=1e-4)
    assert judged("accuracy", 0.9, candidate=yes(84, 100), levels=Levels(0.05, 1)).outcome == "FAIL"
    assert judged("accuracy", 0.9, candidate=yes(84, 100), levels=Levels(0.05, 2)).outcome == "INCONCLUSIVE"
    # A pass does not: every gate must pass, so nothing is shared.
    assert judged("accuracy", 0.9, candidate=yes(96, 100), levels=Levels(0.05, 20)).outcome == "PASS"


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("right", [100, 96, 93, 88, 50])
def test_every_number_in_the_sentence_of_a_rate_is_a_field(kind: str, right: int) -> None:
    verdict = judged(kind, 0.9, candidate=yes(right, 100))
    assert verdict.interval is not None
    found = re.match(r"([\d.]+)% of (\d+) examples .*95% interval ([\d.]+)% to ([\d.]+)%\); at least ([\d.]+)% needed, "
                     r"(.*)", verdict.summary)  # fmt: skip
    assert found is not None, verdict.summary
    assert [float(x) for x in found.groups()[:5]] == [right, 100, *(round(100 * e, 1) for e in verdict.interval), 90]
    assert p_of(found[6]) == pytest.approx(
        verdict.details["p_bad"] if verdict.outcome == "FAIL" else verdict.p_value, rel=0.06
    )
    if verdict.outcome == "PASS":
        certified = numbers(found[6])[0]
        assert 90 <= certified <= 100 * float(str(verdict.details["certified"])) < certified + 0.1


@pytest.mark.parametrize(("bound", "shown"), [(0.9, "90.0%"), (0.9995, "99.95%"), (0.97, "97.0%"), (0.855, "85.5%")])
def test_a_bound_is_shown_as_it_is(bound: float, shown: str) -> None:
    assert f"at least {shown} needed" in judged("accuracy", bound, candidate=yes(5, 10)).summary


@pytest.mark.parametrize(("right", "n", "floor", "needed"), [(58, 58, 0.95, 59), (20, 20, 0.99, 299)])
def test_the_advice_of_a_hopeless_floor_works(right: int, n: int, floor: float, needed: int) -> None:
    verdict = judged("accuracy", floor, candidate=yes(right, n))
    assert verdict.fix == f"use at least {needed} examples"
    assert judged("accuracy", floor, candidate=yes(needed, needed)).outcome == "PASS"
    assert judged("accuracy", floor, candidate=yes(needed - 1, needed - 1)).outcome != "PASS"


def test_the_worst_answers_are_named_worst_first_and_at_most_eight() -> None:
    values = [1.0, 0.2, 0.9, 0.0, 0.2, *[1.0] * 20]
    assert judged("accuracy", 0.5, candidate=values, scorer=NUMBER).worst == ("e3", "e1", "e4", "e2")
    assert judged("accuracy", 0.5, candidate=yes(2, 40)).worst == tuple(f"e{i}" for i in range(2, 10))
    assert judged("format", 0.5, candidate=["yes", "Yes!", "maybe", "no", *["yes"] * 20]).worst == ("e1", "e3")


def test_format_counts_what_is_cut_off_lenient_and_violated() -> None:
    cut = said("yes", "length")
    verdict = judged("format", 0.5, candidate=["```\nyes\n```"] * 3 + [cut, "no"] + ["yes"] * 15)
    assert {k: verdict.details[k] for k in ("strict", "lenient", "cut_off")} == {
        "strict": 15, "lenient": 19, "cut_off": 1,
    }  # fmt: skip
    violations = verdict.details["violations"]
    assert isinstance(violations, dict)
    assert list(violations.values()) == [4, 1]
    assert "19 examples obey where JSON is searched for" in verdict.summary
    failed = judged("format", 0.9, candidate=["no"] * 12 + ["yes"] * 8)
    assert failed.outcome == "FAIL"
    assert failed.fix.endswith("most often (12 of 12): the whole output is not one of the 2 choices")


def test_details_of_choices_and_fields() -> None:
    labels = ScorerSpec("choice", {"labels": ["yes", "no"], "by": "generation"})
    verdict = judged("accuracy", 0.5, candidate=["yes"] * 8 + ["no", "perhaps"], scorer=labels)
    table = verdict.details["classification"]
    assert isinstance(table, dict)
    assert table["matrix"] == [[8, 1, 1], [0, 0, 0]]
    assert verdict.details["unreadable"] == 1
    fields = ScorerSpec("json_fields", {"fields": ["a", "b"], "score": "mean"})
    examples = [example(i, target={"a": 1, "b": 2}) for i in range(4)]
    texts = ['{"a": 1, "b": 2}', '{"a": 1, "b": 3}', '{"a": 1}', "none"]
    verdict = judged("accuracy", 0.5, candidate=texts, examples=examples, scorer=fields)
    assert verdict.details["fields"] == {"a": 0.75, "b": 0.25}
    assert verdict.value == 0.5


def test_the_level_is_said_where_it_is_not_the_usual_one() -> None:
    shared = judged("accuracy", 0.5, candidate=yes(37, 60), levels=Levels(0.04))
    assert shared.outcome == "INCONCLUSIVE"
    assert "not certified (p = 0.046, 0.04 needed)" in shared.summary
    usual = judged("accuracy", 0.5, candidate=yes(36, 60))
    assert "not certified (p = 0.078):" in usual.summary
