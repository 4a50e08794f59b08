"""Distillation: a teacher's answers to prompts become training rows, with a record of who answered what and how.

The answers lie beside the run, `OUTPUT.teacher.jsonl`, and what they were made from in `OUTPUT.teacher.json`: the same
teacher, settings and prompts are not asked twice. A file that another tool wrote does too (`teacher: {answers: FILE}`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_ftgate.evalset.chat import read_messages
from pytest_ftgate.evalset.sources import read_table
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.digests import base_digests, path_sha256, text_sha256
from pytest_ftgate.files.disk import write_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.strictjson import MAX_PROBLEMS
from pytest_ftgate.files.wording import describe, shown
from training.base import base_directory, load_model, load_tokenizer, stop_ids
from training.config import BaseModel, TrainingConfig
from training.data import as_chat
from training.device import find_device
from training.failed import memory_told
from training.manifest import relative_posix
from training.methods import PLAIN


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt."""

    path: Path
    row: int
    """1-based line (JSONL) or row number."""
    prompt: str | tuple[Message, ...]
    """Plain text, which the teacher continues, or a conversation that ends with a user message."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of asking the teacher."""

    config: TrainingConfig
    """With the answers among its training files, and the record of them in `teacher.provenance`."""
    said: str
    """For the user, in one line."""


def answers_path(config: TrainingConfig) -> Path:
    """Where the teacher's answers are written: beside the output directory."""
    output = Path(os.path.abspath(config.output_dir))
    return output.with_name(output.name + ".teacher.jsonl")


