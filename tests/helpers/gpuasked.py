"""Questions for the GPU tests, answers one by one, and how far two answers may differ in rounding."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.answers.prompting import ChatPrompt
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.results import Generation

LABELS = ("billing", "access to the account", "delivery", "bug in the app")
Tokens = tuple[int, ...]
EngineFor = Callable[..., HFEngine]


def needs(*names: str) -> None:
    """Skip where one of these packages is not installed."""
    if missing := [name for name in names if find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")


def requests(
    engine: HFEngine, project: Path, n: int, *, tuned: bool, new: int = 24, labels: tuple[str, ...] = ()
) -> list[TokenRequest]:
    """`n` tickets of the demo, every other one behind a longer system prompt: two shared prefixes."""
    rows = (project / "evals" / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    systems = ("Triage the ticket.", "Triage the ticket. Answer as JSON with the keys category and priority.")
    prompts = [
        ChatPrompt(
            (Message("system", systems[i % 2]), Message("user", f"{i}: {json.loads(rows[i % len(rows)])['ticket']}"))
        )
        for i in range(n)
    ]
    return [TokenRequest(engine.encode(prompt, tuned=tuned), new, (), labels) for prompt in prompts]


def answers(engine: HFEngine, asked: Sequence[TokenRequest], *, tuned: bool) -> list[Generation]:
    """In the order asked; every question has one."""
    found = dict(engine.generate_from_tokens(asked, tuned=tuned))
    assert sorted(found) == list(range(len(asked)))
    return [found[place] for place in range(len(asked))]


def one_by_one(model: Any, prompt: Tokens, new: int, ends: Sequence[int]) -> Tokens:
    """`model.generate` on one prompt, greedily, with nothing shared and nothing padded."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(max_new_tokens=new, do_sample=False, eos_token_id=list(ends), pad_token_id=ends[0])
    ids = torch.tensor([prompt], device=model.device)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return tuple(out[0, len(prompt) :].tolist())


def widest_gap(model: Any, prompts: Sequence[Tokens], left: Sequence[Tokens], right: Sequence[Tokens]) -> float:
    """How much more likely, in logits, the model finds one answer's token than the other's where they first differ.

    The largest over all prompts; 0.0 where no answer differs. Small: a tie, which rounding may decide either way.
    """
    gaps = [_gap(model, *row) for row in zip(prompts, left, right, strict=True) if row[1] != row[2]]
    return max(gaps, default=0.0)


def _gap(model: Any, prompt: Tokens, left: Tokens, right: Tokens) -> float:
    import torch

    place = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), None)
    if place is None:  # one is the beginning of the other: no tie explains that
        return float("inf")
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *left[:place]]], device=model.device)).logits[0, -1].float()
    return abs(float(logits[left[place]] - logits[right[place]]))
