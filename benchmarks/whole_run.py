"""One eval set from the stage to its verdicts, through the functions that a run uses; only the engine is made up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import AnyPrompt, ChatPrompt
from pytest_ftgate.answers.stage import StageResult, run_stage
from pytest_ftgate.evalset.types import EvalSet, Example, GateSpec
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Generation, Verdict
from pytest_ftgate.rows.overlap import OverlapOptions, OverlapReport
from pytest_ftgate.rows.overlap.report import EvalDuplicates, Finding, TrainingDuplicates
from pytest_ftgate.run.judging import judge_gate, stopping_for, work_for
from pytest_ftgate.trust.attempts.counting import Attempt, count_attempt, draft_entry
from pytest_ftgate.trust.attempts.ledger import begin_ledger, read_ledger
from pytest_ftgate.trust.attempts.recording import record_attempts
from pytest_ftgate.trust.attempts.verdicts import keep_result, refuse, say_used_up

ALPHA = 0.05


def number(example: Example, generation: Generation) -> float:
    """A scorer: the number that the answer holds."""
    return float(generation.text)


@dataclass(slots=True)
class TableEngine:
    """Says what a table holds: system name -> what it answers to each question, in the order of the examples."""

    table: Mapping[str, Sequence[object]]
    asked: list[str] = field(default_factory=list)
    """Systems, once for each request."""

    def _asked(self, prompt: AnyPrompt, tuned: bool) -> tuple[str, int]:
        """(system, number of the question)"""
        if not isinstance(prompt, ChatPrompt):
            raise TypeError("a table answers chats")
        rung = next((m.content for m in prompt.messages if m.role == "system"), "")
        name = f"baseline:{rung}" if rung else "candidate" if tuned else "base"
        return name, int(prompt.messages[-1].content.split()[1])

    def fingerprint(self, *, tuned: bool) -> str:
        return hashlib.sha256(str(tuned).encode()).hexdigest()

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        for index, request in enumerate(requests):
            name, place = self._asked(request.prompt, tuned)
            self.asked.append(name)
            text = self.table[name][place]
            yield index, text if isinstance(text, Generation) else Generation(str(text), (1,), "stop", 5)

    def describe(self) -> Mapping[str, Any]:
        return {"model": "table"}


@dataclass(frozen=True, slots=True)
class Leaks:
    """Stands in for the search of the training data: these examples were found there."""

    ids: frozenset[str] = frozenset()

    def leaked(self, evalset: EvalSet) -> frozenset[str]:
        return self.ids

    def report(self, evalset: EvalSet) -> OverlapReport:
        """What the search would have written, had it found each of them as one whole row."""
        found = tuple(_finding(place, id_) for place, id_ in enumerate(sorted(self.ids)))
        copies, rows = TrainingDuplicates(0, 0, ()), 1000
        twice = EvalDuplicates((), ())
        return OverlapReport(
            found,
            len(evalset.examples),
            rows,
            twice,
            copies,
            None,
            False,
            0,
            (),
            OverlapOptions(pseudo_examples=0),
            0.0,
        )


def _finding(place: int, id_: str) -> Finding:
    where = ("input+output", False, 1.0, 1.0, 1, 8, 0, (), "", "", 0, "the same words")
    return Finding(id_, "exact", "verbatim", "train.jsonl", place + 1, *where)  # type: ignore[arg-type]


def run_whole(
    asked: EvalSet,
    table: Mapping[str, Sequence[object]],
    *,
    levels: Levels | None = None,
    leaked: Set[str] = frozenset(),
    chunk: int = 16,
    stops: bool = True,
    judge_hopeless: bool = True,
) -> tuple[dict[str, Verdict], StageResult]:
    """(kind -> Verdict, what the stage answered): plan, ask, stop early, judge. `stops` False: everything is asked."""
    used, overlaps = levels or Levels(), Leaks(frozenset(leaked))
    selected = [(asked, one) for one in asked.gates]
    work = work_for(
        selected, stopping=lambda e, gates: stopping_for(e, gates, used, overlaps.leaked) if stops else None
    )
    result = run_stage(
        work,
        TableEngine(table),
        store_root=None,
        store_key=None,
        cache="off",
        report=lambda progress: None,
        chunk=chunk,
    )
    search: Any = overlaps
    verdicts = {
        one.kind: judge_gate(asked, one, search, used, lambda: result, judge_hopeless=judge_hopeless)
        for one in asked.gates
    }
    return verdicts, result


@dataclass(frozen=True, slots=True)
class Counted:
    """One eval set whose attempts are counted in a ledger below `root`."""

    asked: EvalSet
    root: Path
    hypotheses: int

    def judge(
        self, candidate: str, judge: Callable[[Levels], tuple[dict[str, Verdict], StageResult]]
    ) -> tuple[dict[str, Verdict], StageResult | None, Attempt]:
        """As a session judges one candidate: counted, refused or judged at what is left, held to its past, recorded."""
        draft = draft_entry(self.asked, candidate=candidate, form=("float32",), alpha=ALPHA)
        begin_ledger(self.root, declared=True)  # as with --ft-begin-ledger; where it is begun, nothing is written
        beside = [self.asked.name]
        attempt = count_attempt(draft, read_ledger(self.root), beside=beside, alpha=ALPHA)
        tested = [gate for gate in self.asked.gates if gate.row.counted]
        refused = {gate.kind: lost for gate in tested if (lost := refuse(attempt, self.asked, gate))}
        verdicts, result = (refused, None) if refused else judge(Levels(attempt.entry.alpha, self.hypotheses))
        verdicts = {kind: self._held(verdict, attempt) for kind, verdict in verdicts.items()}
        recorded = record_attempts(self.root, [attempt], list(verdicts.values()), beside=beside, alpha=ALPHA)
        lost_now = {verdict.kind: verdict for verdict in recorded.refused.values()}
        return {**verdicts, **lost_now}, result, attempt

    def _held(self, verdict: Verdict, attempt: Attempt) -> Verdict:
        gate: GateSpec = self.asked.gate(verdict.kind)
        if not gate.row.counted:
            return verdict
        return say_used_up(keep_result(verdict, attempt), attempt, gate, alpha=ALPHA)
