"""Runs that are held to a policy: with a real model, in this process and as a process, with and without workers."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from gateproject import SHIPPING, OneGate, Project

REQUIRE = "--ft-verdict=require"


def policy(project: Project, text: str) -> None:
    project.write("ftgate.toml", "version = 1\n" + text)


def commit(project: Project, message: str = "x") -> None:
    if not (project.root / ".git").exists():
        git(project, "init", "-q", "-b", "main")
        project.write(".gitignore", ".ftgate\n__pycache__\nbase\nruns\n*.json\n*.xml\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", message)


def git(project: Project, *args: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *args], cwd=project.root, check=True, capture_output=True)


def edit(project: Project, name: str, old: str, new: str) -> None:
    path = project.root / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


FITTING = """
[policy]
required = ["format", "accuracy", "beats_baseline", "forgetting"]
evalsets = ["evals/target.eval.yaml", "evals/general.eval.yaml"]
min_n = 60
confidence = 0.97
cache = "off"
[policy.floors]
accuracy = 0.6
[policy.ceilings]
forgetting = 0.08
[runtime]
dtype = ["float32"]
quantize = ["none"]
device = ["cpu"]
"""


def test_a_run_that_meets_its_policy_ships_and_says_which_policy(project: Project) -> None:
    policy(project, FITTING)
    run = project.gates("evals", REQUIRE)
    assert run.code == 0, run.out
    assert run.outcomes == SHIPPING
    told = run.verdict["policy"]
    assert (told["uri"], told["changed_in_this_change"], told["changes"]) == ("ftgate.toml", False, [])
    assert f"policy    ftgate.toml ({told['digest'][:12]})" in run.out
    # Stricter bounds reach the gates, their table and the reader.
    bounds = {gate["gate"]: gate["bound"] for gate in run.verdict["gates"]}
    assert (bounds["target::accuracy"], bounds["general::forgetting"]) == (0.6, -0.08)
    assert ">= 0.6" in run.out
    assert "> -0.08" in run.out
    assert "target::accuracy: accuracy.min 0.6 is used, the eval set asks for 0.5" in run.out
    assert {side: counts["stored"] for side, counts in run.verdict["counts"].items()} == {"candidate": 0, "base": 0}
    assert not (project.root / ".ftgate" / "cache").exists()


def test_without_a_policy_the_eval_sets_alone_count(project: Project) -> None:
    run = project.gates("evals", REQUIRE)
    assert run.code == 0
    assert run.verdict["policy"]["uri"] == "pytest-ftgate:defaults"
    assert len(run.verdict["policy"]["digest"]) == 64
    assert run.verdict["policy"]["notes"] == []


BROKEN = {
    "kind_missing": ('[policy]\nrequired = ["overlap"]', 21, "requires a gate of kind overlap, and no eval set here"),
    "floor_without_gate": ("[policy.ceilings]\noverlap = 0", 21, "has a bound for overlap, and no eval set here"),
    "floor": ("[policy.floors]\naccuracy = 0.99", 20, "target::accuracy could not be certified"),
    "min_n": ("[policy]\nmin_n = 61", 20, "could not be certified"),
    "confidence": ("[policy]\nconfidence = 0.9999", 20, "could not be certified"),
    "dtype": ('[runtime]\ndtype = ["bfloat16"]', 21, "asks for dtype bfloat16, and the models ran with float32"),
    "device": ('[runtime]\ndevice = ["cuda"]', 21, "asks for device cuda, and the models ran with cpu"),
    "evalset_elsewhere": ('[policy]\nevalsets = ["bad/beats_fail.eval.yaml"]', 22, "was not part of the run"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_run_that_does_not_meet_its_policy_does_not_ship(project: Project, case: str) -> None:
    rules, code, said = BROKEN[case]
    policy(project, rules)
    run = project.gates("evals", REQUIRE)
    assert (run.code, run.verdict["exit_code"]) == (code, code), run.out
    assert said in run.verdict["reason"]


UNUSABLE = {
    "typo": ("[policy]\nmin_m = 100", "ftgate.toml:3: policy.min_m:"),
    "no_file": (
        '[policy]\nevalsets = ["evals/gone.eval.yaml"]',
        "name evals/gone.eval.yaml, and there is no such file",
    ),
    "other_base": (f'[base]\ndigest = "{"0" * 64}"', "the policy pins another base than base: base.digest is 0000"),
    "other_file": (f'[base.files]\n"model.safetensors" = "{"0" * 64}"', "model.safetensors differ from base.files"),
    "other_id": ('[base]\nid = "Qwen/Qwen3-8B"', "base.id is Qwen/Qwen3-8B, this one's is base"),
    "no_revision": (f'[base]\nrevision = "{"0" * 40}"', "nothing tells the revision of this directory"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_policy_that_cannot_hold_is_a_usage_error(project: Project, case: str) -> None:
    rules, said = UNUSABLE[case]
    policy(project, rules)
    run = project.run("--ft-model=runs/good", "--ft-json=v.json", "evals")
    assert run.code == 4
    assert said in run.out
    assert "Fix: " in run.out
    assert not (project.root / "v.json").exists()


def test_the_pinned_base_is_the_one_that_the_report_names(project: Project) -> None:
    digest = project.gates("evals").verdict["engine"]["base_digest"]
    policy(project, f'[base]\ndigest = "{digest}"\nid = "base"\n')
    assert project.gates("evals", REQUIRE).code == 0
    weights = project.root / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    (project.root / "runs/good/ftgate.json").unlink()  # which would have told as well
    run = project.gates("evals", "--ft-base=base", REQUIRE)
    assert (run.code, "the policy pins another base" in run.out) == (4, True)


def test_a_cache_that_holds_the_candidate_is_refused_where_a_verdict_is_required(project: Project) -> None:
    run = project.run("--ft-model=runs/good", "evals", REQUIRE, "--ft-cache=all")
    assert (run.code, "the policy allows stored answers of the base only" in run.out) == (4, True)
    policy(project, '[policy]\ncache = "off"')
    run = project.run("--ft-model=runs/good", "evals", REQUIRE, "--ft-cache=base")
    assert (run.code, "the policy allows no stored answers" in run.out) == (4, True)
    assert project.gates("evals", "--ft-cache=all").code == 0


def test_unknown_training_data_is_an_error_unless_the_policy_lets_it_pass(project: Project) -> None:
    edit(project, "evals/target.eval.yaml", "gates:\n", "gates:\n  overlap: {max: 0}\n")
    (project.root / "runs/good/ftgate.json").unlink()
    asked = ("evals", "--ft-base=base", REQUIRE)
    run = project.gates(*asked)
    assert (run.code, run.outcomes["target::overlap"]) == (21, "ERROR")
    policy(project, '[policy]\nunknown_training_data = "warn"')
    run = project.gates(*asked)
    assert run.code == 0
    assert run.verdict["reason"] == "all 5 gates passed; not judged, which the policy allows: target::overlap"
    assert "not judged" in next(line for line in run.out.splitlines() if line.startswith("target::overlap"))


# -- what decides which gates are run ----------------------------------------------------------------------------------

NAMED = '[policy]\nevalsets = ["evals/general.eval.yaml", "evals/target.eval.yaml", "evals/shape.eval.yaml"]\n'


@pytest.mark.parametrize(
    ("ini", "environment", "args"),
    [
        ("addopts = '-k accuracy'", "", ["evals"]),
        ("addopts = '--deselect=evals/general.eval.yaml::forgetting'", "", ["evals"]),
        ("addopts = '--ignore=evals/general.eval.yaml'", "", ["evals"]),
        ("", "-k accuracy", ["evals"]),
        ("", "--deselect=evals/general.eval.yaml", ["evals"]),
        ("testpaths = ['part']", "", []),
        ("norecursedirs = ['evals']", "", []),
        ("", "", ["part"]),
    ],
)
def test_nothing_that_narrows_a_run_lets_it_ship(
    project: Project, monkeypatch: pytest.MonkeyPatch, ini: str, environment: str, args: list[str]
) -> None:
    policy(project, NAMED)
    (project.root / "part").mkdir()
    for name in ("target.eval.yaml", "target.jsonl", "shots.jsonl"):
        shutil.copy(project.root / "evals" / name, project.root / "part")
    edit(project, "part/target.eval.yaml", "version: 1\n", "version: 1\nname: part\n")
    shutil.rmtree(project.root / "bad")
    project.write("pyproject.toml", f"[tool.pytest.ini_options]\n{ini}\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", environment)
    run = project.gates(REQUIRE, *args)
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL"), run.out


@pytest.mark.parametrize("name", ["x.evals.yaml", "x.eval.yml", "x.eval.json", "x.Eval.yaml", "x_eval.yaml"])
def test_a_file_called_nearly_like_an_eval_set_is_noticed(project: Project, name: str) -> None:
    project.write(f"evals/{name}", "gates: {}\n")
    run = project.run("--ft-model=runs/good", "evals", REQUIRE)
    assert (run.code, f"evals/{name} is not an eval set: did you mean" in run.out) == (4, True)
    run = project.gates("evals")
    assert (run.code, run.out.count(f"evals/{name} is not an eval set")) == (0, 2)  # header and summary


EXITS = {
    "configure": "def pytest_configure(config):\n    pytest.exit('enough', returncode=0)\n",
    "sessionstart": "def pytest_sessionstart(session):\n    pytest.exit('enough', returncode=0)\n",
    "sessionfinish": "@pytest.hookimpl(trylast=True)\ndef pytest_sessionfinish(session):\n    session.exitstatus = 0\n",
    "exit_at_finish": "def pytest_sessionfinish(session):\n    pytest.exit('enough', returncode=0)\n",
}


EXIT_CODES = {"configure": 21, "sessionstart": 21, "sessionfinish": 1, "exit_at_finish": 1}


@pytest.mark.parametrize("trick", EXITS)
def test_exit_zero_in_a_hook_of_a_conftest_is_not_success(project: Project, only: OneGate, trick: str) -> None:
    folder = only("accuracy_fail")
    project.write("conftest.py", "import pytest\n" + EXITS[trick])
    assert project.run("--ft-model=runs/good", folder, REQUIRE).code == EXIT_CODES[trick]
    # Where no verdict is asked for, pytest's own way stands.
    assert project.run("--ft-model=runs/good", folder, "--ft-verdict=off").code == 0
    # And a verdict without a model is none.
    assert project.run(folder, REQUIRE).code == (21 if trick == "configure" else 4)


def test_exit_zero_before_the_workers_start_is_not_success(project: Project) -> None:
    project.write("conftest.py", "import pytest\n" + EXITS["sessionstart"])
    assert project.process("--ft-model=runs/good", "bad", REQUIRE, "-n", "2").code == 21


@pytest.mark.slow
@pytest.mark.parametrize("trick", EXITS)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_exit_zero_as_a_process_of_its_own(project: Project, trick: str, workers: tuple[str, ...]) -> None:
    project.write("conftest.py", "import pytest\n" + EXITS[trick])
    run = project.process("--ft-model=runs/good", "bad", REQUIRE, *workers)
    assert run.code == EXIT_CODES[trick], run.out


def test_options_that_only_print_are_left_alone(project: Project) -> None:
    for option in ("--version", "--help", "--markers"):
        assert project.run("--ft-model=runs/good", REQUIRE, option).code == 0


# -- the bar before this change ----------------------------------------------------------------------------------------


def test_a_bound_lowered_in_the_same_change_does_not_count(project: Project) -> None:
    policy(project, '[policy]\nrequired = ["accuracy"]\nmin_n = 50\n')
    edit(project, "evals/target.eval.yaml", "min: 0.5", "min: 0.97")
    commit(project)
    edit(project, "evals/target.eval.yaml", "min: 0.97", "min: 0.5")
    edit(project, "ftgate.toml", "min_n = 50", "min_n = 1")
    assert project.gates("evals", REQUIRE).code == 0
    run = project.gates("evals", REQUIRE, "--ft-policy-ref=main")
    assert (run.code, run.outcomes["target::accuracy"]) == (20, "INCONCLUSIVE")
    told = run.verdict["policy"]
    assert told["changed_in_this_change"] is True
    assert told["changes"] == [
        "min_n 50 -> 1; the stricter 50 was used",
        "target::accuracy.min 0.97 -> 0.5; the stricter 0.97 was used",
    ]
    for change in told["changes"]:
        assert f"policy changed in this change: {change}" in run.out
    assert "accuracy.min 0.97 is used, the eval set asks for 0.5" in run.out


def test_workers_hold_gates_to_the_ref_as_well(project: Project) -> None:
    edit(project, "evals/target.eval.yaml", "min: 0.5", "min: 0.97")
    commit(project)
    edit(project, "evals/target.eval.yaml", "min: 0.97", "min: 0.5")
    run = project.process(
        *("--ft-model=runs/good", "--ft-json=v.json", REQUIRE, "--ft-policy-ref=main", "-n", "1", "evals")
    )
    assert (run.code, run.outcomes["target::accuracy"]) == (20, "INCONCLUSIVE"), run.out
    assert ">= 0.97" in run.out


SWAP = """
import os
from pathlib import Path
if os.environ.get("PYTEST_XDIST_WORKER"):
    Path("ftgate.toml").write_text("version = 1\\n")
