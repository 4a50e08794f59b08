"""Tests that users write: `ft_results` of the eval sets that they mark, decided as gates decide."""

from __future__ import annotations

import json

import pytest
from gateproject import Project
from tinymodel import N

MINE = """
import pytest

from pytest_ftgate import assert_accuracy, assert_beats_baseline, assert_format, assert_no_forgetting, assert_no_overlap

@pytest.mark.ft_evalset("evals/shape.eval.yaml")
@pytest.mark.ft_evalset("evals/target.eval.yaml")
def test_holds(ft_results):
    target = ft_results["target"]
    refunds = target.where(topic="refund")
    assert (len(target), len(refunds)) == (60, 30)
    assert {system: len(answers) for system, answers in target.answers.items()} == dict.fromkeys(target.answers, 60)
    assert_accuracy(refunds, at_least=0.5)
    assert_beats_baseline(refunds, min_gain=0.05)
    assert_format(ft_results["shape"], min_rate=0.8, regex="[ -~]*")
    assert_no_overlap(target)

@pytest.mark.ft_evalset("evals/target.eval.yaml")
def test_fails(ft_results):
    assert_accuracy(ft_results["target"], at_least=0.999)

@pytest.mark.ft_evalset("bad/accuracy_fail.eval.yaml")
def test_fails_badly(ft_results):
    assert_accuracy(ft_results["accuracy_fail"], at_least=0.5)

@pytest.mark.ft_evalset("evals/target.eval.yaml")
def test_cannot_judge(ft_results):
    assert_no_forgetting(ft_results["target"], max_drop=0.1)

def test_names_none(ft_results):
    ft_results["general"]
"""
ONE = """
import pytest
from pytest_ftgate import assert_accuracy

@pytest.mark.ft_evalset({path})
def test_mine(ft_results):
    assert_accuracy(ft_results["target"], at_least=0.5)
"""


def with_topics(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == N
    topics = ("refund", "other")
    path.write_text("".join(json.dumps({**row, "topic": topics[i % 2]}) + "\n" for i, row in enumerate(rows)))


def test_own_tests_pass_fail_and_are_errors_as_gates_are(project: Project) -> None:
    with_topics(project)
    project.write("test_mine.py", MINE)
    run = project.gates("--junitxml=j.xml", "--strict-markers", "test_mine.py", "evals", "--ft-verdict=require")
    cases = {name.rpartition(".")[2]: case for name, case in run.junit.items()}

    def said(test: str, kind: str) -> str:
        found = [str(part.get("message")) + str(part.text) for part in cases[test].findall(kind)]
        assert len(found) == 1, (test, run.out)
        return found[0]

    assert list(cases["test_holds"].findall("*")) == [], run.out
    failed = said("test_fails", "failure")
    assert "INCONCLUSIVE target::accuracy: " in failed
    assert "FAIL accuracy_fail::accuracy: " in said("test_fails_badly", "failure")
    assert "nobody asked what forgetting compares with (base)" in said("test_cannot_judge", "error")
    assert "no selected test names the eval set 'general'" in said("test_names_none", "error")
    # Gates are judged beside them, and no run ships whose own tests failed.
    assert set(run.outcomes.values()) == {"PASS"}
    assert run.verdict["verdict"] != "SHIP"
    assert run.code not in (0, 4, 3)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ('"evals/nowhere.eval.yaml"', "nowhere.eval.yaml"),
        ("", "expected ft_evalset with one path"),
        ("3", "expected ft_evalset with one path"),
        ('"evals/target.eval.yaml", "evals/shape.eval.yaml"', "expected ft_evalset with one path"),
        ('"copy/target.eval.yaml"', "two eval sets are called"),
        ('"sealed/sealed.eval.yaml"', "counts its attempts"),
    ],
)
def test_a_mark_that_cannot_be_used_is_an_error_and_no_pass(project: Project, path: str, said: str) -> None:
    for folder, head in (("copy", "name: target\n"), ("sealed", "attempts: {spend: harmonic, feedback: sealed}\n")):
        for part in ("target.eval.yaml", "target.jsonl", "shots.jsonl"):
            text = (project.root / "evals" / part).read_text()
            name = part.replace("target.eval", f"{folder}.eval") if folder == "sealed" else part
            project.write(f"{folder}/{name}", head + text if part.endswith(".yaml") else text)
    project.write("test_mine.py", ONE.format(path=path))
    run = project.gates("test_mine.py", "evals")
    assert said in run.out
    assert "1 error" in run.out
    assert run.verdict["verdict"] != "SHIP"


def test_without_a_model_own_tests_are_skipped_as_gates_are(project: Project) -> None:
    project.write("test_mine.py", ONE.format(path='"evals/target.eval.yaml"'))
    project.write("test_engine.py", "def test_one(ft_engine, ft_candidate):\n    raise AssertionError\n")
    run = project.run("--strict-markers", "-rs", "test_mine.py", "test_engine.py")
    assert run.code == 0, run.out
    assert "2 skipped" in run.out
    assert "needs --ft-model=DIR" in run.out


def test_own_tests_alone_are_judged_and_make_no_verdict(project: Project) -> None:
    project.write("test_mine.py", ONE.format(path='"evals/target.eval.yaml"'))
    run = project.gates("test_mine.py", "-p", "no:cacheprovider")
    assert "1 passed" in run.out
    assert "SHIP:" not in run.out
