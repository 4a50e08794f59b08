"""Training on a GPU: LoRA, QLoRA and all weights for a few steps, judged by the engine; and what memory it took."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from gpuasked import EngineFor, answers, needs, requests
from gpumemory import little_memory

from benchmarks.gpu_model import Shape, random_llama
from pytest_ftgate.model.manifest import read_manifest

ROOT = Path(__file__).parents[2]
METHODS = {"lora": (), "qlora": ("bitsandbytes",), "full": ()}
"""Method -> what it needs beside TRL."""
CONFIG = """\
version: 1
method: {method}
base: {{id: {base}}}
data: {{train: [../data/tickets_train.jsonl]}}
output_dir: ../runs/{name}
{lora}sft: {{learning_rate: {rate}, max_steps: {steps}, per_device_train_batch_size: {batch}, max_length: 160,
  logging_steps: 1, save_strategy: "no", seed: 0}}
"""
MOST_ABOVE = {"lora": 2.5, "qlora": 3.5, "full": 2.0}
"""Peak over estimate that is allowed, with a batch of one short row: what the estimate leaves out (activations, logits,
one gradient norm, for QLoRA the layer that is being put back to 16 bits) must stay the smaller part."""


@pytest.fixture(autouse=True)
def _trl() -> None:
    needs("trl", "datasets", "accelerate")


def write_config(project: Path, method: str, name: str, *, base: str, steps: int, batch: int) -> Path:
    path = project / "train" / f"{name}.yaml"
    lora = "" if method == "full" else "lora: {r: 16, lora_alpha: 32, target_modules: all-linear}\n"
    rate = 1e-3 if method == "full" else 3e-3
    text = CONFIG.format(method=method, base=base, name=name, lora=lora, rate=rate, steps=steps, batch=batch)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("method", METHODS)
def test_a_few_steps_of_training_lower_the_loss_and_the_engine_judges_the_result(
    project: Path, engine_for: EngineFor, device: str, method: str
) -> None:
    needs(*METHODS[method])
    from training.config import load_config
    from training.preflight import check
    from training.train import train

    name = f"few_{method}"
    steps = 24
    config = load_config(write_config(project, method, name, base="../base", steps=steps, batch=8))
    finished = train(check(config))
    assert finished.steps == steps
    assert finished.last_loss < finished.first_loss
    manifest = read_manifest(config.output_dir)
    assert manifest is not None
    assert (manifest.hyperparameters["device"] == "cpu") is (device == "cpu")
    assert manifest.method == method
    engine = engine_for("auto", "nf4" if method == "qlora" else "none", model=f"runs/{name}")
    found = {side: answers(engine, requests(engine, project, 16, tuned=side), tuned=side) for side in (True, False)}
    assert [each.token_ids for each in found[True]] != [each.token_ids for each in found[False]]
    assert engine.describe()["device_type"] == device.split(":")[0]


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_of_memory_is_a_lower_bound_and_near(
    project: Path, device: str, method: str, record_property: pytest.RecordProperty
) -> None:
    needs(*METHODS[method])
    import torch

    from training.config import load_config
    from training.memory import least_memory
    from training.preflight import check
    from training.train import train

    on_gpu = device.startswith("cuda")
    shape = Shape(2048, 8) if on_gpu else Shape(128, 2)
    base = random_llama(project / f"for_memory_{method}", shape, device=device, dtype="float32")
    config = load_config(write_config(project, method, f"memory_{method}", base=f"../{base.name}", steps=3, batch=1))
    checked = check(config)
    estimate = least_memory(config, checked.base, bf16=on_gpu).bytes
    assert checked.memory.weights > 0
    before = torch.cuda.memory_allocated() if on_gpu else 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    train(checked)
    if not on_gpu:
        pytest.skip("the CPU counts no peak of a tensor's memory; the run itself went through")
    # The states of QLoRA's paged optimizer, 8 bytes a trained weight, lie where torch does not count them.
    paged = 8 * checked.memory.trained if method == "qlora" else 0
    peak = torch.cuda.max_memory_allocated() - before + paged
    record_property("estimate_mib", round(estimate / 2**20))
    record_property("peak_mib", round(peak / 2**20))
    print(f"{method}: estimate {estimate / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB, {peak / estimate:.2f} times")
    assert estimate <= peak <= MOST_ABOVE[method] * estimate


def test_memory_that_runs_out_in_training_is_said_and_leaves_nothing(project: Path, device: str) -> None:
    if not device.startswith("cuda"):
        pytest.skip("only on CUDA does memory run out with an error of its own")
    from training.config import load_config
    from training.failed import TrainingFailed
    from training.preflight import check
    from training.train import train

    random_llama(project / "for_oom", Shape(1024, 8), device=device, dtype="float32")
    config = load_config(write_config(project, "lora", "oom", base="../for_oom", steps=3, batch=800))
    checked = check(config)
    # The model takes about 200 MiB of it; 800 rows in one batch want thousands.
    with little_memory(device, 900, 0), pytest.raises(TrainingFailed, match="GPU memory ran out after step 0"):
        train(checked)
    assert not config.output_dir.exists()


def test_the_demo_ships_as_on_the_cpu(project: Path, device: str) -> None:
    """Train runs/good by the demo's own file, and let pytest decide, both as processes of their own."""
    if device == "cpu" and not os.environ.get("FTGATE_GPU_TESTS_DEMO"):
        pytest.skip("minutes on a CPU, where `make demo` does it; FTGATE_GPU_TESTS_DEMO=1 runs it")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environment.pop("PYTEST_ADDOPTS", None)
    (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    installed = any(each.name == "pytest_ftgate" for each in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "pytest_ftgate.plugin"]
    commands = [
        ["-m", "training", "train/good.yaml", "--no-ladder"],
        ["-m", "pytest", *plugin, "--ft-model=runs/good", f"--ft-device={device}", "evals"],
    ]
    for command in commands:
        done = subprocess.run(
            [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "SHIP" in done.stdout
