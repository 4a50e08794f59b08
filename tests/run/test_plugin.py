"""The plugin as a user meets it: pytest runs in a project with a real (tiny) model."""

from __future__ import annotations

import itertools
import json
import re
from types import SimpleNamespace

import pytest
from gateproject import SHIPPING, OneGate, Project

from pytest_ftgate.report.sinks import SINKS


def test_a_good_model_ships_and_everything_says_so(project: Project) -> None:
    run = project.gates("evals", "--ft-verdict=require", "--junitxml=j.xml")
    assert run.code == 0
    assert "SHIP: all 4 gates passed" in run.out
    assert "[100%]" in run.out
    assert "5 passed" in run.out
    assert "warning" not in run.out
    assert run.outcomes == SHIPPING
    assert run.verdict["verdict"] == "SHIP"
    assert run.verdict["exit_code"] == 0
    assert run.verdict["counts"]["candidate"]["generated"] == 120
    assert run.verdict["engine"]["base_digest"] != run.verdict["engine"]["digest"]
    accuracy = next(g for g in run.verdict["gates"] if g["gate"] == "target::accuracy")
    assert (accuracy["n"], accuracy["value"], accuracy["bound"]) == (60, 1.0, 0.5)
    cases = run.junit
    assert set(cases) == {
        "evals.general.eval.yaml.forgetting",
        "evals.shape.eval.yaml.format",
        "evals.target.eval.yaml.accuracy",
        "evals.target.eval.yaml.beats_baseline",
        "ftgate.verdict",
    }
    assert not [c for case in cases.values() for c in case if c.tag in ("failure", "error", "skipped")]
    found = {p.get("name"): p.get("value") for p in cases["evals.target.eval.yaml.accuracy"].iter("property")}
    assert found["ftgate.outcome"] == "PASS"
    assert found["ftgate.n"] == "60"
    assert not {"ftgate.verdict", "ftgate.stage"} & set(found)  # what only the controller reads
    run_verdict = [
        p.get("value") for p in cases["ftgate.verdict"].iter("property") if p.get("name") == "ftgate.run_verdict"
    ]
    assert run_verdict == ["SHIP"]


def test_every_way_not_to_pass_has_its_outcome_and_its_kind_in_junit(project: Project) -> None:
    run = project.gates("bad", "--ft-verdict=require", "--junitxml=j.xml")
    assert run.code == 1
    assert run.outcomes == {
        "accuracy_fail::accuracy": "FAIL",
        "accuracy_unsure::accuracy": "INCONCLUSIVE",
        "beats_fail::beats_baseline": "FAIL",
        "forgetting_fail::forgetting": "FAIL",
        "format_fail::format": "FAIL",
        "nothing_known::forgetting": "ERROR",
        "too_long::accuracy": "ERROR",
    }
    assert run.verdict["verdict"] == "BLOCK"
    kinds = {
        name.removeprefix("bad."): [c.tag for c in case if c.tag != "properties"] for name, case in run.junit.items()
    }
    assert kinds == {
        "accuracy_fail.eval.yaml.accuracy": ["failure"],
        "accuracy_unsure.eval.yaml.accuracy": ["error"],
        "beats_fail.eval.yaml.beats_baseline": ["failure"],
        "forgetting_fail.eval.yaml.forgetting": ["failure"],
        "format_fail.eval.yaml.format": ["failure"],
        "nothing_known.eval.yaml.forgetting": ["error"],
        "too_long.eval.yaml.accuracy": ["error"],
        "ftgate.verdict": ["failure"],
    }
    # What was measured, on how many, against what, and what to do.
    assert "0.0% of 60 examples are right (95% interval 0.0% to 6.0%" in run.out
    assert "look at: e0, e1, e2" in run.out
    assert "do: mix general rows into the training data (replay)" in run.out
    assert "exceed the context of 256" in run.out
    assert "(e59)" in run.out
    assert "Traceback" not in run.out
    assert "tinymodel" not in run.out


@pytest.mark.parametrize(
    ("name", "code", "verdict"),
    [
        ("accuracy_fail", 1, "BLOCK"),
        ("accuracy_unsure", 20, "INCONCLUSIVE"),
        ("too_long", 21, "NOT_EVALUATED"),
        ("nothing_known", 21, "NOT_EVALUATED"),
    ],
)
def test_exit_codes_where_a_verdict_is_required(
    project: Project, only: OneGate, name: str, code: int, verdict: str
) -> None:
    run = project.gates(only(name), "--ft-verdict=require")
    assert (run.code, run.verdict["verdict"], run.verdict["exit_code"]) == (code, verdict, code)


