"""Files as a git ref holds them, read with git's plumbing: no shell, no checkout, no filter of the repository runs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.files.sanitise import visible

SECONDS = 60
_REF = re.compile(r"[^-\s:\x00-\x1f\x7f][^\s:\x00-\x1f\x7f]{0,254}")
_FILE_MODES = ("100644", "100755")
"""Regular files; the text of a link would be another file's name."""


@dataclass(frozen=True, slots=True)
class Tree:
    """One commit of the repository that a directory lies in."""

    ref: str
    """As the user wrote it."""
    commit: str
    """Its object id, 40 or 64 hex digits."""
    top: Path
    """The repository's root directory, resolved."""
    blobs: Mapping[str, str]
    """POSIX path from the top -> object id, of regular files."""
    others: frozenset[str] = frozenset()
    """Names of what is no regular file: links, submodules, and every directory that holds something."""

    def name(self, path: Path) -> str | None:
        """A path of this machine as the tree calls it; None outside the repository."""
        try:
            return path.relative_to(self.top).as_posix()
        except ValueError:
            return None

    def read(self, name: str) -> bytes | None:
        """A file's bytes at the commit; None where it holds no such file. Raises PolicyError."""
        blob = self.blobs.get(name)
        return None if blob is None else _git(self.top, "cat-file", "blob", blob)


def open_tree(ref: str, directory: Path) -> Tree:
    """The commit that `ref` means in the repository around `directory`. Raises PolicyError with the way to get it."""
    if not _REF.fullmatch(ref):
        raise PolicyError(
            f"--ft-policy-ref={visible(ref, limit=60)} is not the name of a branch, tag or commit",
            fix="write for instance --ft-policy-ref=origin/main",
        )
    top = Path(os.fsdecode(_git(directory, "rev-parse", "--show-toplevel").rstrip(b"\n"))).resolve()
    try:
        found = _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except PolicyError:
        raise PolicyError(
            f"--ft-policy-ref={visible(ref, limit=60)}: the git repository {top.name} holds no such commit",
            fix="fetch it first (git fetch origin main; actions/checkout: `fetch-depth: 0`), or correct the name",
        ) from None
    commit = found.decode("ascii").strip()
    listed = _git(top, "ls-tree", "-r", "-z", "--full-tree", commit)
    return Tree(ref, commit, top, _blobs(listed), _others(listed))


def _blobs(listed: bytes) -> dict[str, str]:
    """`mode type id<TAB>path<NUL>` lines -> {path: id} of regular files."""
    found: dict[str, str] = {}
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        if name and head.split(b" ")[0].decode("ascii") in _FILE_MODES:
            found[os.fsdecode(name)] = head.split(b" ")[2].decode("ascii")
    return found


def _others(listed: bytes) -> frozenset[str]:
    found: set[str] = set()
    for entry in listed.split(b"\0"):
        head, _, name = entry.partition(b"\t")
        if name:
            path = PurePosixPath(os.fsdecode(name))
            found.update(str(parent) for parent in path.parents)
            if head.split(b" ")[0].decode("ascii") not in _FILE_MODES:
                found.add(str(path))
    return frozenset(found)


def tracked_files(directory: Path, below: Path) -> list[str]:
    """Files below `directory / below` that git tracks, relative to `directory`; [] where no repository tells."""
    try:
        listed = _git(directory, "ls-files", "-z", "--", f":(literal){below.as_posix()}")
    except PolicyError:
        return []
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]


def _git(directory: Path, *args: str) -> bytes:
    command: Sequence[str] = ("git", "--no-replace-objects", *args)
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        raise PolicyError(
            "--ft-policy-ref needs the program git, which is not installed", fix="install git, or leave the option out"
        ) from None
    except subprocess.TimeoutExpired:
        raise PolicyError(
            f"--ft-policy-ref: git {args[0]} did not answer within {SECONDS} s", fix="look at the repository with git"
        ) from None
    if done.returncode:
        said = visible(done.stderr.decode("utf-8", errors="replace").strip(), limit=200)
        raise PolicyError(
            f"--ft-policy-ref: git {args[0]} failed in {directory.name}: {said or 'it did not say why'}",
            fix="run pytest inside a git repository that holds the ref",
        )
    return done.stdout
