"""Published rules, as exact as they can be: any n-gram, share of n-grams, ideal Jaccard, character TF-IDF."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from scipy.sparse import csc_array, csr_array

_WORD = re.compile(r"\w+")
Gram = tuple[str, ...]
Rule = Callable[[Sequence[str], Sequence[str]], set[int]]
"""(example inputs, row inputs) -> positions of the flagged examples."""


def any_13_gram(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """GPT-3, lm-evaluation-harness: one shared word 13-gram."""
    ids, held = _held(examples, rows, 13)
    anywhere = np.diff(held.indptr) > 0
    return {i for i, found in enumerate(ids) if anywhere[np.array(found, np.int64)].any()}


def share_of_8_grams(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """Tulu 3: 8-grams of one row cover more than half of the example's tokens."""
    ids, held = _held(examples, rows, 8)
    flagged = set()
    for i, found in enumerate(ids):
        if not found:
            continue
        starts = held[:, found].toarray() > 0  # [rows that hold any gram, positions]
        starts = starts[starts.any(axis=1)]
        covered = np.zeros((len(starts), len(found) + 7), bool)
        for k in range(8):
            covered[:, k : k + len(found)] |= starts
        if (covered.mean(axis=1) > 0.5).any():
            flagged.add(i)
    return flagged


def jaccard_of_5_grams(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """What MinHash estimates: Jaccard similarity of the sets of word 5-grams, at least 0.7."""
    ids, held = _held(examples, rows, 5)
    sizes = np.array([len(set(_grams(_words(r), 5))) for r in rows])
    flagged = set()
    for i, found in enumerate(ids):
        own = sorted(set(found))
        shared = np.asarray(held[:, own].sum(axis=1)).ravel() if own else np.zeros(len(rows))
        if ((shared > 0) & (shared >= 0.7 * (len(own) + sizes - shared))).any():
            flagged.add(i)
    return flagged


def char_tf_idf(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """Cosine of character 4-gram TF-IDF with one row, at least 0.8."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(4, 4))
    known = vectorizer.fit_transform(rows)
    asked = vectorizer.transform(examples).T.tocsc()
    flagged: set[int] = set()
    for start in range(0, len(rows), 500):
        best = (known[start : start + 500] @ asked).max(axis=0).toarray().ravel()
        flagged |= {int(i) for i in (best >= 0.8).nonzero()[0]}
    return flagged


RULES: dict[str, Rule] = {
    "13-gram": any_13_gram,
    "8-gram > 0.5": share_of_8_grams,
    "Jaccard ≥ 0.7": jaccard_of_5_grams,
    "char TF-IDF ≥ 0.8": char_tf_idf,
}


def _held(examples: Sequence[str], rows: Sequence[str], n: int) -> tuple[list[list[int]], csc_array]:
    """(for each example the ids of its n-grams by position, [rows, ids] 1 where a row holds an n-gram)."""
    known: dict[Gram, int] = {}
    ids = [[known.setdefault(g, len(known)) for g in _grams(_words(e), n)] for e in examples]
    held = [sorted({known[g] for g in _grams(_words(row), n) if g in known}) for row in rows]
    starts = np.cumsum([0, *map(len, held)])
    columns = np.fromiter((c for found in held for c in found), np.int64, starts[-1])
    return ids, csr_array((np.ones(len(columns), np.int32), columns, starts), (len(rows), max(len(known), 1))).tocsc()


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], n: int) -> list[Gram]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))
