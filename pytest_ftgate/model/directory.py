"""The files of a candidate's directory that a receipt speaks for: which count, their digests, a copy of them.

Every regular file counts unless its name is on a short fixed list of files that no loader reads; an unknown file counts
too, since a loader may prefer it. What a listing cannot say without doubt (links, sockets, names that collide on
another file system) is refused. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from pytest_ftgate.errors import IdentityError

IGNORED = (
    ".DS_Store",
    ".cache/",
    ".eval_results/",
    ".git/",
    ".gitattributes",
    ".gitignore",
    "*.intoto.json",
    "*.intoto.jsonl",
    "*.sigstore.json",
    "README.md",
    "checkpoint-*/",
    "optimizer.pt",
    "rng_state*.pth",
    "scheduler.pt",
    "trainer_state.json",
    "training_args.bin",
    "training_log.json",
)
"""Names directly in the directory that do not count; with a slash, folders. `verify --copy-to` leaves them behind."""

_CHUNK = 1 << 20


def counted_files(directory: Path) -> list[str]:
    """POSIX names, relative to `directory`, of the files that count, sorted. Raises IdentityError."""
    try:
        names = sorted(_walk(directory, ""))
    except OSError as error:
        raise IdentityError(f"cannot list {directory.name}: {error.strerror}", fix="check its permissions") from error
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        if key in seen:
            raise IdentityError(
                f"{directory.name} holds {name!r} and {seen[key]!r}, which are one file on some file systems",
                fix="rename or remove one of them",
            )
        seen[key] = name
    return names


def name_problem(name: str) -> str:
    """Why a receipt does not speak of a file of this name. Empty if it does."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8"
    if not name.isprintable() or "\\" in name:
        return "holds a control character, another invisible one or a backslash"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "is not a path below the directory"
    return ""


def counts(name: str) -> bool:
    """Whether the file of this POSIX name is one that a receipt speaks for."""
    first, slash, _ = name.partition("/")
    return not any(fnmatchcase(first + ("/" if slash else ""), pattern) for pattern in IGNORED)


def digests(directory: Path) -> dict[str, str]:
    """`{POSIX name: sha256}` of every file that counts. Raises IdentityError."""
    return {name: _read(directory, name, None) for name in counted_files(directory)}


def copy(directory: Path, target: Path) -> dict[str, str]:
    """Copy the files that count into the new directory `target`; digests of the bytes written, made while copying.

    Raises IdentityError where the source cannot be read, OSError where the target cannot be written.
    """
    found: dict[str, str] = {}
    target.mkdir()
    for name in counted_files(directory):
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("xb") as file:
            found[name] = _read(directory, name, file)
            file.flush()
            os.fsync(file.fileno())
    return found


def remove(directory: Path) -> None:
    """Remove a half-made copy; what cannot be removed stays under its telling name."""
    shutil.rmtree(directory, ignore_errors=True)


def dir_hash(files: Mapping[str, str]) -> str:
    """in-toto's `dirHash` (the h1 rule of Go modules, in hex): sha256 over `HEX  NAME` lines, sorted by name.

    The same as `find . -type f | sort | xargs sha256sum | sha256sum` in a directory without ignored files, but for
    the leading `./` of each name.
    """
    lines = "".join(f"{files[name]}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def _walk(directory: Path, prefix: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            name, is_folder = prefix + entry.name, entry.is_dir(follow_symlinks=False)
            if not counts(name + "/" if is_folder else name):
                continue
            if problem := name_problem(name):
                raise IdentityError(f"{directory.name}: the name {name!r} {problem}", fix="rename or remove it")
            if is_folder:
                yield from _walk(Path(entry.path), name + "/")
            elif entry.is_file(follow_symlinks=False):
                yield name
            else:
                kind = "a link" if entry.is_symlink() else "no regular file"
                fix = "copy the directory with `cp -rL`" if entry.is_symlink() else "remove it"
                raise IdentityError(
                    f"{name!r} in the candidate's directory is {kind}: what it leads to can change", fix=fix
                )


def _flags() -> int:
    if sys.platform == "win32":
        return os.O_RDONLY | os.O_BINARY
    return os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # what has become a link or a pipe since it was listed


def _read(directory: Path, name: str, sink: BinaryIO | None) -> str:
    digest = hashlib.sha256()
    try:
        descriptor = os.open(directory / name, _flags())
    except OSError as error:
        raise _unreadable(name, error) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise IdentityError(f"{name!r} in the candidate's directory is no regular file", fix="remove it")
        while chunk := _chunk(file, name):
            digest.update(chunk)
            if sink is not None:
                sink.write(chunk)
    return digest.hexdigest()


def _chunk(file: BinaryIO, name: str) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> IdentityError:
    return IdentityError(f"cannot read {name!r}: {error.strerror}", fix="check its permissions and the disk")
