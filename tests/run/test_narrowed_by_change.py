"""A change that edits what pytest looks at is still held to the gates of the ref (S5)."""

from __future__ import annotations

import shutil

import pytest
from gateproject import Project
from test_policy_run import commit, git

ASKED = ("--ft-verdict=require", "--ft-policy-ref=main")
NARROWED = {
    "testpaths": ("pytest.ini", "[pytest]\ntestpaths = easy\n"),
    "testpaths_in_pyproject": ("pyproject.toml", '[tool.pytest.ini_options]\ntestpaths = ["easy"]\n'),
    "paths_in_addopts": ("pytest.ini", "[pytest]\naddopts = easy\n"),
    "norecursedirs": ("pytest.ini", "[pytest]\nnorecursedirs = evals\n"),
    "ignore_in_addopts": ("pytest.ini", "[pytest]\naddopts = --ignore=evals\n"),
    "keyword_in_addopts": ("pytest.ini", '[pytest]\naddopts = -k "not forgetting"\n'),
    "deselect_in_addopts": ("pytest.ini", "[pytest]\naddopts = --deselect=evals/general.eval.yaml::forgetting\n"),
    "collect_ignore": ("conftest.py", 'collect_ignore = ["evals"]\n'),
}


def two_folders(project: Project) -> None:
    """`main` holds evals/ and bad/; the change adds an eval set that any model passes."""
    shutil.rmtree(project.root / "bad", ignore_errors=True)
    commit(project)
    (project.root / "easy").mkdir()
    for name in ("shape.eval.yaml", "shape.jsonl"):
        source = project.root / "evals" / name
        if source.exists():
            text = source.read_text().replace("name: shape", "name: easy")
            (project.root / "easy" / name.replace("shape.eval", "easy.eval")).write_text(text)


@pytest.mark.parametrize("how", NARROWED)
def test_s5_a_change_that_narrows_by_configuration_does_not_ship(project: Project, how: str) -> None:
    for name in ("pytest.ini", "pyproject.toml"):
        (project.root / name).unlink(missing_ok=True)
    project.write("pytest.ini", "[pytest]\n")
    two_folders(project)
    if how == "testpaths_in_pyproject":
        (project.root / "pytest.ini").unlink()
    name, text = NARROWED[how]
    project.write(name, text)
    run = project.gates(*ASKED)
    assert run.code not in (0, 1), run.out
    assert "forgetting" in run.out


def test_s5_renamed_files_are_missed(project: Project) -> None:
    two_folders(project)
    shutil.rmtree(project.root / "easy")
    (project.root / "evals" / "general.eval.yaml").rename(project.root / "evals" / "general.yaml")
    run = project.gates(*ASKED)
    assert run.code == 21, run.out
    assert "general::forgetting stands at main and was deleted here or left out by configuration" in run.out


def test_s5_where_the_ref_says_the_same_it_may_ship(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\ntestpaths = ev*\n")
    commit(project)
    assert project.gates(*ASKED).code == 0
    git(project, "commit", "-q", "--allow-empty", "-m", "more")
    assert project.gates("evals", *ASKED).code == 0
