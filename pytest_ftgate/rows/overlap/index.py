"""The eval set as an index of word 3-grams; training rows are streamed past it.

Memory depends on the eval set alone. An index holds Docs (inputs and answers of examples); a View of it gives each
(Doc, 3-gram) a weight and finds, for a Batch of texts, every pair of text and Doc that shares enough weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.hashing import I64, U64, Batch, batch_of, grams
from pytest_ftgate.rows.overlap.postings import F64, Postings, Shared, groups


@dataclass(frozen=True, slots=True)
class Doc:
    """One text that training rows are compared with."""

    examples: tuple[int, ...]
    """Positions of the Items that have this text, in the list of examples (or of pseudo-examples)."""
    kind: Literal["input", "output"]
    pseudo: bool
    """A training row that plays an example, to measure the natural rate."""
    text: str
    output: str | None
    """The example's reference answer."""


@dataclass(frozen=True, slots=True)
class Index:
    """Docs and their 3-grams. D Docs, G distinct grams, E distinct (gram, Doc) entries."""

    docs: tuple[Doc, ...]
    batch: Batch
    """The Docs' texts, hashed; Doc d is segment d."""
    grams: U64
    """[G] sorted hashes."""
    position_gram: I64
    """[T] id of the gram that starts at each token; -1 where none does."""
    entry_gram: I64
    """[E] ascending."""
    entry_doc: I64
    """[E] ascending within a gram."""
    pseudo: NDArray[np.bool_]
    """[D]"""
    real_df: I64
    """[G] distinct example Docs that hold the gram."""
    pseudo_df: I64
    """[G] distinct pseudo Docs that hold it."""

    @property
    def lengths(self) -> I64:
        """[D] tokens of each Doc."""
        return np.diff(self.batch.first)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts and Docs that share grams. P pairs, sorted by (segment, doc)."""

    segment: I64
    """[P] of the Batch."""
    doc: I64
    """[P]"""
    score: F64
    """[P] shared weight / weight of the Doc, in [0, 1]."""
    low: I64
    """[P] first token of the first shared gram in the Batch."""
    high: I64
    """[P] one past the last token of the last shared gram."""
    entry: I64
    """[X >= P] shared (gram, Doc) entries, as numbered in the Index; grouped by pair."""
    pair: I64
    """[X] the pair of each."""


def build(docs: Sequence[Doc]) -> Index:
    """Index the Docs."""
    batch = batch_of([d.text for d in docs])
    hashes, inside = grams(batch)
    known, position = np.unique(hashes[inside], return_inverse=True)
    position_gram = np.full(len(batch.tokens), -1, np.int64)
    position_gram[np.flatnonzero(inside)] = position
    n = max(len(docs), 1)
    entries = np.unique(position * n + batch.segment[np.flatnonzero(inside)])
    entry_gram, entry_doc = entries // n, entries % n
    pseudo = np.array([d.pseudo for d in docs], np.bool_)
    of_pseudo = pseudo[entry_doc] if len(docs) else np.zeros(0, np.bool_)
    real_df = np.bincount(entry_gram[~of_pseudo], minlength=len(known))
    pseudo_df = np.bincount(entry_gram[of_pseudo], minlength=len(known))
    return Index(tuple(docs), batch, known, position_gram, entry_gram, entry_doc, pseudo, real_df, pseudo_df)


class View:
    """An Index with a weight for each entry; entries of weight 0 are not looked up."""

    def __init__(self, index: Index, weights: F64) -> None:
        active = weights > 0
        self._numbers = np.flatnonzero(active)
        self._ids, at = np.unique(index.entry_gram[active], return_inverse=True)
        self._entries = at, index.entry_doc[active], weights[active]
        self.postings = Postings(len(index.docs), *self._entries)
        self._hashes = index.grams[self._ids]
        bits = int(max(len(self._hashes) * 16, 2**12) - 1).bit_length()
        self._shift = np.uint64(64 - bits)
        prefix = (self._hashes >> self._shift).astype(np.int64)
        self._slot = np.full(1 << bits, -1, np.int32)  # first gram with these leading bits
        self._slot[prefix[::-1]] = np.arange(len(prefix), dtype=np.int32)[::-1]
        self._most = int(np.bincount(np.unique(prefix, return_inverse=True)[1]).max(initial=0))

    def hits(self, batch: Batch) -> tuple[I64, I64]:
        """(token positions whose gram is active, place of that gram in the view), by ascending position."""
        hashes, inside = grams(batch)
        slot = self._slot[hashes >> self._shift]
        maybe = np.flatnonzero((slot >= 0) & inside)
        found, at = hashes[maybe], slot[maybe].astype(np.int64)
        for _ in range(self._most - 1):  # few grams have the same leading bits
            at += self._hashes[at] < found
            np.minimum(at, len(self._hashes) - 1, out=at)
        real = self._hashes[at] == found if len(self._hashes) else np.zeros(0, np.bool_)
        return maybe[real], at[real]

    def entries(self) -> tuple[I64, I64, F64]:
        """(place of the gram in the view, Doc, weight) of each active entry."""
        return self._entries

    def gram_ids(self, at: I64) -> I64:
        """Ids in the Index of grams given by their place in the view."""
        return self._ids[at]

    def pairs(self, batch: Batch, least: F64 | float, hits: tuple[I64, I64] | None = None) -> Pairs:
        """Every (segment, Doc) whose score is at least `least` (one number, or one for each Doc)."""
        position, at = hits if hits is not None else self.hits(batch)
        if not len(position):
            return _joined([])
        order, starts = groups(batch.segment[position] * len(self._ids) + at)
        low: I64 = position[order[starts]]
        last: I64 = position[order[np.append(starts[1:], len(order)) - 1]]
        segment, at = batch.segment[low], at[order[starts]]
        floor: F64 = np.asarray(least * self.postings.totals * (1 - 1e-6), np.float64)
        found = self.postings.shared(segment, at, floor)
        return _joined([self._pairs(shared, low, last, least) for shared in found if len(shared.doc)])

    def _pairs(self, shared: Shared, low: I64, last: I64, least: F64 | float) -> Pairs:
        score = np.round(shared.weight / self.postings.totals[shared.doc], 9)
        keep = score >= (least if isinstance(least, float) else least[shared.doc])
        lows = np.minimum.reduceat(low[shared.source], shared.starts)[keep]
        highs = np.maximum.reduceat(last[shared.source], shared.starts)[keep] + 3
        sizes = np.diff(np.append(shared.starts, len(shared.entry)))
        entry = self._numbers[shared.entry[np.repeat(keep, sizes)]]
        pair = np.repeat(np.arange(int(keep.sum())), sizes[keep])
        return Pairs(shared.segment[keep], shared.doc[keep], score[keep], lows, highs, entry, pair)


def _joined(parts: Sequence[Pairs]) -> Pairs:
    if len(parts) == 1:
        return parts[0]
    none = np.zeros(0, np.int64)
    before = np.cumsum([0, *(len(p.doc) for p in parts)])
    return Pairs(
        np.concatenate([none, *(p.segment for p in parts)]),
        np.concatenate([none, *(p.doc for p in parts)]),
        np.concatenate([np.zeros(0), *(p.score for p in parts)]),
        np.concatenate([none, *(p.low for p in parts)]),
        np.concatenate([none, *(p.high for p in parts)]),
        np.concatenate([none, *(p.entry for p in parts)]),
        np.concatenate([none, *(p.pair + n for p, n in zip(parts, before, strict=False))]),
    )
