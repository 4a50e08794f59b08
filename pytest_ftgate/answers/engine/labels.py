"""Log-probabilities of given answers (labels, references) after prompts that the model has read already.

All labels of one prompt stand side by side in one row: each token attends to the prompt and to its own label only (a
tree mask), at the position that it would have alone. The first token of each label is read off the prompt's logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_ftgate.answers.engine import embedding
from pytest_ftgate.answers.engine.decode import Prompted, rewind
from pytest_ftgate.answers.engine.prefix import Tokens

LOGIT_BYTES = 2**27
"""Most memory for float32 logits at once: (rows, positions, vocabulary) is computed in slices of positions."""


def extra_room(labels: Sequence[Sequence[Tokens]]) -> int:
    """Columns that scoring needs beyond the prompts."""
    return max((sum(max(0, len(label) - 1) for label in row) for row in labels), default=0)


def score(model: Any, batch: Prompted, labels: Sequence[Sequence[Tokens]]) -> list[list[float]]:
    """Sum over each label's tokens of log p(token | prompt, tokens before it), nats; `labels[row]` belongs to a row.

    `batch` is left as it was.
    """
    import torch

    device = model.device
    first = torch.log_softmax(batch.logits.float(), dim=-1)
    sums = [[float(first[row, label[0]]) if label else 0.0 for label in given] for row, given in enumerate(labels)]
    width = extra_room(labels)
    if not width:
        return sums
    packed = [_pack(given, width) for given in labels]
    ids, targets, owners, depths = (torch.tensor([row[i] for row in packed], device=device) for i in range(4))
    places = batch.lengths[:, None] + depths
    order = torch.arange(width, device=device)
    tree = (owners[:, :, None] == owners[:, None, :]) & (order[:, None] >= order[None, :])
    prompt = batch.seen[:, None, : batch.width].expand(-1, width, -1)
    mask = torch.cat([prompt, tree], dim=-1)[:, None]
    step = max(1, LOGIT_BYTES // (4 * len(labels) * batch.logits.shape[-1]))
    found = []
    for start in range(0, width, step):
        end = min(width, start + step)
        out = model(
            input_ids=ids[:, start:end],
            attention_mask=_for_attention(mask[:, :, start:end, : batch.width + end], model),
            position_ids=places[:, start:end],
            past_key_values=batch.kv,
            use_cache=True,
        )
        logits = out.logits.float()
        found.append(logits.gather(-1, targets[:, start:end, None])[..., 0] - logits.logsumexp(-1))
    rewind(batch)
    for row, (values, owner) in enumerate(zip(torch.cat(found, dim=1).tolist(), owners.tolist(), strict=True)):
        for value, label in zip(values, owner, strict=True):
            if label >= 0:
                sums[row][label] += value
    return sums


def _pack(given: Sequence[Tokens], width: int) -> tuple[list[int], list[int], list[int], list[int]]:
    """One row: input token, token that follows, label it belongs to (-1: padding), tokens before it in the label."""
    ids: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    depths: list[int] = []
    for number, label in enumerate(given):
        inside = max(0, len(label) - 1)
        ids += label[:inside]
        targets += label[1:]
        owners += [number] * inside
        depths += range(inside)
    fill = width - len(ids)
    return ids + [0] * fill, targets + [0] * fill, owners + [-1] * fill, depths + [0] * fill


def _for_attention(mask: Any, model: Any) -> Any:
    """A bool mask as the attention implementation wants it: `eager` adds it to the scores."""
    import torch

    if model.config._attn_implementation != "eager":
        return mask
    dtype = embedding.table(model).dtype
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
