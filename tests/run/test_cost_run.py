"""The cost gate in a whole run: every place that shows a gate shows it, and a policy can only tighten it."""

from __future__ import annotations

import json

import pytest
from gateproject import Project

COST = "  cost: {{max_ratio: {ratio}, of: {of}}}\n"


def with_cost(project: Project, ratio: float, *, of: str = "few_shot") -> None:
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text(encoding="utf-8") + COST.format(ratio=ratio, of=of), encoding="utf-8")


def test_a_cheaper_call_ships_and_everything_shows_it(project: Project) -> None:
    with_cost(project, 0.9)
    run = project.gates("evals", "--ft-verdict=require", "--junitxml=j.xml", "--ft-html=r.html", "--ft-receipt=r.json")
    assert run.code == 0, run.out
    assert "SHIP: all 5 gates passed" in run.out
    gate = next(g for g in run.verdict["gates"] if g["gate"] == "target::cost")
    assert (gate["outcome"], gate["bound"], gate["n"], gate["p_value"]) == ("PASS", 0.9, 60, None)
    tokens = gate["details"]["tokens"]
    ours, theirs = (sum(tokens[name].values()) for name in ("candidate", "baseline:few_shot"))
    assert gate["value"] == pytest.approx(ours / theirs)
    line = next(line for line in run.out.splitlines() if line.startswith("target::cost"))
    assert line.split() == ["target::cost", f"{gate['value']:.3f}", "<=", "0.9", "60", "PASS"]
    case = run.junit["evals.target.eval.yaml.cost"]
    found = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert (found["ftgate.outcome"], found["ftgate.bound"]) == ("PASS", "0.9")
    assert "≤ 90.0%" in (project.root / "r.html").read_text(encoding="utf-8")
    receipt = json.loads((project.root / "r.json").read_text(encoding="utf-8"))
    written = next(g for g in receipt["predicate"]["gates"] if g["id"] == "target::cost")
    assert (written["outcome"], written["value"], written["bound"]) == ("PASS", gate["value"], 0.9)
    assert run.verdict["counts"]["candidate"].get("spared", 0) == 0  # measured on every example


def test_a_dearer_call_blocks(project: Project) -> None:
    with_cost(project, 0.01)
    run = project.gates("evals", "--ft-verdict=require")
    assert run.code == 1
    assert run.outcomes["target::cost"] == "FAIL"
    assert "at most 0.01 times allowed" in run.out


def test_a_policy_tightens_the_ratio_and_may_require_the_gate(project: Project) -> None:
    rules = 'version = 1\n[policy]\nrequired = ["cost"]\n[policy.ceilings]\ncost = 0.01\n'
    project.write("ftgate.toml", rules)
    assert project.gates("evals", "--ft-verdict=require").code == 21
    with_cost(project, 0.9)
    run = project.gates("evals", "--ft-verdict=require")
    assert run.code == 1
    assert "cost.max_ratio 0.01 is used, the eval set asks for 0.9" in run.out


def test_a_rung_that_is_not_written_is_a_usage_error(project: Project) -> None:
    with_cost(project, 0.9, of="retrieval")
    run = project.gates("evals", "--ft-verdict=require")
    assert run.code == 4
    assert "expected a rung of baselines (`zero_shot` and `few_shot`), found `retrieval`" in run.out


def test_cost_alone_asks_the_candidate_and_its_rung_only(project: Project) -> None:
    with_cost(project, 0.9)
    run = project.gates("evals/target.eval.yaml::cost")
    assert run.outcomes == {"target::cost": "PASS"}
    assert run.verdict["counts"]["base"]["planned"] == 60
