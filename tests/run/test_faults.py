"""Faults at every point that writes, hashes or loads: never a SHIP that is not whole, and the next run is as if nothing
had been (F29, F30, P8)."""

from __future__ import annotations

import errno
import itertools
import json
import pkgutil
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from falsegreens import OUTPUTS, RECEIPT, conftest, receipt
from gateproject import Project, Run

from pytest_ftgate.commands.verify import main

POINTS = {
    "os.fsync": "store, stage record, --ft-json, receipt",
    "os.replace": "stage record, --ft-json, receipt",
    "pytest_ftgate.answers.store.Store.append": "answers kept",
    "pytest_ftgate.answers.store.Store.load": "answers looked up",
    "pytest_ftgate.answers.shared_stage.write_shared": "the stage, for other processes",
    "pytest_ftgate.answers.shared_stage._from_json": "the stage, read back",
    "pytest_ftgate.report.machine.text": "--ft-json",
    "pytest_ftgate.run.reporting.make_report": "what all files are made of",
    "pytest_ftgate.run.evidence.Draft": "receipt, written",
    "pytest_ftgate.trust.receipt.writing.Draft.publish": "receipt, put in its place",
    "pytest_ftgate.run.evidence.take": "digests of candidate and base, before and after",
    "pytest_ftgate.model.base_digests.file_sha256": "digest of a file of the base",
    "pytest_ftgate.files.digests.file_sha256": "digest of a file of the candidate",
    "pytest_ftgate.model.identity.read_manifest": "ftgate.json",
    "pytest_ftgate.model.adapter.read_header": "header of the weights",
    "pytest_ftgate.run.session.load_evalset": "eval set",
    "pytest_ftgate.answers.engine.hf_load._load_model": "weights of the base",
    "pytest_ftgate.answers.engine.hf_load._load_tokenizer": "tokenizer",
    "pytest_ftgate.answers.engine.hf_load.put_adapter": "weights of the adapter",
    "pytest_ftgate.answers.engine.hf_load.read_back": "read-back",
    "pytest_ftgate.answers.engine.hf.HFEngine.encode": "a prompt",
    "pytest_ftgate.answers.engine.hf.HFEngine._answer": "a batch",
    "pytest_ftgate.run.for_gates.judge": "a gate",
    "pytest_ftgate.run.controller.decide": "the run verdict",
}
FAULTS: dict[str, Callable[[], BaseException]] = {
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "MemoryError": MemoryError,
    "KeyboardInterrupt": KeyboardInterrupt,
}
TIMES = ("counts", "command", "ledger")
"""Keys of --ft-json that another run may have otherwise: what was stored already."""


class Fault:
    """Calls are counted, and one of them fails."""

    def __init__(self, real: Callable[..., Any], at: int, error: Callable[[], BaseException]) -> None:
        self._real, self._at, self._error = real, at, error
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls == self._at:
            raise self._error()
        return self._real(*args, **kwargs)


def wrapped(fault: Fault) -> Any:
    """A function again, so that it binds as a method does."""
    return lambda *args, **kwargs: fault(*args, **kwargs)


def judged(project: Project) -> Run:
    return project.run("--ft-model=runs/good", *OUTPUTS, "evals")


def run_with(project: Project, point: str, at: int, error: Callable[[], BaseException]) -> tuple[Run | None, int]:
    """(the run, None where Ctrl-C went through all of it; calls of the point)."""
    with pytest.MonkeyPatch.context() as patch:
        fault = Fault(pkgutil.resolve_name(point), at, error)
        patch.setattr(point, wrapped(fault))
        try:
            return judged(project), fault.calls
        except KeyboardInterrupt:
            return None, fault.calls


def may_ship(project: Project) -> bool:
    return main([str(project.root / "runs" / "good"), "--receipt", str(project.root / RECEIPT)]) == 0


def assert_honest(project: Project, run: Run | None) -> None:
    """Exit code 0, SHIP, and a receipt that verifies: all three, or none (P6)."""
    path = project.root / "v.json"
    written = json.loads(path.read_text())["verdict"] if path.exists() else ""
    shipped = run is not None and run.code == 0
    assert may_ship(project) == shipped
    assert shipped or written != "SHIP"
    if shipped:
        assert written in ("SHIP", "")
        found = receipt(Run(0, "", project.root))
        assert found is not None
        assert found["coverage"]["errors"] == 0


def told(project: Project) -> dict[str, Any]:
    found = json.loads((project.root / "v.json").read_text())
    return {key: value for key, value in found.items() if key not in TIMES}


def faults(project: Project, point: str, kinds: Iterator[str], limit: int) -> None:
    undisturbed = judged(project)
    assert undisturbed.code == 0, undisturbed.out
    expected = told(project)
    # One call more than there are ends the search: nothing fails any more.
    for at in range(1, limit + 1):
        shutil.rmtree(project.root / ".ftgate", ignore_errors=True)  # so that there is something to store
        run, calls = run_with(project, point, at, FAULTS[next(kinds)])
        if calls < at:
            assert at > 1, f"{point} is never called"
            break
        assert_honest(project, run)
    again = judged(project)
    assert again.code == 0, again.out
    assert told(project) == expected


@pytest.mark.parametrize("point", POINTS)
def test_f29_p8_a_fault_never_ships_and_leaves_nothing_behind(project: Project, point: str) -> None:
    """The first calls of each point; the kinds of fault take turns over calls and points."""
    turn = list(POINTS).index(point)
    faults(project, point, itertools.islice(itertools.cycle(FAULTS), turn, None), 2)


KILL = """
import signal
calls = 0
real = {target}
def killing(*args, **kwargs):
    global calls
    calls += 1
    if calls == {at} and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
"""
FSYNC = KILL.replace("{target}", "os.fsync") + "patch.setattr(os, 'fsync', killing)\n"
ANSWER = (
    "from pytest_ftgate.answers.engine.hf import HFEngine\n"
    + KILL.replace("{target}", "HFEngine._answer")
    + "patch.setattr(HFEngine, '_answer', killing)\n"
)


def killed(project: Project, source: str, at: int) -> None:
    """A run that is killed at a call, and the same command once more."""
    conftest(source.replace("{at}", str(at)))(project)
    command = ("--ft-model=runs/good", *OUTPUTS, "--ft-cache=base", "-p", "no:hypothesispytest", "evals")
    project.write("v.json", "{}")
    run = project.process(*command)
    if not (project.root / "killed").exists():
        assert run.code == 0, run.out
        return
    assert run.code == -signal.SIGKILL
    assert not may_ship(project)
    assert not (project.root / "v.json").exists() or json.loads((project.root / "v.json").read_text())["exit_code"]
    again = project.run(*command)
    assert again.code == 0, again.out
    killed_before = told(project)
    shutil.rmtree(project.root / ".ftgate")
    assert judged(project).code == 0
    assert told(project) == killed_before
    assert list(project.root.glob("*.draft")) == []


@pytest.mark.parametrize("source", [FSYNC], ids=["write"])
def test_f30_p8_killed_and_run_again(project: Project, source: str) -> None:
    killed(project, source, 1)


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("source", [FSYNC, ANSWER], ids=["write", "answer"])
def test_f30_p8_killed_at_every_point(project: Project, source: str, at: int) -> None:
    killed(project, source, at)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("point", POINTS)
def test_f29_p8_every_fault_at_every_call(project: Project, point: str, kind: str) -> None:
    faults(project, point, itertools.repeat(kind), 40)
