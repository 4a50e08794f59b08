"""Reads what a run left behind and writes it down as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_ftgate.answers.shared_stage import read_stage
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.subset import EVERYTHING, Subset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.report.data import ReportData
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.rows import example_rows
from pytest_ftgate.results import Verdict
from pytest_ftgate.scoring.kept import Scores


def write_html(
    path: Path,
    *,
    decision: Decision,
    verdicts: Sequence[Verdict],
    engine: Mapping[str, Json],
    counts: Mapping[str, Mapping[str, int]],
    command: str,
    shared: Path,
    evalsets: Mapping[str, Path],
    subset: Subset = EVERYTHING,
    notes: Sequence[str] = (),
) -> None:
    """Write the report; the answers are those of the stage in `shared`, the directory that the processes share.

    `evalsets` is EvalSet name -> eval-set file; the page lists those that were answered. One that cannot be read any
    more is named in the page instead. `subset`: the examples that were asked.

    Raises OSError where `path` cannot be written.
    """
    stage = read_stage(shared)
    answered = stage.generations if stage else {}
    sets, unread = _load({name: evalsets[name] for name in answered if name in evalsets})
    data = ReportData(
        decision=decision,
        verdicts=tuple(verdicts),
        engine=engine,
        counts=counts,
        withheld=stage.withheld if stage else {},
        command=command,
        rows=example_rows(
            [subset.of(each) for each in sets],
            answered,
            stage.stopped if stage else {},
            Scores(stage.scores if stage else None),
        ),
        notes=(*notes, *unread),
    )
    write_text(path, render_html(data))


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
