"""False greens of cache, baselines, policy and receipts: nothing old, foreign or changed is believed (F66 to F79)."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable

import pytest
from conftest import Project
from falsegreens import Row, as_processes, conftest, replace, rows, together
from tinymodel import make_adapter, make_base, record

NONE_STORED = "base: 180 generated, 0 from the store"


def judged_before(project: Project) -> None:
    """A run that shipped, and whose answers of both sides are kept."""
    run = project.run("--ft-model=runs/good", "--ft-cache=all", "evals")
    assert run.code == 0, run.out
    assert "candidate: 120 generated, 0 from the store; base: 180 generated, 0 from the store" in run.out


def another_base(project: Project) -> None:
    """Under the same name, in the same place, and the adapter trained on it."""
    for name in ("base", "runs/good"):
        shutil.rmtree(project.root / name)
    base = make_base(project.root / "base", seed=5)
    record(make_adapter(base, project.root / "runs" / "good"), base)


def prompt_edited(project: Project) -> None:
    replace(project.root / "evals" / "general.eval.yaml", '"Answer."', '"Answer this at once."')


def target(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: replace(project.root / "evals" / "target.eval.yaml", old, new)


def other_references(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    found = [{**json.loads(line), "target": "never said"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def stored_answers_changed(project: Project) -> None:
    """Every stored answer of the candidate another one, with checksums that are right."""
    changed = 0
    for path in (project.root / ".ftgate").rglob("*.jsonl"):
        lines = []
        for line in path.read_text().splitlines():
            key, value = json.loads(line.partition(" ")[2])
            if value["text"].strip() in project.world.texts["candidate"]:
                value["text"], changed = "anything", changed + 1
            body = json.dumps([key, value], separators=(",", ":"))
            lines.append(f"{hashlib.sha256(body.encode()).hexdigest()} {body}\n")
        path.write_text("".join(lines))
    assert changed > 30


NEW_VERSION = """
from pytest_ftgate.engine import hf
real = hf.version
patch.setattr(hf, "version", lambda name: real(name) + ".post1")
"""

ROWS = [
    Row(
        "f66_stored_answers_of_another_model",
        "BLOCK",
        "failed",
        together(judged_before, another_base),
        also=[NONE_STORED],
    ),
    Row(
        "f68_references_edited",
        "BLOCK",
        "target::accuracy",
        together(judged_before, other_references),
        also=["base: 0 generated, 180 from the store"],
    ),
    Row(
        "f68_prompt_edited",
        "NOT_EVALUATED",
        "general::forgetting",
        together(judged_before, prompt_edited),
        also=["base: 60 generated, 120 from the store"],
    ),
    Row(
        "f69_another_version",
        "SHIP",
        "all 4 gates passed",
        together(judged_before, conftest(NEW_VERSION)),
        also=[NONE_STORED],
    ),
    Row(
        "f70_poisoned_answers_of_the_candidate",
        "SHIP",
        "all 4 gates passed",
        together(judged_before, stored_answers_changed),
        also=["candidate: 120 generated, 0 from the store"],
    ),
    Row(
        "f74_a_duplicate_key",
        None,
        "accuracy",
        target("accuracy: {min: 0.5}", "accuracy: {min: 0.5}\n  accuracy: {min: 0.1}"),
    ),
    Row("f74_a_merge_key", None, "<<", target("accuracy: {min: 0.5}", "<<: {accuracy: {min: 0.1}}")),
    Row("f75_a_misspelt_bound", None, "mim", target("{min: 0.5}", "{mim: 0.5}"), also=["min"]),
    Row("f75_a_misspelt_gate", None, "acuracy", target("accuracy:", "acuracy:"), also=["accuracy"]),
    Row("f75_a_misspelt_option", None, "unrecognized arguments", args=("evals", "--ft-recept=r.json")),
]


@rows(ROWS)
def test_row(project: Project, monkeypatch: pytest.MonkeyPatch, row: Row) -> None:
    row.here(project, monkeypatch)


@pytest.mark.slow
@as_processes(ROWS)
def test_row_as_process(project: Project, row: Row, extra: tuple[str, ...]) -> None:
    row.process(project, *extra)
