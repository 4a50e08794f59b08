"""Digests of the base's files, remembered between runs: a base of many gigabytes is read once, not in every run.

A remembered digest counts only while device, inode, size, mtime and ctime of the file are what they were; whatever is
odd about the memory is read anew. The candidate is never remembered: it is what is judged. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path

from pytest_ftgate.files.digests import BASE_PATTERNS, file_sha256, matching_files
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.hashed_files import signature
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import read_json

CACHE_FILE = Path(".ftgate", "base-digests.json")
VERSION = 1
SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within one tick of its clock: not remembered."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def base_digests(directory: Path, cache: Path | None, *, rehash: bool = False) -> dict[str, str]:
    """As pytest_ftgate.files.digests.base_digests, with the memory in the file `cache` (None: no memory).

    `rehash` reads every file and remembers that. Raises OSError where the base cannot be read; a memory that cannot
    be read or written costs time, no more.
    """
    known = {} if cache is None or rehash else _load(cache)
    found: dict[str, str] = {}
    fresh: dict[str, list[Json]] = {}
    for name in matching_files(directory, BASE_PATTERNS):
        path = (directory / name).resolve()
        before, now = signature(path), time.time_ns()
        entry = known.get(str(path))
        if entry is not None and entry[:-1] == before:
            found[name] = entry[-1]
            continue
        found[name] = file_sha256(path)
        if signature(path) == before and max(before[-2:]) < now - SETTLED_NS:
            fresh[str(path)] = [*before, found[name]]
    if cache is not None and fresh:
        with contextlib.suppress(OSError):
            write_text(cache, json.dumps({"version": VERSION, "files": {**_load(cache), **fresh}}, sort_keys=True))
    return found


def _load(cache: Path) -> dict[str, list[Json]]:
    """Path -> [device, inode, size, mtime, ctime, sha256]; {} where there is no sound memory."""
    try:
        content = read_json(cache)
    except InputError:
        return {}
    files = content.get("files") if isinstance(content, dict) and content.get("version") == VERSION else None
    return {path: entry for path, entry in files.items() if _sound(entry)} if isinstance(files, dict) else {}


def _sound(entry: Json) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 6
        and all(type(n) is int for n in entry[:-1])
        and isinstance(entry[-1], str)
        and _SHA256.fullmatch(entry[-1]) is not None
    )
