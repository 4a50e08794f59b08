"""Left-padded batches through `model.generate`, nothing shared: for models whose cache cannot be shared."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from pytest_ftgate.answers.engine.decode import NO_TOKEN, Ended, not_finite
from pytest_ftgate.answers.engine.prefix import Tokens


def generate(
    model: Any, prompts: Sequence[Tokens], *, max_new_tokens: int, pad: int, ends: AbstractSet[int], ended: Ended
) -> list[list[int]]:
    """New tokens of each prompt, the end token included; as `decode.greedy` gives them."""
    import torch
    from transformers import GenerationConfig, StoppingCriteriaList

    ids, mask = left_pad(prompts, pad, model.device)
    width = ids.shape[1]
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        use_cache=True,
        pad_token_id=pad,
        eos_token_id=sorted(ends),
    )

    def at_stop(so_far: Any, scores: Any, **kwargs: Any) -> Any:
        return torch.tensor([ended(row) for row in so_far[:, width:].tolist()], device=so_far.device)

    broken: list[Any] = []

    def look_on(so_far: Any, scores: Any) -> Any:
        broken.append(not_finite(scores.float()))
        return scores

    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=config,
        stopping_criteria=StoppingCriteriaList([at_stop]),
        logits_processor=[look_on],
    )
    new = out[:, width:].masked_fill(torch.stack(broken, dim=1), NO_TOKEN)
    return [_own_tokens(row, ends, ended) for row in new.tolist()]


def _own_tokens(row: list[int], ends: AbstractSet[int], ended: Ended) -> list[int]:
    """Without what fills a row up until the last one of its batch has ended."""
    for place, token in enumerate(row, 1):
        if token == NO_TOKEN or token in ends or ended(row[:place]):
            return row[:place]
    return row


def label_logprobs(model: Any, prompt: Tokens, labels: Sequence[Tokens]) -> list[float]:
    """Sum over each label's tokens of log p(token | prompt, tokens before it), nats; one row per label."""
    import torch

    ids, mask = left_pad([(*prompt, *label) for label in labels], 0, model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    keep = max(map(len, labels)) + 1
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep).logits
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    sums = []
    for row, label in enumerate(labels):
        # The logits at position p predict the token at p + 1; the last label token is the last position.
        places = torch.arange(keep - 1 - len(label), keep - 1)
        sums.append(float(logprobs[row, places, torch.tensor(label, dtype=torch.long, device=logprobs.device)].sum()))
    return sums


def left_pad(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """(batch, width) token ids and attention mask; the prompts end in the last column."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[place, width - len(row) :] = 1
    return ids.to(device), mask.to(device)
