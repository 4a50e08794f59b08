"""Classifies a candidate: align it with the Doc, and say what the alignment means.

The rules, first that applies (`own` tokens are those that are not boilerplate):
 1. less than 60 % of the own tokens found: `context` (20 own tokens in one run), `partial` (13), or nothing
 2. slots of a template, or numbers, filled otherwise while the rest is the same: `template`
 3. more than 10 own tokens in a row missing: `context` (same passage, another question)
 4. score below the threshold for this many own tokens: `partial`
 5. fewer than 8 own tokens: `short`
 6. fewer than 16 own tokens and one content word is replaced by another: `short`
 7. the answer is known and another, and the Doc is not contained as a whole: `sibling`; else `near`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.text import located_tokens

Class = Literal["exact", "near", "rephrased", "template", "sibling", "context", "short", "partial"]
Label = Literal["verbatim", "contained", "reordered", ""]
Bools = NDArray[np.bool_]

LEAST_IDENTITY = 0.60
LEAST_SLOTS = 0.90
LEAST_NUMBERS = 0.60
LONGEST_GAP = 10
CONTEXT_RUN, PARTIAL_RUN = 20, 13
SHORT = 8
_ONE_WORD = 16  # in a shorter text, another content word makes another text
_BESIDE = 3
_SCORES = ((SHORT, 24, 28), (0.85, 0.30, 0.20))  # own tokens, least score of a near copy
_SLOT_MARGIN, _NUMBER_MARGIN = 0.1, 0.25
_CLEAN_REST, _ALPHA = 0.95, 0.05  # where the rest is edited as well, few slots prove little
_MATES = 3
_ANCHOR_SHARE = 0.75
_SLOT_SHARE = 0.4
_SLOT_RUN = 6  # a longer stretch that differs between mates is free text, not the slot of a template


@dataclass(frozen=True, slots=True)
class Reference:
    """A Doc as the rules see it."""

    text: str
    tokens: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    """Character offsets of the tokens in `text`."""
    own: Bools
    """[L] tokens that are not boilerplate."""
    slots: Bools
    """[L] tokens that other fills of the same template replace."""
    rare: Bools
    """[L] tokens that carry content, by their rarity."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """What of a Doc is found in a stretch, and where."""

    found: Bools
    """[L]"""
    blocks: tuple[tuple[int, int, int], ...]
    """(first token in the Doc, first token in the stretch, tokens) of each run that both hold in the same order."""
    spans: tuple[tuple[int, int], ...]
    """Character offsets of the stretch's tokens, within the stretch."""
    rare: Bools
    """[tokens of the stretch] those that carry content."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The class of one candidate, with what decided."""

    class_: Class | None
    """None: nothing worth listing."""
    identity: float
    """Share of the Doc's own tokens found (of all tokens where fewer than 8 are own)."""
    label: Label
    reason: str


def reference(text: str, own: Bools, mates: Sequence[str], rare: Bools) -> Reference:
    """Prepare a Doc. `mates`: texts with its skeleton."""
    words, spans = located_tokens(text)
    return Reference(text, tuple(words), tuple(spans), own, _slots(words, mates), rare)


def align(ours: Reference, stretch: str, rare: Bools) -> Alignment:
    """Longest common subsequence of tokens, and 3-grams found in any order."""
    words, spans = located_tokens(stretch)
    blocks = _blocks(ours.tokens, words)
    found = np.zeros(len(ours.tokens), np.bool_)
    for a, _, size in blocks:
        found[a : a + size] = True
    theirs = set(zip(words, words[1:], words[2:], strict=False))
    for i, gram in enumerate(zip(ours.tokens, ours.tokens[1:], ours.tokens[2:], strict=False)):
        if gram in theirs:
            found[i : i + 3] = True
    return Alignment(found, tuple(blocks), tuple(spans), rare)


def judge(ours: Reference, alignment: Alignment, score: float, same_answer: bool | None) -> Judgement:
    """Apply the rules."""
    n_own = int(ours.own.sum())
    counted = ours.own if n_own >= SHORT else np.ones(len(ours.tokens), np.bool_)
    identity = round(float(alignment.found[counted].mean()), 4) if counted.any() else 0.0
    label = _label(ours, alignment)
    class_, reason = _decide(ours, alignment, score, identity, same_answer)
    return Judgement(class_, identity, label, reason)


def least_score(n_own: int) -> float:
    """Score that a near copy must reach: what edits leave of the 3-grams, (1 - p)**3, is chance in a short text."""
    return float(np.interp(n_own, *_SCORES))


