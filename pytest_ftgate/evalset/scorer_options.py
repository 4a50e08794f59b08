"""The scorer of an eval set: its complete options, and whether the targets are what it compares with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from pytest_ftgate.evalset.reading import Reading, RowProblems
from pytest_ftgate.evalset.types import Example, ScorerSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.patterns import pattern_problem
from pytest_ftgate.files.wording import describe, key, listed

DEFAULTS: Mapping[str, Mapping[str, Json]] = {
    "exact": {"ignore_case": False, "ignore_punctuation": False},
    "includes": {"ignore_case": False},
    "choice": {"by": "generation"},
    "regex": {"match": "full"},
    "numeric": {"tolerance": 0.0},
    "json_fields": {"score": "all"},
    "similarity": {"metric": "chrf"},
}
NO_TARGET = ("regex", "function")
"""Scorers that can judge an answer without a reference."""

_NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?")


def scorer_spec(written: Json) -> ScorerSpec | None:
    """The scorer of a valid `scorer` value, with defaults filled in; None where there is none."""
    if written is None:
        return None
    if isinstance(written, str):
        if ":" in written:
            return ScorerSpec("function", {"path": written})
        return ScorerSpec(written, dict(DEFAULTS[written]))
    kind, options = next(iter(written.items()))
    if kind == "function":
        return ScorerSpec(kind, {"path": options})
    if isinstance(options, list):
        options = {"fields": options}
    return ScorerSpec(kind, {**DEFAULTS[kind], **options})


def needs_target(spec: ScorerSpec | None) -> bool:
    """Whether each example must have a reference answer."""
    return spec is not None and spec.kind not in NO_TARGET


def is_graded(spec: ScorerSpec | None) -> bool:
    """Whether an answer can score something between 0 and 1."""
    if spec is None:
        return False
    partial = spec.kind == "json_fields" and spec.options.get("score") == "mean"
    return partial or spec.kind in ("similarity", "function")


def check_scorer(reading: Reading, spec: ScorerSpec | None, examples: Sequence[Example]) -> None:
    """Report a pattern that does not compile and targets that the scorer cannot compare with."""
    if spec is None:
        return
    if spec.kind == "regex" and (wrong := pattern_problem(spec.options["pattern"])):
        reading.report(("scorer", "regex", "pattern"), wrong, "correct the pattern")
    check = _CHECKS.get(spec.kind)
    if check is None:
        return
    target = reading.document.data.get("target", "target")
    place = target if isinstance(target, str) else "target"
    if needs_target(spec) and target is None:
        reading.report(
            ("target",), f"expected a reference answer for the scorer {spec.kind}, found null", "name a field"
        )
        return
    notes = RowProblems()
    for example in examples:
        wrong_target = check(example.target, spec.options) if example.target is not None else None
        if wrong_target:
            notes.add(example.path, example.line, place, *wrong_target)
    reading.problems.extend(notes.told())


_Wrong = tuple[str, str] | None
"""(what, fix), or None where the target is right."""


def _text_target(target: Json, options: Mapping[str, Json]) -> _Wrong:
    accepted = target if isinstance(target, list) else [target]
    if accepted and all(isinstance(text, str) and text.strip() for text in accepted):
        return None
    what = f"expected a text, or a list of accepted texts, found {describe(target)}"
    return what, "quote this" if isinstance(target, bool | int | float) else "write the expected answer as text"


def _number_target(target: Json, options: Mapping[str, Json]) -> _Wrong:
    if isinstance(target, int | float) and not isinstance(target, bool):
        return None
    if isinstance(target, str) and _NUMBER.fullmatch(target.strip()) and target.isascii():
        return None
    return f"expected a number, found {describe(target)}", "write a number such as 1234.5"


def _label_target(target: Json, options: Mapping[str, Json]) -> _Wrong:
    if target in options["labels"] and isinstance(target, str):
        return None
    labels = listed([key(label) for label in options["labels"]], last="or")
    return f"expected one of the labels {labels}, found {describe(target)}", "correct it, or add the label"


def _fields_target(target: Json, options: Mapping[str, Json]) -> _Wrong:
    fields: list[str] = options["fields"]
    if not isinstance(target, dict):
        fix = "write the object itself, not a text; or list the columns: `target: [...]`"
        return f"expected an object with {listed([key(f) for f in fields])}, found {describe(target)}", fix
    missing = [key(field) for field in fields if field not in target]
    if missing:
        return f"expected the fields {listed([key(f) for f in fields])}, found no {listed(missing)}", "add them"
    return None


_CHECKS: Mapping[str, Callable[[Json, Mapping[str, Json]], _Wrong]] = {
    "exact": _text_target,
    "includes": _text_target,
    "similarity": _text_target,
    "numeric": _number_target,
    "choice": _label_target,
    "json_fields": _fields_target,
}
