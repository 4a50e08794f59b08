"""YAML without surprises: a subset in which every value is what it looks like, and every value knows its line.

Refused: duplicate and non-text keys, merge keys, anchors, aliases, tags, a second document, NaN and infinity,
integers beyond 64 bits, nesting deeper than 64. Plain scalars follow the core schema of YAML 1.2 (section 10.3.2),
decimal only: `no`, `010`, `12:30`, `1_000` and `2024-01-01` are text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from pytest_ftgate.files.disk import read_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.wording import brief, describe, dotted, shown

MAX_BYTES = 8 * 2**20
MAX_DEPTH = 64
MAX_PROBLEMS = 20

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)?(\.[0-9]+([eE][-+]?[0-9]+)?|(?<=[0-9])\.?[eE][-+]?[0-9]+|(?<=[0-9])\.)")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Place = tuple[str | int, ...]
"""Keys and list indices from the top of a document."""


@dataclass(frozen=True)
class Document:
    """One YAML file: its data, and where each value is written."""

    path: str
    """File as the user knows it."""
    data: Json
    lines: Mapping[Place, int]
    """1-based line of each key and list item, by place; `()` is the first line with content."""

    def line(self, place: Place) -> int:
        """The line of a place, or of the nearest enclosing place that is written in the file."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: Path) -> Document:
    """Read one file. Raises InputError with every problem found.

    A text that this process has parsed already is not parsed again: its Document is returned anew. Do not change it.
    """
    return _parsed_once(read_text(path, max_bytes=MAX_BYTES), shown(path))


@lru_cache(maxsize=256)
def _parsed_once(text: str, path: str) -> Document:
    return parse_yaml(text, path=path)


def parse_yaml(text: str, *, path: str) -> Document:
    """Parse a text; `path` names it in problems. Raises InputError with every problem found."""
    builder = _Builder(path, text)
    data: Json = None
    try:
        data = builder.document()
    except yaml.YAMLError as err:
        builder.problems.append(_syntax_problem(path, text, err))
    except (ValueError, OverflowError):  # PyYAML passes "\UFFFFFFFF" to chr(), a long %YAML version to int()
        what = "expected YAML text, found an escape or a number that cannot be represented"
        builder.problems.append(
            Problem(path, builder.last_line, "", what, "correct the `\\U...` escape or `%YAML` line")
        )
    if builder.problems:
        raise InputError(builder.problems[:MAX_PROBLEMS])
    return Document(path, data, builder.lines)


