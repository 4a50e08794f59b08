"""The examples beside tickets: recipes for hub models, on a small base in place of the hub's; feedback files."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from training_base import chat_row, color_rows, make_base, write_rows

from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.rows.reader import read_rows
from training import __main__ as command
from training.config import load_config

EXAMPLES = Path(__file__).parents[2] / "examples"
HUB = EXAMPLES / "qlora_hub"


def on_a_small_base(here: Path, name: str) -> Path:
    """A recipe with the hub's base replaced by a directory; everything else as it is, but for the short context."""
    lines = (HUB / name).read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.strip().startswith("revision:")]
    text = "\n".join("  id: base" if line.strip().startswith("id:") else line for line in lines)
    text = text.replace("max_length: 2048", "max_length: 256").replace("max_length: 1024", "max_length: 256")
    (here / "train.yaml").write_text(text.replace("evals/tickets.eval.yaml, evals/general.eval.yaml", "e.eval.yaml"))
    (here / "e.eval.yaml").write_text(
        "version: 1\nexamples: [{id: a, q: which colour, target: red}]\nprompt: {user: '{q}'}\n"
        "generation: {max_new_tokens: 4}\ngates: {overlap: {max: 0}}\n"
    )
    write_rows(here / "train.jsonl", color_rows(240))
    write_rows(here / "general.jsonl", [chat_row(f"say {i}", str(i)) for i in range(100)])
    return here / "train.yaml"


@pytest.mark.parametrize("name", ["train.yaml", "small.yaml"])
def test_the_recipes_pass_the_pre_flight_on_a_small_base(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    make_base(tmp_path / "base", taught=False)
    assert command.main([str(on_a_small_base(tmp_path, name)), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "285 (228 target, 57 replay) and 12 dev rows" in out
    assert "warning" not in out


@pytest.mark.parametrize("name", ["train.yaml", "small.yaml"])
def test_the_recipes_pin_their_base(name: str) -> None:
    base = load_config(HUB / name).base
    assert base.directory is None
    assert len(str(base.revision)) == 40


@pytest.mark.parametrize(("name", "kind"), [("fsdp.yaml", "FSDP"), ("deepspeed.yaml", "DEEPSPEED")])
def test_accelerate_reads_the_configuration_files(name: str, kind: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(HUB / name))  # refuses unknown keys
    assert config.distributed_type == kind
    assert (config.num_processes, config.mixed_precision) == (4, "bf16")


@pytest.fixture(scope="module")
def feedback() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_evals", EXAMPLES / "feedback" / "make_evals.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_thumbs_become_an_eval_set(feedback: ModuleType, tmp_path: Path, capsys: Any) -> None:
    source, out = str(EXAMPLES / "feedback" / "feedback.jsonl"), tmp_path / "evals"
    assert feedback.main([source, "--out", str(out)]) == 0
    made = load_evalset(out / "feedback.eval.yaml")
    assert {example.id: example.target for example in made.examples} == {
        "c-101": "Hold the base for ten seconds until it blinks twice.",
        "c-102": "Yes, on the pro and enterprise plans.",
        "c-103": "Under Account, then Billing, then Archive.",
        "c-106": "No, it is made for dry rooms only.",
    }
    assert {example.cluster for example in made.examples} == {"u-1", "u-2", "u-5"}
    assert feedback.main([source, "--out", str(out)]) == 4
    assert "expected no earlier eval set" in capsys.readouterr().err


def test_pairs_are_about_other_questions_than_the_eval_set(feedback: ModuleType, tmp_path: Path) -> None:
    words = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron")
    rows = [
        {"id": f"c{i}", "prompt": f"what is the {words[i % 8]} {words[i // 8]} lamp for", "answer": "no idea"}
        | {"rating": "down", "correction": f"it is lamp {i}"}
        for i in range(40)
    ]
    path = write_rows(tmp_path / "f.jsonl", rows)
    assert feedback.main([str(path), "--out", str(tmp_path / "e"), "--pairs", "0.5"]) == 0
    pairs = list(read_rows(tmp_path / "e" / "pairs.jsonl"))
    asked = {example.fields["prompt"] for example in load_evalset(tmp_path / "e" / "feedback.eval.yaml").examples}
    assert (len(pairs), len(asked)) == (20, 20)
    assert not {pair.input for pair in pairs} & asked
    assert all(pair.rejected[0].content == "no idea" for pair in pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rating": 5}, "rating: expected up or down"),
        ({"answer": " "}, "answer: expected a text"),
        ({"rating": "down"}, "expected a thumb up or a correction, found none"),
        ({"correction": 3}, "correction: expected a text"),
    ],
)
def test_feedback_that_cannot_be_used_is_named(
    feedback: ModuleType, tmp_path: Path, capsys: Any, change: dict[str, Any], said: str
) -> None:
    row = {"id": "a", "prompt": "q", "answer": "x", "rating": "up", **change}
    path = tmp_path / "f.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert feedback.main([str(path), "--out", str(tmp_path / "e")]) == 4
    assert said in capsys.readouterr().err
    path.write_text("".join(json.dumps({"id": c, "prompt": "q", "answer": c, "rating": "up"}) + "\n" for c in "ab"))
    assert feedback.main([str(path), "--out", str(tmp_path / "e")]) == 4
    assert "found another one than that of a" in capsys.readouterr().err
