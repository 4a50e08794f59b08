"""The selected gates before and while answers are made: what cannot pass, and what must be asked."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pytest_ftgate.answers import stage
from pytest_ftgate.answers.engine.protocol import Engine
from pytest_ftgate.answers.shared_stage import shared_stage
from pytest_ftgate.answers.stage import Progress, StageResult, Stopping
from pytest_ftgate.answers.store import trim
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.noise import noise_of, noise_of_batches, read_calibration
from pytest_ftgate.gates.overlap import Overlaps
from pytest_ftgate.gates.power import needs_answers, warnings_before
from pytest_ftgate.run.gate_in_force import GateInForce
from pytest_ftgate.run.judged import in_force
from pytest_ftgate.run.judging import score_answers, stopping_for, work_for
from pytest_ftgate.run.session import Session
from pytest_ftgate.run.stored import STORE
from pytest_ftgate.scoring.kept import Scores

Gates = Sequence[tuple[EvalSet, GateSpec]]


def _in_force(session: Session, gates: Gates, shared: Path) -> list[GateInForce]:
    """The gates that may be judged in this attempt, with the bounds and levels that hold for them."""
    found = [in_force(session, evalset, gate, shared) for evalset, gate in gates]
    return [force for force in found if not force.refused]


def before(session: Session, gates: Gates, shared: Path) -> list[str]:
    """Lines about gates that cannot pass with their examples, or hardly will; nothing is generated for this."""
    if not gates:  # nothing to import for where nothing is judged
        return []
    if session.subset.is_part:
        return session.subset.lines(evalset for evalset, _ in gates)

    try:
        measured, said = read_calibration(session.root), []
    except InputError as error:
        measured, said = (), [f"ftgate: {error}"]
    base = session.candidate.digest(tuned=False)

    def noise(evalset: EvalSet) -> float:
        found = noise_of(measured, evalset, base=base) if measured else None
        return found.flip_rate if found else 0.0

    try:
        known = [(g.evalset, g.used, g.levels.alpha) for g in _in_force(session, gates, shared)]
    except FtgateError as error:  # the gates say so again, as ERRORs
        return [*said, f"ftgate: {error}"]
    return [*said, *warnings_before(known, noise=noise, judge_hopeless=session.judge_hopeless)]


def run_stage(
    session: Session,
    gates: Gates,
    engine: Engine,
    overlaps: Overlaps,
    shared: Path,
    report: Callable[[Progress], None],
    *,
    whole: Sequence[EvalSet] = (),
) -> StageResult:
    """Every answer that `gates` need; computed by the first process, read by the others. Raises FtgateError.

    `whole`: eval sets that users' own tests read: all gates of them, selected or not, and every example.
    """
    levels: dict[str, Levels] = {}
    scores, read_by_tests = Scores(), {evalset.name for evalset in whole}

    def stopping(evalset: EvalSet, judged: list[GateSpec]) -> Stopping | None:
        # Where asking ended would tell how many were right, and a sealed set shows nothing but its verdict.
        if session.all_answers or evalset.name in read_by_tests or evalset.attempts.feedback == "sealed":
            return None
        return stopping_for(evalset, judged, levels[evalset.name], overlaps.leaked, scores)

    def compute() -> StageResult:
        chosen = []
        for force in _in_force(session, gates, shared):
            evalset, gate, left = force.evalset, force.used, force.levels
            levels[evalset.name] = left
            needed = needs_answers(evalset, gate, left.alpha, judge_hopeless=session.judge_hopeless)
            if needed or session.subset.is_part:  # its answers are what a part is asked for
                chosen.append((evalset, gate))
        for asked in map(session.subset.of, map(session.held, whole)):
            there = {gate.kind for evalset, gate in chosen if evalset.name == asked.name}
            chosen += [(asked, gate) for gate in asked.gates if gate.row.asks_model and gate.kind not in there]
        work = work_for(chosen, corroborate=session.corroborate, stopping=stopping)
        with warnings.catch_warnings():
            # Those of torch and its kin are not the user's, and `filterwarnings = error` would make them an end.
            warnings.simplefilter("ignore")
            result = stage.run_stage(
                work,
                engine,
                store_root=session.root / STORE,
                store_key=session.store_key,
                cache=session.cache,
                report=report,
                chunk=session.batch_size,
                unchanged=session.candidate.check_unchanged,
            )
        score_answers(chosen, result.generations, scores)
        result.scores = scores.kept
        if result.engine:
            result.engine = {**result.engine, "noise": _noise(session, result.engine, [e for e, _ in chosen])}
        if session.cache != "off" and result.counts:
            used = {engine.fingerprint(tuned=side == "candidate") for side in result.counts}
            with contextlib.suppress(OSError):  # a store above its cap changes no verdict
                trim(session.root / STORE, session.cache_mib * 2**20, keep=used)
        return result

    return shared_stage(shared, compute)


def _noise(session: Session, engine: Mapping[str, Json], evalsets: Sequence[EvalSet]) -> list[Json]:
    """What `calibrate` measured of this engine's batches; a file that cannot be read was named in `before`."""

    with contextlib.suppress(InputError):
        return noise_of_batches(read_calibration(session.root), engine, evalsets)
    return []