class _Builder:
    """Builds data from parser events: unlike nodes, they show anchors, aliases and tags before anything is expanded."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.lines: dict[Place, int] = {}
        self.last_line = 1
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Json:
        """The one document of the stream."""
        self._next()  # start of stream
        start = self._next()
        if isinstance(start, yaml.StreamEndEvent):
            self._report((), "expected a mapping of keys, found an empty file", "write the keys, or delete the file")
            return None
        first = self._next()
        self.lines[()] = self.last_line
        data = self._value(first, (), 1)
        self._next()  # end of document
        if isinstance(self._next(), yaml.DocumentStartEvent):
            self._report((), "expected one YAML document, found a second one", "delete the `---`, or split the file")
        return data

    def _next(self) -> yaml.Event:
        event = next(self._events)
        if event.start_mark is not None:
            self.last_line = event.start_mark.line + 1
        return event

    def _report(self, place: Place, what: str, fix: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(self.path, self.last_line, dotted(place), what, fix))

    def _value(self, event: yaml.Event, place: Place, depth: int) -> Json:
        if depth > MAX_DEPTH:
            self._report(place[:1], f"expected at most {MAX_DEPTH} levels of nesting, found more", "flatten the value")
            raise InputError(self.problems)
        if isinstance(event, yaml.AliasEvent):
            self._report(place, f"expected a value, found the alias {brief(f'*{event.anchor}')}", "write it out again")
            return None
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            self._report(place, f"expected a value, found the anchor {brief('&' + event.anchor)}", "delete the anchor")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            self._report(
                place, f"expected a value without a tag, found {brief(_short_tag(event.tag))}", "delete the tag"
            )
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(place, depth)
        return self._mapping(place, depth)

    def _sequence(self, place: Place, depth: int) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            item = (*place, len(items))
            self.lines[item] = self.last_line
            items.append(self._value(event, item, depth + 1))
        return items

    def _mapping(self, place: Place, depth: int) -> dict[str, Json]:
        mapping: dict[str, Json] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            line, name = self.last_line, self._key(event, place, depth)
            if name is None:
                self._value(self._next(), place, depth + 1)
            elif name in mapping:
                first = self.lines[(*place, name)]
                self._report(
                    (*place, name), f"expected each key once, found it again (first on line {first})", "keep one"
                )
                self._discard((*place, name), depth)
            else:
                self.lines[(*place, name)] = line
                mapping[name] = None  # before its value, so that a problem inside still counts the key as seen
                mapping[name] = self._value(self._next(), (*place, name), depth + 1)
        return mapping

    def _discard(self, place: Place, depth: int) -> None:
        """Read a value for its problems only: lines of the first of two equal keys stay."""
        kept, self.lines = self.lines, {}
        self._value(self._next(), place, depth + 1)
        self.lines = kept

    def _key(self, event: yaml.Event, place: Place, depth: int) -> str | None:
        """The key, or None after reporting why it cannot be one."""
        if not isinstance(event, yaml.ScalarEvent):
            self._report(place, "expected a text as key, found another kind of value", "write a plain word as the key")
            self._value(event, place, depth + 1)
            return None
        if event.style is None and event.value == "<<":
            self._report(place, "expected a key, found the merge key `<<`", "write the merged keys out")
            return None
        key = self._value(event, place, depth + 1)
        if not isinstance(key, str):
            self._report(place, f"expected a text as key, found {describe(key)}", f'quote it: "{event.value[:60]}"')
            return None
        return key

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Json:
        text = event.value
        if event.style is not None:
            if any("\ud800" <= c <= "\udfff" for c in text):
                self._report(
                    place, "expected Unicode text, found half of a surrogate pair", "write the character itself"
                )
                return ""
            return text
        value = _plain(text)
        if isinstance(value, float) and not math.isfinite(value):
            self._report(place, f"expected a finite number, found {brief(text)}", "write a finite number, or quote it")
            return 0.0
        if isinstance(value, int) and abs(value) >= 2**63:
            self._report(
                place, f"expected an integer of at most 64 bits, found {brief(text)}", "quote it, if it is text"
            )
            return 0
        return value


def _plain(text: str) -> Json:
    """Resolve an unquoted scalar."""
    if _INT.fullmatch(text):
        return int(text) if len(text) < 24 else 2**64  # int() refuses very long texts; all of these are too large
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    return math.nan if _NOT_FINITE.fullmatch(text) else text


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


_SYNTAX_FIXES = (
    ("'\\t'", "a tab where YAML wants spaces", "indent with spaces"),
    (
        "mapping values are not allowed",
        "a second `:` in one line",
        'quote a text that holds ": ", or correct the indent',
    ),
    ("'`'", "a text that starts with a backquote", "put the text in quotes"),
    ("'@'", "a text that starts with @", "put the text in quotes"),
    ("'%'", "a text that starts with %", "put the text in quotes"),
    (
        "unknown escape character",
        "an unknown `\\` escape in double quotes",
        "double the backslash, or use single quotes",
    ),
    ("could not find expected ':'", "a line without `:` among keys", "write `key: value`, or indent the line as text"),
    ("expected ',' or", "a bracket that is not closed", "close the `[` or `{`, or put the text in quotes"),
    (
        "expected <block end>",
        "a line that does not fit its indentation",
        "align it with its siblings; quote `{...}` texts",
    ),
    ("unexpected end of stream", "a quote or bracket that is not closed", "close it"),
    ("did not find expected", "a bracket or dash out of place", "check the brackets and indents around this line"),
    ("second one", "a second document", "delete the `---`"),
)


def _syntax_problem(path: str, text: str, err: yaml.YAMLError) -> Problem:
    """PyYAML's error in the words of this project; where it began, if that is another line."""
    if isinstance(err, yaml.reader.ReaderError):
        line = text.count("\n", 0, err.position) + 1
        what = f"expected text, found the control character U+{ord(text[err.position]):04X}"
        return Problem(path, line, "", what, 'delete it, or write it as an escape in double quotes ("\\u0007")')
    if not isinstance(err, yaml.MarkedYAMLError) or err.problem is None:
        return Problem(path, None, "", "expected YAML, found something else", "check the syntax")
    mark = err.problem_mark or err.context_mark
    raw, (found, fix) = err.problem, _explained(err.problem)
    what = f"expected YAML, found {found}" if found else f"expected YAML; the parser says: {brief(raw)}"
    if err.context_mark and mark and err.context_mark.line != mark.line:
        what += f" (it began on line {err.context_mark.line + 1})"
    return Problem(path, mark.line + 1 if mark else None, "", what, fix)


def _explained(problem: str) -> tuple[str, str]:
    for part, found, fix in _SYNTAX_FIXES:
        if part in problem:
            return found, fix
    return "", "check the indentation, quotes and brackets around this line"
