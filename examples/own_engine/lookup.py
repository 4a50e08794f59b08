"""An engine of one's own: it answers from a table, `answers.json`, without any library for models.

    pytest --ft-model=runs/a1 --ft-engine=lookup:make

A real one would ask a server in `generate`; nothing else changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_ftgate import Generation, Request

TABLE = Path("answers.json")
"""{"candidate": {question: answer}, "base": {question: answer}}"""


class Lookup:
    """Engine on a table of answers."""

    def __init__(self, candidate: Any) -> None:
        self._candidate = candidate
        self._bytes = TABLE.read_bytes()
        self._answers: dict[str, dict[str, str]] = json.loads(self._bytes)

    def fingerprint(self, *, tuned: bool) -> str:
        """Whatever the answers depend on: here the table, and the model that it was made with."""
        digest = self._candidate.digest(tuned=tuned)
        return hashlib.sha256(self._bytes + f"lookup 1 {digest} {tuned}".encode()).hexdigest()

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        """One answer a request; what cannot be answered is an error, and never an empty text."""
        known = self._answers["candidate" if tuned else "base"]
        for index, request in enumerate(requests):
            question = request.prompt.messages[-1].content
            if question in known:
                yield index, Generation(known[question], (), "stop")
            else:
                yield index, Generation("", (), "error", error="the table has no answer to this question")

    def describe(self) -> Mapping[str, Any]:
        """For the report; a run ships only where all of `candidate.describe()` is in it."""
        return {**self._candidate.describe(), "engine": "lookup"}


def make(candidate: Any, settings: Any) -> Lookup:
    """What --ft-engine=lookup:make calls. `settings`: device, dtype, quantize, batch_size."""
    return Lookup(candidate)
