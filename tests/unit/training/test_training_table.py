"""The table of training methods: files are held to it, and no other file tells methods apart by name."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from training_base import CONFIG

import training.config as reading
from pytest_ftgate.files.problems import TrainingDataError
from training.config import load_config, training_schema
from training.methods import METHODS, MethodRow, UnknownMethod, sections
from training.pairs import kind_problems

ROOT = Path(__file__).parents[3]
FRESH = MethodRow(
    "fresh", "model", "pairs", "where written", "fresh", "fresh_trainer:Arguments", "fresh_trainer:make", True
)


def test_the_schema_lists_the_methods_of_the_table() -> None:
    schema = training_schema()["properties"]
    assert schema["method"]["enum"] == list(METHODS)
    told = [part.split(":")[0] for part in schema["method"]["description"].split("; ")]
    assert told == list(METHODS)
    assert set(sections()) <= set(schema)


@pytest.mark.parametrize("name", ["lorra", "LoRA", ""])
def test_an_unknown_method_raises_everywhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownMethod, match="expected a method of lora, qlora, full, dpo, distill, found"):
        METHODS[name]
    with pytest.raises(UnknownMethod):
        kind_problems(name, [])
    (tmp_path / "base").mkdir()
    path = tmp_path / "train.yaml"
    path.write_text(CONFIG)
    config = replace(load_config(path), method=name)
    with pytest.raises(UnknownMethod):
        _ = config.section
    path.write_text(CONFIG.replace("method: lora", f'method: "{name}"'))
    with pytest.raises(TrainingDataError):
        load_config(path)


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.py")), ids=lambda path: path.name)
def test_no_other_file_compares_a_value_with_the_name_of_a_method(path: Path) -> None:
    """`lora` and `dpo` are keys of the training file, too; what is forbidden is to compare with a method's name."""
    if path.name == "methods.py":
        return
    compared = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            among = any(isinstance(op, ast.In | ast.NotIn) for op in node.ops)  # `"lora" in data` asks for a key
            sides = node.comparators if among else [node.left, *node.comparators]
            compared += [leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)]
    assert [value for value in compared if value in METHODS] == []


def test_a_new_method_is_a_row_its_name_in_the_schema_and_a_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHODS, "fresh", FRESH)
    schema = copy.deepcopy(training_schema())
    schema["properties"]["method"]["enum"].append("fresh")
    schema["properties"]["fresh"] = schema["properties"]["dpo"]
    monkeypatch.setattr(reading, "training_schema", lambda: schema)
    (tmp_path / "fresh_trainer.py").write_text(
        "def make(checked, arguments, line):\n    return ('made', checked, arguments, line)\n\n\n"
        "def Arguments(**settings):\n    return settings\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "base").mkdir()
    path = tmp_path / "train.yaml"
    asked = CONFIG.replace("method: lora", "method: fresh").replace("lora: {r: 8, lora_alpha: 16}\n", "")
    path.write_text(asked.replace("train: [", "prompts: [").replace("sft: {", "fresh: {") + "teacher: {id: base}\n")
    config = load_config(path)
    assert (config.section, config.lora, config.quantization) == ("fresh", None, None)
    assert config.arguments["learning_rate"] is not None
    assert config.row.make_arguments(beta=1) == {"beta": 1}
    checked = SimpleNamespace(config=config)
    assert config.row.make_trainer(checked, {}, None) == ("made", checked, {}, None)
    path.write_text(asked)
    with pytest.raises(TrainingDataError) as raised:
        load_config(path)
    said = str(raised.value)
    assert "expected the settings of method fresh under `fresh`, found `sft`" in said
    assert "expected a `teacher` for method fresh, found none" in said


def test_versions_name_the_library_of_4_bits_wherever_it_was_used(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from training.manifest import _versions

    assert "bitsandbytes" in _versions(in_4_bits=True)
    assert "bitsandbytes" not in _versions(in_4_bits=False)
