"""All gate Verdicts -> one run verdict and one exit code, against the gates on disk, never the selection. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_ftgate.results import RunVerdict, Verdict

EXIT_CODES: dict[RunVerdict, int] = {"SHIP": 0, "BLOCK": 1, "INCONCLUSIVE": 20, "NOT_EVALUATED": 21, "PARTIAL": 22}
USAGE_ERROR = 4
"""pytest's own code for bad options and input files."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What the run as a whole says about the candidate."""

    verdict: RunVerdict
    reason: str
    """One sentence."""

    @property
    def exit_code(self) -> int:
        """What the process returns in verdict mode."""
        return EXIT_CODES[self.verdict]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What happened, as far as the verdict cares."""

    required: Sequence[str]
    """Gates on disk, as `name::kind`."""
    selected: Sequence[str]
    """Gates that pytest was asked to run after -k, -m, --lf, node ids."""
    verdicts: Mapping[str, Verdict]
    """Verdicts received."""
    other_failures: int = 0
    """Failed tests that are not gates."""
    partial_because: str = ""
    """Why this is a subset by itself (an eval set that the policy names was left out). Empty if it is not."""
    only_part: str = ""
    """Why gates were judged on a part of their examples, which makes them information. Empty if they were not."""
    unmet: Sequence[str] = ()
    """Rules of the policy that this run broke or did not evaluate."""
    waived: Sequence[str] = ()
    """Gates among `verdicts` that count as passed without having been judged, which the policy allows."""
    unproven: str = ""
    """Why it is not known that the answers came from the candidate. Empty if it is."""


def decide(facts: RunFacts) -> Decision:
    """BLOCK > NOT_EVALUATED > INCONCLUSIVE > PARTIAL > SHIP, as soon as one applies."""
    outcomes = {name: v.outcome for name, v in facts.verdicts.items()}
    failed = [name for name, outcome in outcomes.items() if outcome == "FAIL"]
    if failed and not facts.only_part:
        return Decision("BLOCK", f"{_names(failed)} failed")
    if facts.other_failures:
        return Decision("BLOCK", f"{facts.other_failures} other test(s) failed")
    if not facts.required:
        return Decision("NOT_EVALUATED", "no gate was found: no *.eval.yaml file lies under the paths given to pytest")
    doubled = sorted({name for name in facts.required if list(facts.required).count(name) > 1})
    if doubled:
        return Decision(
            "NOT_EVALUATED", f"more than one gate is called {_names(doubled)}; one verdict cannot be of two"
        )
    broken = [name for name, outcome in outcomes.items() if outcome == "ERROR"]
    if broken and not facts.only_part:
        return Decision("NOT_EVALUATED", f"{_names(broken)} could not be judged")
    lost = [name for name in facts.selected if name not in outcomes]
    if lost:
        return Decision("NOT_EVALUATED", f"no verdict was received from {_names(lost)} (skipped, crashed or stopped)")
    if facts.unproven:
        return Decision("NOT_EVALUATED", facts.unproven)
    if facts.unmet:
        return Decision("NOT_EVALUATED", "; ".join(facts.unmet[:4]) + (" ..." if facts.unmet[4:] else ""))
    if facts.only_part:
        return Decision("PARTIAL", facts.only_part)
    unsure = [name for name, outcome in outcomes.items() if outcome == "INCONCLUSIVE"]
    if unsure:
        return Decision("INCONCLUSIVE", f"{_names(unsure)} could not be certified with these examples")
    left_out = [name for name in facts.required if name not in outcomes]
    if left_out:
        were = "was" if len(left_out) == 1 else "were"
        return Decision("PARTIAL", f"{_names(left_out)} {were} not selected; a subset never ships")
    if facts.partial_because:
        return Decision("PARTIAL", facts.partial_because)
    count = len(facts.required)
    but = f"; not judged, which the policy allows: {_names(facts.waived)}" if facts.waived else ""
    return Decision("SHIP", ("the only gate passed" if count == 1 else f"all {count} gates passed") + but)


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
