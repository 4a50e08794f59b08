"""Past every training row once: exact matches, and the few candidates for each Doc that are worth aligning.

What is kept for a Doc is the best few by (score, content), so neither the order of the rows nor their division among
workers changes it, and memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.files.problems import Problem
from pytest_ftgate.rows.overlap.answers import same_answer
from pytest_ftgate.rows.overlap.excerpt import cut, shortened
from pytest_ftgate.rows.overlap.hashing import I64, Batch, batch_of, combined, window_digest
from pytest_ftgate.rows.overlap.index import Index, Pairs, View
from pytest_ftgate.rows.overlap.rephrase import LEAST_DICE, StemIndex, numbers_agree
from pytest_ftgate.rows.overlap.stream import Place, Rows
from pytest_ftgate.rows.overlap.text import symbols, tokens
from pytest_ftgate.rows.overlap.window import Windows

SegmentKind = Literal["input", "output"]
Lane = Literal[0, 1, 2]
"""Where a candidate stands: 0 in an input, 1 in an input with the Doc's own answer beside it, 2 in an answer.

Kept apart, or the many rows that share a passage but not its question would crowd out an edited copy."""
LANES: tuple[Lane, Lane, Lane] = (0, 1, 2)
ANSWER_LANE: Lane = 2

CANDIDATES = 8  # stretches kept for each Doc and part of the row
ALIKE = 5
LEAST_SCORE = 0.12
PROBLEMS = 20


class Candidate(NamedTuple):
    """A stretch of a training row that may be a copy of a Doc."""

    score: float
    """Weighted share of the Doc's 3-grams in the stretch (or Dice of the stems), in [0, 1]."""
    digest: int
    """Of the stretch and of the row's answer: equal ones are kept once."""
    place: Place
    """Of the first such row, by (file, row)."""
    copies: int
    offset: int
    """Of the stretch in its part of the row, in characters."""
    text: str
    output: str
    """The row's answer, shortened."""


class Exact(NamedTuple):
    """Rows that have a Doc's words as their whole input (or output)."""

    place: Place
    """Of the first, by (file, row); of the first with the same answer if there is one."""
    copies: int
    agreeing: int
    """Copies whose answer is the Doc's."""
    text: str
    output: str


@dataclass(slots=True)
class Found:
    """What a scan keeps. Two of them merge into what one scan of all rows would have kept."""

    n_rows: int = 0
    n_broken: int = 0
    problems: list[Problem] = field(default_factory=list)
    """The first PROBLEMS, by place."""
    exact: dict[tuple[int, SegmentKind], Exact] = field(default_factory=dict)
    """By (Doc, part of the row)."""
    near: dict[tuple[int, Lane], dict[int, Candidate]] = field(default_factory=dict)
    """At most CANDIDATES for each (Doc, lane), by digest."""
    alike: dict[int, dict[int, Candidate]] = field(default_factory=dict)
    """At most ALIKE rephrase candidates for each Doc, by digest."""

    def merge(self, other: Found) -> None:
        """Take in what another scan found in other rows."""
        self.n_rows += other.n_rows
        self.n_broken += other.n_broken
        self.problems = sorted([*self.problems, *other.problems], key=_problem_order)[:PROBLEMS]
        for key, theirs in other.exact.items():
            ours = self.exact.get(key)
            self.exact[key] = theirs if ours is None else _both(ours, theirs)
        for near, heap in other.near.items():
            _fill(self.near.setdefault(near, {}), heap.values(), CANDIDATES)
        for doc, heap in other.alike.items():
            _fill(self.alike.setdefault(doc, {}), heap.values(), ALIKE)


