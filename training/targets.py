"""Target rows against the eval sets that will judge them: their format gate, their classes, their prompt.

A warning each: the gates decide. Only eval sets that judge the target are asked; a forgetting set has other answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.evalset.templates import template_fields
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, TrainingDataError
from pytest_ftgate.files.strictjson import loads
from pytest_ftgate.files.wording import brief, listed
from pytest_ftgate.results import FormatCheck, Generation
from pytest_ftgate.rows.types import TrainingRow
from pytest_ftgate.scoring.format_check import make_format_check
from training.data import named

MOST_CLASSES = 50
"""With more values than this, a field holds no classes."""
LEAST_DISTANCE, ALPHA = 0.2, 0.01
"""Shares of classes are said to differ from this total variation distance on, where chance does not explain it."""
MOST_SECONDS = 20.0
"""Spent on the format of target rows; those after are not looked at."""


def target_warnings(evalsets: Sequence[EvalSet], rows: Sequence[TrainingRow]) -> list[str]:
    """Every warning; `rows` are the target rows, without replay. Raises TrainingDataError for a broken format gate."""
    # An eval set that only compares with the base, or only looks at training rows, is not what the rows are for.
    judging = [one for one in evalsets if any(g.row.asks_model and g.row.references != "base" for g in one.gates)]
    if not rows:
        return []
    return [
        *_format_warnings(judging, rows),
        *(text for one in judging for text in _class_warnings(one, rows)),
        *_prompt_warnings(judging, rows),
    ]


def _format_warnings(evalsets: Sequence[EvalSet], rows: Sequence[TrainingRow]) -> list[str]:
    gates = [(one, gate) for one in evalsets for gate in one.gates if gate.row.reads == "format"]
    if not gates or len(gates) < len(evalsets):  # a target without a format may be what a row is for
        return []
    checks = [_format_check(one, gate) for one, gate in gates]
    names = listed([gate_name(one.name, gate.kind) for one, gate in gates], last="or")
    obeys: dict[str, bool] = {}
    broken: list[TrainingRow] = []
    until = time.monotonic() + MOST_SECONDS
    checked = 0
    while checked < len(rows) and (checked == 0 or time.monotonic() < until):
        row = rows[checked]
        text = row.messages[-1].content
        try:
            if text not in obeys:
                obeys[text] = any(check(Generation(text, (), "stop", 0)).strict for check in checks)
        except ScoringError as error:
            return [f"{names} cannot judge the target answer of {named([row])}: {error}"]
        if not obeys[text]:
            broken.append(row)
        checked += 1
    if not broken:
        return []
    left = f" (the check is slow: only the first {checked} of {len(rows)} rows were checked)"
    said = f"{len(broken)} of {checked} target answers would fail {names} themselves: {named(broken)}"
    return [said if checked == len(rows) else said + left]


def _format_check(evalset: EvalSet, gate: GateSpec) -> Callable[[Generation], FormatCheck]:
    """The check that judges the candidate's answers: there is no second one."""
    try:
        return make_format_check(gate.options, base_dir=evalset.path.parent)
    except InputError as error:
        raise TrainingDataError(error.problems) from None


def _class_warnings(evalset: EvalSet, rows: Sequence[TrainingRow]) -> list[str]:
    warnings = []
    for name, asked in _classes(evalset).items():
        labels = None if name else frozenset(evalset.scorer.options["labels"]) if evalset.scorer else None
        values = [_value(row, name) for row in rows]
        taught = Counter(value for value in values if value is not None and (labels is None or value in labels))
        if not taught or not set(taught) & set(asked):
            continue  # rows for another task
        where = f"{evalset.name}: " + (f"of {brief(name)}, " if name else "")
        if missing := sorted(set(asked) - set(taught)):
            n = sum(asked[value] for value in missing)
            classes = listed([brief(value) for value in missing])
            warnings.append(f"{where}{classes} ({n} of {asked.total()} examples) in no target row")
        distance = total_variation(asked, taught)
        if distance > LEAST_DISTANCE and _p_value(asked, taught) < ALPHA:
            worst = max(asked | taught, key=lambda v: (abs(asked[v] / asked.total() - taught[v] / taught.total()), v))
            shares = f"{brief(worst)} {taught[worst] / taught.total():.0%} in training, "
            shares += f"{asked[worst] / asked.total():.0%} in the eval set"
            warnings.append(f"{where}classes have other shares (total variation distance {distance:.2f}): {shares}")
    return warnings


def total_variation(first: Counter[str], second: Counter[str]) -> float:
    """Half the sum of the differences of the shares, in [0, 1]."""
    a, b = first.total(), second.total()
    return sum(abs(first[value] / a - second[value] / b) for value in first.keys() | second.keys()) / 2


def _p_value(first: Counter[str], second: Counter[str]) -> float:
    """Of "both are drawn from one distribution" (chi-square test of homogeneity)."""
    from scipy.stats import chi2_contingency

    values = sorted(first.keys() | second.keys())
    return float(chi2_contingency([[first[v] for v in values], [second[v] for v in values]]).pvalue)


def _classes(evalset: EvalSet) -> dict[str, Counter[str]]:
    """Field -> how often each class is a reference answer; "" stands for the whole answer (scorer choice)."""
    scorer = evalset.scorer
    if scorer is None or scorer.kind not in ("choice", "json_fields"):
        return {}
    fields = [""] if scorer.kind == "choice" else list(scorer.options.get("fields", ()))
    found = {}
    for name in fields:
        values = [example.target if not name else _field(example.target, name) for example in evalset.examples]
        counts = Counter(text for value in values if (text := _label(value)) is not None)
        if 1 < len(counts) <= MOST_CLASSES and counts.total() >= 2 * len(counts):
            found[name] = counts
    return found


def _value(row: TrainingRow, name: str) -> str | None:
    """The class that a row teaches; None where its answer has none."""
    text = row.messages[-1].content
    if not name:
        return text.strip()
    try:
        return _label(_field(loads(text), name))
    except InputError:
        return None


def _field(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def _label(value: Json) -> str | None:
    return str(value) if isinstance(value, str | int | bool) else None


def _prompt_warnings(evalsets: Sequence[EvalSet], rows: Sequence[TrainingRow]) -> list[str]:
    """What the rows show before an answer must be what the eval sets show."""
    text = sum(row.form == "text_completion" for row in rows)
    taught = {row.messages[0].content if row.messages[0].role == "system" else "" for row in rows}
    warnings = []
    for one in evalsets:
        prompt = one.prompt
        if prompt.text is not None and not text:
            warnings.append(f"{one.name} asks in plain text, but every target row is a chat")
        elif prompt.text is None and text == len(rows):
            warnings.append(f"{one.name} asks in a chat, but every target row is plain text")
        elif prompt.user is not None and not (prompt.system and template_fields(prompt.system)):
            asked = prompt.system or ""
            if asked not in taught:
                said = f"with the system turn {brief(asked)}" if asked else "without a system turn"
                warnings.append(f"{one.name} asks {said}, but no target row does")
    return warnings
