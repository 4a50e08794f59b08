"""Opening files that a user named, where every fault becomes one clear Problem; writing files in one step."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.wording import brief, listed, nearest, shown

_FOREIGN = (
    (b"\x1f\x8b", "gzip-compressed data", "decompress it first (`gunzip`)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data", "decompress it first (`unzstd`)"),
    (b"PK\x03\x04", "a zip archive", "unpack it first (`unzip`)"),
    (b"PAR1", "a parquet file", "give it the ending `.parquet`"),
    (b"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the data", "run `git lfs pull`"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8 (`iconv -f UTF-16 -t UTF-8`)"),
)


_READ: ContextVar[dict[Path, os.stat_result] | None] = ContextVar("files read", default=None)


@contextmanager
def noting_reads() -> Iterator[dict[Path, os.stat_result]]:
    """Files that are read meanwhile, absolute, and what `stat` said of each before it was read."""
    found: dict[Path, os.stat_result] = {}
    token = _READ.set(found)
    try:
        yield found
    finally:
        _READ.reset(token)


def note_read(path: Path) -> None:
    """This file is about to be read, by `opened` or by a library."""
    found = _READ.get()
    if found is not None:
        found.setdefault(path.absolute(), path.stat())


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file, open for reading bytes. Raises InputError where there is none."""
    name = shown(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise InputError([Problem(name, None, "", f"expected a file, found {kind}", "name a file")])
        note_read(path)
        stream = path.open("rb")
    except (OSError, ValueError) as err:  # ValueError: a NUL in the name
        raise InputError([_unopenable(path, err)]) from err
    with stream:
        try:
            yield stream
        except OSError as err:
            raise InputError([_unopenable(path, err)]) from err


def read_text(path: Path, *, max_bytes: int) -> str:
    """A whole UTF-8 file (a byte-order mark is dropped). Raises InputError."""
    with opened(path) as stream:
        data = stream.read(max_bytes + 1)
    name = shown(path)
    if len(data) > max_bytes:
        what = f"expected at most {max_bytes // 2**20} MiB, found a larger file"
        raise InputError([Problem(name, None, "", what, "keep the rows in a .jsonl file and name that file here")])
    if found := foreign(name, data):
        raise InputError([found])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise InputError([not_utf8(name, data.count(b"\n", 0, err.start) + 1, err)]) from err


def write_text(path: Path, text: str) -> None:
    """Write in one step and durably: a reader sees all of it or what was there before. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def foreign(name: str, head: bytes) -> Problem | None:
    """The Problem of a file whose first bytes show another format than UTF-8 text."""
    for magic, what, fix in _FOREIGN:
        if head.startswith(magic):
            return Problem(name, None, "", f"expected UTF-8 text, found {what}", fix)
    if b"\0" in head[:4096]:
        what = "expected UTF-8 text, found NUL bytes (binary data, or UTF-16 without a byte-order mark)"
        return Problem(name, None, "", what, "save it as UTF-8 text")
    return None


def not_utf8(name: str, line: int | None, err: UnicodeDecodeError) -> Problem:
    """The Problem of a byte that is not UTF-8; where the bytes are Latin-1 letters, it says so."""
    byte = err.object[err.start]
    what = f"expected UTF-8 text, found the byte 0x{byte:02x} ({brief(chr(byte))} in Latin-1) at byte {err.start}"
    return Problem(name, line, "", what, "save the file as UTF-8 (`iconv -f LATIN1 -t UTF-8`, if it is Latin-1)")


def _unopenable(path: Path, err: OSError | ValueError) -> Problem:
    name = shown(path)
    if isinstance(err, FileNotFoundError):
        return Problem(name, None, "", "expected a file, found none", _spelling(path))
    reason = err.strerror or type(err).__name__ if isinstance(err, OSError) else str(err)
    return Problem(name, None, "", f"expected a readable file, found: {reason}", "check the path and its permissions")


def _spelling(path: Path) -> str:
    """Name the neighbours of a missing file: most are misspelt, or lie in another directory."""
    try:
        names = sorted(p.name for p in path.parent.iterdir() if p.is_file())
    except OSError:
        return f"create the directory {shown(path.parent)}, or correct the path"
    close = nearest(path.name, names)
    if close:
        return f"did you mean {brief(close)}?"
    beside = [brief(n) for n in names]
    return f"create it, or correct the path (beside it: {listed(beside, limit=5)})" if names else "create it"
