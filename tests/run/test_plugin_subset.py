"""--ft-limit and --ft-case: answers to look at, a verdict that never ships, and a ledger that knows of the look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateproject import SHIPPING, OneGate, Project
from test_plugin_attempts import alone, attempts, judge
from tinymodel import N

from pytest_ftgate.errors import Unusable
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.order import in_order
from pytest_ftgate.evalset.subset import EVERYTHING, Subset, subset_of
from pytest_ftgate.trust.attempts.ledger import read_ledger

REQUIRE = "--ft-verdict=require"


def test_a_limit_asks_the_first_of_the_recorded_order_and_is_partial(project: Project) -> None:
    run = project.gates("evals", "--ft-limit=7", REQUIRE, "--ft-receipt=r.json", "--ft-html=r.html")
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL")
    assert {gate["n"] for gate in run.verdict["gates"]} == {7}
    assert set(run.outcomes) == set(SHIPPING)
    assert "7 of 60 of general, 7 of 60 of shape and 7 of 60 of target examples are asked" in run.out
    assert "PARTIAL: at most 7 examples of each eval set were asked (--ft-limit); a subset never ships" in run.out
    assert not (project.root / "r.json").exists()
    evalset = load_evalset(project.root / "evals" / "target.eval.yaml")
    first = {e.id for e in in_order(evalset)[:7]}
    page = (project.root / "r.html").read_text()
    listed = json.loads(page[page.index('id="data"') :].split(">", 1)[1].split("</script>")[0])
    texts = listed["strings"]
    assert {texts[row[1]] for row in listed["rows"] if texts[row[0]] == "target"} == first
    assert len(listed["rows"]) == 21
    assert [e.id for e in Subset(7).of(evalset).examples] == [e.id for e in evalset.examples if e.id in first]


def test_a_limit_above_the_number_of_examples_does_not_ship_either(project: Project) -> None:
    run = project.gates("evals", f"--ft-limit={N + 1}", REQUIRE)
    assert run.outcomes == SHIPPING
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL")


def test_a_case_shows_what_each_side_answered(project: Project) -> None:
    run = project.gates("evals", "--ft-case=target:e3", "--ft-case=target:e5", REQUIRE)
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL")
    assert set(run.outcomes) == {"target::accuracy", "target::beats_baseline"}
    texts = project.world.texts
    for i in (3, 5):
        lines = run.out.split(f"target:e{i} ")[1].splitlines()[:4]
        assert lines[0].split()[0] == "reference"
        assert [line.split()[:2] for line in lines[1:]] == [
            ["candidate", "1"],
            ["baseline:zero_shot", lines[2].split()[1]],
            ["baseline:few_shot", lines[3].split()[1]],
        ]
        assert texts["candidate"][i][:20] in lines[1]
    assert run.verdict["counts"]["candidate"]["generated"] == 2
    assert f"2 of {N} of target examples are asked" in run.out
    assert "cannot certify" not in run.out.split("evals/target.eval.yaml")[0]
    found = read_ledger(project.root)
    assert ([look.evalset for look in found.looks], found.entries) == (["target"], ())


def test_a_bare_id_means_every_eval_set_that_has_it(project: Project) -> None:
    run = project.gates("evals", "--ft-case", "e1")
    assert set(run.outcomes) == set(SHIPPING)
    assert {gate["n"] for gate in run.verdict["gates"]} == {1}
    assert run.verdict["verdict"] == "PARTIAL"


def test_a_gate_that_fails_on_a_case_does_not_block(project: Project, only: OneGate) -> None:
    folder = only("accuracy_fail")
    run = project.gates(folder, "--ft-limit=50", REQUIRE)
    assert run.outcomes == {"accuracy_fail::accuracy": "FAIL"}
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL")
    assert project.gates(folder, REQUIRE).code == 1


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("target:e333", "found 'target:e333'. Fix: did you mean target:e"),
        ("targets:e3", "did you mean target:e3"),
        ("zzzzzz", "Fix: name an example of general, shape and target"),
        ("e1,,e2", "expected ids of examples between commas, found nothing"),
    ],
)
def test_an_unknown_id_is_a_usage_error(project: Project, case: str, said: str) -> None:
    run = project.run("--ft-model=runs/good", "evals", f"--ft-case={case}", "--ft-json=v.json")
    assert run.code == 4
    assert said in run.out
    assert not (project.root / "v.json").exists()


def test_workers_ask_the_same_cases(project: Project) -> None:
    run = project.process(
        *("--ft-model=runs/good", "evals", "-n2", "--ft-case=target:e3,general:e4", REQUIRE, "--ft-json=v.json"),
        *("-p", "no:hypothesispytest", "-p", "no:cacheprovider"),
    )
    assert run.code == 22, run.out
    assert run.verdict["verdict"] == "PARTIAL"
    assert set(run.outcomes) == {"target::accuracy", "target::beats_baseline", "general::forgetting"}
    assert {gate["n"] for gate in run.verdict["gates"]} == {1}
    assert f"1 of {N} of general and 1 of {N} of target examples are asked: information" in run.out
    assert "target:e3 " in run.out
    assert "general:e4 " in run.out


@pytest.mark.parametrize("terms", ["{spend: harmonic}", "{feedback: sealed}"])
@pytest.mark.parametrize("option", ["--ft-limit=3", "--ft-case=e2"])
def test_u1_a_look_that_costs_is_refused_before_anything_is_asked(project: Project, terms: str, option: str) -> None:
    folder = alone(project, "general", terms)
    run = project.run("--ft-model=runs/good", "--ft-base=base", folder, option)
    assert run.code == 4
    assert f"{option.partition('=')[0]}: a look at general ({terms.strip('{}').removeprefix('feedback: ')})" in run.out
    assert "spend the attempt with --ft-spend-attempt" in run.out
    assert not (project.root / ".ftgate" / "ledger.jsonl").exists()


def test_u1_a_case_of_another_set_is_no_look_at_the_sealed_one(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text() + "attempts: {feedback: sealed}\n")
    assert project.gates("evals", "--ft-case=general:e2", "--ft-verdict=off").code in (0, 1)
    assert project.run("--ft-model=runs/good", "evals", "--ft-case=target:e2").code == 4


@pytest.mark.parametrize("args", [("--ft-spend-attempt",), ("--ft-limit=3", "-o", "addopts=--ft-spend-attempt")])
def test_u1_an_attempt_is_spent_on_the_command_line_and_on_a_look_only(project: Project, args: tuple[str, ...]) -> None:
    run = project.run("--ft-model=runs/good", "--ft-base=base", "evals", *args)
    assert run.code == 4
    assert "--ft-spend-attempt" in run.out


def test_u1_a_free_look_is_a_look_and_moves_no_attempt(project: Project) -> None:
    folder = alone(project, "general", "{spend: none}")
    for _ in range(2):
        look = judge(project, folder, "--ft-limit=3")
    assert "attempts  general 0 before this look (none; looked at 2 times)" in look.out
    found = read_ledger(project.root)
    assert ([e.kind for e in found.looks], found.entries) == (["look", "look"], ())
    first = judge(project, folder)
    assert (first.code, attempts(first)["general"]) == (0, (1, 0.05))
    judge(project, folder, "--ft-case=e2", model="second")
    second = judge(project, folder, model="third")
    assert attempts(second)["general"] == (2, 0.05)
    assert "general: attempt 2 on these examples; looked at 3 times: no alpha is spent" in second.out


def test_a_look_that_is_spent_is_an_attempt_and_the_same_one_as_the_whole_run(project: Project) -> None:
    folder = alone(project, "general", "{spend: harmonic}")
    spend = "--ft-spend-attempt"
    look = judge(project, folder, "--ft-limit=3", spend)
    assert (look.code, attempts(look)) == (22, {"general": (1, 0.025)})
    assert [e.outcomes for e in read_ledger(project.root).entries] == [{}]
    judge(project, folder, "--ft-case=e2", spend)
    assert len(read_ledger(project.root).entries) == 1
    whole = judge(project, folder)
    assert (whole.code, attempts(whole), set(whole.outcomes.values())) == (0, {"general": (1, 0.025)}, {"PASS"})
    again = judge(project, folder, "--ft-limit=3", spend)
    assert again.code == 22
    assert "do not repeat" not in again.out
    assert again.outcomes == {"general::forgetting": "INCONCLUSIVE"}
    assert attempts(judge(project, folder, "--ft-limit=3", spend, model="second"))["general"][0] == 2
    assert attempts(judge(project, folder, model="third"))["general"][0] == 3


def test_a_sealed_eval_set_shows_no_answers(project: Project) -> None:
    folder = alone(project, "target", "{spend: harmonic, feedback: sealed}")
    run = judge(project, folder, "--ft-case=e3", "--ft-spend-attempt", "--ft-html=r.html")
    assert "the examples of target are not shown: its feedback is sealed" in run.out
    said = project.world.texts["candidate"][3]
    assert said not in run.out.replace("evals", "")
    assert run.code == 22


def test_what_a_model_says_reaches_the_terminal_through_the_door(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    path.write_text(path.read_text().replace('"target": "', '"target": "\\u001b[31m', 1))
    run = project.gates("evals", "--ft-case=target:e0")
    assert "\\x1b[31m" in run.out
    assert "\x1b[31m" not in run.out


def test_subsets_are_pure(project: Project) -> None:
    evalset = load_evalset(project.root / "evals" / "target.eval.yaml")
    assert EVERYTHING.of(evalset) is evalset
    assert (EVERYTHING.is_part, EVERYTHING.because) == (False, "")
    assert [e.id for e in Subset(3, ("e9", "target:e2", "other:e1")).of(evalset).examples] == ["e2", "e9"]
    assert subset_of(None, ["b,a", "b"], [], check=False).cases == ("b", "a")
    with pytest.raises(Unusable, match="no eval set under these paths"):
        subset_of(None, ["b"], [], check=True)
    small = [Subset(n).of(evalset).examples for n in (4, 9)]
    assert {e.id for e in small[0]} < {e.id for e in small[1]}
    assert Path(evalset.path).name == "target.eval.yaml"
