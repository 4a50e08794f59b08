"""Progress of a stage that a worker runs: written calmly, said calmly, on lines of its own."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gateproject import Project

from pytest_ftgate.answers.stage import Progress
from pytest_ftgate.report import watch
from pytest_ftgate.report.watch import PROGRESS_FILE, Rhythm, WrittenProgress, read_progress, watching


def at(done: int, total: int = 100) -> Progress:
    return Progress("base", done, total, 50 * done, float(done))


def test_a_worker_writes_now_and_then_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.5, 1.9, 2.1, 2.2, 2.3])
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert read_progress(tmp_path) is None
    write, found = WrittenProgress(tmp_path), []
    for done in (0, 1, 2, 3, 4, 100):
        write(at(done))
        found.append(read_progress(tmp_path))
    assert found == [at(0), at(0), at(0), at(3), at(3), at(100)]
    assert [path.name for path in tmp_path.iterdir()] == [PROGRESS_FILE]


def test_where_nothing_can_be_written_the_stage_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    WrittenProgress(tmp_path / "file")(at(1))
    assert read_progress(tmp_path / "file") is None


def test_nothing_is_said_of_a_short_stage_and_little_of_a_long_one() -> None:
    rhythm = Rhythm()
    said = [second for second in range(100) if rhythm.line(at(second), float(second))]
    assert said == [10, 40, 70]
    short = Rhythm()
    assert not any(short.line(at(10 * second), float(second)) for second in range(11))


def test_what_does_not_move_and_what_is_done_is_not_said_again() -> None:
    rhythm = Rhythm()
    assert rhythm.line(None, 0.0) == ""
    assert rhythm.line(at(0), 5.0) == ""
    assert rhythm.line(at(0), 20.0) == ""
    assert rhythm.line(at(20), 21.0) == "ftgate: base 20/100 answers, 50 tokens/s, 80 s left"
    assert rhythm.line(at(20), 99.0) == ""
    assert rhythm.line(at(100), 99.0) == ""
    assert rhythm.line(at(30), 100.0)


class Terminal:
    """As much of pytest's reporter and writer as is used."""

    def __init__(self) -> None:
        self.text = "..."

    @property
    def width_of_current_line(self) -> int:
        return len(self.text.rpartition("\n")[2])

    def ensure_newline(self) -> None:
        """Knows nothing of dots."""

    def line(self, text: str = "") -> None:
        self.text += f"{text}\n"

    write_line = line

    def flush(self) -> None:
        """Nothing is kept back."""


def config(terminal: Any, dist: str = "load", verbose: int = 0) -> Any:
    return SimpleNamespace(
        option=SimpleNamespace(dist=dist, verbose=verbose),
        pluginmanager=SimpleNamespace(get_plugin=lambda name: terminal),
        get_terminal_writer=lambda: terminal,
    )


def watched(tmp_path: Path, patch: pytest.MonkeyPatch, of: Any) -> list[str]:
    """Names of the threads while it is watched."""
    patch.setattr(watch, "FIRST_SAID_AFTER", 0.0)
    patch.setattr(watch, "LOOKED_AT_EVERY", 0.005)
    WrittenProgress(tmp_path)(at(20))
    with watching(of, tmp_path):
        names = [thread.name for thread in threading.enumerate()]
        time.sleep(0.1)
    assert "ftgate-progress" not in [thread.name for thread in threading.enumerate()]
    return names


def test_the_controller_says_it_on_a_line_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    assert "ftgate-progress" in watched(tmp_path, monkeypatch, config(terminal))
    assert terminal.text == "...\nftgate: base 20/100 answers, 50 tokens/s, 80 s left\n"


@pytest.mark.parametrize("of", [{"dist": "no"}, {"verbose": -1}, {"verbose": -2}, {"terminal": None}])
def test_nothing_is_watched_without_workers_or_where_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: dict[str, Any]
) -> None:
    terminal = Terminal()
    assert "ftgate-progress" not in watched(tmp_path, monkeypatch, config(**{"terminal": terminal, **of}))
    assert terminal.text == "..."


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_terminal_that_is_closed_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    terminal = Terminal()
    monkeypatch.setattr(terminal, "flush", lambda: closed.write("x"), raising=False)
    watched(tmp_path, monkeypatch, config(terminal))
    assert "20/100" in terminal.text


SLOW = """
import time
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.report import watch

watch.FIRST_SAID_AFTER, watch.SAID_EVERY, watch.LOOKED_AT_EVERY, watch.WRITTEN_EVERY = 0.0, 0.2, 0.05, 0.0
real = HFEngine._answer

def slow(*args, **kwargs):
    time.sleep(0.1)
    return real(*args, **kwargs)

HFEngine._answer = slow
"""


@pytest.mark.slow
def test_with_workers_progress_is_seen(project: Project) -> None:
    project.write("conftest.py", SLOW)
    command = (
        "evals",
        "-n2",
        "--ft-model=runs/good",
        "--ft-batch-size=16",
        "--ft-json=v.json",
        "-p",
        "no:hypothesispytest",
    )
    run = project.process(*command)
    assert run.code == 0, run.out
    lines = [line for line in run.out.splitlines() if "tokens/s" in line]
    assert len(lines) > 2
    assert all(re.fullmatch(r"ftgate: (base|candidate) \d+/\d+ answers, [\d,]+ tokens/s, \d+ s left", x) for x in lines)
    assert "[100%]" in run.out
    assert "PytestUnhandledThread" not in run.out
    assert json.loads((project.root / "v.json").read_text())["verdict"] == "SHIP"
    assert "tokens/s" not in project.process(*command, "--ft-cache=off", "-q", "-q").out
