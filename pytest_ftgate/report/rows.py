"""EvalSets and Generations -> the rows of a report. Pure; an answer that cannot be scored is shown, never a crash."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pytest_ftgate.answers.prompting import CANDIDATE, AnyPrompt, TextPrompt, build_prompts, target_text
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.types import EvalSet, Example
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.report.data import Answer, ExampleRow
from pytest_ftgate.results import Generation
from pytest_ftgate.scoring.format_check import make_format_check
from pytest_ftgate.scoring.kept import Scores


@dataclass(frozen=True, slots=True)
class Flips:
    """How the examples of one EvalSet fare with the candidate and with one reference: four counts."""

    evalset: str
    reference: str
    """`baseline:<rung>` or `base`."""
    both_right: int
    """Equal scores of 1."""
    gained: int
    """The candidate scores higher."""
    lost: int
    both_wrong: int
    """Equal scores below 1."""
    unscored: int
    """Examples without a score on either side: in none of the four."""
    graded: bool
    """Some scores are neither 0 nor 1."""


def example_rows(
    evalsets: Sequence[EvalSet],
    generations: Mapping[str, Mapping[str, Mapping[str, Generation]]],
    stopped: Container[str] = (),
    scores: Scores | None = None,
) -> tuple[ExampleRow, ...]:
    """One row per example of each EvalSet; `generations` is EvalSet name -> System name -> example id -> Generation.

    `stopped`: names of those whose gates were settled before the candidate was asked everything. `scores`: those that
    are known already.
    """
    known = scores or Scores()
    return tuple(
        row for e in evalsets for row in _rows(e, generations.get(e.name, {}), known, stopped=e.name in stopped)
    )


def _rows(
    evalset: EvalSet, answers: Mapping[str, Mapping[str, Generation]], scores: Scores, *, stopped: bool
) -> Iterable[ExampleRow]:
    order = ["candidate", *(f"baseline:{rung.name}" for rung in evalset.baselines), "base"]
    systems = [name for name in order if name in answers or name == "candidate"]
    judge, check = _judge(evalset, scores, stopped=stopped), _format_check(evalset)
    prompts = build_prompts(evalset, CANDIDATE).prompts
    for example, prompt in zip(evalset.examples, prompts, strict=True):
        got = [answers.get(name, {}).get(example.id) for name in systems]
        shown = tuple(judge(name, example, answer) for name, answer in zip(systems, got, strict=True))
        violation = check(got[0]) if got[0] else ""
        yield ExampleRow(evalset.name, example.id, _turns(prompt), _reference(example.target), shown, violation)


def _judge(evalset: EvalSet, scores: Scores, *, stopped: bool) -> Callable[[str, Example, Generation | None], Answer]:
    """The same scorer that the gates use, one answer at a time: one that cannot be scored does not hide the others."""
    why = "" if evalset.scorer is not None else "the eval set has no scorer"
    try:
        scores.scorer(evalset)
    except (InputError, FtgateError) as error:
        why = why or str(error)

    def judge(system: str, example: Example, got: Generation | None) -> Answer:
        if got is None and stopped and system == CANDIDATE.name:
            return Answer(system, "", "spared", None, "not asked: no answer could change what the gates decide")
        if got is None:
            return Answer(system, "", "missing", None, "not answered in this run")
        if got.finish_reason == "error":
            return Answer(system, got.text, "error", None, got.error)
        if why:
            return Answer(system, got.text, got.finish_reason, None, why)
        try:
            score = scores.score(evalset, system, example, got)
        except FtgateError as error:
            return Answer(system, got.text, got.finish_reason, None, f"not scored: {error}")
        read = None if score.answer is None or _packed(score.answer) == _packed(got.text) else score.answer
        return Answer(system, got.text, got.finish_reason, score.value, score.explanation, read)

    return judge


def _packed(text: str) -> str:
    return "".join(text.split())


def _format_check(evalset: EvalSet) -> Callable[[Generation], str]:
    gate = next((gate for gate in evalset.gates if gate.row.reads == "format"), None)
    if gate is None:
        return lambda _: ""
    try:
        check = make_format_check(gate.options, base_dir=evalset.path.parent)
    except (InputError, FtgateError):
        return lambda _: ""  # the gate itself says so, as an ERROR

    def violation(got: Generation) -> str:
        try:
            return "" if got.finish_reason == "error" else check(got).explanation
        except FtgateError as error:
            return str(error)

    return violation


def _turns(prompt: AnyPrompt) -> tuple[tuple[str, str], ...]:
    if isinstance(prompt, TextPrompt):
        return (("text", prompt.text),)
    return tuple((str(message.role), message.content) for message in prompt.messages)


def _reference(target: Json) -> str:
    if target is None:
        return ""
    if isinstance(target, list):
        return "any of: " + json.dumps(target, ensure_ascii=False)
    return target_text(target)


def flips_of(rows: Sequence[ExampleRow]) -> list[Flips]:
    """One Flips per EvalSet and reference, in the order of the rows."""
    return [
        _flips(evalset, reference, group)
        for evalset, found in groupby(rows, key=lambda row: row.evalset)
        for group in [list(found)]
        for reference in [answer.system for answer in group[0].answers[1:]]
    ]


def _flips(evalset: str, reference: str, rows: Sequence[ExampleRow]) -> Flips:
    pairs = []
    for row in rows:
        theirs = next(answer.score for answer in row.answers if answer.system == reference)
        if row.candidate.score is not None and theirs is not None:
            pairs.append((row.candidate.score, theirs))
    return Flips(
        evalset=evalset,
        reference=reference,
        both_right=sum(a == b == 1.0 for a, b in pairs),
        gained=sum(a > b for a, b in pairs),
        lost=sum(a < b for a, b in pairs),
        both_wrong=sum(a == b < 1.0 for a, b in pairs),
        unscored=len(rows) - len(pairs),
        graded=any(score not in (0.0, 1.0) for pair in pairs for score in pair),
    )


def by_importance(rows: Sequence[ExampleRow], worst: Iterable[tuple[str, str]] = ()) -> list[ExampleRow]:
    """Rows to read first, first; `worst` are (EvalSet name, example id) that gates name.

    Those, then errors, lost, wrong (lowest score first), format violations and cut answers, gained, the rest.
    """
    named = set(worst)

    def place(row: ExampleRow) -> tuple[int, float]:
        tags = row.tags
        checks = ((row.evalset, row.id) in named, "error" in tags, "lost" in tags, "wrong" in tags)
        more = ("format" in tags or "cut_off" in tags, "gained" in tags, True)
        score = row.candidate.score
        return (*checks, *more).index(True), 0.0 if score is None else score

    return sorted(rows, key=place)
