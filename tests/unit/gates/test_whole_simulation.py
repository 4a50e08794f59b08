"""The simulation of `make bench-whole`, small: no combination raises, and a model at its bound does not pass often."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.whole import simulate
from benchmarks.whole_truth import BOUNDS, SWITCHED, Case


@pytest.mark.parametrize("kind", BOUNDS)
@pytest.mark.parametrize("n", [20, 37])
def test_no_kind_raises_whatever_is_switched_on(kind: str, n: int, tmp_path: Path) -> None:
    found = {on: simulate(Case(kind, on, n, False), 1, tmp_path, planned=0) for on in SWITCHED}
    assert {on: dict(t.broken) for on, t in found.items() if t.broken} == {}
    assert sum(t.refused for t in found.values()) < len(SWITCHED) / 2  # the others were judged


@pytest.mark.parametrize("on", [(), ("attempts",), ("leaks",), ("early_stop", "attempts"), ("slices",)])
def test_a_model_at_its_bound_passes_seldom(on: tuple[str, ...], tmp_path: Path) -> None:
    found = simulate(Case("accuracy", on, 60, False), 40, tmp_path)
    assert found.runs == 40
    assert found.interval[0] <= 0.05
    assert not found.broken


@pytest.mark.parametrize(("kind", "good", "passed"), [("cost", True, 3), ("cost", False, 0), ("overlap", False, 0)])
def test_what_is_counted_is_decided_without_luck(kind: str, good: bool, passed: int, tmp_path: Path) -> None:
    assert simulate(Case(kind, (), 37, good), 3, tmp_path).passed == passed
