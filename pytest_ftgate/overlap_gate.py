"""The overlap gate: training rows, found through ftgate.json, against the examples of an eval set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evalsets.digests import file_sha256
from evalsets.overlap import Finding, OverlapOptions, find_overlaps, items_of, leaks_exceed
from evalsets.types import EvalSet, GateSpec
from pytest_ftgate.errors import IdentityError
from pytest_ftgate.gates import WORST
from pytest_ftgate.identity import Candidate
from pytest_ftgate.types import Verdict


def judge_overlap(evalset: EvalSet, gate: GateSpec, candidate: Candidate) -> Verdict:
    """FAIL where training rows repeat more examples than the gate allows.

    Raises IdentityError where it is not known what the candidate was trained on, or the files are not those.
    """
    sources = training_files(gate, candidate, evalset.path.parent)
    report = find_overlaps(items_of(evalset), sources, options=OverlapOptions())
    if not report.is_judged:
        raise IdentityError(
            f"{report.n_broken} of {report.n_rows} training rows cannot be read, first: {report.broken_rows[0]}",
            fix="repair these rows and train again",
        )
    leaked = list(dict.fromkeys(f.example_id for f in report.leaks))
    total, rate = len(evalset.examples), bool(gate.options.get("max_rate"))
    allowed = f"{gate.bound:.1%} of the examples" if rate else f"{gate.bound:.0f}"
    summary = (
        f"{len(leaked)} of {total} examples stand in the training data ({report.n_rows} rows of "
        f"{len(sources)} file(s)); at most {allowed} allowed"
    )
    fails = leaks_exceed(report, bound=gate.bound, is_rate=rate, excess_only=bool(gate.options.get("excess_only")))
    fix = "remove these rows from the training data and train again, or replace these examples"
    if report.leaks:
        summary += f"; for instance {_say(report.leaks[0])}"
    return Verdict(
        gate=f"{evalset.name}::overlap",
        kind="overlap",
        outcome="FAIL" if fails else "PASS",
        summary=summary,
        fix=fix if fails else "",
        n=total,
        value=len(leaked) / total if rate else float(len(leaked)),
        interval=None,
        bound=gate.bound,
        p_value=None,
        worst=tuple(leaked[:WORST]),
        details={"rows": report.n_rows, "leaks": [_row(f) for f in report.leaks[:50]]},
    )


def training_files(gate: GateSpec, candidate: Candidate, base_dir: Path) -> list[Path]:
    """The files that the candidate was trained on, each proved to be the recorded one. Raises IdentityError."""
    named = [base_dir / name for name in gate.options.get("train", [])]
    if candidate.manifest is None:
        if not named:
            raise IdentityError(
                f"it is not known what {candidate.path.name} was trained on: it has no ftgate.json",
                fix="name the training files in the gate: `overlap: {max: 0, train: [train.jsonl]}`",
            )
        return named
    found: list[Path] = []
    for record in candidate.manifest.training:
        path = (candidate.path / record.path).resolve()
        if not path.is_file():
            raise IdentityError(
                f"training file {Path(record.path).name} of {candidate.path.name} is not where ftgate.json says "
                f"({record.path})",
                fix="put it back, or train again",
            )
        if file_sha256(path) != record.sha256:
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
