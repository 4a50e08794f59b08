"""Ways in which a copy of an example gets into training rows."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from benchmarks.overlap_language import Language

Row = tuple[str, str]
"""(input, output)"""

_PREFIXES = (
    "Hello, I hope you are well. I have a question for you:",
    "Please help me with the following, as exactly as you can.",
    "[ticket] Forwarded by a colleague, see below.",
    "Question 17 (two points):",
)
_SUFFIXES = (
    "Thanks a lot in advance!",
    "Answer in one line only.",
    "Best regards and have a nice day, M.",
    "Think step by step.",
)
_UNIT = re.compile(r"\n|(?<=[.?!;]) ")


def edit(text: str, p: float, language: Language) -> str:
    """Each token is edited with probability p: 60 % replaced, 20 % deleted, 20 % followed by a new one."""
    rng = language.rng
    out: list[str] = []
    for piece in re.findall(r"\w+|\W+", text):
        if not piece[0].isalnum() or rng.random() >= p:
            out.append(piece)
            continue
        kind = rng.random()
        new = str(rng.randint(2, 99)) if piece.isdecimal() else language.word()
        out += [new] if kind < 0.6 else [] if kind < 0.8 else [piece, " ", new]
    return "".join(out)


def recase(text: str, rng: random.Random) -> str:
    """Other case, other sentence punctuation, other spacing."""
    text = rng.choice((str.upper, str.lower, str.title))(text)
    text = re.sub(r"(?<=[A-Za-z])[,.?!;](?=\s|$)", lambda _: rng.choice(("", "!", " ...", ";")), text)
    return text.replace(" ", "  ") if rng.random() < 0.3 else text


def reorder(text: str, rng: random.Random) -> str:
    """Sentences (or lines) in another order."""
    units = [u for u in _UNIT.split(text) if u.strip()]
    order = list(range(len(units)))
    while len(units) > 1 and order == sorted(order):
        rng.shuffle(order)
    return " ".join(units[i] for i in order)


def wrapped(text: str, rng: random.Random) -> str:
    """With words of politeness before and after."""
    return f"{rng.choice(_PREFIXES)} {text} {rng.choice(_SUFFIXES)}"


def planters(language: Language, other: Callable[[], Row]) -> dict[str, Callable[[Row], list[Row]]]:
    """By kind: from an example's (input, output) to the rows that leak it. `other` draws a clean row of the suite."""
    rng = language.rng

    def edited(p: float, n: int = 1) -> Callable[[Row], list[Row]]:
        return lambda row: [(edit(row[0], p, language), row[1])] * n

    def embedded(row: Row) -> list[Row]:
        before, after = (" ".join(other()[0] for _ in range(rng.randint(1, 3))) for _ in range(2))
        return [(f"{before}\n\n{row[0]}\n\n{after}", row[1])]

    return {
        "exact": lambda row: [row],
        "case, punctuation": lambda row: [(recase(row[0], rng), row[1])],
        "prefix, suffix": lambda row: [(wrapped(row[0], rng), row[1])],
        "embedded": embedded,
        "reordered": lambda row: [(reorder(row[0], rng), row[1])],
        "5 % edits": edited(0.05),
        "15 % edits": edited(0.15),
        "30 % edits": edited(0.30),
        "20 copies, same 15 %": edited(0.15, 20),
        "20 copies, each 15 %": lambda row: [(edit(row[0], 0.15, language), row[1]) for _ in range(20)],
        "200 copies": lambda row: [row] * 200,
    }
