"""`python -m training` as a user runs it: exit codes, one message a mistake, no traceback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, QUIET_CPU, color_rows, make_base, make_project

from pytest_ftgate.model.manifest import read_manifest
from training import __main__ as command
from training.config import load_config
from training.device import Device
from training.progress import ProgressLine

pytestmark = pytest.mark.usefixtures("on_the_cpu")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny") / "base", taught=False)


def start(path: Path, *options: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **QUIET_CPU}
    return subprocess.Popen(
        [sys.executable, "-m", "training", str(path), *options],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_interrupting_says_how_to_go_on(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = make_project(tmp_path, base)
    monkeypatch.setattr(ProgressLine, "update", interrupt_at_20)
    assert command.main([str(path)]) == 130
    said = capsys.readouterr().err
    assert "interrupted: no adapter was written; --resume continues from checkpoint-16" in said
    assert f"the loss so far: {tmp_path / 'runs' / 'a.partial' / 'loss.png'}" in said
    assert size_of_png(tmp_path / "runs" / "a.partial" / "loss.png") > (500, 300)
    assert not (tmp_path / "runs" / "a").exists()
    monkeypatch.undo()
    assert command.main([str(path)]) == 4
    assert "pass --resume to continue it" in capsys.readouterr().err
    assert command.main([str(path), "--resume"]) == 0
    assert "warning  resumed from checkpoint-16" in capsys.readouterr().out


def size_of_png(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the header chunk; an AssertionError for what is no PNG."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def interrupt_at_20(_: ProgressLine, step: int, *__: Any, **___: Any) -> None:
    if step == 20:
        raise KeyboardInterrupt


class Clock:
    """Seconds that pass only when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_line_every_few_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    line = ProgressLine(stream=stream, clock=clock)
    for step in range(1, 101):
        line.update(step, 100, epoch=step / 50, loss=2.0 - step / 100, final=step == 100)
        clock.now += 1.0
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 1/100 · epoch 0.02 · loss 1.9900"
    assert lines[1] == "step 16/100 · epoch 0.32 · loss 1.8400 · 1 min 24 s left"
    assert lines[-1] == "step 100/100 · epoch 2.00 · loss 1.0000 · 1 min 39 s"
    assert len(lines) == 8


