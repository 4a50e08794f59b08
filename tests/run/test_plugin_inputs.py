"""Bad input, overlap, and what the plugin costs where nobody asked for it."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable

import pytest
from gateproject import OneGate, Project, Run
from tinymodel import WORDS, make_base, questions, record, write_evalset, write_jsonl


def refused(run: Run, *, code: int = 4) -> str:
    """What a run said that could not start: one message, no traceback."""
    assert run.code == code, run.out
    assert "Traceback" not in run.out
    assert "INTERNALERROR" not in run.out
    assert "SHIP" not in run.out
    return run.out


# -- usage errors: exit 4 ----------------------------------------------------------------------------------------------


def test_a_missing_adapter(project: Project) -> None:
    out = refused(project.run("--ft-model=runs/god", "evals"))
    assert "ERROR: --ft-model=runs/god does not exist" in out
    assert "beside it: good" in out


def test_an_adapter_of_another_base(project: Project) -> None:
    make_base(project.root / "other", seed=7)
    out = refused(project.run("--ft-model=runs/good", "--ft-base=other", "evals"))
    assert "good was trained on another base: model.safetensors of other differ" in out
    assert "--ft-base" in out
    # To list the gates, gigabytes need not be hashed.
    assert project.run("--ft-model=runs/good", "--ft-base=other", "evals", "--collect-only").code == 0


def broken_yaml(project: Project) -> None:
    project.write("evals/target.eval.yaml", "version: 1\nexamples: target.jsonl\n  prompt: {\n")


def unknown_key(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    project.write("evals/target.eval.yaml", path.read_text().replace("accuracy: {min:", "accuracy: {mim:"))


def cut_jsonl(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    path.write_text(path.read_text()[:-12])


def same_name_twice(project: Project) -> None:
    shutil.copytree(project.root / "evals", project.root / "evals" / "again")


def a_pattern_that_allows_everything(project: Project) -> None:
    write_evalset(project.root / "evals", "loose", 'format: {regex: "(?s).*", min_rate: 0.9}', ["x"] * 5)


def a_function_that_is_not_there(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    project.write("evals/target.eval.yaml", path.read_text().replace("scorer: exact", "scorer: nothing.here:score"))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (broken_yaml, ["target.eval.yaml:3"]),
        (unknown_key, ["target.eval.yaml:", "gates.accuracy", "mim", "min"]),
        (cut_jsonl, ["target.jsonl:60", "Fix:"]),
        (same_name_twice, ["two eval sets are called", "name:"]),
        (a_pattern_that_allows_everything, ["loose.eval.yaml:7: gates.format.regex", "Fix:"]),
        (a_function_that_is_not_there, ["target.eval.yaml", "scorer", "nothing", "Fix:"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_eval_set_is_a_usage_error(
    project: Project, change: Callable[[Project], None], parts: list[str]
) -> None:
    change(project)
    out = refused(project.run("--ft-model=runs/good", "evals", "--ft-verdict=require"))
    for part in parts:
        assert part in out


def test_several_mistakes_are_told_at_once(project: Project) -> None:
    unknown_key(project)
    project.write("evals/general.jsonl", "")
    out = refused(project.run("--ft-model=runs/good", "evals"))
    assert "mim" in out
    assert "general.eval.yaml:2: examples: expected at least one example, found none" in out


def test_a_broken_set_beside_the_one_that_was_asked_for(project: Project) -> None:
    project.write("evals/other.eval.yaml", "version: 1\n")
    run = project.run("--ft-model=runs/good", "evals/target.eval.yaml", "--ft-verdict=require")
    assert "other.eval.yaml" in refused(run)


@pytest.mark.parametrize(
    "option",
    [
        "--ft-batch-size=0",
        "--ft-batch-size=x",
        "--ft-verdict=yes",
        "--ft-cache=maybe",
        "--ft-dtype=int8",
        "--ft-bse=x",
    ],
)
def test_bad_options(project: Project, option: str) -> None:
    assert "Traceback" not in project.run("--ft-model=runs/good", "evals", option).out
    assert project.run("--ft-model=runs/good", "evals", option).code == 4


def test_a_space_after_ft_model_must_not_lose_the_configuration(project: Project) -> None:
    outside = project.root.parent / f"{project.root.name}-outside"
    shutil.copytree(project.root, outside)
    run = project.run("--ft-model", str(outside / "runs" / "good"), "evals")
    assert "write --ft-model=DIR" in refused(run)
    assert project.run(f"--ft-model={outside / 'runs' / 'good'}", "evals", "--collect-only").code == 0
    assert project.run("--ft-model", "runs/good", "evals", "--collect-only").code == 0


def test_a_missing_extra_names_the_line_to_type(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "peft"):
        monkeypatch.setitem(sys.modules, name, None)
    run = project.gates("evals", "--ft-verdict=require")
    assert run.code == 21
    assert 'the engine hf needs torch, peft: pip install "pytest-ftgate[hf]"' in run.out


def test_a_model_that_cannot_be_loaded_is_told_once_per_gate_without_traceback(project: Project) -> None:
    (project.root / "base" / "tokenizer.json").write_text("{")
    (project.root / "runs" / "good" / "ftgate.json").unlink()
    run = project.gates("--ft-base=base", "evals", "--ft-verdict=require")
    assert run.code == 21
    assert "Traceback" not in run.out
    assert run.out.count("cannot load a tokenizer from") == 4
    assert set(run.outcomes.values()) == {"ERROR"}


def test_an_old_verdict_does_not_outlive_a_run_that_was_stopped(project: Project) -> None:
    assert project.gates("evals").verdict["verdict"] == "SHIP"
    project.write("evals/conftest.py", "import pytest\ndef pytest_runtest_setup(item):\n    pytest.exit('enough')\n")
    project.gates("evals")
    assert not (project.root / "v.json").exists()


def test_a_report_that_cannot_be_written_is_told(project: Project) -> None:
    (project.root / "folder").mkdir()
    run = project.run("--ft-model=runs/good", "evals", "-k", "accuracy", "--ft-json=folder")
    assert "could not write folder" in run.out
    assert "Traceback" not in run.out


# -- overlap -----------------------------------------------------------------------------------------------------------


def trained_on(project: Project, rows: list[str]) -> None:
    """The same adapter, recorded as trained on these questions."""
    path = write_jsonl(project.root / "train.jsonl", [{"prompt": q, "completion": "yes"} for q in rows])
    good = project.root / "runs" / "good"
    (good / "ftgate.json").unlink()
    record(good, project.root / "base", [path])


def sentences(n: int, seed: int) -> list[str]:
    """Questions long enough that equal ones are no accident."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=14)) for _ in range(n)]