def _decide(
    ours: Reference, alignment: Alignment, score: float, identity: float, same_answer: bool | None
) -> tuple[Class | None, str]:
    n_own = int(ours.own.sum())
    found = alignment.found
    if identity < LEAST_IDENTITY:
        run = _longest_own_run(ours, alignment)
        if run >= PARTIAL_RUN:
            return ("context" if run >= CONTEXT_RUN else "partial"), f"only {identity:.0%} found, {run} tokens in a row"
        return None, ""
    if reason := _filled_otherwise(ours, found):
        return "template", reason
    gap = _longest_gap(found[ours.own])
    if gap > LONGEST_GAP:
        return "context", f"{gap} of its tokens in a row are missing"
    least = least_score(n_own)
    if score < least:
        return "partial", f"score {score:.2f} is below {least:.2f}, the threshold for {n_own} own tokens"
    if n_own < SHORT:
        return "short", f"only {n_own} tokens are its own: too few to tell a copy from chance"
    if n_own < _ONE_WORD and _content_replaced(ours, alignment):
        return "short", f"a word that carries content is another, and only {n_own} tokens are its own"
    if same_answer is False and _label(ours, alignment) != "contained":
        return "sibling", f"{identity:.0%} of its tokens are found, but the answer is another"
    return "near", f"{identity:.0%} of its {n_own} own tokens are found, score {score:.2f} (threshold {least:.2f})"


def _content_replaced(ours: Reference, alignment: Alignment) -> bool:
    """Whether somewhere between two matched runs both texts have a content word of their own."""
    n, m = len(ours.tokens), len(alignment.spans)
    edges = [(0, 0, 0), *alignment.blocks, (n, m, 0)]
    for k, ((a, b, size), (next_a, next_b, _)) in enumerate(pairwise(edges)):
        low, high = b + size, next_b
        if k == 0:  # whatever else stands before or after the copy in a long row is no replacement
            low = max(low, high - (next_a - a) - _BESIDE)
        elif k == len(edges) - 2:
            high = min(high, low + (next_a - a - size) + _BESIDE)
        gap = slice(a + size, next_a)
        missing = ours.rare[gap] & ~alignment.found[gap]
        if missing.any() and alignment.rare[low:high].any():
            return True
    return False


def _filled_otherwise(ours: Reference, found: Bools) -> str:
    """Why this is another fill of the same template. Empty if it is not.

    Edits hit all tokens alike; another fill changes slots (or numbers) and leaves the rest. So what agrees less than
    the bound is only taken for a fill if it also agrees clearly less than the other tokens do.
    """
    digits = np.array([t[0].isdecimal() for t in ours.tokens], np.bool_)
    for name, mask, least, margin in (
        ("slots of the template", ours.slots, LEAST_SLOTS, _SLOT_MARGIN),
        ("numbers", digits & ours.own, LEAST_NUMBERS, _NUMBER_MARGIN),
    ):
        n = int(mask.sum())
        if n < 2 or found[mask].mean() >= least:
            continue
        rest = found[~mask].mean() if n < len(found) else 1.0
        if found[mask].mean() < rest - margin and (
            rest >= _CLEAN_REST or _chance(int(found[mask].sum()), n, float(rest)) < _ALPHA
        ):
            return f"{int(found[mask].sum())} of {n} {name} agree, of the other tokens {rest:.0%}"
    return ""


def _chance(hits: int, n: int, p: float) -> float:
    """P(at most `hits` of n) where each is hit with probability p."""
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(hits + 1))


def _label(ours: Reference, alignment: Alignment) -> Label:
    size = len(ours.tokens)
    if any(block[2] == size for block in alignment.blocks):
        return "contained"
    in_order = sum(block[2] for block in alignment.blocks)
    return "reordered" if alignment.found.sum() >= in_order + max(6, 0.15 * size) else ""


def _blocks(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int, int]]:
    from rapidfuzz.distance import LCSseq

    return [
        (op.src_start, op.dest_start, op.src_end - op.src_start)
        for op in LCSseq.opcodes(ours, theirs)
        if op.tag == "equal"
    ]


def _slots(words: Sequence[str], mates: Sequence[str]) -> Bools:
    """Positions that at least 40 % of the mates fill otherwise, in short runs between words that most of them keep."""
    from rapidfuzz.distance import Levenshtein

    if len(mates) < _MATES:
        return np.zeros(len(words), np.bool_)
    replaced, kept = np.zeros(len(words) + 2), np.zeros(len(words) + 2)
    kept[0] = kept[-1] = len(mates)  # the ends of the text hold a slot as well as a word does
    for mate in mates:
        for op in Levenshtein.opcodes(words, located_tokens(mate)[0]):
            counts = {"replace": replaced, "equal": kept}.get(op.tag)
            if counts is not None:
                counts[op.src_start + 1 : op.src_end + 1] += 1
    slots = replaced[1:-1] >= _SLOT_SHARE * len(mates)
    anchors = kept >= _ANCHOR_SHARE * len(mates)
    for start, stop in _runs(slots):
        if stop - start > _SLOT_RUN or not (anchors[start] and anchors[stop + 1]):
            slots[start:stop] = False
    return slots


def _runs(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _longest_gap(found: Bools) -> int:
    return max((stop - start for start, stop in _runs(~found)), default=0)


def _longest_own_run(ours: Reference, alignment: Alignment) -> int:
    return max((int(ours.own[a : a + size].sum()) for a, _, size in alignment.blocks), default=0)
