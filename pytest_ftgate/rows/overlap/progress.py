"""Progress of an overlap check: how far it is, and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pytest_ftgate.rows.overlap.stream import Chunk

_EVERY = 0.5  # seconds between two reports


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check is."""

    stage: str
    """counting · sampling · scanning"""
    done: int
    """Rows of this stage that are done."""
    total: int | None
    """Rows of this stage; None while they are being counted."""
    seconds_left: float | None
    """For this stage; None where it cannot be told yet."""


class Clock:
    """Reports progress at most twice a second, to `sink` if there is one."""

    def __init__(self, sink: Callable[[Progress], None] | None) -> None:
        self._sink = sink

    def over(self, stage: str, chunks: Iterable[Chunk], total: int | None) -> Iterator[Chunk]:
        """The chunks, with a report now and then. Rows are counted by their checksums, so this reads no row itself."""
        tick = self.counter(stage, total)
        for chunk in chunks:
            yield chunk
            tick(len(chunk))

    def counter(self, stage: str, total: int | None) -> Callable[[int], None]:
        """A function to be called with the number of further rows that are done."""
        began = last = time.monotonic()
        done = 0

        def tick(rows: int) -> None:
            nonlocal last, done
            done += rows
            now = time.monotonic()
            if self._sink is None or now - last < _EVERY:
                return
            last = now
            left = (now - began) / done * (total - done) if total and done else None
            self._sink(Progress(stage, done, total, left))

        return tick
