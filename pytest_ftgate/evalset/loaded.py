"""Eval sets that this process has loaded: none is read twice while its files stay what they were."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.disk import noting_reads

MOST = 256
"""Eval sets that are kept; the one that was not asked for longest goes first."""


@dataclass(frozen=True, slots=True)
class _Entry:
    evalset: EvalSet
    digests: Mapping[Path, str]
    """sha256 of every file that was read for it."""


class Loaded:
    """A cache. What counts is the content of the files, not their times: a file can change within a clock tick."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[Path, Path], _Entry] = OrderedDict()

    def get(self, path: Path, load: Callable[[Path], EvalSet]) -> EvalSet:
        """The eval set at `path`, made by `load` unless it is known and all its files hold the same bytes.

        Raises what `load` raises; nothing is kept then.
        """
        key = (path, Path.cwd())  # problems name files as they are called from here
        known = self._entries.get(key)
        if known is not None and _hold(known.digests):
            self._entries.move_to_end(key)
            return known.evalset
        self._entries.pop(key, None)
        with noting_reads() as read:
            evalset = load(path)
        if (digests := _digests(read)) is not None:
            self._entries[key] = _Entry(evalset, digests)
            while len(self._entries) > MOST:
                self._entries.popitem(last=False)
        return evalset


def _hold(digests: Mapping[Path, str]) -> bool:
    try:
        return all(file_sha256(path) == digest for path, digest in digests.items())
    except OSError:  # a file is gone: loading says so
        return False


def _digests(read: Mapping[Path, os.stat_result]) -> dict[Path, str] | None:
    """What the files hold; None where one changed since it was read, so that these are not the bytes that were read."""
    try:
        found = {path: file_sha256(path) for path in read}
        changed = any(_identity(path.stat()) != _identity(before) for path, before in read.items())
    except OSError:
        return None
    return None if changed else found


def _identity(of: os.stat_result) -> tuple[int, int, int, int, int]:
    return of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns
