"""The examples of `--ft-case` in a terminal: reference, and answer and score of each side. No prompts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.subset import Subset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.report.data import Answer, ExampleRow
from pytest_ftgate.report.rows import example_rows
from pytest_ftgate.scoring.kept import Scores

HEADERS = ("example", "", "score", "answer")
MOST = 20
"""Examples that are shown; --ft-html has all."""
WIDTH = 100
"""Characters of an answer that are shown."""


def case_lines(
    subset: Subset, stage: StageResult, evalsets: Mapping[str, Path], *, hidden: Collection[str] = ()
) -> list[str]:
    """What each side answered; `evalsets` is name -> file, `hidden` names those of which nothing may be shown."""
    sets, notes = [], []
    for name in stage.generations:
        try:
            loaded = load_evalset(evalsets[name])
        except InputError as error:
            notes.append(f"the examples of {name} are not shown: {visible(str(error), limit=300)}")
            continue
        if loaded.attempts.feedback == "sealed":
            notes.append(f"the examples of {name} are not shown: its feedback is sealed")
        elif name not in hidden:
            sets.append(subset.of(loaded))
    return [*_table(sets, stage), *notes]


def _table(sets: Sequence[EvalSet], stage: StageResult) -> list[str]:
    rows = example_rows(sets, stage.generations, scores=Scores(stage.scores))
    if not rows:
        return []
    cells = [line for row in rows[:MOST] for line in _cells(row)]
    table = tabulate(cells, headers=HEADERS, tablefmt="simple", disable_numparse=True, preserve_whitespace=True)
    left = len(rows) - MOST
    return [*table.splitlines(), *([f"{left} more examples are in --ft-html"] if left > 0 else [])]


def _cells(row: ExampleRow) -> list[list[str]]:
    name = visible(f"{row.evalset}:{row.id}", limit=WIDTH)
    reference = [["reference", "", visible(row.reference, limit=WIDTH)]] if row.reference else []
    sides = [[visible(a.system, limit=40), _score(a), _answer(a)] for a in row.answers if a.finish_reason != "missing"]
    lines = [*reference, *sides]
    if row.violation:
        lines.append(["format", "", visible(row.violation, limit=WIDTH)])
    return [[name if i == 0 else "", *line] for i, line in enumerate(lines)]


def _score(answer: Answer) -> str:
    return "-" if answer.score is None else f"{answer.score:.3g}"


def _answer(answer: Answer) -> str:
    said = visible(answer.text, limit=WIDTH)
    if answer.finish_reason == "error":
        return f"(no answer: {visible(answer.explanation, limit=WIDTH)})"
    return f"{said} (cut off)" if answer.finish_reason == "length" else said
