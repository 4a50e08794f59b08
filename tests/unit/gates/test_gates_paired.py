"""Gates on pairs, beats_baseline and forgetting, on constructed answers: bounds, reasons, numbers."""

from __future__ import annotations

import re

import pytest
from answered import (
    answers_of,
    beats,
    evalset,
    example,
    forgetting,
    gate,
    judged,
    p_of,
    unplanned,
    yes,
)

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels


@pytest.mark.parametrize(
    ("losses", "n", "margin", "outcome", "reason"),
    [
        (0, 149, 0.02, "PASS", ""),
        (0, 148, 0.02, "INCONCLUSIVE", "CANNOT_PASS_AT_N"),
        (0, 60, 0.02, "INCONCLUSIVE", "CANNOT_PASS_AT_N"),
        (0, 59, 0.05, "PASS", ""),
        (0, 58, 0.05, "INCONCLUSIVE", "CANNOT_PASS_AT_N"),
        (1, 100, 0.05, "PASS", ""),
        (2, 100, 0.05, "INCONCLUSIVE", "UNDERPOWERED"),
        (5, 100, 0.05, "INCONCLUSIVE", "NEAR_MARGIN"),
        (4, 200, 0.05, "PASS", ""),
        (12, 200, 0.10, "PASS", ""),
        (40, 100, 0.05, "FAIL", ""),
    ],
)
def test_forgetting_at_its_exact_bounds(losses: int, n: int, margin: float, outcome: str, reason: str) -> None:
    verdict = forgetting(losses, n, margin)
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
    assert (verdict.n, verdict.value, verdict.bound) == (n, pytest.approx(-losses / n), -margin)
    assert bool(verdict.fix) == (outcome != "PASS")
    assert verdict.worst == tuple(f"e{i}" for i in range(min(losses, 8)))


def test_sixty_examples_cannot_certify_two_points_and_the_fix_says_149() -> None:
    verdict = forgetting(0, 60, 0.02)
    assert verdict.fix == "use at least 149 examples"
    assert "60 examples cannot certify a loss below 2.0 points without improving on the base" in verdict.summary
    assert verdict.p_value == pytest.approx(0.98**60)


@pytest.mark.parametrize(
    ("gains", "losses", "n", "min_gain", "p"),
    [(12, 2, 50, 0.0, 0.00375), (12, 2, 50, 0.05, 0.02183), (3, 0, 50, 0.0, 0.0495)],
)
def test_p_values_of_a_gain_are_the_published_ones(gains: int, losses: int, n: int, min_gain: float, p: float) -> None:
    verdict = beats(gains, losses, n, min_gain)
    assert verdict.outcome == "PASS"
    assert verdict.p_value == pytest.approx(p, abs=6e-5)


