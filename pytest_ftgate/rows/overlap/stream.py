"""Training rows as chunks of (place, input, output), read as fast as Python's json allows.

JSONL lines are not parsed unless they are chosen, so that counting rows and drawing a sample cost little.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from pytest_ftgate.files.disk import foreign, opened
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.strictjson import MAX_LINE_BYTES, MAX_PROBLEMS
from pytest_ftgate.rows.overlap.hashing import I64
from pytest_ftgate.rows.overlap.lines import read_line
from pytest_ftgate.rows.reader import read_rows
from pytest_ftgate.rows.types import TrainingRow

Place = tuple[str, int]

_CHUNK_BYTES = 256 * 1024  # characters that the arrays of one batch keep in the processor's cache
_CHUNK_ROWS = 500
_COMPRESSED = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where training rows come from."""

    files: tuple[str, ...]
    """As the user named them."""
    rows: tuple[TrainingRow, ...]
    """Rows that are in memory already."""

    @property
    def names(self) -> list[str]:
        """Every file name that a row's place can have, sorted."""
        return sorted({*self.files, *(r.path for r in self.rows)})


@dataclass(slots=True)
class Rows:
    """Parsed rows of one chunk."""

    places: list[Place] = field(default_factory=list)
    """(file as the user named it, 1-based line or row)."""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    """One for each broken row."""


class Chunk(Protocol):
    """Some rows of one source, not parsed yet."""

    def __len__(self) -> int:
        """Number of rows."""

    def keys(self) -> I64:
        """A 32-bit checksum of each row's content: the same wherever and in whatever order the row stands."""

    def rows(self, chosen: Iterable[int] | None = None) -> Rows:
        """Parse the chosen rows (all of them by default)."""


def as_sources(given: Iterable[str | Path] | Iterable[TrainingRow]) -> Sources:
    """Sources that can be read again: file names as text, or rows in a list."""
    if isinstance(given, str | Path):
        raise TypeError("expected a list of files or of TrainingRows, found one path: write [path]")
    listed = list(given)
    rows = [s for s in listed if isinstance(s, TrainingRow)]
    return Sources(tuple(str(s) for s in listed if not isinstance(s, TrainingRow)), tuple(rows))


def chunks(sources: Sources) -> Iterator[Chunk]:
    """All rows of all sources. Raises InputError where a source cannot be read at all."""
    for start in range(0, len(sources.rows), _CHUNK_ROWS):
        yield RowChunk(sources.rows[start : start + _CHUNK_ROWS])
    for source in sources.files:
        yield from _file_chunks(source, Path(source))


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Rows that are already in memory."""

    content: Sequence[TrainingRow]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.content)

    def keys(self) -> I64:
        raw = [zlib.crc32(f"{r.input}\x1f{r.output}".encode("utf-8", "surrogatepass")) for r in self.content]
        return np.array(raw, np.int64)

    def rows(self, chosen: Iterable[int] | None = None) -> Rows:
        picked = self.content if chosen is None else [self.content[i] for i in chosen]
        return Rows(
            [(r.path, r.row) for r in picked],
            [r.input for r in picked],
            [r.output for r in picked],
            list(self.problems) if chosen is None else [],
        )


@dataclass(frozen=True, slots=True)
class LineChunk:
    """Lines of a JSONL file."""

    path: str
    numbers: Sequence[int]
    """1-based line numbers."""
    lines: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.lines)

    def keys(self) -> I64:
        return np.array([zlib.crc32(line) for line in self.lines], np.int64)

    def rows(self, chosen: Iterable[int] | None = None) -> Rows:
        out = Rows()
        for i in range(len(self.lines)) if chosen is None else chosen:
            line = self.lines[i]
            found = read_line(line, self.path, self.numbers[i])
            if isinstance(found, Problem):
                out.problems.append(found)
                continue
            out.places.append((self.path, self.numbers[i]))
            out.inputs.append(found[0])
            out.outputs.append(found[1])
        return out


def _file_chunks(name: str, path: Path) -> Iterator[Chunk]:
    suffixes = [s.lower() for s in path.suffixes]
    packed = suffixes[-1] if suffixes and suffixes[-1] in _COMPRESSED else ""
    plain = suffixes[-2] if packed and len(suffixes) > 1 else suffixes[-1] if suffixes else ""
    if plain in (".jsonl", ".ndjson") and not path.is_dir():
        yield from _line_chunks(name, path, packed)
    elif packed:
        fix = "name it ....jsonl" + packed + ", or decompress it first"
        raise TrainingDataError([Problem(name, None, "", "expected compressed JSONL, found another ending", fix)])
    else:
        yield from _table_chunks(name)


def _table_chunks(name: str) -> Iterator[Chunk]:
    """Rows of another format. A few broken rows are passed on as problems; a file not read to its end raises."""
    rows = read_rows(name)
    count = 0
    try:
        while batch := list(islice(rows, _CHUNK_ROWS)):
            count += len(batch)
            yield RowChunk(batch)
    except TrainingDataError as err:
        if not count or len(err.problems) >= MAX_PROBLEMS:
            raise
        yield RowChunk([], err.problems)


def _line_chunks(name: str, path: Path, packed: str) -> Iterator[Chunk]:
    number, empty = 0, True
    with opened(path) as raw:
        try:
            stream = _decompressed(raw, packed, name)
            for lines in _blocks(stream, name):
                kept = [(number + i, line) for i, line in enumerate(lines, 1) if not line.isspace() and line]
                number += len(lines)
                if kept:
                    empty = False
                    yield LineChunk(name, [n for n, _ in kept], [line for _, line in kept])
        except (gzip.BadGzipFile, EOFError, zlib.error) as err:
            what = "expected whole compressed data, found a damaged or cut file"
            raise TrainingDataError([Problem(name, None, "", what, "write or download the file again")]) from err
    if empty:
        fix = "write one JSON object per line"
        raise TrainingDataError([Problem(name, None, "", "expected training rows, found none", fix)])


def _blocks(stream: BinaryIO, name: str) -> Iterator[list[bytes]]:
    """Lines without their newline, about _CHUNK_BYTES at a time. A line beyond 4 MiB is cut: it comes out as broken."""
    rest, first, skipping = b"", True, False
    while block := stream.read(_CHUNK_BYTES):
        if first:
            if found := foreign(name, block):
                raise TrainingDataError([found])
            block, first = block.removeprefix(b"\xef\xbb\xbf"), False
        lines = block.split(b"\n")
        if skipping and len(lines) > 1:
            lines[0], skipping = b"", False
        lines[0] = rest + lines[0] if not skipping else rest
        rest = lines.pop()
        if len(rest) > MAX_LINE_BYTES:
            rest, skipping = rest[: MAX_LINE_BYTES + 1], True
        yield lines
    if rest:
        yield [rest]


def _decompressed(raw: BinaryIO, packed: str, name: str) -> BinaryIO:
    if packed == ".gz":
        return gzip.open(raw, "rb")  # type: ignore[return-value]  # a GzipFile reads as a BinaryIO does
    if packed == ".zst":
        try:
            import pyarrow
        except ImportError as err:
            what = "expected the package pyarrow, which reads .zst, found none"
            fix = 'run `pip install "pytest-ftgate[data]"`, or decompress the file'
            raise InputError([Problem(name, None, "", what, fix)]) from err
        stream: BinaryIO = pyarrow.input_stream(raw, compression="zstd")
        return stream
    return raw
