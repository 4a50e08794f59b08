"""The data of the HTML report: one run, its gates, and every example with the answer of each System."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.results import FinishReason, Verdict

Tag = Literal["error", "lost", "gained", "wrong", "format", "cut_off"]
"""What can be said of a row; a row has any number of them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one System answered to one Example, and what it was worth. All text is untrusted."""

    system: str
    """`candidate` · `baseline:<rung>` · `base`"""
    text: str
    finish_reason: FinishReason | Literal["missing", "spared"]
    """As in Generation; `missing`: this run holds no answer of this System; `spared`: none was needed."""
    score: float | None
    """In [0, 1]; None where the answer could not be scored."""
    explanation: str
    """Why this score, or why there is none."""
    read: str | None = None
    """What the scorer read out of the text; None where that is nothing, or the whole text."""


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One Example as the report shows it. All text is untrusted."""

    evalset: str
    id: str
    prompt: tuple[tuple[str, str], ...]
    """(role, text) of each turn that the candidate was sent; role is "text" for a completion model."""
    reference: str
    """The reference answer as text. Empty where there is none."""
    answers: tuple[Answer, ...]
    """Candidate first, then the references in the order of the eval set."""
    violation: str = ""
    """How the candidate's answer breaks the format gate. Empty if it obeys, or if there is no such gate."""

    @property
    def candidate(self) -> Answer:
        """The candidate's answer."""
        return self.answers[0]

    @property
    def tags(self) -> frozenset[Tag]:
        """`lost` and `gained` are against any reference; `wrong` is any score of the candidate below 1."""
        mine = self.candidate.score
        others = [a.score for a in self.answers[1:] if a.score is not None]
        found: dict[Tag, bool] = {
            "error": any(a.finish_reason in ("error", "missing") for a in self.answers),
            "lost": mine is not None and any(mine < other for other in others),
            "gained": mine is not None and any(mine > other for other in others),
            "wrong": mine is not None and mine < 1.0,
            "format": bool(self.violation),
            "cut_off": self.candidate.finish_reason == "length",
        }
        return frozenset(tag for tag, holds in found.items() if holds)


@dataclass(frozen=True, slots=True)
class ReportData:
    """One run."""

    decision: Decision
    verdicts: tuple[Verdict, ...]
    """In the order of the gates on disk."""
    engine: Mapping[str, Json]
    """What `Engine.describe` says; {} where no model was needed or none could be loaded."""
    counts: Mapping[str, Mapping[str, int]]
    """StageResult.counts"""
    withheld: Mapping[str, int]
    """StageResult.withheld"""
    command: str
    """The exact command that repeats the run."""
    rows: tuple[ExampleRow, ...] = ()
    """Every example of every eval set that was answered."""
    notes: tuple[str, ...] = field(default=())
    """What could not be put into the report, and why."""
