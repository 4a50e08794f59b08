"""Preference pairs: a real run on the tiny base, and what the pre-flight says of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from training_base import (
    COLORS,
    CONFIG,
    THINGS,
    Rows,
    chat_row,
    color_rows,
    make_project,
    make_tokenizer,
    write_rows,
)

from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import read_manifest
from pytest_ftgate.rows.reader import read_rows
from training import train as trainer_module
from training.config import load_config
from training.data import encode, to_pairs
from training.preflight import Checked, check, describe
from training.train import train

pytestmark = pytest.mark.usefixtures("on_the_cpu")

DPO = (
    CONFIG.replace("method: lora", "method: dpo")
    .replace("sft: {learning_rate: 1e-2", "dpo: {beta: 0.2, logging_steps: 5, learning_rate: 5e-3")
    .replace("epochs: 4", "epochs: 2")
)


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    turns = (("prompt", "user", prompt), ("chosen", "assistant", chosen), ("rejected", "assistant", rejected))
    return {name: [{"role": role, "content": text}] for name, role, text in turns}


def pairs(n: int = 240) -> Rows:
    """The base names the thing; the colour is preferred. Neither answer is always the longer one."""
    found = []
    for i in range(n):
        color, thing = COLORS[i % 5], THINGS[i // 5 % 8]
        chosen, rejected = f'{{"color": "{color}"}}', f'{{"thing": "{thing}", "color": ""}}' if i % 2 else "{}"
        found.append(pair(f"the {color} {thing} {i}", chosen, rejected))
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """One finished run in runs/a, with the logits of the model as it was when training ended."""
    here = tmp_path_factory.mktemp("dpo")
    path = make_project(here, base, config=DPO, rows=pairs(160))
    write = trainer_module.write_result
    with pytest.MonkeyPatch.context() as patch:

        def keep(trainer: Any, *args: Any, **kwargs: Any) -> Any:
            assert trainer.ref_model is None  # the adapter switched off
            here.joinpath("trained.json").write_text(json.dumps(logits_of(trainer.model, base).tolist()))
            return write(trainer, *args, **kwargs)

        patch.setattr(trainer_module, "write_result", keep)
        train(check(load_config(path)))
    return here


def logits_of(model: Any, base: Path) -> Any:
    import torch
    from transformers import AutoTokenizer

    messages = [{"role": "user", "content": "the green boat 33"}]
    ids = AutoTokenizer.from_pretrained(base).apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    with torch.no_grad():
        return model.eval()(ids).logits[0, -1]


def loaded(base: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return model if adapter is None else PeftModel.from_pretrained(model, adapter)


def test_the_reward_margin_rises_from_nothing(project: Path) -> None:
    log = json.loads((project / "runs" / "a" / "training_log.json").read_text())
    margins = [entry["rewards/margins"] for entry in log]
    assert margins[0] == 0.0  # the adapter starts as the reference
    assert margins[-1] > 2.0
    assert log[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert log[-1]["loss"] < 0.2
    assert log[-1]["rewards/accuracies"] == 1.0


def test_the_adapter_changes_the_outputs_and_reloading_reproduces_them(project: Path, base: Path) -> None:
    import torch

    trained = torch.tensor(json.loads((project / "trained.json").read_text()))
    assert torch.equal(logits_of(loaded(base, project / "runs" / "a"), base), trained)
    assert not torch.allclose(logits_of(loaded(base), base), trained, atol=0.1)


def test_the_manifest_records_the_method_and_its_settings(project: Path) -> None:
    manifest = read_manifest(project / "runs" / "a")
    assert manifest is not None
    assert manifest.method == "dpo"
    assert manifest.hyperparameters["dpo"]["beta"] == 0.2
    assert manifest.hyperparameters["dpo"]["loss_type"] == "sigmoid"
    assert "sft" not in manifest.hyperparameters
    assert [file.path for file in manifest.training] == ["../../train.jsonl"]


def test_the_same_seed_gives_the_same_bytes(project: Path) -> None:
    from pytest_ftgate.files.digests import file_sha256

    train(check(load_config(project / "train.yaml", output_dir=project / "runs" / "again")))
    names = [project / "runs" / run / "adapter_model.safetensors" for run in ("a", "again")]
    assert file_sha256(names[0]) == file_sha256(names[1])


@pytest.mark.parametrize("text", [False, True])
def test_rows_and_masks_are_those_that_trl_makes_itself(tmp_path: Path, text: bool) -> None:
    from trl import DPOConfig, DPOTrainer

    tokenizer = make_tokenizer()
    rows = (
        [{"prompt": f"the red car {i} ", "chosen": "red", "rejected": " car"} for i in range(6)] if text else pairs(6)
    )
    read = list(read_rows(write_rows(tmp_path / "rows.jsonl", rows)))
    args = DPOConfig(output_dir=str(tmp_path), max_length=64, report_to="none", use_cpu=True, bf16=False)
    prepare = DPOTrainer._prepare_dataset
    shell = type("Shell", (), {"_tokenizer": tokenizer})()
    for row, theirs in zip(read, prepare(shell, to_pairs(read), tokenizer, args, "train"), strict=True):
        ours = encode(tokenizer, row, every_turn=False)
        assert ours.rejected is not None
        for one, name in ((ours, "chosen_ids"), (ours.rejected, "rejected_ids")):
            assert list(one.input_ids) == theirs["prompt_ids"] + theirs[name]
            assert sum(one.mask) == len(theirs[name])


def checked(here: Path, base: Path, rows: Rows, *, config: str = DPO) -> Checked:
    return check(load_config(make_project(here, base, config=config, rows=rows)))


def problems_of(here: Path, base: Path, rows: Rows, *, config: str = DPO) -> str:
    with pytest.raises(TrainingDataError) as caught:
        checked(here, base, rows, config=config)
    return str(caught.value)


def test_good_pairs_give_no_warning_and_are_shown(tmp_path: Path, base: Path) -> None:
    result = checked(tmp_path, base, pairs())
    assert result.warnings == ()
    assert 'trained  {"color": "red"}<|end|>\nrejected {}<|end|>' in describe(result)


def test_copies_and_pairs_that_stand_both_ways_are_named(tmp_path: Path, base: Path) -> None:
    rows = pairs()
    prompt = rows[5]["prompt"][0]["content"]
    swapped = {**rows[5], "chosen": rows[5]["rejected"], "rejected": rows[5]["chosen"]}
    copies, both = checked(tmp_path, base, [*rows, rows[2], swapped, pair(prompt, "red", "blue")]).warnings
    assert "1 pairs are exact copies of earlier pairs: " in copies
    assert "train.jsonl:3 and " in copies
    assert "1 pairs stand both ways round" in both
    assert "train.jsonl:6 and " in both


def test_pairs_that_length_tells_apart_are_a_warning(tmp_path: Path, base: Path) -> None:
    rows = [pair(f"the red car {i}", '{"color": "red"}', "{}") for i in range(240)]
    (warning,) = checked(tmp_path, base, rows).warnings
    assert warning.startswith("the chosen answer is the longer one in 240 of 240 pairs")


def test_a_pair_with_nothing_to_prefer_stops_the_run(tmp_path: Path, base: Path) -> None:
    found = problems_of(tmp_path, base, [*pairs(), pair("the red car", "red", "red")])
    assert "train.jsonl:241: rejected: expected another answer than the chosen one" in found


def test_a_rejected_answer_that_is_cut_counts_as_cut(tmp_path: Path, base: Path) -> None:
    rows = [*pairs(), *(pair(f"say {i}", "red", "red car " * 40) for i in range(8))]
    (cut,) = [text for text in checked(tmp_path / "a", base, rows).warnings if "cut" in text]
    assert "8 of 248 answers are cut at max_length 64" in cut
    many = [pair(f"say {i}", "red", "red car " * 40) for i in range(240)]
    assert "answers cut at 64 tokens, found 240 of 480" in problems_of(tmp_path / "b", base, many)


def test_rows_must_be_those_of_the_method(tmp_path: Path, base: Path) -> None:
    assert "for method dpo, found a row with one answer" in problems_of(tmp_path / "a", base, color_rows(60))
    found = problems_of(tmp_path / "b", base, pairs(60), config=CONFIG)
    assert "train.jsonl:1: expected rows with one answer for method lora, found a preference pair" in found
    text = {"prompt": "q ", "chosen": "a", "rejected": "b"}
    assert "expected all pairs in one form" in problems_of(tmp_path / "c", base, [*pairs(60), text])
    assert chat_row("x", "y").keys() == {"messages"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("beta: 0.2", "betta: 0.2", "did you mean `beta`?"),
        ("beta: 0.2", "beta: 0", "dpo.beta"),
        ("beta: 0.2", "packing: true", "unknown key `packing`"),
        ("dpo: {", "sft: {", "sft"),
        ("beta: 0.2", "loss_type: sigmoidal", "did you mean sigmoid?"),
        ("method: dpo", "method: lora", "expected the settings of method lora under `sft`, found `dpo`"),
    ],
)
def test_settings_are_those_of_trl_and_strict(tmp_path: Path, base: Path, old: str, new: str, expected: str) -> None:
    assert old in DPO
    with pytest.raises(TrainingDataError) as caught:
        load_config(make_project(tmp_path, base, config=DPO.replace(old, new)))
    assert expected in str(caught.value)
