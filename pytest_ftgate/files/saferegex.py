"""Regular expressions that end: the `regex` module with a time limit, and patterns of JSON Schema's own dialect.

`re` cannot be interrupted, and `(a+)+$` on forty characters keeps it busy for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import regex  # type: ignore[import-untyped]

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.files.patterns import pattern_problem

SECONDS = 0.8
"""Of processor time, for one output."""
MOST_TIMEOUTS = 3
"""A pattern that ran out of time so often is not tried again: 300 outputs would take minutes to say the same."""


class PatternError(ValueError):
    """A pattern cannot be used; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """One match."""

    text: str
    answer: str | None
    """Text of the group named `answer`; None where the pattern has none or it took no part."""


@dataclass(frozen=True, slots=True)
class SafePattern:
    """A compiled pattern whose every use ends within `SECONDS`."""

    compiled: regex.Pattern
    named_answer: bool
    """Whether the pattern has a group named `answer`."""
    _late: list[int] = field(default_factory=list, compare=False, repr=False)
    """Lengths of the outputs on which time ran out."""

    def fullmatch(self, text: str) -> Found | None:
        """Match the whole text. Raises ScoringError when time runs out."""
        return self._run("fullmatch", text)

    def search(self, text: str) -> Found | None:
        """Match anywhere, leftmost first. Raises ScoringError when time runs out."""
        return self._run("search", text)

    def _run(self, how: str, text: str) -> Found | None:
        run = self.compiled.fullmatch if how == "fullmatch" else self.compiled.search
        if len(self._late) >= MOST_TIMEOUTS:
            raise _too_slow(self._late[-1])
        try:
            match = run(text, timeout=SECONDS)
        except TimeoutError:
            self._late.append(len(text))
            raise _too_slow(len(text)) from None
        except MemoryError:
            self._late.append(len(text))
            what = f"a regular expression took more memory than there is on an output of {len(text)} characters"
            raise ScoringError(what, "rewrite the pattern without nested repeats") from None
        if match is None:
            return None
        return Found(match.group(), match.group("answer") if self.named_answer else None)


def _too_slow(length: int) -> ScoringError:
    what = f"a regular expression took more than {SECONDS:g} s on an output of {length} characters"
    return ScoringError(what, "rewrite the pattern without nested repeats such as `(a+)+`")


def compile_pattern(pattern: str) -> SafePattern:
    """Compile in the dialect of Python's `re` as the `regex` module reads it. Raises PatternError."""
    if wrong := pattern_problem(pattern):
        raise PatternError(wrong)
    compiled = regex.compile(pattern)
    return SafePattern(compiled, "answer" in compiled.groupindex)


def compile_ecma(pattern: str) -> SafePattern:
    r"""Compile a pattern of JSON Schema (ECMA-262). Raises PatternError.

    There `$` does not match before a final newline, and `\d` and `\w` are ASCII only; read as Python's, a schema
    would accept more than it says.
    """
    return compile_pattern("".join(_pythonic(pattern)))


_OUTSIDE = {"\\d": "[0-9]", "\\D": "[^0-9]", "\\w": "[A-Za-z0-9_]", "\\W": "[^A-Za-z0-9_]", "$": r"\Z"}
_INSIDE = {"\\d": "0-9", "\\w": "A-Za-z0-9_"}


def _pythonic(pattern: str) -> Iterator[str]:
    at, inside = 0, False
    while at < len(pattern):
        token = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        if inside:
            inside = token != "]"
            # `[` inside a class is literal in ECMA, but may open a nested set in the regex module.
            yield "\\[" if token == "[" else _INSIDE.get(token, token)
        else:
            inside = token == "["
            yield _OUTSIDE.get(token, token)
        at += len(token)
