"""Turns prompts into token ids, and new tokens into a Generation."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pytest_ftgate.answers.engine import rendering
from pytest_ftgate.answers.engine.as_text import encode_parts
from pytest_ftgate.answers.engine.decode import NO_TOKEN
from pytest_ftgate.answers.engine.prefix import Tokens
from pytest_ftgate.answers.engine.skeleton import Skeleton, learn, require_filled
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.answers.prompting import ChatPrompt, TextPrompt
from pytest_ftgate.errors import EngineError
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.results import Generation

WINDOW = 8
"""Tokens looked at besides those that a stop string can be made of: one character may take several."""


def chat_ids(tokenizer: Any, prompt: ChatPrompt, owner: str) -> Tokens:
    """Token ids of a conversation, ready for the answer; raises as `chat_text_and_ids`."""
    return chat_text_and_ids(tokenizer, prompt, owner)[1]


def chat_text_and_ids(tokenizer: Any, prompt: ChatPrompt, owner: str) -> tuple[str, Tokens]:
    """A conversation as the template writes it, ready for the answer, and its token ids.

    EngineError where the template cannot or will not, or makes of the messages anything but its own marks around them.
    """
    if tokenizer.chat_template is None:
        raise EngineError(
            f"the tokenizer of {owner} has no chat template, and the eval set asks in chat form",
            fix='write the prompt as one text: `prompt: {text: "..."}`, or add chat_template.jinja to the model',
        )
    roles = tuple(m.role for m in prompt.messages)
    messages = [m.content for m in prompt.messages]
    render = _Renderer(template_text(tokenizer, owner), json.dumps(tokenizer.special_tokens_map, default=str), owner)
    skeleton = _skeleton(render, roles)
    text = render(list(zip(roles, messages, strict=True)), True)
    contents = require_filled(skeleton, messages, text, owner)
    return text, encode_parts(tokenizer, skeleton.pieces, contents, add_special=False)


def text_ids(tokenizer: Any, prompt: TextPrompt) -> Tokens:
    """Token ids of a prompt that is one text: control tokens in its wording are meant, those in the data are not."""
    pieces, contents = prompt.parts()
    return encode_parts(tokenizer, pieces, contents, add_special=True)


def template_text(tokenizer: Any, owner: str) -> str:
    """The chat template that is used where nothing is said; EngineError where a model has several and none is that."""
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise EngineError(
            f"{owner} has several chat templates and none is the default: {visible(str(error), limit=120)}",
            fix="name one of them `default` in tokenizer_config.json, or write chat_template.jinja",
        ) from error


@dataclass(frozen=True, slots=True)
class _Renderer:
    """One template with what it may name."""

    template: str
    special: str
    """JSON of the special tokens."""
    owner: str

    def __call__(self, messages: Sequence[tuple[str, str]], generation_prompt: bool) -> str:
        """Raises EngineError; TemplateRefused only where no answer is to follow."""
        asked = [{"role": role, "content": content} for role, content in messages]
        try:
            return rendering.render(
                self.template, asked, json.loads(self.special), self.owner, generation_prompt=generation_prompt
            )
        except rendering.TemplateRefused as error:
            if not generation_prompt:
                raise
            roles = ", ".join(role for role, _ in messages)
            raise EngineError(
                f"the chat template of {self.owner} refuses the messages ({roles}): {visible(str(error), limit=120)}",
                fix="ask in the roles that the template knows: many know no system turn (begin `user` with its words)",
            ) from error


@lru_cache(maxsize=512)
def _skeleton(render: _Renderer, roles: tuple[str, ...]) -> Skeleton:
    return learn(render, roles, render.owner)


def label_ids(tokenizer: Any, labels: Sequence[str]) -> tuple[Tokens, ...]:
    """Token ids of answers as they stand after a prompt: no begin or end mark."""
    return tuple(tuple(tokenizer(label, add_special_tokens=False)["input_ids"]) for label in labels)


def end_marks(model: Any, tokenizer: Any) -> set[int]:
    """Tokens at which the files of one model say that an answer ends: generation_config.json and the tokenizer."""
    listed = model.ft_eos_token_id
    found = {*(listed if isinstance(listed, list) else [listed]), tokenizer.eos_token_id}
    return {token for token in found if token is not None}


def control_ids(tokenizer: Any) -> set[int]:
    """Tokens that this tokenizer holds for control tokens, no part of any text."""
    added = tokenizer.added_tokens_decoder.items()
    return {*tokenizer.all_special_ids, *(token for token, entry in added if entry.special)}


def context_limit(model: Any) -> int:
    """Tokens that prompt and answer may have together; a model that names no limit has none."""
    limit = model.config.get_text_config().to_dict().get("max_position_embeddings")
    return sys.maxsize if limit is None else int(limit)


def cannot_be_asked(request: TokenRequest, labels: Sequence[Tokens], limit: int) -> str:
    """Why this prompt gets no answer, in one sentence. Empty where it does. Nothing is ever cut to fit."""
    tokens, longest = len(request.token_ids), max(map(len, labels), default=0)
    if not tokens:
        return "the prompt is empty: it has no token to go on from"
    if tokens + request.max_new_tokens > limit:
        return f"prompt of {tokens} tokens + {request.max_new_tokens} new ones exceed the context of {limit}"
    if tokens + longest > limit:
        return f"prompt of {tokens} tokens + {longest} of the answer to weigh exceed the context of {limit}"
    return ""


def at_stop(tokenizer: Any, stop: Sequence[str]) -> Callable[[list[int]], bool]:
    """Whether an answer has just come to a stop string; to be asked after every token."""
    # A token is at least one byte, so a stop string that has just been completed lies within these last tokens.
    window = max((len(text.encode()) for text in stop), default=0) + WINDOW

    def ended(answer: list[int]) -> bool:
        return bool(stop) and _holds_stop(tokenizer, answer[-window:], stop)

    return ended


def finish(
    tokenizer: Any,
    request: TokenRequest,
    answer: Sequence[int],
    ends: AbstractSet[int],
    logprobs: dict[str, float] | None,
) -> Generation:
    """The Generation of an answer's tokens, which end where the row ended; an error where a number is not finite."""
    if NO_TOKEN in answer or not _finite(logprobs):
        return _not_finite(request)
    ended = bool(answer) and answer[-1] in ends
    said = list(answer[:-1] if ended else answer)
    stopped = bool(request.stop) and _holds_stop(tokenizer, said, request.stop)
    text = _decode(tokenizer, said, special=False)
    cuts = [place for stop in request.stop if (place := text.find(stop)) >= 0]
    return Generation(
        text=text[: min(cuts)] if cuts else text,
        token_ids=tuple(answer),
        finish_reason="stop" if stopped or ended else "length",
        prompt_tokens=len(request.token_ids),
        label_logprobs=logprobs,
    )


def weighed(request: TokenRequest, first_label: Tokens, logprobs: dict[str, float]) -> Generation:
    """The Generation of a Request that asked for nothing but log-probabilities."""
    if not _finite(logprobs):
        return _not_finite(request)
    return Generation("", first_label, "stop", len(request.token_ids), label_logprobs=logprobs)


def _finite(logprobs: dict[str, float] | None) -> bool:
    return all(math.isfinite(value) for value in (logprobs or {}).values())


def _not_finite(request: TokenRequest) -> Generation:
    why = "the model's logits hold NaN or infinity"
    return Generation("", (), "error", len(request.token_ids), error=why)


def _holds_stop(tokenizer: Any, tokens: list[int], stop: Sequence[str]) -> bool:
    # A stop string may be a special token, which the text does not show.
    text = _decode(tokenizer, tokens, special=True)
    return any(mark in text for mark in stop)


def _decode(tokenizer: Any, tokens: list[int], *, special: bool) -> str:
    text: str = tokenizer.decode(tokens, skip_special_tokens=not special, clean_up_tokenization_spaces=False)
    return text
