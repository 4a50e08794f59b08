"""Names of modules as peft's settings write them, compared by hand: no pattern of an adapter is ever run.

peft reads each key of rank_pattern and alpha_pattern as the end of a regular expression. Those that people write are
names, perhaps with `^` before them, and those are all that is understood here. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MODULE_NAME = re.compile(r"[A-Za-z0-9_][\w.]*", re.ASCII)
_PLAIN = re.compile(r"\^?(?:\.\*\\?\.)?(?:[A-Za-z0-9_.]|\\\.)+\$?")


def is_plain(key: str) -> bool:
    r"""Whether it is a name, with `^` before it, `.*\.` before it, `$` behind it, or `\.` for its dots at most."""
    return _PLAIN.fullmatch(key) is not None


def applies(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """The value of the first plain key that means the module, as peft would find it, else `otherwise`."""
    return next((value for key, value in patterns.items() if _means(key, module)), otherwise)


def _means(key: str, module: str) -> bool:
    """As `re.match(rf"(.*\\.)?({key})$", module)`, for a plain key."""
    whole, body = key.startswith("^"), key.removeprefix("^").removesuffix("$")
    if match := re.match(r"\.\*\\?\.", body):
        whole, body = False, body[match.end() :]
    wanted = list(_characters(body))
    if len(wanted) > len(module) or (whole and len(wanted) != len(module)):
        return False
    start = len(module) - len(wanted)
    if start and module[start - 1] != ".":
        return False
    return all(want in (None, found) for want, found in zip(wanted, module[start:], strict=True))


def _characters(body: str) -> list[str | None]:
    """Each character that is wanted; None for a dot, which in a regular expression is any."""
    found: list[str | None] = []
    for piece in re.findall(r"\\\.|.", body):
        found.append("." if piece == r"\." else None if piece == "." else piece)
    return found
