"""Pieces of training rows that are kept: short, and located in the row as written."""

from __future__ import annotations

from pytest_ftgate.rows.overlap.hashing import Batch
from pytest_ftgate.rows.overlap.text import located_tokens

_CHARS_PER_TOKEN = 60  # a longer "token" (base64, a link) is cut: what is kept must not grow with the row


def cut(text: str, batch: Batch, low: int, high: int) -> tuple[int, str]:
    """(character offset, excerpt) of the tokens [low, high) of a Batch; `text` is the segment that they lie in."""
    segment = int(batch.segment[low])
    first, last = int(batch.first[segment]), int(batch.first[segment + 1])
    limit = _CHARS_PER_TOKEN * (high - low) + 200
    if (low, high) == (first, last) and len(text) <= limit:
        return 0, text
    if text.isascii():
        start, end = int(batch.starts[low]), int(batch.ends[high - 1])
    else:
        spans = located_tokens(text)[1]
        start, end = spans[low - first][0], spans[high - 1 - first][1]
    return start, text[start : min(end, start + limit)]


def shortened(text: str, limit: int = 2000) -> str:
    """The text, or its two ends where it is long: enough to compare answers by."""
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
