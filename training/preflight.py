"""The pre-flight: checks before a model is loaded. Errors stop the run; warnings stay in `ftgate.json`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.files.wording import brief, listed, shown
from pytest_ftgate.rows.types import TrainingRow
from training.advice import names, warnings_for
from training.base import base_directory, context_length, load_tokenizer, stop_ids
from training.config import TrainingConfig
from training.data import Encoded, Mix, encode, load_mix
from training.leaks import dev_warnings, leak_warnings, load_evalsets
from training.memory import Memory, least_memory, unknown_modules
from training.pairs import kind_problems
from training.targets import target_warnings

MAX_CUT_SHARE = 0.1
"""Above this share of rows with a cut answer the run stops: the model would learn to break off."""
_GENERATION_BLOCK = re.compile(r"\{%[-+]?\s*generation\b")


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything the trainer needs, checked."""

    config: TrainingConfig
    base: Path
    """Directory of the base model."""
    tokenizer: Any
    mix: Mix
    encoded: tuple[Encoded, ...]
    """One for each row of the mix, in order; not yet cut at max_length."""
    dev: tuple[Encoded, ...]
    """One for each dev row."""
    warnings: tuple[str, ...]
    memory: Memory
    """What a GPU with bf16 must have at the very least."""


def check(config: TrainingConfig) -> Checked:
    """Read the rows, tokenize them and look for what would spoil the run.

    Raises TrainingDataError with every error found; warnings are returned.
    """
    mix = load_mix(config.data, seed=config.seed)
    _require(kind_problems(config.method, (*mix.rows, *mix.dev)))
    evalsets = load_evalsets(config)
    base = base_directory(config)
    memory = _memory(config, base)
    tokenizer = load_tokenizer(config, base)
    _require(_template_problems(config, tokenizer, (*mix.rows, *mix.dev)))
    every_turn = bool(config.arguments.get("assistant_only_loss"))
    encoded, dev = (tuple(_encode(tokenizer, row, every_turn) for row in rows) for rows in (mix.rows, mix.dev))
    every = [*encoded, *dev]
    every += [one.rejected for one in every if one.rejected is not None]
    stops = stop_ids(config, tokenizer, base)
    _require(
        [
            *_empty_problems((*mix.rows, *mix.dev)),
            *_length_problems(config, every, context=context_length(config, base)),
            *_stop_problems(config, tokenizer, every, stops),
            *_module_problems(config),
        ]
    )
    warnings = [
        *_unknown_modules(config, base),
        *warnings_for(config, tokenizer, mix, encoded, stops=stops),
        *target_warnings(evalsets, mix.rows[: len(mix.rows) - mix.replay_rows]),
        *dev_warnings(mix),
        *leak_warnings(evalsets, mix),
    ]
    return Checked(config, base, tokenizer, mix, encoded, dev, tuple(warnings), memory)


def describe(checked: Checked) -> str:
    """What will be trained, in a few lines: rows, token lengths, one row with its mask, warnings."""
    lengths = sorted(len(one.input_ids) for one in checked.encoded)
    trained = sum(sum(one.mask) for one in checked.encoded)
    rows, replay = len(checked.mix.rows), checked.mix.replay_rows
    files = listed([shown(file.path) for file in checked.mix.files], limit=4)
    dev = f" and {len(checked.dev)} dev rows" if checked.dev else ""
    p95 = lengths[min(rows - 1, int(0.95 * rows))]
    lines = [
        f"rows     {rows} ({rows - replay} target, {replay} replay){dev} from {files}",
        f"tokens   {sum(lengths)}, {trained} of them trained; a row: min {lengths[0]}, median {median(lengths):g}, "
        f"95 % {p95}, max {lengths[-1]}; max_length {checked.config.arguments['max_length']}",
        f"weights  {checked.memory}",
        *_rendered(checked.tokenizer, checked.encoded[0]),
        *_rejected(checked.tokenizer, checked.encoded[0].rejected),
        *(f"warning  {text}" for text in checked.warnings),
    ]
    return "\n".join(lines)


def _rendered(tokenizer: Any, one: Encoded, *, limit: int = 400) -> list[str]:
    """The first row as runs of tokens that are, or are not, trained."""
    return [f"{'trained' if bit else 'context':<9}{_visible(tokenizer.decode(ids), limit)}" for bit, ids in _runs(one)]


def _rejected(tokenizer: Any, one: Encoded | None) -> list[str]:
    """The answer of the first pair that was not chosen."""
    if one is None:
        return []
    return [f"{'rejected':<9}{_visible(tokenizer.decode(ids), 400)}" for bit, ids in _runs(one) if bit]


