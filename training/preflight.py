"""What can be known in seconds, before a model is loaded: errors stop the run, warnings stay in `ftgate.json`.

The data-size advice follows common experience with instruction tuning, not a theorem; docs/training.md has its sources.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

from evalsets.errors import Problem, TrainingDataError
from evalsets.types import TrainingRow
from evalsets.wording import brief, listed, shown
from training.base import base_directory, context_length, load_tokenizer, stop_ids
from training.config import TrainingConfig
from training.data import Encoded, Mix, encode, load_mix

MAX_CUT_SHARE = 0.1
"""Above this share of rows with a cut answer the run stops: the model would learn to break off."""
SMALL_ROWS, FEW_ROWS = 50, 200
NAMED = 5
"""Rows named in one message."""

_GENERATION_BLOCK = re.compile(r"\{%[-+]?\s*generation\b")
_EMBEDDINGS = ("embed_tokens", "lm_head", "wte", "embed_in", "embed_out")


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
    warnings: tuple[str, ...]


def check(config: TrainingConfig) -> Checked:
    """Read the rows, tokenize them and look for what would spoil the run.

    Raises TrainingDataError with every error found; warnings are returned.
    """
    mix = load_mix(config.data, seed=config.seed)
    base = base_directory(config)
    tokenizer = load_tokenizer(config, base)
    _require(_template_problems(config, tokenizer, mix.rows))
    every_turn = bool(config.sft["assistant_only_loss"])
    encoded = tuple(_encode(config, tokenizer, row, every_turn) for row in mix.rows)
    stops = stop_ids(tokenizer, base)
    _require(
        [
            *_empty_problems(mix.rows),
            *_length_problems(config, encoded, context=context_length(config, base)),
            *_stop_problems(config, tokenizer, encoded, stops),
            *_module_problems(config),
        ]
    )
    warnings = (
        *_size_warnings(mix),
        *_cut_warnings(config, mix.rows, encoded),
        *_repeat_warnings(mix.rows),
        *_form_warnings(tokenizer, mix.rows, encoded),
        *_token_warnings(tokenizer, encoded, stops),
        *_config_warnings(config),
    )
    return Checked(config, base, tokenizer, mix, encoded, warnings)


def describe(checked: Checked) -> str:
    """What will be trained, in a few lines: rows, token lengths, one row with its mask, warnings."""
    lengths = sorted(len(one.input_ids) for one in checked.encoded)
    trained = sum(sum(one.mask) for one in checked.encoded)
    rows, replay = len(checked.mix.rows), checked.mix.replay_rows
    files = listed([shown(file.path) for file in checked.mix.files], limit=4)
    p95 = lengths[min(rows - 1, int(0.95 * rows))]
    lines = [
        f"rows     {rows} ({rows - replay} target, {replay} replay) from {files}",
        f"tokens   {sum(lengths)}, {trained} of them trained; a row: min {lengths[0]}, median {median(lengths):g}, "
        f"95 % {p95}, max {lengths[-1]}; max_length {checked.config.sft['max_length']}",
        *_rendered(checked.tokenizer, checked.encoded[0]),
        *(f"warning  {text}" for text in checked.warnings),
    ]
    return "\n".join(lines)


def _rendered(tokenizer: Any, one: Encoded, *, limit: int = 400) -> list[str]:
    """The first row as runs of tokens that are, or are not, trained."""
    return [f"{'trained' if bit else 'context':<9}{_visible(tokenizer.decode(ids), limit)}" for bit, ids in _runs(one)]


def _visible(text: str, limit: int) -> str:
    """Printable on one line: control and bidi characters escaped, the middle of a long text left out."""
    if len(text) > limit:
        text = f"{text[: limit // 2]} ... {text[-limit // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _require(problems: Iterable[Problem]) -> None:
    found = list(problems)
    if found:
        raise TrainingDataError(found[:20])


def _encode(config: TrainingConfig, tokenizer: Any, row: TrainingRow, every_turn: bool) -> Encoded:
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
    if config.sft["assistant_only_loss"]:
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
    name, limit = shown(config.path), int(config.sft["max_length"])
    if context is not None and limit > context:
        what = f"expected at most the base's context of {context} tokens, found {limit}"
        return [Problem(name, None, "sft.max_length", what, f"write {context} or less")]
    lost = sum(1 for one in encoded if not any(one.mask[:limit]))
    cut = sum(1 for one in encoded if any(one.mask[limit:]))
    longest = max(len(one.input_ids) for one in encoded)
    fix = f"raise max_length (the longest row has {longest} tokens), or shorten the rows"
    if lost:
        what = f"expected a trained token within {limit} tokens in every row, found none in {lost} of {len(encoded)}"
        return [Problem(name, None, "sft.max_length", what, fix)]
    if cut > MAX_CUT_SHARE * len(encoded):
        what = f"expected at most {MAX_CUT_SHARE:.0%} of answers cut at {limit} tokens, found {cut} of {len(encoded)}"
        return [Problem(name, None, "sft.max_length", what, fix)]
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
    targets = config.lora["target_modules"]
    if "lm_head" not in (targets if isinstance(targets, list) else []):
        return []
    what = "expected modules that TRL can adapt, found lm_head (its loss reads that weight directly)"
    fix = "delete lm_head, or list it under modules_to_save"
    return [Problem(shown(config.path), None, "lora.target_modules", what, fix)]


def _size_warnings(mix: Mix) -> list[str]:
    rows = len(mix.rows) - mix.replay_rows
    if rows < SMALL_ROWS:
        return [f"{rows} target rows: too few to expect a change that lasts; collect a few hundred first"]
    if rows < FEW_ROWS:
        return [f"{rows} target rows: enough for small changes of style or format; 500 to 1,000 for a focused task"]
    return []


def _cut_warnings(config: TrainingConfig, rows: Sequence[TrainingRow], encoded: Sequence[Encoded]) -> list[str]:
    limit = int(config.sft["max_length"])
    cut = [row for row, one in zip(rows, encoded, strict=True) if any(one.mask[limit:])]
    if not cut:
        return []
    return [f"{len(cut)} of {len(rows)} answers are cut at max_length {limit} and teach no end mark: {_named(cut)}"]


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
        warnings.append(f"{extra} rows are exact copies of earlier rows: {_named(where[copies[0]])}")
    if conflicts:
        share = sum(len(where[p]) for p in conflicts) / len(rows)
        text = f"{len(conflicts)} prompts have several different answers ({share:.1%} of rows): "
        warnings.append(text + _named(where[conflicts[0]]))
    return warnings


def _form_warnings(tokenizer: Any, rows: Sequence[TrainingRow], encoded: Sequence[Encoded]) -> list[str]:
    warnings = []
    text_rows = [row for row in rows if row.form == "text_completion"]
    if tokenizer.chat_template is not None and text_rows:
        few = f"{len(text_rows)} of {len(rows)} rows are plain text, but the base has a chat template"
        warnings.append(f"{few}: evaluate with `prompt: {{text: ...}}`, or write the rows as messages")
    parted = [row for row, one in zip(rows, encoded, strict=True) if not one.prompt_kept]
    if parted:
        text = f"{len(parted)} of {len(rows)} prompts are tokenized differently alone than before their answer"
        warnings.append(f"{text}, so training shows another context than inference: {_named(parted)}")
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
    touched = [*_names(config.lora["modules_to_save"]), *_names(config.lora["target_modules"])]
    if embeddings := sorted({name for name in touched if name.split(".")[-1] in _EMBEDDINGS}):
        return [f"{listed(embeddings)} trained: where embeddings are tied, input and output change together"]
    return []


def _names(value: object) -> list[str]:
    return value if isinstance(value, list) else []


def _named(rows: Sequence[TrainingRow]) -> str:
    return listed([f"{shown(row.path)}:{row.row}" for row in rows[:NAMED]]) + (", ..." if len(rows) > NAMED else "")


def _first(rows: Sequence[TrainingRow], wanted: Callable[[TrainingRow], bool]) -> TrainingRow | None:
    return next((row for row in rows if wanted(row)), None)
