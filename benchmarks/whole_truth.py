"""What is simulated: features that are switched on, and answers of models whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pytest_ftgate.evalset.types import (
    AttemptPolicy,
    EvalSet,
    Example,
    GateSpec,
    GenerationSettings,
    Prompt,
    Rung,
    ScorerSpec,
    SliceSpec,
)
from pytest_ftgate.results import Generation

FEATURES = ("clusters", "graded", "slices", "early_stop", "attempts", "leaks")
SWITCHED: tuple[tuple[str, ...], ...] = ((), *((f,) for f in FEATURES), *combinations(FEATURES, 2))
"""Nothing, each alone, all pairs."""
BOUNDS = {"format": 0.8, "accuracy": 0.8, "beats_baseline": 0.05, "forgetting": 0.05, "cost": 0.5, "overlap": 2.0}
FORMAT = {"choices": ["1.0", "yes"]}
HOME = Path(__file__).resolve().parent.parent
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of gate, what is switched on, n examples, and whether the model is good."""

    kind: str
    switched: tuple[str, ...]
    n: int
    good: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """One eval set, and what a sequence of candidates answers to it."""

    asked: EvalSet
    reference: dict[str, list[object]]
    candidates: list[list[object]]
    leaked: frozenset[str]


def draw(case: Case, tries: int, rng: np.random.Generator) -> Drawn:
    """An eval set and `tries` candidates.

    Bad: the truth of what decides lies exactly at the bound (cost: one token above; overlap: one leak above). Where
    slices have bounds, it is slice b that lies there, and all other examples are as those of a good model. Leaked
    examples are always answered right; what lies at the bound are the others.
    """
    n, on = case.n, case.switched
    clusters = _clusters(n, rng) if "clusters" in on else None
    slices = np.where(rng.permutation(n) < n // 2, "a", "b")
    asked = _asked(case, clusters, slices.tolist())
    if "graded" in on and case.kind != "format":
        asked = replace(asked, scorer=ScorerSpec("function", {"path": "benchmarks.whole_run:number"}))
    hit = np.zeros(n, bool)
    if case.kind == "overlap":
        hit[rng.choice(n, 1 if case.good else 3, replace=False)] = True
    elif "leaks" in on:
        hit[rng.choice(n, max(1, n // 10), replace=False)] = True
    # One uniform number for each example, the same within a cluster that is copied.
    same = _copied(clusters, rng)
    weak = np.full(n, not case.good) & ((slices == "b") if "slices" in on else True)
    reference, candidates = _scores(case, weak, hit, same, tries, rng)
    leaked = frozenset(f"e{i}" for i in np.flatnonzero(hit))
    if case.kind == "cost":
        cost = _priced(n, case.good)
        return Drawn(asked, {"baseline:zero_shot": cost[1]}, [cost[0]] * tries, leaked)
    said = [_texts(values, asked.scorer) for values in candidates]
    theirs = _texts(reference, asked.scorer)
    return Drawn(asked, {"baseline:zero_shot": theirs, "base": theirs}, said, leaked)


def _clusters(n: int, rng: np.random.Generator) -> list[str]:
    sizes = rng.integers(1, 5, n)
    return [f"c{i}" for i in np.repeat(np.arange(n), sizes)[:n]]


def _copied(clusters: Sequence[str] | None, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each example the place of the one whose luck it shares. All clusters are copies, or each is at a chance."""
    if clusters is None:
        return np.asarray([], dtype=np.int64)
    first: dict[str, int] = {}
    for place, name in enumerate(clusters):
        first.setdefault(name, place)
    chance = 1.0 if rng.random() < 0.5 else 0.6
    copied = {name: rng.random() < chance for name in first}
    return np.asarray([first[name] if copied[name] else place for place, name in enumerate(clusters)])


def _scores(
    case: Case,
    weak: npt.NDArray[np.bool_],
    hit: npt.NDArray[np.bool_],
    same: npt.NDArray[np.int64],
    tries: int,
    rng: np.random.Generator,
) -> tuple[Floats, list[Floats]]:
    """(scores of the reference, scores of each candidate), in [0, 1]; exact means, see `draw`."""
    n, graded = case.n, "graded" in case.switched and case.kind != "format"

    def luck() -> Floats:
        drawn = rng.random(n)
        return drawn[same] if same.size else drawn

    if case.kind in ("format", "accuracy", "overlap", "cost"):
        floor, high = 0.8, 0.95
        goal, candidates = np.where(weak, floor, high), []
        for _ in range(tries):
            u = luck()
            # Graded: 1 with chance a, else 0.5; the mean is (1 + a) / 2.
            values = np.where(u < 2 * goal - 1, 1.0, 0.5) if graded else (u < goal).astype(float)
            candidates.append(np.where(hit, 1.0, values))
        return np.zeros(n), candidates
    right = luck()
    if case.kind == "beats_baseline":
        reference, delta, flips = right < 0.6, np.where(weak, 0.05, 0.30), 0.34
    else:
        reference, delta, flips = right < 0.85, np.where(weak, -0.05, 0.0), 0.07
    rate = float(0.6 if case.kind == "beats_baseline" else 0.85)
    spread = np.where(weak | (case.kind == "beats_baseline"), flips, 0.01)
    gain, loss = (spread + delta) / 2, (spread - delta) / 2
    candidates = []
    for _ in range(tries):
        u = luck()
        ours = np.where(reference, u >= loss / rate, u < gain / (1.0 - rate)).astype(float)
        candidates.append(np.where(hit, 1.0, ours))
    theirs = reference.astype(float)
    if graded:
        theirs, candidates = _grade(theirs, candidates, hit, rng)
    return theirs, candidates


def _grade(
    theirs: Floats, candidates: Sequence[Floats], hit: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Floats, list[Floats]]:
    """Ties get any score that both share; gains and losses stay whole, so that every mean difference stays."""
    shade = np.round(rng.integers(0, 3, len(theirs)) / 4.0, 2)
    shaded = np.abs(theirs - shade)
    free = np.logical_and.reduce([c == theirs for c in candidates]) & ~hit
    return np.where(free, shaded, theirs), [np.where(free, shaded, c) for c in candidates]


def _texts(values: Floats, scorer: ScorerSpec | None) -> list[object]:
    if scorer is not None and scorer.kind == "function":
        return [str(float(v)) for v in values]
    return ["yes" if v == 1.0 else "no" for v in values]


def _priced(n: int, good: bool) -> tuple[list[object], list[object]]:
    """(answers of the candidate, of the rung): half the tokens, or one token more than half."""
    ours: list[object] = [Generation("yes", (1, 2), "stop", 8) for _ in range(n)]
    theirs: list[object] = [Generation("yes", (1, 2), "stop", 18) for _ in range(n)]
    if not good:
        ours[n // 2] = Generation("yes", (1, 2, 3), "stop", 8)
    return ours, theirs


def _asked(case: Case, clusters: Sequence[str] | None, slices: Sequence[str]) -> EvalSet:
    examples = tuple(
        Example(
            f"e{i}",
            {"q": f"question {i}", "part": str(slices[i]), "rare": "x" if i == 0 else "y"},
            "yes",
            clusters[i] if clusters else None,
            "rows.jsonl",
            i + 1,
        )
        for i in range(case.n)
    )
    options = {"format": FORMAT, "cost": {"of": "zero_shot"}, "overlap": {"max": True, "max_rate": False}}
    gate = GateSpec(case.kind, BOUNDS[case.kind], options.get(case.kind, {}), 9)
    bound = {case.kind: gate.bound} if gate.row.test else {}
    parts = (SliceSpec("part", ("a", "b"), bound, 12), SliceSpec("rare", ("x", "y"), {}, 13))
    return EvalSet(
        name="set",
        path=HOME / "set.eval.yaml",
        examples=examples,
        prompt=Prompt(user="{q}"),
        baselines=(Rung("zero_shot", Prompt(system="zero_shot", user="{q}")),),
        scorer=ScorerSpec("exact", {}),
        generation=GenerationSettings(8),
        gates=(gate,),
        digest="0" * 64,
        slices=parts if "slices" in case.switched else (),
        early_stop="early_stop" in case.switched,
        attempts=AttemptPolicy("harmonic") if "attempts" in case.switched else AttemptPolicy(),
    )
