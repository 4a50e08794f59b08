"""Simulated adapters through the real gates and the run verdict: what sits at a bound hardly ever ships."""

from __future__ import annotations

from unittest import mock

import pytest
from answered import unplanned
from scipy.stats import binom

from benchmarks import adapters
from benchmarks.adapters import ADAPTERS_AT_A_BOUND, OTHERS, Bench, most_allowed, tally

EACH = 40
GATE_AT_ITS_BOUND = ("target::format", "target::accuracy", "target::beats_baseline", "general::forgetting")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), examples=120)


def test_the_tolerance_is_that_of_the_binomial() -> None:
    assert most_allowed(200) == 21
    assert binom.sf(21, 200, 0.05) < 0.001 < binom.sf(20, 200, 0.05)


@unplanned
def test_of_200_adapters_at_a_boundary_at_most_5_percent_ship(bench: Bench) -> None:
    """Forty for each thing that can be exactly at its bound; everything else about them is good."""
    alone = ADAPTERS_AT_A_BOUND[:5]
    tallies = [tally(bench, adapter, EACH) for adapter in alone]
    shipped = sum(t.verdicts["SHIP"] for t in tallies)
    assert 0 < shipped <= most_allowed(EACH * len(alone))
    # Nothing else blocked them: they ship where, and only where, the gate at its bound passes.
    for found, at_bound in zip(tallies, GATE_AT_ITS_BOUND, strict=False):
        assert found.verdicts["SHIP"] >= found.passes[at_bound] - 1
        assert all(found.passes[gate] >= EACH - 1 for gate in GATE_AT_ITS_BOUND if gate != at_bound)
    # The gate as a whole is good there: what keeps it from passing is the slice.
    assert tallies[4].verdicts["SHIP"] == tallies[4].passes["target::accuracy"]


def test_a_laxer_rule_is_caught(bench: Bench) -> None:
    """The rule of many tools, that what is measured reaches the bound, ships about half of them."""
    with mock.patch("pytest_ftgate.stats.decide", lambda p_good, p_bad, **_: "PASS" if p_good < 0.55 else "FAIL"):
        assert tally(bench, ADAPTERS_AT_A_BOUND[3], EACH).verdicts["SHIP"] > most_allowed(EACH)


def test_good_adapters_ship(bench: Bench) -> None:
    *_, good = OTHERS
    assert tally(bench, good, 15).verdicts["SHIP"] >= 14


@pytest.mark.parametrize("adapter", [a for a in OTHERS if a.itself], ids=lambda a: a.name)
def test_a_base_judged_against_itself_forgets_nothing_and_beats_nothing(
    bench: Bench, adapter: adapters.Adapter
) -> None:
    found = tally(bench, adapter, 10)
    assert found.passes["general::forgetting"] == 10
    assert (found.passes["target::beats_baseline"], found.verdicts["SHIP"]) == (0, 0)


def test_the_document_is_what_the_command_prints() -> None:
    text = adapters.DOCUMENT.read_text(encoding="utf-8")
    assert "python -m benchmarks.adapters" in text
    shown = {cells[1].strip(): cells for line in text.splitlines() if len(cells := line.split("|")) > 8}
    for adapter in ADAPTERS_AT_A_BOUND:
        assert int(shown[adapter.name][2]) <= most_allowed(adapters.ADAPTERS)
    for adapter in OTHERS:
        if adapter.itself:
            shipped, beats, keeps = (int(shown[adapter.name][i]) for i in (2, 7, 8))
            assert (shipped, beats, keeps) == (0, 0, 200)
