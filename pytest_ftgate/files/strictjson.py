"""JSON without surprises, and JSONL as a stream.

Refused: duplicate keys, NaN and infinity, integers beyond 64 bits, halves of surrogate pairs, nesting deeper than 64.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pytest_ftgate.files.disk import foreign, not_utf8, opened, read_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.wording import brief, describe, dotted, shown

MAX_BYTES = 64 * 2**20
MAX_LINE_BYTES = 4 * 2**20
MAX_DEPTH = 64
MAX_PROBLEMS = 20

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_CONFLICT = re.compile(r"<{7}( |$)|={7}$|>{7}( |$)|\|{7}( |$)")


def loads(text: str, *, path: str = "<text>", line: int = 1) -> Json:
    """The value of one JSON text. Raises InputError; `path` and `line` (of its first line) name it in problems."""
    value, problems = _parse(text, path, line)
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])
    return value


def read_json(path: Path) -> Json:
    """The value of one JSON file, at most 64 MiB. Raises InputError."""
    return loads(read_text(path, max_bytes=MAX_BYTES), path=shown(path))


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Json]]]:
    """Stream (1-based line, object) of a JSONL file, in order; blank lines are skipped.

    Problems are collected while good lines stream on: InputError is raised at the end of the file, or at the
    twentieth problem. So only a caller that reads to the end knows that the file is good.
    """
    name = shown(path)
    problems: list[Problem] = []
    with opened(path) as stream:
        for number, raw, last in _lines(stream, name):
            if isinstance(raw, Problem):
                raise InputError([*problems, raw])
            row, found, fatal = _row(raw, name, number, last)
            problems += found
            if fatal or len(problems) >= MAX_PROBLEMS:
                raise InputError(problems[:MAX_PROBLEMS])
            if row is not None and not found:
                yield number, row
    if problems:
        raise InputError(problems)


def _lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes | Problem, bool]]:
    """(line number, bytes without a byte-order mark, whether the file ends without a newline here)."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            if found := foreign(name, raw):
                yield 1, found, False
                return
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) > MAX_LINE_BYTES:
            what = f"expected at most {MAX_LINE_BYTES // 2**20} MiB in a line, found more"
            yield (
                number,
                Problem(name, number, "", what, "write one object per line; split or drop the long row"),
                False,
            )
            return
        yield number, raw, not raw.endswith(b"\n")


def _row(raw: bytes, name: str, line: int, last: bool) -> tuple[dict[str, Json] | None, list[Problem], bool]:
    """(the object of one line or None, problems, whether reading on would only repeat them)."""
    try:
        text = raw.decode("utf-8").strip(" \t\r\n")
    except UnicodeDecodeError as err:
        if last and err.reason == "unexpected end of data":
            return None, [_cut_off(name, line)], True
        return None, [not_utf8(name, line, err)], False
    if not text:
        return None, [], False
    if not text.startswith("{") and (problem := _not_a_row(text, name, line)):
        return None, [problem[0]], problem[1]
    value, problems = _parse(text, name, line)
    if not problems and not isinstance(value, dict):
        what = f"expected one JSON object per line, found {describe(value)}"
        problems = [Problem(name, line, "", what, 'write {"field": value, ...}')]
    if problems and not isinstance(value, dict):
        special = _broken_line(text, name, line, last)
        if special:
            return None, [special[0]], special[1]
    return (value if isinstance(value, dict) else None), problems, False


def _not_a_row(text: str, name: str, line: int) -> tuple[Problem, bool] | None:
    """(what stands where an object should start, whether the whole file is of that kind)."""
    one_object = "expected one JSON object per line, found"
    if _CONFLICT.match(text):
        return Problem(name, line, "", f"{one_object} a git conflict marker", "resolve the conflict"), False
    if text.startswith(("//", "#", "/*")):
        return Problem(name, line, "", f"{one_object} a comment", "delete it: JSON has no comments"), False
    if text.startswith("[") and line == 1:
        fix = 'give it the ending `.json`, or write one {...} per line (`jq -c ".[]"`)'
        return Problem(name, line, "", f"{one_object} an array (a .json file?)", fix), True
    if line == 1 and "," in text and not text.startswith(('"', "-")) and not text[0].isdigit() and "{" not in text:
        fix = "give it the ending `.csv`, or convert it to JSONL"
        return Problem(name, line, "", f"{one_object} what looks like CSV", fix), True
    return None


