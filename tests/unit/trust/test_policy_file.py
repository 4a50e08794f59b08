"""ftgate.toml: what it may hold, and what is said of everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.trust.policy.file import find_policy, parse_policy, policy_schema
from pytest_ftgate.trust.policy.types import BasePin, Policy

FULL = """\
version = 1

[policy]
required = ["overlap", "accuracy"]
evalsets = ["evals/tickets.eval.yaml"]
confidence = 0.99
min_n = 100
cache = "off"
unknown_training_data = "warn"

[policy.floors]
accuracy = 0.85
format = 0.95
beats_baseline = 0.02

[policy.ceilings]
forgetting = 0.05
overlap = 0

[base]
id = "Qwen/Qwen3-8B"
revision = "0123456789abcdef0123456789abcdef01234567"
digest = "DIGEST"
files = { "model.safetensors" = "DIGEST" }

[runtime]
dtype = ["bfloat16", "float32"]
quantize = ["none"]
device = ["cuda"]
""".replace("DIGEST", "ab" * 32)


def parsed(text: str) -> Policy:
    return parse_policy(text, name="ftgate.toml", directory=Path("/project"))


def test_every_key_arrives() -> None:
    assert parsed(FULL) == Policy(
        required=frozenset({"overlap", "accuracy"}),
        evalsets=frozenset({Path("/project/evals/tickets.eval.yaml")}),
        floors={"accuracy": 0.85, "format": 0.95, "beats_baseline": 0.02},
        ceilings={"forgetting": 0.05, "overlap": 0},
        confidence=0.99,
        min_n=100,
        cache="off",
        unknown_training_data="warn",
        bases=(
            BasePin("ab" * 32, {"model.safetensors": "ab" * 32}, "Qwen/Qwen3-8B", "0123456789abcdef" * 2 + "01234567"),
        ),
        runtime={
            "dtype": frozenset({"bfloat16", "float32"}),
            "quantize": frozenset({"none"}),
            "device": frozenset({"cuda"}),
        },
    )
    assert parsed(FULL).alpha == 0.01


def test_a_policy_without_rules_asks_for_nothing() -> None:
    assert parsed("version = 1\n") == Policy()
    assert Policy().alpha == 0.05  # and not a little more, as 1 - 0.95 is


WRONG = {
    "min_n = 100\n[policy]": [":1", "min_n", "found the unknown key"],
    "[policy]\nmin_m = 100": [":3: policy.min_m", "unknown key `min_m`", "did you mean `min_n`?"],
    "[policy]\nfloor.accuracy = 0.8": [":3: policy.floor", "did you mean `floors`?"],
    "[policy.floors]\nacuracy = 0.8": [":3: policy.floors.acuracy", "did you mean `accuracy`?"],
    "[policy.floors]\nforgetting = 0.1": [":3: policy.floors.forgetting", "found the unknown key `forgetting`"],
    "[policy.floors]\naccuracy = 85": [":3: policy.floors.accuracy", "write 0.85 (a fraction"],
    "[policy.floors]\naccuracy = '0.85'": [":3", "found the text '0.85'", "write it without quotes: 0.85"],
    "[policy.floors]\naccuracy = nan": [":3: policy.floors.accuracy", "a finite number, found nan"],
    "[policy.floors]\naccuracy = true": [":3", "found true"],
    "[policy.floors]": [":2: policy.floors", "at least one floor"],
    "[policy.ceilings]\noverlap = 0.5": [":3: policy.ceilings.overlap", "a whole number"],
    "[policy.ceilings]\nforgetting = -0.1": [":3: policy.ceilings.forgetting", "expected a fraction from 0 to below 1"],
    "[policy]\nconfidence = 0.9": [":3: policy.confidence", "from 0.95 to 0.9999"],
    "[policy]\nconfidence = 95": [":3: policy.confidence", "found the number 95"],
    "[policy]\nconfidence = inf": [":3: policy.confidence", "finite"],
    "[policy]\nmin_n = 0": [":3: policy.min_n", "found the number 0"],
    "[policy]\nmin_n = 1.5": [":3: policy.min_n", "a whole number"],
    "[policy]\nmin_n = 2020-01-01": [":3: policy.min_n", "type date"],
    '[policy]\nrequired = ["overlaps"]': [":3: policy.required[0]", "did you mean overlap?"],
    "[policy]\nrequired = []": [":3: policy.required", "an empty list"],
    '[policy]\nrequired = ["overlap", "overlap"]': [":3", "each item once"],
    '[policy]\nrequired = "overlap"': [":3", "expected a list of gate kinds", "write a list"],
    '[policy]\nevalsets = ["/etc/x.eval.yaml"]': [":3: policy.evalsets[0]", "relative to this file"],
    '[policy]\nevalsets = ["evals/x.eval.yml"]': [":3: policy.evalsets[0]", "*.eval.yaml"],
    '[policy]\ncache = "all"': [":3: policy.cache", "expected base or off, found the text 'all'"],
    "[base]": [":2: base", "needs"],
    '[base]\ndigest = "abc"': [":3: base.digest", "64 lower-case hex digits"],
    '[base]\nrevision = "main"': [":3: base.revision", "40 hex digits"],
    '[runtime]\ndtype = ["int8"]': [":3: runtime.dtype[0]", "float32, bfloat16 or float16"],
    "[runtime]": [":2: runtime", "at least one"],
    "[policy]\nmin_n = 1\nmin_n = 2": [":4", "expected TOML", "each key may stand once"],
    "[policy]\n[policy]": [":3", "expected TOML"],
    "[policy\n": [":2", "expected TOML"],
    "a = " + "[" * 5000: ["expected"],
}


@pytest.mark.parametrize("rest", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_what_is_wrong_is_told_with_line_key_and_fix(rest: str) -> None:
    with pytest.raises(InputError) as caught:
        parsed("version = 1\n" + rest if not rest.startswith("min_n") else rest + "\n")
    said = str(caught.value)
    assert all(part in said for part in ("ftgate.toml", "Fix: ", *WRONG[rest])), said


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parsed("version = 2\n[policy]\nmin_m = 1\n[runtime]\ndtype = 'x'\n[bass]\nid = 'x'\n")
    assert [p.key for p in caught.value.problems] == ["version", "policy.min_m", "runtime.dtype", "bass"]
    assert [p.line for p in caught.value.problems] == [1, 3, 5, 6]


def test_a_line_that_only_looks_like_a_key_is_no_place() -> None:
    text = 'version = 1\n[base]\nid = """\nrevision = """\nrevision = "x"\n'
    with pytest.raises(InputError) as caught:
        parsed(text)
    assert [(p.key, p.line) for p in caught.value.problems] == [("base.revision", 2)]


@given(st.text(max_size=60))
def test_no_text_is_more_than_a_problem(text: str) -> None:
    with pytest.raises(InputError) as caught:  # random text never holds the version
        parsed(text)
    assert all(problem.fix for problem in caught.value.problems)


def test_the_schema_is_one_and_describes_every_key() -> None:
    from jsonschema import Draft202012Validator

    schema = policy_schema()
    Draft202012Validator.check_schema(schema)
    for table in ("policy", "base", "runtime"):
        assert all("description" in spec for spec in schema["properties"][table]["properties"].values())


# -- which file --------------------------------------------------------------------------------------------------------


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("version = 1\n", encoding="utf-8")


def test_the_nearest_file_upwards_counts(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert find_policy(None, deep, deep) is None
    write(tmp_path / "ftgate.toml")
    assert find_policy(None, deep, deep) == tmp_path / "ftgate.toml"
    write(tmp_path / "a" / "ftgate.toml")
    assert find_policy(None, deep, deep) == tmp_path / "a" / "ftgate.toml"


def test_a_repository_ends_the_search(tmp_path: Path) -> None:
    write(tmp_path / "ftgate.toml")
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    assert find_policy(None, tmp_path / "repo", tmp_path / "repo") is None


def test_started_from_elsewhere_the_policy_of_the_root_counts(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "project" / "ftgate.toml")
    assert find_policy(None, tmp_path / "elsewhere", tmp_path / "project") == tmp_path / "project" / "ftgate.toml"
    write(tmp_path / "elsewhere" / "ftgate.toml")
    with pytest.raises(PolicyError, match="two policies could be meant"):
        find_policy(None, tmp_path / "elsewhere", tmp_path / "project")
    named = find_policy("ftgate.toml", tmp_path / "elsewhere", tmp_path / "project")
    assert named == tmp_path / "elsewhere" / "ftgate.toml"
