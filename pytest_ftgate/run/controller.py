"""Collects what the gates said, decides, and writes it down: the part of a run that only one process does."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_ftgate.evalset.kinds import KINDS, gate_name
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.decision import EXIT_CODES, USAGE_ERROR, Decision, RunFacts, decide
from pytest_ftgate.results import Comparison, Outcome, SliceResult, Verdict
from pytest_ftgate.run.evidence import Proof
from pytest_ftgate.run.session import EVALSET_PROPERTY, STAGE_PROPERTY, VERDICT_PROPERTY, Session
from pytest_ftgate.trust.policy.enforce import left_out, unmet, waived

if TYPE_CHECKING:
    from pytest_ftgate.trust.attempts.recording import Recorded

Phase = Literal["setup", "call", "teardown"]
PhaseOutcome = Literal["passed", "failed", "skipped"]
STOPPED = 2
WORSE: tuple[Outcome, ...] = ("PASS", "INCONCLUSIVE", "ERROR", "FAIL")
OVERRIDABLE = {0, 1, 5}
"""pytest exit codes that the run verdict replaces: ok, tests failed, nothing collected."""


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
        self._verdicts: dict[str, Verdict] = {}
        self._other_failures: set[str] = set()
        self._decision: Decision | None = None
        self._engine: dict[str, Any] = {}
        self._counts: dict[str, Any] = {}
        self._proof = Proof(session)
        self._recorded: Recorded | None = None
        self._ledger_is_new = False

    def begin(self) -> None:
        """Before anything is judged: from here on, a ledger of attempts that is missing was removed."""
        from pytest_ftgate.trust.attempts.ledger import begin_ledger

        if self.session.collect_only or not any(file.hypotheses for file in self.session.required):
            return
        with contextlib.suppress(OSError):  # said when the attempt cannot be written
            found = begin_ledger(self.session.root, declared=self.session.begins_ledger)
            self._ledger_is_new = found.is_new or not (found.entries or found.problem)  # `ladder` begins it too

    def select(self, nodeids: Iterable[str]) -> None:
        """Node ids that are going to run."""
        self._selected.update(name for nodeid in nodeids if (name := self._gate_name(nodeid)))

    def before(self, nodeids: Iterable[str]) -> list[str]:
        """What `selection.before` says of the gates of these node ids, where only workers have collected them."""
        from pytest_ftgate.evalset.loader import load_evalset
        from pytest_ftgate.run.selected_gates import before

        names = {name for nodeid in nodeids if (name := self._gate_name(nodeid))}
        gates = []
        for file in self.session.required:
            if names.intersection(file.gate_names):
                with contextlib.suppress(InputError):  # it changed since: the workers say what is wrong with it
                    evalset = load_evalset(file.path)
                    gates += [(evalset, g) for g in evalset.gates if gate_name(file.name, g.kind) in names]
        return before(self.session, gates, self._shared)

    def receive(self, nodeid: str, properties: Mapping[str, object], *, failed: bool) -> None:
        """One report of one phase of one test."""
        stage, verdict_json = properties.get(STAGE_PROPERTY), properties.get(VERDICT_PROPERTY)
        if isinstance(stage, str):
            facts = json.loads(stage)
            self._engine, self._counts = facts["engine"], facts["counts"]
        if isinstance(evalset := properties.get(EVALSET_PROPERTY), str):
            self._proof.hear(json.loads(evalset))
        passed = False
        if isinstance(verdict_json, str):
            verdict = _verdict(json.loads(verdict_json))
            # A gate that is run again (a plugin that reruns failures, a scorer that draws lots) cannot get better.
            earlier = self._verdicts.get(verdict.gate, verdict)
            self._verdicts[verdict.gate] = max(earlier, verdict, key=lambda v: WORSE.index(v.outcome))
            passed = verdict.outcome == "PASS"
            why = f"{verdict.gate}: {verdict.summary}. Fix: {verdict.fix}"
            if verdict.reason == "XFAIL" and why not in self.problems:  # pytest does not show why such a test ended
                self.problems.append(why)
        # A gate that passed and whose test failed all the same (a hook, a teardown) is no better than another test.
        if failed and (passed or not self._gate_name(nodeid)):
            self._other_failures.add(nodeid)

    def uncollected(self, nodeid: str, *, evalset: bool) -> None:
        """A file that could not be collected: an eval set, or other tests."""
        if evalset:
            self.broken_files.append(nodeid)
        else:
            self._other_failures.add(nodeid)

    @property
    def wants_verdict(self) -> bool:
        """Whether a run verdict is going to be given."""
        return self.session.judges and not self.broken_files

    @property
    def has_judged(self) -> bool:
        """Whether a gate has given its verdict."""
        return bool(self._verdicts)

    def decide(self) -> Decision | None:
        """The run verdict; None where none is wanted or an input file was broken (a usage error)."""
        self._record()
        if not self.wants_verdict:
            return None
        required = [name for file in self.session.required for name in file.gate_names]
        policy, files = self.session.policy, self.session.required
        decision = decide(
            RunFacts(
                required,
                sorted(self._selected),
                dict(self._verdicts),
                len(self._other_failures),
                unproven=self._proof.unproven(self._engine, self._verdicts.values()),
                partial_because=left_out(policy.policy, files, self.session.root.resolve()),
                only_part=self.session.subset.because,
                unmet=unmet(policy, files, self._engine),
                waived=waived(self._verdicts.values()),
            )
        )
        if objection := self._proof.objection():
            decision = Decision("NOT_EVALUATED", objection)
        self._decision = decision
        self._write()
        told = (self._ordered(), self._engine, self._shared, self.ledger_entry)
        if problem := self._proof.draft_receipt(decision, self._selected, *told):
            self._not_evaluated(problem)
        return self._decision

    @property
    def ledger_entry(self) -> dict[str, Json]:
        """What this run wrote into the ledger of attempts; {} where it judged nothing that counts."""
        return self._recorded.to_json() if self._recorded and self._recorded.attempts else {}

    def _record(self) -> None:
        """Write the attempts down, once; a gate that shares alpha and could not be written down was not judged."""
        if self._recorded is not None or not self._verdicts:
            return
        from pytest_ftgate.answers.shared_stage import read_stage
        from pytest_ftgate.trust.attempts.recording import record_attempts
        from pytest_ftgate.trust.attempts.shared_attempt import read_attempts

        names, alpha = self.session.evalset_names, self.session.alpha
        attempts = read_attempts(self._shared, names)
        stage = read_stage(self._shared) if self.session.subset.is_part else None
        self._recorded = record_attempts(
            self.session.root,
            attempts,
            self._verdicts.values(),
            beside=names,
            alpha=alpha,
            looked_at=stage.generations if stage else (),
        )
        self._verdicts.update(self._recorded.refused)
        if self._recorded.problem:
            self.problems.append(self._recorded.problem)

    def attempt_lines(self) -> list[str]:
        """Which attempt this was on each eval set, and what that makes of the verdict."""
        from pytest_ftgate.report.attempts import attempt_sentences, attempts_line
        from pytest_ftgate.trust.attempts.ledger import FOLDER, LEDGER

        attempts = self._recorded.attempts if self._recorded else ()
        if not attempts:
            return []
        new = [f"the ledger of attempts begins with this run: {FOLDER}/{LEDGER}"] * self._ledger_is_new
        of_whole = {} if self.session.subset.is_part else self._verdicts
        said = attempt_sentences(attempts, of_whole, alpha=self.session.alpha)
        return [f"attempts  {attempts_line(attempts)}", *new, *said]

    def _not_evaluated(self, problem: str) -> None:
        """Something failed after the gates had been judged: a gate that failed stays failed, all else is open."""
        if self._decision is not None and self._decision.verdict == "BLOCK":
            self.problems.append(problem)
            return
        self._decision = Decision("NOT_EVALUATED", problem)
        self._write()

    def phases(self) -> list[tuple[Phase, PhaseOutcome]]:
        """How the run verdict looks as a test: BLOCK fails, what was not judged is an error, a subset is skipped."""
        verdict = self._decision.verdict if self._decision else "NOT_EVALUATED"
        if verdict == "SHIP":
            return [("setup", "passed"), ("call", "passed"), ("teardown", "passed")]
        if verdict == "BLOCK":
            return [("setup", "passed"), ("call", "failed"), ("teardown", "passed")]
        if verdict == "PARTIAL":
            return [("setup", "skipped"), ("teardown", "passed")]
        return [("setup", "failed"), ("teardown", "passed")]

    def run_properties(self) -> list[tuple[str, object]]:
        """What the report of the run verdict carries into junit."""
        facts = {f"ftgate.{name}": self._engine[name] for name in ("digest", "base_digest") if name in self._engine}
        return [("ftgate.run_verdict", self._decision.verdict if self._decision else ""), *facts.items()]

    def decision_text(self) -> str:
        """`BLOCK: tickets::accuracy failed`"""
        from pytest_ftgate.report.terminal import decision_line

        return decision_line(self._decision) if self._decision else ""

    def summary(self) -> list[str]:
        """The last section of the terminal."""
        if self._decision is None:
            return [self.session.kept_sentence] if self.is_interrupted else []
        try:
            return self._summary(self._decision)
        except Exception as error:  # noqa: BLE001  # pytest would end with its 1, which reads as BLOCK
            return [
                f"could not write the summary: {type(error).__name__}",
                f"{self._decision.verdict}: {self._decision.reason}",
            ]

    def _summary(self, decision: Decision) -> list[str]:
        from pytest_ftgate.files.sanitise import visible
        from pytest_ftgate.report.terminal import counts_line, decision_line, gate_table, identity_lines, slice_table

        lines = [*identity_lines(self._engine), *(visible(line, limit=1000) for line in self.session.policy.lines())]
        if self._counts:
            lines.append(f"answers   {counts_line(self._counts)}")
        if self._verdicts:
            lines += ["", *gate_table(self._ordered()).splitlines(), ""]
            if slices := slice_table(self._ordered()):
                lines += [*slices.splitlines(), ""]
        if self.session.subset.cases:
            lines += [*self._cases(), ""]
        notes = (*self.session.notes, *self.attempt_lines(), *self.problems, *self._unasked())
        return [*lines, *map(visible, notes), *self._proof.lines(decision), decision_line(decision)]

    def _cases(self) -> list[str]:
        """What was answered to the examples of --ft-case; not where the look could not be written down."""
        from pytest_ftgate.answers.shared_stage import read_stage
        from pytest_ftgate.report.cases import case_lines

        stage = read_stage(self._shared)
        refused = self._recorded.refused if self._recorded else {}
        hidden = {gate.partition("::")[0] for gate in refused}
        paths = {file.name: file.path for file in self.session.required}
        return case_lines(self.session.subset, stage, paths, hidden=hidden) if stage else []

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
            self._decision = Decision("NOT_EVALUATED", "the run was stopped before its gates were judged")
            self._write()
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

    def _ordered(self) -> list[Verdict]:
        order = {name: place for place, name in enumerate(n for f in self.session.required for n in f.gate_names)}
        return sorted(self._verdicts.values(), key=lambda v: order.get(v.gate, len(order)))

    def _write(self) -> None:
        """The files asked for. The verdict stands already: what fails here is said, and changes nothing."""
        for path, write in ((self.session.json_path, self._write_json), (self.session.html_path, self._write_html)):
            if path is not None and self._decision is not None:
                try:
                    write(path, self._decision)
                except Exception as error:  # noqa: BLE001  # a defect of a report must not become a verdict
                    self.problems.append(f"could not write {path.name}: {type(error).__name__}: {error}")

    def _write_json(self, path: Path, decision: Decision) -> None:
        from pytest_ftgate.files.disk import write_text
        from pytest_ftgate.report.machine import verdict_json

        policy, ledger = self.session.policy.describe(), self.ledger_entry
        facts = (self._ordered(), self._engine, self._counts, self.session.command)
        write_text(path, verdict_json(decision, *facts, policy=policy, ledger=ledger))

    def _write_html(self, path: Path, decision: Decision) -> None:
        from pytest_ftgate.files.sanitise import visible
        from pytest_ftgate.report.files import write_html
        from pytest_ftgate.report.terminal import end_mark_sentences, noise_sentences

        said = (*end_mark_sentences(self._engine), *noise_sentences(self._engine))
        notes = (*self.session.policy.lines(), *self.attempt_lines(), *said)
        write_html(
            path,
            decision=decision,
            verdicts=self._ordered(),
            engine=self._engine,
            counts=self._counts,
            command=self.session.command,
            shared=self._shared,
            evalsets={file.name: file.path for file in self.session.required},
            subset=self.session.subset,
            notes=[visible(line, limit=1000) for line in notes],
        )


def _verdict(value: dict[str, Any]) -> Verdict:
    comparisons = tuple(Comparison(**{**c, "interval": tuple(c["interval"])}) for c in value["comparisons"])
    slices = tuple(SliceResult(**{**one, "interval": _pair(one["interval"])}) for one in value["slices"])
    pairs = {"comparisons": comparisons, "interval": _pair(value["interval"]), "slices": slices}
    return Verdict(**{**value, **pairs, "worst": tuple(value["worst"])})


def _pair(value: list[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])