@pytest.fixture
def overlap(project: Project) -> Project:
    asked = sentences(40, 0)
    write_evalset(project.root / "lap", "lap", "overlap: {max: 0}", ["x"] * len(asked), asked=asked)
    return project


def test_a_leaked_row_blocks(overlap: Project) -> None:
    trained_on(overlap, [*sentences(30, 5), sentences(40, 0)[17]])
    run = overlap.gates("lap", "--ft-verdict=require")
    assert (run.code, run.outcomes) == (1, {"lap::overlap": "FAIL"})
    assert "e17" in run.out
    assert "row 31 of train.jsonl" in run.out
    assert run.verdict["gates"][0]["worst"] == ["e17"]


def test_clean_training_data_passes_without_a_model_being_loaded(overlap: Project) -> None:
    trained_on(overlap, questions(30, seed=500))
    run = overlap.gates("lap", "--ft-verdict=require", "--ft-device=nonsense")
    assert (run.code, run.outcomes) == (0, {"lap::overlap": "PASS"})


def test_training_data_that_changed_or_is_gone_or_unknown_cannot_be_judged(overlap: Project) -> None:
    trained_on(overlap, questions(30, seed=500))
    train = overlap.root / "train.jsonl"
    train.write_text(train.read_text() + "\n")
    run = overlap.gates("lap", "--ft-verdict=require")
    assert (run.code, run.outcomes) == (21, {"lap::overlap": "ERROR"})
    assert "train.jsonl was changed after good was trained on it" in run.out
    train.unlink()
    run = overlap.gates("lap", "--ft-verdict=require")
    assert run.code == 21
    assert "is not where ftgate.json says" in run.out
    (overlap.root / "runs" / "good" / "ftgate.json").unlink()
    run = overlap.gates("lap", "--ft-verdict=require", "--ft-base=base")
    assert run.code == 21
    assert "it is not known what good was trained on" in run.out


