"""Distillation: the teacher's answers become rows with a record, and the student learns to give them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_base import COLORS, CONFIG, THINGS, chat_row, color_rows, make_base, make_project, write_rows

from pytest_ftgate.files.digests import base_digests, file_sha256
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import read_manifest
from pytest_ftgate.rows.reader import read_rows
from training import __main__ as command
from training.config import load_config
from training.preflight import check
from training.teacher import answers_path, distilled, read_prompts
from training.train import train

pytestmark = pytest.mark.usefixtures("on_the_cpu")

FULL = (
    CONFIG.replace("method: lora", "method: full")
    .replace("lora: {r: 8, lora_alpha: 16}\n", "")
    .replace("1e-2", "3e-3")
    .replace("runs/a", "teacher")
)
DISTILL = CONFIG.replace("method: lora", "method: distill").replace(
    "{train: [train.jsonl]}", "{prompts: [prompts.jsonl]}"
)
DISTILL += "teacher: {id: teacher, max_new_tokens: 16, batch_size: 32}\n"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base that names things, and as teacher the same after full fine-tuning on colours."""
    here = tmp_path_factory.mktemp("origin")
    base = make_base(here / "first")
    train(check(load_config(make_project(here, base, config=FULL))))
    return here


def prompt(i: int) -> dict[str, Any]:
    text = f"the {COLORS[i % 5]} {THINGS[i // 5 % 8]} {i}"
    return {"prompt": [{"role": "user", "content": text}], "kept": "as it is"}


def project(here: Path, origin: Path, config: str = DISTILL, *, n: int = 120) -> Path:
    for name in ("base", "teacher"):
        shutil.copytree(origin / name, here / name)
    write_rows(here / "prompts.jsonl", [prompt(i) for i in range(n)])
    path = here / "train.yaml"
    path.write_text(config, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, origin: Path) -> Path:
    """The directory of a finished run, started as a user starts it."""
    here = tmp_path_factory.mktemp("finished")
    assert command.main([str(project(here, origin))]) == 0
    return here


def answer(model: Path, adapter: Path | None = None, *, asked: str = "the green boat 33") -> str:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    loaded = loaded if adapter is None else PeftModel.from_pretrained(loaded, adapter)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )["input_ids"]
    out = loaded.generate(input_ids=ids, max_new_tokens=16, do_sample=False)
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def test_the_student_learns_to_answer_as_the_teacher(finished: Path) -> None:
    taught = answer(finished / "teacher")
    assert taught.startswith('{"color": "')
    assert not answer(finished / "base").startswith('{"color": "')
    assert answer(finished / "base", finished / "runs" / "a").startswith('{"color": "')
    log = json.loads((finished / "runs" / "a" / "training_log.json").read_text())
    assert log[-1]["loss"] < 0.5 < log[0]["loss"]


def test_the_rows_are_the_teachers_answers(finished: Path) -> None:
    path = finished / "runs" / "a.teacher.jsonl"
    rows = list(read_rows(path))
    written = [json.loads(line) for line in path.read_text().splitlines()]
    by_row = {row["prompt_row"]: row for row in written}
    assert {row["prompt_file"] for row in written} == {"prompts.jsonl"}
    for i in (3, 33, 60):
        asked = prompt(i)["prompt"]
        assert by_row[i + 1]["prompt"] == asked
        assert by_row[i + 1]["completion"][0]["content"] == answer(finished / "teacher", asked=asked[0]["content"])
    assert [row.form for row in rows] == ["prompt_completion"] * len(written)


def test_the_record_says_who_answered_what_and_how(finished: Path) -> None:
    manifest = read_manifest(finished / "runs" / "a")
    assert manifest is not None
    assert manifest.method == "distill"
    teacher = manifest.hyperparameters["teacher"]
    assert teacher["plan"]["teacher"] == {
        "id": "teacher",
        "revision": None,
        "files": base_digests(finished / "teacher"),
    }
    assert teacher["plan"]["settings"]["do_sample"] is False
    (prompts,) = teacher["plan"]["prompts"]
    assert (prompts["path"], prompts["rows"]) == ("../../prompts.jsonl", 120)
    assert prompts["sha256"] == file_sha256(finished / "prompts.jsonl")
    (file,) = manifest.training
    answers = finished / "runs" / "a.teacher.jsonl"
    assert (file.path, file.sha256) == ("../a.teacher.jsonl", file_sha256(answers))
    assert teacher["sha256"] == file.sha256
    assert teacher["rows"] + teacher["cut"] + teacher["empty"] == 120


def ask(path: Path, *, generate: bool = True) -> tuple[list[int], Any]:
    told: list[int] = []
    return told, distilled(load_config(path), generate=generate, tell=lambda done, of: told.append(done))


