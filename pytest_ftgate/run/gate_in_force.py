"""One gate as a run judges it: what the eval set asks for, what the policy makes of it, and what is left of alpha."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_ftgate.evalset.kinds import KindRow, gate_name
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.attempts.counting import Attempt
from pytest_ftgate.trust.attempts.verdicts import refuse


@dataclass(frozen=True, slots=True)
class GateInForce:
    """Everything that is known of one gate before it is judged."""

    evalset: EvalSet
    """With the bounds that hold, and the examples that are asked."""
    asked: GateSpec
    """As the eval set writes it."""
    used: GateSpec
    """With the strictest bound of eval set, ref and policy."""
    attempt: Attempt | None
    """None for a kind that is not counted."""
    levels: Levels
    """Error rates that are left for this attempt."""

    @property
    def name(self) -> str:
        """`tickets::accuracy`"""
        return gate_name(self.evalset.name, self.used.kind)

    @property
    def row(self) -> KindRow:
        """What its kind is."""
        return self.used.row

    @property
    def refused(self) -> Verdict | None:
        """The Verdict where this attempt must not be judged; None where it may."""
        return refuse(self.attempt, self.evalset, self.used) if self.attempt is not None else None
