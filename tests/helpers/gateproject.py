"""A project with eval sets and a candidate, and what a pytest run in it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tinymodel import World

SHIPPING = {
    "general::forgetting": "PASS",
    "shape::format": "PASS",
    "target::accuracy": "PASS",
    "target::beats_baseline": "PASS",
}
"""The gates of the project's evals/, and what they decide."""


@dataclass(frozen=True)
class Run:
    """What one pytest run left behind."""

    code: int
    out: str
    folder: Path

    @property
    def verdict(self) -> dict[str, Any]:
        """The file of --ft-json, read as strict JSON."""

        def refuse(name: str) -> None:
            raise AssertionError(f"{name} in a strict JSON file")

        loaded: dict[str, Any] = json.loads((self.folder / "v.json").read_text(), parse_constant=refuse)
        return loaded

    @property
    def outcomes(self) -> dict[str, str]:
        """Gate -> outcome, from --ft-json."""
        return {gate["gate"]: gate["outcome"] for gate in self.verdict["gates"]}

    @property
    def junit(self) -> dict[str, ElementTree.Element]:
        """`file.name` -> test case, from --junitxml=j.xml."""
        cases = ElementTree.parse(self.folder / "j.xml").iter("testcase")
        return {f"{case.get('classname')}.{case.get('name')}": case for case in cases}


@dataclass(frozen=True)
class Project:
    """A copy of the world in an empty folder, and pytest run in it as a user would."""

    world: World
    pytester: pytest.Pytester

    @property
    def root(self) -> Path:
        return self.world.root

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def gates(self, *args: str) -> Run:
        """In this process, with torch loaded already: half a second."""
        return self.run("--ft-model=runs/good", "--ft-json=v.json", *args)

    def run(self, *args: str) -> Run:
        result = self.pytester.runpytest_inprocess(*args)
        return Run(int(result.ret), "\n".join([*result.outlines, *result.errlines]), self.root)

    def process(self, *args: str, **environment: str) -> Run:
        """As a process of its own: what has to be true of imports, exit codes and workers."""
        command = [sys.executable, "-m", "pytest", *args]
        given = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        done = subprocess.run(
            command, cwd=self.root, env={**given, **environment}, capture_output=True, text=True, timeout=300
        )
        return Run(done.returncode, done.stdout + done.stderr, self.root)


OneGate = Callable[..., str]
