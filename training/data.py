"""Training rows → token ids with a mask of what is trained: the same numbers for the pre-flight and the trainer."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.digests import path_sha256
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.wording import listed, shown
from pytest_ftgate.rows.reader import read_rows
from pytest_ftgate.rows.types import TrainingRow
from training.config import Data

NAMED = 5
"""Rows named in one message."""


@dataclass(frozen=True, slots=True)
class RowFile:
    """One file (or directory of a saved dataset) of training rows, as read."""

    path: Path
    sha256: str
    """By `pytest_ftgate.files.digests.path_sha256`."""
    rows: int


@dataclass(frozen=True, slots=True)
class Mix:
    """The rows of one run."""

    rows: tuple[TrainingRow, ...]
    """Target rows in file order, then the replay rows that were drawn."""
    replay_rows: int
    """How many of them are replay."""
    files: tuple[RowFile, ...]
    """Every file read: train, then replay, then dev."""
    dev: tuple[TrainingRow, ...] = ()
    """Rows that the loss is measured on; none of `rows`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the trainer sees it."""

    input_ids: tuple[int, ...]
    mask: tuple[int, ...]
    """1 where the token is trained, else 0; as long as `input_ids`."""
    prompt_kept: bool
    """Whether the prompt alone gives the same first tokens: what training shows is what inference will see."""
    rejected: Encoded | None = None
    """Of a preference pair, prompt and answer that was not chosen; None for other rows."""


def load_mix(data: Data, *, seed: int) -> Mix:
    """Read all files, draw the replay rows without replacement, and hold out the dev rows.

    Raises TrainingDataError: a file that cannot be read or is empty, fewer replay rows than the share needs, or rows
    that cannot be divided.
    """
    problems: list[Problem] = []
    read: dict[Path, list[TrainingRow]] = {}
    for path in (*data.train, *data.replay, *data.dev):
        try:
            read[path] = list(read_rows(path))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise TrainingDataError(problems)
    train = [row for path in data.train for row in read[path]]
    dev = [row for path in data.dev for row in read[path]]
    if data.dev_share:
        train, dev = _divided(train, data, seed=seed)
    pool = [row for path in data.replay for row in read[path]]
    replay = _draw(pool, len(train), data, seed=seed)
    files = tuple(RowFile(path, path_sha256(path), len(rows)) for path, rows in read.items())
    return Mix((*train, *replay), len(replay), files, tuple(dev))


def _divided(rows: Sequence[TrainingRow], data: Data, *, seed: int) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """(train rows, dev rows), in file order; what repeats is on one side."""
    from pytest_ftgate.rows.overlap import Item
    from pytest_ftgate.rows.split import hold_out

    try:
        split = hold_out([Item("", row.input, row.output) for row in rows], data.dev_share, seed=seed)
    except InputError as error:
        place = shown(data.train[0])
        raise TrainingDataError(
            replace(problem, path=place, key="data.dev.share") for problem in error.problems
        ) from None
    held = set(split.held)
    return [row for i, row in enumerate(rows) if i not in held], [rows[i] for i in split.held]


def replay_count(train_rows: int, share: float) -> int:
    """Replay rows that make up `share` of the final mix: share / (1 - share) * train_rows, rounded."""
    return round(train_rows * share / (1.0 - share))


def _draw(pool: Sequence[TrainingRow], train_rows: int, data: Data, *, seed: int) -> list[TrainingRow]:
    wanted = replay_count(train_rows, data.replay_share)
    if wanted > len(pool):
        largest = math.floor(100 * len(pool) / (train_rows + len(pool))) / 100
        what = f"expected at least {wanted} replay rows for a share of {data.replay_share:g}, found {len(pool)}"
        fix = f"add general rows, or write a share of at most {largest:.2f}"
        raise TrainingDataError([Problem(shown(data.replay[0]), None, "data.replay", what, fix)])
    return random.Random(seed).sample(list(pool), wanted)


def encode(tokenizer: Any, row: TrainingRow, *, every_turn: bool) -> Encoded:
    """Token ids and mask of one row, as TRL makes them for prompt and completion.

    The last assistant turn is the completion and everything before it the prompt, or, with `every_turn`, each
    assistant turn is trained by the chat template's `{% generation %}` block. Plain text ends with the end mark. Of a
    preference pair, both answers are trained, from where the first of the two parts from the prompt.
    """
    if row.rejected:
        asked = row.messages[: _asked(row.messages)]
        chosen = encode(tokenizer, replace(row, rejected=()), every_turn=False)
        other = encode(tokenizer, replace(row, messages=(*asked, *row.rejected), rejected=()), every_turn=False)
        start = min(chosen.mask.index(1), other.mask.index(1))
        return replace(_from(chosen, start), rejected=_from(other, start))
    if row.form == "text_completion":
        prompt, completion = (message.content for message in row.messages)
        text = prompt + completion
        text += "" if text.endswith(tokenizer.eos_token) else tokenizer.eos_token
        return _split(tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"])
    messages = as_chat(row.messages)
    if every_turn:
        whole = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return Encoded(tuple(whole["input_ids"]), tuple(whole["assistant_masks"]), prompt_kept=True)
    prompt_ids = tokenizer.apply_chat_template(
        messages[: _asked(row.messages)], tokenize=True, return_dict=True, add_generation_prompt=True
    )["input_ids"]
    return _split(prompt_ids, tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


def as_chat(messages: Sequence[Message]) -> list[dict[str, str]]:
    """`[{role, content}, ...]`, as chat templates and TRL take it."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _asked(messages: Sequence[Message]) -> int:
    """How many messages come before the last assistant turn."""
    return 1 + max(i for i, message in enumerate(messages) if message.role != "assistant")


def _from(one: Encoded, start: int) -> Encoded:
    """The same tokens, trained from `start`."""
    mask = (0,) * start + (1,) * (len(one.input_ids) - start)
    return replace(one, mask=mask, prompt_kept=one.prompt_kept and mask == one.mask)


def _split(prompt: Sequence[int], whole: Sequence[int]) -> Encoded:
    """The completion starts where the two part, as in TRL: a template may render a prompt differently alone."""
    start = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
    start = min(start, len(whole))
    return Encoded(tuple(whole), (0,) * start + (1,) * (len(whole) - start), start == len(prompt))


def to_dataset(encoded: Sequence[Encoded]) -> Any:
    """A datasets.Dataset that TRL takes as tokenized: it truncates, packs and collates, and changes no label."""
    from datasets import Dataset

    columns = {
        "input_ids": [list(one.input_ids) for one in encoded],
        "completion_mask": [list(one.mask) for one in encoded],
    }
    return Dataset.from_dict(columns)


def to_pairs(rows: Sequence[TrainingRow]) -> Any:
    """A datasets.Dataset of preference pairs, which TRL tokenizes itself, by the rule of `encode`."""
    from datasets import Dataset

    if rows[0].form == "text_completion":
        parts: list[tuple[Any, Any, Any]] = [
            (row.messages[0].content, row.messages[1].content, row.rejected[0].content) for row in rows
        ]
    else:
        parts = []
        for row in rows:
            asked = _asked(row.messages)
            parts.append((as_chat(row.messages[:asked]), as_chat(row.messages[asked:]), as_chat(row.rejected)))
    return Dataset.from_list([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in parts])


def named(rows: Sequence[TrainingRow]) -> str:
    """`train.jsonl:3, train.jsonl:9, ...`: where the first few rows stand."""
    return listed([f"{shown(row.path)}:{row.row}" for row in rows[:NAMED]]) + (", ..." if len(rows) > NAMED else "")
