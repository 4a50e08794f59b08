"""The answer inside an output: without its reasoning block, as strict JSON, or as the first JSON found in it."""

from __future__ import annotations

import json
import re
import unicodedata

from pytest_ftgate.files import strictjson
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError

_FENCE = re.compile(r"```(?:[ \t]*[\w+-]*[ \t]*\n)?(.*?)(?:```|\Z)", re.DOTALL)
_OPENING = re.compile(r'\{(?=\s*["}])|\[')
_MAX_STARTS = 2000
_REFUSED = "a duplicate key, NaN, infinity, an integer beyond 64 bits, half a surrogate pair or nesting beyond 64"


class NotJson(ValueError):
    """There is no strict JSON; `str()` says why and holds nothing of the text."""


def strict_json(text: str) -> Json:
    """The value of the whole text (JSON whitespace around it is JSON). Raises NotJson."""
    try:
        return strictjson.loads(text)
    except InputError:
        raise NotJson(_why(text)) from None


def _why(text: str) -> str:
    try:
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as err:
        return f"not JSON: {err.msg[:1].lower()}{err.msg[1:]} at line {err.lineno} column {err.colno}"
    except RecursionError:
        pass
    return f"not strict JSON: {_REFUSED}"


def first_json(text: str, *, only_object: bool = False) -> Json:
    """The whole answer, else a whole fenced block, else the first JSON object or array in the text.

    A reasoning block is dropped first. `only_object` skips arrays, and does not look inside them. Never looks inside
    a value that is broken off, repeats a key or is otherwise not strict; gives up after 2000 brackets that begin no
    JSON. Raises NotJson.
    """
    text = without_reasoning(text)
    for whole in (text, *_FENCE.findall(text)[:1]):
        try:
            value = strict_json(whole.strip())
        except NotJson:
            continue
        if isinstance(value, dict) or not only_object:
            return value
    return strict_json(_first_span(text, only_object))


def _first_span(text: str, only_object: bool) -> str:
    decoder = json.JSONDecoder(parse_int=float)
    at = 0
    for _ in range(_MAX_STARTS):
        start = _OPENING.search(text, at)
        if start is None:
            break
        try:
            value, at = decoder.raw_decode(text, start.start())
        except json.JSONDecodeError as err:
            # Resuming where the parse broke off keeps out of broken-off values.
            at = max(start.end(), err.pos)
            continue
        except RecursionError:
            break
        if isinstance(value, dict) or not only_object:
            return text[start.start() : at]
    raise NotJson("no JSON object found" if only_object else "no JSON object or array found")


def without_reasoning(text: str) -> str:
    """The text after the last `</think>` and before an unclosed `<think>`, trimmed.

    The opening mark may be missing: chat templates often place it in the prompt.
    """
    return text.rpartition("</think>")[2].partition("<think>")[0].strip()


def without_fence(text: str) -> str:
    """The text without a reasoning block, and without a code fence that wraps all of it, trimmed."""
    text = without_reasoning(text)
    match = _FENCE.fullmatch(text)
    return match[1].strip() if match else text


def same_json(one: Json, other: Json) -> bool:
    """Equal in type and value at every level: 1, 1.0, "1" and true are four values. Text is compared as NFC."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_json(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same_json(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, str):
        return unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return bool(one == other)


def compact(value: Json) -> str:
    """One line of JSON with sorted keys."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
