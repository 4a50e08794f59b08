"""The work that both sides of the speed benchmark do: models, eval sets, and the same prompts as plain text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEMO = Path(__file__).resolve().parent.parent / "examples" / "tickets"
LABELS = {
    "words": ("billing", "access", "delivery", "bug", "refund", "idea", "low", "high"),
    "phrases": (
        *("wrong invoice", "cannot sign in", "parcel came late", "app is slow"),
        *("refund was rejected", "new idea", "low urgency", "high urgency"),
    ),
}
"""Eval set -> its labels: one token each, which lm-eval reads off one forward pass a prompt; and two to four tokens."""
CONTEXT = 4096
RULES = "Triage the ticket. Answer as JSON with the keys category and priority."


@dataclass(frozen=True, slots=True)
class Size:
    """How much work there is."""

    tickets: int
    """Examples that are answered with a short prompt by the candidate and with a long one by the base."""
    general: int
    """Examples that both sides answer with the same short prompt."""
    words: int
    """Examples whose eight labels, of one token each, are weighed: short prompt by the candidate, long by the base."""
    phrases: int
    """The same with labels of more than one token."""
    shots: int
    """Worked examples in the long prompt; about 50 tokens each."""
    new_tokens: int
    """At most; the big model, which never ends an answer, writes all of them."""
    rungs: int = 1
    """Few-shot baselines, each with one shot more than the one before."""


def write_evalsets(folder: Path, size: Size) -> Path:
    """`evals/` with four eval sets: tickets, general, words, phrases. Every question is asked once."""
    evals = folder / "evals"
    shutil.rmtree(evals, ignore_errors=True)
    evals.mkdir(parents=True)
    shots = _rows("data/tickets.jsonl", size.shots + size.rungs - 1, "Shot")
    _write(evals / "shots.jsonl", [{**row, "category": row["target"]["category"]} for row in shots])
    if size.tickets:
        _write(evals / "tickets.jsonl", list(_rows("evals/tickets.jsonl", size.tickets, "Ticket")))
        (evals / "tickets.eval.yaml").write_text(_tickets(size), encoding="utf-8")
    for name, count in (("words", size.words), ("phrases", size.phrases)):
        if count:
            rows = _rows("evals/tickets.jsonl", count, name)
            _write(evals / f"{name}.jsonl", [{**row, "target": _label_of(name, row)} for row in rows])
            _write(evals / f"{name}_shots.jsonl", [{**row, "target": _label_of(name, row)} for row in shots])
            (evals / f"{name}.eval.yaml").write_text(_labels(size, name), encoding="utf-8")
    if size.general:
        general = [{**row, "prompt": f"{row['prompt']} {i}"} for i, row in _cycle("evals/general.jsonl", size.general)]
        _write(evals / "general.jsonl", [{**row, "id": f"g{i}"} for i, row in enumerate(general)])
        (evals / "general.eval.yaml").write_text(_general(size), encoding="utf-8")
    return evals


def _tickets(size: Size) -> str:
    rungs = [
        f'  few_{k}: {{system: "{RULES}", shots: {{from: shots.jsonl, n: {size.shots + k}}}}}\n'
        for k in range(size.rungs)
    ]
    return (
        'version: 1\nexamples: tickets.jsonl\nprompt: {system: "Triage the ticket.", user: "{ticket}"}\n'
        f"baselines:\n{''.join(rungs)}generation: {{max_new_tokens: {size.new_tokens}}}\n"
        "scorer: {json_fields: [category, priority]}\n"
        "gates:\n  accuracy: {min: 0.85}\n  beats_baseline: {min_gain: 0.05}\n"
    )


def _labels(size: Size, name: str) -> str:
    return (
        f'version: 1\nexamples: {name}.jsonl\nprompt: {{system: "Which topic?", user: "{{ticket}}"}}\n'
        f'baselines:\n  few: {{system: "Which topic?", shots: {{from: {name}_shots.jsonl, n: {size.shots}}}}}\n'
        "generation: {max_new_tokens: 1}\n"
        f"scorer: {{choice: {{labels: [{', '.join(LABELS[name])}], by: loglikelihood}}}}\n"
        "gates:\n  accuracy: {min: 0.5}\n  beats_baseline: {min_gain: 0.05}\n"
    )


def _label_of(name: str, row: dict[str, Any]) -> str:
    """The label that stands for a ticket's category."""
    return LABELS[name][LABELS["words"].index(row["target"]["category"])]


def _general(size: Size) -> str:
    return (
        'version: 1\nexamples: general.jsonl\nprompt: {user: "{prompt}"}\n'
        f"generation: {{max_new_tokens: {size.new_tokens}}}\nscorer: exact\ngates:\n  forgetting: {{max_drop: 0.05}}\n"
    )


def _cycle(name: str, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = [json.loads(line) for line in (DEMO / name).read_text(encoding="utf-8").splitlines()]
    return ((i, rows[i % len(rows)]) for i in range(count))


def _rows(name: str, count: int, word: str) -> list[dict[str, Any]]:
    """`count` tickets, each with a number of its own: no two are the same question."""
    if name.startswith("data/"):
        name = "evals/shots.jsonl"
    return [
        {"id": f"{word}{i}", "ticket": f"{word} {i}: {row['ticket']}", "target": row["target"]}
        for i, row in _cycle(name, count)
    ]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def demo_base(folder: Path) -> Path:
    """The demo's base with a longer context, so that long prompts fit; it was not trained that far."""
    base = folder / "base"
    shutil.rmtree(base, ignore_errors=True)
    shutil.copytree(DEMO / "base", base)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = CONTEXT
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _plain_generation_config(base)
    return base


def big_base(folder: Path, *, hidden: int = 832, layers: int = 12) -> Path:
    """A random Llama, by default of about 100 million parameters, that never ends an answer: lengths are forced."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    small = demo_base(folder)
    base = folder / "big"
    shutil.rmtree(base, ignore_errors=True)
    written = json.loads((small / "config.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=written["vocab_size"],
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 16 * 16,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=0.05,
        eos_token_id=written["eos_token_id"],
        pad_token_id=written["pad_token_id"],
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # Its logit is always 0, and some other of a thousand is always above.
        model.lm_head.weight[written["eos_token_id"]] = 0.0
    model.save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(small / name, base / name)
    _plain_generation_config(base)
    return base


def _plain_generation_config(base: Path) -> None:
    """No length of its own: lm-eval's would be overridden by it."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    kept = {name: config[name] for name in ("eos_token_id", "pad_token_id")}
    (base / "generation_config.json").write_text(json.dumps(kept), encoding="utf-8")


def random_adapter(base: Path, directory: Path, *, seed: int) -> Path:
    """A LoRA of rank 16 on all linear layers, drawn at random: its cost is that of a trained one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    shutil.rmtree(directory, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    tuned = get_peft_model(model, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(directory)
    return directory
