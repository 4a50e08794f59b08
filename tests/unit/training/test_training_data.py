"""Rows → token ids and mask: what is trained is the answer and its end mark, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_base import TEMPLATE, chat_row, color_rows, make_tokenizer, write_rows

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.rows.types import TrainingRow
from training.config import Data
from training.data import Encoded, encode, load_mix, replay_count, to_dataset


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def row(*turns: tuple[str, str], form: str = "messages") -> TrainingRow:
    messages = tuple(Message(role, content) for role, content in turns)  # type: ignore[arg-type]
    return TrainingRow("train.jsonl", 1, messages, form)  # type: ignore[arg-type]


def trained(tokenizer: Any, one: Encoded) -> str:
    return str(tokenizer.decode([t for t, bit in zip(one.input_ids, one.mask, strict=True) if bit]))


TURNS = (("system", "be brief"), ("user", "red?"), ("assistant", "yes"), ("user", "blue?"), ("assistant", "no"))


def test_only_the_answer_and_its_end_mark_are_trained(tokenizer: Any) -> None:
    one = encode(tokenizer, row(("user", "the red car"), ("assistant", "red")), every_turn=False)
    assert tokenizer.decode(one.input_ids) == "<|user|>the red car<|assistant|>red<|end|>"
    assert trained(tokenizer, one) == "red<|end|>"
    assert one.input_ids[-1] == tokenizer.eos_token_id
    assert one.mask[-1] == 1
    assert one.prompt_kept


def test_the_last_turn_of_a_conversation_is_the_answer(tokenizer: Any) -> None:
    one = encode(tokenizer, row(*TURNS), every_turn=False)
    assert trained(tokenizer, one) == "no<|end|>"


def test_every_turn_is_trained_where_asked(tokenizer: Any) -> None:
    one = encode(tokenizer, row(*TURNS), every_turn=True)
    assert trained(tokenizer, one) == "yes<|end|>no<|end|>"


def test_several_closing_assistant_messages_are_all_the_answer(tokenizer: Any) -> None:
    two = row(("user", "red?"), ("assistant", "well"), ("assistant", "yes"), form="prompt_completion")
    assert trained(tokenizer, encode(tokenizer, two, every_turn=False)) == "well<|end|><|assistant|>yes<|end|>"


def test_plain_text_ends_with_one_end_mark(tokenizer: Any) -> None:
    for completion in ("red", "red<|end|>"):
        one = encode(
            tokenizer, row(("user", "the car: "), ("assistant", completion), form="text_completion"), every_turn=False
        )
        assert tokenizer.decode(one.input_ids) == "the car: red<|end|>"
        assert one.input_ids.count(tokenizer.eos_token_id) == 1
        assert trained(tokenizer, one).endswith("red<|end|>")


def test_a_template_that_renders_the_prompt_differently_is_noticed() -> None:
    thinking = make_tokenizer(template=TEMPLATE.replace("%}<|assistant|>{% endif", "%}<|assistant|>think{% endif"))
    one = encode(thinking, row(("user", "red?"), ("assistant", "yes")), every_turn=False)
    assert not one.prompt_kept
    assert trained(thinking, one) == "yes<|end|>"


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), st.text(min_size=1, max_size=30))
def test_the_mask_is_a_suffix_that_holds_the_end_mark(prompt: str, answer: str) -> None:
    one = encode(SHARED, row(("user", prompt), ("assistant", answer)), every_turn=False)
    assert len(one.mask) == len(one.input_ids)
    assert list(one.mask) == sorted(one.mask)
    assert one.mask[-1] == 1
    assert one.input_ids[-1] == SHARED.eos_token_id


SHARED = make_tokenizer()


def trl_rows(tokenizer: Any, rows: Any, tmp_path: Path, **settings: Any) -> list[tuple[list[int], list[int]]]:
    """(input_ids, labels) as TRL prepares them for training."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    args = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False, **settings
    )
    trainer = SFTTrainer(LlamaForCausalLM(config), args, train_dataset=rows, processing_class=tokenizer)
    return [(one["input_ids"], one["labels"]) for one in trainer.train_dataset]


