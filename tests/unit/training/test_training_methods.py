"""Methods killed with -9 and resumed give the bytes of an undisturbed run; two processes write one result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, QUIET_CPU, Rows, color_rows, make_project, write_rows

from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.model.manifest import Manifest, read_manifest

ROOT = Path(__file__).parents[3]
SHORT = CONFIG.replace("epochs: 4", "epochs: 2")
NO_LORA = "lora: {r: 8, lora_alpha: 16}\n"
CONFIGS = {
    "full": SHORT.replace("method: lora", "method: full").replace(NO_LORA, "").replace("1e-2", "3e-3"),
    "dpo": SHORT.replace("method: lora", "method: dpo").replace("sft: {", "dpo: {"),
    "distill": SHORT.replace("method: lora", "method: distill").replace(
        "train: [train.jsonl]", "prompts: [prompts.jsonl]"
    )
    + "teacher: {id: base, max_new_tokens: 24}\n",
}
KILL_AT_12 = """
import os, signal, sys
from training import __main__, progress
update = progress.ProgressLine.update
def kill_at_12(self, step, *args, **kwargs):
    if step == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    update(self, step, *args, **kwargs)
progress.ProgressLine.update = kill_at_12
sys.exit(__main__.main(sys.argv[1:]))
"""


def rows_of(method: str) -> Rows:
    chats = [row["messages"] for row in color_rows()]
    if method == "dpo":
        return [
            {"prompt": [ask], "chosen": [answer], "rejected": [{"role": "assistant", "content": "{}"}]}
            for ask, answer in chats
        ]
    return color_rows()


def project(here: Path, base: Path, method: str) -> Path:
    here.mkdir(exist_ok=True)
    path = make_project(here, base, config=CONFIGS[method], rows=rows_of(method))
    write_rows(here / "prompts.jsonl", [{"prompt": row["messages"][:1]} for row in color_rows()])
    return path


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment: dict[str, Any] = {**os.environ, **QUIET_CPU}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def manifest_of(path: Path) -> Manifest:
    found = read_manifest(path.parent / "runs" / "a")
    assert found is not None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", CONFIGS)
def test_a_killed_and_resumed_run_has_the_bytes_of_an_undisturbed_one(tmp_path: Path, base: Path, method: str) -> None:
    whole, killed = (project(tmp_path / name, base, method) for name in ("whole", "killed"))
    done = run("-m", "training", str(whole))
    assert done.returncode == 0, done.stderr
    assert run("-c", KILL_AT_12, str(killed)).returncode == -signal.SIGKILL
    assert not (killed.parent / "runs" / "a").exists()
    done = run("-m", "training", str(killed), "--resume")
    assert done.returncode == 0, done.stderr
    assert "resumed from checkpoint-8" in done.stdout
    assert manifest_of(killed).weights == manifest_of(whole).weights


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "dpo"])
def test_two_processes_of_accelerate_write_one_result(tmp_path: Path, base: Path, method: str) -> None:
    path = project(tmp_path / "two", base, method)
    # With --cpu accelerate starts one process, unless there is MPI; --multi_gpu starts as many as it is told.
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    done = run(*launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "training", str(path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    manifest = manifest_of(path)
    assert manifest.hyperparameters["processes"] == 2
    result = path.parent / "runs" / "a"
    assert [entry.name for entry in (path.parent / "runs").iterdir()] == ["a"]
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert manifest.weights[name] == file_sha256(result / name)
    weights_differ = file_sha256(result / name) != file_sha256(base / "model.safetensors")
    assert weights_differ
