"""An engine that counts what it is asked, and a stage with it. (A user's conftest in a test imports it too.)"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinymodel import BASELINES, write_evalset

from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import AnyPrompt, ChatPrompt
from pytest_ftgate.answers.stage import StageResult, Work, run_stage
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.results import Generation

KEY = b"k" * 32
GATES = "accuracy: {min: 0.5}; beats_baseline: {min_gain: 0.05}; forgetting: {max_drop: 0.1}"


def plain(prompt: AnyPrompt) -> str:
    return "|".join(m.content for m in prompt.messages) if isinstance(prompt, ChatPrompt) else prompt.text


@dataclass
class CountingEngine:
    """Answers with a digest of the prompt and the side; any order, each index once."""

    asked: list[tuple[bool, Request]] = field(default_factory=list)
    stop_after: int | None = None
    lose: int = 0
    name: str = "one"

    def encode(self, prompt: AnyPrompt, *, tuned: bool) -> tuple[int, ...]:
        return tuple(plain(prompt).encode())

    def fingerprint(self, *, tuned: bool) -> str:
        return hashlib.sha256(f"{self.name} {tuned}".encode()).hexdigest()

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        for index, request in reversed(list(enumerate(requests[self.lose :], self.lose))):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append((tuned, request))
            yield index, self.answer(request, tuned)

    def answer(self, request: Request, tuned: bool) -> Generation:
        text = hashlib.sha256(plain(request.prompt).encode() + bytes([tuned])).hexdigest()[:8]
        return Generation(f"{self.name} {text}", (1, 2), "stop", len(plain(request.prompt)))

    def describe(self) -> Mapping[str, Any]:
        return {"model": self.name}


def work(folder: Path, *, gates: str = GATES, asked: Sequence[str] | None = None, name: str = "one") -> Work:
    asked = [f"question {i}" for i in range(6)] if asked is None else asked
    path = write_evalset(folder, name, gates, ["x"] * len(asked), baselines=BASELINES, asked=asked)
    evalset = load_evalset(path)
    return Work(evalset, tuple(g.kind for g in evalset.gates), ())


def stage(works: list[Work], engine: CountingEngine, root: Path | None = None, **changes: Any) -> StageResult:
    return run_stage(
        works, engine, **{"store_root": root, "store_key": KEY, "cache": "all", "report": lambda _: None, **changes}
    )
