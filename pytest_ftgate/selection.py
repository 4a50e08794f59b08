"""The selected gates before and while answers are made: what cannot pass, and what must be asked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalsets.types import EvalSet, GateSpec
from pytest_ftgate.session import STORE, Session

if TYPE_CHECKING:
    from pytest_ftgate.engine.protocol import Engine
    from pytest_ftgate.measure import Levels
    from pytest_ftgate.overlap_gate import Overlaps
    from pytest_ftgate.stage import Progress, StageResult, Stopping

Gates = Sequence[tuple[EvalSet, GateSpec]]


def _in_force(session: Session, gates: Gates, shared: Path) -> list[tuple[EvalSet, GateSpec, Levels]]:
    """The gates that may be judged in this attempt, with the bounds and levels that hold for them."""
    from pytest_ftgate.attempt_verdicts import refuse
    from pytest_ftgate.attempts import is_counted

    found = []
    for evalset, gate in gates:
        strict = session.held(evalset)
        used = next(each for each in strict.gates if each.kind == gate.kind)
        if not (is_counted(gate.kind) and refuse(session.attempt(evalset, shared), evalset, used)):
            found.append((strict, used, session.levels(evalset, shared)))
    return found


def before(session: Session, gates: Gates, shared: Path) -> list[str]:
    """Lines about gates that cannot pass with their examples, or hardly will; nothing is generated for this."""
    if not gates:  # nothing to import for where nothing is judged
        return []
    from pytest_ftgate.preflight import warnings_before

    known = [(evalset, gate, levels.alpha) for evalset, gate, levels in _in_force(session, gates, shared)]
    return warnings_before(known, judge_hopeless=session.judge_hopeless)


def run_stage(
    session: Session,
    gates: Gates,
    engine: Engine,
    overlaps: Overlaps,
    shared: Path,
    report: Callable[[Progress], None],
) -> StageResult:
    """Every answer that `gates` need; computed by the first process, read by the others. Raises FtgateError."""
    from pytest_ftgate import stage
    from pytest_ftgate.preflight import needs_answers
    from pytest_ftgate.run import shared_stage, stopping_for, work_for

    def stopping(evalset: EvalSet, judged: list[GateSpec]) -> Stopping | None:
        # Where asking ended would tell how many were right, and a sealed set shows nothing but its verdict.
        if session.all_answers or evalset.attempts.feedback == "sealed":
            return None
        return stopping_for(evalset, judged, session.levels(evalset, shared), overlaps.leaked)

    def compute() -> StageResult:
        chosen = [
            (evalset, gate)
            for evalset, gate, levels in _in_force(session, gates, shared)
            if needs_answers(evalset, gate, levels.alpha, judge_hopeless=session.judge_hopeless)
        ]
        work = work_for(chosen, corroborate=session.corroborate, stopping=stopping)
        with warnings.catch_warnings():
            # Those of torch and its kin are not the user's, and `filterwarnings = error` would make them an end.
            warnings.simplefilter("ignore")
            root, chunk = session.root / STORE, session.batch_size
            return stage.run_stage(work, engine, store_root=root, cache=session.cache, report=report, chunk=chunk)

    return shared_stage(shared, compute)