class Scanner:
    """Takes rows and keeps a Found."""

    def __init__(self, index: Index, view: View, stems: StemIndex | None) -> None:
        self.found = Found()
        self._index, self._view, self._stems = index, view, stems
        self._windows = Windows(index, view)
        self._least = np.full((len(LANES), len(index.docs)), LEAST_SCORE)
        self._answers = batch_of([d.output or "" for d in index.docs]).digests
        self._least_dice = np.full(len(index.docs), LEAST_DICE)
        self._digests, self._first_doc = _digest_table(index)
        self._verified: dict[tuple[int, str], bool] = {}

    def add(self, rows: Rows) -> NDArray[np.uint64]:
        """Scan the rows of one chunk; returns a digest of each row's content."""
        found, n = self.found, len(rows.inputs)
        found.n_rows += n + len(rows.problems)
        found.n_broken += len(rows.problems)
        if rows.problems:
            found.problems = sorted([*found.problems, *rows.problems], key=_problem_order)[:PROBLEMS]
        batch = batch_of(rows.inputs + rows.outputs)
        self._exact(rows, batch)
        hits = self._view.hits(batch)
        pairs = self._view.pairs(batch, self._least.min(axis=0), hits)
        if len(pairs.segment):
            self._near(rows, batch, pairs, hits)
        if self._stems is not None:
            self._alike(rows, batch, self._stems)
        return combined(batch.digests[:n], batch.digests[n:])

    def _exact(self, rows: Rows, batch: Batch) -> None:
        at = np.searchsorted(self._digests, batch.digests)
        at = np.minimum(at, len(self._digests) - 1)
        for s in np.flatnonzero(self._digests[at] == batch.digests).tolist() if len(self._digests) else ():
            for doc in self._first_doc[int(batch.digests[s])]:
                self._add_exact(doc, s, rows, batch)

    def _add_exact(self, doc: int, s: int, rows: Rows, batch: Batch) -> None:
        kind, text, output = _part(rows, s)
        reference = self._index.docs[doc]
        if not same_words(reference.text, text):
            if batch.first[s + 1] > batch.first[s]:
                self._offer(doc, s, 1.0, (int(batch.first[s]), int(batch.first[s + 1])), rows, batch)
            return
        agreeing = int(kind == "input" and bool(_same_answer(reference.output, output)))
        kept = text[: 4 * len(reference.text) + 200]
        new = Exact(rows.places[s % len(rows.places)], 1, agreeing, kept, shortened(output))
        old = self.found.exact.get((doc, kind))
        self.found.exact[doc, kind] = new if old is None else _both(old, new)

    def _near(self, rows: Rows, batch: Batch, pairs: Pairs, hits: tuple[I64, I64]) -> None:
        n = len(rows.inputs)
        beside = batch.digests[np.minimum(pairs.segment + n, 2 * n - 1)]
        known = self._answers[pairs.doc]
        lanes = np.where(
            pairs.segment >= n, ANSWER_LANE, (known == beside) & (known != 0)
        )  # as in _lane, for all pairs at once
        least = self._least[lanes, pairs.doc]
        other = batch.digests[pairs.segment] != self._index.batch.digests[pairs.doc]
        width = (1.5 * self._index.lengths + 10).astype(np.int64)
        for i in np.flatnonzero((pairs.score >= least) & other).tolist():
            s, doc = int(pairs.segment[i]), int(pairs.doc[i])
            low, high = int(batch.first[s]), int(batch.first[s + 1])
            score = float(pairs.score[i])
            if high - low > width[doc]:
                score, low, high = self._windows.best(doc, int(width[doc]), s, batch, hits)
            if score >= self._least[lanes[i], doc]:
                self._offer(doc, s, score, (low, high), rows, batch)

    def _offer(self, doc: int, s: int, score: float, stretch: tuple[int, int], rows: Rows, batch: Batch) -> None:
        kind, text, output = _part(rows, s)
        digest = window_digest(batch.tokens[slice(*stretch)])
        if kind == "input":
            digest ^= int(batch.digests[s + len(rows.inputs)]) >> 1
        lane = self._lane(doc, s, batch)
        heap = self.found.near.setdefault((doc, lane), {})
        place = rows.places[s % len(rows.places)]
        if digest in heap:
            _fill(heap, [heap[digest]._replace(place=place, copies=1)], CANDIDATES)
        else:
            offset, excerpt = cut(text, batch, *stretch)
            new = Candidate(score, digest, place, 1, offset, excerpt, shortened(output))
            self._least[lane, doc] = max(LEAST_SCORE, _fill(heap, [new], CANDIDATES))

    def _lane(self, doc: int, s: int, batch: Batch) -> Lane:
        n = len(batch.digests) // 2
        if s >= n:
            return ANSWER_LANE
        return 1 if self._answers[doc] and self._answers[doc] == batch.digests[s + n] else 0

    def _alike(self, rows: Rows, batch: Batch, stems: StemIndex) -> None:
        n = len(rows.inputs)
        pairs = stems.alike(batch, n, self._least_dice)
        other = batch.digests[pairs.segment] != self._index.batch.digests[pairs.doc]
        for i in np.flatnonzero(other).tolist():
            s, doc, dice = int(pairs.segment[i]), int(pairs.doc[i]), float(pairs.dice[i])
            reference = self._index.docs[doc]
            if dice < self._least_dice[doc] or not numbers_agree(reference.text, rows.inputs[s]):
                continue
            if _same_answer(reference.output, rows.outputs[s]) is False:
                continue
            digest = int(combined(batch.digests[s : s + 1], batch.digests[s + n : s + n + 1])[0]) >> 1
            text = rows.inputs[s][: 4 * len(reference.text) + 400]
            new = Candidate(dice, digest, rows.places[s], 1, 0, text, shortened(rows.outputs[s]))
            least = _fill(self.found.alike.setdefault(doc, {}), [new], ALIKE)
            self._least_dice[doc] = max(LEAST_DICE, least)