def test_progress_rewrites_one_line_on_a_terminal() -> None:
    stream, clock = Terminal(), Clock()
    line = ProgressLine(stream=stream, clock=clock)
    for step in (1, 2, 3):
        line.update(step, 3, epoch=step / 3, loss=None, final=step == 3)
        clock.now += 1.0
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r\x1b[K") == 3


def test_an_existing_directory_is_replaced_only_where_asked(tmp_path: Path, base: Path, capsys: Any) -> None:
    path = make_project(tmp_path, base, config=CONFIG.replace("epochs: 4", "epochs: 1"))
    old = tmp_path / "runs" / "a"
    old.mkdir(parents=True)
    (old / "mine.txt").write_text("keep")
    assert command.main([str(path)]) == 4
    assert "expected a new directory, found" in capsys.readouterr().err
    assert command.main([str(path), "--overwrite"]) == 4
    assert "without ftgate.json" in capsys.readouterr().err
    assert (old / "mine.txt").exists()
    (old / "ftgate.json").write_text("{}")
    assert command.main([str(path), "--overwrite"]) == 0
    assert read_manifest(old) is not None
    assert not (old / "mine.txt").exists()
    assert [entry.name for entry in old.parent.iterdir()] == ["a"]
    assert f"next     pytest --ft-model={old} evals/" in capsys.readouterr().out


@pytest.mark.parametrize("output", [".", "..", "base"])
def test_a_directory_that_no_run_wrote_is_never_replaced(tmp_path: Path, base: Path, output: str, capsys: Any) -> None:
    path = make_project(tmp_path, base, config=CONFIG.replace("output_dir: runs/a", f"output_dir: {output}"))
    before = sorted(tmp_path.rglob("*"))
    assert command.main([str(path), "--overwrite"]) == 4
    assert "without ftgate.json" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_checks_and_writes_nothing(tmp_path: Path, base: Path, capsys: Any) -> None:
    path = make_project(tmp_path, base)
    before = sorted(tmp_path.rglob("*"))
    assert command.main([str(path), "--dry-run", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "seed 3" in out
    assert 'trained  {"color": "red"}<|end|>' in out
    assert "beside 104,896 of the base; at least " in out
    assert "\ndevice   cpu\n" in out
    assert "dry run: nothing was trained or written" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_compares_memory_with_the_device(
    tmp_path: Path, base: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_project(tmp_path, base)
    for free, code in ((2**30, 0), (2**10, 4)):
        device = Device(cuda=True, bf16=True, name="small GPU", free_bytes=free)
        monkeypatch.setattr("training.device.find_device", lambda device=device: device)
        assert command.main([str(path), "--dry-run"]) == code
    said = capsys.readouterr()
    assert "device   small GPU, 1.0 GiB free" in said.out
    assert "GiB of free GPU memory for lora, found 0.00 GiB on 'small GPU'" in said.err


def test_target_modules_that_do_not_exist_are_one_message(tmp_path: Path, base: Path, capsys: Any) -> None:
    path = make_project(tmp_path, base, config=CONFIG.replace("r: 8", "r: 8, target_modules: [no_such_proj]"))
    assert command.main([str(path)]) == 4
    assert "no_such_proj" in capsys.readouterr().err
    assert list(tmp_path.joinpath("runs").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("tokenizer.json", "{", "expected a JSON object in "),
        ("tokenizer.json", '{"version": "1.0"}', "expected a tokenizer that transformers can load"),
        ("tokenizer_config.json", "[]", "expected a JSON object in "),
        ("config.json", "[]", "expected a JSON object in "),
        ("config.json", '{"model_type": "nope"}', "expected a model that transformers can load"),
        ("config.json", '{"model_type": "nope", "auto_map": {"AutoConfig": "x.Y"}}', "contains custom code"),
        ("generation_config.json", '{"eos_token_id": "x"}', "expected token ids as eos_token_id"),
        ("chat_template.jinja", "{% if %}", "that the chat template can render"),
        ("chat_template.jinja", "{{ messages.__class__.__mro__ }}", "that the chat template can render"),
    ],
)
def test_a_broken_base_is_one_message(
    tmp_path: Path, base: Path, name: str, text: str, expected: str, capsys: Any
) -> None:
    path = make_project(tmp_path, base)
    (tmp_path / "base" / name).write_text(text)
    assert command.main([str(path), "--dry-run"]) == 4
    found = capsys.readouterr().err
    assert found.count("error: ") == 1
    assert expected in found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hidden_size": 128}, "expected a model that transformers can load"),
        ({"num_hidden_layers": 3}, "expected every weight of the model in its files, found none for model.layers.2."),
        ({"model_type": "vit"}, "expected a model that transformers can load"),
    ],
)
def test_weights_of_another_config_are_refused(
    tmp_path: Path, base: Path, changes: dict[str, object], expected: str, capsys: Any
) -> None:
    path = make_project(tmp_path, base)
    file = tmp_path / "base" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    assert command.main([str(path)]) == 4
    assert expected in capsys.readouterr().err
    assert list(tmp_path.joinpath("runs").iterdir()) == []


def test_cut_weights_are_refused(tmp_path: Path, base: Path, capsys: Any) -> None:
    path = make_project(tmp_path, base)
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert command.main([str(path)]) == 4
    assert "expected a model that transformers can load" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_message(tmp_path: Path, base: Path, capsys: Any) -> None:
    path = make_project(tmp_path, base)
    (tmp_path / "runs").write_text("a file")
    assert command.main([str(path)]) == 1
    assert capsys.readouterr().err.startswith("failed: Not a directory: ")


@pytest.mark.parametrize("arguments", [[], ["a.yaml", "--seed", "-1"], ["a.yaml", "--unknown"]])
def test_misuse_is_4(arguments: list[str], capsys: Any) -> None:
    assert command.main(arguments) == 4
    assert "usage:" in capsys.readouterr().err


def test_help_teaches(capsys: Any) -> None:
    assert command.main(["--help"], prog="pytest-ftgate train") == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: pytest-ftgate train")
    assert "target" not in text.split("CONFIG.yaml")[0]
    for word in ("--dry-run", "replay", "exit codes", "pytest --ft-model="):
        assert word in text


def test_the_example_of_the_help_is_a_training_file(tmp_path: Path) -> None:
    text = command.parser("x").epilog or ""
    example = text[text.index("  version: 1") : text.index("The loss")]
    (tmp_path / "base").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "train.yaml").write_text(example)
    assert load_config(tmp_path / "here" / "train.yaml").arguments["learning_rate"] == 2e-4


def test_missing_packages_are_one_line_with_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None if name in ("trl", "peft") else object())
    assert command.main([str(tmp_path / "train.yaml")]) == 4
    assert capsys.readouterr().err == 'python -m training: needs peft, trl: pip install "pytest-ftgate[train]"\n'


def test_a_run_as_a_user_sees_it(tmp_path: Path, base: Path) -> None:
    process = start(make_project(tmp_path, base, rows=color_rows(240)))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = out.splitlines()
    assert lines[0].startswith("train    lora on base, seed 0, to ")
    assert lines[-1].startswith("next     pytest --ft-model=")
    progress = err.splitlines()
    assert progress
    assert all(line.startswith("step ") for line in progress), err
    assert "loss" in progress[-1]
