"""The bytes of candidate and base before a run and after it: a verdict is about files that stayed what they were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.model.directory import digests
from pytest_ftgate.model.identity import Candidate


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What lay on disk at one moment."""

    candidate: Mapping[str, str]
    """POSIX name -> sha256 of every file of the candidate that counts (receipt/files.py)."""
    base: Mapping[str, str]
    """Name -> sha256 of the base's files."""


def take(candidate: Candidate) -> Snapshot:
    """Read all of the candidate; of the base, what is not remembered. Raises IdentityError."""
    try:
        return Snapshot(digests(candidate.path), candidate.read_base())
    except OSError as error:
        raise IdentityError(f"cannot read the base: {error.strerror}", fix="check its files and permissions") from error


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Files that are not what they were, as sentences; [] where nothing changed."""
    pairs = (("candidate", before.candidate, after.candidate), ("base", before.base, after.base))
    return [
        f"{name!r} of the {side} {_how(old.get(name), new.get(name))}"
        for side, old, new in pairs
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _how(before: str | None, after: str | None) -> str:
    return "appeared" if before is None else "vanished" if after is None else "changed"
