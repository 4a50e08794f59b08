"""lm-evaluation-harness on the same prompts: one process for the base, one for the adapter, as people run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.prompting import ChatPrompt, System, TextPrompt, build_prompts
from pytest_ftgate.evalset.types import EvalSet

Texts = Mapping[str, str]
"""example id -> answer"""
Weights = Mapping[str, Mapping[str, float]]
"""example id -> label -> log-likelihood"""


def task_name(evalset: EvalSet, system: System) -> str:
    return f"{evalset.name}_{system.name.replace(':', '_')}"


def write_task(folder: Path, evalset: EvalSet, system: System, tokenizer: Any, labels: Sequence[str]) -> str:
    """The task file and data of one System on one EvalSet; prompts are rendered here, so that both sides ask alike."""
    name = task_name(evalset, system)
    prompts = [as_text(prompt, tokenizer) for prompt in build_prompts(evalset, system).prompts]
    data = folder / f"{name}.jsonl"
    rows = [{"id": e.id, "prompt": p} for e, p in zip(evalset.examples, prompts, strict=True)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        "target_delimiter": "",
    }
    if labels:
        task |= {"output_type": "multiple_choice", "doc_to_choice": list(labels), "doc_to_target": 0}
        task["metric_list"] = [{"metric": "acc"}]
    else:
        limits = {"until": [tokenizer.eos_token], "max_gen_toks": evalset.generation.max_new_tokens, "do_sample": False}
        task |= {"output_type": "generate_until", "doc_to_target": "", "generation_kwargs": limits}
        task["metric_list"] = [{"metric": "bypass"}]
    # JSON is YAML.
    (folder / f"{name}.yaml").write_text(json.dumps(task), encoding="utf-8")
    return name


def as_text(prompt: ChatPrompt | TextPrompt, tokenizer: Any) -> str:
    """The whole prompt, rendered."""
    if isinstance(prompt, TextPrompt):
        return prompt.text
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def command(
    python: Path, tasks: Sequence[str], folder: Path, base: Path, adapter: Path | None, batch: int, out: Path
) -> list[str]:
    """One lm-eval process over these tasks; every answer is written to `out`."""
    shutil.rmtree(out, ignore_errors=True)
    model = f"pretrained={base},dtype=float32" + (f",peft={adapter}" if adapter else "")
    return [
        *(str(python), "-m", "lm_eval", "--model", "hf", "--model_args", model),
        *("--tasks", ",".join(tasks), "--include_path", str(folder), "--device", "cpu", "--batch_size", str(batch)),
        *("--output_path", str(out), "--log_samples"),
    ]


def read_texts(out: Path, task: str) -> Texts:
    """What lm-eval says that the model answered."""
    return {row["doc"]["id"]: row["resps"][0][0] for row in _samples(out, task)}


def read_weights(out: Path, task: str, labels: Sequence[str]) -> Weights:
    """What lm-eval says that each label weighs."""
    return {
        row["doc"]["id"]: {label: float(resp[0][0]) for label, resp in zip(labels, row["resps"], strict=True)}
        for row in _samples(out, task)
    }


def _samples(out: Path, task: str) -> list[dict[str, Any]]:
    [path] = out.glob(f"*/samples_{task}_2*.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
