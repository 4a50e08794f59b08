"""Formats file names, keys and values for messages: short, printable, one line. File text is untrusted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from pytest_ftgate.files.json_value import Json

_SHOWN_CHARS = 60


def shown(path: Path | str) -> str:
    """The path as the user knows it: relative to the working directory where it lies below it."""
    try:
        given = os.path.abspath(path)  # a link is called by its own name, and a loop of links has no other
        return str(Path(os.path.realpath(os.path.dirname(given)), os.path.basename(given)).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def brief(value: Json) -> str:
    """`repr` of a value in at most 60 characters; control and bidi characters come out escaped."""
    # Cut before repr: the value may be megabytes long.
    try:
        text = repr(value[:_SHOWN_CHARS] if isinstance(value, str) else value)
    except Exception:  # noqa: BLE001
        # A whole number of 5,000 digits has no decimal text in Python, and a class may have a repr of its own.
        text = f"<{type(value).__name__} that cannot be shown>"
    if isinstance(value, str) and len(value) > _SHOWN_CHARS:
        text += "..."
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def describe(value: Json) -> str:
    """What a value is, as a user would say it: `the text 'no'`, `the number 85`, `a list of 3`, `nothing`."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {brief(value)}"
    if isinstance(value, str):
        return f"the text {brief(value)}" if value else "an empty text"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return f"a mapping with {listed([key(k) for k in value])}" if value else "an empty mapping"
    return f"a value of type {type(value).__name__}"


def key(name: str) -> str:
    """A key as it is written in the file; escaped and cut where it is odd."""
    plain = len(name) <= _SHOWN_CHARS and name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return f"`{name}`" if plain else brief(name)


def listed(words: Sequence[str], *, limit: int = 8, last: str = "and") -> str:
    """`a, b and c`; beyond `limit` words, `a, b, ... (12 in all)`."""
    if len(words) > limit:
        return f"{', '.join(words[:limit])}, ... ({len(words)} in all)"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def dotted(parts: Iterable[str | int]) -> str:
    """`gates.accuracy.min`, `examples[3].id`: a place in a document; odd keys are escaped."""
    out = ""
    for part in parts:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            name = key(part).strip("`")
            out += f".{name}" if out else name
    return out


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one most resembles, or None."""
    close = get_close_matches(name.casefold()[:_SHOWN_CHARS], list(known), n=1, cutoff=0.6)
    return close[0] if close else None
