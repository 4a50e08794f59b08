"""The shipped schema and the loader agree; any input is loaded or refused."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from evalsetfile import SMALL, YAML, fill, told
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_ftgate.evalset.loader import EVALSET_SUFFIX, evalset_schema, load_evalset, read_gates
from pytest_ftgate.files.problems import EvalSetError, InputError
from pytest_ftgate.files.strictyaml import parse_yaml


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return fill(tmp_path)


CORPUS = [
    (True, "{}"),
    (True, "{target: null, scorer: null}"),
    (False, "{scorer: {}}"),
    (False, "{scorer: {numeric: {tolerance: -1}}}"),
    (False, "{scorer: choice}"),
    (True, '{scorer: {choice: {labels: ["2", b]}}}'),
    (True, "{gates: {forgetting: {max_drop: 0}}}"),
    (False, "{gates: {forgetting: {max_drop: true}}}"),
    (True, "{gates: {format: {max_length: 5, choices: [a], regex: a, min_rate: 0.9}}}"),
    # bounds that can never fail, or never pass, are no gates
    (False, "{gates: {accuracy: {min: 0}}}"),
    (False, "{gates: {accuracy: {min: 1}}}"),
    (False, "{gates: {forgetting: {max_drop: 1}}}"),
    (False, "{gates: {overlap: {max_rate: 1}}}"),
    (False, "{gates: {format: {choices: [], min_rate: 1}}}"),
    (True, "{gates: {overlap: {max_rate: 0.5}}}"),
    (False, "{gates: {overlap: {max: 0.5}}}"),
    (True, "{baselines: {a: {}, b_2: {user: x}}}"),
    (False, "{baselines: {2b: {}}}"),
    (False, '{baselines: {"b\\n": {}}}'),
    (False, '{name: "b\\n"}'),
    (False, "{generation: {max_new_tokens: 1.5}}"),
    (True, "{generation: {max_new_tokens: 2.0, stop: []}}"),
    (False, "{examples: null}"),
    (False, "{id: 3}"),
    (False, "{baselines: {a: {shots: {from: a.jsonl, n: 1, select: last}}}}"),
]


def test_an_overlap_limit_that_can_never_fail_is_refused(folder: Path) -> None:
    path = folder / "small.eval.yaml"
    path.write_text(json.dumps(parse_yaml(SMALL, path="small").data | {"gates": {"overlap": {"max": 1}}}))
    assert any("can never fail" in line for line in told(path))


@pytest.mark.parametrize(("good", "change"), CORPUS)
def test_the_shipped_schema_and_the_loader_agree(folder: Path, good: bool, change: str) -> None:
    data = parse_yaml(SMALL, path="small").data | parse_yaml(change, path="change").data
    if data.get("scorer", "") is None:
        del data["scorer"], data["target"]
        data["gates"] = {"overlap": {"max": 0}}
    schema = evalset_schema()
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(data) is good
    path = folder / "small.eval.yaml"
    path.write_text(json.dumps(data))
    if good:
        assert load_evalset(path).gates == read_gates(path)
    else:
        assert told(path)


def test_every_key_of_the_schema_is_described_for_editors() -> None:
    def undescribed(node: object, name: str) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in undescribed(item, name)]
        if not isinstance(node, dict):
            return []
        found = []
        for key, sub in node.get("properties", {}).items():
            if not {"description", "title", "default", "$ref", "enum"} & set(sub):
                found.append(f"{name}.{key}")
        return found + [f for key, sub in node.items() for f in undescribed(sub, f"{name}.{key}")]

    assert undescribed(evalset_schema(), "") == []


def test_importing_the_loader_stays_light() -> None:
    code = "import sys, pytest_ftgate.evalset.loader; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jsonschema", "regex", "datasets", "pyarrow", "torch", "numpy", "pytest"} & set(modules)


@given(st.binary())
def test_any_bytes_are_loaded_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{EVALSET_SUFFIX}"
    path.write_bytes(data)
    with suppress(EvalSetError):
        load_evalset(path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_value_anywhere_is_loaded_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    document = parse_yaml(YAML, path="x").data
    places = list(parse_yaml(YAML, path="x").lines)[1:]
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True)):
        node = document
        for part in place[:-1]:
            node = node[part] if isinstance(node, dict) and part in node else {}
        if isinstance(node, dict):
            node[place[-1]] = data.draw(json_values)
    path = folder / f"fuzz{EVALSET_SUFFIX}"
    path.write_text(json.dumps(document, ensure_ascii=False))
    with suppress(EvalSetError):
        load_evalset(path)


@given(st.lists(st.dictionaries(st.sampled_from(["id", "q", "target"]), json_values), max_size=4))
def test_any_rows_are_loaded_or_refused(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / f"rows{EVALSET_SUFFIX}"
    start, end = SMALL.index("examples:"), SMALL.index("prompt:")
    path.write_text(SMALL[:start] + "examples: rows.jsonl\n" + SMALL[end:])
    with suppress(InputError):
        for example in load_evalset(path).examples:
            assert isinstance(example.target, str | list)


@given(
    json_values
    | st.dictionaries(st.sampled_from(["$ref", "type", "items", "allOf", "$schema", "pattern", "format"]), json_values)
)
def test_any_format_schema_is_accepted_or_refused(schema: object) -> None:
    from pytest_ftgate.evalset.format_schema import json_schema_problems

    for problem in json_schema_problems(schema, "s.json"):
        assert problem.what
        assert problem.fix
