"""Training rows → token ids with a mask of what is trained: the same numbers for the pre-flight and the trainer."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsets.digests import path_sha256
from evalsets.errors import InputError, Problem, TrainingDataError
from evalsets.rows import read_rows
from evalsets.types import TrainingRow
from evalsets.wording import shown
from training.config import Data


@dataclass(frozen=True, slots=True)
class RowFile:
    """One file (or directory of a saved dataset) of training rows, as read."""

    path: Path
    sha256: str
    """By `evalsets.digests.path_sha256`."""
    rows: int


@dataclass(frozen=True, slots=True)
class Mix:
    """The rows of one run."""

    rows: tuple[TrainingRow, ...]
    """Target rows in file order, then the replay rows that were drawn."""
    replay_rows: int
    """How many of them are replay."""
    files: tuple[RowFile, ...]
    """Every file read: train, then replay."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row as the trainer sees it."""

    input_ids: tuple[int, ...]
    mask: tuple[int, ...]
    """1 where the token is trained, else 0; as long as `input_ids`."""
    prompt_kept: bool
    """Whether the prompt alone gives the same first tokens: what training shows is what inference will see."""


def load_mix(data: Data, *, seed: int) -> Mix:
    """Read all files, and draw the replay rows without replacement.

    Raises TrainingDataError: a file that cannot be read or is empty, or fewer replay rows than the share needs.
    """
    problems: list[Problem] = []
    read: dict[Path, list[TrainingRow]] = {}
    for path in (*data.train, *data.replay):
        try:
            read[path] = list(read_rows(path))
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise TrainingDataError(problems)
    train = [row for path in data.train for row in read[path]]
    pool = [row for path in data.replay for row in read[path]]
    replay = _draw(pool, len(train), data, seed=seed)
    files = tuple(RowFile(path, path_sha256(path), len(rows)) for path, rows in read.items())
    return Mix((*train, *replay), len(replay), files)


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
    assistant turn is trained by the chat template's `{% generation %}` block. Plain text ends with the end mark.
    """
    if row.form == "text_completion":
        prompt, completion = (message.content for message in row.messages)
        text = prompt + completion
        text += "" if text.endswith(tokenizer.eos_token) else tokenizer.eos_token
        return _split(tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"])
    messages = [{"role": message.role, "content": message.content} for message in row.messages]
    if every_turn:
        whole = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return Encoded(tuple(whole["input_ids"]), tuple(whole["assistant_masks"]), prompt_kept=True)
    asked = messages[: 1 + max(i for i, message in enumerate(messages) if message["role"] != "assistant")]
    prompt_ids = tokenizer.apply_chat_template(asked, tokenize=True, return_dict=True, add_generation_prompt=True)[
        "input_ids"
    ]
    return _split(prompt_ids, tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"])


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
