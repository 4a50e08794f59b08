"""The stretch of a long training row that holds most of a Doc."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pytest_ftgate.rows.overlap.hashing import I64, Batch
from pytest_ftgate.rows.overlap.index import Index, View


class Windows:
    """Best stretches for the Docs of a View."""

    def __init__(self, index: Index, view: View) -> None:
        self._lengths, self._view = index.lengths, view
        gram, doc, weight = view.entries()
        order = np.argsort(doc, kind="stable")
        self._gram, self._weight = gram[order], weight[order]
        self._first = np.searchsorted(doc[order], np.arange(len(index.docs) + 1))
        self._weights_of = lru_cache(maxsize=4096)(self._read_weights)

    def best(self, doc: int, width: int, segment: int, batch: Batch, hits: tuple[I64, I64]) -> tuple[float, int, int]:
        """(score, first token, one past the last) of the stretch of at most `width` tokens with most of the Doc's
        weight (the leftmost of equals), widened by a margin for the alignment."""
        position, at = hits
        edge = np.searchsorted(position, batch.first[segment : segment + 2])
        weights = self._weights_of(doc)
        held = [
            (p, g, weights[g])
            for p, g in zip(position[slice(*edge)].tolist(), at[slice(*edge)].tolist(), strict=True)
            if g in weights
        ]
        low, high = _heaviest(held, width)
        # Summed in the order of the grams, as in Postings: a stretch scores the same in every row.
        inside = {g: w for p, g, w in held if low <= p < high}
        total = self._view.postings.totals[doc]
        score = round(sum(inside[g] for g in sorted(inside)) / total, 9)
        margin = int(self._lengths[doc]) // 4 + 3
        return score, max(low - margin, int(batch.first[segment])), min(high + margin, int(batch.first[segment + 1]))

    def _read_weights(self, doc: int) -> dict[int, float]:
        part = slice(int(self._first[doc]), int(self._first[doc + 1]))
        return dict(zip(self._gram[part].tolist(), self._weight[part].tolist(), strict=True))


def _heaviest(held: list[tuple[int, int, float]], width: int) -> tuple[int, int]:
    """[first token, one past the last token) of the heaviest stretch; each gram counts once in it."""
    counts: dict[int, int] = {}
    total = best = 0.0
    span = (held[0][0], held[0][0] + 3)
    left = 0
    for position, gram, weight in held:
        counts[gram] = counts.get(gram, 0) + 1
        total += weight if counts[gram] == 1 else 0.0
        while position + 3 - held[left][0] > width:
            gone = held[left]
            counts[gone[1]] -= 1
            total -= gone[2] if counts[gone[1]] == 0 else 0.0
            left += 1
        if total > best + 1e-9:
            best, span = total, (held[left][0], position + 3)
    return span
