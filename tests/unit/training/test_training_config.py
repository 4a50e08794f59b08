from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import pytest
from training_base import CONFIG

from pytest_ftgate.files.problems import TrainingDataError
from training.arguments import trainer_arguments
from training.config import TrainingConfig, load_config, training_schema
from training.device import Device

CPU = Device(cuda=False, bf16=False, name="cpu")
GPU = Device(cuda=True, bf16=True, name="some GPU")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "base").mkdir()
    return tmp_path


def load(here: Path, text: str = CONFIG, **overrides: object) -> TrainingConfig:
    path = here / "train.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, **overrides)  # type: ignore[arg-type]


def problems_of(here: Path, text: str) -> list[str]:
    with pytest.raises(TrainingDataError) as caught:
        load(here, text)
    return [str(problem) for problem in caught.value.problems]


def test_paths_are_relative_to_the_file_and_defaults_are_filled_in(here: Path) -> None:
    config = load(here)
    assert config.base.directory == here / "base"
    assert config.data.train == (here / "train.jsonl",)
    assert config.output_dir == here / "runs" / "a"
    assert config.lora is not None
    assert config.lora["r"] == 8
    assert config.lora["bias"] == "none"
    assert config.arguments["learning_rate"] == 1e-2
    assert config.arguments["warmup_ratio"] == 0.03
    assert config.arguments["gradient_checkpointing"] is False
    assert config.quantization is None
    assert config.seed == 0


def test_command_line_overrides(here: Path) -> None:
    config = load(here, output_dir=Path("elsewhere"), seed=5)
    assert config.output_dir == Path("elsewhere")
    assert config.seed == 5


def test_a_hub_id_is_one_with_a_revision(here: Path) -> None:
    revision = "0123456789" * 4
    config = load(here, CONFIG.replace("{id: base}", f"{{id: org/name, revision: '{revision}'}}"))
    assert (config.base.id, config.base.revision, config.base.directory) == ("org/name", revision, None)


def test_qlora_has_the_published_settings(here: Path) -> None:
    config = load(here, CONFIG.replace("method: lora", "method: qlora"))
    assert config.quantization == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": "bfloat16",
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ("learning_rate:", "learning_rates:", 7, "did you mean `learning_rate`?"),
        ("lora_alpha:", "alpha:", 6, "alpha"),
        ("method: lora", "method: lorra", 2, "method"),
        ("version: 1", "version: 2", 1, "version"),
        ("data: {train: [train.jsonl]}", "data: {train: []}", 4, "data.train"),
        ("learning_rate: 1e-2", "learning_rate: fast", 7, "sft.learning_rate"),
        ("learning_rate: 1e-2", "learning_rate: -1e-2", 7, "sft.learning_rate"),
        ("r: 8", "r: 0", 6, "lora.r"),
        ("r: 8", "r: true", 6, "lora.r"),
        ("r: 8", "bias: all", 6, "lora.bias"),
        ("r: 8", "init_lora_weights: pissa", 6, "lora.init_lora_weights"),
        ("r: 8", "target_modules: '(a+)+$'", 6, "lora.target_modules"),
        ("{id: base}", "{id: bass}", 3, "expected a directory, found none"),
        ("{id: base}", "{id: org/name, revision: main}", 3, "base.revision"),
        ("{id: base}", f"{{id: base, revision: '{'a' * 40}'}}", 3, "found a directory"),
        ("seed: 0}", "seed: 0, warmup_ratio: 0.1, warmup_steps: 5}", 7, "found both"),
        ("seed: 0}", "seed: 0}\nquantization: {bnb_4bit_quant_type: nf4}", 8, "method qlora"),
        ("seed: 0}", "seed: 0, seed: 1}", 7, "seed"),
        ("method: lora", "method: full", 6, "no adapter settings with method full"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(here: Path, old: str, new: str, line: int, expected: str) -> None:
    assert old in CONFIG
    found = problems_of(here, CONFIG.replace(old, new))
    assert len(found) == 1
    assert f"train.yaml:{line}:" in found[0]
    assert expected in found[0]
    assert "Fix: " in found[0]


def test_all_problems_come_at_once(here: Path) -> None:
    text = CONFIG.replace("r: 8", "rank: 8").replace("seed: 0", "seed: -1").replace("output_dir: runs/a\n", "")
    assert len(problems_of(here, text)) == 3


def test_a_missing_file_is_a_problem_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"nowhere\.yaml: expected a file"):
        load_config(tmp_path / "nowhere.yaml")


