"""Attempts in words: the one line of a report, and what every eval set that was judged before must be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.attempts.counting import Attempt
from pytest_ftgate.trust.attempts.ledger import FIX
from pytest_ftgate.trust.attempts.verdicts import is_redrawn


def attempts_line(attempts: Sequence[Attempt]) -> str:
    """`tickets 3 (none; looked at 2 times), gate 2 (harmonic, alpha 0.0083, sealed)`"""
    return ", ".join(f"{a.entry.evalset} {_number(a)} ({'; '.join([_terms(a), *_looks(a)])})" for a in attempts)


def _number(attempt: Attempt) -> str:
    """Of the attempt; a look has none, and says how many were made."""
    if attempt.problem:
        return "?"
    return f"{attempt.made} before this look" if attempt.is_look else str(attempt.entry.index)


def _looks(attempt: Attempt) -> list[str]:
    return [f"looked at {attempt.looks} time{'s' * (attempt.looks != 1)}"] if attempt.looks else []


def _terms(attempt: Attempt) -> str:
    terms = [attempt.entry.spend]
    if attempt.spends:
        terms.append(f"alpha {attempt.entry.alpha:.2g}")
    if attempt.refused:
        terms.append("refused")
    return ", ".join([*terms, *(["sealed"] if attempt.sealed else [])])


def attempt_sentences(attempts: Sequence[Attempt], verdicts: Mapping[str, Verdict], *, alpha: float) -> list[str]:
    """What the numbers of this run are worth after what was judged before; nothing for a first attempt that is sure."""
    said = [f"{a.entry.evalset}: {text}" for a in attempts for text in _sentences(a, alpha)]
    for attempt in attempts:
        for kind, before in attempt.known.items():
            verdict = verdicts.get(gate_name(attempt.entry.evalset, kind))
            if verdict is not None and is_redrawn(verdict, before):
                now = f"{before} before, {verdict.outcome} now"
                said.append(f"{verdict.gate}: {now}, with the same candidate and inputs: its answers do not repeat")
    if problems := sorted({a.problem for a in attempts if a.problem}):
        said.append(f"attempt count cannot be verified: {'; '.join(problems)}. Fix: {FIX}")
    return said


def _sentences(attempt: Attempt, alpha: float) -> list[str]:
    entry = attempt.entry
    said = []
    if attempt.changed:
        said.append(f"its {attempt.changed} changed since this candidate was judged: that counts as a new attempt")
    if attempt.problem:
        return said
    if attempt.is_look:
        return [f"a look, no attempt: {attempt.made} made; {_looks(attempt)[0]}"]
    number = f"attempt {entry.index} on these examples" + (" (the same as before)" if attempt.repeated else "")
    number = "; ".join([number, *_looks(attempt)])
    if attempt.refused:
        return [*said, f"{number}, refused: {attempt.refused}"]
    if not attempt.spends:
        return [*said, f"{number}: {_inflation(attempt, alpha)}"] if entry.index > 1 or attempt.looks else said
    if entry.alpha == 0.0:
        return said
    who = f"{attempt.uncovered} earlier ones spent no alpha; the others" if attempt.uncovered else "all attempts"
    total = f"{who} together ship an unfit model with at most {alpha:.1%}"
    if not attempt.sealed:
        total += ", as long as no model is tuned on what an attempt showed (`feedback: sealed` shows nothing)"
    return [*said, f"{number}, judged at alpha {entry.alpha:.2g}: {total}"]


def _inflation(attempt: Attempt, alpha: float) -> str:
    """1 - (1 - alpha)^j holds where errors are independent, j alpha (the union bound) whatever they are."""
    j = attempt.entry.index
    union = min(1.0, j * alpha)
    if attempt.sealed:
        return f"no alpha is spent, so one of {j} unfit models ships with up to {union:.1%}"
    return (
        f"no alpha is spent, so one of {j} unfit models ships with up to {1 - (1 - alpha) ** j:.1%} "
        f"({union:.1%} if their errors depend on each other); no bound holds for a model that was tuned on "
        "what an earlier attempt showed"
    )
