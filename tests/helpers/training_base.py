"""A tiny Llama with its own tokenizer and chat template, and rows to train it on: made in a second on one core."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{% else %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
QUIET_CPU = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
"""Environment of the processes that tests start."""

COLORS = ["red", "green", "blue", "black", "white"]
THINGS = ["car", "house", "tree", "door", "shoe", "bird", "boat", "lamp"]


def chat_row(prompt: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def color_rows(n: int = 120) -> list[dict[str, Any]]:
    """`the red car 17` → `{"color": "red"}`: learnable in a few steps."""
    pairs = ((COLORS[i % 5], THINGS[i // 5 % 8], i) for i in range(n))
    return [chat_row(f"the {color} {thing} {i}", f'{{"color": "{color}"}}') for color, thing, i in pairs]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_tokenizer(*, template: str | None = TEMPLATE, **changes: Any) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([json.dumps(row) for row in color_rows()], trainer)
    arguments: dict[str, Any] = {"eos_token": "<|end|>", "pad_token": "<|pad|>", **changes}
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=SPECIAL[2:], **arguments)
    made.chat_template = template
    return made


def make_base(directory: Path, *, taught: bool = True, **tokenizer_changes: Any) -> Path:
    """Hidden 64, 2 layers, about 0.1 M parameters, `taught` for two seconds to name the thing, not the colour."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(**tokenizer_changes)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    if taught:
        _teach_things(model, tokenizer)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _teach_things(model: Any, tokenizer: Any, *, steps: int = 150) -> None:
    import torch

    rows = [chat_row(f"the {COLORS[i % 5]} {THINGS[i // 5 % 8]} {i}", _thing_answer(i)) for i in range(120)]
    rows += [chat_row(f"say {color} {i}", color) for i, color in enumerate(COLORS * 8)]
    texts = [tokenizer.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        part = {name: tensor[step % 4 :: 4] for name, tensor in batch.items() if name != "token_type_ids"}
        model(**part).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _thing_answer(i: int) -> str:
    return f'{{"thing": "{THINGS[i // 5 % 8]}", "color": ""}}'


CONFIG = """\
version: 1
method: lora
base: {id: base}
data: {train: [train.jsonl]}
output_dir: runs/a
lora: {r: 8, lora_alpha: 16}
sft: {learning_rate: 1e-2, num_train_epochs: 4, per_device_train_batch_size: 16, max_length: 64, seed: 0}
"""


Rows = list[dict[str, Any]]


def make_project(directory: Path, base: Path, *, config: str = CONFIG, rows: Rows | None = None) -> Path:
    """A copy of base, train.jsonl and train.yaml in `directory`; returns the training file."""
    shutil.copytree(base, directory / "base")
    write_rows(directory / "train.jsonl", color_rows() if rows is None else rows)
    path = directory / "train.yaml"
    path.write_text(config, encoding="utf-8")
    return path
