"""The scan, in one process or several. Every process reads all files and takes every n-th chunk."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from pytest_ftgate.rows.overlap.duplicates import Spill
from pytest_ftgate.rows.overlap.frequency import Frequencies
from pytest_ftgate.rows.overlap.index import Index, View
from pytest_ftgate.rows.overlap.postings import F64
from pytest_ftgate.rows.overlap.rephrase import StemIndex
from pytest_ftgate.rows.overlap.scan import Found, Scanner
from pytest_ftgate.rows.overlap.stream import Sources, chunks


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process needs for its share of the scan."""

    index: Index
    weights: F64
    """[E] of the index's entries."""
    frequencies: Frequencies
    rephrase: bool
    sources: Sources

    def scanner(self, *, rephrase: bool) -> Scanner:
        """A new Scanner."""
        stems = StemIndex(self.index, self.frequencies) if rephrase else None
        return Scanner(self.index, View(self.index, self.weights), stems)


def scan_all(job: Job, workers: int, directory: Path, tick: Callable[[int], None]) -> tuple[Found, list[str]]:
    """(what all rows hold, the file names that the spills in `directory` refer to)."""
    if workers <= 1 or not job.sources.files:
        return _scan(job, 0, 1, directory, tick), job.sources.names
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads (torch, arrow) may hang
    queue: SimpleQueue[int] = context.SimpleQueue()
    with ProcessPoolExecutor(workers, context, _set_queue, (queue,)) as pool:
        parts = [pool.submit(_scan_part, job, i, workers, directory) for i in range(workers)]
        while wait(parts, timeout=0.2).not_done:
            while not queue.empty():
                tick(queue.get())
    found = parts[0].result()
    for part in parts[1:]:
        found.merge(part.result())
    return found, job.sources.names


_queue: SimpleQueue[int] | None = None


def _set_queue(queue: SimpleQueue[int]) -> None:
    global _queue
    _queue = queue


def _scan_part(job: Job, part: int, parts: int, directory: Path) -> Found:
    return _scan(job, part, parts, directory, _queue.put if _queue is not None else lambda _: None)


def _scan(job: Job, part: int, parts: int, directory: Path, tick: Callable[[int], None]) -> Found:
    scanner = job.scanner(rephrase=job.rephrase)
    with (directory / f"rows-{part}").open("wb") as stream:
        spill = Spill(stream, job.sources.names)
        for chunk in islice(chunks(job.sources), part, None, parts):
            rows = chunk.rows()
            spill.add(scanner.add(rows), rows.places)
            tick(len(rows.places))
    return scanner.found
