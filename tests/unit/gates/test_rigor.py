"""`rigor: approx`: Student's t where it may be trusted, said to be approximate wherever its number stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from answered import EXACT, KINDS, NUMBER, answers_of, evalset, example, gate, rungs_of, yes
from scipy import stats as scipy_stats

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import APPROXIMATE, Levels
from pytest_ftgate.report.gatetable import gate_table as html_gates
from pytest_ftgate.report.markup import Html
from pytest_ftgate.report.terminal import gate_table
from pytest_ftgate.results import Verdict


def approx(
    kind: str, bound: float, *, scorer: ScorerSpec = NUMBER, clusters: int = 0, **systems: Sequence[object]
) -> Verdict:
    n = len(systems["candidate"])
    examples = [example(i, cluster=f"c{i % clusters}" if clusters else None) for i in range(n)]
    asked = replace(evalset(examples, scorer=scorer, rungs=rungs_of(systems)), rigor="approx")
    return judge(GateInput(asked, gate(kind, bound), answers_of(asked, systems), Levels()))


def graded(n: int, mean: float, *, seed: int = 1) -> list[float]:
    drawn = np.clip(np.random.default_rng(seed).normal(mean, 0.2, n), 0.0, 1.0)
    return [round(float(value), 4) for value in drawn]


def test_a_floor_is_tested_by_t_and_says_so() -> None:
    values = graded(40, 0.6)
    verdict = approx("accuracy", 0.5, candidate=values)
    test = scipy_stats.ttest_1samp(values, 0.5, alternative="greater")
    assert (verdict.outcome, verdict.p_value) == ("PASS", pytest.approx(test.pvalue))
    assert verdict.details["method"] == APPROXIMATE
    low, high = scipy_stats.ttest_1samp(values, 0.5).confidence_interval(0.95)
    assert verdict.interval == pytest.approx((low, high))
    certified = scipy_stats.ttest_1samp(values, 0.5, alternative="greater").confidence_interval(0.95).low
    assert verdict.details["certified"] == pytest.approx(certified)
    assert "; approximate, CR1 + t)" in verdict.summary
    assert f"{verdict.p_value:.4f} approximate" in gate_table([verdict])
    assert f"{verdict.p_value:.4f} approximate" in html_gates([verdict], lambda name, id_: Html(id_))


@pytest.mark.parametrize("kind", ["beats_baseline", "forgetting"])
def test_a_pair_is_tested_by_t_and_says_so(kind: str) -> None:
    ours, theirs = graded(60, 0.7), graded(60, 0.55, seed=2)
    name, delta0 = ("base", -0.05) if kind == "forgetting" else ("zero_shot", 0.05)
    verdict = approx(kind, 0.05, candidate=ours, **{name: theirs})
    differences = np.array(ours) - np.array(theirs)
    test = scipy_stats.ttest_1samp(differences, delta0, alternative="greater")
    assert (verdict.outcome, verdict.p_value) == ("PASS", pytest.approx(test.pvalue))
    assert verdict.comparisons[0].p_bad == pytest.approx(1.0 - test.pvalue)
    assert "; approximate, CR1 + t; " in verdict.summary
    assert "approximate" in gate_table([verdict])
    worse = approx(kind, 0.05, candidate=theirs, **{name: ours})
    assert worse.outcome == "FAIL"


def test_clusters_count_once_with_equal_weight_as_in_the_guaranteed_test() -> None:
    values = graded(120, 0.6)
    verdict = approx("accuracy", 0.5, clusters=40, candidate=values)
    means = np.array(values).reshape(3, 40).mean(axis=0)
    assert (verdict.n, verdict.value) == (40, pytest.approx(means.mean()))
    assert verdict.p_value == pytest.approx(scipy_stats.ttest_1samp(means, 0.5, alternative="greater").pvalue)


def test_an_inconclusive_one_says_how_many_and_they_do() -> None:
    values = [*[0.9, 0.3] * 20, 0.62]
    verdict = approx("accuracy", 0.55, candidate=values)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "UNDERPOWERED")
    needed = int(verdict.fix.split()[2])
    assert needed > 41
    assert approx("accuracy", 0.55, candidate=(values * 20)[:needed]).outcome == "PASS"
    theirs = [*[0.3, 0.9] * 20, 0.3]
    pair = approx("beats_baseline", 0.0, candidate=[*values[:40], 0.9], zero_shot=theirs)
    assert (pair.outcome, pair.reason) == ("INCONCLUSIVE", "UNDERPOWERED")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (graded(29, 0.6), "29"),
        ([0.9] * 36 + [0.4] * 4, "40, 36 and 4"),
        ([0.9] * 4 + [0.4] * 36, "40, 4 and 36"),
    ],
)
def test_where_t_may_not_be_trusted_the_gate_is_refused_and_says_why(values: list[float], found: str) -> None:
    with pytest.raises(ScoringError, match="`rigor: approx` was asked for, but the t approximation needs") as caught:
        approx("accuracy", 0.5, candidate=values)
    assert f"found {found}" in caught.value.message
    assert caught.value.fix.startswith("delete `rigor: approx`")
    with pytest.raises(ScoringError, match="rigor: approx"):
        approx("forgetting", 0.05, candidate=[0.9] * 60, base=[0.9] * 59 + [0.8])


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_0_and_1_stay_exact(kind: str) -> None:
    systems = {"candidate": yes(60, 60)}
    if kind == "beats_baseline":
        systems["zero_shot"] = yes(0, 60)
    if kind == "forgetting":
        systems["base"] = yes(60, 60)
    verdict = approx(kind, 0.05, scorer=EXACT, **systems)
    assert (verdict.outcome, "approximate" in verdict.summary) == ("PASS", False)
    assert APPROXIMATE not in str(verdict.details["method"])


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, -0.1, 1.5])
@pytest.mark.parametrize(("kind", "target"), [("accuracy", "binomial_p_value"), ("forgetting", "paired_p_value")])
def test_f27_a_p_value_that_is_no_number_in_0_1_never_passes_and_never_fails(
    kind: str, target: str, broken: float
) -> None:
    systems = {"candidate": yes(100, 100)} | ({"base": yes(100, 100)} if kind == "forgetting" else {})
    assert approx(kind, 0.05, scorer=EXACT, **systems).outcome == "PASS"
    found = mock.patch(f"pytest_ftgate.stats.{target}", mock.Mock(return_value=broken))
    with found, pytest.raises(ScoringError, match="no usable p-value"):
        approx(kind, 0.05, scorer=EXACT, **systems)
