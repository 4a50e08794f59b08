"""Training rows as chunks of (place, input, output), read as fast as Python's json allows.

What a row's input and output are is decided by `evalsets.rows` alone: the fast way here takes only rows of a plain
form, and hands every other row to it. JSONL lines are not parsed unless they are chosen, so a sample costs little.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from evalsets.errors import InputError, Problem, TrainingDataError
from evalsets.files import foreign, not_utf8, opened
from evalsets.overlap.hashing import I64
from evalsets.rows import _training_row as training_row
from evalsets.rows import read_rows
from evalsets.strictjson import MAX_DEPTH, MAX_LINE_BYTES, MAX_PROBLEMS, loads
from evalsets.types import Json, TrainingRow
from evalsets.wording import describe, shown

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
            pair = _quick(line)
            found = pair if pair is not None else _careful(line, self.path, self.numbers[i])
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


class _Odd(ValueError):
    """JSON that strict reading refuses: let the careful reader say what it is."""


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Odd
    return found


def _integer(digits: str) -> int:
    if len(digits) > 18:
        raise _Odd
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise _Odd
    return value


def _constant(name: str) -> None:
    raise _Odd(name)


_decode = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_real, parse_constant=_constant
).raw_decode


def _quick(line: bytes) -> tuple[str, str] | None:
    """(input, output) of a row in a plain form, or None: look again, carefully."""
    if b"\\ud" in line or b"\\uD" in line or len(line) > MAX_LINE_BYTES:
        return None
    try:
        text = line.decode().strip(" \t\r\n")
        row, end = _decode(text)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or odd JSON
        return None
    if end != len(text) or type(row) is not dict or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    messages, prompt, completion = row.get("messages"), row.get("prompt"), row.get("completion")
    if type(messages) is list and prompt is None and completion is None:
        return _turns(messages)
    if type(prompt) is str and type(completion) is str and messages is None and prompt.strip() and completion.strip():
        return prompt, completion
    return None


def _turns(messages: list[Json]) -> tuple[str, str] | None:
    users: list[str] = []
    answers: list[str] = []
    role: Json = ""
    for i, message in enumerate(messages):
        if type(message) is not dict or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or not content or content.isspace():
            return None
        if role == "user":
            users.append(content)
        elif role == "assistant":
            answers.append(content)
        elif role != "system" or i:
            return None
    if role != "assistant" or not users:
        return None
    return "\n".join(users), "\n".join(answers)


def _careful(line: bytes, path: str, number: int) -> tuple[str, str] | Problem:
    name = shown(path)
    if len(line) > MAX_LINE_BYTES:
        what = f"expected at most {MAX_LINE_BYTES // 2**20} MiB in a line, found more"
        return Problem(name, number, "", what, "write one object per line; split or drop the long row")
    try:
        row = loads(line.decode("utf-8").strip(" \t\r\n"), path=name, line=number)
    except UnicodeDecodeError as err:
        return not_utf8(name, number, err)
    except InputError as err:
        return err.problems[0]
    if not isinstance(row, dict):
        what = f"expected one JSON object per line, found {describe(row)}"
        return Problem(name, number, "", what, 'write {"field": value, ...}')
    found = training_row(path, number, row)
    return found if isinstance(found, Problem) else (found.input, found.output)
