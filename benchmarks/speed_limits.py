"""The least that the work of the speed benchmark can cost here: arithmetic and memory, each at its ceiling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.tables import Table, paragraphs
from pytest_ftgate.answers.engine.prefix import Tokens, shared_length

SIDE, ROUNDS = 1024, 5
COPIED = 2**27
BATCH = 64
"""Rows a step of decoding: our default."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt and what was answered."""

    tuned: bool
    prompt: Tokens
    new_tokens: int
    """Tokens written; of labels, those that must be weighed beyond the first."""


@dataclass(frozen=True, slots=True)
class Model:
    """Sizes of a Llama-type model in float32."""

    layers: int
    hidden: int
    layer_weights: int
    """Numbers in all matrices of the layers."""
    head_weights: int
    """Numbers in the output matrix."""


@dataclass(frozen=True, slots=True)
class Least:
    """What no method that reads each distinct prompt prefix once can do without."""

    given: int
    """Prompt tokens, as the prompts are."""
    distinct: int
    """Prompt tokens, each distinct prefix counted once."""
    written: int
    flops: float
    """2 x weights for each token, and attention: 4 x hidden x layers for each token it attends to."""
    read_bytes: float
    """Decoding: the weights once a step of a batch, keys and values of its own context for each token."""


def size_of(base: Path) -> Model:
    """Sizes of the model in a directory."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    matrices = {name: weight.numel() for name, weight in model.named_parameters() if weight.dim() == 2}
    layers = sum(count for name, count in matrices.items() if ".layers." in name)
    config = model.config
    return Model(config.num_hidden_layers, config.hidden_size, layers, config.hidden_size * config.vocab_size)


def least(asked: Iterable[Asked], model: Model) -> Least:
    """Tokens, arithmetic and bytes of the whole job."""
    given = distinct = written = context = decoded = steps = 0
    asked = list(asked)
    for tuned in (False, True):
        mine = sorted((each for each in asked if each.tuned is tuned), key=lambda each: each.prompt)
        shared = [0, *(shared_length(a.prompt, b.prompt) for a, b in pairwise(mine))]
        for each, start in zip(mine, shared, strict=True):
            length = len(each.prompt)
            given, distinct, written = given + length, distinct + length - start, written + each.new_tokens
            context += sum(range(start + 1, length + 1))
            decoded += sum(range(length + 1, length + each.new_tokens + 1))
        steps += sum(max(each.new_tokens for each in mine[i : i + BATCH]) for i in range(0, len(mine), BATCH))
    passes = distinct + written
    heads = len(asked) + written
    arithmetic = 2.0 * model.layer_weights * passes + 2.0 * model.head_weights * heads
    attention = 4.0 * model.hidden * model.layers * (context + decoded)
    weights, kv = 4.0 * (model.layer_weights + model.head_weights), 8.0 * model.hidden * model.layers
    return Least(given, distinct, written, arithmetic + attention, steps * weights + decoded * kv)


def matrix_rate() -> float:
    """Floating-point operations a second of a large float32 matrix product, one thread: the best of a few."""
    import torch

    torch.set_num_threads(1)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    return 2.0 * SIDE**3 / _best(lambda: torch.mm(left, right))


def bandwidth() -> float:
    """Bytes a second read from memory by one thread, of a block larger than any cache: the best of a few."""
    import torch

    torch.set_num_threads(1)
    block = torch.ones(COPIED // 4)
    return COPIED / _best(lambda: block.sum())


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def table(name: str, found: Least, seconds: float, rates: Sequence[float]) -> Table:
    """How far `seconds`, our cold run without start-up, are from the ceilings (matrix rate, bandwidth)."""
    matrix, memory = rates
    arithmetic, reading = found.flops / matrix, found.read_bytes / memory
    text = (
        f"{found.given:,} prompt tokens, of which {found.distinct:,} are left where each distinct prefix is read once; "
        f"{found.written:,} tokens written or weighed. Ours, cold, without start-up: {seconds:.1f} CPU-s, "
        f"{seconds / max(arithmetic, reading):.1f} times the higher of the two. The ceilings are measured in the same "
        "run, on one thread."
    )
    rows = [
        ["arithmetic of all tokens", f"{found.flops / 1e12:.2f} TFLOP", f"{matrix / 1e9:.0f} GFLOP/s", _s(arithmetic)],
        ["reading weights, keys, values", f"{found.read_bytes / 1e9:.0f} GB", f"{memory / 1e9:.1f} GB/s", _s(reading)],
    ]
    return Table(
        f"{name}: distance from the limit", paragraphs(text), ["work", "amount", "ceiling", "least seconds"], rows
    )


def _s(seconds: float) -> str:
    return f"{seconds:.1f}"