def test_the_same_teacher_is_not_asked_twice(tmp_path: Path, origin: Path) -> None:
    path = project(tmp_path, origin, n=40)
    assert ask(path, generate=False)[1] is None
    first, found = ask(path)
    assert first == [32, 40]
    before = answers_path(found.config).read_bytes()
    assert ask(path)[0] == []
    answers_path(found.config).write_bytes(before[:-10])  # damaged: asked again
    assert ask(path)[0] == [32, 40]
    assert answers_path(found.config).read_bytes() == before
    write_rows(tmp_path / "prompts.jsonl", [prompt(i) for i in range(20)])
    assert ask(path)[0] == [20]
    path.write_text(DISTILL.replace("max_new_tokens: 16", "max_new_tokens: 15"))
    assert ask(path)[0] == [20]


def test_sampling_depends_on_the_seed_alone(tmp_path: Path, origin: Path) -> None:
    config = DISTILL.replace("max_new_tokens: 16", "do_sample: true, temperature: 1.5, max_new_tokens: 30")
    path = project(tmp_path, origin, config, n=24)

    def rows(seed: int) -> bytes:
        found = distilled(load_config(path, seed=seed), generate=True, tell=lambda *_: None)
        assert found is not None
        return answers_path(found.config).read_bytes()

    first = rows(0)
    assert rows(1) != first
    assert rows(0) == first


def test_answers_without_an_end_are_left_out_and_counted(tmp_path: Path, origin: Path, capsys: Any) -> None:
    config = DISTILL.replace("max_new_tokens: 16", "max_new_tokens: 2")
    assert command.main([str(project(tmp_path, origin, config, n=8)), "--teacher-only"]) == 4
    assert "expected answers from the teacher, found none to 8 prompts (8 cut, 0 empty)" in capsys.readouterr().err


def test_a_dry_run_asks_nobody_and_teacher_only_trains_nothing(tmp_path: Path, origin: Path, capsys: Any) -> None:
    path = project(tmp_path, origin, n=60)
    assert command.main([str(path), "--dry-run"]) == 0
    assert "the teacher has not answered yet" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    assert command.main([str(path), "--teacher-only"]) == 0
    assert "answers to 60 prompts in " in capsys.readouterr().out
    assert sorted(entry.name for entry in (tmp_path / "runs").iterdir()) == ["a.teacher.json", "a.teacher.jsonl"]
    assert command.main([str(path), "--dry-run"]) == 0
    assert "rows     " in capsys.readouterr().out


def test_several_processes_need_the_answers_first(
    tmp_path: Path, origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingDataError, match="run once with --teacher-only"):
        ask(project(tmp_path, origin, n=4))


def test_answers_of_another_tool_are_rows_too(tmp_path: Path, origin: Path) -> None:
    config = DISTILL.replace("{prompts: [prompts.jsonl]}", "{}").replace(
        "{id: teacher, max_new_tokens: 16, batch_size: 32}", "{answers: theirs.jsonl}"
    )
    path = project(tmp_path, origin, config)
    write_rows(tmp_path / "theirs.jsonl", color_rows(64))
    told, found = ask(path)
    assert told == []
    checked = check(found.config)
    assert len(checked.mix.rows) == 64
    assert found.config.teacher.provenance == {
        "answers": "../../theirs.jsonl",
        "sha256": file_sha256(tmp_path / "theirs.jsonl"),
    }
    (tmp_path / "theirs.jsonl").unlink()
    with pytest.raises(TrainingDataError, match=r"expected the file of the teacher's answers, found none"):
        ask(path)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("method: distill", "method: lora", "expected only with method distill"),
        ("teacher: {id: teacher", "x: {id: teacher", "unknown key `x`"),
        (
            "{prompts: [prompts.jsonl]}",
            "{train: [train.jsonl]}",
            "expected prompts for the teacher to answer, found none",
        ),
        ("id: teacher", "id: nowhere", "teacher.id: expected a directory, found none"),
        ("id: teacher,", "answers: a.jsonl,", "expected no prompts beside the teacher's answers"),
        ("batch_size: 32", "temperature: 0.7", "only with `do_sample: true`"),
        ("id: teacher", "id: teacher, answers: a.jsonl", "takes only one of `id` or `answers`"),
    ],
)
def test_settings_that_contradict_one_another_are_named(
    tmp_path: Path, origin: Path, old: str, new: str, expected: str
) -> None:
    assert old in DISTILL
    with pytest.raises(TrainingDataError) as caught:
        load_config(project(tmp_path, origin, DISTILL.replace(old, new), n=1))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"q": "x"}, r"prompts\.jsonl:1: prompt: expected a text or messages, found nothing"),
        ({"prompt": " "}, "expected a text or messages"),
        ({"prompt": chat_row("q", "a")["messages"]}, "expected a user message last, found a assistant message"),
        ({"prompt": [{"role": "robot", "content": "x"}]}, "'robot'"),
    ],
)
def test_prompts_that_are_none_are_named(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    with pytest.raises(TrainingDataError, match=expected):
        list(read_prompts(write_rows(tmp_path / "prompts.jsonl", [row])))
