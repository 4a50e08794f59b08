"""Structure of a YAML document against a JSON Schema: every error with its line, its key and its fix.

The schema is ours (packaged, trusted); the document is not. Messages name what was expected through the schema's
`title`, where the JSON Schema keyword alone would be unreadable (`pattern`, `anyOf`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import Problem
from pytest_ftgate.files.strictyaml import Document, Place
from pytest_ftgate.files.wording import brief, describe, dotted, key, listed, nearest

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError


@dataclass(frozen=True, slots=True)
class _Broken:
    """One broken keyword: what is needed of jsonschema's ValidationError, with plain types."""

    keyword: str
    limit: Json
    """The keyword's value."""
    value: Json
    """What was found."""
    schema: Mapping[str, Any]
    """The subschema that holds the keyword."""
    place: Place
    message: str
    is_name: bool
    """The value is a key of a mapping (`propertyNames`)."""
    beside: str
    """The key that brought this rule in (`dependentSchemas`), or ""."""
    branches: Mapping[int, tuple[_Broken, ...]]
    """What is broken in each alternative of `anyOf` or `oneOf`."""
    on_top: bool
    """The value is the whole value that the alternatives are about."""


_TYPES = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def schema_problems(document: Document, schema: Mapping[str, Any]) -> list[Problem]:
    """Every place where the document breaks the schema (draft 2020-12), in file order. Nothing is fetched."""
    # About 70 ms to import: only paid where a file is checked.
    from jsonschema import Draft202012Validator
    from referencing import Registry

    validator = Draft202012Validator(schema, registry=Registry())
    found: dict[Problem, None] = {}
    for error in validator.iter_errors(document.data):
        for problem in _problems(document, _broken(error)):
            found[problem] = None
    return sorted(found, key=lambda p: (p.line or 0, p.key))


def _broken(error: ValidationError) -> _Broken:
    branches: dict[int, list[_Broken]] = {}
    for sub in error.context or ():
        branches.setdefault(int(sub.relative_schema_path[0]), []).append(_broken(sub))
    schema: Any = error.schema
    return _Broken(
        keyword=str(error.validator),
        limit=error.validator_value,
        value=error.instance,
        schema=schema if isinstance(schema, dict) else {},
        place=tuple(error.absolute_path),
        message=error.message,
        is_name="propertyNames" in error.relative_schema_path,
        beside=_beside([str(part) for part in error.absolute_schema_path]),
        branches={index: tuple(found) for index, found in branches.items()},
        on_top=not error.relative_path,
    )


def _beside(schema_path: list[str]) -> str:
    if "dependentSchemas" not in schema_path:
        return ""
    return schema_path[len(schema_path) - schema_path[::-1].index("dependentSchemas")]


def _problems(document: Document, broken: _Broken) -> Iterator[Problem]:
    if broken.is_name:
        what = f"expected {_title(broken, 'another key')}, found {key(str(broken.value))}"
        yield _problem(document, (*broken.place, broken.value), what, f"rename it{_example(broken)}")
    elif broken.keyword in ("anyOf", "oneOf"):
        yield from _alternatives(document, broken)
    elif broken.keyword == "additionalProperties":
        yield from _unknown_keys(document, broken)
    elif broken.keyword == "required":
        yield from _missing_key(document, broken)
    elif broken.keyword == "not" and broken.beside:
        banned = broken.limit["required"][0]
        what = f"expected no `{banned}` beside `{broken.beside}`, found both"
        yield _problem(document, (*broken.place, banned), what, "delete one of the two")
    else:
        what, fix = _plain(broken)
        yield _problem(document, broken.place, what, fix)


def _problem(document: Document, place: Place, what: str, fix: str) -> Problem:
    return Problem(document.path, document.line(place), dotted(place), what, fix)


def _unknown_keys(document: Document, broken: _Broken) -> Iterator[Problem]:
    known = list(broken.schema.get("properties", ()))
    free = [name for name in known if name not in broken.value]
    for name in broken.value:
        if name not in known:
            close = nearest(name, free)
            fix = f"did you mean `{close}`?" if close else "delete it"
            what = f"expected {listed([key(k) for k in known], limit=16, last='or')}, found the unknown key {key(name)}"
            yield _problem(document, (*broken.place, name), what, fix)


