"""Whether the scorer and the format check of an eval set can be built: asked before a model is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import EvalSetError, InputError, Problem
from pytest_ftgate.files.wording import shown
from pytest_ftgate.gates.curtailment import cannot_stop
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.scorers import make_scorer


def check_usable(evalset: EvalSet) -> None:
    """Raises EvalSetError with every option that cannot work, at the eval-set file."""
    folder, problems = evalset.path.parent, []
    if evalset.scorer is not None:
        problems += _problems(partial(make_scorer, evalset.scorer, base_dir=folder), evalset, None)
    for gate in evalset.gates:
        if gate.row.reads == "format":
            problems += _problems(partial(make_format_check, gate.options, base_dir=folder), evalset, gate.line)
    if evalset.early_stop and (why := cannot_stop(evalset, evalset.gates)):
        what = f"expected independent examples with scores of 0 or 1 and no slices, found {why}"
        problems.append(Problem(shown(evalset.path), None, "early_stop", what, "leave `early_stop` out"))
    if problems:
        raise EvalSetError(problems)


def _problems(build: Callable[[], object], evalset: EvalSet, line: int | None) -> list[Problem]:
    """Those that name only the folder get the file; those of a schema file keep theirs."""
    try:
        build()
    except InputError as error:
        folder, path = shown(evalset.path.parent), shown(evalset.path)
        return [replace(p, path=path, line=line) if p.path == folder else p for p in error.problems]
    return []
