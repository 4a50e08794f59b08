"""Results of judging a model: frozen dataclasses, standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

FinishReason = Literal["stop", "length", "error"]
Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]
RunVerdict = Literal["SHIP", "BLOCK", "INCONCLUSIVE", "NOT_EVALUATED", "PARTIAL"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One model answer to one prompt. Text is untrusted: it reaches people only through report/sanitise.py."""

    text: str
    """Decoded answer, special tokens and stop string removed. Empty on error."""
    token_ids: tuple[int, ...]
    """New tokens only, the end mark included where the model wrote one; () where the engine does not tell them."""
    finish_reason: FinishReason
    """`stop`: the model ended; `length`: cut at max_new_tokens; `error`: nothing was obtained."""
    prompt_tokens: int | None = None
    """Tokens of the prompt; None where the engine does not count them."""
    label_logprobs: Mapping[str, float] | None = None
    """Sum of log-probabilities (nats) of each label's tokens, where a scorer asked for them."""
    error: str = ""
    """Why nothing was obtained, in one sentence. Empty unless finish_reason is `error`."""
    new_tokens: int | None = None
    """Tokens of the answer: of `token_ids`, where these are given; None where the engine does not count them."""

    def __post_init__(self) -> None:
        if self.new_tokens is None and self.token_ids:
            object.__setattr__(self, "new_tokens", len(self.token_ids))


@dataclass(frozen=True, slots=True)
class Score:
    """How right one answer is."""

    value: float
    """In [0, 1]."""
    answer: str | None
    """What was read out of the text (untrusted); None where nothing could be read."""
    explanation: str
    """Why this value, in a few words; holds no model text."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Value of each field (json_fields), each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why one answer has no score: what a ScoringError said."""

    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class FormatCheck:
    """Whether one output obeys the format gate."""

    strict: bool
    """The whole output obeys: this decides."""
    lenient: bool
    """The first JSON found, fences and a reasoning block stripped, obeys: shown beside it."""
    explanation: str
    """What was violated, in a few words; holds no model text. Empty if strict."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidate against a reference, paired by Example."""

    reference: str
    """`baseline:zero_shot`, ..., or `base`."""
    n: int
    gains: int
    """Units (examples, or clusters) on which the candidate scores higher."""
    losses: int
    ties: int
    candidate: float
    """Mean score of the candidate, in [0, 1]."""
    base: float
    """Mean score of the reference, in [0, 1]."""
    delta: float
    """candidate - base."""
    interval: tuple[float, float]
    """For delta; two-sided at `confidence`."""
    confidence: float
    delta0: float
    """The bad null says delta <= delta0."""
    p_good: float
    """p-value of the null delta <= delta0: small means proven good enough."""
    p_bad: float
    """p-value of the null delta >= delta0: small means proven not good enough."""
    method: str


@dataclass(frozen=True, slots=True)
class SliceResult:
    """What one gate measured on the examples that share one value of a field."""

    field: str
    value: str
    """Value of the field, as text (untrusted)."""
    examples: int
    n: int
    """Units judged, as in Verdict; 0 where nothing could be measured."""
    measured: float | None
    """As Verdict.value: the rate, or the difference to `reference`; None where nothing could be measured."""
    interval: tuple[float, float] | None
    reference: str
    """The reference hardest to beat here, or the one that a FAIL was proven against. Empty for a floor."""
    bound: float
    """Its own bound, or the gate's: the floor, or delta0."""
    required: bool
    """The bound is its own, so the gate passes only where this slice does."""
    p_value: float | None = None
    """Of the null "not good enough" at `bound`; uncorrected."""
    p_bad: float | None = None
    """Of the null "good enough", corrected by Holm over the gate's bounded slices; None where not `required`."""
    outcome: Outcome | Literal[""] = ""
    """"" where the slice is shown only."""
    method: str = ""
    note: str = ""
    """Why nothing could be measured."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate decided, with the numbers that decided it."""

    gate: str
    """`tickets::accuracy`"""
    kind: str
    outcome: Outcome
    summary: str
    """One sentence: what was measured, on how many, against what. No model text."""
    fix: str
    """What to do next. Empty on PASS."""
    n: int
    """Units judged: examples, or clusters where the eval set names a cluster."""
    value: float | None
    interval: tuple[float, float] | None
    bound: float | None
    p_value: float | None
    worst: tuple[str, ...] = ()
    """Example ids to look at first, worst first."""
    reason: str = ""
    """INCONCLUSIVE: CANNOT_PASS_AT_N · UNDERPOWERED · NEAR_MARGIN; FAIL: LEAKED · SLICE or ""; ERROR: a short code."""
    comparisons: tuple[Comparison, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)
    """Strict-JSON extras for the report: per-field rates, confusion matrix, lenient rate, rows of overlap."""
    slices: tuple[SliceResult, ...] = ()
    """The gate on each slice of the eval set, in the order of its file."""


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """Strict JSON."""
    return asdict(verdict)


def verdict_from_json(value: Mapping[str, Any]) -> Verdict:
    """What `verdict_to_json` gave, as read back: `verdict_from_json(verdict_to_json(v)) == v`."""
    comparisons = tuple(Comparison(**{**c, "interval": tuple(c["interval"])}) for c in value["comparisons"])
    slices = tuple(SliceResult(**{**one, "interval": _pair(one["interval"])}) for one in value["slices"])
    pairs = {"comparisons": comparisons, "interval": _pair(value["interval"]), "slices": slices}
    return Verdict(**{**value, **pairs, "worst": tuple(value["worst"])})


def _pair(value: list[float] | None) -> tuple[float, float] | None:
    return None if value is None else (value[0], value[1])