def _missing_key(document: Document, broken: _Broken) -> Iterator[Problem]:
    missing = next(name for name in broken.limit if name not in broken.value and f"'{name}'" in broken.message)
    known = broken.schema.get("properties", {})
    if broken.schema.get("additionalProperties") is False and missing in _meant(broken.value, known):
        return  # told as an unknown key: one typo, one problem
    written = [key(name) for name in broken.value]
    found = f"found only {listed(written)}" if written else "found an empty mapping"
    what = f"{_owner(broken.place)} needs `{missing}`, {found}"
    yield _problem(document, broken.place, what, f"add `{missing}: {_sample(known.get(missing, {}))}`")


def _meant(value: Mapping[str, Json], known: Iterable[str]) -> set[str]:
    """The known keys that the unknown ones most resemble."""
    free = [name for name in known if name not in value]
    return {close for name in value if name not in known if (close := nearest(name, free))}


def _owner(place: Place) -> str:
    names = [part for part in place if isinstance(part, str)]
    return key(names[-1]) if names else "the file"


def _sample(schema: Mapping[str, Any]) -> str:
    """How a value of this schema is written: its example, or `...`."""
    import json

    if "const" in schema:
        return json.dumps(schema["const"])
    examples = schema.get("examples")
    return json.dumps(examples[0], ensure_ascii=False) if examples else "..."


def _alternatives(document: Document, broken: _Broken) -> Iterator[Problem]:
    """`anyOf`/`oneOf`: report the branch that the user meant, or name the branches."""
    branches: list[Mapping[str, Any]] = broken.limit
    keys = [branch["required"][0] for branch in branches if isinstance(branch, dict) and set(branch) == {"required"}]
    if len(keys) == len(branches) and isinstance(broken.value, dict):
        yield from _one_of_keys(document, broken, keys)
        return
    meant = _meant_branch(broken)
    if meant:
        for sub in meant:
            yield from _problems(document, sub)
        return
    kinds = [sub for found in broken.branches.values() for sub in found if _is_about_kind(sub)]
    expected = _title(broken, listed([_expected(sub) for sub in kinds], last="or") or "another value")
    types = [name for sub in kinds if sub.keyword == "type" for name in _as_list(sub.limit)]
    what = f"expected {expected}, found {describe(broken.value)}"
    yield _problem(document, broken.place, what, _retype_fix(broken.value, types) or f"write {expected}")


def _one_of_keys(document: Document, broken: _Broken, keys: list[str]) -> Iterator[Problem]:
    written = [name for name in keys if name in broken.value]
    names = listed([f"`{name}`" for name in keys], last="or")
    if written:
        what = f"{_owner(broken.place)} takes only one of {names}, found {listed([f'`{name}`' for name in written])}"
        yield _problem(document, (*broken.place, written[-1]), what, "delete all but one")
        return
    known = broken.schema.get("properties", {})
    if _meant(broken.value, known) & set(keys):
        return
    found = [key(name) for name in broken.value]
    what = f"{_owner(broken.place)} needs {names}, found {'only ' + listed(found) if found else 'an empty mapping'}"
    sample = _sample(known.get(keys[0], {}))
    yield _problem(document, broken.place, what, f"add `{keys[0]}: {sample}`")


def _meant_branch(broken: _Broken) -> tuple[_Broken, ...] | None:
    """What is broken in the one branch whose type the value has; None if it has no branch's type, or several."""
    typed = [found for found in broken.branches.values() if not any(_is_about_kind(sub) for sub in found)]
    return typed[0] if len(typed) == 1 else None


def _is_about_kind(broken: _Broken) -> bool:
    return broken.on_top and broken.keyword in ("type", "const", "enum")