def _visible(text: str, limit: int) -> str:
    """Printable on one line: control and bidi characters escaped, the middle of a long text left out."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _memory(config: TrainingConfig, base: Path) -> Memory:
    try:
        return least_memory(config, base, bf16=config.arguments["bf16"] is not False)
    except (OSError, ValueError) as error:
        what = f"expected weights in safetensors files, found: {brief(str(error))}"
        fix = f"fetch the files in {shown(base)} again (`git lfs pull`, where they are pointers)"
        raise TrainingDataError([Problem(shown(config.path), None, "base.id", what, fix)]) from None


def _require(problems: Iterable[Problem]) -> None:
    found = list(problems)
    if found:
        raise TrainingDataError(found[:20])


def _encode(tokenizer: Any, row: TrainingRow, every_turn: bool) -> Encoded:
    from jinja2 import TemplateError

    try:
        return encode(tokenizer, row, every_turn=every_turn)
    except TemplateError as error:
        what = f"expected messages that the chat template can render, found: {brief(str(error))}"
        fix = "follow the template's order of roles, or train a base with another template"
        raise TrainingDataError([Problem(row.path, row.row, "messages", what, fix)]) from None


def _template_problems(config: TrainingConfig, tokenizer: Any, rows: Sequence[TrainingRow]) -> list[Problem]:
    template = tokenizer.chat_template
    name = shown(config.path)
    if template is None and (chat := _first(rows, lambda row: row.form != "text_completion")):
        what = "expected a base with a chat template for chat rows, found none"
        return [Problem(chat.path, chat.row, "", what, "write prompt and completion as text, or take a chat model")]
    if config.arguments.get("assistant_only_loss"):
        if text := _first(rows, lambda row: row.form == "text_completion"):
            what = "expected chat rows with assistant_only_loss, found plain text"
            return [Problem(text.path, text.row, "", what, "set assistant_only_loss: false")]
        if not _GENERATION_BLOCK.search(str(template)):
            what = "expected {% generation %} in the chat template for assistant_only_loss, found none"
            return [Problem(name, None, "sft.assistant_only_loss", what, "set it to false: the last turn is trained")]
    return []


def _empty_problems(rows: Sequence[TrainingRow]) -> list[Problem]:
    return [
        Problem(
            row.path, row.row, "", "expected an answer to train on, found an empty one", "delete or complete the row"
        )
        for row in rows
        if not row.messages[-1].content.strip()
    ]


def _length_problems(config: TrainingConfig, encoded: Sequence[Encoded], *, context: int | None) -> list[Problem]:
    name, limit = shown(config.path), int(config.arguments["max_length"])
    if context is not None and limit > context:
        what = f"expected at most the base's context of {context} tokens, found {limit}"
        return [Problem(name, None, f"{config.section}.max_length", what, f"write {context} or less")]
    lost = sum(1 for one in encoded if not any(one.mask[:limit]))
    cut = sum(1 for one in encoded if any(one.mask[limit:]))
    longest = max(len(one.input_ids) for one in encoded)
    fix = f"raise max_length (the longest row has {longest} tokens), or shorten the rows"
    if lost:
        what = f"expected a trained token within {limit} tokens in every row, found none in {lost} of {len(encoded)}"
        return [Problem(name, None, f"{config.section}.max_length", what, fix)]
    if cut > MAX_CUT_SHARE * len(encoded):
        what = f"expected at most {MAX_CUT_SHARE:.0%} of answers cut at {limit} tokens, found {cut} of {len(encoded)}"
        return [Problem(name, None, f"{config.section}.max_length", what, fix)]
    return []


def _stop_problems(
    config: TrainingConfig, tokenizer: Any, encoded: Sequence[Encoded], stops: frozenset[int]
) -> list[Problem]:
    """Every answer must teach an end mark that generation stops at."""
    silent = sum(1 for one in encoded if not _teaches_stop(one, stops))
    if not silent:
        return []
    marks = listed([brief(tokenizer.decode([i])) for i in sorted(stops)])
    what = f"expected each trained answer to end with {marks}, found {silent} of {len(encoded)} that do not"
    fix = "correct the chat template: the end mark belongs in the assistant turn (inside its generation block)"
    return [Problem(shown(config.path), None, "base.id", what, fix)]


def _teaches_stop(one: Encoded, stops: frozenset[int]) -> bool:
    """Whether every run of trained tokens ends with an end mark (which a newline or two may follow)."""
    return all(any(token in stops for token in ids[-4:]) for bit, ids in _runs(one) if bit)


def _runs(one: Encoded) -> list[tuple[int, list[int]]]:
    """(mask bit, token ids) of each stretch that is, or is not, trained."""
    pairs = zip(one.mask, one.input_ids, strict=True)
    return [(bit, [token for _, token in run]) for bit, run in groupby(pairs, key=itemgetter(0))]


def _module_problems(config: TrainingConfig) -> list[Problem]:
    if config.lora is None or "lm_head" not in names(config.lora["target_modules"]):
        return []
    what = "expected modules that TRL can adapt, found lm_head (its loss reads that weight directly)"
    fix = "delete lm_head, or list it under modules_to_save"
    return [Problem(shown(config.path), None, "lora.target_modules", what, fix)]


def _unknown_modules(config: TrainingConfig, base: Path) -> list[str]:
    """A warning only: weights may be stored under other names than the modules that transformers makes of them."""
    found = unknown_modules(config, base)
    if not found:
        return []
    named = listed([brief(name) + (f" (did you mean {near}?)" if near else "") for name, near in found.items()])
    return [f"the base's weight files name no module {named}: peft adapts only what it finds"]


def _first(rows: Sequence[TrainingRow], wanted: Callable[[TrainingRow], bool]) -> TrainingRow | None:
    return next((row for row in rows if wanted(row)), None)
