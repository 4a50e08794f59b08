"""The rephrase channel: other words, same content. Advisory: it never blocks by itself.

Texts are sets of stems (first five characters); likeness is the Dice coefficient weighted by inverse document
frequency. It proposes; numbers and the answer decide, since a paraphrase keeps both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.frequency import STEM_BITS, Frequencies, distinct_stems
from pytest_ftgate.rows.overlap.hashing import I64, U64, Batch, batch_of
from pytest_ftgate.rows.overlap.index import Index
from pytest_ftgate.rows.overlap.postings import F64, Postings, groups
from pytest_ftgate.rows.overlap.text import numbers

LEAST_DICE = 0.40
LEAST_NUMBERS = 0.75
LEAST_TOKENS = 12
_COMMON = 0.08  # of the examples: a stem in more of them is boilerplate
_SLACK = 1 - 1e-6  # for rounding
_KEY_TOKENS = 8  # a longer answer is compared as text, later


@dataclass(frozen=True, slots=True)
class Alike:
    """Pairs that are alike in their stems."""

    segment: I64
    doc: I64
    dice: F64


class StemIndex:
    """Stems of the inputs of an Index."""

    def __init__(self, index: Index, found: Frequencies) -> None:
        inputs = np.array([d.kind == "input" for d in index.docs], np.bool_) & (index.lengths >= LEAST_TOKENS)
        segment, bucket = distinct_stems(index.batch, len(index.docs))
        kept = inputs[segment]
        segment, bucket = segment[kept], bucket[kept]
        real = ~index.pseudo[segment]
        eval_df = np.bincount(bucket[real], minlength=1 << STEM_BITS)
        total = found.sampled + int(inputs.sum())
        self._idf = np.log((total + 1) / (found.stem_df + eval_df + 1)).astype(np.float32)
        self._idf[eval_df > max(5.0, _COMMON * int((inputs & ~index.pseudo).sum()))] = 0
        order, starts = groups(bucket)
        self._at = np.full(1 << STEM_BITS, -1, np.int32)
        self._at[bucket[order[starts]]] = np.arange(len(starts))
        feature = self._at[bucket[order]].astype(np.int64)
        weight: F64 = self._idf[bucket[order]].astype(np.float64)
        self._postings = Postings(len(index.docs), feature, segment[order], weight)
        self._keys = answer_keys(index)
        rare = _rare(segment[order], weight, self._postings.totals)
        self._rare = Postings(len(index.docs), feature[rare], segment[order][rare], weight[rare])

    def alike(self, batch: Batch, n_rows: int, least: F64) -> Alike:
        """Inputs (the first n_rows segments; the others are their answers) and Docs with a Dice of at least `least`."""
        segment, bucket = distinct_stems(batch, n_rows)
        weight = np.bincount(segment, self._idf[bucket], minlength=n_rows).astype(np.float64)
        known = np.flatnonzero((self._at[bucket] >= 0) & (self._idf[bucket] > 0))
        segment, feature = segment[known], self._at[bucket[known]].astype(np.int64)
        keys = output_keys(batch, n_rows), self._keys
        # Dice >= least means: shared >= least / 2 * (our weight + their weight).
        totals = self._postings.totals
        floor, lift = least / 2 * totals * _SLACK, LEAST_DICE / 2 * weight * _SLACK
        short = floor - (totals - self._rare.totals)  # what the rare stems alone must share
        rare = self._rare.holds(feature)
        near = [part.segment for part in self._rare.shared(segment[rare], feature[rare], short, lift, keys)]
        chosen = np.isin(segment, np.unique(np.concatenate([segment[:0], *near])))
        found: list[tuple[I64, I64, F64]] = [(segment[:0], segment[:0], np.zeros(0))]
        for shared in self._postings.shared(segment[chosen], feature[chosen], floor, lift, keys):
            dice = np.round(2 * shared.weight / (totals[shared.doc] + weight[shared.segment]), 9)
            keep = dice >= least[shared.doc]
            found.append((shared.segment[keep], shared.doc[keep], dice[keep]))
        return Alike(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _rare(doc: I64, weight: F64, totals: F64) -> NDArray[np.bool_]:
    """Entries to search by: without the commonest stems of each Doc, up to a fifth of its weight.

    Texts with a Dice of 0.4 share more than that fifth, so no pair is missed (prefix filtering: Chaudhuri et al.,
    "A primitive operator for similarity joins", ICDE 2006), and the commonest stems are most of the work.
    """
    order = np.lexsort((weight, doc))
    running = np.cumsum(weight[order])
    first = np.searchsorted(doc[order], doc[order])
    before = np.where(first > 0, running[first - 1], 0.0)
    rare = np.ones(len(doc), np.bool_)
    rare[order] = running - before > LEAST_DICE / 2 * totals[doc[order]] * _SLACK
    return rare


def output_keys(batch: Batch, n_rows: int) -> U64:
    """[n_rows] what an answer must equal to be the same: its last token if a number, else all of it; 0: unknown."""
    first, last = batch.first[n_rows : 2 * n_rows], batch.first[n_rows + 1 : 2 * n_rows + 1] - 1
    length = last + 1 - first
    keys = np.where(length <= _KEY_TOKENS, batch.digests[n_rows : 2 * n_rows], np.uint64(0))
    ends = np.flatnonzero(length > 0)
    number = ends[batch.numeric[last[ends]]]
    keys[number] = batch.tokens[last[number]]
    return keys


def answer_keys(index: Index) -> U64:
    """[D] the same for the reference answers of Docs; 0 where there is none."""
    answers = [d.output or "" for d in index.docs]
    return output_keys(batch_of(answers + answers), len(answers))


def numbers_agree(ours: str, theirs: str) -> bool:
    """Whether at least 0.75 of the numbers of our text are in theirs; True where we have fewer than two."""
    mine, others = numbers(ours), numbers(theirs)
    if len(mine) < 2:
        return True
    left = list(others)
    hits = 0
    for number in mine:
        if number in left:
            left.remove(number)
            hits += 1
    return hits >= LEAST_NUMBERS * len(mine)