@lru_cache(maxsize=512)
def same_words(ours: str, theirs: str) -> bool:
    """Whether two texts are the same example: equal tokens and equal signs; texts without tokens: equal characters."""
    if ours == theirs:
        return True
    words = tokens(ours)
    if words != tokens(theirs) or symbols(ours) != symbols(theirs):
        return False
    return bool(words) or "".join(ours.split()) == "".join(theirs.split())


_same_answer = lru_cache(maxsize=512)(same_answer)


def _part(rows: Rows, s: int) -> tuple[SegmentKind, str, str]:
    """(part of the row, its text, the row's answer beside it)."""
    n = len(rows.inputs)
    return ("input", rows.inputs[s], rows.outputs[s]) if s < n else ("output", rows.outputs[s - n], "")


def _digest_table(index: Index) -> tuple[NDArray[np.uint64], dict[int, list[int]]]:
    docs: dict[int, list[int]] = {}
    for i, digest in enumerate(index.batch.digests.tolist()):
        if digest:
            docs.setdefault(digest, []).append(i)
    return np.array(sorted(docs), np.uint64), docs


def _fill(heap: dict[int, Candidate], new: Iterable[Candidate], size: int) -> float:
    """Put candidates in; keep the best `size` by (score, digest). Returns the score that a newcomer must reach."""
    for candidate in new:
        old = heap.get(candidate.digest)
        if old is not None:
            first = min(old, candidate, key=lambda c: c.place)
            heap[candidate.digest] = first._replace(copies=old.copies + candidate.copies)
            continue
        heap[candidate.digest] = candidate
        if len(heap) > size:
            worst = min(heap.values(), key=lambda c: (c.score, -c.digest))
            del heap[worst.digest]
    return min(c.score for c in heap.values()) if len(heap) == size else 0.0


def _both(ours: Exact, theirs: Exact) -> Exact:
    """One record of the copies of both."""
    first = min(ours, theirs, key=lambda e: (e.agreeing == 0, e.place))
    return first._replace(copies=ours.copies + theirs.copies, agreeing=ours.agreeing + theirs.agreeing)


def _problem_order(problem: Problem) -> tuple[str, int]:
    return problem.path, problem.line or 0
