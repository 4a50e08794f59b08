"""Generations on disk, content-addressed: nothing is generated twice for the same weights and prompt.

One append-only JSONL file per side (its fingerprint names the file), one line per generation with an HMAC over
fingerprint, key and value. A line that was cut off by a kill, changed, copied from another side's file, or written by
whoever does not hold this user's key (files.own_key) fails it and is generated again. Scores are never stored. Values
are data: JSON only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_ftgate.answers.engine.protocol import ChatPrompt, Request, TextPrompt
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.own_key import fits, tag
from pytest_ftgate.results import Generation

SCHEMA = "v3"
SIDE_FILE = re.compile(r"[0-9a-f]{64}\.jsonl")
"""Whatever else lies in the folder is not ours: neither read nor removed."""
LOCK_SECONDS = 30.0
"""A process that holds a file's lock for longer is stopped or stuck, and nobody waits for it."""
FIELDS = tuple(field.name for field in fields(Generation))


def request_key(request: Request, token_ids: Sequence[int] | None = None) -> str:
    """sha256 over everything in a Request; the side's fingerprint names the rest.

    `token_ids`: the tokens of its prompt, where the engine tells them. The same prompt may become other tokens: a chat
    template may write the date.
    """
    prompt: Json = request.prompt.text if isinstance(request.prompt, TextPrompt) else None
    if isinstance(request.prompt, ChatPrompt):
        prompt = [[message.role, message.content] for message in request.prompt.messages]
    tokens = None if token_ids is None else list(token_ids)
    content = [prompt, tokens, request.max_new_tokens, list(request.stop), list(request.labels)]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SideFile:
    """What one side's file holds."""

    path: Path
    entries: int
    """Sound generations; of equal keys, one."""
    rejected: int
    """Lines that are not sound: cut off, changed, or of another key."""
    bytes: int
    used: float
    """When it was last read or written, seconds since the epoch."""


def side_files(root: Path, secret: bytes | None) -> list[SideFile]:
    """Every side's file below a store's root, last used first. `secret` None: no key is known, and no line is sound."""
    found = []
    for path in _paths(root):
        store = Store(root, path.stem, secret or secrets.token_bytes())
        entries = len(store.load(mark=False))
        status = path.stat()
        found.append(SideFile(path, entries, store.rejected, status.st_size, status.st_mtime))
    return sorted(found, key=lambda file: file.used, reverse=True)


def trim(root: Path, most: int, *, keep: Collection[str] = ()) -> int:
    """Remove the files that were used longest ago until all together hold at most `most` bytes; how many were removed.

    `keep`: fingerprints of sides whose files stay, however large. What is removed is generated again when it is asked
    for. Raises OSError where a file cannot be removed.
    """
    files = [(path.stat(), path) for path in _paths(root)]
    total, removed = sum(status.st_size for status, _ in files), 0
    for status, path in sorted(files, key=lambda file: file[0].st_mtime):
        if total <= most:
            break
        if path.stem in keep:
            continue
        remove(path)
        total, removed = total - status.st_size, removed + 1
    return removed


def _paths(root: Path) -> list[Path]:
    return [p for p in sorted((root / SCHEMA).glob("*.jsonl")) if SIDE_FILE.fullmatch(p.name) and p.is_file()]


def remove(path: Path) -> None:
    """Remove one side's file. Raises OSError; TimeoutError where another process does not let go of it."""
    with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
        path.unlink(missing_ok=True)
    Path(f"{path}.lock").unlink(missing_ok=True)


class Store:
    """All generations of one side below a root directory."""

    def __init__(self, root: Path, fingerprint: str, secret: bytes) -> None:
        """`secret`: this user's key; what was stored under another one is not believed."""
        self._path, self._purpose = root / SCHEMA / f"{fingerprint}.jsonl", f"generation {fingerprint}"
        self._secret = secret
        self.rejected = 0
        """Lines of the last `load` that fail their HMAC, or hold no answer."""
        self.unsaved = 0
        """Generations that could not be written: the folder is not writable, the disk is full, the file is locked."""

    def load(self, *, mark: bool = True) -> dict[str, Generation]:
        """Key -> Generation of every sound line; the last of equal keys. `mark`: this counts as a use of the file."""
        self.rejected = 0
        if mark:
            with contextlib.suppress(OSError):
                os.utime(self._path)
        found: dict[str, Generation] = {}
        if not self._path.is_file():  # a pipe of that name would be waited for
            return found
        with contextlib.suppress(OSError), self._path.open("rb") as file:
            for line in file:
                entry = _sound(line, self._secret, self._purpose)
                if entry is None:
                    self.rejected += 1
                else:
                    found[entry[0]] = entry[1]
        return found

    def append(self, entries: Iterable[tuple[str, Generation]]) -> None:
        """Add generations durably; what cannot be written is counted, and costs time in the next run, no more."""
        made = [(key, generation) for key, generation in entries if generation.finish_reason != "error"]
        lines = [_line(self._secret, self._purpose, key, generation) for key, generation in made]
        try:
            if lines:
                self._write(b"".join(lines))
        except OSError:
            self.unsaved += len(lines)

    def _write(self, block: bytes) -> None:
        """One write and one fsync for all, under a lock that other processes respect."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._path.exists() and not self._path.is_file():
            raise OSError(f"{self._path.name} is no file")
        with FileLock(f"{self._path}.lock", timeout=LOCK_SECONDS), self._path.open("ab") as file:
            if file.tell() and not _ends_with_newline(self._path):
                block = b"\n" + block
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


def to_json(generation: Generation) -> dict[str, Any]:
    """Strict-JSON form of a Generation."""
    # dataclasses.asdict copies every token by itself: it took longer than writing the file.
    value = {name: getattr(generation, name) for name in FIELDS}
    return {**value, "token_ids": list(generation.token_ids)}


def from_json(value: Mapping[str, Any]) -> Generation:
    """The Generation that `to_json` wrote. Raises KeyError or TypeError where it is another shape."""
    return Generation(**{**value, "token_ids": tuple(value["token_ids"])})


def _line(secret: bytes, purpose: str, key: str, generation: Generation) -> bytes:
    body = json.dumps([key, to_json(generation)], ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return f"{tag(secret, purpose, body.encode())} {body}\n".encode()


def _sound(line: bytes, secret: bytes, purpose: str) -> tuple[str, Generation] | None:
    """(key, Generation) of a line that was written for this side with this key; None of any other."""
    found, _, body = line.strip().partition(b" ")
    if not fits(secret, purpose, body, found):
        return None
    try:
        key, value = json.loads(body)
        return (key, from_json(value)) if isinstance(key, str) and _is_answer(value) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_answer(value: dict[str, Any]) -> bool:
    """Whether this is what `append` writes: an answer, and no error."""
    tokens, weights = value["token_ids"], value["label_logprobs"]
    return (
        isinstance(value["text"], str)
        and value["finish_reason"] in ("stop", "length")
        and all(value[name] is None or type(value[name]) is int for name in ("prompt_tokens", "new_tokens"))
        and value["error"] == ""
        and isinstance(tokens, list)
        and all(type(token) is int for token in tokens)
        and (weights is None or (isinstance(weights, dict) and all(type(w) in (float, int) for w in weights.values())))
    )


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
