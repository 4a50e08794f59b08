"""The table of gate kinds, what is held to it, and what becomes of a kind that has no row in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from answered import answers_of, evalset, example, gate

from pytest_ftgate.answers.prompting import systems_for
from pytest_ftgate.errors import UnknownGateKind
from pytest_ftgate.evalset.kinds import KINDS, Bound, KindRow, gate_name
from pytest_ftgate.evalset.loader import evalset_schema
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import JUDGES, check_complete, judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Verdict
from pytest_ftgate.trust.attempts.counting import is_counted
from pytest_ftgate.trust.policy.enforce import settle
from pytest_ftgate.trust.policy.merge import tightened
from pytest_ftgate.trust.policy.types import Policy, PolicyInForce

SOURCE = Path(__file__).parents[3] / "pytest_ftgate"


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """The node with what it refers to."""
    if "$ref" in node:
        return {**schema["$defs"][node["$ref"].rpartition("/")[2]], **node}
    return dict(node)


def bound_of(key: str, node: Mapping[str, Any]) -> Bound:
    """The range that a JSON Schema allows."""
    lows = [node[name] for name in ("minimum", "exclusiveMinimum") if name in node]
    assert len(lows) == 1, node
    assert "maximum" not in node
    return Bound(key, lows[0], node.get("exclusiveMaximum"), "minimum" in node, node["type"] == "integer")


def test_the_schema_of_eval_sets_has_the_kinds_of_the_table_and_their_ranges() -> None:
    schema = evalset_schema()
    gates = schema["properties"]["gates"]["properties"]
    assert list(gates) == list(KINDS)
    for row in KINDS.values():
        properties = resolved(schema, gates[row.name])["properties"]
        found = [bound_of(b.key, resolved(schema, properties[b.key])) for b in row.bounds]
        assert tuple(found) == row.bounds
        assert set(row.defaults) <= set(properties)


def test_slices_may_have_bounds_for_every_kind_that_tests_something() -> None:
    schema = evalset_schema()
    own = schema["$defs"]["slice"]["anyOf"][1]["properties"]
    assert [name for name in own if name != "field"] == [row.name for row in KINDS.values() if row.test is not None]
    for row in (KINDS[name] for name in own if name != "field"):
        (key,) = own[row.name]["properties"]
        assert bound_of(key, resolved(schema, own[row.name]["properties"][key])) == row.bounds[0]


def test_the_schema_of_policies_has_the_kinds_of_the_table_on_the_right_side() -> None:
    text = files("pytest_ftgate.trust.policy").joinpath("policy.schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    rules = schema["properties"]["policy"]["properties"]
    assert rules["required"]["items"]["enum"] == list(KINDS)
    floors, ceilings = rules["floors"]["properties"], rules["ceilings"]["properties"]
    assert set(floors) == {row.name for row in KINDS.values() if not row.lower_is_stricter}
    assert set(ceilings) == {row.name for row in KINDS.values() if row.lower_is_stricter}
    for name, node in {**floors, **ceilings}.items():
        assert bound_of(KINDS[name].bound_key(), resolved(schema, node)) == KINDS[name].bounds[0]


@pytest.mark.parametrize("row", KINDS.values(), ids=list(KINDS))
def test_each_row_agrees_with_itself(row: KindRow) -> None:
    assert row.name == KINDS[row.name].name
    assert row.paired == (row.flips > 0.0) == bool(row.flips_planned) == (row.shown == "difference")
    assert not (row.paired and row.references == "none")
    assert row.test is None or row.asks_model
    assert row.counted == (row.test is not None)
    assert row.hypotheses(3) == (0 if row.test is None else 3 if row.references == "rungs" else 1)
    strict = row.stricter([0.1, 0.2])
    assert strict == (0.1 if row.lower_is_stricter else 0.2)


@pytest.mark.parametrize("row", [row for row in KINDS.values() if row.asks_model], ids=lambda row: row.name)
def test_a_policy_tightens_every_kind_and_loosens_none(row: KindRow) -> None:
    written, strict, loose = (0.2, 0.1, 0.3) if row.lower_is_stricter else (0.2, 0.3, 0.1)
    for ruled in (strict, loose):
        side = {row.name: ruled}
        rules = Policy(ceilings=side) if row.lower_is_stricter else Policy(floors=side)
        used = tightened(gate(row.name, written), gate_name("set", row.name), PolicyInForce(rules), 100)
        assert used.bound == (strict if ruled == strict else written)


def test_what_a_kind_needs_is_what_is_asked() -> None:
    made = evalset([example(i) for i in range(3)])
    for row in KINDS.values():
        asked = replace(made, gates=(GateSpec(row.name, 0.5, {"of": "zero_shot"}, 1),))
        names = [system.name for system in systems_for(asked, [row.name])]
        assert ("candidate" in names) == row.asks_model
        assert ("base" in names) == (row.references == "base")
        assert ("baseline:zero_shot" in names) == (row.references not in ("none", "base"))


def test_a_kind_without_a_row_is_an_error_wherever_it_turns_up() -> None:
    asked = evalset([example(i) for i in range(3)])
    verdict = Verdict("set::probe", "probe", "PASS", "", "", 3, 1.0, None, 0.5, None)
    known = GateSpec("accuracy", 0.5, {}, 1)
    for use in (
        lambda: KINDS["probe"],
        lambda: gate_name("set", "probe"),
        lambda: GateSpec("probe", 0.5, {}, 1),
        lambda: replace(known, kind="probe"),
        lambda: systems_for(asked, ["probe"]),
        lambda: is_counted("probe"),
        lambda: settle(Policy(min_n=100), known, known, verdict),
    ):
        with pytest.raises(UnknownGateKind, match="found 'probe'"):
            use()


def test_judges_and_rows_name_the_same_kinds() -> None:
    check_complete(JUDGES)
    with pytest.raises(UnknownGateKind, match=r"\['accuracy'\] have none"):
        check_complete({kind: found for kind, found in JUDGES.items() if kind != "accuracy"})
    with pytest.raises(UnknownGateKind, match=r"\['overlap'\] need none"):
        check_complete({**JUDGES, "overlap": JUDGES["accuracy"]})
    with pytest.raises(UnknownGateKind, match="found 'probe'"):
        check_complete({**JUDGES, "probe": JUDGES["accuracy"]})


def test_a_kind_that_asks_no_model_is_not_judged_from_answers() -> None:
    asked = evalset([example(i) for i in range(3)])
    given = GateInput(asked, gate("overlap", 0), answers_of(asked, {"candidate": ["yes"] * 3}), Levels())
    with pytest.raises(KeyError):
        judge(given)


EVALSET = """version: 1
examples: [{id: a, question: one, target: "yes"}, {id: b, question: two, target: "yes"}]
prompt: {user: "{question}"}
scorer: exact
generation: {max_new_tokens: 4}
gates:
  probe: {max_ratio: 0.5}
