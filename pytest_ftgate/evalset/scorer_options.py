"""The scorers that there are; the scorer of an eval set, its complete options, and whether it can use the targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_ftgate.evalset.reading import Reading, RowProblems
from pytest_ftgate.evalset.types import Example, ScorerSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.patterns import pattern_problem
from pytest_ftgate.files.wording import brief, describe, key, listed

_NUMBER = re.compile(r"[-+]?(\d+|\d{1,3}(,\d{3})+)(\.\d+)?")
Options = Mapping[str, Json]
_Wrong = tuple[str, str] | None
"""(what, fix), or None where the target is right."""


def _text_target(target: Json, options: Options) -> _Wrong:
    accepted = target if isinstance(target, list) else [target]
    if accepted and all(isinstance(text, str) and text.strip() for text in accepted):
        return None
    what = f"expected a text, or a list of accepted texts, found {describe(target)}"
    return what, "quote this" if isinstance(target, bool | int | float) else "write the expected answer as text"


def _number_target(target: Json, options: Options) -> _Wrong:
    if isinstance(target, int | float) and not isinstance(target, bool):
        return None
    if isinstance(target, str) and _NUMBER.fullmatch(target.strip()) and target.isascii():
        return None
    return f"expected a number, found {describe(target)}", "write a number such as 1234.5"


def _label_target(target: Json, options: Options) -> _Wrong:
    if target in options["labels"] and isinstance(target, str):
        return None
    labels = listed([key(label) for label in options["labels"]], last="or")
    return f"expected one of the labels {labels}, found {describe(target)}", "correct it, or add the label"


def _fields_target(target: Json, options: Options) -> _Wrong:
    fields: list[str] = options["fields"]
    if not isinstance(target, dict):
        fix = "write the object itself, not a text; or list the columns: `target: [...]`"
        return f"expected an object with {listed([key(f) for f in fields])}, found {describe(target)}", fix
    missing = [key(field) for field in fields if field not in target]
    if missing:
        return f"expected the fields {listed([key(f) for f in fields])}, found no {listed(missing)}", "add them"
    return None


@dataclass(frozen=True, slots=True)
class ScorerKind:
    """One scorer, all that is known of it without an answer; how it scores is `scoring.scorers.BUILDERS`."""

    name: str
    graded: Callable[[Options], bool]
    """Whether an answer can score something between 0 and 1. Where not, such a score is an error."""
    target: Callable[[Json, Options], _Wrong] | None
    """What is wrong with a reference, or None; None where any reference will do."""
    target_needed: bool = True
    """Whether an answer cannot be scored without a reference."""
    defaults: Options = field(default_factory=dict)
    labels: Callable[[Options], tuple[str, ...]] = lambda options: ()
    """Labels whose log-likelihood the engine must compute."""


def _never(options: Options) -> bool:
    return False


def _always(options: Options) -> bool:
    return True


def _weighed_labels(options: Options) -> tuple[str, ...]:
    return tuple(options["labels"]) if options.get("by") == "loglikelihood" else ()


SCORERS: Mapping[str, ScorerKind] = {
    kind.name: kind
    for kind in (
        ScorerKind("exact", _never, _text_target, defaults={"ignore_case": False, "ignore_punctuation": False}),
        ScorerKind("includes", _never, _text_target, defaults={"ignore_case": False}),
        ScorerKind("choice", _never, _label_target, defaults={"by": "generation"}, labels=_weighed_labels),
        ScorerKind("regex", _never, None, target_needed=False, defaults={"match": "full"}),
        ScorerKind("numeric", _never, _number_target, defaults={"tolerance": 0.0}),
        ScorerKind("json_fields", lambda o: o.get("score") == "mean", _fields_target, defaults={"score": "all"}),
        ScorerKind("similarity", _always, _text_target, defaults={"metric": "chrf"}),
        # What a function returns is not known before it is called.
        ScorerKind("function", _always, None, target_needed=False),
    )
}
"""Every scorer, one row each. The JSON Schema of eval sets and the builders are held to it."""


def scorer_kind(spec: ScorerSpec) -> ScorerKind:
    """The row of a scorer. Raises ValueError where there is none: nothing may be assumed of it."""
    if spec.kind not in SCORERS:
        raise ValueError(f"expected one of the scorers {listed(list(SCORERS), last='or')}, found {brief(spec.kind)}")
    return SCORERS[spec.kind]


def scorer_spec(written: Json) -> ScorerSpec | None:
    """The scorer of a valid `scorer` value, with defaults filled in; None where there is none."""
    if written is None:
        return None
    if isinstance(written, str):
        if ":" in written:
            return ScorerSpec("function", {"path": written})
        return ScorerSpec(written, dict(SCORERS[written].defaults))
    kind, options = next(iter(written.items()))
    if kind == "function":
        return ScorerSpec(kind, {"path": options})
    if isinstance(options, list):
        options = {"fields": options}
    return ScorerSpec(kind, {**SCORERS[kind].defaults, **options})


def needs_target(spec: ScorerSpec | None) -> bool:
    """Whether each example must have a reference answer."""
    return spec is not None and scorer_kind(spec).target_needed


def is_graded(spec: ScorerSpec | None) -> bool:
    """Whether an answer can score something between 0 and 1."""
    return spec is not None and scorer_kind(spec).graded(spec.options)


def check_scorer(reading: Reading, spec: ScorerSpec | None, examples: Sequence[Example]) -> None:
    """Report a pattern that does not compile and targets that the scorer cannot compare with."""
    if spec is None:
        return
    if spec.kind == "regex" and (wrong := pattern_problem(spec.options["pattern"])):
        reading.report(("scorer", "regex", "pattern"), wrong, "correct the pattern")
    check = scorer_kind(spec).target
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
