"""Our names beside other people's: packages of the user with everyday names, and the other project called ftgate."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from gateproject import Project
from tinymodel import BASELINES, write_evalset

from pytest_ftgate.evalset.loader import load_evalset
from training.prompt_first import climb

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).parent / "pytest-ftgate"
PACKAGES = ("evalsets", "training")
OTHER = {
    "ftgate.py": 'def main():\n    print("the other ftgate")\n',
    "ftgate_plugin.py": 'def pytest_report_header():\n    return "header of the other ftgate"\n',
    "ftgate-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: ftgate\nVersion: 9.9\n",
    "ftgate-9.9.dist-info/entry_points.txt": (
        "[console_scripts]\nftgate = ftgate:main\n\n[pytest11]\nftgate = ftgate_plugin\n"
    ),
    "ftgate-9.9.dist-info/RECORD": "",
}
"""A stand-in for the distribution `ftgate` of another project: its script and its pytest entry point."""


def with_own_packages(
    project: Project, *, text: str = 'raise RuntimeError("the package of the user was run")\n'
) -> None:
    for name in PACKAGES:
        project.write(f"{name}/__init__.py", text)
    (project.root / "evals").rename(project.root / "evalsets" / "mine")


def called(project: Project, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_x7_packages_of_the_user_called_evalsets_and_training(project: Project) -> None:
    with_own_packages(project, text='MINE = "of the user"\n')
    project.write(
        "evalsets/test_own.py",
        "import evalsets, training\n\ndef test_own():\n    assert evalsets.MINE\n    assert training.MINE\n",
    )
    run = project.process("--ft-model=runs/good", "--ft-json=v.json", "--ft-verdict=require", "evalsets")
    assert run.code == 0, run.out
    assert "1 passed" not in run.out  # its gates too
    assert set(run.outcomes) == {"general::forgetting", "shape::format", "target::accuracy", "target::beats_baseline"}
    assert set(run.outcomes.values()) == {"PASS"}


@pytest.mark.parametrize("how", ["script", "module"])
def test_x7_train_is_ours_inside_a_project_with_a_package_of_that_name(project: Project, how: str) -> None:
    with_own_packages(project)
    command = [SCRIPT] if how == "script" else [sys.executable, "-m", "pytest_ftgate"]
    done = called(project, *command, "train", "--help")
    assert done.returncode == 0, done.stderr
    assert "Train a LoRA adapter" in done.stdout


def test_x7_the_ladder_before_training_is_ours_too(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is a process of its own: nothing of the folder where the user stands is imported in it."""
    zero = project.world.texts["baseline:zero_shot"]
    path = write_evalset(project.root / "easy", "easy", "accuracy: {min: 0.5}", zero, baselines=BASELINES)
    with_own_packages(project)
    project.write("tabulate.py", 'raise RuntimeError("the module of the user was run")\n')
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ladder = climb([load_evalset(path)], project.world.base)
    assert ladder.enough, capfd.readouterr()
    assert ladder.notes[0].startswith("ladder: easy: ")


def test_u9_the_other_project_of_the_name_ftgate_is_installed_beside_ours(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    for name, text in OTHER.items():
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text(text)
    run = project.process(
        "--ft-model=runs/good",
        "--ft-json=v.json",
        "--ft-verdict=require",
        "evals",
        PYTHONPATH=f"{other}{os.pathsep}{ROOT}",
    )
    assert run.code == 0, run.out
    assert "header of the other ftgate" in run.out
    assert set(run.outcomes.values()) == {"PASS"}


def test_u9_no_name_of_ours_is_the_other_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["scripts"]) == {"pytest-ftgate"}
    assert set(project["entry-points"]["pytest11"]) == {"pytest_ftgate"}
