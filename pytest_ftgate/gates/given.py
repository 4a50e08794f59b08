"""The input of a gate, and what all kinds of gates share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ftgate import stats
from pytest_ftgate.answers.prompting import question_text, target_text
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.measure import APPROXIMATE, Levels
from pytest_ftgate.gates.part_answered import Part
from pytest_ftgate.results import Generation, Outcome, Score, Verdict
from pytest_ftgate.rows.copies import groups_of_copies
from pytest_ftgate.scoring.kept import Scores

WORST = 8
"""Example ids named in a Verdict."""

Answers = Mapping[str, Mapping[str, Generation]]
"""System name -> example id -> Generation."""


@dataclass(frozen=True, slots=True)
class GateInput:
    """Everything that a gate on model answers is judged from."""

    evalset: EvalSet
    gate: GateSpec
    answers: Answers
    levels: Levels
    engine: Mapping[str, Json] = field(default_factory=dict)
    """What the engine says of itself and of the model; {} where no model was run."""
    part: Part | None = None
    """Where the candidate was not asked everything, by plan: `evalset` then holds the examples answered."""
    scores: Scores = field(default_factory=Scores, compare=False)
    """Those of this run's answers that are known already."""
    clusters: tuple[str | None, ...] = field(init=False, compare=False)
    """What each example is one observation of, in order; None: of itself.

    Examples that ask the same question count once, however it is spelled: a copy is no new evidence.
    """

    def __post_init__(self) -> None:
        # Every question is rendered for this, so it is done once.
        object.__setattr__(self, "clusters", clusters_of(self.evalset))

    @property
    def name(self) -> str:
        """`tickets::accuracy`"""
        return gate_name(self.evalset.name, self.gate.kind)

    @property
    def base_dir(self) -> Path:
        """Directory that the eval set's relative paths start from."""
        return self.evalset.path.parent

    @property
    def unit(self) -> str:
        """What one observation is called in a sentence."""
        return unit_of(self.evalset, self.clusters)

    @property
    def approximate(self) -> bool:
        """Whether graded scores and clusters are tested by Student's t."""
        return self.evalset.rigor == "approx"

    def scores_of(self, system: str) -> list[Score]:
        """Score of every example in order; each must have been answered. Raises ScoringError."""
        return self.scores.of(self.evalset, system, self.answers[system])

    def counted(self, n: int) -> str:
        """`60 examples`; `12 clusters (60 examples)`"""
        total = len(self.evalset.examples)
        if self.part:
            return f"the {n} examples answered"
        return f"{n} {self.unit}" if self.unit == "examples" else f"{n} {self.unit} ({total} examples)"

    def p(self, value: float) -> str:
        """`(p = 0.012)`"""
        return f"(p = {self._p(value)})"

    def p_missed(self, value: float) -> str:
        """`(p = 0.041, 0.04 needed)`; the level is said where it is not the usual one, and p alone would mislead."""
        level = self.levels.alpha
        needed = "" if math.isclose(level, Levels().alpha) else f", {level:.2g} needed"
        return f"(p = {self._p(value)}{needed})"

    def _p(self, value: float) -> str:
        return f"{value:.2g}{self.part.reach if self.part else ''}"


def decide(p_good: float, p_bad: float, levels: Levels) -> Outcome:
    """PASS, FAIL or INCONCLUSIVE: the one place where a p-value meets a level.

    Raises ScoringError where a p-value is no number in [0, 1]: such a gate could not judge.
    """
    try:
        return stats.decide(p_good, p_bad, alpha=levels.alpha, fail_alpha=levels.alpha_fail)
    except ValueError as error:
        raise ScoringError(f"the test gave no usable p-value: {error}", fix="report this as a defect") from None


def said_approximate(method: str) -> str:
    """What stands behind an interval whose error rate is not guaranteed."""
    return f"; approximate, {APPROXIMATE.partition(' (')[0]}" if method == APPROXIMATE else ""


