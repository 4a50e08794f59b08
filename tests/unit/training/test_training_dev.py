"""Dev rows: held out of training, measured, and what was best on them is what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, Rows, chat_row, color_rows, make_project, write_rows

from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import read_manifest
from training import __main__ as command
from training import train as trainer_module
from training.config import load_config
from training.data import load_mix
from training.preflight import check, describe
from training.progress import ProgressLine
from training.train import train

pytestmark = pytest.mark.usefixtures("on_the_cpu")

DEV = CONFIG.replace("[train.jsonl]", "[train.jsonl], dev: {files: [dev.jsonl]}").replace(
    "epochs: 4", "epochs: 12, eval_strategy: steps, eval_steps: 4, save_total_limit: 9"
)
STOPPING = DEV + "early_stopping: {early_stopping_patience: 2}\n"


def contrary(n: int = 24) -> Rows:
    """Dev rows that get better while the form of the answer is learnt, and worse while the colours are."""
    wrong = [chat_row(f"the red lamp {i}", '{"color": "white"}') for i in range(0, n, 2)]
    return [*wrong, *[chat_row(f"the blue lamp {i}", '{"color": "black"}') for i in range(1, n, 2)]]


def project(here: Path, base: Path, config: str = STOPPING) -> Path:
    path = make_project(here, base, config=config)
    write_rows(here / "dev.jsonl", contrary())
    return path


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """The directory of a run that stopped before its end, with copies of its last checkpoints."""
    here = tmp_path_factory.mktemp("stopped")
    path = project(here, base)
    write = trainer_module.write_result
    with pytest.MonkeyPatch.context() as patch:

        def keep(*args: Any, **kwargs: Any) -> Any:
            shutil.copytree(here / "runs" / "a.partial" / "checkpoints", here / "checkpoints")
            return write(*args, **kwargs)

        patch.setattr(trainer_module, "write_result", keep)
        train(check(load_config(path)))
    return here


def test_a_run_stops_and_keeps_the_weights_that_were_best(stopped: Path) -> None:
    manifest = read_manifest(stopped / "runs" / "a")
    assert manifest is not None
    kept = manifest.hyperparameters["kept"]
    log = json.loads((stopped / "runs" / "a" / "training_log.json").read_text())
    measured = {entry["step"]: entry["eval_loss"] for entry in log if "eval_loss" in entry}
    assert kept["stopped_early"]
    assert kept["last_step"] < kept["max_steps"] == 96
    assert kept["eval_loss"] == min(measured.values()) == measured[kept["step"]]
    assert kept["last_step"] == kept["step"] + 2 * 4
    assert manifest.hyperparameters["early_stopping"]["early_stopping_patience"] == 2


def test_what_is_written_are_the_weights_that_were_kept(stopped: Path) -> None:
    from safetensors.torch import load_file

    manifest = read_manifest(stopped / "runs" / "a")
    assert manifest is not None
    kept, name = manifest.hyperparameters["kept"], "adapter_model.safetensors"
    assert manifest.weights[name] == file_sha256(stopped / "runs" / "a" / name)
    best, last, written = (
        load_file(folder / name)
        for folder in (
            stopped / "checkpoints" / f"checkpoint-{kept['step']}",
            stopped / "checkpoints" / f"checkpoint-{kept['last_step']}",
            stopped / "runs" / "a",
        )
    )
    assert best.keys() == written.keys()
    assert all(tensor.equal(written[weights]) for weights, tensor in best.items())
    assert not all(tensor.equal(written[weights]) for weights, tensor in last.items())


def test_dev_files_are_recorded_for_the_overlap_gate(stopped: Path) -> None:
    manifest = read_manifest(stopped / "runs" / "a")
    assert manifest is not None
    assert [(file.path, file.rows) for file in manifest.training] == [
        ("../../train.jsonl", 120),
        ("../../dev.jsonl", 24),
    ]
    assert manifest.hyperparameters["data"]["dev_rows"] == 24


def test_a_resumed_run_stops_where_the_undisturbed_one_does(
    stopped: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    path = project(tmp_path, base)
    whole = read_manifest(stopped / "runs" / "a")
    assert whole is not None
    step = whole.hyperparameters["kept"]["last_step"] - 2  # one measurement without a best is counted already

    def interrupt(_: ProgressLine, at: int, *__: Any, **___: Any) -> None:
        if at == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "update", interrupt)
    assert command.main([str(path)]) == 130
    monkeypatch.undo()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command.main([str(path), "--resume"]) == 0
    again = read_manifest(tmp_path / "runs" / "a")
    assert again is not None
    assert again.hyperparameters["kept"] == whole.hyperparameters["kept"]
    assert again.weights == whole.weights
    assert f"kept     step {whole.hyperparameters['kept']['step']}: dev loss" in capsys.readouterr().out


def test_a_share_is_held_out_of_the_train_rows(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("[train.jsonl]", "[train.jsonl], dev: {share: 0.25}").replace("epochs: 4", "epochs: 1")
    checked = check(load_config(make_project(tmp_path, base, config=config, rows=color_rows(80))))
    rows, dev = {row.row for row in checked.mix.rows}, {row.row for row in checked.mix.dev}
    assert (len(rows), len(dev), len(checked.dev)) == (60, 20, 20)
    assert not rows & dev
    assert "60 (60 target, 0 replay) and 20 dev rows" in describe(checked)
    finished = train(checked)
    assert finished.kept["step"] == finished.steps == 4
    assert not finished.kept["stopped_early"]


def test_rows_that_repeat_one_another_are_on_one_side(tmp_path: Path) -> None:
    long = "the old lorry behind the northern harbour warehouse number {} has lost its third wheel in the rain near {}"
    rows = [chat_row(long.format(i, name), "red") for i in range(20) for name in ("paris", "oslo")]
    path = write_rows(tmp_path / "train.jsonl", rows + color_rows(40))
    from training.config import Data

    mix = load_mix(Data((path,), dev_share=0.3), seed=0)
    held = {row.row for row in mix.dev}
    assert len(held) == 24
    twice = write_rows(tmp_path / "twice.jsonl", color_rows(30) * 2)
    held = {row.row for row in load_mix(Data((twice,), dev_share=0.3), seed=0).dev}
    assert all((row in held) == (row + 30 in held) for row in range(1, 31))


def test_dev_rows_that_training_repeats_are_a_warning(tmp_path: Path, base: Path) -> None:
    path = project(tmp_path, base, DEV)
    path.write_text(path.read_text().replace("max_length: 64", "max_length: 128"))
    leaked = "which colour does the old lorry behind the northern harbour warehouse have today in the rain"
    write_rows(tmp_path / "dev.jsonl", [chat_row(leaked, "red"), *contrary()])
    assert not any("dev rows" in text for text in check(load_config(path)).warnings)
    write_rows(tmp_path / "train.jsonl", [*color_rows(), chat_row(leaked, "red")])
    (warning,) = [text for text in check(load_config(path)).warnings if "dev rows" in text]
    assert warning.startswith("1 of 25 dev rows stand in the training rows: ")
    assert "dev.jsonl:1 (" in warning
    assert "train.jsonl:121)" in warning


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (", dev: {files: [dev.jsonl]}", "", "expected dev rows to stop by, found none"),
        ("eval_strategy: steps", "eval_strategy: 'no'", "sft.eval_strategy: expected epoch or steps"),
        ("eval_strategy: steps", "load_best_model_at_end: false", "the best checkpoint to be kept with early_stopping"),
        ("eval_strategy: steps", "save_strategy: epoch, eval_strategy: steps", "sft.save_strategy: expected steps"),
        ("{files: [dev.jsonl]}", "{files: [dev.jsonl], share: 0.1}", "takes only one of `files` or `share`"),
        ("{files: [dev.jsonl]}", "{}", "needs `files` or `share`"),
        ("patience: 2", "patience: 0", "early_stopping.early_stopping_patience"),
    ],
)
def test_settings_that_contradict_one_another_are_named(
    tmp_path: Path, base: Path, old: str, new: str, expected: str
) -> None:
    assert old in STOPPING
    with pytest.raises(TrainingDataError) as caught:
        load_config(project(tmp_path, base, STOPPING.replace(old, new)))
    assert expected in str(caught.value)
