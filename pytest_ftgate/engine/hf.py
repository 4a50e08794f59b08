"""Generation with transformers and peft: batched, left-padded, greedy, with nothing inherited from config files."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from typing import Any

from evalsets.types import Json
from pytest_ftgate.engine import hf_load
from pytest_ftgate.engine.protocol import Request
from pytest_ftgate.errors import EngineError, IdentityError
from pytest_ftgate.identity import Candidate
from pytest_ftgate.prompting import AnyPrompt, ChatPrompt
from pytest_ftgate.report.sanitise import visible
from pytest_ftgate.types import Generation

PACKAGES = ("torch", "transformers", "peft", "tokenizers")
QUANTIZE_PACKAGES: Mapping[str, tuple[str, ...]] = {"none": (), "nf4": ("bitsandbytes",)}


class HFEngine:
    """Engine on transformers and peft. Nothing is loaded before the first call that needs it."""

    def __init__(self, candidate: Candidate, settings: hf_load.Settings) -> None:
        self._candidate, self._settings = candidate, settings
        self._loaded: hf_load.Sides | None = None
        self._halvings = 0

    @property
    def _sides(self) -> hf_load.Sides:
        if self._loaded is None:
            self._loaded = hf_load.load(self._candidate, self._settings)
        return self._loaded

    def encode(self, prompt: AnyPrompt, *, tuned: bool) -> tuple[int, ...]:
        """Token ids of a prompt in the tokenizer and chat template of that side."""
        tokenizer = self._sides.tuned_tokenizer if tuned else self._sides.base_tokenizer
        owner = (self._candidate.path if tuned else self._candidate.base_path).name
        if isinstance(prompt, ChatPrompt):
            ids = _chat_ids(tokenizer, prompt, owner)
        else:
            ids = tuple(tokenizer(prompt.text)["input_ids"])
        known = self._sides.tuned.get_input_embeddings().num_embeddings
        if tuned and ids and max(ids) >= known:
            raise IdentityError(
                f"the tokenizer of {owner} has more tokens than the model ({max(ids)} is not below {known})",
                fix="judge the tokenizer that the model was trained with",
            )
        return ids

    def fingerprint(self, *, tuned: bool) -> str:
        """sha256 over weights, runtime and versions of one side."""
        content = {
            "weights": self._candidate.digest(tuned=tuned),
            "settings": [self._settings.dtype, self._settings.quantize],
            "device": self._sides.facts["device"],
            "end": sorted(self._end_ids()),
            "versions": self._versions(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self) -> Mapping[str, Json]:
        """What judged, for the report."""
        facts = self._sides.facts
        return {
            **self._candidate.describe(),
            **facts,
            "batch_size": self._settings.batch_size,
            "batch_halvings": self._halvings,
            "versions": self._versions(),
        }

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        """Answer every request once, longest prompts first (they decide how much memory is needed)."""
        order = sorted(range(len(requests)), key=lambda i: (_kind(requests[i]), -len(requests[i].token_ids), i))
        with self._sides.using(tuned=tuned) as model:
            for _, group in groupby(order, key=lambda i: _kind(requests[i])):
                yield from self._in_batches(model, requests, list(group), tuned=tuned)

    def _in_batches(
        self, model: Any, requests: Sequence[Request], indices: list[int], *, tuned: bool
    ) -> Iterator[tuple[int, Generation]]:
        import torch

        limit = _context_limit(model)
        refused = {i: why for i in indices if (why := _cannot_be_asked(requests[i], limit))}
        for index, why in refused.items():
            yield index, Generation("", (), "error", len(requests[index].token_ids), error=why)
        indices = [i for i in indices if i not in refused]
        size, start = self._settings.batch_size, 0
        while start < len(indices):
            batch = indices[start : start + size]
            try:
                answers = self._answer(model, [requests[i] for i in batch], tuned=tuned)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise EngineError(
                        f"out of memory with a single prompt of {len(requests[batch[0]].token_ids)} tokens",
                        fix="use --ft-quantize=nf4, --ft-dtype=bfloat16 or a device with more memory",
                    ) from error
                size = max(1, size // 2)
                self._halvings += 1
                hf_load.free()
                continue
            yield from zip(batch, answers, strict=True)
            start += len(batch)

    def _answer(self, model: Any, batch: Sequence[Request], *, tuned: bool) -> list[Generation]:
        import torch
        from transformers import GenerationConfig

        tokenizer = self._sides.tuned_tokenizer if tuned else self._sides.base_tokenizer
        stops = self._end_ids()
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stops)
        if batch[0].max_new_tokens == 0:
            return [self._weigh(model, tokenizer, request, pad) for request in batch]
        ids, mask = _left_pad([r.token_ids for r in batch], pad, model.device)
        config = GenerationConfig(
            max_new_tokens=batch[0].max_new_tokens,
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            use_cache=True,
            pad_token_id=pad,
            eos_token_id=sorted(stops),
            bos_token_id=tokenizer.bos_token_id,
            stop_strings=list(batch[0].stop) or None,
        )
        finite = _FiniteScores()
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=[finite],
                **({"tokenizer": tokenizer} if batch[0].stop else {}),
            )
            labels = [self._label_logprobs(model, tokenizer, r, pad) for r in batch]
        new = out[:, ids.shape[1] :].tolist()
        finished = [
            _finish(tokenizer, request, row, stops, pad, logprobs)
            for request, row, logprobs in zip(batch, new, labels, strict=True)
        ]
        return [_proven(answer, first) for answer, first in zip(finished, finite.broken_from(), strict=True)]

    def _weigh(self, model: Any, tokenizer: Any, request: Request, pad: int) -> Generation:
        """Nothing but the log-probabilities of the labels."""
        import torch

        with torch.inference_mode():
            logprobs = self._label_logprobs(model, tokenizer, request, pad)
        tokens = tuple(tokenizer(request.labels[0], add_special_tokens=False)["input_ids"])
        return _proven(Generation("", tokens, "stop", len(request.token_ids), label_logprobs=logprobs), sys.maxsize)

    @staticmethod
    def _label_logprobs(model: Any, tokenizer: Any, request: Request, pad: int) -> dict[str, float] | None:
        """Sum over each label's tokens of log p(token | prompt, tokens before it), nats."""
        import torch

        if not request.labels:
            return None
        coded = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in request.labels]
        ids, mask = _left_pad([(*request.token_ids, *c) for c in coded], pad, model.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        keep = max(len(c) for c in coded) + 1
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep).logits
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        sums: dict[str, float] = {}
        for row, (label, tokens) in enumerate(zip(request.labels, coded, strict=True)):
            # The logits at position p predict the token at p + 1; the last label token is the last position.
            places = torch.arange(keep - 1 - len(tokens), keep - 1)
            chosen = logprobs[row, places, torch.tensor(tokens, device=logprobs.device)]
            sums[label] = float(chosen.sum())
        return sums

    def _end_ids(self) -> set[int]:
        """Every token that ends an answer: both models' lists and both tokenizers' end marks, alike for both sides."""
        sides = self._sides
        ids = {sides.tuned_tokenizer.eos_token_id, sides.base_tokenizer.eos_token_id}
        for model in (sides.tuned, sides.base or sides.tuned):
            listed = model.ft_eos_token_id
            ids.update(listed if isinstance(listed, list) else [listed])
        ids.discard(None)
        if not ids:
            raise EngineError(
                "neither generation_config.json nor the tokenizer names an end-of-text token",
                fix="set eos_token_id in the base's generation_config.json",
            )
        return ids

    def _versions(self) -> dict[str, str]:
        return {name: version(name) for name in (*PACKAGES, *QUANTIZE_PACKAGES[self._settings.quantize])}


