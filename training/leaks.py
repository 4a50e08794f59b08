"""Training rows that repeat examples of the eval sets: the same search and findings as the overlap gate's."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.wording import listed, shown
from pytest_ftgate.rows.overlap import Item, OverlapOptions, find_overlaps, items_of
from training.config import TrainingConfig
from training.data import Mix

NAMED = 3


def dev_warnings(mix: Mix) -> list[str]:
    """Dev rows that training rows repeat: the loss on them would fall with what is learnt by heart."""
    if not mix.dev:
        return []
    items = [Item(str(i), row.input, row.output) for i, row in enumerate(mix.dev)]
    report = find_overlaps(items, mix.rows, options=OverlapOptions(rephrase=False, pseudo_examples=0))
    leaked = {int(finding.example_id): finding for finding in report.leaks}
    if not leaked:
        return []
    places = [f"{shown(mix.dev[i].path)}:{mix.dev[i].row} ({shown(f.file)}:{f.row})" for i, f in leaked.items()]
    return [f"{len(leaked)} of {len(mix.dev)} dev rows stand in the training rows: {listed(places, limit=NAMED)}"]


def load_evalsets(config: TrainingConfig) -> list[EvalSet]:
    """The eval sets that will judge the result. Raises TrainingDataError where one cannot be read."""
    found: list[EvalSet] = []
    problems: list[Problem] = []
    for path in config.evals:
        try:
            found.append(load_evalset(path))
        except InputError as error:
            problems += error.problems
    if problems:
        raise TrainingDataError(problems)
    return found


def leak_warnings(evalsets: Sequence[EvalSet], mix: Mix) -> list[str]:
    """One warning for each eval set that leaks into the training files.

    A warning, not an error: the gate decides. Raises TrainingDataError where a row cannot be read.
    """
    warnings = []
    for evalset in evalsets:
        try:
            report = find_overlaps(items_of(evalset), [file.path for file in mix.files])
        except InputError as error:
            raise TrainingDataError(error.problems) from None
        leaked = {finding.example_id: finding for finding in report.leaks}
        if leaked:
            named = listed([f"{i} ({f.class_}, {shown(f.file)}:{f.row})" for i, f in leaked.items()], limit=NAMED)
            warnings.append(
                f"{len(leaked)} of {len(evalset.examples)} examples of {evalset.name} stand in the training files, and "
                f"an overlap gate fails on them: {named}"
            )
    return warnings
