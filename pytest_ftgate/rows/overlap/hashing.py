"""Tokens, 3-grams and stems of many texts at once, as 64-bit hashes in numpy arrays.

A token's hash is a polynomial over its characters, read from one running sum over the whole batch (so the cost is a
few array operations per character, not a Python call per token), then mixed. Hashes only propose: whatever is
reported has been compared again as text. The constants are fixed, so results repeat on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.text import SINGLE, WORD, char_class, normalise

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

N = 3  # 3-grams: at 30 % edited tokens a third of them survive, at order 8 a seventeenth

_BASE = 0x9E3779B97F4A7C15
_MIX1, _MIX2 = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xFF51AFD7ED558CCD)
_GRAM = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9))
_H32, _H29 = np.uint64(32), np.uint64(29)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts as hashed tokens. T tokens in S texts ("segments")."""

    tokens: U64
    """[T] hash of each token."""
    stems: U64
    """[T] hash of the first five characters of each token."""
    numeric: NDArray[np.bool_]
    """[T] whether the token starts with a digit."""
    starts: I64
    """[T] offset of each token in its normalised text."""
    ends: I64
    """[T]"""
    first: I64
    """[S + 1] index of each segment's first token."""
    segment: I64
    """[T] segment of each token."""
    digests: U64
    """[S] hash of the whole token sequence (of the stripped text where it has no token; 0 where it is blank)."""


class _Powers:
    """Powers of an odd base modulo 2**64 and their inverses, grown on demand."""

    def __init__(self, base: int) -> None:
        self._base, self._inverse = base, pow(base, -1, 2**64)
        self.up = self.down = np.ones(1, np.uint64)

    def reach(self, n: int) -> None:
        if len(self.up) < n:
            size = 1 << n.bit_length()
            self.up, self.down = _powers(self._base, size), _powers(self._inverse, size)


def _powers(base: int, n: int) -> U64:
    factors = np.full(n, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


_powers_of_base = _Powers(_BASE)
_UNKNOWN = 255
_classes = np.full(0x110000, _UNKNOWN, np.uint8)
_classes[:128] = [char_class(chr(c)) for c in range(128)]


def batch_of(texts: Sequence[str]) -> Batch:
    """Tokenise and hash texts. Agrees with `text.tokens`."""
    codes, offsets = _codes(texts)
    starts, ends = _token_bounds(codes)
    powers = _powers_of_base
    powers.reach(len(codes) + 1)
    sums = _running_sum(codes * powers.up[: len(codes)])
    back, base = powers.down[starts], sums[starts]
    hashes = _mixed((sums[ends] - base) * back)
    stems = _mixed((sums[np.minimum(ends, starts + 5)] - base) * back)
    numeric = codes[starts] - np.uint64(48) < 10 if len(starts) else np.zeros(0, np.bool_)
    first = np.searchsorted(starts, offsets)
    segment = np.repeat(np.arange(len(texts)), np.diff(first))
    inner = offsets[segment]
    digests = _digests(hashes, first, texts)
    return Batch(hashes, stems, numeric, starts - inner, ends - inner, first, segment, digests)


def grams(batch: Batch) -> tuple[U64, NDArray[np.bool_]]:
    """(hash of the 3-gram that starts at each token, whether it lies within one segment), both [max(T - 2, 0)]."""
    t, s = batch.tokens, batch.segment
    if len(t) < N:
        return np.zeros(0, np.uint64), np.zeros(0, np.bool_)
    return t[:-2] * _GRAM[0] + t[1:-1] * _GRAM[1] + t[2:] * _GRAM[2], s[:-2] == s[2:]


def mixed(values: U64) -> U64:
    """The values scrambled: equal stays equal, order and pattern are gone."""
    return _mixed(values.copy())


def combined(first: U64, second: U64) -> U64:
    """One hash of two, order kept."""
    return _mixed(first * _GRAM[0] + second * _GRAM[1])


def window_digest(tokens: U64) -> int:
    """Hash of a stretch of tokens, below 2**63."""
    return int.from_bytes(hashlib.blake2b(tokens.tobytes(), digest_size=8).digest(), "little") >> 1


def _codes(texts: Sequence[str]) -> tuple[U64, I64]:
    """(characters of all texts, a separator after each, as uint64; [S + 1] offset of each text)."""
    joined = "\n".join(texts) + "\n"
    if joined.isascii():
        lengths = [len(t) for t in texts]
        codes = np.frombuffer(joined.lower().encode("ascii"), np.uint8)
    else:
        normal = [normalise(t) for t in texts]
        lengths = [len(t) for t in normal]
        joined = "\n".join(normal) + "\n"
        codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(np.asarray(lengths, np.int64) + 1, out=offsets[1:])
    return codes.astype(np.uint64), offsets


def _token_bounds(codes: U64) -> tuple[I64, I64]:
    kinds = _classes[codes]
    if kinds.max(initial=0) == _UNKNOWN:
        for code in np.unique(codes[kinds == _UNKNOWN]):
            _classes[int(code)] = char_class(chr(int(code)))
        kinds = _classes[codes]
    padded = np.zeros(len(kinds) + 2, np.uint8)
    padded[1:-1] = kinds
    if not (kinds == SINGLE).any():
        edges = np.flatnonzero(padded[1:] != padded[:-1])
        return edges[::2], edges[1::2]
    here, single = padded[1:-1], padded[1:-1] == SINGLE
    starts = np.flatnonzero(single | ((here == WORD) & (padded[:-2] != WORD)))
    ends = np.flatnonzero(single | ((here == WORD) & (padded[2:] != WORD))) + 1
    return starts, ends


def _running_sum(values: U64) -> U64:
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values, out=sums[1:])
    return sums


def _mixed(h: U64) -> U64:
    h ^= h >> _H32
    h *= _MIX1
    h ^= h >> _H29
    h *= _MIX2
    h ^= h >> _H32
    return h


def _digests(hashes: U64, first: I64, texts: Sequence[str]) -> U64:
    powers = _powers_of_base
    powers.reach(len(hashes) + 1)
    sums = _running_sum(hashes * powers.up[: len(hashes)])
    lengths = np.diff(first).astype(np.uint64)
    digests = _mixed((sums[first[1:]] - sums[first[:-1]]) * powers.down[first[:-1]] + lengths)
    for i in np.flatnonzero(lengths == 0).tolist():
        digests[i] = _symbol_digest(texts[i])
    return digests


def _symbol_digest(text: str) -> int:
    """For a text without tokens ("+ = ?"): its characters, white space apart."""
    stripped = "".join(text.split())
    if not stripped:
        return 0
    raw = hashlib.blake2b(stripped.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "little") | 1
