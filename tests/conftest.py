"""One tiny real model for all tests, and pytest runs on copies of its project."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

# Before torch is imported: one thread, but for who sets another number, and none may reach a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from hypothesis import settings
from pages import make_run
from tinymodel import World, make_world
from training_base import make_base

from pytest_ftgate.report.data import ReportData

# A busy machine must not turn a property red.
settings.register_profile("ftgate", deadline=None)
settings.load_profile("ftgate")

pytest_plugins = ["pytester"]
WARM = (
    *(
        "hypothesis",
        "scipy.stats",
        "sklearn.feature_extraction.text",
        "pytest_ftgate.run.judging",
        "pytest_ftgate.run.controller",
        "pytest_ftgate.report.live",
    ),
    *("pytest_ftgate.report.terminal", "pytest_ftgate.report.machine", "pytest_ftgate.report.files"),
)
"""What a pytest run imports; it forgets, at its end, what was not there at its start, and the next one pays again."""

SHIPPING = {
    "general::forgetting": "PASS",
    "shape::format": "PASS",
    "target::accuracy": "PASS",
    "target::beats_baseline": "PASS",
}
"""The gates of the project's evals/, and what they decide."""


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key that authenticates what is stored lies in the user's state directory: never in the real one here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.delenv("CI", raising=False)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A project whose model may ship. Shared: copy it before you change it."""
    for name in WARM:
        importlib.import_module(name)
    return make_world(tmp_path_factory.mktemp("world"))


@dataclass(frozen=True)
class Run:
    """What one pytest run left behind."""

    code: int
    out: str
    folder: Path

    @property
    def verdict(self) -> dict[str, Any]:
        """The file of --ft-json, read as strict JSON."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in a strict JSON file")

        loaded: dict[str, Any] = json.loads((self.folder / "v.json").read_text(), parse_constant=refuse)
        return loaded

    @property
    def outcomes(self) -> dict[str, str]:
        """Gate -> outcome, from --ft-json."""
        return {gate["gate"]: gate["outcome"] for gate in self.verdict["gates"]}

    @property
    def junit(self) -> dict[str, ElementTree.Element]:
        """`file.name` -> test case, from --junitxml=j.xml."""
        cases = ElementTree.parse(self.folder / "j.xml").iter("testcase")
        return {f"{case.get('classname')}.{case.get('name')}": case for case in cases}


@dataclass(frozen=True)
class Project:
    """A copy of the world in an empty folder, and pytest run in it as a user would."""

    world: World
    pytester: pytest.Pytester

    @property
    def root(self) -> Path:
        return self.world.root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def gates(self, *args: str) -> Run:
        """In this process, with torch loaded already: half a second."""
        return self.run("--ft-model=runs/good", "--ft-json=v.json", *args)

    def run(self, *args: str) -> Run:
        result = self.pytester.runpytest_inprocess(*args)
        return Run(int(result.ret), "\n".join([*result.outlines, *result.errlines]), self.root)

    def process(self, *args: str, **environment: str) -> Run:
        """As a process of its own: what has to be true of imports, exit codes and workers."""
        command = [sys.executable, "-m", "pytest", *args]
        given = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=self.root, env={**given, **environment}, capture_output=True, text=True, timeout=300
        )
        return Run(done.returncode, done.stdout + done.stderr, self.root)


@pytest.fixture
def project(world: World, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose gates all pass, in the current directory."""
    monkeypatch.delenv("CI", raising=False)
    return Project(world.copy(pytester.path), pytester)


OneGate = Callable[..., str]


@pytest.fixture
def only(project: Project) -> OneGate:
    """`only("accuracy_fail")`: a folder that holds just this one of the bad eval sets; its name."""

    def make(*names: str) -> str:
        folder = project.root / ("only_" + "_".join(names))
        folder.mkdir()
        for name in names:
            for part in (f"{name}.eval.yaml", f"{name}.jsonl", "shots.jsonl"):
                (folder / part).write_bytes((project.root / "bad" / part).read_bytes())
        return folder.name

    return make


@pytest.fixture(scope="module")
def blocked() -> ReportData:
    """What the report of a run that must not ship is made from."""
    return make_run(ship=False)


@pytest.fixture(scope="module")
def shipped() -> ReportData:
    """As `blocked`, of a run that may ship."""
    return make_run(ship=True)


@pytest.fixture(scope="module")
def on_the_cpu() -> Iterator[None]:
    """Trainings of this process see no GPU. Of the module, since fixtures of a module train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: False)
        yield


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base to train on, taught to name the thing. Shared: projects copy it."""
    return make_base(tmp_path_factory.mktemp("taught") / "base")
