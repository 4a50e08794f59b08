"""The ticket example: its files are what its script writes, its splits are disjoint, its tokenizer can stop."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rapidfuzz.distance import Indel
from rapidfuzz.process import cdist

from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.rows.reader import read_rows
from pytest_ftgate.rows.types import TrainingRow
from training.config import load_config

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "tickets"
NEAR = 0.8
PLANS = {"free": {"low", "normal"}, "pro": {"low", "normal", "high"}, "enterprise": {"high"}}


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (EXAMPLE / name).read_text(encoding="utf-8").splitlines()]


def training(name: str) -> list[TrainingRow]:
    return list(read_rows(EXAMPLE / "data" / name))


def words(text: str) -> list[str]:
    """Sorted lower-case words: blind to case, punctuation and order."""
    return sorted("".join(c if c.isalnum() else " " for c in text.lower()).split())


def similarities(left: list[str], right: list[str]) -> Any:
    """Shared words of each pair [len(left), len(right)], in [0, 1]."""
    return cdist([words(x) for x in left], [words(x) for x in right], scorer=Indel.normalized_similarity)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(EXAMPLE / "base")


def test_files_are_reproduced_byte_for_byte(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "make_data.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*.jsonl")}
    committed = {str(path.relative_to(EXAMPLE)): path.read_bytes() for path in EXAMPLE.glob("[!.]*/*.jsonl")}
    assert sorted(written) == sorted(committed)
    assert [name for name in written if written[name] != committed[name]] == []


def test_sizes() -> None:
    assert len(rows("evals/tickets.jsonl")) >= 300
    assert len(rows("evals/general.jsonl")) >= 400
    assert len(rows("evals_pointless/reviews.jsonl")) >= 300
    assert {len(training(f"{name}.jsonl")) for name in ("tickets_train", "tickets_leaky", "reviews_train")} == {800}
    assert sum(path.stat().st_size for path in (EXAMPLE / "base").iterdir()) <= 10_000_000


def test_general_skills_are_even_and_named() -> None:
    general = rows("evals/general.jsonl")
    counts = Counter(row["skill"] for row in general)
    assert len(counts) == 12
    assert max(counts.values()) == min(counts.values())
    assert all(row["id"].startswith(f"{row['skill']}-") for row in general)


def test_targets_obey_the_schema_and_the_house_rule() -> None:
    schema = json.loads((EXAMPLE / "evals" / "ticket.schema.json").read_text())
    tickets = rows("evals/tickets.jsonl")
    for row in [*tickets, *rows("evals/shots.jsonl")]:
        jsonschema.validate(row["target"], schema)
    for row in training("tickets_train.jsonl"):
        assert row.output == json.dumps(json.loads(row.output))
        jsonschema.validate(json.loads(row.output), schema)
    priorities = {plan: {row["target"]["priority"] for row in tickets if row["plan"] == plan} for plan in PLANS}
    assert priorities == PLANS


@pytest.mark.parametrize(
    ("trained", "field", "held_out"),
    [
        ("tickets_train.jsonl", "ticket", ("evals/tickets.jsonl", "evals/shots.jsonl")),
        ("reviews_train.jsonl", "review", ("evals_pointless/reviews.jsonl", "evals_pointless/shots.jsonl")),
    ],
)
def test_no_near_duplicates(trained: str, field: str, held_out: tuple[str, ...]) -> None:
    texts = [row[field] for name in held_out for row in rows(name)] + [row.input for row in training(trained)]
    found = similarities(texts, texts)
    found[range(len(texts)), range(len(texts))] = 0
    assert found.max() <= NEAR


def test_replay_asks_nothing_that_the_general_set_asks() -> None:
    asked = [row["prompt"] for row in rows("evals/general.jsonl")]
    replayed = [row.input for row in training("replay.jsonl")]
    together = ["".join(c for c in text.lower() if c.isalnum() or c == " ") for text in (*asked, *replayed)]
    assert len(set(together)) == len(together)
    for name in ("tickets_train.jsonl", "reviews_train.jsonl"):
        assert similarities(asked, [row.input for row in training(name)]).max() < NEAR


def test_leaky_rows_are_eval_rows_lightly_edited() -> None:
    tickets = [row["ticket"] for row in rows("evals/tickets.jsonl")]
    clean = {row.input for row in training("tickets_train.jsonl")}
    leaked = [row.input for row in training("tickets_leaky.jsonl") if row.input not in clean]
    assert len(leaked) == 60
    assert similarities(leaked, tickets).max(axis=1).min() > 0.85
    verbatim = set(tickets) & set(leaked)
    assert 10 <= len(verbatim) < 30
    normal = {" ".join(words(text)) for text in tickets}
    assert sum(" ".join(words(text)) in normal for text in leaked) >= 2 * len(verbatim)


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("evals*/*.eval.yaml")), ids=lambda path: path.stem)
def test_eval_sets_load(path: Path) -> None:
    assert load_evalset(path).examples


@pytest.mark.parametrize("name", ["good", "leaky", "overcooked", "pointless"])
def test_training_files_load(name: str) -> None:
    config = load_config(EXAMPLE / "train" / f"{name}.yaml")
    assert config.output_dir.name == name
    assert bool(config.data.replay) == (name != "overcooked")


def test_end_mark_is_trained_and_is_not_the_padding(tokenizer: Any) -> None:
    chat = [{"role": "user", "content": "Repeat: lamp"}, {"role": "assistant", "content": "lamp"}]
    encoded = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, trained in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if trained]
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(answer[:-1]) == "lamp"
    assert len(answer) == 2


def test_prompt_is_a_prefix_of_the_conversation(tokenizer: Any) -> None:
    row = rows("data/tickets_train.jsonl")[0]
    prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
    assert whole[: len(prompt)] == prompt


def test_every_word_is_one_token_and_any_text_survives(tokenizer: Any) -> None:
    fields = {
        "evals/tickets": "ticket",
        "evals/general": "prompt",
        "evals/kb": "text",
        "evals_pointless/reviews": "review",
    }
    texts = [row[field] for name, field in fields.items() for row in rows(f"{name}.jsonl")]
    alone = {text: tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) for text in texts}
    assert [text for text, tokens in alone.items() if any(token in ("Ġ", "Ã") for token in tokens)] == []
    for text in ('{"category": "bug"}', "žluťoučký kůň 🐴\n\tx", " two  spaces "):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_base_is_small_llama_with_matching_vocabulary(tokenizer: Any) -> None:
    config = json.loads((EXAMPLE / "base" / "config.json").read_text())
    generation = json.loads((EXAMPLE / "base" / "generation_config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["vocab_size"] == len(tokenizer)
    assert config["eos_token_id"] == generation["eos_token_id"] == tokenizer.eos_token_id
    assert config["pad_token_id"] == tokenizer.pad_token_id


def test_the_demo_can_run_every_command_that_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("demo_of_tickets", EXAMPLE / "demo.py")
    assert spec
    assert spec.loader
    demo = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, demo)  # its dataclasses ask for their module
    spec.loader.exec_module(demo)
    monkeypatch.setattr(demo, "HERE", tmp_path)
    shown = {command[0] for story in demo.STORIES for command in demo._job(story, None, train=True).commands}
    assert shown == set(demo.PROGRAMS)