"""


def test_a_policy_that_differs_in_a_worker_ends_the_run(project: Project) -> None:
    policy(project, "[policy]\nmin_n = 61\n")
    project.write("conftest.py", SWAP)
    run = project.process("--ft-model=runs/good", "--ft-json=v.json", REQUIRE, "-n", "1", "evals")
    assert run.code == 21, run.out
    assert "policy or eval sets were changed while the run was starting" in run.out
    assert "Traceback" not in run.out


def test_a_gate_or_an_eval_set_deleted_in_the_same_change_is_missed(project: Project) -> None:
    commit(project)
    edit(project, "evals/target.eval.yaml", "  beats_baseline: {min_gain: 0.05}\n", "")
    (project.root / "evals/general.eval.yaml").unlink()
    assert project.gates("evals", REQUIRE).code == 0
    run = project.gates("evals", REQUIRE, "--ft-policy-ref=main")
    assert (run.code, run.verdict["verdict"]) == (21, "NOT_EVALUATED")
    assert "general::forgetting stands at main and was deleted here" in run.verdict["reason"]
    assert "target::beats_baseline stands at main and was deleted here" in run.verdict["reason"]
    assert "policy changed in this change: general (evals/general.eval.yaml) was deleted" in run.out


def test_hard_cases_dropped_in_the_same_change_are_told(project: Project) -> None:
    commit(project)
    rows = project.root / "evals/target.jsonl"
    kept = [line for line in rows.read_text().splitlines(keepends=True) if json.loads(line)["id"] not in ("e3", "e9")]
    rows.write_text("".join(kept))
    run = project.gates("evals", REQUIRE, "--ft-policy-ref=HEAD")
    assert run.code == 0
    assert run.verdict["policy"]["changes"] == ["target: 2 examples removed"]
    assert "policy changed in this change: target: 2 examples removed" in run.out


def test_a_ref_that_is_not_there_is_a_usage_error(project: Project) -> None:
    commit(project)
    run = project.run("--ft-model=runs/good", "evals", "--ft-policy-ref=origin/main")
    assert run.code == 4
    assert "holds no such commit. Fix: fetch it first (git fetch origin main" in run.out
    assert "Traceback" not in run.out
