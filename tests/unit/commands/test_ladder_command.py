"""`pytest-ftgate ladder` on a real tiny base: what a user reads, what a program reads, and what cannot be climbed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateproject import Project
from tinymodel import BASELINES, N, write_evalset

from pytest_ftgate.commands.ladder import main
from pytest_ftgate.trust.attempts.ledger import read_ledger


def climbed(*args: str) -> int:
    return main([*args, "--base", "base"])


def test_a_gap_is_left(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The references of `target` are what the candidate says: the base's prompts do not reach them."""
    assert climbed("evals/target.eval.yaml", "--json", "ladder.json") == 0
    out = capsys.readouterr().out
    assert "a behaviour gap of" in out
    assert "fine-tune" in out
    [ladder] = json.loads((project.root / "ladder.json").read_text())["ladders"]
    assert ladder["answer"] == "FINE_TUNE"
    assert read_ledger(project.root).problem == "", "the answers that it stored cast doubt on the count of attempts"
    assert {rung["name"] for rung in ladder["rungs"]} == {"zero_shot", "few_shot"}
    longer = {rung["name"]: rung["prompt_tokens"] for rung in ladder["rungs"]}
    assert longer["few_shot"] > longer["zero_shot"]


def test_a_prompt_is_enough(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    zero = project.world.texts["baseline:zero_shot"]
    write_evalset(project.root / "easy", "easy", "accuracy: {min: 0.5}", zero, baselines=BASELINES)
    assert climbed("easy") == 1
    assert "a prompt is enough: zero_shot scores 100.0% on the base model" in capsys.readouterr().out


def test_without_an_accuracy_gate_the_goal_is_what_leaves_no_room(project: Project) -> None:
    zero = project.world.texts["baseline:zero_shot"]
    write_evalset(project.root / "easy", "easy", "beats_baseline: {min_gain: 0.5}", zero, baselines=BASELINES)
    assert climbed("easy", "--json", "ladder.json") == 1
    [ladder] = json.loads((project.root / "ladder.json").read_text())["ladders"]
    assert ladder["goal"]["score"] == pytest.approx(0.5)
    assert "min_gain" in ladder["goal"]["why"]


def test_too_few_examples(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    zero = project.world.texts["baseline:zero_shot"][:20]
    write_evalset(project.root / "few", "few", "accuracy: {min: 0.9}", zero, baselines=BASELINES)
    assert climbed("few") == 20
    assert "the eval set is too small to say" in capsys.readouterr().out


def test_its_answers_are_those_of_the_gate(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """The gate that follows asks the base nothing that the ladder has asked."""
    assert climbed("evals/target.eval.yaml") == 0
    run = project.gates("evals/target.eval.yaml", "--ft-cache=base", "-k", "beats_baseline")
    assert run.verdict["counts"]["base"]["stored"] == 2 * N
    assert run.verdict["counts"]["base"]["generated"] == 0


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["evals/general.eval.yaml"], "no rung to climb"),
        (["nowhere"], "nowhere"),
        (["evals/target.eval.yaml", "--base", "runs"], "not a model directory"),
    ],
)
def test_what_cannot_be_climbed_is_said(
    project: Project, given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = given if "--base" in given else [*given, "--base", "base"]
    assert main(args) == 4
    assert says in capsys.readouterr().err


def test_no_goal(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    text = project.world.texts["candidate"]
    path = write_evalset(project.root / "odd", "odd", 'format: {regex: "x", min_rate: 0.9}', text, baselines=BASELINES)
    assert climbed(str(path)) == 4
    assert "--goal" in capsys.readouterr().err
    assert climbed(str(path), "--goal", "0.5") in (0, 1, 20)


def test_a_goal_must_be_a_share(project: Project, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        climbed("evals/target.eval.yaml", "--goal", "85")


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_a_batch_holds_something(project: Project, size: str) -> None:
    with pytest.raises(SystemExit):
        climbed("evals/target.eval.yaml", "--batch-size", size)
