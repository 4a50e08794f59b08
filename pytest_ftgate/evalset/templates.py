"""Prompt templates: `{field}` is a field of the row, `{{` and `}}` are braces. Nothing else: no attribute, no format.

A text is put in as it is; any other value as compact JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from string import Formatter

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief


def template_fields(template: str) -> tuple[str, ...]:
    """Names of the fields that a template mentions, each once, in order. Raises ValueError where it is malformed."""
    return tuple(dict.fromkeys(name for _, name in _parts(template) if name is not None))


def render(template: str, fields: Mapping[str, Json]) -> str:
    """The template with its fields filled in. Raises ValueError (malformed), KeyError (a field that is not there)."""
    return "".join(part for part, _ in render_parts(template, fields))


def render_parts(template: str, fields: Mapping[str, Json]) -> list[tuple[str, bool]]:
    """As `render`, in parts: (text, whether it comes from a field)."""
    out: list[tuple[str, bool]] = []
    for literal, name in _parts(template):
        out.append((literal, False))
        if name is not None:
            out.append((as_text(fields[name]), True))
    return out


@lru_cache(maxsize=256)  # a template is rendered for every example and every shot
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """(literal text, field name after it or None)."""
    parts: list[tuple[str, str | None]] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(template):
            if name is not None and (spec or conversion or not _is_plain(name)):
                raise ValueError(f"{{{brief(name).strip(chr(39))}}} is not a plain field name")
            parts.append((literal, name))
    except ValueError as err:
        # Formatter's own words ("Single '}' encountered in format string") are about str.format
        reason = str(err) if "plain field name" in str(err) else "a brace stands alone"
        raise ValueError(reason) from None
    return tuple(parts)


def _is_plain(name: str) -> bool:
    """Any text but the syntax of str.format: `a.b`, `a[0]`, the empty `{}`."""
    return bool(name) and name == name.strip() and not set(name) & set(".[]{}!:\n\"'")


def as_text(value: Json) -> str:
    """A field's value as it stands in a prompt."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