def test_every_key_is_one_of_the_library_that_it_names() -> None:
    from peft import LoraConfig
    from transformers import BitsAndBytesConfig, EarlyStoppingCallback
    from trl import DPOConfig, SFTConfig

    schema = training_schema()["properties"]
    sft = {field.name for field in dataclasses.fields(SFTConfig)}
    # transformers 5 spells warmup_ratio as warmup_steps below 1; people know it by its old name.
    assert set(schema["sft"]["properties"]) - {"warmup_ratio"} <= sft
    dpo = {field.name for field in dataclasses.fields(DPOConfig)}
    assert set(schema["dpo"]["properties"]) - {"warmup_ratio"} <= dpo
    stopping = set(inspect.signature(EarlyStoppingCallback).parameters)
    assert set(schema["early_stopping"]["properties"]) <= stopping
    assert set(schema["lora"]["properties"]) <= {field.name for field in dataclasses.fields(LoraConfig)}
    assert set(schema["quantization"]["properties"]) <= set(BitsAndBytesConfig(load_in_4bit=True).to_dict())


def test_the_libraries_accept_the_defaults(here: Path) -> None:
    from peft import LoraConfig
    from trl import SFTConfig

    config = load(here)
    arguments, notes = trainer_arguments(config, CPU)
    args = SFTConfig(output_dir=str(here / "out"), **arguments)
    assert notes == []
    assert args.report_to == []
    assert args.warmup_steps == 0.03
    assert args.get_warmup_steps(1000) == 30
    assert args.bf16 is False
    assert LoraConfig(**(config.lora or {})).r == 8
    written = {
        name: value for name, value in arguments.items() if name not in ("optim", "report_to", "lr_scheduler_type")
    }
    assert {name: getattr(args, name) for name in written} == written


def test_optimizers_that_need_a_gpu_are_replaced_aloud(here: Path) -> None:
    config = load(here, CONFIG.replace("method: lora", "method: qlora"))
    assert trainer_arguments(config, GPU)[0]["optim"] == "paged_adamw_32bit"
    arguments, notes = trainer_arguments(config, CPU)
    assert arguments["optim"] == "adamw_torch"
    assert notes == ["optimizer paged_adamw_32bit needs a GPU: this run used adamw_torch"]


def test_bf16_is_decided_by_the_device_or_refused(here: Path) -> None:
    assert trainer_arguments(load(here), GPU)[0]["bf16"] is True
    assert trainer_arguments(load(here), CPU)[0]["bf16"] is False
    wanted = load(here, CONFIG.replace("seed: 0", "seed: 0, bf16: true"))
    with pytest.raises(TrainingDataError, match="expected a GPU with bfloat16"):
        trainer_arguments(wanted, CPU)


def test_the_schema_is_a_schema_and_says_what_keys_mean() -> None:
    from jsonschema import Draft202012Validator

    schema = training_schema()
    Draft202012Validator.check_schema(schema)
    assert all("additionalProperties" in rule for rule in json_objects(schema))


def json_objects(node: object) -> list[dict[str, object]]:
    """Every subschema of type object, at any depth."""
    if isinstance(node, list):
        return [found for item in node for found in json_objects(item)]
    if not isinstance(node, dict):
        return []

    typed = [node] if node.get("type") in ("object", ["object", "null"]) else []
    return typed + [found for item in node.values() for found in json_objects(item)]
