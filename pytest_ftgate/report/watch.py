"""Progress of the stage where workers run it: a worker writes it down, the controller reads it and says it calmly.

A worker has no terminal, and while a stage runs, it has no test to report either: xdist calls no hook on the controller
for as long. So a thread looks at a small file in the folder that all processes share.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_ftgate.answers.stage import Progress
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.report.live import LiveProgress
from pytest_ftgate.report.progress import progress_line

PROGRESS_FILE = "ftgate-progress.json"
WRITTEN_EVERY = 2.0
LOOKED_AT_EVERY = 1.0
FIRST_SAID_AFTER = 10.0
SAID_EVERY = 30.0
"""All in seconds."""


def progress_for(config: Any, shared: Path) -> Callable[[Progress], None]:
    """What tells the progress of this process's stage: to its terminal, or, in a worker, to the controller."""

    return WrittenProgress(shared) if "workerinput" in vars(config) else LiveProgress(config)


class WrittenProgress:
    """Progress of the stage as a file, all of it or what was there before; where there is no room, nothing is told."""

    def __init__(self, shared: Path) -> None:
        self._path = shared / PROGRESS_FILE
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._next and progress.done < progress.total:
            return
        self._next = now + WRITTEN_EVERY
        with contextlib.suppress(OSError):
            write_text(self._path, json.dumps(asdict(progress)))


def read_progress(shared: Path) -> Progress | None:
    """What a worker wrote last; None where no stage has begun."""

    try:
        return Progress(**json.loads((shared / PROGRESS_FILE).read_text(encoding="utf-8")))
    except OSError:
        return None


class Rhythm:
    """When there is something to say: nothing of a short stage, nothing twice."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._said: Progress | None = None

    def line(self, progress: Progress | None, now: float) -> str:
        """What to say `now` (seconds). Empty for nothing."""
        if progress is None:
            return ""
        if self._due is None:
            self._due = now + FIRST_SAID_AFTER
        if now < self._due or progress.done in (0, progress.total) or progress == self._said:
            return ""

        self._due, self._said = now + SAID_EVERY, progress
        return progress_line(progress)


@contextlib.contextmanager
def watching(config: Any, shared: Path) -> Iterator[None]:
    """Say meanwhile how far the workers' stage is; nothing where there are none, and where pytest is to be quiet."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if vars(config.option).get("dist", "no") == "no" or reporter is None or config.option.verbose < 0:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        rhythm = Rhythm()
        while not over.wait(LOOKED_AT_EVERY):
            if text := rhythm.line(read_progress(shared), time.monotonic()):
                with contextlib.suppress(OSError, ValueError):  # a terminal that is gone or closed stops no run
                    say(config, text)

    thread = threading.Thread(target=watch, name="ftgate-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def say(config: Any, text: str) -> None:
    """A line of its own on the controller's terminal: of xdist's dots and counters `ensure_newline` knows nothing."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reporter.ensure_newline()
    writer = config.get_terminal_writer()
    if writer.width_of_current_line:
        writer.line()
    reporter.write_line(text)
    reporter.flush()
