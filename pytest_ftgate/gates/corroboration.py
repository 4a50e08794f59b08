"""Compares how well the candidate knows leaked and clean examples. Advisory, and pure.

delta = mean log p(reference answer | prompt) of the candidate minus that of the base, teacher-forced on the exact
prompt of the eval set. Clean examples of the same set are the null: same distribution, not trained on. A missing signal
exonerates nobody: one epoch at a low rate leaves little of it.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from statistics import median

from scipy.stats import mannwhitneyu

from pytest_ftgate.answers.prompting import BASE_REFERENCE, CANDIDATE_REFERENCE
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.gates.given import Answers
from pytest_ftgate.results import Verdict

MIN_CLEAN = 30
MIN_TOKENS = 5
"""Shorter references (labels) say nothing: all of a kind share them."""
OUTLIER = 6.0
"""Robust standard deviations above the clean median at which an unflagged example is named."""
NAMED = 20


@dataclass(frozen=True, slots=True)
class Corroboration:
    """What log-probabilities say about leaked examples."""

    leaked: int
    clean: int
    median_leaked: float
    """Nats per token by which the candidate prefers leaked references more than the base does."""
    median_clean: float
    p_value: float
    """One-sided Mann-Whitney test of "leaked examples are not known better"."""
    strength: str
    """`strong` (p < 0.01), `weak` (p < 0.05), `none`."""
    outliers: tuple[str, ...]
    """Unflagged examples known as if by heart: possibly memorised, no textual match."""


def corroborate(evalset: EvalSet, answers: Answers, leaked: Set[str]) -> Corroboration | str:
    """Compare leaked with clean examples; a sentence where there is too little to compare."""
    deltas = _deltas(evalset, answers)
    flagged = [d for i, d in deltas.items() if i in leaked]
    clean = {i: d for i, d in deltas.items() if i not in leaked}
    if len(clean) < MIN_CLEAN:
        return (
            f"corroboration needs {MIN_CLEAN} clean examples with references of {MIN_TOKENS} tokens or more, "
            f"found {len(clean)}"
        )
    centre = median(clean.values())
    spread = 1.4826 * median(abs(d - centre) for d in clean.values())
    outliers = [i for i, d in clean.items() if spread > 0 and d > centre + OUTLIER * spread]
    if not flagged:
        return Corroboration(0, len(clean), 0.0, centre, 1.0, "none", tuple(outliers[:NAMED]))
    p_value = float(mannwhitneyu(flagged, list(clean.values()), alternative="greater").pvalue)
    strength = "strong" if p_value < 0.01 else "weak" if p_value < 0.05 else "none"
    return Corroboration(len(flagged), len(clean), median(flagged), centre, p_value, strength, tuple(outliers[:NAMED]))


def with_corroboration(verdict: Verdict, found: Corroboration | str) -> Verdict:
    """The overlap Verdict with what the model says added; the outcome stays as it is."""
    if isinstance(found, str):
        return replace(verdict, details={**verdict.details, "corroboration": {"note": found}})
    sentence = ""
    if found.leaked:
        sentence = (
            f"; the model's own signal is {found.strength}: references of leaked examples gained "
            f"{found.median_leaked:+.2f} nats per token over the base, those of clean ones {found.median_clean:+.2f} "
            f"(p = {found.p_value:.2g})"
        )
    if found.outliers:
        sentence += f"; possibly memorised, no textual match: {', '.join(found.outliers[:5])}"
    return replace(
        verdict, summary=verdict.summary + sentence, details={**verdict.details, "corroboration": asdict(found)}
    )


def _deltas(evalset: EvalSet, answers: Answers) -> dict[str, float]:
    """Example id -> delta in nats per token, for references that are long enough."""
    ours, theirs = answers[CANDIDATE_REFERENCE.name], answers[BASE_REFERENCE.name]
    found: dict[str, float] = {}
    for example in evalset.examples:
        mine, base = ours[example.id], theirs[example.id]
        tokens = mine.new_tokens or 0
        if tokens >= MIN_TOKENS and mine.label_logprobs and base.label_logprobs:
            # A reference request has one label: the reference.
            found[example.id] = (sum(mine.label_logprobs.values()) - sum(base.label_logprobs.values())) / tokens
    return found
