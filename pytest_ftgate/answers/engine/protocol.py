"""The engine protocol: answers prompts greedily, as candidate or as base. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pytest_ftgate.answers.prompting import AnyPrompt, ChatPrompt, TextPrompt
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.results import Generation

__all__ = ["AnyPrompt", "ChatPrompt", "Encodes", "Engine", "Request", "TextPrompt", "text_length"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer, and what is asked of it. Two equal Requests to the same side have the same answer.

    It says nothing of tokens: an engine that has a tokenizer makes them itself.
    """

    prompt: AnyPrompt
    """`ChatPrompt.messages` (each with `role` and `content`), or `TextPrompt.text`, to be continued as it is."""
    max_new_tokens: int
    """Most tokens of the answer. 0: nothing is generated, only the labels are weighed."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these texts."""
    labels: tuple[str, ...] = ()
    """Labels whose log-probabilities are wanted as well (`Generation.label_logprobs`); () for none."""


class Engine(Protocol):
    """Anything that can generate. `--ft-engine=module:factory` or the fixture `ft_engine` plugs another one in."""

    def fingerprint(self, *, tuned: bool) -> str:
        """sha256 (64 hex digits) over everything besides the Request that an answer of one side depends on.

        Weights, chat template, dtype, device, versions: stored answers are found again under it.
        """

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        """Answers as (index into `requests`, Generation), in any order, each index once.

        `tuned`: True asks the candidate, False the base. A prompt that cannot be answered is a Generation with
        finish_reason `error`, and no exception. Raises EngineError where the model cannot be loaded or run.
        """

    def describe(self) -> Mapping[str, Json]:
        """What judged: model, base, dtype, device, batch size, versions. Strict JSON, for the report.

        A run ships only by an engine that tells all of `ft_candidate.describe()`.
        """


@runtime_checkable
class Encodes(Protocol):
    """An engine that can tell the tokens of a prompt before it is asked. Optional.

    With it, a prompt that the chat template refuses is found before anything is generated, stored answers are found by
    their tokens too, and prompts are ordered by tokens instead of characters.
    """

    def encode(self, prompt: AnyPrompt, *, tuned: bool) -> tuple[int, ...]:
        """Token ids of a prompt, ready for the answer to follow. Raises EngineError."""


def text_length(prompt: AnyPrompt) -> int:
    """Characters of a prompt: its size, where nobody knows its tokens."""
    return len(prompt.text) if isinstance(prompt, TextPrompt) else sum(len(m.content) for m in prompt.messages)