def _plain(broken: _Broken) -> tuple[str, str]:
    """(what, fix) of a keyword about one value."""
    value, limit, found = broken.value, broken.limit, describe(broken.value)
    if broken.keyword == "type":
        wanted = _as_list(limit)
        kinds = listed([_TYPES[name] for name in wanted], last="or")
        expected = _title(broken, kinds) if broken.place else kinds
        fix = _retype_fix(value, wanted) or _mapping_fix(broken, wanted) or f"write {expected}{_example(broken)}"
        return f"expected {expected}, found {found}", fix
    if broken.keyword in ("enum", "const"):
        allowed = [str(v) for v in (limit if broken.keyword == "enum" else [limit])]
        close = nearest(value, allowed) if isinstance(value, str) else None
        fix = f"did you mean {close}?" if close else f"write {listed(allowed, last='or')}"
        return f"expected {listed(allowed, limit=16, last='or')}, found {found}", fix
    if broken.keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        return _out_of_range(broken)
    if broken.keyword in ("minItems", "minProperties", "minLength"):
        return f"expected {_title(broken, f'at least {limit}')}, found {found}", f"fill it in{_example(broken)}"
    if broken.keyword in ("maxItems", "maxProperties", "maxLength"):
        return f"expected {_title(broken, f'at most {limit}')}, found {found}", f"keep at most {limit}"
    if broken.keyword == "uniqueItems":
        return "expected each item once, found one again", "delete the repeated item"
    default = f"a text that matches {brief(limit)}" if broken.keyword == "pattern" else "another value"
    return f"expected {_title(broken, default)}, found {found}", f"correct it{_example(broken)}"


def _out_of_range(broken: _Broken) -> tuple[str, str]:
    schema, value = broken.schema, broken.value
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    bounds = [
        f"{word} {limit}"
        for word, limit in (("at least", low), ("more than", above), ("at most", high), ("less than", below))
        if limit is not None
    ]
    span = f"a number from {low} to {high}" if None not in (low, high) else f"a number of {listed(bounds)}"
    expected = _title(broken, span)
    what = f"expected {expected}, found {describe(value)}"
    is_fraction = 1 in (high, below) and 1 < value <= 100
    return what, f"write {value / 100:g} (a fraction, not a percentage)" if is_fraction else f"write {expected}"


def _mapping_fix(broken: _Broken, wanted: list[str]) -> str | None:
    """How to write a mapping whose one needed key was left out (`accuracy: 0.85`)."""
    needed = broken.schema.get("required", [])
    if wanted != ["object"] or len(needed) != 1:
        return None
    return f"write {{{needed[0]}: {_sample(broken.schema.get('properties', {}).get(needed[0], {}))}}}"


def _retype_fix(value: Json, wanted: Iterable[str]) -> str | None:
    """How to write the same value as the wanted type; None where that is not obvious."""
    wanted = set(wanted)
    if "string" in wanted and isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else str(value)
        return f'quote this: "{written[:60]}"'
    if "string" in wanted and isinstance(value, dict) and list(value.values()) == [None]:
        name = next(iter(value))
        return f'quote this: "{{{name}}}"' if name.isidentifier() else "put the text in quotes"
    if isinstance(value, str) and wanted & {"number", "integer"} and _is_number(value):
        return f"write it without quotes: {value.strip()}"
    if isinstance(value, str) and wanted & {"number"} and value.endswith("%") and _is_number(value[:-1]):
        return f"write the fraction: {float(value[:-1]) / 100:g}"
    if "boolean" in wanted and isinstance(value, str) and value.casefold() in ("yes", "no", "on", "off"):
        return f"write {'true' if value.casefold() in ('yes', 'on') else 'false'}"
    if "array" in wanted and isinstance(value, str):
        return f"write a list: [{brief(value)}]"
    return None


def _is_number(text: str) -> bool:
    return len(text) < 40 and text.strip().removeprefix("-").replace(".", "", 1).isdecimal() and text.isascii()


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]


def _expected(broken: _Broken) -> str:
    """One alternative in a few words."""
    words = [_TYPES[name] if broken.keyword == "type" else str(name) for name in _as_list(broken.limit)]
    return _title(broken, listed(words, last="or"))


def _title(broken: _Broken, default: str) -> str:
    return str(broken.schema.get("title", default))


def _example(broken: _Broken) -> str:
    return f" (for example {_sample(broken.schema)})" if broken.schema.get("examples") else ""
