"""Rows that repeat one another, found by the engine that finds leaks: every row is compared with every other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.rows.overlap.frequency import count, sample_scale, weights
from pytest_ftgate.rows.overlap.index import build
from pytest_ftgate.rows.overlap.items import Item, docs_of, same_inputs
from pytest_ftgate.rows.overlap.judging import Judge
from pytest_ftgate.rows.overlap.stream import Rows, as_sources, chunks
from pytest_ftgate.rows.overlap.work import Job
from pytest_ftgate.rows.types import TrainingRow

_PART = 500


def rows_of(items: Sequence[Item], chosen: Sequence[int]) -> list[TrainingRow]:
    """The chosen items as training rows; each row's number is the item's position."""
    return [
        TrainingRow("", i, (Message("user", items[i].input), Message("assistant", items[i].output or "")), "messages")
        for i in chosen
    ]


def repeats(items: Sequence[Item]) -> Iterator[tuple[int, int]]:
    """Pairs of positions of items whose inputs are the same or nearly the same, whatever their answers.

    Each near copy is in a chain of such pairs as long as an item has few of them (beyond eight, the nearest are named).
    What stands in at least 1 % of the items (and five) is taken for a shared prompt, not for a copy, as everywhere in
    this package. Memory grows with the number of items.
    """
    for group in same_inputs(items):
        yield from pairwise(group)
    asked = [replace(item, output=None) for item in items]  # without an answer, none can tell two items apart
    sources = as_sources(rows_of(asked, range(len(items))))
    index = build(docs_of(asked))
    frequencies = count(index, chunks(sources), sample_scale(len(items)))
    job = Job(index, weights(index, frequencies), frequencies, False, sources)
    scanner = job.scanner(rephrase=False)
    for start in range(0, len(items), _PART):
        part = asked[start : start + _PART]
        places = [("", start + i) for i in range(len(part))]
        scanner.add(Rows(places, [item.input for item in part], [""] * len(part)))
    judge = Judge(job, scanner.found)
    for d, doc in enumerate(index.docs):
        yield from ((doc.examples[0], row) for row in judge.repeating_rows(d) if row not in doc.examples)
