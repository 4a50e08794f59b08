"""The end of a run: attempts are written down, its report is made and goes to every file that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_ftgate.answers.shared_stage import read_stage
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.report.attempts import attempt_sentences, attempts_line
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.report.sinks import SINKS
from pytest_ftgate.report.summary import summary_lines
from pytest_ftgate.results import Verdict
from pytest_ftgate.run.heard import Heard
from pytest_ftgate.run.session import Session
from pytest_ftgate.trust.attempts.ledger import FOLDER, LEDGER
from pytest_ftgate.trust.attempts.recording import Recorded, record_attempts
from pytest_ftgate.trust.attempts.shared_attempt import read_attempts

__all__ = ["make_report", "record", "summary_lines", "write_report"]


def record(session: Session, shared: Path, verdicts: Mapping[str, Verdict]) -> Recorded:
    """Write the attempts of this run down."""
    names = session.evalset_names
    stage = read_stage(shared) if session.subset.is_part else None
    return record_attempts(
        session.root,
        read_attempts(shared, names),
        verdicts.values(),
        beside=names,
        alpha=session.alpha,
        looked_at=stage.generations if stage else (),
    )


def make_report(
    session: Session,
    shared: Path,
    heard: Heard,
    decision: Decision,
    recorded: Recorded | None,
    *,
    ledger_is_new: bool,
) -> RunReport:
    """Everything that the run has to say. Raises FtgateError where its answers cannot be read again."""
    wanted = session.outputs or session.receipt or session.subset.cases
    return RunReport(
        decision=decision,
        verdicts=tuple(_ordered(session, heard.verdicts)),
        engine=heard.engine,
        counts=heard.counts,
        command=session.command,
        policy=session.policy,
        ledger=recorded.to_json() if recorded and recorded.attempts else {},
        evalsets={file.name: file.path for file in session.required},
        stage=read_stage(shared) if wanted else None,
        subset=session.subset,
        sealed=frozenset(gate.partition("::")[0] for gate in (recorded.refused if recorded else ())),
        before=session.notes,
        attempts=tuple(_attempt_lines(session, heard.verdicts, recorded, ledger_is_new)),
    )


def write_report(run: RunReport, outputs: Mapping[str, Path]) -> list[str]:
    """The files asked for, by the name of their sink. What fails is returned, a sentence each, and changes nothing."""
    problems = []
    for sink in SINKS:
        if (path := outputs.get(sink.name)) is not None:
            try:
                write_text(path, sink.text(run))
            except Exception as error:  # noqa: BLE001  # a defect of a report must not become a verdict
                problems.append(f"could not write {path.name}: {type(error).__name__}: {error}")
    return problems


def _ordered(session: Session, verdicts: Mapping[str, Verdict]) -> Sequence[Verdict]:
    order = {name: place for place, name in enumerate(n for f in session.required for n in f.gate_names)}
    return sorted(verdicts.values(), key=lambda v: order.get(v.gate, len(order)))


def _attempt_lines(
    session: Session, verdicts: Mapping[str, Verdict], recorded: Recorded | None, ledger_is_new: bool
) -> list[str]:
    attempts = recorded.attempts if recorded else ()
    if not attempts:
        return []
    new = [f"the ledger of attempts begins with this run: {FOLDER}/{LEDGER}"] * ledger_is_new
    of_whole = {} if session.subset.is_part else verdicts
    said = attempt_sentences(attempts, of_whole, alpha=session.alpha)
    return [f"attempts  {attempts_line(attempts)}", *new, *said]
