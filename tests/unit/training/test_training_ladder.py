"""`pytest-ftgate train` and the ladder: no GPU hours where a prompt does, and a record of what was (not) asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tinymodel import BASELINES, World, write_evalset, write_jsonl

from pytest_ftgate.model.manifest import read_manifest
from training import __main__ as command
from training.progress import ProgressLine
from training.prompt_first import climb

CONFIG = """\
version: 1
method: lora
base: {{id: base}}
data: {{train: [rows.jsonl]}}
evals: [{evals}]
output_dir: runs/new
lora: {{r: 4, lora_alpha: 8}}
sft: {{learning_rate: 1.0e-3, max_steps: 2, per_device_train_batch_size: 2, max_length: 128, seed: 0}}
"""


@pytest.fixture
def project(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The tiny project, without pytester: it forgets modules that pyarrow cannot import twice."""
    monkeypatch.chdir(tmp_path)
    return world.copy(tmp_path)


@pytest.fixture
def config(project: World) -> Path:
    """A training file whose eval set one of the base's prompts answers perfectly."""
    zero = project.texts["baseline:zero_shot"]
    write_evalset(project.root / "easy", "easy", "accuracy: {min: 0.5}", zero, baselines=BASELINES)
    rows = [{"prompt": f"train on {i}", "completion": f"yes {i}"} for i in range(12)]
    write_jsonl(project.root / "rows.jsonl", rows)
    path = project.root / "train.yaml"
    path.write_text(CONFIG.format(evals="easy/easy.eval.yaml"))
    return path


def test_what_a_prompt_does_is_not_trained(project: World, config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command.main([str(config)]) == 3
    out = capfd.readouterr().out
    assert "a prompt is enough: zero_shot scores 100.0%" in out
    assert "not trained: a prompt is enough. To train all the same: --no-ladder" in out
    assert not (project.root / "runs" / "new").exists()


def test_it_is_trained_on_request_and_recorded(project: World, config: Path) -> None:
    assert command.main([str(config), "--no-ladder"]) == 0
    manifest = read_manifest(project.root / "runs" / "new")
    assert manifest is not None
    assert "ladder: not climbed (--no-ladder)" in manifest.warnings


def test_an_interrupted_run_that_goes_on_keeps_the_record_of_the_ladder(
    project: World, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(config.read_text().replace("max_steps: 2", "max_steps: 4, save_strategy: steps, save_steps: 1"))

    def interrupt(_: ProgressLine, at: int, *__: Any, **___: Any) -> None:
        if at == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "update", interrupt)
    assert command.main([str(config), "--no-ladder"]) == 130
    monkeypatch.undo()
    monkeypatch.chdir(project.root)
    assert command.main([str(config), "--resume"]) == 0
    manifest = read_manifest(project.root / "runs" / "new")
    assert manifest is not None
    assert [text for text in manifest.warnings if text.startswith("ladder: ")] == ["ladder: not climbed (--no-ladder)"]


def test_a_ladder_that_was_not_climbed_is_said_aloud(
    project: World, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zero = project.texts["baseline:zero_shot"]
    write_evalset(project.root / "bare", "bare", "accuracy: {min: 0.5}", zero, baselines="")
    config.write_text(CONFIG.format(evals="bare/bare.eval.yaml"))
    assert command.main([str(config)]) == 0
    note = "ladder: not climbed, no eval set named under `evals` has `baselines`"
    assert f"warning  {note}" in capsys.readouterr().out
    manifest = read_manifest(project.root / "runs" / "new")
    assert manifest is not None
    assert note in manifest.warnings


def test_a_gap_is_trained_for_and_recorded(project: World, config: Path) -> None:
    config.write_text(CONFIG.format(evals="evals/target.eval.yaml"))
    assert command.main([str(config)]) == 0
    manifest = read_manifest(project.root / "runs" / "new")
    assert manifest is not None
    [note] = [text for text in manifest.warnings if text.startswith("ladder: ")]
    assert note.startswith("ladder: target: a behaviour gap of")


def test_several_processes_do_not_climb(project: World, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_ftgate.evalset.loader import load_evalset

    monkeypatch.setenv("WORLD_SIZE", "2")
    found = climb([load_evalset(project.root / "easy" / "easy.eval.yaml")], project.root / "base")
    assert not found.enough
    assert "several processes" in found.notes[0]


def test_a_ladder_that_breaks_is_no_reason_to_stop_and_is_recorded(
    project: World, config: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from pytest_ftgate.evalset.loader import load_evalset

    (project.root / "base" / "config.json").write_text(json.dumps({}))
    found = climb([load_evalset(project.root / "easy" / "easy.eval.yaml")], project.root / "base")
    assert (found.enough, found.notes) == (False, ("ladder: could not be climbed (exit code 4)",))
    assert "cannot load a model" in capfd.readouterr().err
