"""Eval sets for `benchmarks.whole_run`: one eval set from the stage to its verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from answered import EXACT, evalset, example, gate

from benchmarks.whole_run import Leaks, TableEngine, run_whole
from pytest_ftgate.evalset.types import EvalSet, Prompt, Rung, ScorerSpec

__all__ = ["Leaks", "TableEngine", "asked_set", "run_whole"]


def asked_set(
    n: int,
    bounds: Mapping[str, float],
    *,
    rungs: Sequence[str] = ("zero_shot",),
    scorer: ScorerSpec = EXACT,
    clusters: Sequence[str | None] | None = None,
    **changes: Any,
) -> EvalSet:
    """n questions and these gates; every rung has a prompt of its own."""
    examples = [example(i, cluster=clusters[i] if clusters else None) for i in range(n)]
    made = evalset(examples, scorer=scorer)
    baselines = tuple(Rung(name, Prompt(system=name, user="{q}")) for name in rungs)
    gates = tuple(gate(kind, bound) for kind, bound in bounds.items())
    return replace(made, baselines=baselines, gates=gates, **changes)
