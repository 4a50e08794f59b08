"""Counts how common each 3-gram of the eval set is, in other examples and in a sample of the training rows.

The sample is chosen by the content of the rows, never by their position, and what is counted are distinct texts: so
the counts do not depend on the order of the rows, and a leak copied k times counts once, like any other text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.excerpt import cut
from pytest_ftgate.rows.overlap.hashing import I64, Batch, batch_of, combined, mixed, window_digest
from pytest_ftgate.rows.overlap.index import Index, Pairs, View
from pytest_ftgate.rows.overlap.postings import F64
from pytest_ftgate.rows.overlap.stream import Chunk, Rows

SAMPLE_ROWS = 100_000
FAMILY = 12
_FAMILY_SHARE = 0.4  # of a Doc's grams: enough for a stretch of text to be a mate: a copy, or another fill
_SLOT_RATE, _SLOT_GRAMS = 0.25, 0.05  # a Doc has slots if more than 5 % of its grams are in under 25 % of its mates
_FAMILY_DOCS = 400  # examples that are looked at as mates of other examples
_MATE_TOKENS = 1  # this many times the Doc's length are kept beside the shared stretch of a mate
STEM_BITS = 20


@dataclass(slots=True)
class Frequencies:
    """Counts over the eval set and the training sample."""

    train_df: I64
    """[G] distinct training texts of the sample that hold the gram."""
    mates: I64
    """[D] distinct stretches of the sample that hold at least 40 % of the Doc's grams."""
    mate_df: I64
    """[E] how many of those hold the gram of an entry."""
    scale: int
    """Training rows for each row of the sample (a power of two)."""
    sampled: int = 0
    """Distinct rows counted."""
    stem_df: I64 = field(default_factory=lambda: np.zeros(1 << STEM_BITS, np.int64))
    """[2**STEM_BITS] distinct sampled inputs that hold a stem, by the stem's bucket."""
    families: dict[int, dict[int, str]] = field(default_factory=dict)
    """For each Doc, at most FAMILY texts that share its skeleton, by priority (a hash: an unbiased choice)."""


def priorities(keys: I64) -> I64:
    """Row checksums scrambled below 2**32: rows are sampled by the smallest."""
    return (keys * 2654435761) & 0xFFFFFFFF


def sample_scale(n_rows: int) -> int:
    """Smallest power of two that keeps the sample within SAMPLE_ROWS."""
    scale = 1
    while n_rows > SAMPLE_ROWS * scale:
        scale *= 2
    return scale


def eval_hot(index: Index) -> NDArray[np.bool_]:
    """[E] entries whose gram is in at least 1 % (and 5) of the examples, or of the pseudo-examples for a pseudo Doc."""
    of_pseudo = index.pseudo[index.entry_doc]
    df = np.where(of_pseudo, index.pseudo_df[index.entry_gram], index.real_df[index.entry_gram])
    n = np.where(of_pseudo, index.pseudo.sum(), (~index.pseudo).sum())
    hot: NDArray[np.bool_] = df >= np.maximum(5, 0.01 * n)
    return hot


def count(index: Index, chunks: Iterable[Chunk], scale: int) -> Frequencies:
    """Read the sample and count."""
    counter = _Counter(index, scale)
    counter.add_examples()
    limit = (1 << 32) // scale
    for chunk in chunks:
        chosen = np.flatnonzero(priorities(chunk.keys()) < limit)
        if len(chosen):
            counter.add(chunk.rows([int(i) for i in chosen]))
    return counter.result


class _Counter:
    def __init__(self, index: Index, scale: int) -> None:
        self._index = index
        self._all = View(index, np.ones(len(index.entry_gram)))
        self._cool = View(index, (~eval_hot(index)).astype(np.float64))
        self._n_grams = max(len(index.grams), 1)
        self._rows: set[int] = set()
        self._windows: set[int] = set()
        self._mates = _Mates(index)
        grams, mates, entries = (
            np.zeros(n, np.int64) for n in (len(index.grams), len(index.docs), len(index.entry_gram))
        )
        self.result = Frequencies(grams, mates, entries, scale, families=self._mates.texts)

    def add_examples(self) -> None:
        """Let examples be mates of one another: a template shows in the eval set itself."""
        order = np.argsort(mixed(self._index.batch.digests), kind="stable")[:_FAMILY_DOCS]
        texts = [self._index.docs[i].text for i in order]
        batch = batch_of(texts)
        self._mates.add(self._all.pairs(batch, _FAMILY_SHARE), batch, texts)

    def add(self, rows: Rows) -> None:
        n = len(rows.inputs)
        both = batch_of(rows.inputs + rows.outputs)
        new = self._new_rows(combined(both.digests[:n], both.digests[n:]))
        if not len(new):
            return
        self.result.sampled += len(new)
        texts = [rows.inputs[i] for i in new] + [rows.outputs[i] for i in new]
        batch = both if len(new) == n else batch_of(texts)
        self._count_stems(batch, len(new))
        pairs = self._cool.pairs(batch, _FAMILY_SHARE)
        self._mates.add(pairs, batch, texts)
        self._count_grams(batch, pairs, len(new))

    def _new_rows(self, digests: NDArray[np.uint64]) -> I64:
        new = []
        for i, digest in enumerate(digests.tolist()):
            if digest not in self._rows:
                self._rows.add(digest)
                new.append(i)
        return np.array(new, np.int64)

    def _count_stems(self, batch: Batch, n_inputs: int) -> None:
        bucket = distinct_stems(batch, n_inputs)[1]
        self.result.stem_df += np.bincount(bucket, minlength=1 << STEM_BITS)

    def _count_grams(self, batch: Batch, mates: Pairs, n_rows: int) -> None:
        """Count each gram once for each distinct text: the stretch of a row that is a Doc's mate, and the rest."""
        position, at = self._all.hits(batch)
        gram = self._all.gram_ids(at)
        n = len(batch.digests)
        start, stop = np.full(n, len(batch.tokens)), np.zeros(n, np.int64)
        np.minimum.at(start, mates.segment, mates.low)
        np.maximum.at(stop, mates.segment, mates.high)
        repeated = np.zeros(n, np.bool_)
        for s in np.unique(mates.segment):
            digest = window_digest(batch.tokens[start[s] : stop[s]])
            repeated[s] = digest in self._windows
            self._windows.add(digest)
        new = ~repeated[mates.segment]
        self.result.mates += np.bincount(mates.doc[new], minlength=len(self.result.mates))
        self.result.mate_df += np.bincount(mates.entry[new[mates.pair]], minlength=len(self.result.mate_df))
        # Stretch and rest are texts of their own: whichever row comes first, the sum is the same.
        segment = batch.segment[position]
        inside = (position >= start[segment]) & (position + 3 <= stop[segment])
        unit = np.where(inside, n_rows + segment, segment % n_rows)
        kept = ~(inside & repeated[segment])
        distinct = np.unique(unit[kept] * self._n_grams + gram[kept]) % self._n_grams
        self.result.train_df += np.bincount(distinct, minlength=len(self.result.train_df))


