"""Read the number that an answer gives: `1,234.50`, `-3`, `1e3`, `45%`, `12 kg`; never the 2 in 12, H2O or 1/2."""

from __future__ import annotations

import math
import re
from collections import deque
from dataclasses import dataclass
from decimal import Decimal

# A run is everything that hangs together around a digit; a run that is not plainly one number is no number at all.
_RUN = re.compile(
    r"(?<![\w.])[-+\u2212]?[$\u20ac\u00a3\u00a5\u20b9]?\.?\d"
    r"(?:[\w%]|[.,'\u2019\u00a0\u202f\u2009:^*+\-\u2212\u2013](?=\d)|/(?=\w)|(?<=\d)[ ](?=\d{3}(?!\d)))*"
    r"|(?<!\w)[-+\u2212]?(?:nan|inf|infinity|\u221e)(?!\w)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)[$\u20ac\u00a3\u00a5\u20b9]?"
    r"(?P<whole>[1-9][0-9]{0,2}(?P<mark>[,_'\u2019\u00a0\u202f\u2009])[0-9]{3}(?:(?P=mark)[0-9]{3})*|[0-9]*)"
    r"(?P<fraction>(?:\.[0-9]+)?)(?P<exponent>(?:[eE][-+]?[0-9]+)?)"
    # A unit may follow, but no superscript or vulgar fraction: 5\u00b2 is not 5.
    r"(?P<percent>%?)(?![\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u218f])(?P<unit>[^\W\d_]*(?:/[^\W\d_]+)?)"
)
_PERCENT_AFTER = re.compile(r"[ \u00a0\u202f](?:%|percent\b|per cent\b)")
_SCALE = re.compile(r"[ \u00a0\u202f](?:hundred|thousand|million|billion|trillion|dozen)", re.IGNORECASE)
_SCALES = frozenset(("k", "K", "M", "B", "bn", "mn", "mio", "mrd", "tn", "T"))
_MAX_DIGITS = 400


@dataclass(frozen=True, slots=True)
class Number:
    """A number as an answer gives it."""

    value: Decimal
    """As written: 45 for `45%`."""
    percent: bool


def read_number(text: str) -> Number | None:
    """The last number of the text; None where there is none, or the last one is not finite or not plainly one number.

    Not plainly one number: a date, a time, a ratio, a range, a version, `3,5`, `12 345`, `12k`. Nothing is guessed at.
    """
    last = next(iter(deque(_RUN.finditer(text), maxlen=1)), None)
    if last is None or _SCALE.match(text, last.end()):
        return None
    parts = _NUMBER.fullmatch(last[0])
    if parts is None or parts["unit"] in _SCALES:
        return None
    return _number(parts, bool(_PERCENT_AFTER.match(text, last.end())))


def parse_number(text: str) -> Number | None:
    """The number that the whole text is, a percent sign allowed; None where it is anything else, or not finite."""
    parts = _NUMBER.fullmatch(text.strip())
    return _number(parts, False) if parts and not parts["unit"] else None


def _number(parts: re.Match[str], percent_after: bool) -> Number | None:
    if len(parts[0]) > _MAX_DIGITS or not (parts["whole"] or parts["fraction"]):
        return None
    whole = parts["whole"].replace(parts["mark"], "") if parts["mark"] else parts["whole"]
    sign = "-" if parts["sign"] in ("-", "\u2212") else ""
    literal = sign + (whole or "0") + parts["fraction"] + parts["exponent"]
    # Beyond a double's range Decimal would need unbounded digits; the exponent is cut for the same reason.
    if len(parts["exponent"]) > 6 or not math.isfinite(float(literal)):
        return None
    return Number(Decimal(literal), bool(parts["percent"]) or percent_after)


def within(one: Number, other: Number, tolerance: float) -> bool:
    """Whether two numbers differ by at most `tolerance`, in decimal arithmetic: 1.01 is within 0.01 of 1.

    Where only one of them is a percentage, 45% is 0.45.
    """
    a, b = one.value, other.value
    if one.percent != other.percent:
        a = a / 100 if one.percent else a
        b = b / 100 if other.percent else b
    return abs(a - b) <= Decimal(str(tolerance))
