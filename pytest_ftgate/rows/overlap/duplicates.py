"""Exact duplicates among any number of rows, counted completely in bounded memory.

Each row leaves 16 bytes (digest, place) in a temporary file; they are sorted in portions by digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.report import TrainingDuplicates
from pytest_ftgate.rows.overlap.stream import Place

_PORTION = 500_000
_LARGEST, _PLACES = 10, 5
_ROW_BITS = 40


class Spill:
    """Writes digests and places of rows."""

    def __init__(self, stream: BinaryIO, files: Sequence[str]) -> None:
        self._stream, self._ids = stream, {name: i for i, name in enumerate(files)}

    def add(self, digests: NDArray[np.uint64], places: Sequence[Place]) -> None:
        """Append rows."""
        codes = np.array([(self._ids[name] << _ROW_BITS) | row for name, row in places], np.uint64)
        self._stream.write(np.stack([digests, codes], axis=1).tobytes())


def training_duplicates(spills: Iterable[Path], files: Sequence[str]) -> TrainingDuplicates:
    """Read the spilled rows back and group them. `files`: the names that the Spills were made with."""
    paths = list(spills)
    n = sum(p.stat().st_size for p in paths) // 16
    groups = extra = 0
    largest: list[tuple[int, tuple[Place, ...]]] = []
    portions = max(1, -(-n // _PORTION))
    for portion in range(portions):
        records = _portion(paths, portion, portions)
        order = np.lexsort((records[:, 1], records[:, 0]))
        digests, codes = records[order, 0], records[order, 1]
        starts = np.flatnonzero(np.append(True, digests[1:] != digests[:-1])[: len(digests)])
        sizes = np.diff(np.append(starts, len(digests)))
        repeated = sizes > 1
        groups += int(repeated.sum())
        extra += int((sizes[repeated] - 1).sum())
        for i in np.argsort(-sizes, kind="stable")[: min(_LARGEST, int(repeated.sum()))]:
            some = codes[starts[i] : starts[i] + min(int(sizes[i]), _PLACES)].tolist()
            largest.append((int(sizes[i]), tuple((files[c >> _ROW_BITS], c & (1 << _ROW_BITS) - 1) for c in some)))
        largest = sorted(largest, key=lambda g: (-g[0], g[1]))[:_LARGEST]
    return TrainingDuplicates(groups, extra, tuple(largest))


def _portion(paths: Sequence[Path], portion: int, portions: int) -> NDArray[np.uint64]:
    found = [np.zeros((0, 2), np.uint64)]
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(16 * 65536):
                records = np.frombuffer(block, np.uint64).reshape(-1, 2)
                found.append(records[records[:, 0] % np.uint64(portions) == portion])
    return np.concatenate(found)
