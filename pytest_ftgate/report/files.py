"""The page to look at: what a run left behind, with the examples of its eval sets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.report.data import ReportData
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.rows import example_rows
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.report.terminal import end_mark_sentences, noise_sentences
from pytest_ftgate.scoring.kept import Scores


def text(run: RunReport) -> str:
    """The page. It lists the eval sets that were answered; one that cannot be read any more is named instead."""
    stage = run.stage
    answered = stage.generations if stage else {}
    sets, unread = _load({name: run.evalsets[name] for name in answered if name in run.evalsets})
    said = (*end_mark_sentences(run.engine), *noise_sentences(run.engine))
    notes = [visible(line, limit=1000) for line in (*run.policy.lines(), *run.attempts, *said)]
    data = ReportData(
        decision=run.decision,
        verdicts=run.verdicts,
        engine=run.engine,
        counts=run.counts,
        withheld=stage.withheld if stage else {},
        command=run.command,
        rows=example_rows(
            [run.subset.of(each) for each in sets],
            answered,
            stage.stopped if stage else {},
            Scores(stage.scores if stage else None),
        ),
        notes=(*notes, *unread),
    )
    return render_html(data)


def _load(paths: Mapping[str, Path]) -> tuple[list[EvalSet], list[str]]:
    sets: list[EvalSet] = []
    notes: list[str] = []
    for name, path in paths.items():
        try:
            evalset = load_evalset(path)
        except InputError as error:
            notes.append(f"The examples of {name} are not listed: {visible(str(error), limit=300)}")
        else:
            if evalset.attempts.feedback == "sealed":
                notes.append(f"The examples of {name} are not listed: its feedback is sealed")
            else:
                sets.append(evalset)
    return sets, notes
