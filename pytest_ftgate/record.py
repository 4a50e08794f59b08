"""Writes down what a run has judged: the controller's part of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalsets.types import Json
from pytest_ftgate.attempt_verdicts import RESULTS
from pytest_ftgate.attempts import Attempt, count_attempt, is_counted
from pytest_ftgate.gates import error_verdict
from pytest_ftgate.ledger import FOLDER, LEDGER, Entry, Ledger, append_entries
from pytest_ftgate.types import Outcome, Verdict


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written down, and what could not be."""

    attempts: tuple[Attempt, ...] = ()
    """Those that were counted, whether they judged something or were refused."""
    refused: Mapping[str, Verdict] = field(default_factory=dict)
    """Gate -> the Verdict that takes the place of one that cannot count."""
    problem: str = ""
    """Why nothing could be written; "" where it was."""
    lines: int = 0
    """Lines of the ledger now."""
    sha256: str = ""
    """Of its last line."""

    def to_json(self) -> dict[str, Json]:
        """The ledger entry of this run, for a receipt: small, strict JSON."""
        return {
            "attempts": [attempt_facts(a) for a in self.attempts],
            "ledger_lines": self.lines,
            "ledger_sha256": self.sha256,
        }


def attempt_facts(attempt: Attempt) -> dict[str, Json]:
    """One attempt for programs."""
    entry = attempt.entry
    return {
        "evalset": entry.evalset,
        "examples": entry.examples,
        "attempt": entry.index,
        "spend": entry.spend,
        "alpha": entry.alpha,
        "feedback": entry.feedback,
        "repeated": attempt.repeated,
        "verified": not attempt.problem,
    }


def record_attempts(
    root: Path,
    attempts: Sequence[Attempt],
    verdicts: Collection[Verdict],
    *,
    beside: Collection[str],
    alpha: float,
    looked_at: Collection[str] = (),
) -> Recorded:
    """Append the attempts that showed a result, where the ledger does not hold it yet.

    `looked_at`: eval sets of which a part was answered. That is an attempt on all of it, as answers were shown, and the
    same one as a run of the whole with the same candidate; its outcomes are not those of the gates, and left out.
    Where alpha is shared and another run was judged meanwhile, the level was not the one of this attempt: it is
    written down as a look without outcomes, and its gates are ERRORs.
    """
    results = {a.entry.evalset: _results(a, verdicts) for a in attempts}
    judged = [a for a in attempts if results[a.entry.evalset] or a.entry.evalset in looked_at]
    overtaken: list[Attempt] = []

    def entries(ledger: Ledger) -> list[Entry]:
        made = []
        for attempt in judged:
            outcomes = results[attempt.entry.evalset]
            now = count_attempt(attempt.entry, ledger, beside=beside, alpha=alpha)
            if attempt.spends and now.entry.index != attempt.entry.index:
                overtaken.append(attempt)
                made.append(now.entry)
            elif attempt.entry.evalset in looked_at:
                made += [] if now.repeated else [now.entry]
            elif not outcomes.keys() <= now.known.keys():
                made.append(replace(now.entry, outcomes=outcomes))
        return made

    try:
        ledger = append_entries(root, entries) if judged else None
    except OSError as error:
        why = f"the attempt could not be written into {FOLDER}/{LEDGER}: {error.strerror or error}"
        fix = "make the folder writable, and run again"
        return Recorded(tuple(attempts), _refused(judged, verdicts, why, fix), f"{why}. Fix: {fix}")
    why = "another run was judged on these examples meanwhile, so this level was not that of this attempt"
    refused = _refused(overtaken, verdicts, why, "run again")
    hashes = ledger.hashes if ledger else ()
    return Recorded(tuple(attempts), refused, "", len(hashes), hashes[-1] if hashes else "")


def _results(attempt: Attempt, verdicts: Collection[Verdict]) -> dict[str, Outcome]:
    """Gate kind -> outcome, of gates that showed something of the candidate; {} where they were refused."""
    if attempt.spends and (attempt.problem or attempt.entry.alpha == 0.0):
        return {}
    return {
        v.kind: v.outcome
        for v in verdicts
        if v.gate == f"{attempt.entry.evalset}::{v.kind}"
        and is_counted(v.kind)
        and v.outcome in RESULTS
        and not (v.reason == "CANNOT_PASS_AT_N" and v.value is None)
    }


def _refused(attempts: Sequence[Attempt], verdicts: Collection[Verdict], why: str, fix: str) -> dict[str, Verdict]:
    return {
        v.gate: error_verdict(v.gate, v.kind, why, fix, reason="LEDGER")
        for attempt in attempts
        if attempt.spends
        for v in verdicts
        if v.kind in _results(attempt, [v])
    }
