"""One tiny real model for all tests, and pytest runs on copies of its project."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported: one thread, but for who sets another number, and none may reach a hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
from gateproject import OneGate, Project
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


@pytest.fixture
def project(world: World, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose gates all pass, in the current directory."""
    monkeypatch.delenv("CI", raising=False)
    return Project(world.copy(pytester.path), pytester)


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