def _chat_ids(tokenizer: Any, prompt: ChatPrompt, owner: str) -> tuple[int, ...]:
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise EngineError(
            f"the tokenizer of {owner} has no chat template, and the eval set asks in chat form",
            fix='write the prompt as one text: `prompt: {text: "..."}`, or add chat_template.jinja to the model',
        )
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    try:
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    except (TemplateError, TypeError, ValueError) as error:
        roles = ", ".join(m.role for m in prompt.messages)
        raise EngineError(
            f"the chat template of {owner} refuses the messages ({roles}): {visible(str(error), limit=120)}",
            fix="ask in the roles that the template knows: many know no system turn",
        ) from error
    return tuple(ids["input_ids"])


def _kind(request: Request) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
    return request.max_new_tokens, request.stop, request.labels


def _context_limit(model: Any) -> int:
    """Tokens that prompt and answer may have together; a model that names no limit has none."""
    limit = model.config.get_text_config().to_dict().get("max_position_embeddings")
    return sys.maxsize if limit is None else int(limit)


def _cannot_be_asked(request: Request, limit: int) -> str:
    """Why this prompt gets no answer, in one sentence; "" where it does. Nothing is ever cut to fit."""
    tokens = len(request.token_ids)
    if not tokens:
        return "the prompt is empty: it has no token to go on from"
    if tokens + request.max_new_tokens > limit:
        return f"prompt of {tokens} tokens + {request.max_new_tokens} new ones exceed the context of {limit}"
    return ""