def test_rows_and_masks_are_those_that_trl_makes_itself(tokenizer: Any, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [row(("user", f"the {c} car {i}"), ("assistant", c)) for i, c in enumerate(["red", "blue", "green"])]
    ours = to_dataset([encode(tokenizer, one, every_turn=False) for one in rows])
    theirs = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": one.messages[0].content}],
                "completion": [{"role": "assistant", "content": one.messages[1].content}],
            }
            for one in rows
        ]
    )
    settings = {"max_length": 64, "completion_only_loss": True}
    assert trl_rows(tokenizer, ours, tmp_path, **settings) == trl_rows(tokenizer, theirs, tmp_path, **settings)
    text = row(("user", "the car: "), ("assistant", "red"), form="text_completion")
    theirs = Dataset.from_list([{"prompt": "the car: ", "completion": "red"}])
    ours = to_dataset([encode(tokenizer, text, every_turn=False)])
    assert trl_rows(tokenizer, ours, tmp_path, **settings) == trl_rows(tokenizer, theirs, tmp_path, **settings)


def test_the_end_mark_is_trained_even_where_it_is_the_pad_token(tmp_path: Path) -> None:
    """The classic loss of the end mark: labels masked by pad id. TRL masks by position; this goes red if it stops."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    tokenizer = make_tokenizer(pad_token="<|end|>")
    rows = [
        row(("user", "red car"), ("assistant", "red")),
        row(("user", "a much longer red car 1 2"), ("assistant", "x")),
    ]
    prepared = trl_rows(
        tokenizer, to_dataset([encode(tokenizer, one, every_turn=False) for one in rows]), tmp_path, max_length=64
    )
    batch = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)(
        [{"input_ids": ids, "labels": labels} for ids, labels in prepared]
    )
    end = tokenizer.eos_token_id
    assert (batch["labels"] == end).sum(dim=1).tolist() == [1, 1]
    assert ((batch["input_ids"] == end) & (batch["attention_mask"] == 0)).any()


@given(rows=st.integers(1, 10_000), share=st.floats(0.01, 0.95))
def test_replay_makes_up_its_share_of_the_mix(rows: int, share: float) -> None:
    replay = replay_count(rows, share)
    assert abs(replay - share * (rows + replay)) <= 0.5 + 1e-6


def mixed(tmp_path: Path, *, share: float = 0.2, seed: int = 0, general: int = 60) -> Any:
    train = write_rows(tmp_path / "train.jsonl", color_rows(80))
    other = write_rows(tmp_path / "general.jsonl", [chat_row(f"say {i}", str(i)) for i in range(general)])
    return load_mix(Data((train,), (other,), share), seed=seed)


def test_replay_rows_are_drawn_by_seed_without_repeats(tmp_path: Path) -> None:
    first, again, other = mixed(tmp_path), mixed(tmp_path), mixed(tmp_path, seed=1)
    assert (len(first.rows), first.replay_rows) == (100, 20)
    assert [file.rows for file in first.files] == [80, 60]
    drawn = [one.row for one in first.rows[80:]]
    assert len(set(drawn)) == 20
    assert all(one.path.endswith("general.jsonl") for one in first.rows[80:])
    assert first == again
    assert drawn != [one.row for one in other.rows[80:]]


def test_too_few_replay_rows_are_an_error_with_the_share_that_fits(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError, match=r"at least 20 replay rows for a share of 0\.2, found 10") as caught:
        mixed(tmp_path, general=10)
    share = float(caught.value.problems[0].fix.split()[-1])
    assert mixed(tmp_path, general=10, share=share).replay_rows <= 10


def test_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"messages": 3}\n{"prompt": "x"}\n')
    with pytest.raises(TrainingDataError) as caught:
        load_mix(Data((broken, tmp_path / "missing.jsonl"), (), 0.0), seed=0)
    assert len(caught.value.problems) == 3
