"""Training rows in the one form that everything reads.

    {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    {"prompt": [messages], "completion": [messages]}
    {"prompt": "text", "completion": "text"}
    {"prompt": ..., "chosen": ..., "rejected": ...}     a preference pair, in messages or text

Other columns of a row are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pytest_ftgate.evalset.chat import read_messages
from pytest_ftgate.evalset.sources import Row, read_table
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem, TrainingDataError
from pytest_ftgate.files.strictjson import MAX_PROBLEMS
from pytest_ftgate.files.wording import describe, key, listed
from pytest_ftgate.rows.types import TrainingRow

_ACCEPTED = 'write {"messages": [{"role": ..., "content": ...}, ...]} or {"prompt": ..., "completion": ...}'

_OTHER_SHAPES = (
    (("chosen", "rejected"), "a preference pair without its prompt", 'write what both answers share as "prompt"'),
    (("conversations",), "the ShareGPT shape", 'rename it to "messages", with role/content for from/value'),
    (
        ("instruction", "output"),
        "the Alpaca shape",
        'rename instruction (and input) to "prompt", output to "completion"',
    ),
    (("question", "answer"), "question and answer", 'rename question to "prompt", answer to "completion"'),
    (("input", "output"), "input and output", 'rename input to "prompt", output to "completion"'),
    (("text",), "one text with no answer marked in it", 'split it into "prompt" and "completion"'),
)


def read_rows(path: Path | str) -> Iterator[TrainingRow]:
    """Stream the training rows of a .jsonl, .json, .csv or .parquet file or a save_to_disk directory, in order.

    Raises TrainingDataError: at once where the file cannot be read, and at the end of the file (or at the twentieth
    problem) for single rows. So only a caller that reads to the end knows that the file is good.
    """
    problems: list[Problem] = []
    count = 0
    try:
        for number, row in read_table(Path(path)):
            count += 1
            result = training_row(str(path), number, row)
            if isinstance(result, TrainingRow):
                yield result
            else:
                problems.append(result)
                if len(problems) >= MAX_PROBLEMS:
                    break
    except InputError as err:
        raise TrainingDataError((*problems, *err.problems)) from err
    if problems:
        raise TrainingDataError(problems)
    if not count:
        raise TrainingDataError([Problem(str(path), None, "", "expected training rows, found none", _ACCEPTED)])


def training_row(path: str, number: int, row: Row) -> TrainingRow | Problem:
    # Arrow fills a column that other rows use with nulls: null is absent.
    given = {name for name, value in row.items() if value is not None}
    if "messages" in given and given & {"prompt", "completion"}:
        what = f"expected `messages` or `prompt` and `completion`, found {_found(given)}"
        return Problem(path, number, "", what, "keep one of the two forms")
    if {"prompt", "chosen", "rejected"} <= given:
        return _preference_row(path, number, row, given)
    if "messages" in given:
        return _chat_row(path, number, row["messages"])
    if {"prompt", "completion"} <= given:
        return _pair_row(path, number, row["prompt"], row["completion"])
    for names, shape, fix in _OTHER_SHAPES:
        if set(names) <= given:
            return Problem(path, number, "", f"expected `messages`, or `prompt` and `completion`, found {shape}", fix)
    what = f"expected `messages`, or `prompt` and `completion`, found {_found(given)}"
    return Problem(path, number, "", what, _ACCEPTED)


def _found(given: set[str]) -> str:
    return listed([key(name) for name in sorted(given)]) or "no values"


def _chat_row(path: str, number: int, value: Json) -> TrainingRow | Problem:
    messages = read_messages(value)
    if isinstance(messages, str):
        return Problem(path, number, "messages", messages, _ACCEPTED)
    roles = [m.role for m in messages]
    if "user" not in roles:
        return Problem(path, number, "messages", "expected a user message, found none", "add the question")
    if roles[-1] != "assistant":
        what = f"expected the assistant's answer last, found a {roles[-1]} message"
        return Problem(path, number, "messages", what, "add the answer, or delete the trailing messages")
    return TrainingRow(path, number, messages, "messages")


def _pair_row(path: str, number: int, prompt: Json, completion: Json) -> TrainingRow | Problem:
    if isinstance(prompt, list) and isinstance(completion, list):
        return _message_pair(path, number, prompt, completion)
    for name, value in (("prompt", prompt), ("completion", completion)):
        if not isinstance(value, str) or not value.strip():
            found = "a blank text" if isinstance(value, str) else describe(value)
            what = f"expected `prompt` and `completion` as two texts or two lists of messages, found {found}"
            return Problem(path, number, name, what, "write both in the same form")
    messages = (Message("user", prompt), Message("assistant", completion))
    return TrainingRow(path, number, messages, "text_completion")


def _preference_row(path: str, number: int, row: Row, given: set[str]) -> TrainingRow | Problem:
    if "completion" in given:
        what = f"expected `prompt`, `chosen` and `rejected`, or `prompt` and `completion`, found {_found(given)}"
        return Problem(path, number, "", what, "keep one of the two forms")
    answers: list[TrainingRow] = []
    for name in ("chosen", "rejected"):
        found = _pair_row(path, number, row["prompt"], row[name])
        if isinstance(found, Problem):
            place = name if found.key == "completion" else found.key
            return replace(found, key=place, what=found.what.replace("`completion`", f"`{name}`"))
        answers.append(found)
    chosen, rejected = answers
    asked = 1 + max(i for i, message in enumerate(chosen.messages) if message.role != "assistant")
    return replace(chosen, rejected=rejected.messages[asked:])


def _message_pair(path: str, number: int, prompt: Json, completion: Json) -> TrainingRow | Problem:
    asked, answered = read_messages(prompt), read_messages(completion)
    if isinstance(asked, str):
        return Problem(path, number, "prompt", asked, "write [{role, content}, ...]")
    if isinstance(answered, str):
        return Problem(path, number, "completion", answered, "write [{role, content}, ...]")
    if asked[-1].role != "user":
        what = f"expected a user message last, found a {asked[-1].role} message"
        return Problem(path, number, "prompt", what, "move the answer to `completion`")
    others = [m.role for m in answered if m.role != "assistant"]
    if others:
        what = f"expected only assistant messages, found a {others[0]} message"
        return Problem(path, number, "completion", what, "move the question to `prompt`")
    return TrainingRow(path, number, asked + answered, "prompt_completion")
