"""A Request as an engine with a tokenizer sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_ftgate.answers.engine.protocol import Request


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A Request whose prompt is tokens."""

    token_ids: tuple[int, ...]
    max_new_tokens: int
    """0: nothing is generated, the labels are weighed; `token_ids` of the Generation are then the first label's."""
    stop: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def token_request(request: Request, token_ids: Sequence[int]) -> TokenRequest:
    """`request` with the tokens of its prompt."""
    return TokenRequest(tuple(token_ids), request.max_new_tokens, request.stop, request.labels)
