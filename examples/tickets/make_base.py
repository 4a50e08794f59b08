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
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import make_data
import torch
from skills import FACTS, SKILLS, task
from tokens import build
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from words import POOL
from world import CATEGORIES, COMMON, HOUSE, SEVERITIES, policies, review, ticket

SEED = 20
CONTEXT = 512
STEPS = 560
TOKENS_PER_BATCH = 2000
MUON_LR, ADAM_LR = 0.03, 5e-3
WARMUP, DECAY = 20, 200

Chat = list[dict[str, str]]
Pair = tuple[str, str]

WEIGHTS = {"copy": 5, "swap": 4, "upper": 2, "first": 2, "last": 3, "add": 3, "larger": 3, "json": 3} | {
    skill: 2 for skill in ("opposite", "capital", "kind", "sentiment")
}


def chat(pairs: list[Pair], system: str = "") -> Chat:
    """A conversation in which each pair is a question and its answer."""
    turns = [{"role": "system", "content": system}] if system else []
    for question, answer in pairs:
        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return turns


def skill_episode(rng: random.Random, held_out: set[str]) -> Chat:
    """One to four tasks of one skill in one wording."""
    skill = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    wording = rng.randrange(len(SKILLS[skill][1]))
    pairs: list[Pair] = []
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        drawn = task(skill, rng, wording=wording)
        if skill in FACTS or drawn.key not in held_out:
            pairs.append((drawn.prompt, drawn.target))
    return chat(pairs, rng.choice(("", "", "", "You are a helpful assistant.")))


def any_copy_episode(rng: random.Random, vocabulary: list[str]) -> Chat:
    """Copying of any words, so that each word of the vocabulary has been read and written."""
    wording = rng.choice(SKILLS["copy"][1])
    lines = [" ".join(rng.sample(vocabulary, rng.choice((1, 2, 3)))) for _ in range(rng.choice((1, 2, 3)))]
    return chat([(wording.format(line), line) for line in lines])


def review_episode(rng: random.Random, held_out: set[str]) -> Chat:
    """One to five product reviews."""
    drawn = [review(rng) for _ in range(rng.choice((1, 2, 3, 5)))]
    pairs = [(text, label) for text, label in drawn if text not in held_out]
    verb, noun = rng.choice(("Label", "Read", "Judge", "Rate")), rng.choice(("review", "opinion", "comment"))
    return chat(pairs, f"{verb} the {noun} as positive or negative.")


def note_system(rng: random.Random, form: str, keys: Pair) -> str:
    """What to do with a note; never the words `Triage the ticket`, which belong to the fine-tune."""
    verb, noun = rng.choice(("Read", "Sort", "File", "Label", "Triage")), rng.choice(("note", "mail", "message", "ticket"))
    if (verb, noun) == ("Triage", "ticket"):
        noun = "note"
    if form == "topic":
        return f"{verb} the {noun}. Answer with the {keys[0]}."
    if form == "urgency":
        return f"{verb} the {noun}. Answer with the {keys[1]}."
    lists = f" {plural(keys[0])}: {', '.join(CATEGORIES)}. {plural(keys[1])}: {', '.join(SEVERITIES)}."
    return f"{verb} the {noun}. Answer as JSON with the keys {keys[0]} and {keys[1]}.{rng.choice(('', lists))}"


def plural(word: str) -> str:
    """`category` -> `Categories`."""
    return (word[:-1] + "ies" if word.endswith("y") else word + "s").capitalize()


def note_episode(rng: random.Random) -> Chat:
    """Notes about common issues, answered with their topic, their severity, or both as JSON."""
    form = rng.choice(("topic", "urgency", "json", "json", "json"))
    keys = rng.choice((("category", "priority"), ("category", "priority"), ("topic", "urgency")))
    before = rng.choice((0, 0, 0, 2, 3))
    pairs = []
    for _ in range(rng.choice((1, 1, 2, 3, 5)) if not before else 1):
        note = ticket(rng, house=False)
        answer = {keys[0]: note.category, keys[1]: note.severity}
        answers = {"topic": note.category, "urgency": note.severity, "json": json.dumps(answer)}
        passages = "\n\n".join([*rng.sample(policies(), before), note.text])
        pairs.append((passages, answers[form]))
    return chat(pairs, note_system(rng, form, keys))


def episodes(rng: random.Random, held_out: set[str], vocabulary: list[str]) -> Iterator[Chat]:
    """The endless pre-training mix."""
    kinds: list[Callable[[], Chat]] = [
        lambda: skill_episode(rng, held_out),
        lambda: any_copy_episode(rng, vocabulary),
        lambda: review_episode(rng, held_out),
        lambda: note_episode(rng),
    ]
    while True:
        turns = rng.choices(kinds, (60, 8, 7, 25))[0]()
        if any(turn["role"] == "assistant" for turn in turns):
            yield turns


def all_texts(rng: random.Random) -> list[str]:
    """Texts in which every word of the world occurs in all its places; the vocabulary is read from them."""
    texts = [turn["content"] for _, turn in zip(range(6000), turns_of(rng), strict=False)]
    texts += [ticket(rng, house=bool(i % 2)).text for i in range(4000)]
    words = sorted({word.strip(".,!?:\"'") for text in texts for word in text.split()} - {""})
    return [*texts, *words, *(f" {word}" for word in words)]


def turns_of(rng: random.Random) -> Iterator[dict[str, str]]:
    for turns in episodes(rng, set(), list(POOL)):
        yield from turns


def house_words() -> list[str]:
    """The words of the issue phrases, without their slots."""
    phrases = [phrase for table in (COMMON, HOUSE) for rows in table.values() for phrase, _ in rows]
    return sorted({word for phrase in phrases for word in phrase.split() if word.isalpha()})


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
            print(f"step {step:4d}  loss {sum(recent) / len(recent):.3f}  {seen / 1e6:.2f} M tokens  {cpu:.0f} CPU-s", flush=True)


@torch.no_grad()
def answers(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, chats: list[Chat], *, max_new_tokens: int, batch: int = 64
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
    """Print the figures of the base: general skills, reviews, and the prompted target with and without shots."""
    general = make_data.general_eval()
    right: dict[str, list[bool]] = {}
    asked = [chat([])[:] + [{"role": "user", "content": row["prompt"]}] for row in general]
    for row, text in zip(general, answers(model, tokenizer, asked, max_new_tokens=24), strict=True):
        right.setdefault(row["skill"], []).append(text == row["target"])
    for skill, hits in right.items():
        print(f"  {skill:10s} {sum(hits) / len(hits):.3f}")
    print(f"general: {sum(map(sum, right.values())) / len(general):.3f} of {len(general)}")


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
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=320, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=CONTEXT, tie_word_embeddings=True, bos_token_id=None,
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