def _broken_line(text: str, name: str, line: int, last: bool) -> tuple[Problem, bool] | None:
    """A better word than the JSON parser's for a line that starts as an object but does not parse."""
    error = _syntax_error(text)
    if error is None or not text.startswith("{"):
        return None
    if error.msg == "Extra data" and "\r" in text:
        fix = "convert the line ends (`tr '\\r' '\\n'`)"
        return Problem(name, line, "", "expected lines that end in LF or CRLF, found bare CR line ends", fix), True
    if error.pos < len(text) and not error.msg.startswith("Unterminated string"):
        return None
    if last:
        return _cut_off(name, line), True
    what = "expected one whole JSON object per line, found one that is not closed on its line"
    return Problem(name, line, "", what, "write each object on one line (`jq -c .` does that)"), line == 1


def _cut_off(name: str, line: int) -> Problem:
    what = f"expected a whole JSON object, but line {line}, the last one, is cut off"
    return Problem(name, line, "", what, "write or download the file again; delete the line only if it is not needed")


def _syntax_error(text: str) -> json.JSONDecodeError | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as err:
        return err
    except (ValueError, RecursionError):
        return None
    return None


def _parse(text: str, path: str, line: int) -> tuple[Json, list[Problem]]:
    """(value, problems); the value is None where the text is no JSON."""
    hooks = _Hooks(path, line)
    try:
        value = json.loads(
            text,
            object_pairs_hook=hooks.pairs,
            parse_int=hooks.integer,
            parse_float=hooks.real,
            parse_constant=hooks.constant,
        )
    except json.JSONDecodeError as err:
        hooks.problems.append(_syntax_problem(text, path, line, err))
        return None, hooks.problems
    except RecursionError:
        return None, [_too_deep(path, line)]
    if text.count("[") + text.count("{") > MAX_DEPTH or _SURROGATE.search(text):
        hooks.problems += _walk_problems(value, path, line)
    return value, hooks.problems


class _Hooks:
    """json.loads hooks that note what strict JSON refuses, so that one pass finds all of it."""

    def __init__(self, path: str, line: int) -> None:
        self.path, self.line = path, line
        self.problems: list[Problem] = []

    def _report(self, key: str, what: str, fix: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.path, self.line, key, what, fix))

    def pairs(self, pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    self._report(dotted([key]), "expected each key once, found it again in the same object", "keep one")
                seen.add(key)
        return mapping

    def integer(self, digits: str) -> int:
        value = int(digits) if len(digits) < 24 else 2**64
        if abs(value) >= 2**63:
            self._report("", f"expected an integer of at most 64 bits, found {brief(digits)}", "write it as a string")
            return 0
        return value

    def real(self, digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            self._report("", f"expected a finite number, found {brief(digits)}", "write a finite number or a string")
            return 0.0
        return value

    def constant(self, name: str) -> None:
        self._report("", f"expected a finite number, found {name}", "write null, a number or a string")


def _walk_problems(value: Json, path: str, line: int) -> list[Problem]:
    """Too deep nesting and halves of surrogate pairs, found by walking the value without recursion."""
    problems: list[Problem] = []
    stack: list[tuple[Json, tuple[str | int, ...]]] = [(value, ())]
    while stack and len(problems) < MAX_PROBLEMS:
        node, place = stack.pop()
        if len(place) >= MAX_DEPTH and isinstance(node, dict | list):
            return [*problems, _too_deep(path, line)]
        if isinstance(node, dict):
            stack += [(child, (*place, key)) for key, child in reversed(node.items())]
            stack += [(key, (*place, key)) for key in node]
        elif isinstance(node, list):
            stack += [(child, (*place, i)) for i, child in reversed(list(enumerate(node)))]
        elif isinstance(node, str) and any("\ud800" <= c <= "\udfff" for c in node):
            what = "expected Unicode text, found half of a surrogate pair (`\\ud800` to `\\udfff` alone)"
            problems.append(Problem(path, line, dotted(place), what, "write the character itself, as UTF-8"))
    return problems


def _too_deep(path: str, line: int) -> Problem:
    return Problem(path, line, "", f"expected at most {MAX_DEPTH} levels of nesting, found more", "flatten the value")


def _syntax_problem(text: str, path: str, line: int, err: json.JSONDecodeError) -> Problem:
    found = brief(text[err.pos : err.pos + 20]) if err.pos < len(text) else "the end of the text"
    column = f"column {err.colno}: " if "\n" not in text else ""
    what = f"expected JSON, but {column}{err.msg[:1].lower()}{err.msg[1:]}; found {found}"
    return Problem(path, line + err.lineno - 1, "", what, _json_fix(text, err.pos))


def _json_fix(text: str, pos: int) -> str:
    at = text[pos : pos + 5]
    if at.startswith("'"):
        return "use double quotes"
    if at.startswith(("True", "False", "None")):
        return "write true, false or null (this looks like Python)"
    if at.startswith(("}", "]")) or text[max(0, pos - 1) : pos] == ",":
        return "delete the trailing comma"
    return "correct the syntax at this place"