"""


def copied(folder: Path) -> Path:
    """The package as a newcomer has it, with a gate kind `probe` in the schema."""
    shutil.copytree(SOURCE, folder / "pytest_ftgate", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "pytest_ftgate" / "evalset" / "evalset.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    schema["properties"]["gates"]["properties"]["probe"] = {
        "type": "object",
        "additionalProperties": False,
        "required": ["max_ratio"],
        "properties": {"max_ratio": {"type": "number", "examples": [0.5]}},
        "description": "A probe.",
    }
    path.write_text(json.dumps(schema), encoding="utf-8")
    (folder / "probe.eval.yaml").write_text(EVALSET, encoding="utf-8")
    return folder


def ran(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_a_newcomers_kind_without_a_row_is_an_error_at_collection(tmp_path: Path) -> None:
    """The edits that one finds by reading (the schema, a judge) and no row: never a PASS."""
    folder = copied(tmp_path)
    done = ran(folder, "-m", "pytest", "probe.eval.yaml", "-p", "no:cacheprovider")
    assert done.returncode not in (0, 1, 5), done.stdout
    assert "expected a gate of kind overlap" in done.stdout + done.stderr
    assert "passed" not in done.stdout


def test_a_newcomers_judge_without_a_row_is_an_error_at_import(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    path = folder / "pytest_ftgate" / "gates" / "judge.py"
    text = path.read_text(encoding="utf-8")
    edited = text.replace(
        '    "forgetting": judge_paired,\n', '    "forgetting": judge_paired,\n    "probe": judge_paired,\n'
    )
    assert edited != text
    path.write_text(edited, encoding="utf-8")
    done = ran(folder, "-c", "import pytest_ftgate.gates.judge")
    assert done.returncode == 1
    assert "UnknownGateKind: expected a gate of kind" in done.stderr
