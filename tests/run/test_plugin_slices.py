"""Slices, and a base judged against itself, as a user meets them: pytest runs with a real (tiny) model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from gateproject import Project
from tinymodel import N, make_adapter, record, write_evalset, write_jsonl

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tickets"


def slice_rows(project: Project, name: str) -> list[dict[str, Any]]:
    """The rows of an eval set with a language each: a third is German."""
    path = project.root / "evals" / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [{**row, "language": "de" if i % 3 == 0 else "en"} for i, row in enumerate(rows)]
    write_jsonl(path, rows)
    return rows


def add_slices(project: Project, name: str, slices: str) -> None:
    path = project.root / "evals" / f"{name}.eval.yaml"
    path.write_text(path.read_text().replace("scorer: exact\n", f"scorer: exact\nslices: {slices}\n"))


def test_slices_are_in_terminal_json_and_html_and_good_ones_ship(project: Project) -> None:
    for name, own in (("target", "accuracy: {min: 0.5}"), ("general", "forgetting: {max_drop: 0.2}")):
        slice_rows(project, name)
        add_slices(project, name, f"[{{field: language, {own}}}]")
    run = project.gates("evals", "--ft-verdict=require", "--ft-html=r.html")
    assert run.code == 0, run.out
    assert "SHIP: all 4 gates passed" in run.out
    gates = {gate["gate"]: gate for gate in run.verdict["gates"]}
    found = {one["value"]: one for one in gates["target::accuracy"]["slices"]}
    assert {v: (one["n"], one["measured"], one["outcome"]) for v, one in found.items()} == {
        "de": (20, 1.0, "PASS"), "en": (40, 1.0, "PASS"),
    }  # fmt: skip
    assert gates["shape::format"]["slices"] == []
    assert {one["outcome"] for one in gates["target::beats_baseline"]["slices"]} == {""}
    table = [line.split() for line in run.out.splitlines() if line.startswith("target::accuracy language=de")]
    assert table == [
        ["target::accuracy", "language=de", "1.000", "[0.832,", "1.000]", ">=", "0.5", "20", "<0.0001", "PASS"]
    ]
    page = (project.root / "r.html").read_text()
    assert "<h2>By slice</h2>" in page
    assert "target::accuracy: by slice" in page


def test_one_bad_slice_blocks_the_run_and_is_named(project: Project) -> None:
    rows = slice_rows(project, "target")
    write_jsonl(
        project.root / "evals" / "target.jsonl",
        [{**row, "target": "never said"} if row["language"] == "de" else row for row in rows],
    )
    add_slices(project, "target", "[{field: language, accuracy: {min: 0.5}}]")
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text().replace("accuracy: {min: 0.5}\n", "accuracy: {min: 0.4}\n"))
    run = project.gates("evals", "--ft-verdict=require", "-k", "target")
    assert run.code == 1
    assert run.outcomes["target::accuracy"] == "FAIL"
    assert "FAIL (SLICE) target::accuracy: 66.7% of 60 examples are right" in run.out
    assert "slice language=de: 0.0% of 20, proven below 50.0% (p = 1.9e-06, Holm over 2 slices)" in run.out
    assert "look at: e0, e3, e6" in run.out


ITSELF = """
import pytest

class Itself:
    '''The base on both sides.'''
    def __init__(self, engine):
        self.engine = engine
    def encode(self, prompt, *, tuned):
        return self.engine.encode(prompt, tuned=False)
    def fingerprint(self, *, tuned):
        return self.engine.fingerprint(tuned=False)
    def generate(self, requests, *, tuned):
        return self.engine.generate(requests, tuned=False)
    def describe(self):
        return self.engine.describe()

@pytest.fixture(scope="session")
def ft_engine(ft_engine):
    return Itself(ft_engine)
"""


@pytest.mark.parametrize("min_gain", [0.0, 0.05])
def test_a_base_judged_against_itself_forgets_nothing_and_beats_nothing(project: Project, min_gain: float) -> None:
    evals = project.root / "aa"
    half = [text if i % 2 else "never said" for i, text in enumerate(project.world.texts["base"])]
    write_evalset(evals, "task", f"beats_baseline: {{min_gain: {min_gain}}}", half, baselines="baselines: {same: {}}\n")
    write_evalset(evals, "general", "forgetting: {max_drop: 0.1}", list(project.world.texts["base"]))
    project.write("aa/conftest.py", ITSELF)
    run = project.gates("aa", "--ft-verdict=require")
    assert run.outcomes["general::forgetting"] == "PASS"
    assert run.outcomes["task::beats_baseline"] in ("FAIL", "INCONCLUSIVE")
    assert run.verdict["verdict"] != "SHIP"
    [forgetting] = [gate for gate in run.verdict["gates"] if gate["kind"] == "forgetting"]
    assert (forgetting["n"], forgetting["value"]) == (N, 0.0)


@pytest.mark.slow
def test_the_demo_base_judged_against_itself(project: Project) -> None:
    """The whole example: its base, its two eval sets, all five gates."""
    root = project.root / "demo"
    for name in ("base", "evals"):
        shutil.copytree(EXAMPLE / name, root / name)
    train = write_jsonl(root / "train.jsonl", [{"prompt": f"train on {i}", "completion": "yes"} for i in range(20)])
    record(make_adapter(root / "base", root / "run"), root / "base", [train])
    project.write("demo/evals/conftest.py", ITSELF)
    run = project.run("--ft-model=demo/run", "--ft-json=v.json", "demo/evals", "--ft-verdict=require")
    outcomes = run.outcomes
    assert outcomes["general::forgetting"] == "PASS", run.out
    assert outcomes["tickets::beats_baseline"] in ("FAIL", "INCONCLUSIVE"), run.out
    assert run.verdict["verdict"] != "SHIP"
