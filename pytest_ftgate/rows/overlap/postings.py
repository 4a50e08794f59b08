"""Postings: the Docs that hold a feature (a 3-gram, a stem), with a weight, and what each text shares with each Doc."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.hashing import I64, U64

F64 = NDArray[np.float64]

_EXPANSION = 200_000  # (feature, Doc) pairs held at once
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SLACK = 1 + 1e-9  # for the rounding of a sum in another order


@dataclass(frozen=True, slots=True)
class Shared:
    """What texts and Docs share: P pairs sorted by (segment, doc)."""

    segment: I64
    """[P]"""
    doc: I64
    """[P]"""
    weight: F64
    """[P] sum of the shared features' weights."""
    source: I64
    """[X >= P] for each shared feature, its place in the features that were asked for; grouped by pair."""
    entry: I64
    """[X] the (feature, Doc) entry of the Postings."""
    starts: I64
    """[P] where each pair begins in `source` and `entry`."""


class Postings:
    """Features 0..F-1, each with the Docs that hold it. `feature` is ascending."""

    def __init__(self, n_docs: int, feature: I64, doc: I64, weight: F64) -> None:
        self._doc, self._weight, self._n_docs = doc, weight, max(n_docs, 1)
        size = int(feature[-1]) + 1 if len(feature) else 0
        self._first = np.searchsorted(feature, np.arange(size + 1))
        self.totals: F64 = np.bincount(doc, weight, minlength=self._n_docs).astype(np.float64)
        """[D] weight of each Doc."""

    def holds(self, feature: I64) -> NDArray[np.bool_]:
        """[X] whether any Doc has the feature."""
        size = len(self._first) - 1
        inside = feature < size
        known = np.minimum(feature, max(size - 1, 0))
        return inside & (self._first[known + 1] > self._first[known]) if size else inside

    def shared(
        self,
        segment: I64,
        feature: I64,
        floor: F64,
        lift: F64 | None = None,
        agree: tuple[U64, U64] | None = None,
    ) -> Iterator[Shared]:
        """All pairs that share a weight of at least floor[doc] + lift[segment] (and some others), in parts.

        Features are distinct within a segment and ascend there, segments ascend. `agree`: keys of segments and of
        Docs; pairs whose keys are both known (not 0) and differ are left out.
        """
        for part in self._parts(feature, segment):
            found = self._shared(segment[part], feature[part], floor, lift, agree)
            found.source[:] += part.start
            yield found

    def _parts(self, feature: I64, segment: I64) -> list[slice]:
        """Cut the asked features, between segments, into parts that expand to about _EXPANSION pairs."""
        if not len(feature):
            return []
        size = np.cumsum(self._first[feature + 1] - self._first[feature])
        cuts = np.searchsorted(segment, segment[np.flatnonzero(np.diff(size // _EXPANSION)) + 1])
        edges = [0, *sorted({int(c) for c in cuts} - {0}), len(feature)]
        return [slice(a, b) for a, b in pairwise(edges)]

    def _shared(
        self, segment: I64, feature: I64, floor: F64, lift: F64 | None, agree: tuple[U64, U64] | None
    ) -> Shared:
        counts = self._first[feature + 1] - self._first[feature]
        source = np.repeat(np.arange(len(feature)), counts)
        entry = np.arange(len(source)) + np.repeat(self._first[feature] - (np.cumsum(counts) - counts), counts)
        if agree is not None:
            ours, theirs = agree[0][segment][source], agree[1][self._doc[entry]]
            fits = np.flatnonzero((ours == theirs) | (ours == 0) | (theirs == 0))
            source, entry = source[fits], entry[fits]
        doc, weight = self._doc[entry], self._weight[entry]
        cell = segment[source] * self._n_docs + doc
        # Most pairs share far too little. Sums over buckets of cells are upper bounds that need no sorting.
        bits = max(int(4 * len(cell)).bit_length(), 8)
        bucket = ((cell.astype(np.uint64) * _SPREAD) >> np.uint64(64 - bits)).astype(np.int64)
        bounds = np.bincount(bucket, weight, minlength=1 << bits) * _SLACK
        least = floor[doc] if lift is None else floor[doc] + lift[segment[source]]
        maybe = np.flatnonzero(bounds[bucket] >= least)
        order, starts = groups(cell[maybe])
        kept = maybe[order]
        # Features ascend within a pair: the sum has one order, whatever batch the text came in.
        sums = np.add.reduceat(weight[kept], starts) if len(starts) else np.zeros(0)
        first = kept[starts]
        return Shared(segment[source[first]], doc[first], sums, source[kept], entry[kept], starts)


def groups(keys: I64) -> tuple[I64, I64]:
    """(stable sorting order, start of each run of equal keys in it)."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    return order, np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
