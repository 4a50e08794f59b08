"""Scores of one run, kept: each answer is scored once, however many gates, slices, looks and reports read its score."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import EvalSet, Example
from pytest_ftgate.results import Generation, Score, Unscored
from pytest_ftgate.scoring.scorers import Scorer, make_scorer

Kept = dict[str, dict[str, dict[str, Score | Unscored]]]
"""EvalSet name -> System name -> example id -> what the scorer said of its answer."""


class Scores:
    """What the scorers said of the answers of one run. Mutable: what is asked for the first time is scored, and kept.

    One answer per EvalSet, System and example: of another run's answers, another Scores.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        """`kept` is used as it is, and grows."""
        self.kept: Kept = {} if kept is None else kept
        self._scorers: dict[str, Scorer] = {}

    def scorer(self, evalset: EvalSet) -> Scorer:
        """The scorer of an eval set. Raises InputError where it cannot be built, ScoringError where there is none."""
        if evalset.scorer is None:
            raise ScoringError("the eval set has no scorer", fix="add `scorer:` to the eval-set file")
        if evalset.name not in self._scorers:
            self._scorers[evalset.name] = make_scorer(evalset.scorer, base_dir=evalset.path.parent)
        return self._scorers[evalset.name]

    def score(self, evalset: EvalSet, system: str, example: Example, answer: Generation) -> Score:
        """The score of the answer of `system` to one example.

        Raises ScoringError where it cannot be scored, each time the same, and InputError as `scorer` does.
        """
        mine = self.kept.setdefault(evalset.name, {}).setdefault(system, {})
        if example.id not in mine:
            scorer = self.scorer(evalset)
            try:
                mine[example.id] = scorer(example, answer)
            except ScoringError as error:
                mine[example.id] = Unscored(error.message, error.fix)
                raise
        found = mine[example.id]
        if isinstance(found, Unscored):
            raise ScoringError(found.message, found.fix)
        return found

    def of(self, evalset: EvalSet, system: str, answers: Mapping[str, Generation]) -> list[Score]:
        """Scores of every example, in order; each must have been answered. Raises as `score` does, at the first."""
        return [self.score(evalset, system, example, answers[example.id]) for example in evalset.examples]