class _FiniteScores:
    """Looks on as tokens are chosen: the largest of numbers that hold a NaN is any token, and no answer of the model.

    Half precision that overflows is the usual cause. Mutable: one per batch.
    """

    def __init__(self) -> None:
        self._broken: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores as they are. Shapes: (batch, tokens so far), (batch, vocabulary)."""
        self._broken.append(~scores.sum(dim=-1).isfinite())
        return scores

    def broken_from(self) -> list[int]:
        """For each row, the first new token that was chosen from such scores; sys.maxsize where none was."""
        import torch

        table = torch.stack(self._broken, dim=1).tolist()
        return [row.index(True) if True in row else sys.maxsize for row in table]


def _proven(answer: Generation, broken_from: int) -> Generation:
    """The answer; an error where a number behind it is NaN or infinite."""
    weights = (answer.label_logprobs or {}).values()
    # What a row is filled up with after its end is not looked at.
    if broken_from < len(answer.token_ids) or not all(math.isfinite(w) for w in weights):
        why = "the model's logits hold NaN or infinity"
        return Generation("", (), "error", answer.prompt_tokens, error=why)
    return answer


def _left_pad(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """(batch, width) token ids and attention mask; the prompts end in the last column."""
    import torch

    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[place, width - len(row) :] = 1
    return ids.to(device), mask.to(device)


def _finish(
    tokenizer: Any, request: Request, row: list[int], stops: set[int], pad: int, logprobs: dict[str, float] | None
) -> Generation:
    end = next((place for place, token in enumerate(row) if token in stops), None)
    answer = row if end is None else row[:end]

    def decode(tokens: list[int], *, special: bool) -> str:
        text: str = tokenizer.decode(tokens, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
        return text

    # A stop string may be a special token, which the text does not show.
    stopped = any(stop in decode(answer, special=True) for stop in request.stop)
    if stopped:
        # The rows of a batch that have stopped are filled up until the last one has.
        while answer and answer[-1] == pad:
            answer = answer[:-1]
        end = None
    text = decode(answer, special=False)
    cuts = [place for stop in request.stop if (place := text.find(stop)) >= 0]
    return Generation(
        text=text[: min(cuts)] if cuts else text,
        token_ids=tuple(answer if end is None else row[: end + 1]),
        finish_reason="stop" if stopped or end is not None else "length",
        prompt_tokens=len(request.token_ids),
        label_logprobs=logprobs,
    )
