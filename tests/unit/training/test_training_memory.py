"""Memory that runs out in training: one line with advice at every stage, exit code 1, nothing that looks finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, chat_row, make_base, make_project, write_rows

from training import __main__ as command
from training.config import load_config
from training.failed import TrainingFailed, smaller_base
from training.preflight import check
from training.train import train

FULL = CONFIG.replace("method: lora", "method: full").replace("lora: {r: 8, lora_alpha: 16}\n", "")
QLORA = CONFIG.replace("method: lora", "method: qlora")
DISTILL = CONFIG.replace("method: lora", "method: distill").replace(
    "{train: [train.jsonl]}", "{prompts: [prompts.jsonl]}"
)
DISTILL += "teacher: {id: base, max_new_tokens: 4, batch_size: 2}\n"
LOADING = "transformers.AutoModelForCausalLM.from_pretrained"


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny") / "base", taught=False)


def full(*_: Any, **__: Any) -> Any:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("place", [LOADING, "trl.SFTTrainer.__init__", "transformers.Trainer._move_model_to_device"])
def test_memory_that_runs_out_before_the_first_step(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    checked = check(load_config(make_project(tmp_path, base)))
    monkeypatch.setattr(place, full)
    with pytest.raises(
        TrainingFailed, match=r"^memory ran out before the first step: write `method: qlora`, take a sm"
    ):
        train(checked)
    assert not list((tmp_path / "runs").glob("*"))
    monkeypatch.undo()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert train(checked).steps > 0  # nothing is in the way of the next run


def test_memory_that_runs_out_while_weights_become_4_bit(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes")
    checked = check(load_config(make_project(tmp_path, base, config=QLORA)))
    monkeypatch.setattr("transformers.integrations.bitsandbytes.Bnb4bitQuantize.convert", full)
    with pytest.raises(TrainingFailed, match=r"^memory ran out before the first step: take a smaller base"):
        train(checked)


def test_memory_that_runs_out_in_a_step(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trl import SFTTrainer

    step = SFTTrainer.training_step

    def small(self: Any, *args: Any, **more: Any) -> Any:
        return full() if self.state.global_step == 3 else step(self, *args, **more)

    monkeypatch.setattr(SFTTrainer, "training_step", small)
    assert command.main([str(make_project(tmp_path, base)), "--no-ladder"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("failed: memory ran out after step 3: lower per_device_train_batch_size or max_length")
    assert "gradient_checkpointing: true" in said
    assert not (tmp_path / "runs" / "a").exists()


@pytest.fixture
def asked(tmp_path: Path, base: Path) -> Path:
    path = make_project(tmp_path, base, config=DISTILL)
    write_rows(tmp_path / "prompts.jsonl", [{"prompt": chat_row(f"say {i}", "")["messages"][:1]} for i in range(6)])
    return path


def test_memory_that_runs_out_for_the_teacher(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LOADING, full)
    assert command.main([str(asked), "--teacher-only"]) == 1
    said = capsys.readouterr().err
    assert "failed: memory ran out after the teacher's answers to 0 of 6 prompts: lower teacher.batch_size" in said
    assert not list(asked.parent.glob("runs/*.teacher.jsonl"))


def test_memory_that_runs_out_while_the_teacher_answers(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import GenerationMixin

    generate, calls = GenerationMixin.generate, []

    def small(self: Any, *args: Any, **more: Any) -> Any:
        calls.append(1)
        return full() if len(calls) == 3 else generate(self, *args, **more)

    monkeypatch.setattr(GenerationMixin, "generate", small)
    assert command.main([str(asked), "--teacher-only"]) == 1
    assert "after the teacher's answers to 4 of 6 prompts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "advice"),
    [
        (CONFIG, "write `method: qlora`, "),
        (FULL, "write `method: qlora`, "),
        (QLORA, ""),
        (DISTILL, "add `quantization: {}`, "),
        (DISTILL + "quantization: {}\n", ""),
    ],
)
def test_the_advice_is_one_that_the_method_can_follow(tmp_path: Path, base: Path, config: str, advice: str) -> None:
    path = make_project(tmp_path, base, config=config)
    assert smaller_base(load_config(path)) == f"{advice}take a smaller base, or free memory on the device"


def test_other_errors_are_not_taken_for_it(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = check(load_config(make_project(tmp_path, base)))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("size mismatch")

    monkeypatch.setattr("trl.SFTTrainer.training_step", broken)
    with pytest.raises(RuntimeError, match="size mismatch"):
        train(checked)
