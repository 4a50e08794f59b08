"""Tables of a benchmark's document, and how numbers look in them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the document."""

    title: str
    text: str
    """What the rows and columns mean."""
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        body = tabulate(self.rows, self.headers, tablefmt="github", disable_numparse=True)
        return f"## {self.title}\n\n{self.text}\n\n{body}\n"


def paragraphs(text: str) -> str:
    """Each paragraph or heading filled to the width of the project's documents."""
    parts = text.strip("\n").split("\n\n")
    return "\n\n".join(textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False) for part in parts)


def rate(value: float) -> str:
    """A probability to three digits, without the zero before the point."""
    return f"{value:.3f}".removeprefix("0")


def points(fraction: float) -> str:
    return f"{100 * fraction:+.0f}"