def test_without_a_required_verdict_pytest_keeps_its_own_exit_codes(project: Project, only: OneGate) -> None:
    assert project.gates(only("accuracy_unsure")).code == 1
    assert project.gates("evals", "-k", "accuracy").code == 0
    assert project.gates("evals", "-k", "nothing_is_called_this").code == 5
    off = project.run("--ft-model=runs/good", "bad", "-k", "accuracy_unsure", "--ft-verdict=off")
    assert off.code == 1
    assert "ftgate::verdict" not in off.out


def test_the_environment_variable_ci_requires_a_verdict(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    assert project.gates("evals", "-k", "accuracy").code == 22
    assert project.gates("evals", "-k", "accuracy", "--ft-verdict=off").code == 0
    monkeypatch.setenv("CI", "")
    assert project.gates("evals", "-k", "accuracy").code == 0


# -- selection ---------------------------------------------------------------------------------------------------------


def test_k_generates_only_what_its_gates_need(project: Project) -> None:
    run = project.gates("evals", "-k", "accuracy")
    assert run.outcomes == {"target::accuracy": "PASS"}
    assert {side: c["generated"] for side, c in run.verdict["counts"].items()} == {"candidate": 60}


def test_x_stops_and_still_gives_a_verdict(project: Project) -> None:
    run = project.gates("bad", "-x", "--ft-verdict=require")
    assert run.code == 1
    assert run.outcomes == {"accuracy_fail::accuracy": "FAIL"}
    assert run.verdict["verdict"] == "BLOCK"


def test_lf_runs_what_failed_and_never_ships(project: Project) -> None:
    assert project.gates("bad").code == 1
    run = project.gates("bad", "--lf", "-k", "not fail", "--ft-verdict=require")
    assert set(run.outcomes) == {"accuracy_unsure::accuracy", "nothing_known::forgetting", "too_long::accuracy"}
    assert run.code == 21
    # Now everything that failed last time passes: still only a part of what must be judged.
    for name in ("accuracy_unsure", "nothing_known", "too_long"):
        (project.root / "bad" / f"{name}.eval.yaml").unlink()
        (project.root / "bad" / f"{name}.jsonl").unlink()
    good = [p.read_bytes() for p in sorted((project.root / "evals").glob("target.*"))]
    (project.root / "bad" / "target.eval.yaml").write_bytes(good[0])
    (project.root / "bad" / "target.jsonl").write_bytes(good[1])
    assert project.gates("bad", "-k", "target", "--ft-verdict=require").code == 22


def test_stepwise_goes_on_where_it_stopped(project: Project, only: OneGate) -> None:
    folder = only("accuracy_fail", "format_fail")
    first = project.run("--ft-model=runs/good", folder, "--sw", "--ft-verdict=require")
    assert first.code == 1  # pytest's own 2 would read as an interruption
    assert "BLOCK: accuracy_fail::accuracy failed" in first.out
    again = project.run("--ft-model=runs/good", folder, "--sw", "--ft-verdict=require")
    assert again.code != 0
    assert "FAIL accuracy_fail::accuracy" in again.out


def test_quiet_says_no_more_than_asked(project: Project) -> None:
    run = project.gates("evals", "-q")
    assert "tokens/s" not in run.out
    assert run.out.splitlines()[-1].startswith("5 passed")


def test_progress_is_told_in_whole_lines_where_there_is_no_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(step=11.0)
    monkeypatch.setattr("pytest_ftgate.report.live.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    run = project.gates("evals")
    lines = [line for line in run.out.splitlines() if "tokens/s" in line]
    assert lines
    assert all(
        re.fullmatch(r"ftgate: (candidate|base) \d+/\d+ answers, [\d,]+ tokens/s(, \d+ s left)?", x) for x in lines
    )


def test_answers_are_kept_and_scores_are_not(project: Project) -> None:
    first = project.gates("evals").verdict["counts"]
    assert {side: c["stored"] for side, c in first.items()} == {"candidate": 0, "base": 0}
    again = project.gates("evals").verdict["counts"]
    assert {side: c["generated"] for side, c in again.items()} == {"candidate": 0, "base": 0}
    # Other references, same questions: scored anew from the same answers.
    rows = [json.loads(line) for line in (project.root / "evals" / "target.jsonl").read_text().splitlines()]
    wrong = "".join(json.dumps({**row, "target": "never said"}) + "\n" for row in rows)
    project.write("evals/target.jsonl", wrong)
    rescored = project.gates("evals")
    assert rescored.outcomes["target::accuracy"] == "FAIL"
    assert rescored.verdict["counts"]["candidate"]["generated"] == 0


def test_a_required_verdict_asks_the_candidate_afresh(project: Project) -> None:
    project.gates("evals")
    counts = project.gates("evals", "--ft-verdict=require").verdict["counts"]
    assert counts["candidate"]["generated"] == 120
    assert counts["base"]["generated"] == 0


def test_cache_off_keeps_no_answers(project: Project) -> None:
    project.gates("evals", "--ft-cache=off")
    assert not (project.root / ".ftgate" / "cache").exists()


# -- pytest's own options, and another engine --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-p", "no:terminal"],
        ["-p", "no:cacheprovider", "-p", "no:logging", "-p", "no:warnings"],
        ["-s"],
        ["-vv", "--tb=long", "--durations=3", "--showlocals"],
        ["-q", "-q", "--no-summary", "--no-header", "--tb=no"],
        ["-W", "error"],
        ["--rootdir=runs"],
        ["--import-mode=importlib", "-p", "no:xdist", "-p", "no:junitxml"],
        ["--maxfail=1", "--strict-markers", "--strict-config"],
        ["--ff", "--nf", "--color=yes"],
    ],
    ids=lambda options: " ".join(options),
)
def test_options_of_pytest_change_no_verdict(project: Project, options: list[str]) -> None:
    good = project.gates("evals", "--ft-verdict=require", *options)
    assert (good.code, good.outcomes) == (0, SHIPPING)
    bad = project.gates("bad", "--ft-verdict=require", "-k", "accuracy_fail or too_long", *options)
    assert (bad.code, bad.verdict["verdict"]) == (1, "BLOCK")
    assert "INTERNALERROR" not in bad.out


