"""The folder that all processes of one run share: made, locked, written and read, with one error for all that can fail.

It lies in the system's temporary folder, which may be small (a tmpfs), full, or under a limit on the size of a file.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_ftgate.errors import FolderError, Unusable
from pytest_ftgate.files.disk import write_text

FIX = (
    "set TMPDIR to a folder with room (or raise `ulimit -f`), and run again: "
    "what .ftgate/cache holds is not asked again"
)


def make_shared() -> Path:
    """A new folder of one run. Raises Unusable."""
    try:
        return Path(tempfile.mkdtemp(prefix="ftgate-"))
    except OSError as error:
        why = error.strerror or str(error)
        raise Unusable(f"no temporary folder can be made: {why}. Fix: set TMPDIR to a folder with room") from None


@contextlib.contextmanager
def one_at_a_time(directory: Path, name: str) -> Iterator[None]:
    """Hold the lock of this name. Raises FolderError where there can be none."""
    lock = FileLock(directory / name)
    try:
        lock.acquire()
    except OSError as error:
        raise _failed("a lock could not be made in", directory, error) from error
    try:
        yield
    finally:
        lock.release()


def write_shared(target: Path, content: dict[str, Any]) -> None:
    """Strict JSON for the other processes, all of it or nothing. Raises FolderError."""
    text = json.dumps(content, allow_nan=False)
    try:
        write_text(target, text)
    except OSError as error:
        raise _failed(f"{max(1, len(text) // 1024)} KiB could not be written into", target.parent, error) from error


def read_shared(target: Path) -> Any:
    """What `write_shared` wrote. Raises FolderError where it cannot be read, or is gone."""
    try:
        return json.loads(target.read_text(encoding="utf-8"))
    except OSError as error:
        raise _failed(f"{target.name} could not be read in", target.parent, error) from error


def _failed(what: str, directory: Path, error: OSError) -> FolderError:
    return FolderError(f"{what} {directory}, the folder of this run: {error.strerror or error}", FIX)
