"""One answer scored as an eval-set file would have it."""

from __future__ import annotations

from pathlib import Path

from pytest_ftgate.evalset.loader import evalset_schema
from pytest_ftgate.evalset.scorer_options import scorer_spec
from pytest_ftgate.evalset.types import Example
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.wording import brief
from pytest_ftgate.results import Generation
from pytest_ftgate.scoring.scorers import make_scorer


def score(scorer: Json, *, target: Json, answer: str) -> float:
    """The score of one answer, in [0, 1].

    `scorer` is what stands under `scorer:` in an eval-set file: a name ("exact"), a mapping
    ({"json_fields": ["topic"]}) or "pkg.module:function", looked for from the current directory. Raises ValueError
    where it is none of them, InputError where its options cannot work, ScoringError where it cannot judge.
    """
    from jsonschema import Draft202012Validator

    schema = evalset_schema()
    validator = Draft202012Validator(schema)
    spec = scorer_spec(scorer) if validator.evolve(schema=schema["properties"]["scorer"]).is_valid(scorer) else None
    if spec is None:
        raise ValueError(f"expected what may stand under `scorer:` in an eval-set file, found {brief(scorer)}")
    example = Example("answer", {"target": target}, target, None, "answer", 1)
    return make_scorer(spec, base_dir=Path.cwd())(example, Generation(answer, (), "stop")).value
