"""Stage, curtailment and judging as one, at sizes that are no multiple of a batch: no size may raise."""

from __future__ import annotations

import numpy as np
import pytest
from wholerun import asked_set, run_whole

from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.part_answered import Part, Settled
from pytest_ftgate.results import Comparison, Score

SIZES = (20, 23, 37, 101, 203, 333, 1000)
BOUNDS = {"format": 0.8, "accuracy": 0.8, "beats_baseline": 0.05, "forgetting": 0.05}


def said_at(share: float, n: int, *, turn: int = 0) -> list[str]:
    """n answers, this share of them right, spread evenly."""
    right = round(share * n)
    return ["yes" if (i * 7 + turn) % n < right else "no" for i in range(n)]


def flipped(n: int, gains: float, losses: float, seed: int) -> tuple[list[str], list[str]]:
    """(candidate, reference): the reference is right on 85 %, and these shares of the examples flip."""
    order = np.random.default_rng([n, seed]).permutation(n)
    theirs = np.ones(n, bool)
    theirs[order[round(0.85 * n) :]] = False
    ours = theirs.copy()
    ours[order[n - round(gains * n) :]] = True
    ours[order[: round(losses * n)]] = False
    return np.where(ours, "yes", "no").tolist(), np.where(theirs, "yes", "no").tolist()


@pytest.mark.parametrize(("n", "chunk"), [(60, 4), (101, 32), (200, 64), (203, 64), (260, 64)])
@pytest.mark.parametrize(
    ("kind", "reference", "gains", "losses"),
    [("beats_baseline", "baseline:zero_shot", 0.09, 0.02), ("forgetting", "base", 0.005, 0.033)],
)
def test_x1_a_weak_gate_that_was_stopped_says_what_it_needs(
    kind: str, reference: str, gains: float, losses: float, n: int, chunk: int
) -> None:
    """Better than its bound, and not by enough: settled before the last example, so planned from a part."""
    planned_from_a_part = 0
    for seed in range(3):
        ours, theirs = flipped(n, gains, losses, seed)
        table, asked, levels = {"candidate": ours, reference: theirs}, asked_set(n, {kind: 0.05}), Levels(0.05, 6)
        part, result = run_whole(asked, table, levels=levels, chunk=chunk)
        verdict = part[kind]
        assert verdict.outcome in ("PASS", "INCONCLUSIVE")
        if result.stopped and verdict.outcome == "INCONCLUSIVE" and verdict.value and verdict.bound:
            planned_from_a_part += verdict.value > verdict.bound
            assert verdict.reason in ("UNDERPOWERED", "NEAR_MARGIN")
            assert verdict.fix
    assert planned_from_a_part


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", range(2))
def test_every_kind_of_gate_at_any_size_decides_as_the_whole_set_does(n: int, seed: int) -> None:
    rng = np.random.default_rng([n, seed])
    kinds = [kind for kind in BOUNDS if rng.random() < 0.6] or ["beats_baseline"]
    table = {
        name: said_at(float(share), n, turn=int(turn))
        for name, share, turn in zip(
            ("candidate", "base", "baseline:zero_shot"), rng.uniform(0.5, 1.0, 3), rng.integers(0, n, 3), strict=True
        )
    }
    asked, levels = asked_set(n, {kind: BOUNDS[kind] for kind in kinds}), Levels(0.05, len(kinds))
    whole, _ = run_whole(asked, table, levels=levels, stops=False)
    part, _ = run_whole(asked, table, levels=levels, chunk=int(rng.integers(3, 40)))
    assert {k: v.outcome for k, v in part.items()} == {k: v.outcome for k, v in whole.items()}
    assert "ERROR" not in {v.outcome for v in part.values() if v.reason != "NOTHING_TO_FORGET"}


@pytest.mark.parametrize(("gains", "losses", "n", "planned"), [(1, 1, 2, 3), (3, 3, 6, 7), (0, 0, 5, 9), (5, 0, 5, 11)])
def test_x1_what_is_planned_from_a_part_adds_up(gains: int, losses: int, n: int, planned: int) -> None:
    delta = (gains - losses) / n
    measured = Comparison("base", n, gains, losses, n - gains - losses, 0.5, 0.5, delta, (-1, 1), 0.95, -0.05, 1, 1, "")
    found = Part(planned, n, Settled("INCONCLUSIVE", {}, n)).planned_pair(measured)
    assert min(found.gains, found.losses, found.ties) >= 0
    assert found.gains + found.losses + found.ties == found.n == planned


def test_x2_a_score_between_0_and_1_settles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a scorer that is said to give 0 or 1: rounded down, it would settle a FAIL before the set is answered."""
    half = Score(0.9, "yes", "")
    monkeypatch.setattr("pytest_ftgate.scoring.kept.make_scorer", lambda *args, **more: lambda *asked: half)
    _, result = run_whole(asked_set(64, {"accuracy": 0.5}), {"candidate": ["yes"] * 64}, chunk=8)
    assert not result.stopped
    assert len(result.generations["set"]["candidate"]) == 64
