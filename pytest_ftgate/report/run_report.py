"""What one run has to say, collected once when it is decided. Every sink turns the same RunReport into text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.evalset.subset import EVERYTHING, Subset
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.policy.types import PolicyInForce


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run. Texts may hold what nobody may trust: sinks show them through sanitise only."""

    decision: Decision
    verdicts: tuple[Verdict, ...]
    """In the order of the gates on disk."""
    engine: Mapping[str, Json]
    """What `Engine.describe` says; {} where no model was needed or none could be loaded."""
    counts: Mapping[str, Mapping[str, int]]
    """StageResult.counts"""
    command: str
    """The exact command that repeats the run."""
    policy: PolicyInForce
    ledger: Mapping[str, Json]
    """What the run wrote into the ledger of attempts; {} for nothing."""
    evalsets: Mapping[str, Path]
    """EvalSet name -> file, of all that the run must judge."""
    stage: StageResult | None = None
    """Every answer; None where no stage ran, or it failed."""
    subset: Subset = EVERYTHING
    """The examples that were asked."""
    sealed: frozenset[str] = frozenset()
    """Names of eval sets of which no answer may be shown, as this look could not be written down."""
    before: tuple[str, ...] = ()
    """What is odd about the files of this run."""
    attempts: tuple[str, ...] = ()
    """Which attempt this was on each eval set, and what that makes of the verdict."""
    after: tuple[str, ...] = ()
    """What could not be written, and which questions nobody asked."""
    receipt: tuple[str, ...] = ()
    """About the receipt, where one was asked for."""


def decision_line(decision: Decision) -> str:
    """`SHIP: all 5 gates passed`"""
    return visible(f"{decision.verdict}: {decision.reason}", limit=1000)
