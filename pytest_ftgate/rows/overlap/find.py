"""The check, from sources to report: sample, count, scan, verify."""

from __future__ import annotations

import heapq
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pytest_ftgate.rows.overlap.baseline import excess, rate
from pytest_ftgate.rows.overlap.duplicates import training_duplicates
from pytest_ftgate.rows.overlap.frequency import count, priorities, sample_scale, weights
from pytest_ftgate.rows.overlap.index import build
from pytest_ftgate.rows.overlap.items import Item, docs_of, same_inputs
from pytest_ftgate.rows.overlap.judging import Judge
from pytest_ftgate.rows.overlap.progress import Clock, Progress
from pytest_ftgate.rows.overlap.report import Baseline, EvalDuplicates, Finding, OverlapOptions, OverlapReport
from pytest_ftgate.rows.overlap.stream import Chunk, Rows, as_sources, chunks
from pytest_ftgate.rows.overlap.work import Job, scan_all
from pytest_ftgate.rows.types import TrainingRow

REPHRASE_RATE = 0.02


def find_overlaps(
    items: Sequence[Item],
    sources: Iterable[str | Path] | Iterable[TrainingRow],
    *,
    options: OverlapOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> OverlapReport:
    """Compare examples with training rows.

    `sources`: files (.jsonl, also .gz and .zst; .json, .csv, .parquet, a `save_to_disk` directory), or rows in memory.
    Files are read three times (to count, to sample, to scan); memory depends on the examples and the longest row,
    not on the number of rows. With `workers` > 1 new processes are started: call it from an importable main module.
    Raises InputError (TrainingDataError) where a source cannot be read; single broken rows are counted instead.
    """
    options = options or OverlapOptions()
    began = time.monotonic()
    fixed = as_sources(sources)
    clock = Clock(progress)
    n_rows, drawn = _draw(clock.over("counting", chunks(fixed), None), options.pseudo_examples)
    pseudo = drawn[: min(options.pseudo_examples, n_rows // 10)]
    index = build(docs_of(items) + docs_of(pseudo, pseudo=True))
    frequencies = count(index, clock.over("sampling", chunks(fixed), n_rows), sample_scale(n_rows))
    job = Job(index, weights(index, frequencies), frequencies, options.rephrase, fixed)
    with tempfile.TemporaryDirectory(prefix="overlap-") as directory:
        found, files = scan_all(job, options.workers, Path(directory), clock.counter("scanning", n_rows))
        duplicates = training_duplicates(sorted(Path(directory).iterdir()), files)
    judge = Judge(job, found)
    measured = _baseline(judge) if pseudo else None
    findings = [f for d in range(len(index.docs)) for f in judge.findings(d, items)]
    order = {item.id: i for i, item in enumerate(items)}
    return OverlapReport(
        findings=tuple(sorted((_kept(f, options) for f in findings), key=lambda f: (order[f.example_id], f.where))),
        n_examples=len(items),
        n_rows=found.n_rows,
        eval_duplicates=_eval_duplicates(job, items),
        training_duplicates=duplicates,
        baseline=measured,
        rephrase_decides=measured is not None and measured.rephrased.value <= REPHRASE_RATE,
        n_broken=found.n_broken,
        broken_rows=tuple(found.problems),
        options=options,
        seconds=round(time.monotonic() - began, 3),
    )


def _draw(source: Iterable[Chunk], size: int) -> tuple[int, list[Item]]:
    """(number of rows, at most `size` rows as items: those of smallest priority, distinct ones)."""
    n, kept = 0, dict[int, Item]()
    heap: list[int] = []  # negated priorities of `kept`
    for chunk in source:
        order = priorities(chunk.keys())
        n += len(order)
        limit = -heap[0] if heap and len(heap) >= size else 1 << 32
        for i in np.flatnonzero(order < limit).tolist() if size else ():
            priority = int(order[i])
            if priority in kept or (len(heap) >= size and priority >= -heap[0]):
                continue
            rows = chunk.rows([i])
            if rows.inputs:
                kept[priority] = Item("", rows.inputs[0], rows.outputs[0])
                heapq.heappush(heap, -priority)
            if len(heap) > size:
                del kept[-heapq.heappop(heap)]
    return n, [kept[p] for p in sorted(kept)]


def _baseline(judge: Judge) -> Baseline:
    leaked: set[int] = set()
    n = flagged = exact = rephrased = distinct = 0
    for d, doc in enumerate(judge.index.docs):
        if doc.kind != "input":
            continue
        if not doc.pseudo:
            distinct += 1
            leaked |= {d} if judge.is_leaked(d) else set()
            continue
        nature = judge.nature(d)
        n += nature.copies
        flagged += nature.copies * (nature.exact or nature.near)
        exact += nature.copies * nature.exact
        rephrased += nature.copies * nature.rephrased
    examples, training = rate(len(leaked), distinct), rate(flagged, n)
    return Baseline(examples, training, rate(exact, n), excess(examples, training), rate(rephrased, n))


def _eval_duplicates(job: Job, items: Sequence[Item]) -> EvalDuplicates:
    exact = tuple(tuple(items[i].id for i in group) for group in same_inputs(items))
    scanner = job.scanner(rephrase=False)
    for start in range(0, len(items), 500):
        part = items[start : start + 500]
        places = [("", start + i) for i in range(len(part))]
        scanner.add(Rows(places, [i.input for i in part], [i.output or "" for i in part]))
    judge = Judge(job, scanner.found)
    near = {
        tuple(sorted((items[judge.index.docs[d].examples[0]].id, items[row].id)))
        for d, doc in enumerate(judge.index.docs)
        if doc.kind == "input" and not doc.pseudo
        for row in judge.near_rows(d)
    }
    return EvalDuplicates(exact, tuple(sorted((a, b) for a, b in near if a != b)))


def _kept(finding: Finding, options: OverlapOptions) -> Finding:
    return finding if options.texts else replace(finding, example_text="", row_text="")