@pytest.mark.parametrize(("n", "min_gain", "gains"), [(50, 0.0, 3), (50, 0.02, 5), (50, 0.05, 7), (100, 0.05, 10)])
def test_fewest_gains_that_beat_a_baseline(n: int, min_gain: float, gains: int) -> None:
    assert beats(gains, 0, n, min_gain).outcome == "PASS"
    fewer = beats(gains - 1, 0, n, min_gain)
    # With every other example right in the baseline, nothing else was left to gain.
    assert (fewer.outcome, fewer.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    with unplanned:
        assert beats(gains - 1, 0, n, min_gain, ties_right=False).outcome == "INCONCLUSIVE"


def test_a_baseline_that_is_nearly_always_right_leaves_no_room() -> None:
    verdict = beats(2, 0, 100, 0.05)
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    assert "98.0%, which leaves no room for a gain above 5.0 points" in verdict.summary
    assert verdict.fix == "ship that prompt, or use harder examples"


def test_a_loss_against_a_baseline_fails_and_says_to_ship_the_prompt() -> None:
    verdict = beats(2, 30, 100, 0.05)
    assert verdict.outcome == "FAIL"
    assert "proven to gain less" in verdict.summary
    assert verdict.fix.startswith("ship the prompt of rung zero_shot instead")
    assert verdict.worst == tuple(f"e{i}" for i in range(2, 10))


@pytest.mark.parametrize(("gains", "losses"), [(30, 0), (14, 6), (12, 5), (2, 30)])
def test_every_number_in_the_sentence_of_a_pair_is_a_field(gains: int, losses: int) -> None:
    verdict = beats(gains, losses, 100, 0.05)
    found = re.match(
        r"([\d.]+)% against ([\d.]+)% of baseline:zero_shot on (\d+) examples: ([-+\d.]+) points \(95% interval "
        r"([-+\d.]+) to ([-+\d.]+); (\d+) gained, (\d+) lost\); a gain above ([\d.]+) points needed, (.*)",
        verdict.summary,
    )
    assert found is not None, verdict.summary
    c = verdict.comparisons[0]
    fields = [100 * c.candidate, 100 * c.base, c.n, 100 * c.delta, *(100 * e for e in c.interval), c.gains, c.losses, 5]
    assert [float(x) for x in found.groups()[:9]] == pytest.approx(fields, abs=0.0501)
    assert (verdict.value, verdict.interval, verdict.p_value, verdict.n) == (c.delta, c.interval, c.p_good, c.n)
    assert p_of(found[10]) == pytest.approx(c.p_bad if verdict.outcome == "FAIL" else c.p_good, rel=0.06)


@unplanned
def test_a_failing_pair_shares_alpha_among_all_hypotheses() -> None:
    """10 losses of 100 are 5 points too many at 5 %, not at 2.5 %."""
    assert 0.025 < forgetting(10, 100, 0.05).comparisons[0].p_bad < 0.05
    assert forgetting(10, 100, 0.05, levels=Levels(0.05, 1)).outcome == "FAIL"
    assert forgetting(10, 100, 0.05, levels=Levels(0.05, 2)).outcome == "INCONCLUSIVE"


def test_every_rung_must_be_beaten_and_the_hardest_decides() -> None:
    ours, weak, strong = yes(95, 100), yes(40, 100), yes(89, 100)
    assert judged("beats_baseline", 0.05, candidate=ours, zero_shot=weak, few_shot=weak).outcome == "PASS"
    for rungs in ({"zero_shot": weak, "few_shot": strong}, {"few_shot": strong, "zero_shot": weak}):
        verdict = judged("beats_baseline", 0.05, candidate=ours, **rungs)
        assert verdict.outcome == "INCONCLUSIVE"
        assert "of baseline:few_shot" in verdict.summary
        assert verdict.value == pytest.approx(0.06)
        assert [c.reference for c in verdict.comparisons] == [f"baseline:{name}" for name in rungs]


def test_a_rung_that_is_certainly_better_fails_the_gate_and_is_the_one_spoken_of() -> None:
    ours, weak, best = yes(50, 100), yes(10, 100), yes(90, 100)
    verdict = judged("beats_baseline", 0.02, candidate=ours, weak=weak, best=best, same=ours)
    assert verdict.outcome == "FAIL"
    assert "of baseline:best" in verdict.summary
    assert verdict.value == pytest.approx(-0.4)
    assert verdict.worst[0] == "e50"
    assert "rung best" in verdict.fix


def test_a_fail_shows_the_fields_of_the_rung_that_proves_it() -> None:
    """The rung hardest to beat need not be the one that is proven better: the sentence and the fields are of one."""
    ours = yes(60, 100)
    noisy = ["no"] * 60 + ["yes"] * 40
    steady = yes(64, 100)
    levels = Levels(0.05, 1)
    verdict = judged("beats_baseline", 0.02, candidate=ours, noisy=noisy, steady=steady, levels=levels)
    reference = str(verdict.details["reference"])
    c = next(c for c in verdict.comparisons if c.reference == reference)
    assert verdict.outcome == "FAIL"
    assert f"of {reference} " in verdict.summary
    assert (verdict.value, verdict.p_value) == (c.delta, c.p_good)
    assert verdict.details["p_bad"] == min(c.p_bad for c in verdict.comparisons)


def test_a_base_that_can_do_nothing_has_nothing_to_forget() -> None:
    verdict = judged("forgetting", 0.05, candidate=yes(0, 200), base=yes(10, 200))
    assert (verdict.outcome, verdict.reason) == ("ERROR", "NOTHING_TO_FORGET")
    assert judged("forgetting", 0.05, candidate=yes(11, 200), base=yes(11, 200)).outcome == "PASS"


def test_copies_of_one_question_do_not_hide_that_the_base_can_do_nothing() -> None:
    """The base is right on 4 of 200 questions; one of them stands there 30 times."""
    copies = [example(200 + i, question="question 0") for i in range(30)]
    examples = [example(i) for i in range(200)] + copies
    base = yes(4, 200) + ["yes"] * 30
    verdict = judged("forgetting", 0.05, candidate=["no"] * 230, base=base, examples=examples)
    assert (verdict.outcome, verdict.reason) == ("ERROR", "NOTHING_TO_FORGET")


def test_no_baseline_at_all_is_an_error_and_no_pass() -> None:
    asked = evalset([example(i) for i in range(60)], rungs=())
    with pytest.raises(ScoringError, match="no baselines"):
        judge(GateInput(asked, gate("beats_baseline", 0.05), answers_of(asked, {"candidate": yes(60, 60)}), Levels()))
