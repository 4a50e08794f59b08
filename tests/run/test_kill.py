"""kill -9 at any moment: the next run ends as an undisturbed one, serves nothing broken, makes what is missing."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from gateproject import Project
from tinymodel import settings

from pytest_ftgate.answers import side as asking
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.stage import StageResult, Work, run_stage
from pytest_ftgate.evalset.loader import load_evalset


def work(project: Project) -> list[Work]:
    evalsets = [load_evalset(project.root / "evals" / f"{name}.eval.yaml") for name in ("target", "general")]
    return [Work(e, tuple(gate.kind for gate in e.gates), ()) for e in evalsets]


def answered(asked: list[Work], engine: HFEngine, root: Path) -> StageResult:
    return run_stage(asked, engine, store_root=root, store_key=bytes(32), cache="all", report=lambda progress: None)


def texts(result: StageResult) -> dict[tuple[str, str, str], str]:
    return {
        (evalset, system, example): generation.text
        for evalset, systems in result.generations.items()
        for system, answers in systems.items()
        for example, generation in answers.items()
    }


def wait_for_an_answer(store: Path, child: multiprocessing.process.BaseProcess) -> None:
    while child.is_alive() and not any(path.stat().st_size for path in store.rglob("*.jsonl")):
        time.sleep(0.005)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_and_run_again(kills: int, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "FLUSH_SECONDS", 0.0)
    asked, engine = work(project), HFEngine(project.world.candidate(), settings(batch_size=4))
    began = time.monotonic()
    whole = answered(asked, engine, tmp_path / "undisturbed")
    took = time.monotonic() - began
    total = sum(side["generated"] for side in whole.counts.values())
    moments = random.Random(7)
    resumed = 0
    # A forked child has torch and the model already: a kill costs no start-up.
    forked = multiprocessing.get_context("fork")
    for number in range(kills):
        store = tmp_path / f"killed{number}"
        child = forked.Process(target=answered, args=(asked, engine, store))
        child.start()
        if number % 2:  # else the kill may come at any moment, also before the first answer
            wait_for_an_answer(store, child)
        child.join(moments.uniform(0.0, took / 2))
        if child.pid is not None and child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        again = answered(asked, engine, store)
        assert texts(again) == texts(whole)
        stored = sum(side["stored"] for side in again.counts.values())
        made = sum(side["generated"] for side in again.counts.values())
        assert stored + made == total
        # At most one line can be cut off, and it is made again.
        assert sum(side["rejected"] for side in again.counts.values()) <= 1
        resumed += 0 < stored < total
    assert resumed >= kills // 4
