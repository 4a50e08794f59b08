"""Names that a reader takes for another one: invisible characters, letters of other scripts, digits for letters.

What a name looks like is its skeleton, after UTS 39 (https://www.unicode.org/reports/tr39/, Confusable Detection), with
a table for the letters that occur here and, where a letter of another script is in no table, a wildcard. Pure.
"""

from __future__ import annotations

import re
import unicodedata

OTHER = "\ufffd"
"""In a skeleton: a letter of another script, which may look like any."""
_LOOKS = {
    **dict.fromkeys("аɑαа", "a"),
    **dict.fromkeys("еєҽε℮", "e"),
    **dict.fromkeys("ʋνѵ", "v"),
    **dict.fromkeys("ⅼӏіı|1iɩιߊا", "l"),
    **dict.fromkeys("уүγʏ", "y"),
    **dict.fromkeys("мⅿʍ", "m"),
    **dict.fromkeys("оο0օ", "o"),
    **dict.fromkeys("тτ", "t"),
    **dict.fromkeys("ɡց", "g"),
    **dict.fromkeys("ƒ", "f"),
}
_FILLERS = "\u115f\u1160\u3164\uffa0\u2800"
"""Letters and symbols that are drawn as nothing."""


def skeleton(name: str) -> str:
    """What a name looks like: two names with one skeleton are easily taken for each other."""
    seen = []
    for char in unicodedata.normalize("NFKD", name).casefold():
        category = unicodedata.category(char)
        if char in _FILLERS or char.isspace() or category[0] in "CZ" or category[0] == "M":
            continue
        if char in _LOOKS:
            seen.append(_LOOKS[char])
        elif char.isascii():
            seen.append(char)
        else:
            seen.append({"Po": ".", "Pd": "-", "Pc": "_"}.get(category, OTHER))
    text = "".join(seen).replace("rn", "m")
    return re.sub(r"\.+", ".", text).rstrip(".")


def looks_like(name: str, wanted: str) -> bool:
    """Whether a name ends with what is easily taken for `wanted`, itself included."""
    tail, end = skeleton(wanted), skeleton(name)[-len(skeleton(wanted)) :]
    same = sum(a == b for a, b in zip(end, tail, strict=False))
    fitting = len(end) == len(tail) and all(a in (b, OTHER) for a, b in zip(end, tail, strict=True))
    return fitting and 2 * same >= len(tail)  # or every name in another script would look like every one
