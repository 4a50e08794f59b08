"""Which examples of one eval set ask the same thing: copies are one observation, however they are spelled.

Three notions, each symmetric, joined by union; the result owes nothing to the order of the examples:

engine    exact and near copies, as the overlap engine finds them between training rows and examples
spelling  equal once case, spaces, sentence marks, invisible characters and look-alike letters are left out
addition  the same answer, and the words of one question inside the other with at most ADDED more around them

Examples that share a template or a passage are no copies: what differs between them is what is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from pytest_ftgate.rows.overlap import Item, find_overlaps
from pytest_ftgate.rows.overlap.text import tokens

ADDED = 3
"""Words around a question that do not make it another one: `Please:`, `Thanks!`, `Ref 17.`"""
LEAST_WORDS = 3
"""A shorter question may stand in another by chance."""
_LOOK_ALIKE = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u03bf\u03b1\u03bd\u03c1\u0261\u0131",
    "aeopcyxijsdqwhoavpgi",
)
_OPERATOR = r"[-+*/^=<>%&|~\u00b1\u00d7\u00f7\u2212]+"
_SIGNS = re.compile(rf"(?<=\w)(?:\+\+?|#)(?!\w)|%|(?<![^\W\d_]{{2}})\s*({_OPERATOR})\s*(?=\d|[^\W\d_](?![^\W_]))")
"""C# and C++, 5 %, and what stands beside a number or a single letter: 2 + 2 is not 2 - 2."""
_MIXED = re.compile(r"[^\W\d_]+")
_MARK = re.compile(r"(?<!\d)[.,:;!?\u2026'\"\u2018-\u201f`]+|[.,:;!?\u2026'\"\u2018-\u201f`]+(?!\d)")


def groups_of_copies(questions: Sequence[str], answers: Sequence[str]) -> tuple[int, ...]:
    """For each question the place of the first one that it is a copy of; its own where it is none.

    `answers`: the reference of each, as text. Empty where there is none. Raises ValueError where the lengths differ.
    """
    if len(questions) != len(answers):
        raise ValueError(f"expected as many answers as questions, found {len(answers)} and {len(questions)}")
    return _groups(tuple(questions), tuple(answers))


@lru_cache(maxsize=128)
def _groups(questions: tuple[str, ...], answers: tuple[str, ...]) -> tuple[int, ...]:
    # Gates, pre-flight and report all ask, with the same examples; 3,000 of them take seconds.
    first = list(range(len(questions)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    plain = [readable(text) for text in questions]
    words, signs = [tuple(tokens(text)) for text in plain], [_signs(text) for text in plain]

    def other(i: int, j: int) -> bool:
        """Whether signs tell apart what words do not."""
        if words[i] == words[j]:
            return signs[i] != signs[j]
        return signs[i] not in signs[j] and signs[j] not in signs[i]

    for a, b in (*_same_spelling(plain), *_with_additions(words, answers), *_by_engine(plain, answers)):
        if not other(a, b):
            low, high = sorted((root(a), root(b)))
            first[high] = low
    return tuple(root(i) for i in range(len(first)))


def readable(text: str) -> str:
    """As people see it: compatibility forms and invisible characters gone, look-alike letters in mixed words Latin."""
    shown = "".join(
        c
        for c in unicodedata.normalize("NFKC", text)
        if unicodedata.category(c) not in ("Cf", "Cc", "Mn") or c.isspace()
    )
    return _MIXED.sub(lambda word: _latin(word.group()), shown.casefold())


def _latin(word: str) -> str:
    return word.translate(_LOOK_ALIKE) if any("a" <= c <= "z" for c in word) else word


def _same_spelling(plain: Sequence[str]) -> Iterator[tuple[int, int]]:
    seen: dict[str, int] = {}
    for i, text in enumerate(plain):
        key = "".join(_MARK.sub("", text).split()) or text
        yield seen.setdefault(key, i), i


def _signs(text: str) -> str:
    return "".join("".join(found.group().split()) for found in _SIGNS.finditer(text))


def _with_additions(words: Sequence[tuple[str, ...]], answers: Sequence[str]) -> Iterator[tuple[int, int]]:
    places = {(answer, found): i for i, (answer, found) in enumerate(zip(answers, words, strict=True))}
    for i, (answer, found) in enumerate(zip(answers, words, strict=True)):
        for before, behind in _cuts(len(found)):
            inner = places.get((answer, found[before : len(found) - behind]))
            if inner is not None and answer:
                yield inner, i


def _cuts(n: int) -> Iterable[tuple[int, int]]:
    most = min(ADDED, n - LEAST_WORDS)
    return [(a, b) for a in range(most + 1) for b in range(most + 1 - a) if a + b]


def _by_engine(plain: Sequence[str], answers: Sequence[str]) -> Iterator[tuple[int, int]]:
    items = [Item(str(i), text, answer or None) for i, (text, answer) in enumerate(zip(plain, answers, strict=True))]
    found = find_overlaps(items, ()).eval_duplicates
    for group in found.exact:
        yield from ((int(group[0]), int(other)) for other in group[1:])
    yield from ((int(a), int(b)) for a, b in found.near if _alike_apart(plain[int(a)], plain[int(b)]))


def _alike_apart(one: str, other: str) -> bool:
    """Whether texts with lines in common are alike in the others too: a passage does not make questions on it one."""
    mine, theirs = ([line.strip() for line in text.splitlines()] for text in (one, other))
    if not set(mine) & set(theirs):
        return True
    left, right = (
        {w for line in a if line not in b for w in tokens(line)} for a, b in ((mine, theirs), (theirs, mine))
    )
    return len(left & right) >= 0.5 * len(left | right)