# -- nobody asked ------------------------------------------------------------------------------------------------------


SPY = """
import json, sys, socket
real = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise AssertionError(f"connection to {address}")
    return real(self, address)
socket.socket.connect = refuse
def pytest_unconfigure(config):
    heavy = ["torch", "transformers", "peft", "numpy", "scipy", "sklearn", "jsonschema", "yaml", "filelock"]
    with open("imported.json", "w") as file:
        json.dump([name for name in heavy if name in sys.modules], file)
"""


def imported(project: Project) -> list[str]:
    found: list[str] = json.loads((project.root / "imported.json").read_text())
    return found


def test_without_eval_sets_and_options_nothing_happens(project: Project) -> None:
    plain = project.root / "plain"
    plain.mkdir()
    (plain / "conftest.py").write_text(SPY)
    (plain / "test_one.py").write_text("def test_one():\n    pass\n")
    (project.root / "plain" / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    inside = Project(type(project.world)(plain, {}), project.pytester)
    before = sorted(p.name for p in plain.iterdir())
    run = inside.process("-p", "no:cacheprovider", "-p", "no:hypothesispytest", PYTHONDONTWRITEBYTECODE="1")
    without = inside.process(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:ftgate", PYTHONDONTWRITEBYTECODE="1"
    )
    assert (run.code, without.code) == (0, 0)
    assert imported(inside) == []
    assert [line for line in run.out.splitlines() if "ftgate" in line and not line.startswith("plugins:")] == []
    assert len(run.out.splitlines()) == len(without.out.splitlines())
    assert sorted(p.name for p in plain.iterdir() if p.name != "imported.json") == before


def test_without_a_model_gates_are_skipped_and_say_so(project: Project) -> None:
    project.write("evals/conftest.py", SPY)
    run = project.process("evals", "-p", "no:hypothesispytest", "-rs")
    assert run.code == 0
    assert "4 skipped" in run.out
    assert "needs --ft-model=DIR" in run.out
    assert "no verdict: no model was judged" in run.out
    assert "SHIP" not in run.out
    assert not {"torch", "transformers", "peft"} & set(imported(project))
    assert not (project.root / ".ftgate").exists()


def test_collect_only_needs_no_torch_and_no_connection(project: Project) -> None:
    project.write("evals/conftest.py", SPY)
    run = project.process("--ft-model=runs/good", "evals", "--collect-only", "-q", "-p", "no:hypothesispytest")
    assert run.code == 0
    assert run.out.splitlines()[:4] == [
        "evals/general.eval.yaml::forgetting",
        "evals/shape.eval.yaml::format",
        "evals/target.eval.yaml::accuracy",
        "evals/target.eval.yaml::beats_baseline",
    ]
    assert not {"torch", "transformers", "peft", "scipy", "sklearn"} & set(imported(project))
    assert not (project.root / ".ftgate").exists()


def test_without_the_plugin_the_option_is_unknown(project: Project) -> None:
    run = project.process("-p", "no:ftgate", "--ft-model=runs/good", "evals")
    assert run.code == 4
    assert "unrecognized arguments" in run.out


def test_a_terminal_that_is_not_utf8_is_no_problem(project: Project, only: OneGate) -> None:
    env = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
    run = project.process(only("accuracy_fail"), "--ft-model=runs/god", **env)
    assert refused(run)
    assert os.environ.get("PYTHONUTF8") != "0"
