"""Generation with transformers and peft: greedy, on shared prefixes, with nothing inherited from config files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from pytest_ftgate.answers.engine import decode, embedding, hf_load, labels, memory, plain, quantised, support
from pytest_ftgate.answers.engine.hf_prompts import (
    at_stop,
    cannot_be_asked,
    chat_text_and_ids,
    context_limit,
    control_ids,
    end_marks,
    finish,
    label_ids,
    text_ids,
    weighed,
)
from pytest_ftgate.answers.engine.kv import PrefixStore
from pytest_ftgate.answers.engine.prefix import Group, Tokens, group_by_prefix
from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.engine.registry import EngineSettings
from pytest_ftgate.answers.engine.same_words import require_same_words
from pytest_ftgate.answers.engine.tokens import TokenRequest, token_request
from pytest_ftgate.answers.prompting import AnyPrompt, ChatPrompt
from pytest_ftgate.errors import EngineError, IdentityError
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.results import Generation


def make(candidate: Candidate, settings: EngineSettings) -> HFEngine:
    """The row `hf` of the table of engines."""
    return HFEngine(
        candidate, hf_load.Settings(settings.device, settings.dtype, settings.quantize, settings.batch_size)
    )


PACKAGES = ("torch", "transformers", "peft", "tokenizers")
DECODE_VERSION = 5
"""Goes into the fingerprint: to be raised with every change that can change a text or a log-probability."""
OVERHEAD_A_TOKEN, MOST_STEPS, FEWEST_STEPS = 8, 64, 16
"""What a batch of its own costs, in prompt tokens for each step of decoding; and how many steps it has, about."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request and its place."""

    index: int
    request: TokenRequest
    labels: tuple[Tokens, ...]


