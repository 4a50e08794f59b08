"""The JSON Schema file of a format gate: refused where it would silently check less than its author thinks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.patterns import pattern_problem
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import read_json
from pytest_ftgate.files.strictyaml import Place
from pytest_ftgate.files.wording import brief, describe, dotted, key, listed, nearest, shown

_DEFAULT = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = (
    _DEFAULT,
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
)

# Which keywords hold schemas, and how.
_ONE = {
    *("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
}
_MANY = {"allOf", "anyOf", "oneOf", "prefixItems", "items"}
_NAMED = {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties", "dependencies"}
_NOTES = {
    *("$schema", "$id", "$anchor", "$defs", "definitions", "$comment", "title", "description", "default", "examples"),
    *("deprecated", "readOnly", "writeOnly", "then", "else", "minContains", "maxContains"),
}
_TYPE_NAMES = "array, boolean, integer, null, number, object or string"
_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "$ref")


def read_json_schema(path: Path) -> Json:
    """A checked JSON Schema file. Raises InputError with every problem found."""
    schema = read_json(path)
    problems = json_schema_problems(schema, shown(path))
    if problems:
        raise InputError(problems)
    return schema


def json_schema_problems(schema: Json, path: str) -> list[Problem]:
    """What is wrong with a JSON Schema: invalid, unknown keywords, references that leave the file or lead nowhere."""
    if not isinstance(schema, dict) or not schema:
        what = f"expected a JSON Schema with at least one rule, found {describe(schema)}"
        return [Problem(path, 1, "", what, 'write rules, for example {"type": "object", "required": [...]}')]
    draft = schema.get("$schema", _DEFAULT)
    if not isinstance(draft, str) or draft.rstrip("#") not in _DRAFTS:
        what = f"expected a draft from 06 to 2020-12, found {describe(draft)}"
        return [Problem(path, None, "$schema", what, f'write "$schema": "{_DEFAULT}", or delete the line')]
    import jsonschema.validators

    validator: Any = jsonschema.validators.validator_for({"$schema": draft.rstrip("#")})
    problems = [
        Problem(path, None, dotted(place), what, fix)
        for place, node in _schemas(schema, ())
        for what, fix in (*_node_problems(place, node, validator), *_reference_problems(node, schema, validator))
    ]
    return problems or _invalid(schema, validator, path) or _circular(schema, path)


def _schemas(node: Json, place: Place) -> Iterator[tuple[Place, Mapping[str, Json]]]:
    """Every subschema that is an object, with its place."""
    if not isinstance(node, dict):
        return
    yield place, node
    for name, value in node.items():
        if name in _MANY and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _schemas(item, (*place, name, index))
        elif name in _NAMED and isinstance(value, dict):
            for child, item in value.items():
                yield from _schemas(item, (*place, name, child))
        elif name in _ONE:
            yield from _schemas(value, (*place, name))


def _node_problems(place: Place, node: Mapping[str, Json], validator: Any) -> Iterator[tuple[str, str]]:
    # A keyword that the library's validator of this draft does not enforce would be ignored.
    known = (set(validator.VALIDATORS) | _NOTES) - {"$dynamicRef", "$recursiveRef"}
    for name in node:
        if name not in known:
            close = nearest(name, known)
            fix = f"did you mean `{close}`?" if close else "delete it: it would be ignored"
            yield f"expected a JSON Schema keyword of this draft, found {key(name)}", fix
    if place and ("$id" in node or "$schema" in node):
        yield "expected `$id` and `$schema` only at the top, found one here", "delete it"
    form = node.get("format")
    if isinstance(form, str) and form not in validator.FORMAT_CHECKER.checkers:
        checked = sorted(validator.FORMAT_CHECKER.checkers)
        what = f"expected a format that can be checked here ({listed(checked, limit=30)}), found {brief(form)}"
        yield what, "write a `pattern` instead: an unchecked format would be ignored"
    patterns = [node["pattern"]] if isinstance(node.get("pattern"), str) else []
    named = node.get("patternProperties")
    for pattern in patterns + (list(named) if isinstance(named, dict) else []):
        if wrong := pattern_problem(pattern):
            yield wrong, "correct the pattern"


def _reference_problems(node: Mapping[str, Json], root: Json, validator: Any) -> Iterator[tuple[str, str]]:
    if "$ref" not in node:
        return
    ref = node["$ref"]
    if not isinstance(ref, str) or not ref.startswith("#"):
        yield f"expected a `$ref` into this file (#/...), found {brief(ref)}", "copy the schema into `$defs`"
    elif _target(ref, root) is None:
        yield f"expected a `$ref` that leads to a schema, found {brief(ref)}", "correct the reference"
    beside = [key(name) for name in node if name != "$ref" and name not in _NOTES]
    if beside and "dependentSchemas" not in validator.VALIDATORS:
        yield f"expected `$ref` alone (this draft ignores what stands beside it), found {listed(beside)}", "use `allOf`"


def _target(ref: str, root: Json) -> Json | None:
    """The schema that `#/a/b` or `#anchor` names; None if there is none."""
    from urllib.parse import unquote

    pointer = unquote(ref[1:])
    if pointer and not pointer.startswith("/"):
        return next((node for _, node in _schemas(root, ()) if node.get("$anchor") == pointer), None)
    node = root
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isascii() and name.isdecimal() and int(name[:9]) < len(node):
            node = node[int(name[:9])]
        else:
            return None
    return node if isinstance(node, dict | bool) else None


def _invalid(schema: Json, validator: Any, path: str) -> list[Problem]:
    """What the draft's own meta-schema says."""
    from jsonschema import SchemaError

    try:
        validator.check_schema(schema, format_checker=None)  # patterns are checked above, as `regex` has them
    except SchemaError as err:
        place = tuple(err.absolute_path)
        is_type = bool(place) and place[-1] == "type"
        wanted = _TYPE_NAMES if is_type else _wanted(err.validator, err.validator_value)
        what = f"expected {wanted}, found {describe(err.instance)}"
        return [Problem(path, None, dotted(place), what, "correct the keyword (json-schema.org/draft/2020-12)")]
    return []


def _wanted(keyword: Any, value: Any) -> str:
    if keyword == "type":
        return f"a value of type {listed([value] if isinstance(value, str) else value, last='or')}"
    if keyword in ("enum", "minimum", "exclusiveMinimum", "pattern", "format"):
        return f"a value with {keyword} {brief(value)}"
    return "a valid JSON Schema"


def _circular(schema: Json, path: str) -> list[Problem]:
    """`$ref`s that come back to themselves without going into the value: validation would never end."""
    done: set[int] = set()
    for place, node in _schemas(schema, ()):
        try:
            endless = _comes_back(node, schema, set(), done)
        except RecursionError:  # a chain of hundreds of references would stop the validation too
            endless = True
        if endless:
            what = "expected a `$ref` that ends, found one that leads back to itself"
            return [Problem(path, None, dotted(place), what, "put the recursion inside `properties` or `items`")]
    return []


def _comes_back(node: Json, root: Json, above: set[int], done: set[int]) -> bool:
    if not isinstance(node, dict) or id(node) in done:
        return False
    if id(node) in above:
        return True
    nexts = [value for name in _SAME_VALUE if name in node for value in _as_list(node[name])]
    nexts = [_target(n, root) if isinstance(n, str) else n for n in nexts]
    if any(_comes_back(n, root, above | {id(node)}, done) for n in nexts):
        return True
    done.add(id(node))
    return False


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]
