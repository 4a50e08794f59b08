"""Judges the other gates again without leaked examples: scores on all, clean and leaked examples. Pure.

A gate that passes with the leaked examples and does not without them was passed by memory: that is a FAIL.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, replace
from statistics import fmean

import numpy as np
from scipy.stats import permutation_test

from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.paired import references_of
from pytest_ftgate.results import Verdict

PERMUTATIONS = 9999
SEED = 20_240_229
MIN_EACH = 2
"""Fewest leaked and clean examples that a difference in differences is computed from."""


@dataclass(frozen=True, slots=True)
class DifferenceInDifferences:
    """How much more the candidate gains over a reference on leaked examples than on clean ones."""

    reference: str
    leaked: float
    """Mean of candidate - reference over leaked examples, in [-1, 1]."""
    clean: float
    """The same over clean examples."""
    excess: float
    """leaked - clean."""
    p_value: float
    """One-sided permutation test of "leaked examples are gained no more often than clean ones"."""


def judge_with_leaks(given: GateInput, leaked: Set[str]) -> Verdict:
    """`judge(given)`, and what becomes of it on the examples that are not in `leaked`. Raises ScoringError."""
    verdict = judge(given)
    ids = [example.id for example in given.evalset.examples]
    hit = [i in leaked for i in ids]
    if not any(hit) or verdict.outcome == "ERROR":
        return verdict
    details: dict[str, object] = {"all": _shown(verdict), "leaked_examples": sum(hit)}
    clean = judge(_subset(given, hit, keep=False)) if not all(hit) else None
    if clean is not None:
        details["clean"] = _shown(clean)
    if given.gate.row.paired:
        details["differences"] = [asdict(d) for d in _differences(given, hit)]
    verdict = replace(verdict, details={**verdict.details, "contamination": details})
    if verdict.outcome != "PASS" or (clean is not None and clean.outcome == "PASS"):
        return verdict
    without = f"{clean.outcome} without them: {clean.summary}" if clean else "no example is left without them"
    return replace(
        verdict,
        outcome="FAIL",
        reason="LEAKED",
        summary=f"passes only with {sum(hit)} examples that stand in the training data; {without}",
        fix="remove these rows from the training data and train again, or replace these examples",
        worst=tuple(i for i, h in zip(ids, hit, strict=True) if h)[:8],
    )


def _subset(given: GateInput, hit: Sequence[bool], *, keep: bool) -> GateInput:
    examples = tuple(e for e, h in zip(given.evalset.examples, hit, strict=True) if h is keep)
    return replace(given, evalset=replace(given.evalset, examples=examples))


def _shown(verdict: Verdict) -> dict[str, object]:
    return {"outcome": verdict.outcome, "n": verdict.n, "value": verdict.value, "p": verdict.p_value}


def _differences(given: GateInput, hit: Sequence[bool]) -> list[DifferenceInDifferences]:
    if min(sum(hit), len(hit) - sum(hit)) < MIN_EACH:
        return []
    mask = np.asarray(hit)
    ours = np.array([s.value for s in given.scores_of("candidate")])
    found = []
    for name in references_of(given):
        gap = ours - np.array([s.value for s in given.scores_of(name)])
        test = permutation_test(
            (gap[mask], gap[~mask]),
            lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
            vectorized=True,
            n_resamples=PERMUTATIONS,
            alternative="greater",
            rng=np.random.default_rng(SEED),
        )
        leaked, clean = fmean(gap[mask].tolist()), fmean(gap[~mask].tolist())
        found.append(DifferenceInDifferences(name, leaked, clean, leaked - clean, float(test.pvalue)))
    return found
