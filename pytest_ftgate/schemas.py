"""JSON Schema that is what it says: nothing fetched, nothing misspelt, no pattern that hangs, and not vacuous."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import jsonschema
from jsonschema import validators
from jsonschema.exceptions import ValidationError
from jsonschema_specifications import REGISTRY as METASCHEMAS  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from evalsets.types import Json
from evalsets.wording import brief, dotted, key, listed, nearest
from pytest_ftgate.errors import ScoringError
from pytest_ftgate.saferegex import PatternError, SafePattern, compile_ecma

_DRAFTS = (
    jsonschema.Draft202012Validator,
    jsonschema.Draft201909Validator,
    jsonschema.Draft7Validator,
    jsonschema.Draft6Validator,
    jsonschema.Draft4Validator,
)
_ONE = {
    *("not", "if", "then", "else", "items", "contains", "propertyNames", "additionalProperties", "additionalItems"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
}
_MANY = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_NAMED = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_PROBES: tuple[Json, ...] = (None, True, 0, -1.5, "", "probe", [], [None], {}, {"": None}, {"ftgate-probe": [None]})

Violation = str
Fault = tuple[str, str, str]
"""(key, what, fix) of one thing that is wrong with a schema."""


class Schema:
    """A schema that can be trusted to refuse. Raises SchemaFaults with all that is wrong with it."""

    def __init__(self, schema: Json) -> None:
        kind = _draft(schema)
        patterns: dict[str, SafePattern] = {}
        faults = [*_keyword_faults(schema, kind), *_compile(schema, patterns)]
        if not faults:
            faults = [*_shape_faults(schema, kind), *_reference_faults(schema)]
        if faults:
            raise SchemaFaults(faults)
        safe: Any = validators.extend(kind, _safe_keywords(patterns))  # type: ignore[no-untyped-call]
        self._validator = safe(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)
        if fault := _vacuous(schema, self.violation):
            raise SchemaFaults([fault])

    def violation(self, value: Json) -> Violation | None:
        """Which keyword at which place of the schema the value violates first; None if it obeys.

        Names only what the schema says, nothing of the value. Raises ScoringError where a pattern runs out of time
        or a schema refers to itself without end.
        """
        try:
            error = next(self._validator.iter_errors(value), None)
        except RecursionError:
            raise ScoringError("the JSON Schema refers to itself without end", "correct its $ref") from None
        return None if error is None else _words(error)


class SchemaFaults(ValueError):
    """What is wrong with a schema, as (key, what, fix)."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(what for _, what, _ in faults))


def _words(error: ValidationError) -> Violation:
    place = dotted(list(error.absolute_schema_path)[:12])
    wanted: Any = error.validator_value
    if error.validator == "required" and isinstance(error.instance, dict) and isinstance(wanted, list):
        missing = [brief(name) for name in wanted if name not in error.instance]
        return f"violates {place} of the schema (missing {listed(missing)})"
    if error.validator == "type":
        return f"violates {place} of the schema (expected {brief(wanted)})"
    return f"violates {place} of the schema"


def _draft(schema: Json) -> Any:
    """The validator class of the schema's draft."""
    if not isinstance(schema, dict):
        raise SchemaFaults([("", "expected a JSON Schema object, found another value", "write {...}")])
    named = schema.get("$schema", jsonschema.Draft202012Validator.META_SCHEMA["$schema"])
    for draft in _DRAFTS:
        if isinstance(named, str) and named.rstrip("#") == draft.META_SCHEMA["$schema"].rstrip("#"):
            return draft
    what = f"expected draft 4, 6, 7, 2019-09 or 2020-12, found {brief(named)}"
    raise SchemaFaults([("$schema", what, f"write {_DRAFTS[0].META_SCHEMA['$schema']}")])


