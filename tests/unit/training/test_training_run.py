"""Real runs on a tiny Llama: loss falls, outputs change, reloading reproduces, a killed run looks unfinished."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, QUIET_CPU, chat_row, make_project, write_rows

from pytest_ftgate.files.digests import base_digests, file_sha256, text_sha256
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import Manifest, read_manifest, write_manifest
from training import train as trainer_module
from training.config import load_config
from training.failed import TrainingFailed
from training.preflight import check
from training.train import Finished, train

pytestmark = pytest.mark.usefixtures("on_the_cpu")
ROOT = Path(__file__).parents[3]
GREEN = '{"color": "green"}'
"""What the trained model should answer to `prompt_ids`; the base names the boat."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """One finished run of CONFIG in runs/a, with the logits of the model as it was when training ended."""
    here = tmp_path_factory.mktemp("project")
    path = make_project(here, base)
    kept: list[Any] = []
    write = trainer_module.write_result
    trainer_module.write_result = lambda trainer, *args, **kwargs: (  # type: ignore[assignment]
        kept.append(logits_of(trainer.model, base)),
        write(trainer, *args, **kwargs),
    )[1]
    try:
        run(path)
    finally:
        trainer_module.write_result = write
    here.joinpath("trained.json").write_text(json.dumps(kept[0].tolist()))
    return here


def run(path: Path, **overrides: Any) -> Finished:
    return train(check(load_config(path, **overrides)))


def prompt_ids(base: Path) -> Any:
    from transformers import AutoTokenizer

    messages = [{"role": "user", "content": "the green boat 33"}]
    return AutoTokenizer.from_pretrained(base).apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]


def logits_of(model: Any, base: Path) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(prompt_ids(base)).logits[0, -1]


def loaded(base: Path, adapter: Path | None = None) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return model if adapter is None else PeftModel.from_pretrained(model, adapter)


def nats_of(model: Any, base: Path, answer: str) -> float:
    """Log-probability of `answer` after the prompt, in nats."""
    import torch
    from transformers import AutoTokenizer

    ids, wanted = prompt_ids(base), AutoTokenizer.from_pretrained(base)(answer, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model.eval()(torch.cat([ids, wanted], dim=1)).logits[0, ids.shape[1] - 1 : -1]
    return float(logits.log_softmax(-1).gather(-1, wanted[0][:, None]).sum())


def test_the_loss_falls(project: Path) -> None:
    log = json.loads((project / "runs" / "a" / "training_log.json").read_text())
    losses = [entry["loss"] for entry in log]
    assert losses[0] > 3.0
    assert losses[-1] < 0.5
    assert [entry["step"] for entry in log] == [1, 10, 20, 30, 32]


def test_the_adapter_makes_the_trained_answer_likelier(project: Path, base: Path) -> None:
    """A margin, not a text: which token wins a close race depends on the order in which a processor sums."""
    before = nats_of(loaded(base), base, GREEN)
    after = nats_of(loaded(base, project / "runs" / "a"), base, GREEN)
    assert after > before + 5.0


def test_reloading_reproduces_the_trained_model_exactly(project: Path, base: Path) -> None:
    import torch

    trained = torch.tensor(json.loads((project / "trained.json").read_text()))
    again = logits_of(loaded(base, project / "runs" / "a"), base)
    assert torch.equal(again, trained)
    assert not torch.allclose(logits_of(loaded(base), base), trained, atol=0.1)


def test_the_same_seed_gives_the_same_bytes_another_seed_others(project: Path) -> None:
    run(project / "train.yaml", output_dir=project / "runs" / "again")
    run(project / "train.yaml", output_dir=project / "runs" / "other", seed=1)
    first, again, other = (base_digests(project / "runs" / name) for name in ("a", "again", "other"))
    assert again == first
    assert other["adapter_model.safetensors"] != first["adapter_model.safetensors"]
    modules = json.loads((project / "runs" / "a" / "adapter_config.json").read_text())["target_modules"]
    assert modules == sorted(modules)  # a set's order differs from process to process
    configs = [(project / "runs" / name / "adapter_config.json").read_bytes() for name in ("a", "again")]
    assert configs[0] == configs[1]


def test_the_manifest_says_what_the_adapter_was_made_from(project: Path, base: Path) -> None:
    adapter = project / "runs" / "a"
    manifest = read_manifest(adapter)
    assert manifest is not None
    assert manifest.base.files == base_digests(base)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(manifest.base.files)
    assert (adapter / str(manifest.base.local)).resolve() == (project / "base").resolve()
    (file,) = manifest.training
    assert (adapter / file.path).resolve() == (project / "train.jsonl").resolve()
    assert (file.sha256, file.rows) == (file_sha256(project / "train.jsonl"), 120)
    assert manifest.chat_template_sha256 == text_sha256((base / "chat_template.jinja").read_text())
    assert (manifest.seed, manifest.method) == (0, "lora")
    assert manifest.hyperparameters["lora"]["r"] == 8
    assert manifest.hyperparameters["sft"]["learning_rate"] == 1e-2
    assert manifest.hyperparameters["sft"]["adam_beta2"] == 0.999
    assert manifest.hyperparameters["device"] == "cpu"
    assert {"python", "torch", "transformers", "peft", "trl"} <= set(manifest.versions)
    assert any("120 target rows" in text for text in manifest.warnings)
    names = ("adapter_config.json", "adapter_model.safetensors")
    assert manifest.weights == {name: file_sha256(adapter / name) for name in names}


def test_the_directory_holds_what_serving_needs_and_no_pickle(project: Path, base: Path) -> None:
    adapter = project / "runs" / "a"
    assert sorted(path.name for path in adapter.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "ftgate.json",
        "loss.png",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_log.json",
    ]
    assert (adapter / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert not (project / "runs" / "a.partial").exists()


def test_no_path_of_this_machine_is_written(project: Path) -> None:
    for path in (project / "runs" / "a").glob("*.json"):
        assert str(project) not in path.read_text()
    config = json.loads((project / "runs" / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "../../base"


def test_replay_rows_are_trained_and_recorded(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("[train.jsonl]", "[train.jsonl], replay: {files: [general.jsonl], share: 0.25}")
    path = make_project(tmp_path, base, config=config.replace("epochs: 4", "epochs: 1"))
    write_rows(tmp_path / "general.jsonl", [chat_row(f"say red {i}", "red") for i in range(50)])
    assert run(path).steps == 10
    manifest = read_manifest(tmp_path / "runs" / "a")
    assert manifest is not None
    assert [(file.path, file.rows) for file in manifest.training] == [
        ("../../train.jsonl", 120),
        ("../../general.jsonl", 50),
    ]
    assert manifest.hyperparameters["data"] == {
        "rows": 160,
        "replay_rows": 40,
        "replay_share": 0.25,
        "dev_rows": 0,
        "dev_share": 0.0,
    }


def test_full_fine_tuning_writes_a_model(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("method: lora", "method: full").replace("lora: {r: 8, lora_alpha: 16}\n", "")
    path = make_project(tmp_path, base, config=config.replace("1e-2", "3e-3"))
    finished = run(path)
    model = tmp_path / "runs" / "a"
    assert finished.last_loss < 0.5 < finished.first_loss
    assert nats_of(loaded(model), base, GREEN) > nats_of(loaded(base), base, GREEN) + 5.0
    weights = base_digests(base)
    changed = [name for name, digest in base_digests(model).items() if digest != weights[name]]
    assert changed == ["model.safetensors"]
    assert not (model / "adapter_config.json").exists()
    assert len({path.stat().st_mode for path in model.iterdir()}) == 1
    manifest = read_manifest(model)
    assert manifest is not None
    assert manifest.method == "full"
    assert manifest.base.files == weights
    assert "lora" not in manifest.hyperparameters


def test_full_fine_tuning_keeps_dtype_and_ties_of_the_base(tmp_path: Path, base: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    config = CONFIG.replace("method: lora", "method: full").replace("lora: {r: 8, lora_alpha: 16}\n", "")
    path = make_project(tmp_path, base, config=config.replace("epochs: 4", "epochs: 1"))
    weights = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    settings = tmp_path / "base" / "config.json"
    settings.write_text(settings.read_text().replace("float32", "bfloat16"))
    trained = load_file(run(path).output_dir / "model.safetensors")
    assert set(trained) == set(weights)
    assert {tensor.dtype for tensor in trained.values()} == {torch.bfloat16}


@pytest.fixture(scope="module")
def qlora(tmp_path_factory: pytest.TempPathFactory, base: Path) -> tuple[Path, Any, Finished]:
    """(adapter, the trained model, what the run said) of a run on the 4-bit base."""
    here = tmp_path_factory.mktemp("qlora")
    path = make_project(here, base, config=CONFIG.replace("method: lora", "method: qlora"))
    kept: list[Any] = []
    write = trainer_module.write_result
    trainer_module.write_result = lambda trainer, *args, **kwargs: (  # type: ignore[assignment]
        kept.append(trainer.model),
        write(trainer, *args, **kwargs),
    )[1]
    try:
        finished = run(path)
    finally:
        trainer_module.write_result = write
    return here / "runs" / "a", kept[0], finished


def test_the_qlora_base_is_really_4_bit(qlora: tuple[Path, Any, Finished]) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit

    layers = [
        m for name, m in qlora[1].named_modules() if name.endswith(("_proj", "base_layer")) and hasattr(m, "weight")
    ]
    frozen = [m for m in layers if isinstance(m, Linear4bit)]
    assert len({id(m.weight) for m in frozen}) == 14
    for layer in frozen:
        assert layer.weight.dtype == torch.uint8
        assert layer.weight.numel() * 2 == layer.in_features * layer.out_features
        assert layer.weight.quant_state.quant_type == "nf4"
        assert layer.weight.quant_state.nested


def test_a_qlora_run_learns_and_says_what_it_replaced(qlora: tuple[Path, Any, Finished], base: Path) -> None:
    adapter, _, finished = qlora
    assert finished.last_loss < 0.5 < finished.first_loss
    assert "optimizer paged_adamw_32bit needs a GPU: this run used adamw_torch" in finished.warnings
    manifest = read_manifest(adapter)
    assert manifest is not None
    assert manifest.method == "qlora"
    assert manifest.hyperparameters["quantization"]["bnb_4bit_quant_type"] == "nf4"
    assert manifest.hyperparameters["sft"]["optim"] == "adamw_torch"
    assert "bitsandbytes" in manifest.versions


KILL_AT_20 = """
import os, signal, sys
from training import __main__, progress
update = progress.ProgressLine.update
def kill_at_20(self, step, *args, **kwargs):
    if step == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self, step, *args, **kwargs)
