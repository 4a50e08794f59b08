"""Examples as texts, and texts as Docs of an index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_ftgate.evalset.templates import render
from pytest_ftgate.evalset.types import EvalSet, Example, Prompt
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import EvalSetError, Problem
from pytest_ftgate.rows.overlap.index import Doc
from pytest_ftgate.rows.overlap.text import tokens
from pytest_ftgate.rows.overlap.verify import SHORT


@dataclass(frozen=True, slots=True)
class Item:
    """One example as texts."""

    id: str
    input: str
    """What the model is asked, the system turn apart."""
    output: str | None
    """The reference answer; None where there is none."""


def items_of(evalset: EvalSet) -> list[Item]:
    """The examples of an eval set, rendered with its prompt. Raises EvalSetError where the prompt fits no row."""
    items: list[Item] = []
    problems: list[Problem] = []
    for example in evalset.examples:
        try:
            text = _input(evalset.prompt, example)
        except (KeyError, ValueError) as err:
            what = f"expected the fields that the prompt names, found a problem with {str(err)[:60]}"
            problems.append(Problem(example.path, example.line, "", what, "add the field, or correct the prompt"))
        else:
            items.append(Item(example.id, text, _as_text(example.target)))
    if problems:
        raise EvalSetError(problems[:20])
    return items


def docs_of(items: Sequence[Item], *, pseudo: bool = False) -> list[Doc]:
    """Docs for the inputs, and for the answers that are long enough to be found alone; equal items share one.

    Pseudo-examples give their inputs alone: only those decide what is a leak.
    """
    inputs: dict[tuple[object, ...], list[int]] = {}
    outputs: dict[tuple[object, ...], list[int]] = {}
    for i, item in enumerate(items):
        words, answer = _key(item.input), _key(item.output)
        inputs.setdefault((words, answer), []).append(i)
        if not pseudo and answer is not None and len(answer) >= SHORT:
            outputs.setdefault(answer, []).append(i)
    docs = [Doc(tuple(g), "input", pseudo, items[g[0]].input, items[g[0]].output) for g in inputs.values()]
    # An answer of several examples is a label or a phrase: finding it alone says nothing.
    single = [g for g in outputs.values() if len(g) == 1]
    return docs + [Doc(tuple(g), "output", pseudo, items[g[0]].output or "", None) for g in single]


def same_inputs(items: Sequence[Item]) -> list[list[int]]:
    """Positions of items with the same input, for each input that stands more than once."""
    groups: dict[tuple[object, ...] | None, list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault(_key(item.input), []).append(i)
    return [g for g in groups.values() if len(g) > 1]


def _key(text: str | None) -> tuple[object, ...] | None:
    if text is None:
        return None
    return tuple(tokens(text)) or ("", "".join(text.split()))


def _input(prompt: Prompt, example: Example) -> str:
    if prompt.messages is not None:
        turns = example.fields[prompt.messages]
        return "\n".join(_user_turns(turns))
    template = prompt.user if prompt.user is not None else prompt.text
    if template is None:
        raise ValueError("a prompt without user, text or messages")
    # Passages are put in by the runtime; they are no part of the example.
    return render(template, {"passages": "", **example.fields})


def _user_turns(turns: Json) -> Iterable[str]:
    if not isinstance(turns, list):
        raise ValueError("a messages field that is no list")
    for turn in turns:
        if isinstance(turn, dict) and turn.get("role") == "user":
            yield str(turn.get("content"))


def _as_text(target: Json) -> str | None:
    if isinstance(target, list):  # accepted answers: the first stands for all
        target = target[0] if target else None
    if target is None or isinstance(target, str):
        return target
    return json.dumps(target, ensure_ascii=False, separators=(",", ":"))
