"""Pre-train the embedded base: a Llama of about a million parameters, in about three minutes on one CPU thread.

    python examples/tickets/make_base.py --out examples/tickets/base

The text is drawn from the small world (world.py, skills.py). The base learns the general skills, labels reviews, and
reads notes about *common* issues as JSON with their plain severity. It never meets a house phrase in a ticket, nor the
house rule, nor an input of the two eval sets (closed tables of facts excepted).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import make_data
import torch
from lessons import Chat, all_texts, chat, episodes, house_words
from tokens import build
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from words import POOL
from world import CATEGORIES, SEVERITIES

SEED = 20
CONTEXT = 512
STEPS = 760
TOKENS_PER_BATCH = 2000
MUON_LR, ADAM_LR = 0.025, 0.012
WARMUP, DECAY = 20, 300

JSON_SYSTEM = "Triage the ticket. Answer as JSON with the keys category and priority."
TARGET_FORM = re.compile(
    r'\{"category": "(%s)", "priority": "(%s)"\}' % ("|".join(CATEGORIES), "|".join(SEVERITIES))  # noqa: UP031
)

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def batches(source: Iterator[Chat], tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> Iterator[Batch]:
    """Endless (ids, mask, labels) [batch, length] of about TOKENS_PER_BATCH tokens, sorted by length in blocks."""
    while True:
        block = [turns for _, turns in zip(range(512), source, strict=False)]
        encoded = tokenizer.apply_chat_template(block, return_dict=True, return_assistant_tokens_mask=True)
        rows = [
            (ids[:CONTEXT], mask[:CONTEXT])
            for ids, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True)
        ]
        groups = group_by_length(sorted(rows, key=lambda row: len(row[0])))
        rng.shuffle(groups)
        yield from map(tensors, groups)


Row = tuple[list[int], list[int]]


def group_by_length(rows: list[Row]) -> list[list[Row]]:
    groups: list[list[Row]] = [[]]
    for row in rows:
        if (len(groups[-1]) + 1) * len(row[0]) > TOKENS_PER_BATCH and groups[-1]:
            groups.append([])
        groups[-1].append(row)
    return groups


def tensors(group: list[Row]) -> Batch:
    """Right-padded ids, attention mask, and labels that are -100 outside the answers."""
    length = max(len(ids) for ids, _ in group)
    ids = torch.zeros((len(group), length), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for index, (tokens, answer) in enumerate(group):
        row = torch.tensor(tokens)
        ids[index, : len(tokens)], mask[index, : len(tokens)] = row, 1
        labels[index, : len(tokens)] = torch.where(torch.tensor(answer) == 1, row, -100)
    return ids, mask, labels


class Muon:
    """Momentum orthogonalised by Newton-Schulz steps, in fp32 (Jordan et al. 2024; torch.optim.Muon works in bf16)."""

    def __init__(self, matrices: list[torch.nn.Parameter], *, momentum: float = 0.95) -> None:
        self.matrices = matrices
        self.momentum = momentum
        self.buffers = [torch.zeros_like(matrix) for matrix in matrices]

    @torch.no_grad()
    def step(self, lr: float) -> None:
        for matrix, buffer in zip(self.matrices, self.buffers, strict=True):
            if matrix.grad is None:
                continue
            buffer.lerp_(matrix.grad, 1 - self.momentum)
            update = orthogonal(matrix.grad.lerp(buffer, self.momentum))
            matrix.add_(update, alpha=-lr * max(1.0, matrix.size(0) / matrix.size(1)) ** 0.5)


def orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """Nearest semi-orthogonal matrix, roughly: five quintic Newton-Schulz steps."""
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


def pretrain(model: LlamaForCausalLM, source: Iterator[Batch], steps: int) -> None:
    """Muon on the matrices inside the layers, AdamW on the rest; short warm-up, flat, linear decay."""
    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "layers" in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "layers" not in name]
    muon, adam = Muon(inner), torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.95), weight_decay=0.0)
    started, seen, recent = time.process_time(), 0, []
    for step, (ids, mask, labels) in zip(range(1, steps + 1), source, strict=False):
        rate = min(1.0, step / WARMUP, (steps - step + 1) / DECAY)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rest, 1.0)
        adam.param_groups[0]["lr"] = ADAM_LR * rate
        adam.step()
        muon.step(MUON_LR * rate)
        model.zero_grad(set_to_none=True)
        seen, recent = seen + int(mask.sum()), [*recent[-19:], loss.item()]
        if step % 40 == 0 or step == steps:
            cpu = time.process_time() - started
            loss_now = sum(recent) / len(recent)
            print(f"step {step:4d}  loss {loss_now:.3f}  {seen / 1e6:.2f} M tokens  {cpu:.0f} CPU-s", flush=True)


@torch.no_grad()
def answers(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    chats: list[Chat],
    *,
    max_new_tokens: int,
    batch: int = 64,
) -> list[str]:
    """Greedy answers, in the order of the chats."""
    order = sorted(range(len(chats)), key=lambda i: sum(len(turn["content"]) for turn in chats[i]))
    found = [""] * len(chats)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        encoded = tokenizer.apply_chat_template(
            [chats[i] for i in part], add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        out = model.generate(**encoded, max_new_tokens=max_new_tokens, do_sample=False)
        texts = tokenizer.batch_decode(out[:, encoded["input_ids"].size(1) :], skip_special_tokens=True)
        for i, text in zip(part, texts, strict=True):
            found[i] = text
    return found


def report(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Print the figures of the base: general skills, reviews, and the prompted target, the latter also with shots."""

    def ask(chats: list[Chat]) -> list[str]:
        return answers(model, tokenizer, chats, max_new_tokens=24)

    general, right = make_data.general_eval(), {}
    for row, text in zip(general, ask([chat([], row["prompt"]) for row in general]), strict=True):
        right.setdefault(row["skill"], []).append(text == row["target"])
    for skill, hits in right.items():
        print(f"  {skill:10s} {sum(hits) / len(hits):.3f}")
    print(f"general    {sum(map(sum, right.values())) / len(general):.3f} of {len(general)}")
    for shots in (0, 4):
        pairs = [(row["review"], row["target"]) for row in make_data.review_shots()[:shots]]
        reviews = make_data.reviews_eval()
        found = ask([chat(pairs, row["review"], make_data.REVIEW_SYSTEM) for row in reviews])
        hits = [text == row["target"] for row, text in zip(reviews, found, strict=True)]
        print(f"reviews    {sum(hits) / len(hits):.3f} of {len(hits)}, {shots} shots")
        pairs = [(row["ticket"], json.dumps(row["target"])) for row in make_data.ticket_shots()[:shots]]
        tickets = make_data.tickets_eval()
        found = ask([chat(pairs, row["ticket"], JSON_SYSTEM) for row in tickets])
        hits = [text == json.dumps(row["target"]) for row, text in zip(tickets, found, strict=True)]
        formed = [bool(TARGET_FORM.fullmatch(text)) for text in found]
        print(
            f"tickets    {sum(hits) / len(hits):.3f} both right, {sum(formed) / len(formed):.3f} format, {shots} shots"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that receives model and tokenizer")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)

    tokenizer = build(all_texts(random.Random(0)), max_length=CONTEXT)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=320, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=8, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
        initializer_range=0.06, rope_parameters={"rope_type": "default", "rope_theta": 1000.0}, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(tokenizer)} tokens")
    rng = random.Random(options.seed)
    held_out = {row["key"] for row in make_data.general_eval()} | {row["review"] for row in make_data.reviews_eval()}
    pretrain(model, batches(episodes(rng, held_out, house_words() + list(POOL)), tokenizer, rng), options.steps)
    model.eval()
    model.generation_config.update(max_new_tokens=64, do_sample=False)
    options.out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    report(model, tokenizer)


if __name__ == "__main__":
    main()