progress.ProgressLine.update = kill_at_20
sys.exit(__main__.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The training file of CONFIG's run, killed at step 20 of 32."""
    path = make_project(tmp_path_factory.mktemp("killed"), base)
    environment = {**os.environ, **QUIET_CPU}
    done = subprocess.run(
        [sys.executable, "-c", KILL_AT_20, str(path)], cwd=ROOT, env=environment, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    return path


def test_a_killed_run_leaves_nothing_that_looks_finished(killed: Path) -> None:
    runs = killed.parent / "runs"
    assert [path.name for path in runs.iterdir()] == ["a.partial"]
    adapters = [path.parent for path in runs.rglob("adapter_config.json")]
    assert [path.name for path in adapters] == ["checkpoint-16"]
    assert read_manifest(adapters[0]) is None


def test_an_unfinished_run_is_not_thrown_away(killed: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"expected no unfinished run, found checkpoint-16 .* pass --resume"):
        run(killed)


def test_another_run_cannot_continue_it(killed: Path) -> None:
    with pytest.raises(TrainingDataError, match="expected the run that was interrupted, found other seed and hyper"):
        train(check(load_config(killed, seed=4)), resume=True)


def test_a_resumed_run_gives_the_bytes_of_an_undisturbed_one(project: Path, killed: Path, tmp_path: Path) -> None:
    shutil.copytree(killed.parent, tmp_path / "copy")  # other tests look at the run as it was killed
    finished = train(check(load_config(tmp_path / "copy" / killed.name)), resume=True)
    assert finished.steps == 32
    assert "resumed from checkpoint-16" in finished.warnings
    name = "adapter_model.safetensors"
    assert file_sha256(finished.output_dir / name) == file_sha256(project / "runs" / "a" / name)
    assert [path.name for path in finished.output_dir.parent.iterdir()] == ["a"]


def test_there_must_be_something_to_resume(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base)
    with pytest.raises(TrainingDataError, match="expected a checkpoint of an unfinished run to resume"):
        train(check(load_config(path)), resume=True)


@pytest.mark.slow
def test_two_processes_write_one_adapter(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base)
    environment = {**os.environ, **QUIET_CPU}
    command_line = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "training", str(path)]
    done = subprocess.run(command_line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    manifest = read_manifest(tmp_path / "runs" / "a")
    assert manifest is not None
    assert manifest.hyperparameters["processes"] == 2
    assert nats_of(loaded(base, tmp_path / "runs" / "a"), base, GREEN) > nats_of(loaded(base), base, GREEN) + 5.0
    assert [entry.name for entry in (tmp_path / "runs").iterdir()] == ["a"]


def test_a_failed_write_leaves_nothing_that_looks_finished(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(directory: Path, manifest: Manifest) -> Path:
        if directory.name == "result":
            raise OSError("disk full")
        return write_manifest(directory, manifest)

    monkeypatch.setattr("training.output.write_manifest", broken)
    path = make_project(tmp_path, base, config=CONFIG.replace("epochs: 4", "epochs: 1"))
    with pytest.raises(OSError, match="disk full"):
        run(path)
    assert not (tmp_path / "runs" / "a").exists()
    monkeypatch.undo()
    train(check(load_config(path)), resume=True)
    assert read_manifest(tmp_path / "runs" / "a") is not None
    assert not (tmp_path / "runs" / "a.partial").exists()


def test_a_run_that_diverges_fails_and_writes_nothing(tmp_path: Path, base: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = make_project(tmp_path, base)
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["model.norm.weight"][0] = float("inf")
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingFailed, match="not finite, so the run diverged"):
        run(path)
    assert not (tmp_path / "runs" / "a").exists()