class HFEngine:
    """Engine on transformers and peft. Nothing is loaded before the first call that needs it."""

    def __init__(self, candidate: Candidate, settings: hf_load.Settings) -> None:
        self._candidate, self._settings = candidate, settings
        self._loaded: hf_load.Sides | None = None
        self._unshared = ""
        """Why prefixes are not shared. Empty where they are."""
        self._prefix = PrefixStore()
        self._size, self._halvings = settings.batch_size, 0
        self._encoded: dict[tuple[AnyPrompt, bool], Tokens] = {}

    @property
    def _sides(self) -> hf_load.Sides:
        if self._loaded is None:
            sides = hf_load.load(self._candidate, self._settings)
            adapter = self._candidate.kind == "adapter"
            self._unshared = support.why_not_shared(
                sides.tuned, sides.tuned.get_base_model() if adapter else sides.tuned
            )
            if sides.base is not None and not self._unshared:
                # Both sides are asked alike, or a difference could come from how they were asked.
                self._unshared = support.why_not_shared(sides.base, sides.base)
            self._loaded = sides
        return self._loaded

    def encode(self, prompt: AnyPrompt, *, tuned: bool) -> Tokens:
        """Token ids of a prompt in the tokenizer and chat template of that side; each is worked out once."""
        if (known := self._encoded.get((prompt, tuned))) is None:
            known = self._encoded[prompt, tuned] = self._encode(prompt, tuned=tuned)
        return known

    def _encode(self, prompt: AnyPrompt, *, tuned: bool) -> Tokens:
        tokenizer = self._tokenizer(tuned=tuned)
        owner = (self._candidate.path if tuned else self._candidate.base_path).name
        if isinstance(prompt, ChatPrompt):
            text, ids = chat_text_and_ids(tokenizer, prompt, owner)
        else:
            text, ids = prompt.text, text_ids(tokenizer, prompt)
        if tuned:
            full = self._candidate.kind != "adapter"
            require_same_words(text, tokenizer, self._tokenizer(tuned=False), owner, own_vocabulary=full)
        known = len(embedding.table(self._sides.tuned))
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
            "settings": [self._sides.facts["dtype"], self._sides.facts["quantize" if tuned else "base_quantize"]],
            "device": self._sides.facts["device"],
            "end": sorted(self._end_ids(tuned=tuned)),
            "chat_template": self._tokenizer(tuned=tuned).chat_template,
            "decode": [DECODE_VERSION, not self._unshared],
            "versions": self._versions(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self) -> Mapping[str, Json]:
        """What judged, for the report."""
        facts = self._sides.facts
        return {
            **self._candidate.describe(),
            **facts,
            "decode": f"plain: {self._unshared}" if self._unshared else "shared-prefix",
            "own_end_marks": self._own_end_marks(),
            "batch_size": self._settings.batch_size,
            "batch_halvings": self._halvings,
            "versions": self._versions(),
        }

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        """Answer every request once."""
        asked = [token_request(request, self.encode(request.prompt, tuned=tuned)) for request in requests]
        return self.generate_from_tokens(asked, tuned=tuned)

    def generate_from_tokens(
        self, requests: Sequence[TokenRequest], *, tuned: bool
    ) -> Iterator[tuple[int, Generation]]:
        """As `generate`; prompts that begin alike together, the longest first (they need most memory)."""
        import torch

        tokenizer = self._tokenizer(tuned=tuned)
        coded = {each: label_ids(tokenizer, each) for each in {request.labels for request in requests}}
        kinds: dict[tuple[int, tuple[str, ...], bool], list[_Asked]] = {}
        with self._sides.using(tuned=tuned) as model, torch.inference_mode(), self._prefix.lending():
            limit = context_limit(model)
            for index, request in enumerate(requests):
                asked = _Asked(index, request, coded[request.labels])
                if why := cannot_be_asked(request, asked.labels, limit):
                    yield index, Generation("", (), "error", len(request.token_ids), error=why)
                else:
                    kind = request.max_new_tokens, request.stop, bool(request.labels)
                    kinds.setdefault(kind, []).append(asked)
            for _, same in sorted(kinds.items()):
                for group in self._groups(same, tuned=tuned):
                    yield from self._in_batches(model, [same[row] for row in group.rows], group.prefix, tuned=tuned)

    def _groups(self, asked: Sequence[_Asked], *, tuned: bool) -> list[Group]:
        prompts = [each.request.token_ids for each in asked]
        if self._unshared:
            order = sorted(range(len(prompts)), key=lambda row: (-len(prompts[row]), row))
            return [Group(0, tuple(order))]
        steps = min(max(asked[0].request.max_new_tokens, FEWEST_STEPS), MOST_STEPS)
        return group_by_prefix(prompts, overhead=OVERHEAD_A_TOKEN * steps, known=self._prefix.known(tuned=tuned))

    def _in_batches(
        self, model: Any, rows: Sequence[_Asked], prefix: int, *, tuned: bool
    ) -> Iterator[tuple[int, Generation]]:
        start = 0
        while start < len(rows):
            batch = rows[start : start + min(self._size, self._rows_that_fit(model, rows[start], prefix))]
            answers = self._try(model, batch, prefix, tuned=tuned)
            if answers is None:
                if len(batch) == 1:
                    raise EngineError(
                        f"out of memory with a single prompt of {len(batch[0].request.token_ids)} tokens"
                        + memory.free_now(model.device),
                        fix=memory.FIX,
                    )
                self._size, self._halvings = len(batch) // 2, self._halvings + 1
                self._prefix.clear()
                hf_load.free()
                continue
            yield from zip((each.index for each in batch), answers, strict=True)
            start += len(batch)

    def _try(self, model: Any, batch: Sequence[_Asked], prefix: int, *, tuned: bool) -> list[Generation] | None:
        """Answers in order; None where memory ran out (the frames that hold it are gone by then)."""
        tokenizer, ends = self._tokenizer(tuned=tuned), self._end_ids(tuned=tuned)
        try:
            answers, sums = self._answer(model, batch, prefix, ends, tuned=tuned)
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error):
                raise
            return None
        made = []
        for place, asked in enumerate(batch):
            named = zip(asked.request.labels, sums[place], strict=True)
            logprobs = dict(named) if asked.labels else None
            if logprobs is not None and asked.request.max_new_tokens == 0:
                made.append(weighed(asked.request, asked.labels[0], logprobs))
            else:
                made.append(finish(tokenizer, asked.request, answers[place], ends, logprobs))
        return made

    def _answer(
        self, model: Any, batch: Sequence[_Asked], prefix: int, ends: set[int], *, tuned: bool
    ) -> tuple[list[list[int]], list[list[float]]]:
        """New tokens of each row, which `ends` end, and the log-probabilities of its labels."""
        first, tokenizer = batch[0].request, self._tokenizer(tuned=tuned)
        prompts, given = [each.request.token_ids for each in batch], [each.labels for each in batch]
        ended, new = at_stop(tokenizer, first.stop), first.max_new_tokens
        nothing: list[list[int]] = [[] for _ in batch]
        if self._unshared:
            pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
            sums = [plain.label_logprobs(model, *row) if row[1] else [] for row in zip(prompts, given, strict=True)]
            if not new:
                return nothing, sums
            return plain.generate(model, prompts, max_new_tokens=new, pad=pad, ends=ends, ended=ended), sums
        more = max(new, labels.extra_room(given))
        state = decode.prefill(model, self._prefix, prompts, prefix=prefix, more=more, tuned=tuned)
        sums = labels.score(model, state, given)
        return decode.greedy(model, state, max_new_tokens=new, ends=ends, ended=ended) if new else nothing, sums

    def _rows_that_fit(self, model: Any, longest: _Asked, prefix: int) -> int:
        """How many rows like this one the device has memory for, about; the batch is halved where this is wrong."""
        new = max(longest.request.max_new_tokens, labels.extra_room([longest.labels]))
        return support.rows_that_fit(
            model,
            len(longest.request.token_ids) + new,
            len(longest.request.token_ids) - prefix,
            held=self._prefix.held_bytes(),
        )

    def _tokenizer(self, *, tuned: bool) -> Any:
        return self._sides.tuned_tokenizer if tuned else self._sides.base_tokenizer

    def _end_ids(self, *, tuned: bool) -> set[int]:
        """Every token that ends an answer of that side.

        A candidate's marks must not cut the base's answers short: of them the base gets those that are control tokens
        in its own tokenizer (`<|im_end|>` where only the fine-tune was told to stop there), and never a word.
        """
        sides = self._sides
        base = end_marks(sides.base or sides.tuned, sides.base_tokenizer)
        own = end_marks(sides.tuned, sides.tuned_tokenizer)
        ids = own | base if tuned else base | (own & control_ids(sides.base_tokenizer))
        if not ids:
            raise EngineError(
                "neither generation_config.json nor the tokenizer names an end-of-text token",
                fix="set eos_token_id in the base's generation_config.json",
            )
        return ids

    def _own_end_marks(self) -> list[Json]:
        """Tokens that end an answer of the candidate, and none of the base."""
        own = self._end_ids(tuned=True) - self._end_ids(tuned=False)
        return [str(self._sides.tuned_tokenizer.decode([token])) for token in sorted(own)]

    def _versions(self) -> dict[str, str]:
        forms = {part for key in ("quantize", "base_quantize") for part in str(self._sides.facts[key]).split("+")}
        used = sorted({quantised.PACKAGES[form] for form in forms if form in quantised.PACKAGES})
        return {name: version(name) for name in (*PACKAGES, *used)}
