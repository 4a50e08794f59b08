"""A policy, and the one that is in force in a run: frozen dataclasses, standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.json_value import Json

CacheRule = Literal["base", "off"]
UnknownTraining = Literal["error", "warn"]


@dataclass(frozen=True, slots=True)
class BasePin:
    """The base model that candidates must be built on; what is None or empty is not pinned."""

    digest: str | None = None
    """As `Candidate.digest(tuned=False)`: one sha256 over the files."""
    files: Mapping[str, str] = field(default_factory=dict)
    """File name -> sha256."""
    id: str | None = None
    revision: str | None = None
    """Commit of the hub repository, 40 hex digits."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one ftgate.toml, defaults filled in. The defaults ask for nothing that the eval sets do not."""

    required: frozenset[str] = frozenset()
    """Gate kinds that must be judged."""
    evalsets: frozenset[Path] = frozenset()
    """Eval-set files that must be part of the run, resolved."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """accuracy · format · beats_baseline -> lowest bound that counts."""
    ceilings: Mapping[str, float] = field(default_factory=dict)
    """forgetting · overlap (a number of examples) -> highest bound that counts."""
    confidence: float = 0.95
    min_n: int = 1
    """Fewest units (examples, or clusters) that a gate may pass on."""
    cache: CacheRule = "base"
    unknown_training_data: UnknownTraining = "error"
    bases: tuple[BasePin, ...] = ()
    """All of them must hold; two only where a change moves the pin."""
    runtime: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """dtype · quantize · device -> what is allowed; what is not named is free."""

    @property
    def alpha(self) -> float:
        """One-sided error rate of a pass."""
        # Rounded: 1 - 0.95 is a little more than 0.05 in binary.
        return round(1 - self.confidence, 12)


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """What a run is held to: the policy here, and, where a ref was named, the stricter of it and the one there."""

    policy: Policy = Policy()
    uri: str = "pytest-ftgate:defaults"
    """Where it stands; holds no path of this machine."""
    digest: str = ""
    """sha256 over the rules and over every gate with its bounds."""
    ref: str = ""
    """What --ft-policy-ref named. Empty without it."""
    gates: Mapping[str, GateSpec] = field(default_factory=dict)
    """`name::kind` -> that gate at the ref."""
    deleted: tuple[str, ...] = ()
    """`name::kind` of gates that stand at the ref and not here."""
    changes: tuple[str, ...] = ()
    """How policy and eval sets differ from those at the ref, one sentence each."""
    notes: tuple[str, ...] = ()
    """Bounds of eval sets that the policy overrules, one sentence each."""

    @property
    def changed_in_this_change(self) -> bool:
        """Whether policy, gates or eval sets differ from those at the ref; False where no ref was named."""
        return bool(self.changes)

    def describe(self) -> dict[str, Json]:
        """For the JSON report."""
        return {
            "uri": self.uri,
            "digest": self.digest,
            "ref": self.ref or None,
            "changed_in_this_change": self.changed_in_this_change,
            "changes": list(self.changes),
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For the terminal: which policy it was, what it overruled, what this change made of it."""
        return [
            f"policy    {self.uri} ({self.digest[:12]})",
            *(f"policy    {note}" for note in self.notes),
            *(f"policy changed in this change: {change}" for change in self.changes),
        ]
