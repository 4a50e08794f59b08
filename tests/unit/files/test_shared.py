"""A shared folder without room: one clear error, no verdict, and a rerun that asks for nothing again."""

from __future__ import annotations

import contextlib
import errno
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answered import said
from gateproject import Project

from pytest_ftgate.answers.shared_stage import STAGE_FILE, shared_stage
from pytest_ftgate.answers.stage import StageResult
from pytest_ftgate.errors import BY_NAME, FolderError, FtgateError
from pytest_ftgate.files import shared_folder as shared
from pytest_ftgate.trust.attempts.shared_attempt import shared_attempt

MANY = StageResult({"set": {"candidate": {f"e{i}": said("word " * 20) for i in range(200)}}})
"""About 40 KiB of answers."""


@contextlib.contextmanager
def limited(kib: int) -> Iterator[None]:
    """No file may grow beyond this: `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def full(patch: pytest.MonkeyPatch, name: str, most: int = 0) -> Iterator[None]:
    """No room in the shared folder for files of this name that hold more than `most` characters."""
    real = shared.write_text

    def write(path: Path, text: str) -> None:
        if path.name.startswith(name) and len(text) > most:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, text)

    with patch.context() as during:
        during.setattr(shared, "write_text", write)
        yield


def test_answers_that_do_not_fit_are_one_error_for_all_processes(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> StageResult:
        calls.append(1)
        return MANY

    texts = set()
    with limited(16):
        for _ in range(3):
            with pytest.raises(FolderError) as caught:
                shared_stage(tmp_path, compute)
            texts.add(str(caught.value))
    (text,) = texts
    assert str(tmp_path) in text
    assert "KiB could not be written" in text
    assert "File too large" in text
    assert "set TMPDIR to a folder with room" in text
    assert len(calls) == 1  # asked once, not by every worker
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_where_there_is_no_room_for_the_error_either_every_process_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch, STAGE_FILE):
        for _ in range(2):
            with pytest.raises(FolderError, match="No space left on device"):
                shared_stage(tmp_path, lambda: MANY)
    assert shared_stage(tmp_path, lambda: MANY) == MANY


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "file"
    gone.write_text("no folder")
    with pytest.raises(FolderError, match=r"a lock could not be made in .*file"):
        shared_stage(gone, lambda: pytest.fail("not asked"))
    with pytest.raises(FolderError):
        shared_attempt(gone, "set", lambda: pytest.fail("not counted"))


class OwnError(FtgateError):
    """As an engine of somebody's own may raise it."""


@pytest.mark.parametrize("kind", [*BY_NAME.values(), OwnError])
def test_every_process_gives_the_same_reason(tmp_path: Path, kind: type[FtgateError]) -> None:
    def compute() -> StageResult:
        raise kind("what", "fix")

    with pytest.raises(kind):
        shared_stage(tmp_path, compute)
    with pytest.raises(FtgateError) as caught:
        shared_stage(tmp_path, compute)
    assert type(caught.value) is (FtgateError if kind is OwnError else kind)


def no_verdict(run: Any, why: str) -> None:
    assert (run.verdict["verdict"], set(run.outcomes.values())) == ("NOT_EVALUATED", {"ERROR"})
    assert run.code != 0
    assert {gate["reason"] for gate in run.verdict["gates"]} == {"FolderError"}
    assert why in run.out
    assert "set TMPDIR to a folder with room" in run.out
    assert f"could not be written into {Path(tempfile.gettempdir()) / 'ftgate-'}" in run.out
    assert "Traceback" not in run.out
    assert "INTERNALERROR" not in run.out


def test_a_run_whose_answers_do_not_fit_gives_no_verdict_and_keeps_them(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full(monkeypatch, STAGE_FILE, most=4096):
        no_verdict(project.gates("evals"), "No space left on device")
    again = project.gates("evals")
    assert (again.code, again.verdict["verdict"]) == (0, "SHIP")
    assert {side["generated"] for side in again.verdict["counts"].values()} == {0}


def test_a_limit_on_files_is_no_traceback(project: Project) -> None:
    with limited(40):
        run = project.gates("evals", "--ft-verdict=require")
    no_verdict(run, "File too large")
    assert run.code == 21


def test_an_attempt_that_cannot_be_shared_is_an_error_of_its_gates(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "evals" / "target.eval.yaml").open("a").write("attempts: {feedback: sealed}\n")
    with full(monkeypatch, "ftgate-attempt"):
        run = project.gates("evals", "--ft-verdict=require")
    no_verdict(run, "No space left on device")
    assert run.code == 21
    assert run.out.split("evals/general")[0].count("No space left on device") == 1  # said before anything is judged


def test_no_temporary_folder_is_a_usage_error(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(prefix: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    with monkeypatch.context() as during:
        during.setattr(shared.tempfile, "mkdtemp", nowhere)
        run = project.gates("evals")
    assert run.code == 4
    assert "no temporary folder can be made: No usable temporary directory found. Fix: set TMPDIR" in run.out


IN_WORKERS = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (40 * 1024, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
"""


@pytest.mark.slow
def test_workers_say_it_too(project: Project) -> None:
    project.write("conftest.py", IN_WORKERS)
    command = ("--ft-model=runs/good", "-n2", "--ft-verdict=require", "--ft-json=v.json", "-p", "no:hypothesispytest")
    run = project.process("evals", *command)
    no_verdict(run, "File too large")
    assert run.code == 21
