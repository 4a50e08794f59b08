"""Collects what the gates said, decides, and has it written down: the part of a run that only one process does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_ftgate.evalset.kinds import KINDS, gate_name
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.decision import EXIT_CODES, USAGE_ERROR, Decision, RunFacts, decide
from pytest_ftgate.report.run_report import RunReport, decision_line
from pytest_ftgate.run.evidence import Proof
from pytest_ftgate.run.heard import Heard
from pytest_ftgate.run.late import Late
from pytest_ftgate.run.session import EVALSET_PROPERTY, Session
from pytest_ftgate.trust.attempts.ledger import begin_ledger
from pytest_ftgate.trust.policy.enforce import left_out, unmet, waived

if TYPE_CHECKING:
    from pytest_ftgate.run import reporting, selected_gates
    from pytest_ftgate.trust.attempts.recording import Recorded
else:  # a collection needs neither, and numpy and scipy stand behind them
    reporting = Late("pytest_ftgate.run.reporting")
    selected_gates = Late("pytest_ftgate.run.selected_gates")

Phase = Literal["setup", "call", "teardown"]
PhaseOutcome = Literal["passed", "failed", "skipped"]
STOPPED = 2
OVERRIDABLE = {0, 1, 5}
"""pytest exit codes that the run verdict replaces: ok, tests failed, nothing collected."""
PHASES: Mapping[str, list[tuple[Phase, PhaseOutcome]]] = {
    "SHIP": [("setup", "passed"), ("call", "passed"), ("teardown", "passed")],
    "BLOCK": [("setup", "passed"), ("call", "failed"), ("teardown", "passed")],
    "PARTIAL": [("setup", "skipped"), ("teardown", "passed")],
}
"""How a run verdict looks as a test; every other one is an error."""


class Controller:
    """The run so far. Mutable: it is fed by reports, in any order, from any number of workers."""

    def __init__(self, session: Session, shared: Path) -> None:
        """Takes down what is on disk before anything is judged. Raises Unusable."""
        self.session = session
        self._shared = shared
        self.broken_files: list[str] = []
        self.problems: list[str] = []
        """What could not be written; a report that fails does not change the verdict."""
        self.is_interrupted = False
        """Whether Ctrl-C ended the run."""
        self._files = {file.path.resolve(): file for file in session.required}
        self._selected: set[str] = set()
        self._heard = Heard()
        self._decision: Decision | None = None
        self._report: RunReport | None = None
        self._proof = Proof(session)
        self._recorded: Recorded | None = None
        self._ledger_is_new = False

    def begin(self) -> None:
        """Before anything is judged: from here on, a ledger of attempts that is missing was removed."""
        if self.session.collect_only or not any(file.hypotheses for file in self.session.required):
            return
        with contextlib.suppress(OSError):  # said when the attempt cannot be written
            found = begin_ledger(self.session.root, declared=self.session.begins_ledger)
            self._ledger_is_new = found.is_new or not (found.entries or found.problem)  # `ladder` begins it too

    def select(self, nodeids: Iterable[str]) -> None:
        """Node ids that are going to run."""
        self._selected.update(name for nodeid in nodeids if (name := self._gate_name(nodeid)))

    def before(self, nodeids: Iterable[str]) -> list[str]:
        """What `selected_gates.before` says of the gates of these ids, where only workers have collected them."""
        names = {name for nodeid in nodeids if (name := self._gate_name(nodeid))}
        gates = []
        for file in self.session.required:
            if names.intersection(file.gate_names):
                with contextlib.suppress(InputError):  # it changed since: the workers say what is wrong with it
                    evalset = load_evalset(file.path)
                    gates += [(evalset, g) for g in evalset.gates if gate_name(file.name, g.kind) in names]
        return selected_gates.before(self.session, gates, self._shared) if gates else []

    def receive(self, nodeid: str, properties: Mapping[str, object], *, failed: bool) -> None:
        """One report of one phase of one test."""
        if isinstance(evalset := properties.get(EVALSET_PROPERTY), str):
            self._proof.hear(json.loads(evalset))
        self._heard.hear(nodeid, properties, failed=failed, is_gate=self._gate_name(nodeid) is not None)

    def uncollected(self, nodeid: str, *, evalset: bool) -> None:
        """A file that could not be collected: an eval set, or other tests."""
        if evalset:
            self.broken_files.append(nodeid)
        else:
            self._heard.other_failures.add(nodeid)

    @property
    def wants_verdict(self) -> bool:
        """Whether a run verdict is going to be given."""
        return self.session.judges and not self.broken_files

    @property
    def has_judged(self) -> bool:
        """Whether a gate has given its verdict."""
        return bool(self._heard.verdicts)

    def decide(self) -> Decision | None:
        """The run verdict; None where none is wanted or an input file was broken (a usage error)."""
        self._record()
        if not self.wants_verdict:
            return None
        objection = self._proof.objection()
        self._change(Decision("NOT_EVALUATED", objection) if objection else decide(self._facts()))
        if self._report is None:
            self._not_evaluated("the report of this run could not be made")
        elif problem := self._proof.draft_receipt(self._report, self._selected):
            self._not_evaluated(problem)
        return self._decision

    def _facts(self) -> RunFacts:
        policy, files, heard = self.session.policy, self.session.required, self._heard
        return RunFacts(
            [name for file in files for name in file.gate_names],
            sorted(self._selected),
            dict(heard.verdicts),
            len(heard.other_failures),
            unproven=self._proof.unproven(heard.engine, heard.verdicts.values()),
            partial_because=left_out(policy.policy, files, self.session.root.resolve()),
            only_part=self.session.subset.because,
            unmet=unmet(policy, files, heard.engine),
            waived=waived(heard.verdicts.values()),
        )

    def _change(self, decision: Decision) -> None:
        """The run verdict is this from now on. Nothing else sets it: every file that was asked for says the same."""
        self._decision = decision
        try:
            self._report = reporting.make_report(
                self.session, self._shared, self._heard, decision, self._recorded, ledger_is_new=self._ledger_is_new
            )
        except Exception as error:  # noqa: BLE001  # pytest would end with its 1, which reads as BLOCK
            self._report = None
            self.problems.append(f"the report could not be made: {type(error).__name__}: {error}")
        else:
            self.problems += reporting.write_report(self._report, self.session.outputs)

    def _not_evaluated(self, problem: str) -> None:
        """Something failed after the gates had been judged: a gate that failed stays failed, all else is open."""
        if self._decision is not None and self._decision.verdict == "BLOCK":
            self.problems.append(problem)
        else:
            self._change(Decision("NOT_EVALUATED", problem))

    def _record(self) -> None:
        """Write the attempts down, once; a gate that shares alpha and could not be written down was not judged."""
        if self._recorded is not None or not self.has_judged:
            return
        self._recorded = reporting.record(self.session, self._shared, self._heard.verdicts)
        self._heard.verdicts.update(self._recorded.refused)
        if self._recorded.problem:
            self.problems.append(self._recorded.problem)

    def phases(self) -> list[tuple[Phase, PhaseOutcome]]:
        """How the run verdict looks as a test: BLOCK fails, what was not judged is an error, a subset is skipped."""
        verdict = self._decision.verdict if self._decision else "NOT_EVALUATED"
        return PHASES.get(verdict, [("setup", "failed"), ("teardown", "passed")])

    def run_properties(self) -> list[tuple[str, object]]:
        """What the report of the run verdict carries into junit."""
        engine = self._heard.engine
        facts = {f"ftgate.{name}": engine[name] for name in ("digest", "base_digest") if name in engine}
        return [("ftgate.run_verdict", self._decision.verdict if self._decision else ""), *facts.items()]

    def decision_text(self) -> str:
        """`BLOCK: tickets::accuracy failed`"""
        return decision_line(self._decision) if self._decision else ""

    def summary(self) -> list[str]:
        """The last section of the terminal."""
        if self._decision is None:
            return [self.session.kept_sentence] if self.is_interrupted else []
        last = f"{self._decision.verdict}: {self._decision.reason}"
        if self._report is None:
            return [*self.problems, last]
        after, receipt = (*self._heard.xfailed, *self.problems, *self._unasked()), self._proof.lines(self._decision)
        try:
            return reporting.summary_lines(replace(self._report, after=after, receipt=tuple(receipt)))
        except Exception as error:  # noqa: BLE001  # as in `_change`
            return [f"could not write the summary: {type(error).__name__}", last]

    def _unasked(self) -> list[str]:
        """Kinds of gates that no eval set here has: a question that nobody asked is not one that was passed."""
        asked = {gate.kind for file in self.session.required for gate in file.gates}
        missing = [row.name for row in KINDS.values() if row.missed and row.name not in asked]
        return [f"not asked: {', '.join(missing)} (no eval set under these paths has such a gate)"] if missing else []

    def exit_status(self, status: int) -> int:
        """What the process returns instead of pytest's own `status`."""
        self._record()  # a run that was stopped has looked, too
        code = self._exit_status(status)
        self._proof.settle(self._decision, code)
        return code

    def _exit_status(self, status: int) -> int:
        if self.broken_files and status in {*OVERRIDABLE, 2}:
            return USAGE_ERROR
        if self._decision is not None and status == STOPPED:  # --sw ends a run that was judged like this
            status = 1
        if not self.session.verdict_required or status not in OVERRIDABLE:
            return status
        if self.session.collect_only:  # nothing was judged, and only SHIP is 0
            return EXIT_CODES["PARTIAL"]
        if self._decision is None and self.wants_verdict:  # pytest.exit(returncode=0) looks like success
            self._change(Decision("NOT_EVALUATED", "the run was stopped before its gates were judged"))
        return EXIT_CODES[self._decision.verdict] if self._decision else status

    def publish_receipt(self, status: int) -> tuple[int, str]:
        """Called last of all, with what the process is about to return; (what it has to return, what to say)."""
        if problem := self._proof.publish(self._decision, status):
            self._not_evaluated(problem)
            return EXIT_CODES["NOT_EVALUATED"] if status == 0 else status, f"NOT_EVALUATED: {problem}"
        return status, ""

    def discard_receipt(self) -> None:
        """The run is over without one."""
        self._proof.discard()

    def final_status(self, status: int) -> int:
        """The very last word on what the process returns: whatever made it 0, only SHIP is, its receipt written."""
        if status != 0:
            self.withdraw(f"pytest returned {status}")
            return status
        if self._decision is not None and self._decision.verdict == "SHIP" and self._proof.owes_receipt:
            self._not_evaluated("the run was ended before its receipt was written")
        return self._exit_status(status)

    def withdraw(self, why: str) -> None:
        """The process does not end as SHIP does (Ctrl-C, a hook that broke): no file may say that it did."""
        if self.session.verdict_required and self._decision is not None and self._decision.verdict == "SHIP":
            self._not_evaluated(f"all gates passed, and then the run broke: {why}")

    def _gate_name(self, nodeid: str) -> str | None:
        """`evals/tickets.eval.yaml::accuracy` -> `tickets::accuracy`; None for other tests."""
        path, _, kind = nodeid.rpartition("::")
        file = self._files.get((self.session.root / path).resolve())
        return gate_name(file.name, kind) if file and kind in KINDS else None