def distilled(config: TrainingConfig, *, generate: bool, tell: Callable[[int, int], None]) -> Distilled | None:
    """The run with the teacher's answers as rows; they are generated unless they are there already.

    None where they are not and `generate` is false. `tell(answered, of)` is called as prompts are answered. Raises
    TrainingDataError where prompts, teacher or answers cannot be used, TrainingFailed where memory runs out.
    """
    teacher = config.teacher
    if teacher is None:
        raise ValueError("a run without a teacher")
    if teacher.answers is not None:
        return _of_file(config, teacher.answers)
    asked = [one for path in config.data.prompts for one in read_prompts(path)]
    plan = _plan(config, asked)
    target = answers_path(config)
    record = target.with_suffix(".json")
    found = _record(record)
    if found.get("plan") != plan or not target.is_file() or path_sha256(target) != found.get("sha256"):
        if not generate:
            return None
        _require_one_process(config, target)
        found = {"plan": plan, **_answer(config, asked, target, tell)}
        write_text(record, json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    left_out = found["cut"] + found["empty"]
    said = f"{found['rows']} answers to {len(asked)} prompts in {shown(target)}"
    said += f"; left out: {found['cut']} cut at max_new_tokens, {found['empty']} empty" if left_out else ""
    return Distilled(_with_rows(config, target, found), said)


def read_prompts(path: Path) -> Iterator[Asked]:
    """Prompts of a file of rows with `prompt`: a text, or messages. Raises TrainingDataError."""
    problems: list[Problem] = []
    count = 0
    try:
        for number, row in read_table(path):
            count += 1
            prompt = _prompt(row.get("prompt"))
            if isinstance(prompt, Problem):
                problems.append(replace(prompt, path=shown(path), line=number))
            else:
                yield Asked(path, number, prompt)
    except InputError as error:
        raise TrainingDataError((*problems, *error.problems)) from None
    if problems:
        raise TrainingDataError(problems[:MAX_PROBLEMS])
    if not count:
        what = "expected prompts, found none"
        raise TrainingDataError([Problem(shown(path), None, "", what, 'write {"prompt": ...} rows')])


def _prompt(value: Json) -> str | tuple[Message, ...] | Problem:
    fix = "write a text, or [{role, content}, ...] that ends with the user's question"
    if isinstance(value, str) and value.strip():
        return value
    if not isinstance(value, list):
        return Problem("", None, "prompt", f"expected a text or messages, found {describe(value)}", fix)
    messages = read_messages(value)
    if isinstance(messages, str):
        return Problem("", None, "prompt", messages, fix)
    if messages[-1].role != "user":
        return Problem("", None, "prompt", f"expected a user message last, found a {messages[-1].role} message", fix)
    return messages


def _of_file(config: TrainingConfig, path: Path) -> Distilled:
    if not path.exists():
        what = "expected the file of the teacher's answers, found none"
        raise TrainingDataError([Problem(shown(path), None, "", what, "correct `teacher.answers`")])
    found = {"answers": relative_posix(path, config.output_dir), "sha256": path_sha256(path)}
    return Distilled(_with_rows(config, path, found), f"answers of another tool in {shown(path)}")


def _with_rows(config: TrainingConfig, path: Path, provenance: dict[str, Json]) -> TrainingConfig:
    if config.teacher is None:
        raise ValueError("a run without a teacher")
    return replace(
        config,
        data=replace(config.data, train=(path, *config.data.train)),
        teacher=replace(config.teacher, provenance=provenance),
    )


def _plan(config: TrainingConfig, asked: Sequence[Asked]) -> dict[str, Json]:
    """Everything that decides the answers: equal plans, equal answers."""
    if config.teacher is None or config.teacher.model is None:
        raise ValueError("a run without a teacher to ask")
    student = _as_student(config, config.teacher.model)
    directory = _directory(student)
    return {
        "teacher": {
            "id": config.teacher.model.id,
            "revision": config.teacher.model.revision,
            "files": base_digests(directory),
        },
        "settings": dict(config.teacher.settings),
        "seed": config.seed,
        "prompts": [
            {
                "path": relative_posix(path, config.output_dir),
                "sha256": path_sha256(path),
                "rows": sum(1 for one in asked if one.path == path),
            }
            for path in config.data.prompts
        ],
    }


def _as_student(config: TrainingConfig, model: BaseModel) -> TrainingConfig:
    """The same run with the teacher as its base: what loads a base then loads the teacher."""
    return replace(config, method=PLAIN.name, base=model, quantization=None)


def _directory(teacher: TrainingConfig) -> Path:
    try:
        return base_directory(teacher)
    except TrainingDataError as error:
        raise TrainingDataError(replace(problem, key="teacher.id") for problem in error.problems) from None


def _record(path: Path) -> dict[str, Json]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _require_one_process(config: TrainingConfig, target: Path) -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1":
        what = f"expected the teacher's answers before several processes start, found none in {shown(target)}"
        fix = "run once with --teacher-only in one process"
        raise TrainingDataError([Problem(shown(config.path), None, "teacher", what, fix)])


def _answer(
    config: TrainingConfig, asked: Sequence[Asked], target: Path, tell: Callable[[int, int], None]
) -> dict[str, Json]:
    """Ask the teacher and write the rows; {sha256, rows, cut, empty}."""
    if config.teacher is None or config.teacher.model is None:
        raise ValueError("a run without a teacher to ask")
    student = _as_student(config, config.teacher.model)
    lines: list[str] = []
    cut = empty = 0
    done = 0

    def count(answered: int, of: int) -> None:
        nonlocal done
        done = answered
        tell(answered, of)

    fix = "lower teacher.batch_size or teacher.max_new_tokens, take a smaller teacher, or free memory on the device"
    with memory_told(lambda: f"after the teacher's answers to {done} of {len(asked)} prompts", fix=fix):
        texts = _generated(student, asked, dict(config.teacher.settings), count)
    for one, text in zip(asked, texts, strict=True):
        if text is None:
            cut += 1  # an answer without its end would teach to break off
        elif not text.strip():
            empty += 1
        else:
            lines.append(json.dumps(_row(one, text), ensure_ascii=False) + "\n")
    if not lines:
        what = f"expected answers from the teacher, found none to {len(asked)} prompts ({cut} cut, {empty} empty)"
        fix = "raise max_new_tokens, or take another teacher"
        raise TrainingDataError([Problem(shown(config.path), None, "teacher", what, fix)])
    write_text(target, "".join(lines))
    return {"sha256": text_sha256("".join(lines)), "rows": len(lines), "cut": cut, "empty": empty}


def _row(one: Asked, text: str) -> dict[str, Json]:
    row: dict[str, Json] = {"prompt": one.prompt, "completion": text}
    if not isinstance(one.prompt, str):
        row = {"prompt": as_chat(one.prompt), "completion": [{"role": "assistant", "content": text}]}
    return {**row, "prompt_file": one.path.name, "prompt_row": one.row}


def _generated(
    student: TrainingConfig, asked: Sequence[Asked], settings: dict[str, Json], tell: Callable[[int, int], None]
) -> list[str | None]:
    """The answer to each prompt; None where no end mark came within max_new_tokens."""
    import torch

    directory, device = _directory(student), find_device()
    tokenizer = load_tokenizer(student, directory)
    if tokenizer.chat_template is None and any(not isinstance(one.prompt, str) for one in asked):
        what = "expected a teacher with a chat template for prompts in messages, found none"
        raise TrainingDataError([Problem(shown(student.path), None, "teacher.id", what, "write the prompts as text")])
    stops = stop_ids(student, tokenizer, directory)
    place = torch.device("cuda" if device.cuda else "cpu")
    model = load_model(student, directory, bf16=device.bf16, device=place).to(place).eval()
    model.generation_config = _decoding(settings, stops, tokenizer.pad_token_id)
    ids = [_ids(tokenizer, one) for one in asked]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # little padding
    torch.manual_seed(student.seed)
    answers: list[str | None] = [None] * len(ids)
    size = int(settings["batch_size"])
    for start in range(0, len(order), size):
        part = order[start : start + size]
        width = max(len(ids[i]) for i in part)
        padded = [[tokenizer.pad_token_id] * (width - len(ids[i])) + ids[i] for i in part]
        seen = [[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in part]
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor(padded, device=place), attention_mask=torch.tensor(seen, device=place)
            )
        for i, row in zip(part, out[:, width:].tolist(), strict=True):
            end = next((at for at, token in enumerate(row) if token in stops), None)
            answers[i] = None if end is None else tokenizer.decode(row[:end], skip_special_tokens=True)
        tell(start + len(part), len(order))
    return answers


def _ids(tokenizer: Any, one: Asked) -> list[int]:
    if isinstance(one.prompt, str):
        return list(tokenizer(one.prompt)["input_ids"])
    return list(
        tokenizer.apply_chat_template(as_chat(one.prompt), tokenize=True, return_dict=True, add_generation_prompt=True)[
            "input_ids"
        ]
    )


def _decoding(settings: dict[str, Json], stops: frozenset[int], pad: int) -> Any:
    """What is written in the training file alone: nothing is inherited from the teacher's own files."""
    from transformers import GenerationConfig

    sampling: dict[str, Json] = {}
    if settings["do_sample"]:
        sampling = {"temperature": settings["temperature"], "top_p": settings["top_p"], "top_k": 0}
    return GenerationConfig(
        max_new_tokens=settings["max_new_tokens"],
        do_sample=settings["do_sample"],
        eos_token_id=sorted(stops),
        pad_token_id=pad,
        **sampling,
    )
