"""Slices of a gate: shown without a word in the verdict, or with a bound that the gate must keep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from answered import EXACT, KINDS, NUMBER, answers_of, evalset, example, gate, pair, quick, rungs_of, unplanned, yes
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pytest_ftgate.evalset.types import ScorerSpec, SliceSpec
from pytest_ftgate.gates.contamination import judge_with_leaks
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import JUDGES, judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.slices import TooSmall, too_small
from pytest_ftgate.report.gatetable import gate_table as html_gates
from pytest_ftgate.report.markup import Html
from pytest_ftgate.report.slicetable import slice_tables
from pytest_ftgate.report.terminal import explain, slice_table
from pytest_ftgate.results import SliceResult, Verdict, verdict_from_json


def sliced(
    kind: str,
    bound: float,
    values: Sequence[str],
    own: Mapping[str, float],
    *,
    levels: Levels | None = None,
    scorer: ScorerSpec = EXACT,
    clusters: Sequence[str] = (),
    **systems: Sequence[object],
) -> GateInput:
    """A gate on an eval set with one slicing field, `language`, whose values are given by example."""
    examples = [
        replace(example(i, cluster=clusters[i] if clusters else None), fields={"q": f"question {i}", "language": value})
        for i, value in enumerate(values)
    ]
    asked = evalset(examples, scorer=scorer, rungs=rungs_of(systems))
    asked = replace(asked, slices=(SliceSpec("language", tuple(sorted(set(values))), own, 7),))
    return GateInput(asked, gate(kind, bound), answers_of(asked, systems), levels or Levels())


def by_value(verdict: Verdict) -> dict[str, SliceResult]:
    return {one.value: one for one in verdict.slices}


LANGUAGES = ["de"] * 40 + ["en"] * 100 + ["fr"] * 60


def test_a_slice_without_a_bound_is_shown_and_says_nothing() -> None:
    texts = ["no"] * 20 + ["yes"] * 180
    given_ = sliced("accuracy", 0.8, LANGUAGES, {}, candidate=texts)
    verdict = judge(given_)
    plain = judge(replace(given_, evalset=replace(given_.evalset, slices=())))
    assert verdict.outcome == "PASS"
    assert replace(verdict, slices=()) == plain
    found = by_value(verdict)
    assert {value: (one.n, one.measured, one.outcome, one.required) for value, one in found.items()} == {
        "de": (40, 0.5, "", False), "en": (100, 1.0, "", False), "fr": (60, 1.0, "", False),
    }  # fmt: skip
    assert found["de"].p_value == pytest.approx(binomtest(20, 40, 0.8, "greater").pvalue)
    ends = binomtest(20, 40).proportion_ci(0.95, "exact")
    assert found["de"].interval == pytest.approx((ends.low, ends.high))
    assert (found["de"].bound, found["de"].p_bad) == (0.8, None)


@given(kind=st.sampled_from(KINDS), data=st.data())
@quick
@unplanned
def test_slices_without_bounds_never_move_a_verdict_and_bounded_ones_never_towards_pass(
    kind: str, data: st.DataObject
) -> None:
    n = data.draw(st.integers(9, 60))
    ours = data.draw(st.lists(st.sampled_from(["yes", "yes", "no"]), min_size=n, max_size=n))
    theirs = data.draw(st.lists(st.sampled_from(["yes", "no"]), min_size=n, max_size=n))
    values = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    systems = {"candidate": ours}
    if kind in ("beats_baseline", "forgetting"):
        systems["base" if kind == "forgetting" else "zero_shot"] = theirs
    shown = judge(sliced(kind, 0.3, values, {}, **systems))
    bounded = judge(sliced(kind, 0.3, values, {kind: 0.3}, **systems))
    plain = sliced(kind, 0.3, values, {}, **systems)
    assert replace(shown, slices=()) == judge(replace(plain, evalset=replace(plain.evalset, slices=())))
    json.dumps(asdict(bounded), allow_nan=False)
    if bounded.outcome == "ERROR":
        return
    certified = all(one.p_value is not None and one.p_value <= 0.05 for one in bounded.slices)
    assert (bounded.outcome == "PASS") == (shown.outcome == "PASS" and certified)
    proven = any(one.p_bad is not None and one.p_bad <= 0.05 and one.outcome == "FAIL" for one in bounded.slices)
    assert (bounded.outcome == "FAIL") == (shown.outcome == "FAIL" or proven)
    assert bool(bounded.fix) == (bounded.outcome != "PASS")


def test_a_gate_passes_only_where_every_bounded_slice_is_certified() -> None:
    texts = ["no"] * 4 + ["yes"] * 196
    verdict = judge(sliced("accuracy", 0.85, LANGUAGES, {"accuracy": 0.7}, candidate=texts))
    assert verdict.outcome == "PASS"
    assert verdict.summary.endswith("; each of 3 slices keeps its own bound")
    verdict = judge(sliced("accuracy", 0.85, LANGUAGES, {"accuracy": 0.85}, candidate=texts))
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "UNDERPOWERED")
    assert by_value(verdict)["de"].p_value == pytest.approx(binomtest(36, 40, 0.85, "greater").pvalue)
    assert (
        "slice language=de: 90.0% of 40, not certified to be at least 85.0% (p = 0.26): 40 examples" in verdict.summary
    )
    assert verdict.fix.startswith("language=de: use about ")
    assert {one.outcome for one in verdict.slices if one.value != "de"} == {"PASS"}


def test_a_slice_proven_bad_fails_the_gate_and_says_over_how_many_holm_corrected() -> None:
    texts = ["no"] * 12 + ["yes"] * 188
    given_ = sliced("accuracy", 0.85, LANGUAGES, {"accuracy": 0.9}, candidate=texts)
    verdict = judge(given_)
    raw = binomtest(28, 40, 0.9, "less").pvalue
    de = by_value(verdict)["de"]
    assert (verdict.outcome, verdict.reason, de.outcome) == ("FAIL", "SLICE", "FAIL")
    assert de.p_bad == pytest.approx(3 * raw)
    assert (
        f"slice language=de: 70.0% of 40, proven below 90.0% (p = {3 * raw:.2g}, Holm over 3 slices)" in verdict.summary
    )
    assert verdict.worst == tuple(f"e{i}" for i in range(8))
    assert verdict.fix.startswith("read the worst answers of language=de")
    # What the gate itself measured stays.
    assert (verdict.value, verdict.p_value) == (
        0.94,
        judge(replace(given_, evalset=replace(given_.evalset, slices=()))).p_value,
    )


def test_holm_over_the_slices_is_needed_and_steps_down() -> None:
    """Two slices with p of 0.0194 and 0.0399 against `at least 90%`: alone each fails at 5 %."""
    own, three_slices = {"accuracy": 0.9}, ["a"] * 100 + ["b"] * 100 + ["c"] * 100
    alone = judge(sliced("accuracy", 0.5, ["a"] * 100, own, candidate=yes(84, 100)))
    assert alone.outcome == "FAIL"
    assert by_value(alone)["a"].p_bad == pytest.approx(binomtest(84, 100, 0.9, "less").pvalue)
    texts = yes(84, 100) + yes(100, 100) + yes(100, 100)
    three = judge(sliced("accuracy", 0.5, three_slices, own, candidate=texts))
    assert three.outcome == "INCONCLUSIVE"
    assert by_value(three)["a"].p_bad == pytest.approx(3 * binomtest(84, 100, 0.9, "less").pvalue)
    # The second p-value is multiplied by one less.
    texts = yes(70, 100) + yes(83, 100) + yes(100, 100)
    stepped = judge(
        sliced("accuracy", 0.5, ["a"] * 100 + ["b"] * 100 + ["c"] * 100, {"accuracy": 0.9}, candidate=texts)
    )
    second = binomtest(83, 100, 0.9, "less").pvalue
    assert 0.05 / 3 < second <= 0.05 / 2
    assert by_value(stepped)["b"].p_bad == pytest.approx(2 * second)
    assert {v: one.outcome for v, one in by_value(stepped).items()} == {"a": "FAIL", "b": "FAIL", "c": "PASS"}
    # And the run's share of alpha holds for slices too.
    shared = judge(
        sliced("accuracy", 0.5, ["a"] * 100, {"accuracy": 0.9}, candidate=yes(84, 100), levels=Levels(0.05, 2))
    )
    assert shared.outcome == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("kind", "own", "n", "needed"),
    [("accuracy", 0.8, 13, 14), ("format", 0.8, 13, 14), ("forgetting", 0.1, 28, 29), ("beats_baseline", 0.3, 6, 7)],
)
def test_a_slice_too_small_to_certify_says_how_many_are_needed_and_they_do(
    kind: str, own: float, n: int, needed: int
) -> None:
    def at(n: int) -> GateInput:
        values = ["xx"] * n + ["en"] * 200
        systems: dict[str, list[str]] = {"candidate": ["yes"] * len(values)}
        if kind == "beats_baseline":
            systems["zero_shot"] = ["no"] * len(values)
        if kind == "forgetting":
            systems["base"] = ["yes"] * len(values)
        return sliced(kind, own, values, {kind: own}, **systems)

    verdict = judge(at(n))
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    assert verdict.fix == f"language=xx: use at least {needed} examples"
    small = at(n)
    assert too_small(small.evalset, small.gate, 0.05) == [TooSmall("language", "xx", n, needed)]
    enough = at(needed)
    assert judge(enough).outcome == "PASS"
    assert too_small(enough.evalset, enough.gate, 0.05) == []


def test_few_clusters_in_a_slice_do_not_crash() -> None:
    values = ["de"] * 30 + ["en"] * 170
    clusters = [f"c{i // 10}" for i in range(200)]
    for own, outcome in (({}, "PASS"), ({"accuracy": 0.5}, "INCONCLUSIVE")):
        verdict = judge(sliced("accuracy", 0.5, values, own, clusters=clusters, candidate=yes(200, 200)))
        de = by_value(verdict)["de"]
        assert (verdict.outcome, de.n, de.examples, de.measured) == (outcome, 0, 30, None)
        assert "at least 8 clusters" in de.note
        assert by_value(verdict)["en"].n == 17
    assert "slice language=de of 30 examples, not certified to be at least 50.0%: at least 8" in verdict.summary


def test_graded_slices_are_bet_on() -> None:
    values, texts = ["de"] * 60 + ["en"] * 60, ["0.9"] * 60 + ["0.2"] * 60
    verdict = judge(sliced("accuracy", 0.3, values, {"accuracy": 0.6}, scorer=NUMBER, candidate=texts))
    assert verdict.outcome == "FAIL"
    assert [one.outcome for one in verdict.slices] == ["PASS", "FAIL"]
    assert {one.method for one in verdict.slices} == {"betting (anytime valid)"}


def test_a_slice_in_which_the_base_can_do_nothing_certifies_nothing() -> None:
    values = ["de"] * 60 + ["en"] * 140
    base, ours = ["no"] * 60 + ["yes"] * 140, ["no"] * 60 + ["yes"] * 140
    verdict = judge(sliced("forgetting", 0.05, values, {"forgetting": 0.1}, candidate=ours, base=base))
    assert (verdict.outcome, verdict.reason) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    assert "the base scores 0.0% there: it cannot lose more than 10.0 points" in verdict.summary


def test_every_rung_must_be_beaten_in_every_slice_and_counts_in_the_family() -> None:
    ours = yes(100, 100) + ["no"] * 30 + ["yes"] * 70
    weak, strong = ["no"] * 200, ["no"] * 100 + ["yes"] * 100
    values = ["a"] * 100 + ["b"] * 100
    verdict = judge(
        sliced("beats_baseline", 0.0, values, {"beats_baseline": 0.0}, candidate=ours, weak=weak, strong=strong)
    )
    a, b = verdict.slices
    assert (a.outcome, b.outcome, verdict.outcome) == ("PASS", "FAIL", "FAIL")
    assert b.reference == "baseline:strong"
    assert "points to baseline:strong on 100, proven below +0.0 points" in verdict.summary
    assert "Holm over 4 slice hypotheses" in verdict.summary


def test_a_bounded_slice_that_leaked_whole_does_not_vanish() -> None:
    """Every German example is in the training data: without them, nothing is known of German."""
    gated = sliced("accuracy", 0.8, LANGUAGES, {"accuracy": 0.8}, candidate=["yes"] * 200)
    assert judge(gated).outcome == "PASS"
    german = frozenset(f"e{i}" for i in range(40))
    verdict = judge_with_leaks(gated, german)
    assert (verdict.outcome, verdict.reason) == ("FAIL", "LEAKED")
    assert "slice language=de of 0 examples" in verdict.summary
    shown_only = sliced("accuracy", 0.8, LANGUAGES, {}, candidate=["yes"] * 200)
    assert judge_with_leaks(shown_only, german).outcome == "PASS"


def test_a_verdict_with_slices_survives_its_way_to_the_controller() -> None:
    verdict = judge(sliced("accuracy", 0.85, LANGUAGES, {"accuracy": 0.9}, candidate=yes(180, 200)))
    again = verdict_from_json(json.loads(json.dumps(asdict(verdict), allow_nan=False)))
    assert again.slices == verdict.slices
    assert again.interval == verdict.interval


ATTACK = "de\x1b[2J<script>alert(1)</script>"


def test_slices_are_shown_in_terminal_and_html_and_hostile_values_are_text() -> None:
    values = [ATTACK if value == "de" else value for value in LANGUAGES]
    verdict = judge(sliced("accuracy", 0.85, values, {"accuracy": 0.9}, candidate=["no"] * 12 + ["yes"] * 188))
    table = slice_table([verdict])
    lines = table.splitlines()
    assert lines[0].split() == ["slice", "measured", "95%", "interval", "needs", "n", "p", "verdict"]
    assert lines[2].endswith("FAIL")  # what keeps the gate from passing comes first
    assert "set::accuracy language=en" in lines[3]
    assert all(line.isprintable() for line in [*lines, *explain(verdict).splitlines(), verdict.summary])
    assert table in explain(verdict)
    page = slice_tables([verdict])
    assert "<script>" not in page + html_gates([verdict], lambda name, id_: Html(id_))
    assert "&lt;script&gt;" in page
    assert page.count("<tr>") == 1 + 3
    assert page.count("<circle") == 3
    assert page.count("shown only") == 0
    assert slice_tables([replace(verdict, slices=())]) == slice_table([replace(verdict, slices=())]) == ""


def test_a_terminal_shows_the_first_of_many_slices_and_says_so() -> None:
    values = [f"v{i % 40:02d}" for i in range(400)]
    verdict = judge(sliced("accuracy", 0.5, values, {}, candidate=yes(400, 400)))
    table = slice_table([verdict])
    assert table.endswith("\n16 more slices are in --ft-json and --ft-html")
    assert table.count("(shown)") == 24


@pytest.mark.parametrize("kind", ["beats_baseline", "forgetting"])
def test_a_slice_of_a_pair_is_the_gate_on_those_examples(kind: str) -> None:
    table = pair(14, 3, 80)
    reference = "base" if kind == "forgetting" else "zero_shot"
    systems: dict[str, Any] = {"candidate": table["candidate"] * 2, reference: table["reference"] * 2}
    verdict = judge(sliced(kind, 0.05, ["a"] * 80 + ["b"] * 80, {}, **systems))
    systems = {"candidate": table["candidate"], reference: table["reference"]}
    alone = judge(sliced(kind, 0.05, ["a"] * 80, {}, **systems))
    for one in verdict.slices:
        assert (one.n, one.measured, one.interval) == (80, alone.value, alone.interval)
        assert (one.p_value, one.bound) == (alone.p_value, alone.bound)


def test_a_judge_that_forgets_bounded_slices_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new kind whose function does not end in with_slices: its PASS would say nothing of the slices' bounds."""
    given = sliced("accuracy", 0.3, ["en", "de"] * 40, {"accuracy": 0.3}, candidate=["yes"] * 80)
    assert judge(given).outcome == "PASS"
    forgetful = replace(judge(given), slices=())
    monkeypatch.setitem(JUDGES, "accuracy", lambda _: forgetful)
    verdict = judge(given)
    assert (verdict.outcome, verdict.reason) == ("ERROR", "SLICES_NOT_JUDGED")
    monkeypatch.setitem(JUDGES, "accuracy", lambda _: replace(forgetful, outcome="FAIL"))
    assert judge(given).outcome == "FAIL"
