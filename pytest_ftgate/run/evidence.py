"""Evidence of a run: bytes before and after, eval sets as they were read, and the receipt."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.errors import FtgateError, IdentityError, Unusable
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.model.identity import side_digest
from pytest_ftgate.model.unchanged import Snapshot, differences, take
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.results import Verdict
from pytest_ftgate.run.session import Session
from pytest_ftgate.trust.receipt.dsse import KeyFileError
from pytest_ftgate.trust.receipt.form import render
from pytest_ftgate.trust.receipt.statement import Judged, statement
from pytest_ftgate.trust.receipt.writing import Draft

RECORDED = ("SHIP", "BLOCK", "INCONCLUSIVE")
"""Run verdicts that a receipt may hold: something was judged, and all of it was meant to be."""


class Proof:
    """Evidence of one run. Mutable: it is fed while the run goes on."""

    def __init__(self, session: Session) -> None:
        """Read candidate and base before anything is judged. Raises Unusable."""
        self._session = session
        self._evalsets: dict[str, dict[str, Json]] = {}
        self._contradicted: set[str] = set()
        self._draft: Draft | None = None
        self._verdict = ""
        self.owes_receipt = session.receipt is not None
        """Whether a receipt was asked for and none has appeared yet."""
        try:
            self._before: Snapshot | None = take(session.candidate) if session.judges else None
        except IdentityError as error:
            raise Unusable(str(error)) from None

    def hear(self, facts: dict[str, Json]) -> None:
        """What a process says of the eval set that it judged."""
        if self._evalsets.setdefault(facts["name"], facts) != facts:
            self._contradicted.add(facts["name"])

    def objection(self) -> str:
        """Why no verdict of this run is about what lies on disk. Empty where it is."""
        if self._before is None:
            return ""
        try:
            changed = differences(self._before, take(self._session.candidate))
        except IdentityError as error:
            changed = [f"{error}, which it could before the run;"]
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return f"{changed[0]}{more} while it was judged: which bytes the verdict is about is not known"
        for file in self._session.required:
            gates = [[gate.kind, gate.bound, dict(gate.options)] for gate in file.gates]
            heard = self._evalsets.get(file.name)
            if file.name in self._contradicted or (heard and heard["gates"] != json.loads(json.dumps(gates))):
                return f"the eval set {file.name} changed while it was judged"
        return ""

    def unproven(self, engine: Mapping[str, Json], verdicts: Collection[Verdict]) -> str:
        """Why it is not known that the answers came from the candidate. Empty where it is, or where there were none."""
        # A gate that cannot pass with what is left of alpha asks no model.
        refused = {v.gate for v in verdicts if v.reason == "CANNOT_PASS_AT_N" and v.value is None}
        asked = any(KINDS[v.kind].asks_model and v.gate not in refused for v in verdicts)
        if self._before is None or not (asked or engine):
            return ""
        if engine.get("digest") == side_digest(self._before.base, self._before.candidate):
            return ""
        return "the engine does not say that it judged these files (`digest` in its describe())"

    def draft_receipt(self, run: RunReport, selected: Collection[str]) -> str:
        """Write the receipt under another name, where this run leaves one. Returns why it could not be, or ""."""
        self.discard()
        decision = run.decision
        settings, before = self._session.receipt, self._before
        required = {name for file in self._session.required for name in file.gate_names}
        if settings is None or before is None or decision.verdict not in RECORDED or not required <= set(selected):
            return ""
        try:
            judged = Judged(
                decision=decision,
                scope="full" if required <= {verdict.gate for verdict in run.verdicts} else "stopped",
                candidate=self._session.candidate,
                files=before,
                verdicts=run.verdicts,
                engine=run.engine,
                stage=_answers(run) if run.engine else None,
                evalsets={name: _told(facts) for name, facts in self._evalsets.items()},
                policy=self._session.policy,
                policy_file=_policy_file(self._session),
                results=_sha256(self._session.outputs.get("json")),
                at=datetime.now(UTC),
                days=settings.days,
                attempts=dict(run.ledger) or None,
            )
            self._draft = Draft(settings, render(statement(judged)))
        except Exception as error:  # noqa: BLE001  # whatever it is: no receipt, and never SHIP
            return f"the receipt could not be written: {_why(error)}"
        self._verdict = decision.verdict
        return ""

    def settle(self, decision: Decision | None, status: int) -> bool:
        """Give the receipt up unless the process is going to say the same. Whether one is left."""
        if self._draft is None or decision is None:
            return False
        # A plugin that turns every failure into 0 does not make a BLOCK receipt wrong.
        agreed = status == decision.exit_code or (status == 0 and decision.verdict != "SHIP")
        if decision.verdict != self._verdict or not agreed:
            self.discard()
        return self._draft is not None

    def publish(self, decision: Decision | None, status: int) -> str:
        """Let the receipt appear if `status`, the final one, agrees. Returns why it is not there, or ""."""
        had = self._draft is not None
        if not self.settle(decision, status):
            return f"no receipt is written, as pytest returns {status}" if had else ""
        try:
            if self._draft is not None:
                self._draft.publish()
                self.owes_receipt = False
        except OSError as error:
            self.discard()
            return f"the receipt could not be written: {_why(error)}"
        return ""

    def discard(self) -> None:
        """This run leaves no receipt (one that is published stays)."""
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def lines(self, decision: Decision) -> list[str]:
        """For the terminal."""
        if self._session.receipt is None:
            return []
        name = self._session.receipt.path.name
        said = f"{name} ({self._verdict})" if self._draft else f"none ({decision.verdict})"
        return [f"receipt   {said}", f"receipt   policy sha256 {self._session.policy.digest}"]


def _policy_file(session: Session) -> str | None:
    path = session.root / session.policy.uri
    return file_sha256(path) if path.is_file() else None


def _answers(run: RunReport) -> StageResult:
    if run.stage is None:
        raise FtgateError("the answers of this run are gone")
    return run.stage


def _told(facts: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in facts.items() if key not in ("name", "gates")}


def _sha256(path: Path | None) -> str | None:
    try:
        return file_sha256(path) if path is not None else None
    except OSError:  # that it could not be written is said elsewhere
        return None


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, FtgateError | KeyFileError) else f"{type(error).__name__}: {error}"