def _subschemas(schema: Json, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """(place, schema) of the schema and all that it holds, in reading order."""
    yield place, schema
    if not isinstance(schema, dict):
        return
    children: list[tuple[tuple[str | int, ...], Json]]
    for keyword, value in schema.items():
        if keyword in _NAMED and isinstance(value, dict):
            children = [((keyword, name), child) for name, child in value.items() if isinstance(child, dict | bool)]
        elif keyword in _MANY and isinstance(value, list):
            children = [((keyword, i), child) for i, child in enumerate(value)]
        elif keyword in _ONE:
            children = [((keyword,), value)]
        else:
            continue
        for below, child in children:
            yield from _subschemas(child, (*place, *below))


def _keywords(kind: Any) -> set[str]:
    """All keywords of a draft, from its metaschema and the vocabularies that this consists of."""
    meta = kind.META_SCHEMA
    parts = [METASCHEMAS.contents(urljoin(meta["$id"], part["$ref"])) for part in meta.get("allOf", ())]
    return {"$ref"}.union(*(part["properties"] for part in [meta, *parts]))


def _keyword_faults(schema: Json, kind: Any) -> Iterator[Fault]:
    """Misspelt keywords and unchecked formats: JSON Schema lets both pass in silence, and checks nothing."""
    known, formats = _keywords(kind), set(kind.FORMAT_CHECKER.checkers)
    for place, part in _subschemas(schema):
        if not isinstance(part, dict):
            continue
        for keyword in part.keys() - known:
            if not keyword.startswith("x-"):
                guess = nearest(keyword, known)
                fix = f"write {guess}" if guess else "delete it, or give it a name that starts with x-"
                yield dotted([*place, keyword]), f"expected a keyword of the draft, found {key(keyword)}", fix
        name = part.get("format")
        if isinstance(name, str) and name not in formats:
            what = (
                f"expected a format that can be checked here ({listed(sorted(formats), limit=12)}), found {key(name)}"
            )
            yield dotted([*place, "format"]), what, 'use pattern, or `pip install "jsonschema[format-nongpl]"`'
        if place and ("$id" in part or "id" in part):
            yield dotted([*place, "$id"]), "expected $id at the root only, found another", "refer by #/$defs/name"


def _shape_faults(schema: Json, kind: Any) -> Iterator[Fault]:
    for error in kind(kind.META_SCHEMA, registry=METASCHEMAS).iter_errors(schema):
        what = f"expected what the metaschema says ({error.validator} {brief(error.validator_value)})"
        yield dotted(error.absolute_path), f"{what}, found {brief(error.instance)}", "correct the value"


def _compile(schema: Json, patterns: dict[str, SafePattern]) -> Iterator[Fault]:
    """Compile every pattern into `patterns`."""
    by_pattern = any(isinstance(part, dict) and "patternProperties" in part for _, part in _subschemas(schema))
    for place, part in _subschemas(schema):
        if not isinstance(part, dict):
            continue
        named = part.get("patternProperties")
        for source in [part.get("pattern"), *(named if isinstance(named, dict) else ())]:
            if not isinstance(source, str):
                continue
            try:
                patterns[source] = compile_ecma(source)
            except PatternError as err:
                yield dotted([*place, "pattern"]), str(err), "correct the pattern"
        if by_pattern and "unevaluatedProperties" in part:
            # jsonschema matches these two with `re`, which can hang.
            what = "expected unevaluatedProperties or patternProperties, found both"
            yield dotted([*place, "unevaluatedProperties"]), what, "use additionalProperties"


def _reference_faults(schema: Json) -> Iterator[Fault]:
    """References that lead out of the file, or nowhere. jsonschema would fetch the first from the network or disk."""
    specification = specification_with(schema["$schema"]) if "$schema" in schema else DRAFT202012
    base = "urn:ftgate:schema"
    bare = {keyword: value for keyword, value in schema.items() if keyword not in ("$id", "id")}
    registry: Registry[Any] = Registry().with_resource(base, specification.create_resource(bare))
    resolver = registry.resolver(base)
    for place, part in _subschemas(schema):
        for keyword in _REFERENCES if isinstance(part, dict) else ():
            target = part.get(keyword)
            if target is None:
                continue
            where = dotted([*place, keyword])
            if not isinstance(target, str) or not target.startswith("#"):
                yield where, f"expected a reference into this file, found {brief(target)}", "write #/$defs/name"
                continue
            try:
                resolver.lookup(target)
            except Unresolvable:
                yield where, f"expected a reference to something, found {brief(target)}", "correct the reference"


def _vacuous(schema: Json, violation: Callable[[Json], Violation | None]) -> Fault | None:
    """A fault where the schema accepts whatever comes, or an object without a single one of its properties."""
    try:
        refused = [violation(probe) is not None for probe in _PROBES]
    except ScoringError as err:
        return "", err.message, err.fix
    if not any(refused):
        return (
            "",
            "expected a schema that refuses something, found one that accepts every probe",
            "add type and required",
        )
    if schema.get("properties") and not refused[-1]:
        what = "expected a schema that refuses an object without any of its properties, found one that accepts it"
        return "required", what, "add required, or additionalProperties: false"
    return None


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
