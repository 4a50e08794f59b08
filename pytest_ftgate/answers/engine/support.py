"""Checks whether a model can answer on a shared prefix: its configuration first, then a try against plain forwards."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from pytest_ftgate.answers.engine import decode, embedding, labels, memory, plain
from pytest_ftgate.answers.engine.kv import PrefixStore

NEEDED = ("attention_mask", "position_ids", "past_key_values", "logits_to_keep")
LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Kinds of rotary positions that change with the length of the whole sequence: a prefix alone gives other keys."""
TOLERANCE_FULL, TOLERANCE_HALF = 1e-3, 0.1
"""Mean difference of log-probabilities allowed in the try, in standard deviations of the reference (16 bit: noise)."""

ACTIVATIONS, USED = 24, 0.7
"""Values a prompt token needs while a layer works, in units of the hidden size; and the part of free memory to use."""

REFUSALS = (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError, NotImplementedError)


def why_not_shared(model: Any, core: Any) -> str:
    """ "" where prefixes can be shared; else the reason, in a few words.

    `model` is what is called, `core` the transformers model in it (the same, where there is no adapter).
    """
    if model is not core and any(
        given.to_dict().get("alora_invocation_tokens") for given in model.peft_config.values()
    ):
        return "its adapter works from some token on only (activated LoRA)"
    try:
        with memory.told(model.device, "trying shared prefixes"):  # or it would pass for a refusal
            return _by_configuration(core) or _by_trying(model)
    except REFUSALS as error:
        # Models differ in what masks and caches they take; one that refuses is asked the plain way.
        return f"it refuses to be asked so ({type(error).__name__})"


def _by_configuration(core: Any) -> str:
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = core.config.get_text_config(decoder=True)
    lacking = [name for name in NEEDED if name not in inspect.signature(core.forward).parameters]
    if lacking:
        return f"its forward takes no {lacking[0]}"
    if core.config.is_encoder_decoder:
        return "it has an encoder"
    odd = [type(layer).__name__ for layer in DynamicCache(config=config).layers if type(layer) is not DynamicLayer]
    if odd:
        return f"its cache has layers of another kind ({odd[0]})"
    kinds = _values(config.to_dict(), "rope_type")
    if changing := sorted(kinds & set(LENGTH_DEPENDENT)):
        return f"its positions depend on the length ({changing[0]})"
    if core.config._attn_implementation not in ("sdpa", "eager"):
        return f"attention implementation {core.config._attn_implementation}"
    return ""


def rows_that_fit(model: Any, tokens: int, read: int, *, held: int) -> int:
    """How many rows of `tokens` tokens, of which `read` are prompt to be read, fit into free CUDA memory, about.

    `held`: bytes of the cache of the batch before, which this one takes over. Without limit on other devices: they do
    not say what is free.
    """
    import torch

    if model.device.type != "cuda":
        return sys.maxsize
    free = held + torch.cuda.mem_get_info(model.device)[0]
    free += torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    table = embedding.table(model)
    (vocabulary, width), size = table.shape, table.element_size()
    config = model.config.get_text_config(decoder=True)
    kept = 2 * config.num_hidden_layers * width * size  # no model keeps more a token
    row = tokens * kept + read * ACTIVATIONS * width * size + 8 * vocabulary
    return max(1, int(USED * free / row))


def _values(node: Any, key: str) -> set[str]:
    """Every value of `key` anywhere in a configuration."""
    if isinstance(node, dict):
        own = {str(node[key])} if key in node else set()
        return own.union(*(_values(value, key) for value in node.values()))
    return set().union(*(_values(value, key) for value in node)) if isinstance(node, list) else set()


def _by_trying(model: Any) -> str:
    """Two prompts of different length on one prefix, padded, two labels each, and one step; against plain forwards."""
    import torch

    size = len(embedding.table(model))
    tokens = [(place * 7919 + 13) % size for place in range(24)]
    prompts = [tuple(tokens[:14]), (*tokens[:6], *tokens[14:17])]
    answers = [tuple(tokens[17:20]), tuple(tokens[20:22])]
    with torch.inference_mode():
        batch = decode.prefill(model, PrefixStore(), prompts, prefix=6, more=labels.extra_room([answers]), tuned=False)
        ours = [*torch.log_softmax(batch.logits.float(), -1)]
        sums = labels.score(model, batch, [answers, answers])
        first = torch.tensor([answers[0][0]] * 2, device=model.device)
        ours += [*torch.log_softmax(decode.step(model, batch, first).float(), -1)]
        alone = [_alone(model, (*prompt, answers[0][0])) for prompt in prompts]
        theirs = [rows[-2] for rows in alone] + [rows[-1] for rows in alone]
        wanted = [plain.label_logprobs(model, prompt, [label]) for prompt in prompts for label in answers]
    half = embedding.table(model).dtype != torch.float32
    allowed = TOLERANCE_HALF if half else TOLERANCE_FULL
    found = [float((a - b).abs().mean() / b.std()) for a, b in zip(ours, theirs, strict=True)]
    spread = float(theirs[0].std())
    given = [value for row in sums for value in row]
    found += [abs(a - b) / spread / 4 for a, (b,) in zip(given, wanted, strict=True)]
    worst = max(found)
    return "" if worst <= allowed else f"in a try it gave other numbers than one by one ({worst:.2g} deviations)"


def _alone(model: Any, ids: tuple[int, ...]) -> Any:
    """Log-probabilities after the last two tokens of one sequence: (2, vocabulary)."""
    import torch

    out = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=2)
    return torch.log_softmax(out.logits[0].float(), -1)
