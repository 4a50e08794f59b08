"""One row a scorer: the table, its builders and the JSON Schema of eval sets name the same scorers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
from answered import evalset, example, gate, said

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset import scorer_options
from pytest_ftgate.evalset.loader import evalset_schema
from pytest_ftgate.evalset.scorer_options import SCORERS, ScorerKind, is_graded, scorer_spec
from pytest_ftgate.evalset.types import ScorerSpec
from pytest_ftgate.gates.curtailment import Looks, cannot_stop
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.scoring.scorers import BUILDERS, make_scorer

SIMILAR = ScorerSpec("similarity", {"metric": "chrf"})


def test_the_schema_names_exactly_the_scorers_of_the_table() -> None:
    defs = evalset_schema()["$defs"]
    named = {name for one in _enums(defs["scorer_name"]) for name in one}
    mapped = set(defs["scorer_mapping"]["properties"])
    assert named | mapped == set(SCORERS) == set(BUILDERS)


def _enums(node: object) -> list[list[str]]:
    if isinstance(node, dict):
        own = [node["enum"]] if isinstance(node.get("enum"), list) else []
        return own + [found for value in node.values() for found in _enums(value)]
    return [found for value in node for found in _enums(value)] if isinstance(node, list) else []


def test_every_default_is_an_option_that_the_schema_knows() -> None:
    mapped = evalset_schema()["$defs"]["scorer_mapping"]["properties"]
    for name, kind in SCORERS.items():
        written = {key for node in _properties(mapped.get(name, {})) for key in node}
        assert set(kind.defaults) <= written, name


def _properties(node: object) -> list[dict[str, object]]:
    if isinstance(node, dict):
        own = [node["properties"]] if isinstance(node.get("properties"), dict) else []
        return own + [found for value in node.values() for found in _properties(value)]
    return [found for value in node for found in _properties(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("written", ["similarity", {"json_fields": {"fields": ["a"], "score": "mean"}}, "own:f"])
def test_gradedness_is_a_property_of_the_scorer(written: object) -> None:
    spec = scorer_spec(written)
    assert is_graded(spec)
    assert cannot_stop(evalset([example(0)], scorer=spec), [gate("accuracy", 0.5)]) == "scores between 0 and 1"


def test_an_unknown_scorer_is_nothing_and_never_taken_for_one() -> None:
    with pytest.raises(ValueError, match="expected one of the scorers exact"):
        is_graded(ScorerSpec("bleu", {}))


def test_x2_a_score_between_0_and_1_of_a_scorer_said_to_give_0_or_1_is_an_error_and_no_zero() -> None:
    wrong: dict[str, ScorerKind] = {**SCORERS, "similarity": replace(SCORERS["similarity"], graded=lambda _: False)}
    one = example(0, target="the quick brown fox")
    with mock.patch.object(scorer_options, "SCORERS", wrong):
        scorer = make_scorer(SIMILAR, base_dir=Path())
        assert scorer(one, said("the quick brown fox")).value == 1.0
        with pytest.raises(ScoringError, match="the scorer similarity is said to give 0 or 1, and gave 0"):
            scorer(one, said("the quick brown dog"))
        # Looking at the answers so far settles nothing on such scores: the gate itself says so.
        examples = [example(i, target="the quick brown fox") for i in range(80)]
        looks = Looks(evalset(examples, scorer=SIMILAR), [gate("accuracy", 0.5)], Levels())
        answers = {"candidate": {e.id: said("the quick brown fax") for e in examples}}
        assert not looks.settled(answers)
