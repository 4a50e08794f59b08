"""One side of the stage: requests, what the store holds of them, and an engine for the rest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_ftgate.answers.engine.protocol import Engine, Request
from pytest_ftgate.answers.store import Store
from pytest_ftgate.errors import EngineError, IdentityError
from pytest_ftgate.results import Generation

FLUSH_SECONDS = 5.0
SideName = Literal["candidate", "base"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stage is; sent after every batch."""

    side: SideName
    done: int
    total: int
    """Generations to make on this side (those found in the store not counted); at the end, those made."""
    new_tokens: int
    seconds: float


class Asking:
    """Answers requests of one side, each once. Mutable: `answers` grows."""

    def __init__(
        self,
        name: SideName,
        requests: Mapping[str, Request],
        engine: Engine,
        store: Store | None,
        report: Callable[[Progress], None],
        unchanged: Callable[[], None],
    ) -> None:
        """`unchanged` raises IdentityError where the files are no longer those that the store's name stands for."""
        self._name, self._requests, self._engine, self._report = name, requests, engine, report
        self._store, self._unchanged = store, unchanged
        self._stored = store.load() if store else {}
        self.answers: dict[str, Generation] = {}
        """Key -> Generation of everything asked so far."""
        self._made = self._tokens = 0
        self._total = sum(key not in self._stored for key in requests)
        self._began = time.monotonic()
        self._tell()

    def ask(self, keys: Iterable[str]) -> None:
        """Answer these.

        Raises EngineError, also where the engine returns fewer answers than it was asked for, and IdentityError.
        """
        wanted = [key for key in dict.fromkeys(keys) if key not in self.answers]
        self.answers.update({key: self._stored[key] for key in wanted if key in self._stored})
        missing = [key for key in wanted if key not in self.answers]
        if missing:
            self._generate(missing)
        lost = sum(key not in self.answers for key in missing)
        if lost:
            raise EngineError(f"the engine returned no answer for {lost} of {len(missing)} prompts")

    def _generate(self, keys: Sequence[str]) -> None:
        unsaved: list[tuple[str, Generation]] = []
        flushed = time.monotonic()
        try:
            asked = [self._requests[key] for key in keys]
            for index, generation in self._engine.generate(asked, tuned=self._name == "candidate"):
                self.answers[keys[index]] = generation
                unsaved.append((keys[index], generation))
                self._made += 1
                self._tokens += generation.new_tokens or 0
                self._tell()
                if self._store and time.monotonic() - flushed > FLUSH_SECONDS:
                    self._save(unsaved)
                    unsaved, flushed = [], time.monotonic()
        except BaseException:
            # Ctrl-C or a crash keeps what was done: the same command goes on from here.
            with contextlib.suppress(IdentityError):
                self._save(unsaved)
            raise
        self._save(unsaved)

    def _save(self, made: Sequence[tuple[str, Generation]]) -> None:
        """Store these, or raise IdentityError: nobody knows by which file's bytes they were made."""
        if self._store:
            self._unchanged()
            self._store.append(made)

    def counts(self, planned: int) -> dict[str, int]:
        """What became of the requests: {planned, unique, stored, generated, spared, rejected, unsaved}."""
        if self._made < self._total:
            self._total = self._made
            self._tell()
        return {
            "planned": planned,
            "unique": len(self._requests),
            "stored": len(self.answers) - self._made,
            "generated": self._made,
            "spared": len(self._requests) - len(self.answers),
            "rejected": self._store.rejected if self._store else 0,
            "unsaved": self._store.unsaved if self._store else 0,
        }

    def _tell(self) -> None:
        if self._total:
            seconds = time.monotonic() - self._began if self._made else 0.0
            self._report(Progress(self._name, self._made, self._total, self._tokens, seconds))
