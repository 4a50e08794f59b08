"""Published rules, as exact as they can be: any n-gram, share of n-grams, ideal Jaccard, character TF-IDF."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

_WORD = re.compile(r"\w+")
Gram = tuple[str, ...]
Rule = Callable[[Sequence[str], Sequence[str]], set[int]]
"""(example inputs, row inputs) -> positions of the flagged examples."""


def any_13_gram(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """GPT-3, lm-evaluation-harness: one shared word 13-gram."""
    return {i for i, _, _ in _matches(examples, rows, 13)}


def share_of_8_grams(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """Tulu 3: 8-grams of one row cover more than half of the example's tokens."""
    lengths = [len(_words(e)) for e in examples]
    flagged = set()
    for i, _, positions in _matches(examples, rows, 8):
        covered = {p + k for p in positions for k in range(8)}
        if len(covered) > 0.5 * lengths[i]:
            flagged.add(i)
    return flagged


def jaccard_of_5_grams(examples: Sequence[str], rows: Sequence[str]) -> set[int]:
    """What MinHash estimates: Jaccard similarity of the sets of word 5-grams, at least 0.7."""
    sizes = [len(set(_grams(_words(e), 5))) for e in examples]
    flagged = set()
    for i, row_size, positions in _matches(examples, rows, 5):
        if 10 * len(positions) < 7 * max(sizes[i], row_size):  # an upper bound that needs no set
            continue
        words = _words(examples[i])
        shared = len({tuple(words[p : p + 5]) for p in positions})
        if shared >= 0.7 * (sizes[i] + row_size - shared):
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


def _matches(examples: Sequence[str], rows: Sequence[str], n: int) -> Iterator[tuple[int, int, list[int]]]:
    """For each pair with a common n-gram: (example, distinct n-grams of the row, positions in the example of those)."""
    index: dict[Gram, list[tuple[int, int]]] = defaultdict(list)
    for i, example in enumerate(examples):
        for p, gram in enumerate(_grams(_words(example), n)):
            index[gram].append((i, p))
    for row in rows:
        found: dict[int, list[int]] = defaultdict(list)
        grams = set(_grams(_words(row), n))
        for gram in grams:
            for i, p in index.get(gram, ()):
                found[i].append(p)
        for i, positions in found.items():
            yield i, len(grams), positions


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _grams(words: list[str], n: int) -> list[Gram]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))
