"""A real instruct model through the whole gate, with an adapter of each kind that people train.

`make test-real` fetches the model. About fifteen minutes on two cores; `pytest -m real -s` shows the figures.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.real_model import PLACE

ROOT = Path(__file__).parents[2]
TICKETS = ROOT / "examples" / "tickets"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PLACE.is_dir(), reason="the real model is not there: make real-model"),
]
EXAMPLES = 48
TARGET = """\
version: 1
examples: tickets.jsonl
prompt: {system: "Triage the ticket.", user: "{ticket}"}
baselines:
  few_shot:
    system: "Triage the ticket. Answer as JSON with the keys category and priority."
    shots: {from: shots.jsonl, n: 4}
generation: {max_new_tokens: 24}
scorer: {json_fields: [category, priority]}
gates:
  overlap: {max: 0}
  format: {json_schema: ticket.schema.json, min_rate: 0.5}
  accuracy: {min: 0.3}
  beats_baseline: {min_gain: 0.0}
"""
GENERAL = """\
version: 1
examples: general.jsonl
prompt: {user: "{prompt}"}
generation: {max_new_tokens: 24}
scorer: {includes: {ignore_case: true}}
gates:
  forgetting: {max_drop: 0.3}
"""
TRAIN = """\
version: 1
method: METHOD
base: {id: base}
data: {train: [train.jsonl]}
output_dir: runs/NAME
lora: {r: 8, lora_alpha: 16, LORA}
sft: {learning_rate: 1.0e-3, max_steps: 10, per_device_train_batch_size: 8, max_length: 128, seed: 0}
"""


@dataclass(frozen=True)
class Kind:
    """One way to make a candidate, and the form in which it is judged."""

    name: str
    method: str = "lora"
    lora: str = "target_modules: [q_proj, v_proj]"
    quantize: str = "none"


KINDS = (
    Kind("lora"),
    Kind("dora", lora="target_modules: [q_proj, v_proj], use_dora: true"),
    Kind("qlora", method="qlora", quantize="nf4"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("real")
    (here / "base").symlink_to(PLACE)
    (here / "evals").mkdir()
    for name in ("shots.jsonl", "ticket.schema.json"):
        shutil.copy(TICKETS / "evals" / name, here / "evals" / name)
    head(TICKETS / "evals" / "tickets.jsonl", here / "evals" / "tickets.jsonl", EXAMPLES)
    general = (ROOT / "evalsets" / "general" / "general.jsonl").read_text().splitlines(keepends=True)
    (here / "evals" / "general.jsonl").write_text("".join(general[::5]))
    (here / "evals" / "tickets.eval.yaml").write_text(TARGET)
    (here / "evals" / "general.eval.yaml").write_text(GENERAL)
    head(TICKETS / "data" / "tickets_train.jsonl", here / "train.jsonl", 80)
    return here


def head(source: Path, target: Path, count: int) -> None:
    target.write_text("".join(source.read_text().splitlines(keepends=True)[:count]))


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run([sys.executable, *command], cwd=project, env=env, capture_output=True, text=True, check=False)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(
        f"\n{' '.join(command[1:4])}: exit {done.returncode}, {time.monotonic() - began:.0f} s, peak {peak} MiB so far"
    )
    return done


def judge(project: Path, name: str, *options: str) -> dict[str, Any]:
    """Judge runs/NAME; the verdict file, after checking that receipt and verify say the same."""
    files = (f"--ft-json={name}.json", f"--ft-receipt={name}.receipt.json", f"--ft-html={name}.html")
    done = run(project, "-m", "pytest", f"--ft-model=runs/{name}", *files, "evals", *options)
    assert (project / f"{name}.json").is_file(), done.stdout[-3000:]
    told: dict[str, Any] = json.loads((project / f"{name}.json").read_text())
    print(done.stdout[-2500:])
    asked = run(project, "-m", "pytest_ftgate", "verify", f"runs/{name}", "--receipt", f"{name}.receipt.json")
    assert asked.returncode == (0 if told["verdict"] == "SHIP" else 1), asked.stdout + asked.stderr
    assert {gate["outcome"] for gate in told["gates"]} <= {"PASS", "FAIL", "INCONCLUSIVE"}, told["gates"]
    return told


@pytest.fixture(scope="module")
def trained(project: Path) -> dict[str, Path]:
    made = {}
    for kind in KINDS:
        text = TRAIN.replace("METHOD", kind.method).replace("NAME", kind.name).replace("LORA", kind.lora)
        (project / f"{kind.name}.yaml").write_text(text)
        done = run(project, "-m", "training", f"{kind.name}.yaml")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        made[kind.name] = project / "runs" / kind.name
    return made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_kind_of_adapter_is_judged_as_it_was_trained(project: Path, trained: dict[str, Path], kind: Kind) -> None:
    told = judge(project, kind.name)
    assert told["engine"]["quantize"] == kind.quantize
    assert kind.quantize in (project / f"{kind.name}.html").read_text() or kind.quantize == "none"
    receipt = (project / f"{kind.name}.receipt.json").read_text()
    assert ("nf4" in receipt) == (kind.quantize == "nf4")


def test_the_merged_model_is_judged_as_a_model(project: Path, trained: dict[str, Path]) -> None:
    """Overlap cannot be known of a merged model, and says so; the other gates are those of the adapter, or nearly."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(PLACE, dtype=torch.float32)
    merged = PeftModel.from_pretrained(base, trained["lora"]).merge_and_unload()
    merged.save_pretrained(project / "runs" / "merged")
    AutoTokenizer.from_pretrained(PLACE).save_pretrained(project / "runs" / "merged")
    files = ("--ft-json=merged.json", "--ft-receipt=merged.receipt.json")
    run(project, "-m", "pytest", "--ft-model=runs/merged", "--ft-base=base", *files, "evals")
    told, adapter = (json.loads((project / f"{name}.json").read_text()) for name in ("merged", "lora"))
    outcomes = {gate["gate"]: gate["outcome"] for gate in told["gates"]}
    assert outcomes.pop("tickets::overlap") == "ERROR"
    assert told["verdict"] in ("NOT_EVALUATED", "BLOCK")
    of_adapter = {gate["gate"]: gate["value"] for gate in adapter["gates"]}
    for gate in told["gates"]:
        if gate["kind"] != "overlap":
            assert gate["value"] == pytest.approx(of_adapter[gate["gate"]], abs=0.1)
