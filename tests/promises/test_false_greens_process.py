"""False greens of processes, workers and exit codes: what was lost on the way never ships (F15 to F30)."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from falsegreens import OUTPUTS, RECEIPT, Row, check, conftest, replace, together, verified
from gateproject import Project, Run
from tinymodel import write_evalset

SCORER = """\
import itertools, os, sys
calls = itertools.count()

def score(example, generation):
    {body}
"""


def bad(*names: str) -> Callable[[Project], None]:
    """A folder `some` that holds only these of the bad eval sets."""

    def change(project: Project) -> None:
        (project.root / "some").mkdir()
        for name in names:
            for part in (f"{name}.eval.yaml", f"{name}.jsonl", "shots.jsonl"):
                (project.root / "some" / part).write_bytes((project.root / "bad" / part).read_bytes())

    return change


def scored_by(body: str) -> Callable[[Project], None]:
    """evals/target.eval.yaml scored by a function of the user."""

    def change(project: Project) -> None:
        replace(project.root / "evals" / "target.eval.yaml", "scorer: exact", "scorer: own_scorer:score")
        project.write("evals/own_scorer.py", SCORER.format(body=body))

    return change


RERUN = """
from _pytest.runner import runtestprotocol
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    for _ in range(4):
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item._initrequest()
    return True
"""
"""What rerun plugins do, more often, and all of its reports are seen."""

STATUS = """
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    yield
    session.exitstatus = 0
"""

BREAKS_SUMMARY = """
def broken(*args):
    raise RuntimeError("no table")
patch.setattr("pytest_ftgate.report.summary.gate_table", broken)
"""

OUT_OF_MEMORY = """
import torch
from pytest_ftgate.answers.engine.hf import HFEngine
def answer(*args, **kwargs):
    raise torch.OutOfMemoryError("CUDA out of memory")
patch.setattr(HFEngine, "_answer", answer)
"""

LONG_ONES_FAIL = """
from pytest_ftgate.answers.engine import hf
real = hf.cannot_be_asked
def limited(request, *more):
    return real(request, *more) or ("out of memory" if len(request.token_ids) > 20 else "")
patch.setattr(hf, "cannot_be_asked", limited)
"""

SOME_ARE_LOST = """
from pytest_ftgate.answers.engine.hf import HFEngine
real = HFEngine.generate
def generate(self, requests, *, tuned):
    for index, generation in real(self, requests, tuned=tuned):
        if index:
            yield index, generation
patch.setattr(HFEngine, "generate", generate)
"""

ALL_FAIL = """
from pytest_ftgate.answers.engine import hf
patch.setattr(hf, "cannot_be_asked", lambda *args: "no answer was obtained")
"""

NAN_LOGPROBS = """
from pytest_ftgate.answers.engine import labels
patch.setattr(labels, "score", lambda model, batch, given: [[float("nan")] * len(row) for row in given])
"""

NAN_LOGITS = """
from pytest_ftgate.answers.engine import decode
real = decode.step
def overflowing(*args):
    logits = real(*args)
    logits[0, 7] = float("nan")
    return logits
patch.setattr(decode, "step", overflowing)
"""


def by_loglikelihood(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    replace(path, "scorer: exact", "scorer: {choice: {labels: [yes, no], by: loglikelihood}}")
    lines = (project.root / "evals" / "target.jsonl").read_text().splitlines()
    rows = [{**json.loads(line), "target": "yes"} for line in lines]
    project.write("evals/target.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def cannot_write(name: str) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        (project.root / name).mkdir()

    return change


STUB = """
from pytest_ftgate.results import Generation
class Stub:
    def encode(self, prompt, *, tuned):
        return tuple(prompt.messages[-1].content.encode())
    def fingerprint(self, *, tuned):
        return "stub"
    def generate(self, requests, *, tuned):
        for i, request in enumerate(requests):
            yield i, Generation("yes", (1,), "stop", 1)
    def describe(self):
        return {"model": "stub"}
@pytest.fixture(scope="session")
def ft_engine():
    return Stub()
