"""Attempts between the processes of one run: counted once, read by all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pytest_ftgate.files.shared_folder import one_at_a_time, read_shared, write_shared
from pytest_ftgate.trust.attempts.counting import Attempt

ATTEMPT_FILE = "ftgate-attempt-{}.json"


def shared_attempt(directory: Path, evalset: str, compute: Callable[[], Attempt]) -> Attempt:
    """Count once, in the first process that comes here: all gates of an eval set are judged at one level.

    Raises FolderError.
    """
    target = directory / ATTEMPT_FILE.format(evalset)
    with one_at_a_time(directory, "ftgate-attempt.lock"):
        if not target.is_file():
            write_shared(target, compute().to_json())
        return Attempt.from_json(read_shared(target))


def read_attempts(directory: Path, evalsets: Iterable[str]) -> list[Attempt]:
    """What `shared_attempt` counted for these eval sets; those that were not judged are left out."""
    files = [directory / ATTEMPT_FILE.format(name) for name in evalsets]
    return [Attempt.from_json(read_shared(f)) for f in files if f.is_file()]
