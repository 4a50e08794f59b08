"""One eval set from the stage to its verdicts, through the functions that a run uses; only the engine is made up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from answered import EXACT, evalset, example, gate, said

from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import AnyPrompt, ChatPrompt
from pytest_ftgate.answers.stage import StageResult, run_stage
from pytest_ftgate.evalset.types import EvalSet, Prompt, Rung, ScorerSpec
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Generation, Verdict
from pytest_ftgate.run.judging import judge_gate, stopping_for, work_for


@dataclass(slots=True)
class TableEngine:
    """Says what a table holds: system name -> what it answers to each question, in the order of the examples."""

    table: Mapping[str, Sequence[object]]
    asked: list[str] = field(default_factory=list)
    """Systems, once for each request."""

    def _asked(self, prompt: AnyPrompt, tuned: bool) -> tuple[str, int]:
        """(system, number of the question)"""
        assert isinstance(prompt, ChatPrompt)
        rung = next((m.content for m in prompt.messages if m.role == "system"), "")
        name = f"baseline:{rung}" if rung else "candidate" if tuned else "base"
        return name, int(prompt.messages[-1].content.split()[1])

    def fingerprint(self, *, tuned: bool) -> str:
        return hashlib.sha256(str(tuned).encode()).hexdigest()

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        for index, request in enumerate(requests):
            name, number = self._asked(request.prompt, tuned)
            self.asked.append(name)
            text = self.table[name][number]
            yield index, text if isinstance(text, Generation) else said(text)

    def describe(self) -> Mapping[str, Any]:
        return {"model": "table"}


@dataclass(frozen=True, slots=True)
class Leaks:
    """Stands in for the search of the training data: these examples were found there."""

    ids: frozenset[str] = frozenset()

    def leaked(self, evalset: EvalSet) -> frozenset[str]:
        return self.ids


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


def run_whole(
    asked: EvalSet,
    table: Mapping[str, Sequence[object]],
    *,
    levels: Levels | None = None,
    leaked: frozenset[str] = frozenset(),
    chunk: int = 16,
    stops: bool = True,
) -> tuple[dict[str, Verdict], StageResult]:
    """(kind -> Verdict, what the stage answered): plan, ask, stop early, judge. `stops` False: everything is asked."""
    used, overlaps = levels or Levels(), Leaks(leaked)
    selected = [(asked, one) for one in asked.gates]
    work = work_for(
        selected, stopping=lambda e, gates: stopping_for(e, gates, used, overlaps.leaked) if stops else None
    )
    engine = TableEngine(table)
    result = run_stage(
        work, engine, store_root=None, store_key=None, cache="off", report=lambda progress: None, chunk=chunk
    )
    search: Any = overlaps
    return {
        one.kind: judge_gate(asked, one, search, used, lambda: result, judge_hopeless=True) for one in asked.gates
    }, result
