"""The last section of the terminal."""

from __future__ import annotations

from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.report.cases import case_lines
from pytest_ftgate.report.run_report import RunReport, decision_line
from pytest_ftgate.report.terminal import counts_line, gate_table, identity_lines, slice_table


def summary_lines(run: RunReport) -> list[str]:
    """Who was judged, on what, with which result; the run verdict is the last line."""
    lines = [*identity_lines(run.engine), *(visible(line, limit=1000) for line in run.policy.lines())]
    if run.counts:
        lines.append(f"answers   {counts_line(run.counts)}")
    if run.verdicts:
        lines += ["", *gate_table(run.verdicts).splitlines(), ""]
        if slices := slice_table(run.verdicts):
            lines += [*slices.splitlines(), ""]
    if run.subset.cases:
        lines += [*_cases(run), ""]
    notes = (*run.before, *run.attempts, *run.after)
    return [*lines, *map(visible, notes), *run.receipt, decision_line(run.decision)]


def _cases(run: RunReport) -> list[str]:
    """What was answered to the examples of --ft-case."""
    return case_lines(run.subset, run.stage, run.evalsets, hidden=run.sealed) if run.stage else []
