"""Workers: one model load, the same verdicts, and a worker that dies never ships anything."""

from __future__ import annotations

import json
import re
import textwrap

import pytest
from gateproject import Project

COUNTING = """
import os
from pytest_ftgate.answers.engine import hf_load

real = hf_load.load

def counted(candidate, settings):
    with open("loads.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
    return real(candidate, settings)

hf_load.load = counted
"""


def conftest(project: Project, folder: str, text: str) -> None:
    project.write(f"{folder}/conftest.py", "import os, pytest\n" + textwrap.dedent(text))


def test_workers_share_one_model_and_agree_with_a_run_without_them(project: Project) -> None:
    alone = project.gates("evals", "bad", "--ft-cache=off")
    conftest(project, ".", COUNTING)
    run = project.process(
        *("evals", "bad", "-n", "2", "--ft-model=runs/good", "--ft-cache=off", "--ft-verdict=require"),
        *("--ft-json=v.json", "--junitxml=j.xml", "--ft-receipt=r.json", "-p", "no:hypothesispytest"),
    )
    assert run.code == 1, run.out
    told = json.loads((project.root / "r.json").read_text())["predicate"]
    assert (told["verdict"], len(told["gates"]), len(told["evalsets"])) == ("BLOCK", 11, 10)
    assert len((project.root / "loads.txt").read_text().splitlines()) == 1
    assert "[100%]" in run.out
    assert not re.search(r"\[(10[1-9]|1[1-9]\d|[2-9]\d\d)%\]", run.out)  # no more than all of the tests
    assert run.verdict["gates"] == alone.verdict["gates"]
    assert run.verdict["counts"] == alone.verdict["counts"]
    assert run.verdict["reason"] == alone.verdict["reason"]
    assert "ftgate.verdict" in run.junit
    assert len(run.junit) == 12
    found = {p.get("name") for p in run.junit["evals.target.eval.yaml.accuracy"].iter("property")}
    assert "ftgate.p" in found
    assert not {"ftgate.verdict", "ftgate.stage", "ftgate.evalset"} & found


NO_MODEL = """
@pytest.fixture(scope="session")
def ft_engine():
    raise RuntimeError("no model is needed here")
"""


@pytest.mark.parametrize(
    "trick",
    [
        """
        def pytest_runtest_setup(item):
            if item.name == "accuracy" and "PYTEST_XDIST_WORKER" in os.environ:
                os._exit(0)
        """,
        """
        def pytest_collection_finish(session):
            if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
                os._exit(0)
        """,
        """
        def pytest_runtest_logreport(report):
            if "PYTEST_XDIST_WORKER" in os.environ:
                os._exit(0)
        """,
        """
        def pytest_runtest_setup(item):
            if item.name == "accuracy" and "PYTEST_XDIST_WORKER" in os.environ:
                pytest.exit("enough", returncode=0)
        """,
        """
        def pytest_collection_modifyitems(items):
            if "PYTEST_XDIST_WORKER" in os.environ:
                del items[:]
        """,
    ],
    ids=["dies_in_setup", "dies_at_collection", "dies_before_it_reports", "exits", "drops_all"],
)
def test_f15_f16_a_worker_that_dies_or_drops_gates_never_ships(project: Project, trick: str) -> None:
    conftest(project, "evals", textwrap.dedent(NO_MODEL) + textwrap.dedent(trick))
    options = ("-n", "1", "--max-worker-restart=1", "--ft-verdict=require", "-p", "no:hypothesispytest")
    run = project.process("evals", "--ft-model=runs/good", *options)
    assert run.code != 0, run.out
    assert "SHIP:" not in run.out


def test_bad_input_is_the_same_usage_error_in_workers(project: Project) -> None:
    project.write("evals/target.jsonl", "")
    run = project.process("evals", "-n", "2", "--ft-model=runs/good", "-p", "no:hypothesispytest")
    assert run.code == 4, run.out
    assert "expected at least one example, found none" in run.out
    assert "Traceback" not in run.out


def test_a_failed_load_is_tried_once_and_told_by_every_gate(project: Project) -> None:
    conftest(
        project,
        ".",
        """
        from pytest_ftgate.answers.engine import hf
        from pytest_ftgate.errors import EngineError

        def broken(candidate, settings):
            with open("loads.txt", "a") as file:
                file.write("one\\n")
            raise EngineError("the weights do not fit", fix="use a smaller model")

        hf.hf_load.load = broken
        """,
    )
    run = project.process(
        "evals", "-n", "2", "--ft-model=runs/good", "--ft-verdict=require", "-p", "no:hypothesispytest"
    )
    assert run.code == 21, run.out
    assert (project.root / "loads.txt").read_text() == "one\n"
    assert run.out.count("the weights do not fit") >= 4
    assert "Traceback" not in run.out
