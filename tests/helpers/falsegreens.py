"""Rows of the table of false greens as tests: what is broken, and the five things that must then be true.

A Row runs in this process (half a second) in the default suite, and as processes of its own, alone and with workers,
in the slow one. Whatever is asserted, is asserted of all three.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from gateproject import Project, Run

from pytest_ftgate.gates.decision import EXIT_CODES, USAGE_ERROR

JUNIT = {"SHIP": None, "BLOCK": "failure", "INCONCLUSIVE": "error", "NOT_EVALUATED": "error", "PARTIAL": "skipped"}
"""Kind of `ftgate::verdict` in JUnit."""
RECEIPT = "r.json"
RECORDED = ("SHIP", "BLOCK", "INCONCLUSIVE")
"""Run verdicts that leave a receipt: something was judged, and all of it was meant to be."""
OUTPUTS = ("--ft-verdict=require", "--ft-json=v.json", f"--ft-receipt={RECEIPT}", "--junitxml=j.xml")
VERDICT_LINE = re.compile(rf"({'|'.join(EXIT_CODES)}): .+")


def nothing(project: Project) -> None:
    """The project as it is: its gates all pass."""


@dataclass(frozen=True)
class Row:
    """One way for a bad model to ship, and what happens instead."""

    name: str
    """`f31_renamed_keys`: the row's number comes first."""
    verdict: str | None
    """The run verdict; None for a usage error, which exits with 4 before anything is judged."""
    says: str
    """Part of the reason, or of the usage error."""
    change: Callable[[Project], None] = nothing
    args: Sequence[str] = ("evals",)
    model: str = "runs/good"
    also: Sequence[str] = ()
    """More parts of what is printed."""
    environment: dict[str, str] = field(default_factory=dict)
    workers: bool = True
    """Whether the row means anything under -n."""
    in_workers: str | None = "same"
    """The verdict under -n where it differs (`same`: it does not)."""

    def command(self) -> list[str]:
        return [f"--ft-model={self.model}", *OUTPUTS, *self.args]

    def here(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> Run:
        """The run in this process, checked."""
        self.change(project)
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)
        run = project.run(*self.command())
        check(run, self.verdict, self.says, *self.also)
        return run

    def process(self, project: Project, *extra: str) -> Run:
        """The run as a process of its own, checked."""
        self.change(project)
        run = project.process(*self.command(), "-p", "no:hypothesispytest", *extra, **self.environment)
        verdict = self.verdict if self.in_workers == "same" or "-n" not in extra else self.in_workers
        says = (self.says, *self.also) if verdict == self.verdict else ()
        check(run, verdict, *says)
        return run


def check(run: Run, verdict: str | None, *says: str) -> None:
    """Exit code, --ft-json, receipt, JUnit and the last line of the terminal all say the same."""
    assert run.code == (USAGE_ERROR if verdict is None else EXIT_CODES[verdict]), run.out
    assert not [line for line in run.out.splitlines() if "INTERNALERROR" in line or "Traceback" in line], run.out
    for part in says:
        assert part in run.out, run.out
    lines = [line for line in run.out.splitlines() if VERDICT_LINE.fullmatch(line)]
    if verdict is None:
        assert lines == []
        assert not (run.folder / "v.json").exists()
        assert receipt(run) is None
        assert not (run.folder / "j.xml").exists() or "ftgate.verdict" not in run.junit
        return
    written = run.verdict
    assert (written["verdict"], written["exit_code"]) == (verdict, EXIT_CODES[verdict])
    assert set(lines) == {f"{verdict}: {written['reason']}"}  # pytest shows it among the errors too
    assert after_verdict(run.out, lines[0]) == []
    kinds = [part.tag for part in run.junit["ftgate.verdict"] if part.tag != "properties"]
    assert kinds == ([JUNIT[verdict]] if JUNIT[verdict] else [])
    found = receipt(run)
    assert (found and found["verdict"]) == (verdict if verdict in RECORDED else None)


def after_verdict(out: str, line: str) -> list[str]:
    """What stands below the verdict and is not pytest's own summary."""
    rest = out[out.rindex(line) + len(line) :].splitlines()
    own = re.compile(r"|=+ .* =+|(FAILED|ERROR|SKIPPED|XFAIL|XPASS|ERROR:|!+) .*|-+ .* -+| .*|E .*|_+ .* _+")
    return [text for text in rest if not own.fullmatch(text)]


def receipt(run: Run) -> dict[str, Any] | None:
    """The predicate of the receipt; None where there is none."""
    path = run.folder / RECEIPT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())["predicate"]
    return found


def verified(project: Project, *options: str) -> int:
    """What `pytest-ftgate verify` says of what a run left behind."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest_ftgate", "verify", "runs/good", "--receipt", RECEIPT, *options],
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


def edit(path: Path, **changes: Any) -> None:
    """A JSON file with some keys changed."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace(path: Path, old: str, new: str) -> None:
    """A text file with one part changed."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


CONFTEST = """\
import os, pytest
patch = pytest.MonkeyPatch()
def pytest_unconfigure():
    patch.undo()
"""


def conftest(text: str, folder: str = "evals") -> Callable[[Project], None]:
    """Writes a conftest.py; what it changes with `patch` is undone at the end of the run."""

    def write(project: Project) -> None:
        project.write(f"{folder}/conftest.py", CONFTEST + textwrap.dedent(text))

    return write


def together(*changes: Callable[[Project], None]) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        for one in changes:
            one(project)

    return change