def clusters_of(evalset: EvalSet) -> tuple[str | None, ...]:
    """`GateInput.clusters`: named clusters and copies of a question, joined; None for each where there is neither.

    Clusters that hold copies of one question are one, and so is an example without a cluster beside its copy.
    """
    examples = evalset.examples
    copies = copies_in(evalset)
    named = [example.cluster for example in examples]
    if all(name is None for name in named):
        return tuple(examples[i].id for i in copies) if len(set(copies)) < len(copies) else (None,) * len(copies)
    # A cluster and a copy are both a reason to count once: what either joins is one.
    first: dict[tuple[str, object], int] = {}
    group = list(range(len(examples)))
    for i, (name, copy) in enumerate(zip(named, copies, strict=True)):
        keys = [("copy", copy), *([("cluster", name)] if name is not None else [])]
        mine = {_root(group, first.setdefault(key, i)) for key in keys} | {_root(group, i)}
        for one in mine:
            group[one] = min(mine)
    roots = [_root(group, i) for i in range(len(group))]
    return tuple(named[root] if named[root] is not None else examples[root].id for root in roots)


def copies_in(evalset: EvalSet) -> tuple[int, ...]:
    """For each example the place of the first one that asks the same; its own where none does."""
    examples = evalset.examples
    questions = [question_text(evalset.prompt, example) for example in examples]
    answers = ["" if example.target is None else target_text(example.target) for example in examples]
    return groups_of_copies(questions, answers)


def _root(group: Sequence[int], i: int) -> int:
    while group[i] != i:
        i = group[i]
    return i


def unit_of(evalset: EvalSet, clusters: Sequence[str | None]) -> str:
    """What one observation of an eval set with these `clusters_of` is called in a sentence."""
    if any(example.cluster is not None for example in evalset.examples):
        return "clusters"
    return "examples" if all(cluster is None for cluster in clusters) else "distinct questions"


def error_verdict(name: str, kind: str, summary: str, fix: str, *, reason: str, n: int = 0) -> Verdict:
    """A gate that could not judge: it never passes."""
    return Verdict(name, kind, "ERROR", summary, fix, n, None, None, None, None, reason=reason)


def scores_of(evalset: EvalSet, generations: Mapping[str, Generation]) -> list[Score]:
    """Score every example in order, outside of a run. Raises ScoringError; every example must have been answered."""
    return Scores().of(evalset, "", generations)


def too_few(given: GateInput) -> Verdict | None:
    """ERROR where the examples are copies of too few: the mean of few clusters says nothing about others."""
    n = len(set(given.clusters))
    if given.unit == "examples" or n >= stats.MIN_CLUSTERS:
        return None
    total = len(given.evalset.examples)
    summary = f"{total} examples are only {n} {given.unit}; at least {stats.MIN_CLUSTERS} needed to judge"
    fix = f"add examples from other {given.unit}" if given.unit == "clusters" else "add examples that ask other things"
    return error_verdict(given.name, given.gate.kind, summary, fix, reason="TOO_FEW", n=n)


def unanswered(given: GateInput, systems: Sequence[str]) -> Verdict | None:
    """ERROR where a planned example has no answer: dropped examples are how a bad model looks good."""
    for system in systems:
        got = given.answers.get(system, {})
        ids = [e.id for e in given.evalset.examples]
        lost = [i for i in ids if i not in got]
        if lost:
            summary = f"{len(lost)} of {len(ids)} examples were never answered by {system} ({_some(lost)})"
            return error_verdict(given.name, given.gate.kind, summary, "run again", reason="MISSING", n=len(ids))
        failed = [i for i in ids if got[i].finish_reason == "error"]
        if failed:
            summary = (
                f"{len(failed)} of {len(ids)} examples could not be answered by {system} "
                f"({_some(failed)}): {visible(got[failed[0]].error, limit=200) or 'no reason given'}"
            )
            fix = "shorten the prompt or its shots, or lower generation.max_new_tokens"
            return error_verdict(given.name, given.gate.kind, summary, fix, reason="GENERATION", n=len(ids))
    return None


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
