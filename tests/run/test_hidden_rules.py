"""Rules and gates that are there and would not be read: each is an error, and none is a SHIP."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from gateproject import Project

REQUIRE = "--ft-verdict=require"


def directory(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.toml")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/null")


def unreadable(path: Path) -> None:
    path.write_text("version = 1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")


@pytest.mark.parametrize("make", [directory, dangling, loop, pipe, device, unreadable])
def test_s10_a_policy_that_is_no_readable_file_is_an_error(project: Project, make: Callable[[Path], None]) -> None:
    make(project.root / "ftgate.toml")
    run = project.gates("evals", REQUIRE)
    assert run.code == 4, run.out
    assert "ftgate.toml" in run.out
    assert "Fix:" in run.out


@pytest.mark.parametrize(
    "name", ["Ftgate.toml", "ftgate.toml ", "ftg\u0430te.toml", "ftgate\u200b.toml", "ftgate.tomI"]
)
def test_s10_a_name_that_looks_like_the_policys_is_an_error(project: Project, name: str) -> None:
    project.write(name, "version = 1\n[policy]\nmin_n = 1000\n")
    run = project.gates("evals", REQUIRE)
    assert run.code == 4, run.out
    assert "looks like a policy and is none" in run.out


@pytest.mark.parametrize(
    "name", ["general.eval.yaml ", "gener\u0430l.ev\u0430l.yaml", "general.\u200beval.yaml", "g.EVAL.yaml"]
)
def test_s11_a_gate_behind_a_look_alike_is_named_and_refused(project: Project, name: str) -> None:
    (project.root / "evals" / "general.eval.yaml").rename(project.root / "evals" / name)
    run = project.gates("evals", REQUIRE)
    assert run.code == 4, run.out
    assert "is not an eval set" in run.out
    assert "did you mean" in run.out
    assert name.isascii() or ascii(name) in run.out
    alone = project.gates(f"evals/{name}", REQUIRE)
    assert alone.code == 4
    assert "is not an eval set" in alone.out


@pytest.mark.parametrize("text", ["min_n = " + "9" * 5000, "min_n = -" + "9" * 5000, "confidence = " + "9" * 5000])
def test_x3_a_number_of_thousands_of_digits_is_an_error_of_its_own(project: Project, text: str) -> None:
    project.write("ftgate.toml", f"version = 1\n[policy]\n{text}\n")
    run = project.gates("evals", REQUIRE)
    assert run.code == 4, run.out
    assert "ftgate.toml:3: expected numbers of a few digits, found one of thousands" in run.out
