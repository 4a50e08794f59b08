"""No answer is stored under a digest of files that another file has taken the place of, however briefly."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from gateproject import SHIPPING, Project, Run
from tinymodel import make_adapter, make_base

from pytest_ftgate import cli
from pytest_ftgate.answers import side as asking
from pytest_ftgate.answers.engine import hf_load
from pytest_ftgate.answers.engine.hf import HFEngine

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"


def answers(project: Project) -> dict[str, list[str]]:
    """File of the store -> its lines."""
    files = (project.root / ".ftgate" / "cache").rglob("*.jsonl")
    return {file.name: sorted(file.read_text().splitlines()) for file in files}


def bad_files(project: Project) -> dict[str, Path]:
    """Sound files of another base and of another adapter."""
    root = project.root
    other = make_base(root / "other", seed=7) / WEIGHTS
    adapter = make_adapter(root / "base", root / "retrained", seed=9) / ADAPTER
    return {f"base/{WEIGHTS}": other, f"runs/good/{ADAPTER}": adapter}


Undisturbed = tuple[list[dict[str, Any]], dict[str, list[str]]]
"""What the gates find in a run that nothing disturbs, and what it leaves in the store."""


@pytest.fixture(scope="module")
def known() -> list[Undisturbed]:
    return []


@pytest.fixture
def undisturbed(project: Project, known: list[Undisturbed]) -> Undisturbed:
    """Found once for all tests: the store goes by content. The project is afterwards as it was."""
    if not known:
        run = project.gates("evals")
        assert run.outcomes == SHIPPING
        known.append((told(run), answers(project)))
        assert sum(len(lines) for lines in known[0][1].values()) == 300
        shutil.rmtree(project.root / ".ftgate")
    return known[0]


def told(run: Run) -> list[dict[str, Any]]:
    """What the gates found, but for the attempt that it was."""
    return [{key: gate[key] for key in ("gate", "n", "value")} for gate in run.verdict["gates"]]


class Swap:
    """Another file in a file's place, and the first one back."""

    def __init__(self, path: Path, other: Path) -> None:
        self._path, self._other, self._aside = path, other, path.parent.parent / "aside"

    def away(self, *_: object) -> None:
        self._path.rename(self._aside)
        shutil.copy(self._other, self._path)

    def back(self) -> None:
        if self._aside.exists():
            self._aside.replace(self._path)


