"""Compares two answers: do they say the same?"""

from __future__ import annotations

import json

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.rows.overlap.text import numbers, symbols, tokens

_SAME_TOKENS = 0.7
_LABEL_TOKENS = 6  # up to here every word counts: a label, a name
_SAME_FIELDS = 0.5


def same_answer(first: str | None, second: str | None) -> bool | None:
    """True or False; None where one of them is not known.

    Equal words are the same answer; two answers that end in a number are compared by it; JSON objects by the share of
    equal fields (half); longer texts by the share of tokens that stay when one is edited into the other (0.7).
    """
    if first is None or second is None:
        return None
    ours, theirs = tokens(first), tokens(second)
    if ours == theirs and symbols(first) == symbols(second):
        return bool(ours) or "".join(first.split()) == "".join(second.split())
    fields = _fields(first), _fields(second)
    if fields[0] and fields[1]:
        keys = fields[0].keys() | fields[1].keys()
        equal = sum(fields[0].get(k) == fields[1].get(k) for k in keys)
        return bool(equal >= _SAME_FIELDS * len(keys))
    if ours and theirs and ours[-1].isdecimal() and theirs[-1].isdecimal():
        return numbers(first)[-1] == numbers(second)[-1]
    if max(len(ours), len(theirs)) <= _LABEL_TOKENS:
        return False
    from rapidfuzz.distance import Indel

    return bool(Indel.normalized_similarity(ours, theirs) >= _SAME_TOKENS)


def _fields(text: str) -> dict[str, Json]:
    """The fields of a JSON object; {} where the text is none."""
    if not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
