"""A secret of this user on this machine, which tells what earlier runs wrote here from what somebody put there.

Whatever lies below `.ftgate` travels with the project: a change, a branch or a restored archive can bring it. The key
lies outside, in the user's state directory, and is made on first use. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KEY_FILE = Path("pytest-ftgate", "key")
KEY_BYTES = 32
_TEXT = re.compile(rb"[0-9a-f]{64}\n")


@dataclass(frozen=True, slots=True)
class OwnKey:
    """The key, or why there is none."""

    secret: bytes | None = field(repr=False)
    why: str = ""
    """Why nothing can be authenticated here. Empty where it can."""


def own_key(workspace: Path, environ: Mapping[str, str] = os.environ) -> OwnKey:
    """The user's key, made where there is none yet; `workspace` is the project that must not be able to bring it.

    In CI there is none: what a job finds in its workspace was put there by somebody else, and so would the key be.
    """
    if environ.get("CI"):
        return OwnKey(None, "the environment variable CI is set, and in CI there is no key that only this user has")
    try:
        path = key_path(environ)
        if inside := _project_around(path, workspace):
            return OwnKey(None, f"the key would lie inside the project {inside.name} (set XDG_STATE_HOME elsewhere)")
        if not path.exists() and not path.is_symlink():
            _make(path)
        return _read(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home directory
        return OwnKey(None, f"the key of this user cannot be used: {getattr(error, 'strerror', None) or error}")


def key_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the key lies. Raises RuntimeError where there is no home directory."""
    state = environ.get("XDG_STATE_HOME", "")
    # As the XDG base directory specification has it: a relative path there is ignored.
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / KEY_FILE


def tag(key: bytes, purpose: str, body: bytes) -> str:
    """HMAC-SHA256 in hex of a text for one purpose: what was made for another one does not fit."""
    return hmac.new(key, purpose.encode() + b"\0" + body, hashlib.sha256).hexdigest()


def fits(key: bytes, purpose: str, body: bytes, found: str | bytes) -> bool:
    """Whether `found` is the tag of this text, compared in constant time."""
    given = found if isinstance(found, bytes) else found.encode("utf-8", "replace")
    return hmac.compare_digest(tag(key, purpose, body).encode(), given)


def _project_around(path: Path, workspace: Path) -> Path | None:
    """The project that holds this path: the workspace, or the git repository around it; None where none does."""
    root = workspace.resolve()
    above = (folder for folder in (root, *root.parents) if (folder / ".git").exists())
    where = path.resolve()
    return next((top for top in (root, next(above, root)) if top in where.parents), None)


def _make(path: Path) -> None:
    """Complete, or not at all; of two processes that come here at once, the first one's key stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _read(path: Path) -> OwnKey:
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return OwnKey(None, f"{path} is no file; remove it, and the next run makes a new key")
        if os.name == "posix" and (status.st_uid != os.getuid() or status.st_mode & 0o077):
            return OwnKey(None, f"{path} is not this user's alone; remove it, and the next run makes a new key")
        text = file.read(KEY_BYTES * 2 + 2)
    if not _TEXT.fullmatch(text):
        return OwnKey(None, f"{path} is not a key as ftgate writes it; remove it, and the next run makes a new one")
    return OwnKey(bytes.fromhex(text.decode("ascii")))
