"""Regular expressions that users write: whether they compile, and compile quickly."""

from __future__ import annotations

import re

from pytest_ftgate.files.wording import brief

MAX_CHARS = 2000
MAX_REPEATS = 100_000
"""Nested counted repeats are unrolled when compiled: ((a{1000}){1000}){1000} would take minutes and gigabytes."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(|\)|\{(\d+)(?:,(\d*))?\}", re.DOTALL)


def pattern_problem(pattern: str) -> str | None:
    """Why the `regex` library cannot use a pattern, as `expected ..., found ...`; None if it can."""
    if len(pattern) > MAX_CHARS:
        return f"expected a pattern of at most {MAX_CHARS} characters, found {len(pattern)}"
    if _repeats(pattern) > MAX_REPEATS:
        return f"expected at most {MAX_REPEATS} nested repeats, found more in {brief(pattern)}"
    import regex  # type: ignore[import-untyped]

    try:
        regex.compile(pattern)
    except regex.error as err:
        return f"expected a regular expression, found {brief(pattern)} ({brief(str(err)).strip(chr(39))})"
    except (RecursionError, OverflowError, ValueError):
        return f"expected a regular expression, found one that is nested too deeply: {brief(pattern)}"
    return None


def _repeats(pattern: str) -> int:
    """The largest product of nested counted repeats, an over-estimate where the pattern is odd."""
    open_groups, inner, largest = [1], 1, 1
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text == "(":
            open_groups.append(1)
            inner = 1
        elif text == ")":
            inner = open_groups.pop() if len(open_groups) > 1 else 1
            open_groups[-1] = max(open_groups[-1], inner)
        elif text.startswith("{"):
            counts = [c[:9] for c in token.groups() if c]
            inner *= max(1, *(int(c) for c in counts))
            open_groups[-1] = max(open_groups[-1], inner)
        else:
            inner = 1
        largest = max(largest, inner)
    return largest