"""


def answered_yes(project: Project) -> None:
    write_evalset(project.root / "stubbed", "stubbed", "accuracy: {min: 0.5}", ["yes"] * 60)


ROWS = [
    Row(
        "f20_the_summary_breaks_on_ship", "SHIP", "could not write the summary: RuntimeError", conftest(BREAKS_SUMMARY)
    ),
    Row(
        "f20_the_summary_breaks_on_block",
        "BLOCK",
        "could not write the summary: RuntimeError",
        together(bad("accuracy_fail"), conftest(BREAKS_SUMMARY, "some")),
        args=("some",),
    ),
    Row(
        "f22_rerun_of_a_failed_gate",
        "BLOCK",
        "accuracy_fail::accuracy failed",
        together(bad("accuracy_fail"), conftest(RERUN, "some")),
        args=("some",),
    ),
    Row(
        "f22_rerun_of_an_unsure_gate",
        "INCONCLUSIVE",
        "accuracy_unsure::accuracy",
        together(bad("accuracy_unsure"), conftest(RERUN, "some")),
        args=("some",),
    ),
    Row(
        "f22_rerun_with_a_scorer_that_draws_lots",
        "BLOCK",
        "target::accuracy",
        together(scored_by("return float(next(calls) >= 60)"), conftest(RERUN)),
    ),
    Row("f25_out_of_memory", "NOT_EVALUATED", "could not be judged", conftest(OUT_OF_MEMORY), also=["out of memory"]),
    Row("f25_long_prompts_are_lost", "NOT_EVALUATED", "could not be judged", conftest(LONG_ONES_FAIL)),
    Row("f25_an_engine_loses_answers", "NOT_EVALUATED", "could not be judged", conftest(SOME_ARE_LOST)),
    Row("f26_every_example_is_an_error", "NOT_EVALUATED", "could not be judged", conftest(ALL_FAIL)),
    Row("f27_a_score_that_is_nan", "NOT_EVALUATED", "could not be judged", scored_by("return float('nan')")),
    Row(
        "f27_logprobs_that_are_nan",
        "NOT_EVALUATED",
        "could not be judged",
        together(by_loglikelihood, conftest(NAN_LOGPROBS)),
    ),
    Row("f27_logits_that_are_nan", "NOT_EVALUATED", "could not be judged", conftest(NAN_LOGITS), also=["hold NaN"]),
    Row(
        "f84_another_engine_left_in_a_conftest",
        "NOT_EVALUATED",
        "the engine does not say that it judged these files",
        together(answered_yes, conftest(STUB, "stubbed")),
        args=("stubbed",),
    ),
]


# -- what only a process of its own can show ---------------------------------------------------------------------------


def quick(project: Project, *args: str, **environment: str) -> Run:
    return project.process("--ft-model=runs/good", *OUTPUTS, "-p", "no:hypothesispytest", *args, **environment)


@pytest.mark.parametrize(
    "arguments", [("-p", "no:ftgate"), ("-p", "no:ftgate", "--collect-only")], ids=["run", "collect_only"]
)
def test_f2_without_the_plugin_the_option_is_unknown(project: Project, arguments: tuple[str, ...]) -> None:
    run = quick(project, "evals", *arguments)
    check(run, None, "unrecognized arguments")


def test_f2_without_plugin_and_option_nothing_was_judged(project: Project) -> None:
    """Nothing in the process can help: what deploys must ask for a receipt."""
    project.write("evals/test_other.py", "def test_other():\n    pass\n")
    run = project.process("evals", "-p", "no:hypothesispytest", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    assert run.code == 0
    assert not (project.root / RECEIPT).exists()
    assert verified(project) == 34


def test_f18_another_plugin_resets_the_exit_status(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bad("accuracy_fail")(project)
    conftest(STATUS, "some")(project)
    run = project.run("--ft-model=runs/good", *OUTPUTS, "some")
    assert (run.code, run.verdict["verdict"], run.verdict["exit_code"]) == (1, "BLOCK", 1)
    assert verified(project) == 1


@pytest.mark.parametrize(
    ("shell", "code"), [(["bash", "-e"], 0), (["bash", "-eo", "pipefail"], 4)], ids=["plain", "pipefail"]
)
def test_f19_a_pipe_loses_the_exit_code_and_pipefail_keeps_it(project: Project, shell: list[str], code: int) -> None:
    """GitHub's default shell is `bash -e`; `shell: bash` adds pipefail. `|| true` and `continue-on-error` are docs."""
    command = shlex.join([sys.executable, "-m", "pytest", "--ft-model=runs/god", "evals"])
    done = subprocess.run([*shell, "-c", f"{command} 2>&1 | tee log.txt"], cwd=project.root, capture_output=True)
    assert done.returncode == code
    assert verified(project) == 34


def test_f86_a_scorer_that_ends_the_process(project: Project) -> None:
    """Exit code 0 and no output at all; no file that says SHIP either, not even an old one."""
    project.write("v.json", '{"verdict": "SHIP"}')
    project.write(RECEIPT, '{"predicateType": "old", "predicate": {"verdict": "SHIP"}}')
    scored_by("return 1.0")(project)
    with (project.root / "evals" / "own_scorer.py").open("a") as file:
        file.write("\nos._exit(0)\n")
    run = quick(project, "evals")
    assert run.code == 0
    assert not (project.root / "v.json").exists()
    assert not (project.root / RECEIPT).exists()
    assert verified(project) == 34


@pytest.mark.slow
def test_f87_assertions_that_are_optimised_away(project: Project) -> None:
    """`python -O` takes every `assert` out: no verdict may rest on one."""
    bad("accuracy_fail")(project)
    check(quick(project, "some", PYTHONOPTIMIZE="1"), "BLOCK", "accuracy_fail::accuracy failed")


def test_f87_no_assertion_decides_anything() -> None:
    for package in ("pytest_ftgate", "training"):
        for path in (Path(__file__).parents[2] / package).rglob("*.py"):
            found = [
                n.lineno for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Assert)
            ]
            assert found == [], path