class _Mates:
    """For each Doc a few texts with its skeleton, chosen by hash among all that were offered."""

    def __init__(self, index: Index) -> None:
        self.texts: dict[int, dict[int, str]] = {}
        self._index = index
        self._worst = np.full(len(index.docs), 2**63 - 1, np.int64)

    def add(self, pairs: Pairs, batch: Batch, texts: list[str]) -> None:
        own, theirs = self._index.batch.digests[pairs.doc], batch.digests[pairs.segment]
        priority = (combined(own, theirs) >> np.uint64(1)).astype(np.int64)
        wanted = np.flatnonzero((own != theirs) & (priority < self._worst[pairs.doc]))
        for i in wanted.tolist():
            doc, key = int(pairs.doc[i]), int(priority[i])
            kept = self.texts.setdefault(doc, {})
            if key in kept or key >= self._worst[doc]:
                continue
            segment = int(pairs.segment[i])
            spare = _MATE_TOKENS * int(self._index.lengths[doc])
            low = max(int(pairs.low[i]) - spare, int(batch.first[segment]))
            high = min(int(pairs.high[i]) + spare, int(batch.first[segment + 1]))
            kept[key] = cut(texts[segment], batch, low, min(high, low + 3 * spare))[1]
            if len(kept) > FAMILY:
                del kept[max(kept)]
            if len(kept) == FAMILY:
                self._worst[doc] = max(kept)


def distinct_stems(batch: Batch, n_segments: int) -> tuple[I64, I64]:
    """(segment, bucket) of each distinct stem of the first segments, sorted."""
    end = int(batch.first[n_segments])
    buckets = (batch.stems[:end] >> np.uint64(64 - STEM_BITS)).astype(np.int64)
    keys = np.sort((batch.segment[:end] << STEM_BITS) | buckets)
    keys = keys[np.append(True, keys[1:] != keys[:-1])[: len(keys)]]
    return keys >> STEM_BITS, keys & ((1 << STEM_BITS) - 1)


def rare_words(found: Frequencies, texts: Sequence[str]) -> list[NDArray[np.bool_]]:
    """For each text, [T] tokens whose stem is in less than 1 % of the sampled inputs: words that carry content."""
    batch = batch_of(texts)
    buckets = (batch.stems >> np.uint64(64 - STEM_BITS)).astype(np.int64)
    rare = found.stem_df[buckets] <= max(1.0, 0.01 * found.sampled)
    return np.split(rare, batch.first[1:-1])


def weights(index: Index, found: Frequencies) -> F64:
    """[E] weight of each entry: 1 / (1 + other texts that hold the gram); 0 where the gram is boilerplate.

    "Other": an example does not count itself, and one training text (or more, if they are copies of the Doc) may be
    its own copy. A pseudo-example is a training row, so that one more text is its own.
    """
    of_pseudo = index.pseudo[index.entry_doc]
    gram = index.entry_gram
    own = np.where(of_pseudo, index.pseudo_df[gram], index.real_df[gram])
    copies = np.where(_is_copied(index, found)[index.entry_doc], np.maximum(found.mate_df - 1, 0), 0)
    train = found.train_df[gram] - copies
    others = np.maximum(own - 1, 0) + np.maximum(train - np.where(of_pseudo, 2, 1), 0) * found.scale
    hot = eval_hot(index) | (train >= np.maximum(20, 0.005 * found.sampled))
    return np.where(hot, 0.0, 1.0 / (1.0 + others))


def _is_copied(index: Index, found: Frequencies) -> NDArray[np.bool_]:
    """[D] Docs whose mates are copies, edited in many ways, and no fills of a template.

    Edits hit all grams alike; a template leaves its words and changes its slots, so some grams are in hardly any mate.
    Copies do not count as other texts, or a Doc that leaked often enough would make its own words common.
    """
    cool = ~eval_hot(index)
    mates = found.mates[index.entry_doc]
    n = np.bincount(index.entry_doc[cool], minlength=len(found.mates))
    in_slot = cool & (found.mate_df < _SLOT_RATE * mates)
    slots = np.bincount(index.entry_doc[in_slot], minlength=len(found.mates))
    copied: NDArray[np.bool_] = (found.mates > 1) & (slots <= _SLOT_GRAMS * n)
    return copied
