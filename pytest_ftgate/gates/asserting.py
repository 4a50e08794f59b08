"""The gates as assertions, for tests that people write: the same functions decide, and there is no second statistic.

Each raises AssertionError with the gate's sentence where the gate does not pass, INCONCLUSIVE included, and FtgateError
where it could not judge: an error is no wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pytest_ftgate.answers.prompting import CANDIDATE, systems_for
from pytest_ftgate.errors import FtgateError
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief
from pytest_ftgate.gates.contamination import judge_with_leaks
from pytest_ftgate.gates.given import Answers, GateInput
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.overlap import Overlaps, judge_overlap
from pytest_ftgate.results import Verdict


@dataclass(frozen=True, slots=True)
class Results:
    """What candidate and references answered to the examples of one eval set."""

    evalset: EvalSet
    answers: Answers
    levels: Levels = field(default_factory=Levels)
    overlaps: Overlaps | None = None
    """Where training data and eval set are compared; None where no candidate's training data are known."""

    def __len__(self) -> int:
        return len(self.evalset.examples)

    def where(self, **fields: Json) -> Results:
        """The examples whose fields have these values.

        Raises ValueError where there is none: an assertion on nothing would hold.
        """
        chosen = tuple(
            example
            for example in self.evalset.examples
            if all(name in example.fields and example.fields[name] == value for name, value in fields.items())
        )
        if not chosen:
            asked = ", ".join(f"{name}={brief(value)}" for name, value in fields.items())
            raise ValueError(f"expected examples of {self.evalset.name} where {asked}, found none of {len(self)}")
        return replace(self, evalset=replace(self.evalset, examples=chosen))


def assert_accuracy(results: Results, *, at_least: float) -> None:
    """The candidate's mean score is proven to be at least `at_least`, in [0, 1]."""
    __tracebackhide__ = True
    _check(_judged(results, "accuracy", at_least, {}))


def assert_beats_baseline(results: Results, *, min_gain: float) -> None:
    """The candidate's mean score is proven to exceed that of every rung by more than `min_gain`."""
    __tracebackhide__ = True
    _check(_judged(results, "beats_baseline", min_gain, {}))


def assert_no_forgetting(results: Results, *, max_drop: float) -> None:
    """The candidate's mean score is proven to be less than `max_drop` below the base's."""
    __tracebackhide__ = True
    _check(_judged(results, "forgetting", max_drop, {}))


def assert_format(results: Results, *, min_rate: float, **rules: Json) -> None:
    """The share of outputs that obey `rules` is proven to be at least `min_rate`.

    `rules`: json_schema, regex, choices, max_length, as in a format gate.
    """
    __tracebackhide__ = True
    _check(_judged(results, "format", min_rate, rules))


def assert_no_overlap(results: Results, *, at_most: int = 0) -> None:
    """No more than `at_most` examples stand in the training data."""
    __tracebackhide__ = True
    gate = GateSpec("overlap", float(at_most), dict(KINDS["overlap"].defaults), 0)
    if results.overlaps is None:
        raise FtgateError("it is not known what the candidate was trained on", "use the results of `ft_results`")
    asked = results.evalset
    if not any(one.row.reads == "training rows" for one in asked.gates):
        asked = replace(asked, gates=(*asked.gates, gate))
    _check(judge_overlap(asked, gate, results.overlaps.report(asked)))


def _judged(results: Results, kind: str, bound: float, options: Mapping[str, Json]) -> Verdict:
    if not 0 <= bound <= 1:
        raise ValueError(f"expected a bound between 0 and 1, found {brief(bound)}")
    gate = GateSpec(kind, float(bound), {**KINDS[kind].defaults, **options}, 0)
    asked = [system.name for system in systems_for(results.evalset, (kind,)) if system != CANDIDATE]
    if KINDS[kind].references != "none" and (not asked or not {*asked} <= {*results.answers}):
        raise FtgateError(
            f"{results.evalset.name}: nobody asked what {kind} compares with ({', '.join(asked) or 'no baselines'})",
            f"add a gate `{kind}` to the eval-set file: it says who is asked",
        )
    leaked = results.overlaps.leaked(results.evalset) if results.overlaps else frozenset()
    return judge_with_leaks(GateInput(results.evalset, gate, results.answers, results.levels), leaked)


def _check(verdict: Verdict) -> None:
    __tracebackhide__ = True  # the line to show is the user's
    if verdict.outcome == "ERROR":
        raise FtgateError(f"{verdict.gate}: {verdict.summary}", verdict.fix)
    if verdict.outcome != "PASS":
        fix = f". Fix: {verdict.fix}" if verdict.fix else ""
        raise AssertionError(f"{verdict.outcome} {verdict.gate}: {verdict.summary}{fix}")
