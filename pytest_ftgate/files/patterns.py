"""Regular expressions that users write: whether they compile, and compile and match within bounds.

The `regex` library knows more than Python's `re`: recursion and fuzzy matching. Both take gigabytes or minutes on a
short answer before any time limit is looked at, and no pattern for an answer needs them: they are refused.
"""

from __future__ import annotations

import re

from pytest_ftgate.files.wording import brief

MAX_CHARS = 2000
MAX_REPEATS = 100_000
"""Nested counted repeats: ((a{1000}){1000}){1000} would take minutes and gigabytes."""
MAX_UNROLLED = 100_000
"""Characters, classes and groups once each least count is written out, as the library does: about 50 MB of memory."""

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d*)(?:,(\d*))?\}|.", re.DOTALL)
_CALL = re.compile(r"\(\?(?:R|[-+]?\d+|&[^)]*|P>[^)]*)\)")
_ERRORS = r"(?:\d+<=?)?[idse](?:<=?\d+)?"
_COST = r"\d*[idse](?:\+\d*[idse])*<=?\d+"
_FUZZY = re.compile(rf"\{{\s*(?:{_ERRORS}|{_COST})(?:\s*,\s*(?:{_ERRORS}|{_COST}))*\s*(?::[^}}]*)?\}}")
_COMMENTS = re.compile(r"\(\?(?:#|[a-zA-Z0-9]*x)")
"""In a comment a bracket is none: what follows it is not counted on."""


def pattern_problem(pattern: str) -> str | None:
    """Why the `regex` library cannot use a pattern, as `expected ..., found ...`; None if it can."""
    if len(pattern) > MAX_CHARS:
        return f"expected a pattern of at most {MAX_CHARS} characters, found {len(pattern)}"
    if wrong := _beyond_re(pattern):
        return wrong
    nested, unrolled = _sizes(pattern)
    if nested > MAX_REPEATS:
        return f"expected at most {MAX_REPEATS} nested repeats, found more in {brief(pattern)}"
    if unrolled > MAX_UNROLLED:
        return f"expected at most {MAX_UNROLLED} characters with its counts written out, found more in {brief(pattern)}"
    import regex  # type: ignore[import-untyped]

    try:
        regex.compile(pattern)
    except regex.error as err:
        return f"expected a regular expression, found {brief(pattern)} ({brief(str(err)).strip(chr(39))})"
    except (RecursionError, OverflowError, ValueError, MemoryError):
        return f"expected a regular expression, found one that is nested too deeply: {brief(pattern)}"
    return None


def _beyond_re(pattern: str) -> str | None:
    """What Python's `re` does not know and no time limit holds: recursion, and matching with errors."""
    at, commented = 0, _COMMENTS.search(pattern) is not None
    while at < len(pattern):
        if call := _CALL.match(pattern, at):
            return f"expected a pattern without recursion, found {brief(call.group())} in {brief(pattern)}"
        if fuzzy := _FUZZY.match(pattern, at):
            found = f"found {brief(fuzzy.group())} in {brief(pattern)}"
            return f"expected a pattern that matches without errors (`\\{{` is a brace), {found}"
        token = _TOKEN.match(pattern, at)
        # A class hides what stands in it, but not where it may be part of a comment.
        at = at + 1 if token is None or (commented and token.group()[0] == "[") else token.end()
    return None


def _sizes(pattern: str) -> tuple[int, int]:
    """(largest product of nested counted repeats, size with each least count written out): over-estimates."""
    if _COMMENTS.search(pattern):
        return _sizes_at_most(pattern)
    nested, sizes = [1], [0]  # of each open group
    inner = last = largest = 1  # of the last atom
    for token in _TOKEN.finditer(pattern):
        text = token.group()
        if text == "(":
            nested.append(1)
            sizes.append(0)
            inner = last = 1
        elif text == ")":
            inner, last = (nested.pop(), max(1, sizes.pop())) if len(nested) > 1 else (1, 1)
            nested[-1] = max(nested[-1], inner)
            sizes[-1] += last
        elif text[0] == "{" and len(text) > 1 and any(token.groups()):
            least, most = _counts(token)
            inner *= max(1, least, most)
            sizes[-1] += last * (max(1, least) - 1)
            last *= max(1, least)
            nested[-1] = max(nested[-1], inner)
        elif text not in "*+?|":
            inner = last = 1
            sizes[-1] += 1
        largest = max(largest, inner)
        if largest > MAX_REPEATS or sizes[-1] > MAX_UNROLLED:
            break
    return largest, sum(sizes)


def _sizes_at_most(pattern: str) -> tuple[int, int]:
    product, unrolled = 1, len(pattern)
    for token in _TOKEN.finditer(pattern):
        if token.group()[0] == "{" and any(token.groups() or ()):
            least, most = _counts(token)
            product = min(product * max(1, least, most), MAX_REPEATS + 1)
            unrolled = min(unrolled * max(1, least), MAX_UNROLLED + 1)
    return product, unrolled


def _counts(token: re.Match[str]) -> tuple[int, int]:
    least, most = (int(count[:9]) if count else 0 for count in token.groups())
    return least, most
