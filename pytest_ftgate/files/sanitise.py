r"""The one door through which text of models, data sets, adapters and files reaches people.

Every function redacts secrets, then shows what cannot be seen: control, format and bidi characters, odd spaces, lone
surrogates and unassigned code points come out as `\x1b`, `\u202e`, `\U000e0041`. Then it escapes for one sink:

    visible           one line, for a sentence
    html_text         element or quoted attribute
    json_script       <script type="application/json">
"""

from __future__ import annotations

import fnmatch
import html
import json
import os
import re
from collections.abc import Mapping
from functools import cache

LIMIT = 2000
"""Characters of a text that are shown by default; how many more there are is always said."""

_SECRET_NAMES = ("*TOKEN*", "*SECRET*", "*KEY*", "*PASSWORD*")
_SECRET_CHARS = 8
# `##[error]` and the like act anywhere in a line of GitHub and Azure logs; `::error::` after blanks only.
_LOG_COMMAND = re.compile(r"##(?=\[|vso\[|teamcity\[)|^( *):(?=:)")
# Variation selectors beyond the first sixteen are invisible, printable by name, and can carry hidden bytes.
_HIDDEN = re.compile("[\U000e0100-\U000e01ef\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u3164\uffa0]")


def redact(text: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """The text with each value of a secret-like environment variable replaced by `[redacted NAME]`.

    Secret-like: the name matches *TOKEN*, *SECRET*, *KEY* or *PASSWORD*, and the value has 8 characters or more.
    """
    secrets = {value: name for name, value in environ.items() if len(value) >= _SECRET_CHARS and _is_secret(name)}
    if not secrets:
        return text
    longest_first = sorted(secrets, key=lambda value: (-len(value), value))
    pattern = "|".join(re.escape(value) for value in longest_first)
    return re.sub(pattern, lambda match: f"[redacted {secrets[match[0]]}]", text)


@cache
def _is_secret(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name.upper(), pattern) for pattern in _SECRET_NAMES)


def visible(text: str, *, limit: int = LIMIT) -> str:
    """One printable line: at most `limit` characters of the text, then `... N more characters`."""
    text = redact(text)
    return _printable(text[:limit]) + _more(len(text) - limit)


def _more(hidden: int) -> str:
    return f" ... {hidden} more characters" if hidden > 0 else ""


def _printable(text: str) -> str:
    """No character that does not show as itself, and nothing that a CI log reads as a command."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escape(c) for c in text)
    text = _HIDDEN.sub(lambda match: _escape(match[0]), text)
    return _LOG_COMMAND.sub(lambda match: "#\\x23" if match[0] == "##" else f"{match[1]}\\x3a", text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _lines(text: str, limit: int) -> list[str]:
    """Printable lines; only LF and CRLF end one. The last says how many characters were left out."""
    text = redact(text)
    shown = [_printable(line) for line in text[:limit].replace("\r\n", "\n").split("\n")]
    shown[-1] += _more(len(text) - limit)
    return shown


def html_text(text: str, *, limit: int = LIMIT) -> str:
    """Text for an element or a quoted attribute; lines are kept."""
    return html.escape("\n".join(_lines(text, limit)), quote=True)


def json_script(value: object, *, limit: int = LIMIT) -> str:
    """JSON that cannot leave a `<script>` element; every string in it, keys included, is redacted and printable.

    Takes dicts with string keys, lists, tuples, strings, finite numbers, booleans and None. Raises ValueError or
    TypeError for anything else.
    """
    text = json.dumps(_json_value(value, limit), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _json_value(value: object, limit: int) -> object:
    if isinstance(value, str):
        return "\n".join(_lines(value, limit))
    if isinstance(value, Mapping):
        return _json_object(value, limit)
    if isinstance(value, list | tuple):
        return [_json_value(item, limit) for item in value]
    return value


def _json_object(value: Mapping[str, object], limit: int) -> dict[str, object]:
    shown = {visible(key, limit=limit): _json_value(item, limit) for key, item in value.items()}
    if len(shown) < len(value):
        raise ValueError("two keys of one object look the same once they are made printable")
    return shown
