"""A scorer of the user's own is called once for each answer: it may be slow, cost money, or draw lots."""

from __future__ import annotations

from collections import Counter

import pytest
from gateproject import Project
from tinymodel import HEAD, write_evalset

EXAMPLES = 40
SCORER = """
import os

def scored(example, generation):
    with open(os.path.join(os.path.dirname(__file__), "calls.txt"), "a") as file:
        file.write(f"{os.getpid()} {example.id}\\n")
    BROKEN
    return generation.text.strip() == example.target
"""
RUNG = 'baselines:\n  few_shot: {system: "Answer.", shots: {from: shots.jsonl, n: 2}}\n'
GATES = "accuracy: {min: 0.5}; beats_baseline: {min_gain: 0.05}"


def made(project: Project, *, broken: str = "pass", head: str = HEAD) -> str:
    """A folder with one eval set of two gates, whose scorer writes down each call."""
    head = head.replace("scorer: exact", 'scorer: "counting_scorer:scored"')
    targets = project.world.texts["candidate"][:EXAMPLES]
    write_evalset(project.root / "own", "own", GATES, targets, head=head, baselines=RUNG)
    project.write("own/counting_scorer.py", SCORER.replace("BROKEN", broken))
    return "own"


def calls(project: Project) -> list[str]:
    path = project.root / "own" / "calls.txt"
    return [line.split()[1] for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "workers"])
def test_a_scorer_of_ones_own_is_called_once_an_answer(project: Project, workers: tuple[str, ...]) -> None:
    start = project.process if workers else project.gates
    options = ("--ft-model=runs/good", "--ft-json=v.json", "--ft-html=r.html", "-p", "no:hypothesispytest")
    run = start(made(project), *workers, *options)
    assert run.outcomes == {"own::accuracy": "PASS", "own::beats_baseline": "PASS"}, run.out
    counts = Counter(calls(project))
    assert sum(counts.values()) == 2 * EXAMPLES
    assert set(counts.values()) == {2}  # the candidate and the rung, each once
    page = (project.root / "r.html").read_text()
    assert "as the scorer function returned it" in page


def test_a_scorer_that_breaks_is_an_error_with_its_own_sentence_and_is_not_asked_again(project: Project) -> None:
    broken = 'if example.id == "e7": raise ValueError("no key for the judge")'
    run = project.gates(made(project, broken=broken), "--ft-html=r.html", "--ft-verdict=require")
    assert run.outcomes == {"own::accuracy": "ERROR", "own::beats_baseline": "ERROR"}, run.out
    said = [gate["summary"] for gate in run.verdict["gates"]]
    assert all("failed with ValueError: no key for the judge" in each for each in said)
    assert run.verdict["verdict"] == "NOT_EVALUATED"
    assert set(Counter(calls(project)).values()) == {2}  # the report scores what the gates did not get to
