"""Warnings of the pre-flight: what may spoil a run, or waste it, without making it impossible.

The data-size advice is common experience with instruction tuning, not a theorem.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pytest_ftgate.files.wording import listed
from pytest_ftgate.rows.types import TrainingRow
from training.config import TrainingConfig
from training.data import Encoded, Mix, named
from training.pairs import pair_warnings

SMALL_ROWS, FEW_ROWS = 50, 200
SAME_FORM_SHARE = 0.8
"""Where this share of the answers has one form, the others look like mistakes."""

_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")


def warnings_for(
    config: TrainingConfig, tokenizer: Any, mix: Mix, encoded: Sequence[Encoded], *, stops: frozenset[int]
) -> list[str]:
    """Every warning, in words; `encoded` has one entry for each row of the mix."""
    target = mix.rows[: len(mix.rows) - mix.replay_rows]
    pairs = config.row.rows == "pairs"
    return [
        *_size_warnings(mix),
        *_cut_warnings(config, mix.rows, encoded),
        *(pair_warnings(mix.rows, encoded) if pairs else [*_repeat_warnings(mix.rows), *_answer_warnings(target)]),
        *_form_warnings(tokenizer, mix.rows, encoded),
        *_token_warnings(tokenizer, encoded, stops),
        *_config_warnings(config),
    ]


def _size_warnings(mix: Mix) -> list[str]:
    rows = len(mix.rows) - mix.replay_rows
    if rows < SMALL_ROWS:
        return [f"{rows} target rows: too few to expect a change that lasts; collect a few hundred first"]
    if rows < FEW_ROWS:
        return [f"{rows} target rows: enough for small changes of style or format; 500 to 1,000 for a focused task"]
    return []


def _cut_warnings(config: TrainingConfig, rows: Sequence[TrainingRow], encoded: Sequence[Encoded]) -> list[str]:
    limit = int(config.arguments["max_length"])
    cut = [row for row, one in zip(rows, encoded, strict=True) if _is_cut(one, limit)]
    if not cut:
        return []
    return [f"{len(cut)} of {len(rows)} answers are cut at max_length {limit} and teach no end mark: {named(cut)}"]


def _is_cut(one: Encoded, limit: int) -> bool:
    return any(one.mask[limit:]) or (one.rejected is not None and _is_cut(one.rejected, limit))


def _repeat_warnings(rows: Sequence[TrainingRow]) -> list[str]:
    """Exact duplicates, and one prompt with several answers."""
    answers: dict[tuple[tuple[str, str], ...], Counter[str]] = defaultdict(Counter)
    where: dict[tuple[tuple[str, str], ...], list[TrainingRow]] = defaultdict(list)
    for row in rows:
        prompt = tuple((m.role, m.content) for m in row.messages[:-1])
        answers[prompt][row.messages[-1].content] += 1
        where[prompt].append(row)
    copies = [p for p, counts in answers.items() if any(n > 1 for n in counts.values())]
    conflicts = [p for p, counts in answers.items() if len(counts) > 1]
    warnings = []
    if copies:
        extra = sum(n - 1 for p in copies for n in answers[p].values())
        warnings.append(f"{extra} rows are exact copies of earlier rows: {named(where[copies[0]])}")
    if conflicts:
        share = sum(len(where[p]) for p in conflicts) / len(rows)
        text = f"{len(conflicts)} prompts have several different answers ({share:.1%} of rows): "
        warnings.append(text + named(where[conflicts[0]]))
    return warnings


def _answer_warnings(rows: Sequence[TrainingRow]) -> list[str]:
    """Target rows whose answer breaks the form that most others have: not JSON, or JSON with other keys."""
    keys = [_json_keys(row.messages[-1].content) for row in rows]
    plain = [row for row, found in zip(rows, keys, strict=True) if found is None]
    if len(plain) > (1 - SAME_FORM_SHARE) * len(rows):
        return []
    warnings = []
    if plain:
        warnings.append(f"{len(plain)} of {len(rows)} answers are no JSON object, unlike the others: {named(plain)}")
    usual, count = Counter(found for found in keys if found is not None).most_common(1)[0]
    other = [row for row, found in zip(rows, keys, strict=True) if found is not None and found != usual]
    if other and count >= SAME_FORM_SHARE * len(rows):
        warnings.append(f"{len(other)} of {len(rows)} answers have other JSON keys than most: {named(other)}")
    return warnings


def _json_keys(text: str) -> frozenset[str] | None:
    """Keys of the object that the whole text is; None where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return frozenset(value) if isinstance(value, dict) else None


def _form_warnings(tokenizer: Any, rows: Sequence[TrainingRow], encoded: Sequence[Encoded]) -> list[str]:
    warnings = []
    text_rows = [row for row in rows if row.form == "text_completion"]
    if tokenizer.chat_template is not None and text_rows:
        few = f"{len(text_rows)} of {len(rows)} rows are plain text, but the base has a chat template"
        warnings.append(f"{few}: evaluate with `prompt: {{text: ...}}`, or write the rows as messages")
    parted = [row for row, one in zip(rows, encoded, strict=True) if not one.prompt_kept]
    if parted:
        text = f"{len(parted)} of {len(rows)} prompts are tokenized differently alone than before their answer"
        warnings.append(f"{text}, so training shows another context than inference: {named(parted)}")
    return warnings


def _token_warnings(tokenizer: Any, encoded: Sequence[Encoded], stops: frozenset[int]) -> list[str]:
    warnings = []
    if tokenizer.pad_token_id in stops:
        text = "pad and end mark are one token; the end mark is trained here, as labels are masked by position"
        warnings.append(f"{text}, but tools that mask by pad id would lose it")
    bos = tokenizer.bos_token_id
    if bos is not None and any(list(one.input_ids[:2]) == [bos, bos] for one in encoded):
        warnings.append("rows begin with two begin marks (bos): the chat template and the tokenizer both add one")
    return warnings


def _config_warnings(config: TrainingConfig) -> list[str]:
    if config.lora is None:
        return []
    touched = [*names(config.lora["modules_to_save"]), *names(config.lora["target_modules"])]
    if embeddings := sorted({name for name in touched if name.split(".")[-1] in _EMBEDDINGS}):
        return [f"{listed(embeddings)} trained: where embeddings are tied, input and output change together"]
    return []


def names(value: object) -> list[str]:
    """A list of module names as it is; [] for `all-linear` or nothing."""
    return value if isinstance(value, list) else []
