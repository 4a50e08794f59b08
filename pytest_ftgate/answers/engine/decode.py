"""Greedy decoding on a shared prefix: the same tokens as `model.generate`, without what is computed twice there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from pytest_ftgate.answers.engine.kv import PrefixStore, forget_after, keep_rows, survivors
from pytest_ftgate.answers.engine.prefix import Tokens

Ended = Callable[[list[int]], bool]
"""Whether an answer, all tokens so far, has come to a stop string."""
NO_TOKEN = -1
"""Ends a row whose logits hold NaN or infinity: the largest of such numbers is any token, and no answer."""


@dataclass(slots=True)
class Prompted:
    """A batch whose prompts have gone through the model. Mutable: decoding goes on from here.

    Layout of the columns of a row: the shared prefix, padding, the rest of the prompt, the answer.
    """

    kv: Any
    logits: Any
    """(rows, vocabulary): what follows the prompt."""
    seen: Any
    """(rows, room) bool: columns that hold a token; all new columns are True from the start."""
    lengths: Any
    """(rows,) tokens of each row so far: the position of the next one."""
    padded: bool
    width: int
    """Columns in use."""


def prefill(
    model: Any, store: PrefixStore, prompts: Sequence[Tokens], *, prefix: int, more: int, tuned: bool
) -> Prompted:
    """Run prompts that share their first `prefix` tokens through the model, with room for `more` tokens each."""
    import torch

    tails = [prompt[prefix:] for prompt in prompts]
    widest = max(map(len, tails))
    width, device = prefix + widest, model.device
    kv = store.cache_on(model, prompts[0][:prefix], rows=len(prompts), room=width + more, tuned=tuned)
    # Any token will do as padding: no row attends to it.
    ids = torch.tensor([[0] * (widest - len(tail)) + list(tail) for tail in tails], device=device)
    tail_lengths = torch.tensor([len(tail) for tail in tails], device=device)[:, None]
    places = torch.arange(widest, device=device)[None] - (widest - tail_lengths)
    seen = torch.ones((len(prompts), width + more), dtype=torch.bool, device=device)
    seen[:, prefix:width] = places >= 0
    padded = any(len(tail) < widest for tail in tails)
    out = model(
        input_ids=ids,
        attention_mask=seen[:, :width] if padded else None,
        position_ids=prefix + places.clamp(min=0),
        past_key_values=kv,
        use_cache=True,
        logits_to_keep=1,
    )
    return Prompted(kv, out.logits[:, -1], seen, prefix + tail_lengths[:, 0], padded, width)


def greedy(
    model: Any, batch: Prompted, *, max_new_tokens: int, ends: AbstractSet[int], ended: Ended
) -> list[list[int]]:
    """New tokens of each row, the end token included: the likeliest token each time, the first of equals.

    A row ends with a token of `ends`, where `ended` says so, after `max_new_tokens`, or with NO_TOKEN where there is no
    likeliest one; rows that have ended leave.
    """
    answers: list[list[int]] = [[] for _ in range(len(batch.lengths))]
    rows = list(range(len(answers)))
    chosen = _likeliest(batch.logits)
    for new in range(1, max_new_tokens + 1):
        done = []
        for slot, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            answers[row].append(token)
            if token == NO_TOKEN or token in ends or ended(answers[row]):
                done.append(slot)
        if len(done) == len(rows) or new == max_new_tokens:
            break
        if done:
            kept = survivors(len(rows), done)
            keep_rows(batch.kv, kept)
            rows = [rows[slot] for slot in kept]
            chosen, batch.seen, batch.lengths = chosen[kept], batch.seen[kept], batch.lengths[kept]
        chosen = _likeliest(step(model, batch, chosen))
    return answers


def step(model: Any, batch: Prompted, chosen: Any) -> Any:
    """Logits (rows, vocabulary) after one more token in every row."""
    batch.width += 1
    out = model(
        input_ids=chosen[:, None],
        attention_mask=batch.seen[:, : batch.width] if batch.padded else None,
        position_ids=batch.lengths[:, None],
        past_key_values=batch.kv,
        use_cache=True,
        logits_to_keep=1,
    )
    batch.lengths = batch.lengths + 1
    return out.logits[:, -1]


def _likeliest(logits: Any) -> Any:
    # As model.generate does it: in float32, whatever the model computes in.
    logits = logits.float()
    return logits.argmax(dim=-1).masked_fill(not_finite(logits), NO_TOKEN)


def not_finite(logits: Any) -> Any:
    """(rows,) bool: where the largest of a row (rows, vocabulary) is NaN or infinite; half precision overflows so.

    A NaN anywhere is the largest. Minus infinity is how some models rule a token out.
    """
    return ~logits.amax(dim=-1).isfinite()


def rewind(batch: Prompted) -> None:
    """Back to the end of the prompt, after other tokens were tried on top of it."""
    forget_after(batch.kv, batch.width)
