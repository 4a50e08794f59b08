"""JSON Schema that is what it says: nothing fetched, no pattern that hangs, and not vacuous.

`pytest_ftgate.evalset.format_schema` refuses misspelt keywords, unchecked formats and references that leave the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError
from referencing import Registry

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.format_schema import json_schema_problems
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.saferegex import PatternError, SafePattern, compile_ecma
from pytest_ftgate.files.wording import brief, dotted, listed

_PROBES: tuple[Json, ...] = (None, True, 0, -1.5, "", "probe", [], [None], {}, {"": None}, {"ftgate-probe": [None]})
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


class Schema:
    """A schema that can be trusted to refuse; `path` names it in problems. Raises InputError with all of them."""

    def __init__(self, schema: Json, *, path: str = "<schema>") -> None:
        if problems := json_schema_problems(schema, path):
            raise InputError(problems)
        patterns: dict[str, SafePattern] = {}
        if wrong := list(_compile(schema, patterns)):
            raise InputError(Problem(path, None, "", what, fix) for what, fix in wrong)
        kind = validators.validator_for({"$schema": schema.get("$schema", _DRAFT).rstrip("#")})
        safe: Any = validators.extend(kind, _safe_keywords(patterns))  # type: ignore[no-untyped-call]
        # An empty registry: jsonschema's own would fetch references from the network and from disk.
        self._validator = safe(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)
        if vacuous := self._vacuous(schema):
            raise InputError([Problem(path, None, "", *vacuous)])

    def violation(self, value: Json) -> str | None:
        """Which keyword at which place of the schema the value violates first; None if it obeys.

        Names only what the schema says, nothing of the value. Raises ScoringError where a pattern runs out of time
        or a value nests deeper than the schema's references can be followed.
        """
        try:
            error = next(self._validator.iter_errors(value), None)
        except RecursionError:
            raise ScoringError("the JSON Schema refers to itself too deep to follow", "make it flatter") from None
        return None if error is None else _words(error)

    def _vacuous(self, schema: Json) -> tuple[str, str] | None:
        """(what, fix) where it accepts whatever comes, or an object without a single one of its properties."""
        refused = [self.violation(probe) is not None for probe in _PROBES]
        if not any(refused):
            what = "expected a schema that refuses something, found one that accepts every probe"
            return what, "add type and required"
        if schema.get("properties") and not refused[-1]:
            what = "expected a schema that refuses an object without any of its properties, found one that accepts it"
            return what, "add required, or additionalProperties: false"
        return None


def _words(error: ValidationError) -> str:
    place = dotted(list(error.absolute_schema_path)[:12])
    wanted: Any = error.validator_value
    if error.validator == "required" and isinstance(error.instance, dict) and isinstance(wanted, list):
        missing = [brief(name) for name in wanted if name not in error.instance]
        return f"violates {place} of the schema (missing {listed(missing)})"
    if error.validator == "type":
        return f"violates {place} of the schema (expected {brief(wanted)})"
    return f"violates {place} of the schema"


def _compile(schema: Json, patterns: dict[str, SafePattern]) -> Iterator[tuple[str, str]]:
    """Compile every pattern into `patterns`; (what, fix) of what is wrong.

    Everything in the file is read as if it were a schema: an unused pattern more does no harm.
    """
    nodes = list(_mappings(schema))
    for node in nodes:
        named = node.get("patternProperties")
        for source in [node.get("pattern"), *(named if isinstance(named, dict) else ())]:
            if isinstance(source, str):
                try:
                    patterns[source] = compile_ecma(source)
                except PatternError as err:
                    yield str(err), "correct the pattern"
    if any("patternProperties" in node for node in nodes) and any("unevaluatedProperties" in node for node in nodes):
        # jsonschema matches the former with `re` on behalf of the latter, and that can hang.
        yield "expected unevaluatedProperties or patternProperties, found both", "use additionalProperties"


def _mappings(value: Json) -> Iterator[dict[str, Json]]:
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _mappings(child)


def _safe_keywords(patterns: Mapping[str, SafePattern]) -> dict[str, Any]:
    """Keywords that jsonschema implements with `re`, or in quadratic time."""

    def pattern(validator: Any, source: str, value: Json, schema: Json) -> Iterator[ValidationError]:
        if isinstance(value, str) and not patterns[source].search(value):
            yield ValidationError("does not match")

    def pattern_properties(validator: Any, named: Any, value: Json, schema: Json) -> Iterator[ValidationError]:
        for source, child in named.items() if isinstance(value, dict) else ():
            for name in value:
                if patterns[source].search(name):
                    yield from validator.descend(value[name], child, path=name, schema_path=source)

    def additional(validator: Any, child: Any, value: Json, schema: Json) -> Iterator[ValidationError]:
        sources = schema.get("patternProperties", {})
        for name in value if isinstance(value, dict) else ():
            if name in schema.get("properties", {}) or any(patterns[s].search(name) for s in sources):
                continue
            if child is False:
                yield ValidationError("an undeclared property")
            else:
                yield from validator.descend(value[name], child, path=name)

    def unique(validator: Any, wanted: bool, value: Json, schema: Json) -> Iterator[ValidationError]:
        if wanted and isinstance(value, list) and len({_identity(item) for item in value}) < len(value):
            yield ValidationError("has equal items")

    return {
        "pattern": pattern,
        "patternProperties": pattern_properties,
        "additionalProperties": additional,
        "uniqueItems": unique,
    }


def _identity(value: Json) -> str:
    """Equal texts for values that JSON Schema calls equal: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_whole(value), sort_keys=True)


def _whole(value: Json) -> Json:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole(item) for name, item in value.items()}
    return value
