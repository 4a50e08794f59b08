"""Writes down what a run has judged: the controller's part of the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_ftgate.evalset.kinds import gate_name
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.gates.given import error_verdict
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.attempts.counting import Attempt, count_attempt, is_counted
from pytest_ftgate.trust.attempts.ledger import FIX, FOLDER, LEDGER, Entry, Ledger, append_entries
from pytest_ftgate.trust.attempts.verdicts import RESULTS, keep_result


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was written down, and what could not be."""

    attempts: tuple[Attempt, ...] = ()
    """Those that were counted, as they are counted now, whether they judged something or were refused."""
    refused: Mapping[str, Verdict] = field(default_factory=dict)
    """Gate -> the Verdict that takes the place of one that cannot count."""
    problem: str = ""
    """Why nothing could be written. Empty where it was."""
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
        "attempt": attempt.made if attempt.is_look else entry.index,
        "spend": entry.spend,
        "alpha": entry.alpha,
        "feedback": entry.feedback,
        "repeated": attempt.repeated,
        "look": attempt.is_look,
        "looks": attempt.looks,
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

    `looked_at`: eval sets of which a part was answered. Where alpha is shared or the set is sealed, that is an attempt
    on all of it, and the same one as a run of the whole with the same candidate; elsewhere it is a look, which changes
    neither number nor alpha of any attempt. Its outcomes are not those of the gates, and left out.
    Other runs may have been written down since this one was counted. Where they changed what is left of alpha, these
    gates were judged at the level of another attempt; where they judged the same candidate otherwise, a gate was drawn
    twice. Such gates are ERRORs, and what was seen is written down all the same.
    """
    results = {a.entry.evalset: _results(a, verdicts) for a in attempts}
    judged = [a for a in attempts if results[a.entry.evalset] or a.entry.evalset in looked_at]
    now: dict[str, Attempt] = {}
    refused: dict[str, Verdict] = {}

    def entries(ledger: Ledger) -> list[Entry]:
        made: list[Entry] = []
        for attempt in judged:
            name = attempt.entry.evalset
            counted = count_attempt(attempt.entry, ledger, beside=beside, alpha=alpha)
            lost = _overtaken(attempt, counted, results[name])
            if name in looked_at and counted.look_is_free:
                made.append(replace(counted.entry, kind="look"))
                counted = replace(counted, looks=counted.looks + 1, is_look=True)
            elif lost or name in looked_at:
                made += [] if counted.repeated else [counted.entry]
            else:
                kept = [keep_result(verdict, counted) for verdict in results[name]]
                outcomes = {v.kind: v.outcome for v in kept if v.outcome in RESULTS}
                lost = [v for v in kept if v.outcome not in RESULTS]
                made += [] if outcomes.keys() <= counted.known.keys() else [replace(counted.entry, outcomes=outcomes)]
            refused.update({verdict.gate: verdict for verdict in lost})
            now[name] = replace(counted, refused="; ".join(dict.fromkeys(f"{v.summary}. Fix: {v.fix}" for v in lost)))
        return made

    try:
        ledger = append_entries(root, entries) if judged else None
    except OSError as error:
        why = f"the attempt could not be written into {FOLDER}/{LEDGER}: {error.strerror or error}"
        fix = "make the folder writable, and run again"
        spending = [v for a in judged if a.spends for v in results[a.entry.evalset]]
        return Recorded(tuple(attempts), _refused(spending, why, fix), f"{why}. Fix: {fix}")
    hashes = ledger.hashes if ledger else ()
    counted = tuple(now.get(a.entry.evalset, a) for a in attempts)
    return Recorded(counted, refused, "", len(hashes), hashes[-1] if hashes else "")


def _results(attempt: Attempt, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Those of an attempt's Verdicts that showed something of the candidate; [] where its gates were refused."""
    if attempt.spends and (attempt.problem or attempt.entry.alpha == 0.0):
        return []
    return [
        v
        for v in verdicts
        if v.gate == gate_name(attempt.entry.evalset, v.kind)
        and is_counted(v.kind)
        and v.outcome in RESULTS
        and not (v.reason == "CANNOT_PASS_AT_N" and v.value is None)
    ]


def _overtaken(attempt: Attempt, now: Attempt, results: Sequence[Verdict]) -> list[Verdict]:
    """The ERRORs in place of `results`, where `attempt` is by now another one; [] where they count.

    Where the level is the same, so is all that follows from it, whichever attempt it is.
    """
    index, level, left = now.entry.index, attempt.entry.alpha, now.entry.alpha
    if not attempt.spends or (left == level and not now.problem):
        return []
    if now.problem:
        why, fix = f"the attempt count cannot be verified: {now.problem}", FIX
    else:
        why = (
            "another run was counted on these examples while this one was judged at alpha "
            f"{level:.2g}; as attempt {index} it has {left:.2g}"
        )
        fix = "run again" if left else "add fresh examples: a set of which more than half was never used counts anew"
    return list(_refused(results, why, fix).values())


def _refused(verdicts: Iterable[Verdict], why: str, fix: str) -> dict[str, Verdict]:
    return {v.gate: error_verdict(v.gate, v.kind, why, fix, reason="LEDGER") for v in verdicts}