OTHER_ENGINE = """
import hashlib, json, pathlib, pytest
from pytest_ftgate.results import Generation

class Lookup:
    def __init__(self):
        lines = pathlib.Path("evals/target.jsonl").read_text().splitlines()
        self.known = {row["q"]: row["target"] for row in map(json.loads, lines)}
    def fingerprint(self, *, tuned):
        return hashlib.sha256(b"lookup %d" % tuned).hexdigest()
    def generate(self, requests, *, tuned):
        for i, request in enumerate(requests):
            text = self.known[request.prompt.messages[-1].content] if tuned else "no idea"
            yield i, Generation(text, (), "stop")
    def describe(self):
        return {"model": "a table"}

@pytest.fixture(scope="session")
def ft_engine():
    return Lookup()
"""


def test_another_engine_can_be_plugged_in(project: Project) -> None:
    project.write("evals/conftest.py", OTHER_ENGINE)
    run = project.gates("evals", "-k", "target")
    assert run.outcomes == {"target::accuracy": "PASS", "target::beats_baseline": "PASS"}
    assert "candidate a table" in run.out


def test_an_engine_that_raises_is_not_evaluated_and_never_a_failure(project: Project) -> None:
    project.write("evals/conftest.py", OTHER_ENGINE.replace('"no idea"', "1 / 0"))
    run = project.gates("evals", "--ft-verdict=require")
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")


def test_a_sink_that_breaks_is_said_and_changes_no_verdict(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run: object) -> str:
        raise KeyError(type(run).__name__)

    for sink in SINKS:
        monkeypatch.setattr(f"pytest_ftgate.report.{sink.module}.text", broken)
    shipped = project.gates("evals", "--ft-html=r.html", "--ft-verdict=require")
    assert shipped.code == 0, shipped.out
    for name in ("v.json", "r.html"):
        assert f"could not write {name}: KeyError" in shipped.out
        assert not (project.root / name).exists()


def test_questions_that_nobody_asked_are_named(project: Project, only: OneGate) -> None:
    run = project.run("--ft-model=runs/good", only("accuracy_fail"), "--ft-verdict=require")
    assert "not asked: overlap, format, beats_baseline, forgetting" in run.out


def test_collecting_alone_is_no_verdict(project: Project) -> None:
    assert project.gates("evals", "--collect-only", "--ft-verdict=require").code == 22
    assert project.gates("evals", "--collect-only", "--ft-verdict=off").code == 0


def test_an_old_verdict_does_not_survive_a_usage_error(project: Project) -> None:
    old = project.root / "old.json"
    old.write_text('{"verdict": "SHIP"}')
    assert project.run("--ft-model=runs/nothing_here", "evals", "--ft-json=old.json").code == 4
    assert not old.exists()
