"""Pytest runs that generate less: hopeless gates, curtailment, early_stop, and where early_stop is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from gateproject import SHIPPING, OneGate, Project
from tinymodel import BASELINES, HEAD, N, write_evalset

from pytest_ftgate.answers.engine import decode
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.problems import EvalSetError
from pytest_ftgate.gates.preconditions import check_usable


def generated(run: object) -> dict[str, int]:
    return {side: c["generated"] for side, c in run.verdict["counts"].items()}  # type: ignore[attr-defined]


def narrow(project: Project, *, accuracy: str = "") -> None:
    """The forgetting gate of evals/ with a margin that 60 examples cannot certify."""
    path = project.root / "evals" / "general.eval.yaml"
    path.write_text(path.read_text().replace("max_drop: 0.1}", "max_drop: 0.02}" + accuracy))


def test_nothing_is_generated_for_a_gate_that_cannot_pass(project: Project) -> None:
    narrow(project)
    run = project.gates("evals", "-k", "general", "--ft-verdict=require")
    said = "general::forgetting: 60 examples cannot pass within 2.0 points without improving on the base; 149 needed"
    assert f"ftgate: {said}" in run.out.split("evals/general.eval.yaml")[0]  # before the first test
    assert run.code == 20
    verdict = run.verdict["gates"][0]
    assert (verdict["outcome"], verdict["reason"]) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N")
    assert verdict["details"]["needed"] == 149
    assert run.verdict["counts"] == {}
    assert not (project.root / ".ftgate" / "cache").exists()
    assert "> -0.02" in run.out  # the table says what was asked, also where it was not judged


def test_where_told_to_it_is_judged_all_the_same(project: Project) -> None:
    narrow(project)
    run = project.gates("evals", "-k", "general", "--ft-judge-hopeless")
    assert generated(run) == {"base": 60, "candidate": 60}
    assert run.verdict["gates"][0]["value"] == 0.0
    assert "cannot pass within 2.0 points" in run.out


def test_other_gates_of_the_same_eval_set_get_what_they_need(project: Project) -> None:
    narrow(project, accuracy="\n  accuracy: {min: 0.5}")
    run = project.gates("evals", "-k", "general")
    assert run.outcomes == {"general::forgetting": "INCONCLUSIVE", "general::accuracy": "PASS"}
    assert generated(run) == {"candidate": 60}


def test_a_hopeless_run_never_ships(project: Project) -> None:
    narrow(project)
    run = project.gates("evals", "--ft-verdict=require", "-n0")
    assert (run.code, run.verdict["verdict"]) == (20, "INCONCLUSIVE")


def test_asking_stops_where_nothing_can_change_and_the_verdict_says_so(project: Project, only: OneGate) -> None:
    folder = only("accuracy_fail")
    run = project.gates(folder, "--ft-batch-size=8", "--ft-html=r.html")
    counts, first = run.verdict["counts"]["candidate"], run.verdict["gates"]
    assert run.outcomes == {"accuracy_fail::accuracy": "FAIL"}
    asked = counts["generated"]
    assert 0 < asked < N
    assert (counts["spared"], counts["unique"]) == (N - asked, N)
    assert (first[0]["details"]["answered"], first[0]["details"]["planned"]) == (asked, N)
    assert f"{asked} of {N} examples answered: no outcome of the other {N - asked} can change this" in run.out
    assert re.search(rf"accuracy_fail::accuracy +0\.000 .* {asked} of {N} +[\d.]+ +FAIL", run.out)
    assert f"{asked} generated, 0 from the store, {N - asked} not needed" in run.out
    page = (project.root / "r.html").read_text()
    data = page[page.index('id="data"') :].split("</script>")[0]
    assert "spared" in data
    assert "missing" not in data
    assert re.search(rf"<td[^>]*>{asked} of {N}</td>", page)
    full = project.gates(folder, "--ft-batch-size=8", "--ft-all-answers")
    assert full.outcomes == {"accuracy_fail::accuracy": "FAIL"}
    assert full.verdict["gates"][0]["n"] == N
    assert full.verdict["counts"]["candidate"]["stored"] == asked
    assert full.verdict["counts"]["candidate"]["generated"] == N - asked
    # More in the store is no reason to say something else.
    assert project.gates(folder, "--ft-batch-size=8").verdict["gates"] == first


def test_a_model_that_ships_ships_with_fewer_answers(project: Project) -> None:
    for name in ("general", "shape"):  # the same questions, so that their answers are had anyway
        (project.root / "evals" / f"{name}.eval.yaml").unlink()
    run = project.gates("evals", "--ft-batch-size=4", "--ft-verdict=require")
    assert (run.code, run.verdict["verdict"]) == (0, "SHIP")
    assert run.outcomes == {name: outcome for name, outcome in SHIPPING.items() if name.startswith("target")}
    assert run.verdict["counts"]["candidate"]["spared"] > 0


def test_workers_judge_what_one_of_them_stopped(project: Project, only: OneGate) -> None:
    folder = only("accuracy_fail", "format_fail", "forgetting_fail")
    path = project.root / folder / "forgetting_fail.eval.yaml"
    path.write_text(path.read_text().replace("max_drop: 0.1", "max_drop: 0.02"))
    run = project.process(
        "--ft-model=runs/good", "--ft-json=v.json", folder, "--ft-batch-size=8", "-n2", "-p", "no:cacheprovider"
    )
    # Said once, by the process that people see, before anything is judged.
    said = "ftgate: forgetting_fail::forgetting: 60 examples cannot pass within 2.0 points"
    assert run.out.count(said) == 1
    assert said in run.out.split("[ ")[0]
    assert run.outcomes.pop("forgetting_fail::forgetting") == "INCONCLUSIVE"
    assert {v for k, v in run.outcomes.items() if "forgetting" not in k} == {"FAIL"}
    assert run.verdict["counts"]["candidate"]["spared"] > 0


def test_where_answers_are_in_the_training_data_every_example_is_asked(project: Project, only: OneGate) -> None:
    folder = project.root / only("accuracy_fail")
    path = folder / "accuracy_fail.eval.yaml"
    rows = [json.loads(line) for line in (folder / "accuracy_fail.jsonl").read_text().splitlines()]
    long = " ".join(f"word{i}" for i in range(30))
    rows[0]["q"] = long
    (folder / "accuracy_fail.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.write(f"{folder.name}/t.jsonl", json.dumps({"prompt": long, "completion": rows[0]["target"]}) + "\n")
    path.write_text(path.read_text() + "  overlap: {max: 5, train: [t.jsonl]}\n")
    run = project.gates(folder.name, "--ft-batch-size=8")
    accuracy = next(g for g in run.verdict["gates"] if g["kind"] == "accuracy")
    assert accuracy["details"]["contamination"]["leaked_examples"] == 1
    assert generated(run)["candidate"] == N


def test_early_stop_ships_with_fewer_answers_than_curtailment(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    usual = project.gates("evals", "-k", "target", "--ft-batch-size=4", "--ft-cache=off")
    before = generated(usual)["candidate"]
    assert usual.outcomes == {"target::accuracy": "PASS", "target::beats_baseline": "PASS"}
    path.write_text(path.read_text().replace("generation:", "early_stop: true\ngeneration:"))
    early = project.gates("evals", "-k", "target", "--ft-batch-size=4", "--ft-cache=off")
    assert early.outcomes == {"target::accuracy": "PASS", "target::beats_baseline": "PASS"}
    assert generated(early)["candidate"] < before
    assert all(g["details"]["stopped_early_after"] <= N for g in early.verdict["gates"])


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HEAD + "cluster: q\n", "early_stop: expected independent examples, found `cluster`"),
        (HEAD.replace("scorer: exact", "scorer: similarity"), "expected a scorer whose scores are 0 or 1"),
        (HEAD.replace("exact", "{{json_fields: {{fields: [a], score: mean}}}}"), "expected a scorer whose scores"),
    ],
)
def test_early_stop_is_refused_where_its_guarantee_does_not_hold(tmp_path: Path, head: str, said: str) -> None:
    head = head.replace("scorer:", "early_stop: true\nscorer:")
    path = write_evalset(tmp_path, "one", "accuracy: {min: 0.5}", ["x"] * 20, head=head)
    with pytest.raises(EvalSetError) as caught:
        load_evalset(path)
    problem = caught.value.problems[0]
    assert said in str(problem)
    assert problem.line == 5


def test_early_stop_is_refused_where_questions_repeat(tmp_path: Path) -> None:
    head = HEAD.replace("scorer:", "early_stop: true\nscorer:")
    path = write_evalset(tmp_path, "one", "accuracy: {min: 0.5}", ["x"] * 20, head=head, asked=["a"] * 10 + ["b"] * 10)
    with pytest.raises(EvalSetError, match="found distinct questions of several examples"):
        check_usable(load_evalset(path))


def test_early_stop_is_part_of_the_digest(tmp_path: Path) -> None:
    heads = (HEAD, HEAD + "early_stop: false\n", HEAD + "early_stop: true\n")
    paths = [
        write_evalset(tmp_path / str(i), "one", "accuracy: {min: 0.5}", ["x"] * 20, head=head, baselines=BASELINES)
        for i, head in enumerate(heads)
    ]
    plain, written, early = (load_evalset(path) for path in paths)
    assert plain.digest == written.digest != early.digest
    assert (plain.early_stop, early.early_stop) == (False, True)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "answers made so far are in .ftgate/cache, and the same command goes on from there"),
        (("--ft-verdict=require",), "answers of the base made so far are in .ftgate/cache, and the same"),
        (("--ft-cache=off",), "no answer was kept (--ft-cache=off, or no key)"),
    ],
)
def test_ctrl_c_says_what_is_left(
    project: Project, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], told: str
) -> None:
    def stopped(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "greedy", stopped)
    run = project.pytester.runpytest_inprocess("evals", "--ft-model=runs/good", *args, no_reraise_ctrlc=True)
    assert run.ret == pytest.ExitCode.INTERRUPTED
    assert f"interrupted, no verdict: {told}" in "\n".join(run.outlines)
