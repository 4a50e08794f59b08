"""What an engine is: anything that can encode prompts and answer them, greedily, as candidate or as base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_ftgate.answers.prompting import AnyPrompt
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.results import Generation


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer. Two equal Requests to the same side have the same answer."""

    token_ids: tuple[int, ...]
    max_new_tokens: int
    """0: nothing is generated, the labels are weighed; `token_ids` of the Generation are then the first label's."""
    stop: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """Labels whose log-probabilities are wanted as well; () for none."""


class Engine(Protocol):
    """Anything that can generate. Override the fixture `ft_engine` to plug another one in."""

    def encode(self, prompt: AnyPrompt, *, tuned: bool) -> tuple[int, ...]:
        """Token ids of a prompt, ready for the answer to follow."""

    def fingerprint(self, *, tuned: bool) -> str:
        """sha256 over everything besides the Request that an answer depends on: weights, dtype, device, versions."""

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        """Answers as (index into `requests`, Generation), in any order, each index once.

        Raises EngineError where the model cannot be loaded or run.
        """

    def describe(self) -> Mapping[str, Json]:
        """What judged: model, base, dtype, device, batch size, versions. Strict JSON, for the report."""
