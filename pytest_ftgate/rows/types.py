"""A training row in the one form that everything reads. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_ftgate.evalset.types import Message


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One training example in the one form that everything reads."""

    path: str
    """File that the row came from, as the user named it."""
    row: int
    """1-based line (JSONL) or row number (parquet, csv, datasets) in that file."""
    messages: tuple[Message, ...]
    """The conversation; for prompt/completion text, one user and one assistant message."""
    form: Literal["messages", "prompt_completion", "text_completion"]
    """As written: chat `messages`; `prompt`/`completion` as messages; `prompt`/`completion` as plain text."""
    rejected: tuple[Message, ...] = ()
    """Of a preference pair, the answer that was not chosen (the chosen one ends `messages`); () for other rows."""

    @property
    def input(self) -> str:
        """All user turns, joined by newlines (system turns left out: they are shared boilerplate)."""
        return "\n".join(m.content for m in self.messages if m.role == "user")

    @property
    def output(self) -> str:
        """All assistant turns, joined by newlines; of a preference pair, the chosen ones."""
        return "\n".join(m.content for m in self.messages if m.role == "assistant")
