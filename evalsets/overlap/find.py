"""The check, from sources to report: sample, count, scan, verify."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evalsets.overlap import baseline, judging
from evalsets.overlap.duplicates import training_duplicates
from evalsets.overlap.frequency import Frequencies, count, priorities, sample_scale, weights
from evalsets.overlap.index import Index, build
from evalsets.overlap.items import Item, docs_of, same_inputs
from evalsets.overlap.report import EvalDuplicates, OverlapOptions, OverlapReport
from evalsets.overlap.scan import Found
from evalsets.overlap.stream import Chunk, Sources, chunks
from evalsets.overlap.work import Job, scan_all
from evalsets.types import TrainingRow


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a check is."""

    stage: str
    """counting · sampling · scanning · comparing"""
    done: int
    """Rows of this stage that are done."""
    total: int | None
    """Rows of this stage; None while they are being counted."""
    seconds_left: float | None
    """For this stage; None where it cannot be told yet."""


Report = Callable[[Progress], None]


def find_overlaps(
    items: Sequence[Item],
    sources: Iterable[str | Path] | Iterable[TrainingRow],
    *,
    options: OverlapOptions | None = None,
    progress: Report | None = None,
) -> OverlapReport:
    """Compare examples with training rows.

    `sources`: files (.jsonl, also .gz and .zst; .json, .csv, .parquet, a `save_to_disk` directory), or rows in memory.
    Files are read three times (to count, to sample, to scan); memory depends on the examples and the longest row,
    not on the number of rows. With `workers` > 1 new processes are started: call it from an importable main module.
    Raises InputError (TrainingDataError) where a source cannot be read; single broken rows are counted instead.
    """
    options = options or OverlapOptions()
    began = time.monotonic()
    fixed = _fixed(sources)
    clock = _Clock(progress)
    n_rows, drawn = _draw(clock.over("counting", chunks(fixed), None), options.pseudo_examples)
    pseudo = drawn[: min(options.pseudo_examples, n_rows // 10)]
    index = build(docs_of(items) + docs_of(pseudo, pseudo=True))
    scale = sample_scale(n_rows)
    frequencies = count(index, clock.over("sampling", chunks(fixed), n_rows), scale)
    job = Job(index, weights(index, frequencies), frequencies if options.rephrase else None, fixed)
    with tempfile.TemporaryDirectory(prefix="overlap-") as directory:
        found, files = scan_all(job, options.workers, Path(directory), clock.scanning(n_rows))
        duplicates = training_duplicates(sorted(Path(directory).iterdir()), files)
    within = scan_within(job, items)
    return _report(items, job, frequencies, found, within, duplicates, options, began)
