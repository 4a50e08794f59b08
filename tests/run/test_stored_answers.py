"""What a forger gains who can write below .ftgate, and not in the user's state directory: nothing."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from gateproject import Project
from tinymodel import BASELINES, write_evalset

from pytest_ftgate.answers.store import Store, from_json
from pytest_ftgate.files.own_key import key_path, own_key

REQUIRE = "--ft-verdict=require"
STORED = Path(".ftgate", "cache")


def even(project: Project) -> None:
    """An eval set on which the base is as good as the candidate."""
    texts = project.world.texts
    rungs = ("candidate", "baseline:zero_shot", "baseline:few_shot")
    targets = [list(dict.fromkeys(row)) for row in zip(*(texts[name] for name in rungs), strict=True)]
    write_evalset(project.root / "even", "even", "beats_baseline: {min_gain: 0.05}", targets, baselines=BASELINES)


def forge(project: Project, *, key: bytes | None) -> int:
    """Every stored answer becomes a wrong one, under a plain checksum or a key of the forger's; how many."""
    changed = 0
    for path in (project.root / STORED).rglob("*.jsonl"):
        pairs = [json.loads(line.partition(" ")[2]) for line in path.read_text().splitlines()]
        bodies = [json.dumps([k, {**v, "text": "anything"}], separators=(",", ":")) for k, v in pairs]
        sums = [hashlib.sha256(f"{path.stem} {body}".encode()).hexdigest() for body in bodies]
        path.write_text("".join(f"{s} {b}\n" for s, b in zip(sums, bodies, strict=True)))
        if key is not None:
            path.unlink()
            made = [(k, from_json({**v, "text": "anything"})) for k, v in pairs]
            Store(project.root / STORED, path.stem, key).append(made)
        changed += len(bodies)
    return changed


@pytest.mark.parametrize("key", [None, b"another users key, 32 bytes long"])
def test_s4_forged_answers_of_the_base_change_no_verdict(project: Project, key: bytes | None) -> None:
    even(project)
    honest = project.gates("even", REQUIRE)
    assert (honest.code, honest.verdict["counts"]["base"]["stored"]) == (20, 0), honest.out
    kept = project.gates("even", REQUIRE)
    assert kept.verdict["counts"]["base"]["generated"] == 0  # the store is used, so that the next line means something
    changed = forge(project, key=key)
    run = project.gates("even", REQUIRE)
    assert run.verdict["counts"]["base"]["rejected"] == changed > 30
    assert (run.code, run.outcomes) == (20, honest.outcomes)
    assert f"{changed} stored lines ignored (broken, or of another key)" in run.out


def test_s4_a_forged_store_before_the_first_run_on_this_machine(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    even(project)
    assert project.gates("even", REQUIRE).code == 20
    state = tmp_path.parent / "elsewhere"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))  # another user: what lies there was stored under another key
    run = project.gates("even", REQUIRE)
    assert run.verdict["counts"]["base"]["stored"] == 0
    assert key_path().is_relative_to(state)
    assert key_path().is_file()


def test_s4_in_ci_the_base_is_asked_afresh_and_nothing_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    even(project)
    assert project.gates("even", REQUIRE).code == 20
    lines = {path: path.read_text() for path in (project.root / STORED).rglob("*.jsonl")}
    monkeypatch.setenv("CI", "true")
    for args in ((), ("--ft-cache=base",)):
        run = project.gates("even", *args)
        assert {side["stored"] for side in run.verdict["counts"].values()} == {0}
        assert "no stored answer is used and none is kept: the environment variable CI is set" in run.out
    assert {path: path.read_text() for path in (project.root / STORED).rglob("*.jsonl")} == lines


def test_s4_a_key_inside_the_project_is_no_key(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(project.root / "state"))
    run = project.gates("evals", REQUIRE)
    assert run.code == 0
    assert "the key would lie inside the project" in run.out
    assert not (project.root / "state").exists()
    assert not (project.root / STORED).exists()


def test_s4_committed_answers_are_refused_with_the_cure(project: Project) -> None:
    assert project.gates("evals", REQUIRE).code == 0
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    assert project.gates("evals", REQUIRE).code == 0  # lying there is not yet committed
    subprocess.run(["git", "add", "-f", STORED], cwd=project.root, check=True)
    run = project.gates("evals", REQUIRE)
    assert run.code == 4
    assert "Fix: git rm -r --cached .ftgate/cache, and add .ftgate/cache to .gitignore" in run.out
    subprocess.run(["git", "rm", "-rq", "--cached", STORED], cwd=project.root, check=True)
    assert project.gates("evals", REQUIRE).code == 0


def test_the_key_is_this_users_alone(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    project = tmp_path / "project"
    project.mkdir()
    made = own_key(project, environ)
    path = key_path(environ)
    assert made == own_key(project, environ)
    assert made.secret is not None
    assert len(made.secret) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["key"]
    path.chmod(0o644)
    assert "is not this user's alone" in own_key(project, environ).why
    path.chmod(0o600)
    for text in ("", "0" * 63 + "\n", "0" * 65, "G" * 64 + "\n"):
        path.write_text(text)
        assert "is not a key as ftgate writes it" in own_key(project, environ).why
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert own_key(project, environ).secret is None
    path.unlink()
    path.mkdir()
    assert own_key(project, environ).secret is None


def test_a_key_elsewhere_in_the_same_repository_is_no_key(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "part").mkdir()
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    assert "inside the project" in own_key(tmp_path / "part", environ).why