def around(monkeypatch: pytest.MonkeyPatch, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    """The first call of a function of hf_load, between two others."""
    real, calls = getattr(hf_load, name), iter([True])

    def call(*args: Any) -> Any:
        first = next(calls, False)
        if first:
            before()
        try:
            return real(*args)
        finally:
            if first:
                after()

    monkeypatch.setattr(hf_load, name, call)


LOADERS = {f"base/{WEIGHTS}": "_load_model", f"runs/good/{ADAPTER}": "put_adapter"}


@pytest.mark.parametrize("restored", ["while loading", "after the run"])
@pytest.mark.parametrize("file", LOADERS)
def test_f91_a_swap_between_hashing_and_loading_stores_no_answer(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Undisturbed,
    file: str,
    restored: str,
) -> None:
    """The bytes that answered never were those of the digest; neither before nor after is there anything to see."""
    swap = Swap(project.root / file, bad_files(project)[file])
    with monkeypatch.context() as patch:
        around(patch, LOADERS[file], swap.away, swap.back if restored == "while loading" else lambda: None)
        run = project.gates("evals")
    swap.back()
    assert run.code != 0
    assert set(run.outcomes.values()) == {"ERROR"}
    side = file.partition("/")[0].replace("runs", "candidate")
    assert f"the files of the {side} changed while they were being used: {Path(file).name}" in run.out
    assert answers(project) == {}
    again = project.gates("evals")
    assert again.outcomes == SHIPPING
    assert told(again) == undisturbed[0]
    assert answers(project) == undisturbed[1]


def test_f91_a_swap_before_loading_is_seen_without_loading(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digests are taken before the collection."""
    swap = Swap(project.root / "base" / WEIGHTS, bad_files(project)[f"base/{WEIGHTS}"])
    project.write("conftest.py", "import swaps\ndef pytest_collection_finish():\n    swaps.away()\n")
    monkeypatch.setitem(sys.modules, "swaps", cast(ModuleType, swap))
    loaded: list[object] = []
    around(monkeypatch, "_load_model", lambda: loaded.append(1), lambda: None)
    run = project.gates("evals", "--ft-receipt=r.json")
    swap.back()
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")
    assert loaded == []
    assert answers(project) == {}


def test_a_file_that_only_is_there_while_a_model_is_loaded(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaded or not, it leaves no trace on any other file; and nothing is generated before that is known."""
    monkeypatch.setattr(HFEngine, "generate", lambda *_, **__: pytest.fail("asked"))
    extra = project.root / "base" / "special_tokens_map.json"
    around(monkeypatch, "_load_model", lambda: project.write("base/special_tokens_map.json", "{}"), extra.unlink)
    run = project.gates("evals")
    assert set(run.outcomes.values()) == {"ERROR"}
    assert "the files of the base changed while they were being used: base/" in run.out


@pytest.mark.parametrize("change", ["replaced", "touched"])
def test_a_change_while_answers_are_made_stores_none_of_the_rest(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: Undisturbed,
    change: str,
) -> None:
    """A touched file may be the same; that it is cannot be known without reading it, so that ends the run too."""
    monkeypatch.setattr(asking, "FLUSH_SECONDS", 0.0)
    path = project.root / "base" / WEIGHTS
    swap = Swap(path, bad_files(project)[f"base/{WEIGHTS}"])
    disturb = swap.away if change == "replaced" else path.touch
    stored: list[dict[str, list[str]]] = []
    real = HFEngine._answer

    def answer(self: HFEngine, *args: Any, **kwargs: Any) -> Any:
        found = real(self, *args, **kwargs)
        stored.append(answers(project))
        if len(stored) == 3:
            disturb()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(HFEngine, "_answer", answer)
        run = project.gates("evals", "--ft-batch-size=16")
    swap.back()
    assert set(run.outcomes.values()) == {"ERROR"}
    assert f"files of the base changed while they were being used: {WEIGHTS}" in run.out
    kept = answers(project)
    assert kept == stored[2]  # nothing from the third batch on
    assert {name: set(lines) <= set(undisturbed[1][name]) for name, lines in kept.items()} == dict.fromkeys(kept, True)
    assert 0 < sum(len(lines) for lines in kept.values()) <= 32
    again = project.gates("evals")
    assert told(again) == undisturbed[0]
    assert answers(project) == undisturbed[1]


OWN = """\
import pathlib, pytest
from countingengine import CountingEngine

class Engine(CountingEngine):
    def generate(self, requests, *, tuned):
        yield from super().generate(requests, tuned=tuned)
        if CHANGES:
            pathlib.Path("base/config.json").touch()

@pytest.fixture(scope="session")
def ft_engine(ft_candidate):
    return Engine()
"""


@pytest.mark.parametrize("changes", [True, False])
def test_an_engine_of_the_users_need_not_know_of_it(project: Project, changes: bool) -> None:
    project.write("evals/conftest.py", OWN.replace("CHANGES", str(changes)))
    run = project.gates("evals")
    assert ("changed while they were being used: config.json" in run.out) is changes
    assert (answers(project) == {}) is changes


def test_digests_are_older_than_what_an_engine_of_the_users_loads(project: Project) -> None:
    """An engine of the user's own loads whenever it likes, but not before it knows from where."""
    test = 'def test_own(ft_candidate):\n    assert {"hashed_base", "hashed_own"} <= set(vars(ft_candidate))\n'
    project.write("test_own.py", test)
    assert "1 passed" in project.gates("test_own.py", "--ft-verdict=off").out


def test_without_a_store_a_change_is_an_error_too(project: Project) -> None:
    project.write("evals/conftest.py", OWN.replace("CHANGES", "True"))
    run = project.gates("evals", "--ft-cache=off")
    assert set(run.outcomes.values()) == {"ERROR"}
    assert "changed while they were being used: config.json" in run.out


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ladder", "calibrate"])
def test_commands_that_ask_the_base_store_nothing_of_another(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    swap = Swap(project.root / "base" / WEIGHTS, bad_files(project)[f"base/{WEIGHTS}"])
    around(monkeypatch, "_load_model", swap.away, swap.back)
    assert cli.main([command, "evals/target.eval.yaml", "--base", "base", "--device", "cpu"]) == 4
    assert f"the files of the base changed while they were being used: {WEIGHTS}" in capsys.readouterr().err
    assert answers(project) == {}
    assert not (project.root / ".ftgate" / "calibration.json").exists()
    assert cli.main([command, "evals/target.eval.yaml", "--base", "base", "--device", "cpu"]) != 4


def test_a_base_that_changes_after_it_was_asked_is_not_calibrated(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, calls = HFEngine.describe, iter((False, False, True))

    def describe(self: HFEngine) -> Any:
        if next(calls):  # the last run: nothing is loaded after it
            (project.root / "base" / "config.json").touch()
        return real(self)

    monkeypatch.setattr(HFEngine, "describe", describe)
    assert cli.main(["calibrate", "evals/target.eval.yaml", "--base", "base", "--device", "cpu"]) == 4
    assert "changed while they were being used: config.json" in capsys.readouterr().err


def test_a_base_that_changes_while_it_climbs_the_ladder(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = HFEngine._answer

    def answer(self: HFEngine, *args: Any, **kwargs: Any) -> Any:
        (project.root / "base" / "config.json").touch()
        return real(self, *args, **kwargs)

    monkeypatch.setattr(HFEngine, "_answer", answer)
    assert cli.main(["ladder", "evals/target.eval.yaml", "--base", "base", "--device", "cpu"]) == 4
    assert "changed while they were being used: config.json" in capsys.readouterr().err
    assert answers(project) == {}


def test_eval_sets_may_lie_in_the_folder_of_the_base(project: Project) -> None:
    """What the run itself makes there is no change of the model."""
    shutil.copytree(project.root / "evals", project.root / "base" / "evals")
    run = project.run("--rootdir=base", "base/evals", "--ft-model=runs/good", "--ft-verdict=require")
    assert run.code == 0
    assert (project.root / "base" / ".ftgate" / "cache").is_dir()
