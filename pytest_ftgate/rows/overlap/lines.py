"""One line of a JSONL file as (input, output), as fast as Python's json allows.

What a row's input and output are is decided by `rows.reader` alone: the fast way here takes only rows of a plain
form, and hands every other row to it.
"""

from __future__ import annotations

import json

from pytest_ftgate.files.disk import not_utf8
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import MAX_DEPTH, MAX_LINE_BYTES, loads
from pytest_ftgate.files.wording import describe, shown
from pytest_ftgate.rows.reader import training_row as training_row


def read_line(line: bytes, path: str, number: int) -> tuple[str, str] | Problem:
    """(input, output) of the row, or what is wrong with it."""
    pair = _quick(line)
    return pair if pair is not None else _careful(line, path, number)


class _Odd(ValueError):
    """JSON that strict reading refuses: let the careful reader say what it is."""


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Odd
    return found


def _integer(digits: str) -> int:
    if len(digits) > 18:
        raise _Odd
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise _Odd
    return value


def _constant(name: str) -> None:
    raise _Odd(name)


_decode = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_real, parse_constant=_constant
).raw_decode


def _quick(line: bytes) -> tuple[str, str] | None:
    """(input, output) of a row in a plain form, or None: look again, carefully."""
    if b"\\ud" in line or b"\\uD" in line or len(line) > MAX_LINE_BYTES:
        return None
    try:
        text = line.decode().strip(" \t\r\n")
        row, end = _decode(text)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or odd JSON
        return None
    if end != len(text) or type(row) is not dict or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    if "chosen" in row:  # a preference pair
        return None
    messages, prompt, completion = row.get("messages"), row.get("prompt"), row.get("completion")
    if type(messages) is list and prompt is None and completion is None:
        return _turns(messages)
    if type(prompt) is str and type(completion) is str and messages is None and prompt.strip() and completion.strip():
        return prompt, completion
    return None


def _turns(messages: list[Json]) -> tuple[str, str] | None:
    users: list[str] = []
    answers: list[str] = []
    role: Json = ""
    for i, message in enumerate(messages):
        if type(message) is not dict or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or not content or content.isspace():
            return None
        if role == "user":
            users.append(content)
        elif role == "assistant":
            answers.append(content)
        elif role != "system" or i:
            return None
    if role != "assistant" or not users:
        return None
    return "\n".join(users), "\n".join(answers)


def _careful(line: bytes, path: str, number: int) -> tuple[str, str] | Problem:
    name = shown(path)
    if len(line) > MAX_LINE_BYTES:
        what = f"expected at most {MAX_LINE_BYTES // 2**20} MiB in a line, found more"
        return Problem(name, number, "", what, "write one object per line; split or drop the long row")
    try:
        row = loads(line.decode("utf-8").strip(" \t\r\n"), path=name, line=number)
    except UnicodeDecodeError as err:
        return not_utf8(name, number, err)
    except InputError as err:
        return err.problems[0]
    if not isinstance(row, dict):
        what = f"expected one JSON object per line, found {describe(row)}"
        return Problem(name, number, "", what, 'write {"field": value, ...}')
    found = training_row(path, number, row)
    return found if isinstance(found, Problem) else (found.input, found.output)
