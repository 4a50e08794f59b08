"""Engines of one's own: named by --ft-engine or put in place by a fixture, and no library of another engine needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from gateproject import Project

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_engine" / "lookup.py"
FIXTURE = """
import pytest
from lookup import make

@pytest.fixture(scope="session")
def ft_engine(ft_candidate):
    return make(ft_candidate, None)
"""
BLOCKER = """\
from importlib.machinery import PathFinder

real = PathFinder.find_spec
hidden = {names!r}

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else real(name, path, target)

PathFinder.find_spec = find_spec
"""
HEAVY = ("torch", "transformers", "peft", "safetensors", "tokenizers")


@pytest.fixture
def table(project: Project) -> Project:
    """A project with the engine of the example, whose table holds the references for the candidate."""
    shutil.copy(EXAMPLE, project.root / "lookup.py")
    known = {}
    for path in sorted((project.root / "evals").glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            if isinstance(row.get("target"), str) and "q" in row:
                known[row["q"]] = row["target"]
    # The base knows half, so that there is something to gain, and nothing to forget.
    base = {question: answer if i % 2 else "no idea" for i, (question, answer) in enumerate(sorted(known.items()))}
    project.write("answers.json", json.dumps({"candidate": known, "base": base}))
    project.write("blocker.py", BLOCKER.format(names=HEAVY))
    return project


ASKED = ("--ft-model=runs/good", "--ft-json=v.json", "evals", "-k", "target")


@pytest.mark.parametrize("how", ["option", "fixture"])
def test_r9_an_engine_of_ones_own_needs_no_library_of_another(table: Project, how: str) -> None:
    if how == "fixture":
        table.write("evals/conftest.py", FIXTURE)
    named = ["--ft-engine=lookup:make"] if how == "option" else []
    run = table.process("-p", "blocker", *ASKED, *named, PYTHONPATH=f"{table.root}:{Path(__file__).parents[2]}")
    assert (table.root / "v.json").exists(), run.out
    assert run.outcomes == {"target::accuracy": "PASS", "target::beats_baseline": "PASS"}, run.out
    assert run.verdict["engine"]["engine"] == "lookup"


def test_r9_the_engine_that_needs_them_says_what_is_missing(table: Project) -> None:
    run = table.process("-p", "blocker", *ASKED, PYTHONPATH=f"{table.root}:{Path(__file__).parents[2]}")
    assert set(run.outcomes.values()) == {"ERROR"}
    assert "the engine hf needs torch, transformers, peft, safetensors" in run.out
    assert 'pip install "pytest-ftgate[hf]"' in run.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hg", "write one of hf, or pkg.module:factory"),
        ("hf:", "there is no such engine"),
        ("lookup:", "there is no such engine"),
        (":make", "there is no such engine"),
        ("look-up:make", "there is no such engine"),
        ("nowhere_to_be_found:make", "no module 'nowhere_to_be_found'"),
    ],
)
def test_an_engine_that_is_not_there_is_a_usage_error(table: Project, name: str, said: str) -> None:
    run = table.gates("evals", f"--ft-engine={name}")
    assert run.code == 4
    assert said in run.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def other(*_): pass", "has no function 'make'"),
        ("def make(*_): return object()", "which has no method fingerprint, generate and describe"),
        ("def make(*_): raise OSError('no server')", "OSError: no server"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
    ],
)
def test_an_engine_that_cannot_be_made_is_an_error_and_no_failure(table: Project, text: str, said: str) -> None:
    module = f"broken{abs(hash(text))}"
    table.write(f"{module}.py", text)
    run = table.gates("evals", f"--ft-engine={module}:make", "--ft-verdict=require", "-k", "target")
    assert run.code == 21, run.out
    assert said in run.out.replace("\n", " ")
    assert set(run.outcomes.values()) == {"ERROR"}


def test_answers_without_tokens_are_stored_and_found_again(table: Project) -> None:
    first = table.gates("evals", "--ft-engine=lookup:make", "-k", "target")
    again = table.gates("evals", "--ft-engine=lookup:make", "-k", "target")
    assert first.outcomes == again.outcomes
    assert {c["generated"] for c in again.verdict["counts"].values()} == {0}


def test_a_question_that_the_engine_cannot_answer_is_an_error(table: Project) -> None:
    table.write("answers.json", json.dumps({"candidate": {}, "base": {}}))
    run = table.gates("evals", "--ft-engine=lookup:make", "-k", "target", "--ft-verdict=require")
    assert run.code == 21
    assert set(run.outcomes.values()) == {"ERROR"}
