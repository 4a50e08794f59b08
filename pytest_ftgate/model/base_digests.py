"""Digests of the base's files, remembered between runs: a base of many gigabytes is read once, not in every run.

A remembered digest counts only while device, inode, size, mtime and ctime of the file are what they were, and only
where this user wrote it (an HMAC per file, files.own_key): a forged one would make another base look like the pinned
one. Whatever is odd about the memory is read anew. The candidate is never remembered: it is what is judged. Standard
library only.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from pytest_ftgate.files.digests import BASE_PATTERNS, file_sha256, matching_files
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.hashed_files import signature
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.own_key import fits, tag
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.files.strictjson import read_json

CACHE_FILE = Path(".ftgate", "base-digests.json")
VERSION = 2
PURPOSE = "base digest"
SETTLED_NS = 2_000_000_000
"""A file changed so shortly before it was read may change again within one tick of its clock: not remembered."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Memory:
    """Where digests are remembered, and the key that tells whose they are."""

    path: Path
    secret: bytes = field(repr=False)


def base_digests(directory: Path, cache: Memory | None, *, rehash: bool = False) -> dict[str, str]:
    """As pytest_ftgate.files.digests.base_digests, with a memory (None: without).

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
            known = {**_load(cache), **fresh}
            files = {p: [*entry, tag(cache.secret, PURPOSE, _body(p, entry))] for p, entry in known.items()}
            write_text(cache.path, json.dumps({"version": VERSION, "files": files}, sort_keys=True))
    return found


def _load(cache: Memory) -> dict[str, list[Json]]:
    """Path -> [device, inode, size, mtime, ctime, sha256], of entries that this user wrote."""
    try:
        content = read_json(cache.path)
    except InputError:
        return {}
    files = content.get("files") if isinstance(content, dict) and content.get("version") == VERSION else None
    if not isinstance(files, dict):
        return {}
    return {
        path: entry[:-1]
        for path, entry in files.items()
        if isinstance(entry, list)
        and _sound(entry[:-1])
        and isinstance(entry[-1], str)
        and fits(cache.secret, PURPOSE, _body(path, entry[:-1]), entry[-1])
    }


def _body(path: str, entry: list[Json]) -> bytes:
    return json.dumps([path, *entry]).encode()


def _sound(entry: list[Json]) -> bool:
    return (
        len(entry) == 6
        and all(type(n) is int for n in entry[:-1])
        and isinstance(entry[-1], str)
        and _SHA256.fullmatch(entry[-1]) is not None
    )
