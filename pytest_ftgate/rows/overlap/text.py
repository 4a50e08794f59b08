"""Text as tokens: the one definition of what counts as "the same words".

Normal form: NFKC, case folded, NFKC again. Tokens: runs of letters, digits and combining marks; in scripts that are
written without spaces (Han, Kana, Hangul, Thai, Lao, Tibetan, Burmese, Khmer) every character is a token of its own.
Everything else separates.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import regex  # type: ignore[import-untyped]

SEPARATOR, WORD, SINGLE = 0, 1, 2

# Blocks whose scripts put no spaces between words (Hangul does, but its syllables carry as much as a word stem).
_UNSPACED = (
    (0x0E00, 0x0EFF),
    (0x0F00, 0x109F),
    (0x1100, 0x11FF),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3130, 0x318F),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7FF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_ASCII_TOKEN = re.compile(r"[0-9a-z]+")
_GRAPHEME = regex.compile(r"\X")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s*([-*/^%:.,])\s*(?=\d)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@cache
def char_class(char: str) -> int:
    """SEPARATOR, WORD (part of a word) or SINGLE (a token by itself), for one character of normalised text."""
    if not char.isalnum() and not unicodedata.category(char).startswith("M"):
        return SEPARATOR
    code = ord(char)
    return SINGLE if any(low <= code <= high for low, high in _UNSPACED) else WORD


def normalise(text: str) -> str:
    """The text as it is compared."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def tokens(text: str) -> list[str]:
    """Tokens of a text, in order."""
    normal = normalise(text)
    return [normal[start:end] for start, end in _bounds(normal)]


def located_tokens(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """(tokens, their [start, end) character offsets in the text as written). The tokens equal `tokens(text)`."""
    normal = normalise(text)
    bounds = _bounds(normal)
    found = [normal[start:end] for start, end in bounds]
    if len(normal) == len(text) and text.isascii():
        return found, bounds
    origin = _origins(text, normal)
    return found, [(origin[start][0], origin[end - 1][1]) for start, end in bounds]


def symbols(text: str) -> list[str]:
    """Signs that can change the meaning of equal words: operators, currency, emoji, and marks between two digits."""
    normal = normalise(text)
    found = [(m.start(1), m.group(1)) for m in _BETWEEN_DIGITS.finditer(normal)]
    found += [(i, c) for i, c in enumerate(normal) if c in "+<=>|~$^" or (c > "\x7f" and _is_symbol(c))]
    return [sign for _, sign in sorted(set(found))]


def numbers(text: str) -> list[str]:
    """Numbers in the text without thousands separators: `1,234.50` gives `1234.5`."""
    return [_plain(m.group()) for m in _NUMBER.finditer(normalise(text))]


def stem(token: str) -> str:
    """The first five characters: enough to join most inflections, in most languages."""
    return token[:5]


def visible(text: str) -> str:
    """The text on one line, with nothing that a terminal acts on or hides: controls, bidi, zero-width are escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(char: str) -> str:
    return {"\n": "⏎", "\t": "⇥", "\u00a0": " ", "\u3000": " "}.get(char, f"<U+{ord(char):04X}>")


def _bounds(normal: str) -> list[tuple[int, int]]:
    if normal.isascii():
        return [m.span() for m in _ASCII_TOKEN.finditer(normal)]
    bounds: list[tuple[int, int]] = []
    start = -1
    for i, char in enumerate(normal):
        kind = char_class(char)
        if kind != WORD and start >= 0:
            bounds.append((start, i))
            start = -1
        if kind == SINGLE:
            bounds.append((i, i + 1))
        elif kind == WORD and start < 0:
            start = i
    if start >= 0:
        bounds.append((start, len(normal)))
    return bounds


def _origins(text: str, normal: str) -> Sequence[tuple[int, int]]:
    """For each character of the normal form, the [start, end) of what it came from.

    Normalisation works within grapheme clusters (a letter with its marks, a Hangul syllable). Where a text is so
    odd that this does not hold, every character maps to the whole text: wide, never wrong.
    """
    origin: list[tuple[int, int]] = []
    pieces: list[str] = []
    for match in _GRAPHEME.finditer(text):
        piece = normalise(match.group())
        pieces.append(piece)
        origin += [match.span()] * len(piece)
    if "".join(pieces) != normal:
        return [(0, len(text))] * len(normal)
    return origin


@cache
def _is_symbol(char: str) -> bool:
    return unicodedata.category(char) in {"Sm", "Sc", "So"}


def _plain(number: str) -> str:
    whole, dot, part = number.replace(",", "").partition(".")
    part = part.rstrip("0") if dot and part.isdigit() else part
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")
