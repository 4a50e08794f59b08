"""Each process of a run parses an eval-set file once, whatever is asked of the run."""

from __future__ import annotations

from collections import Counter

import pytest
from gateproject import Project

COUNTING = """
import os
from pytest_ftgate.files import strictyaml

_parse = strictyaml.parse_yaml

def counted(text, *, path):
    with open(os.environ["PARSES"], "a") as file:
        file.write(f"{os.getpid()} {path}\\n")
    return _parse(text, path=path)

strictyaml.parse_yaml = counted
"""
POLICY = "version = 1\n[policy]\nrequired = ['accuracy']\n"
EVERYTHING = ("--ft-model=runs/good", "--ft-json=v.json", "--ft-html=v.html", "--ft-receipt=r.json")


@pytest.mark.parametrize(("workers", "processes"), [((), 1), (("-n", "2"), 3)])
def test_each_process_parses_an_eval_set_once(project: Project, workers: tuple[str, ...], processes: int) -> None:
    project.write("conftest.py", COUNTING)
    project.write("ftgate.toml", POLICY)
    log = project.root / "parses"
    run = project.process("evals", "--ft-verdict=require", *EVERYTHING, *workers, PARSES=str(log))
    assert run.code == 0, run.out
    assert (project.root / "v.html").exists()
    assert (project.root / "r.json").exists()
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len({pid for pid, _ in lines}) == processes
    evalsets = Counter((pid, path) for pid, path in lines if path.endswith(".eval.yaml"))
    assert len({path for _, path in evalsets}) == 3
    assert set(evalsets.values()) == {1}
