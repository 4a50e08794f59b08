"""Checks an eval set before a model is loaded: its scorer, its format check, its questions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pytest_ftgate.answers.prompting import question_text
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.templates import template_fields
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.problems import EvalSetError, InputError, Problem
from pytest_ftgate.files.wording import brief, listed, shown
from pytest_ftgate.gates.curtailment import cannot_stop
from pytest_ftgate.results import Generation
from pytest_ftgate.rows.copies import readable
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.scorers import make_scorer

PROBED = 50
"""Examples on which a scorer is tried."""
PROBES = ("zq!", "Xyzzy 0 qwv, plugh. " * 20)
"""Answers that are right for no example."""


def check_usable(evalset: EvalSet) -> None:
    """Raises EvalSetError with every option that cannot work, at the eval-set file."""
    folder, problems = evalset.path.parent, []
    if evalset.scorer is not None:
        problems += _problems(partial(make_scorer, evalset.scorer, base_dir=folder), evalset, None)
        problems += _matches_anything(evalset)
    problems += _blank(evalset)
    for gate in evalset.gates:
        if gate.row.reads == "format":
            problems += _problems(partial(make_format_check, gate.options, base_dir=folder), evalset, gate.line)
    if evalset.early_stop and (why := cannot_stop(evalset, evalset.gates)):
        what = f"expected independent examples with scores of 0 or 1 and no slices, found {why}"
        problems.append(Problem(shown(evalset.path), None, "early_stop", what, "leave `early_stop` out"))
    if problems:
        raise EvalSetError(problems)


def _blank(evalset: EvalSet) -> list[Problem]:
    """Questions of which nothing is left but the wording around them: whatever is answered, nothing was asked."""
    prompt = evalset.prompt
    if prompt.messages is None and not template_fields(prompt.user if prompt.user is not None else prompt.text or ""):
        return []
    blank = [e for e in evalset.examples if not readable(question_text(prompt, e)).strip()]
    if not blank:
        return []
    more = f" (and {len(blank) - 1} more like it)" if len(blank) > 1 else ""
    what = f"expected a question, found blank text in example {brief(blank[0].id)}{more}"
    return [Problem(shown(blank[0].path), blank[0].line, "prompt", what, "fill in the fields that the prompt names")]


def _matches_anything(evalset: EvalSet) -> list[Problem]:
    """A regex scorer that takes no answer and plain nonsense alike for right answers, on every example."""
    spec = evalset.scorer
    if spec is None or spec.kind != "regex" or not evalset.examples:
        return []
    try:
        scorer = make_scorer(spec, base_dir=evalset.path.parent)
        right = all(
            scorer(example, Generation(text, (), "stop", 0)).value == 1.0
            for example in evalset.examples[:PROBED]
            for text in PROBES
        )
    except (InputError, ScoringError):
        return []  # reported as what it is, here or by the gate
    if not right:
        return []
    probes = listed([brief(text) for text in PROBES])
    what = f"expected a pattern that some answers do not match, found one that calls each of {probes} right"
    return [Problem(shown(evalset.path), None, "scorer.regex.pattern", what, "say what a right answer looks like")]


def _problems(build: Callable[[], object], evalset: EvalSet, line: int | None) -> list[Problem]:
    """Those that name only the folder get the file; those of a schema file keep theirs."""
    try:
        build()
    except InputError as error:
        folder, path = shown(evalset.path.parent), shown(evalset.path)
        return [replace(p, path=path, line=line) if p.path == folder else p for p in error.problems]
    return []
