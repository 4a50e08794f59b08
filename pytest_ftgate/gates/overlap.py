"""The overlap gate: training rows, found through ftgate.json, against the examples of an eval set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_ftgate.errors import IdentityError, UnknownTraining
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.digests import path_sha256
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.examples_needed import exact_percent
from pytest_ftgate.gates.given import WORST
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.results import Verdict
from pytest_ftgate.rows.overlap import Finding, OverlapOptions, OverlapReport, find_overlaps, items_of, leaks_exceed


class Overlaps:
    """The overlap reports of one process: each eval set, or part of one, is searched once, by the first that asks."""

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._reports: dict[tuple[str, ...], OverlapReport] = {}

    def report(self, evalset: EvalSet) -> OverlapReport:
        """What the training data and this eval set share.

        Raises IdentityError where it is not known what the candidate was trained on, or the files are not those.
        """
        asked = (evalset.name, *(example.id for example in evalset.examples))  # what a part shares is not what all do
        if asked not in self._reports:
            self._reports[asked] = _search(evalset, self._candidate)
        return self._reports[asked]

    def leaked(self, evalset: EvalSet) -> frozenset[str]:
        """Ids of examples that stand in the training data; none where the eval set has no overlap gate to find them.

        None either where the search cannot be made: then the overlap gate is an ERROR, and nothing ships.
        """
        if not any(gate.row.reads == "training rows" for gate in evalset.gates):
            return frozenset()
        try:
            return frozenset(finding.example_id for finding in self.report(evalset).leaks)
        except (IdentityError, InputError):
            return frozenset()


def _search(evalset: EvalSet, candidate: Candidate) -> OverlapReport:
    gate = next(gate for gate in evalset.gates if gate.row.reads == "training rows")
    sources = training_files(gate, candidate, evalset.path.parent)
    report = find_overlaps(items_of(evalset), sources, options=OverlapOptions())
    if not report.is_judged:
        raise IdentityError(
            f"{report.n_broken} of {report.n_rows} training rows cannot be read, first: {report.broken_rows[0]}",
            fix="repair these rows and train again",
        )
    if not report.n_rows:
        raise IdentityError(
            f"the training data of {candidate.path.name} holds no rows (read: {len(sources)} file(s))",
            fix="name the files that it was trained on, or train again",
        )
    return report


def judge_overlap(evalset: EvalSet, gate: GateSpec, report: OverlapReport) -> Verdict:
    """FAIL where training rows repeat more examples than the gate allows."""
    leaked = list(dict.fromkeys(f.example_id for f in report.leaks))
    total, rate = len(evalset.examples), bool(gate.options.get("max_rate"))
    allowed = f"{exact_percent(gate.bound)} of the examples" if rate else f"{gate.bound:.0f}"
    summary = (
        f"{len(leaked)} of {total} examples stand in the training data ({report.n_rows} rows); "
        f"at most {allowed} allowed"
    )
    fails = leaks_exceed(report, bound=gate.bound, is_rate=rate, excess_only=bool(gate.options.get("excess_only")))
    fix = "remove these rows from the training data and train again, or replace these examples"
    if leaked and not fails and len(leaked) > gate.bound * (total if rate else 1):
        # Only excess_only lets these pass, and only where there is a baseline.
        chance = f" (p = {report.baseline.p_excess:.2g})" if report.baseline else ""
        summary += f", but training rows repeat one another as often{chance}"
    if report.leaks:
        summary += f"; for instance {_say(report.leaks[0])}"
    return Verdict(
        gate=gate_name(evalset.name, gate.kind),
        kind=gate.kind,
        outcome="FAIL" if fails else "PASS",
        summary=summary,
        fix=fix if fails else "",
        n=total,
        value=len(leaked) / total if rate else float(len(leaked)),
        interval=None,
        bound=gate.bound,
        p_value=None,
        worst=tuple(leaked[:WORST]),
        details={"rows": report.n_rows, "share": rate, "leaks": [_row(f) for f in report.leaks[:50]]},
    )


def training_files(gate: GateSpec, candidate: Candidate, base_dir: Path) -> list[Path]:
    """The files that the candidate was trained on, each proved to be the recorded one. Raises IdentityError."""
    named = [base_dir / name for name in gate.options.get("train", [])]
    if candidate.manifest is None:
        if not named:
            raise UnknownTraining(
                f"it is not known what {candidate.path.name} was trained on: it has no ftgate.json",
                fix="name the training files in the gate: `overlap: {max: 0, train: [train.jsonl]}`",
            )
        return named
    if not candidate.manifest.training:
        raise UnknownTraining(
            f"it is not known what {candidate.path.name} was trained on: its ftgate.json names no training file",
            fix="train again with a trainer that records its files",
        )
    found: list[Path] = []
    for record in candidate.manifest.training:
        path = (candidate.path / record.path).resolve()
        if not path.exists():
            raise IdentityError(
                f"training file {Path(record.path).name} of {candidate.path.name} is not where ftgate.json says "
                f"({record.path})",
                fix="put it back, or train again",
            )
        if path_sha256(path) != record.sha256:
            raise IdentityError(
                f"training file {path.name} was changed after {candidate.path.name} was trained on it",
                fix="restore the file that was trained on, or train again",
            )
        found.append(path)
    return found + [p for p in named if p.resolve() not in found]


def _say(finding: Finding) -> str:
    return f"example {finding.example_id} is row {finding.row} of {Path(finding.file).name} ({finding.class_})"


def _row(finding: Finding) -> Mapping[str, object]:
    return {
        "example_id": finding.example_id,
        "class": finding.class_,
        "file": Path(finding.file).name,
        "row": finding.row,
        "identity": finding.identity,
        "reason": finding.reason,
    }
