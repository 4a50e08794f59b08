"""Prompts and rungs of an eval set: inheritance, and whether the rows have the fields that the templates name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_ftgate.evalset.chat import read_messages
from pytest_ftgate.evalset.examples import read_file_rows, read_shots
from pytest_ftgate.evalset.reading import Reading, RowProblems
from pytest_ftgate.evalset.templates import template_fields
from pytest_ftgate.evalset.types import Example, Passages, Prompt, Rung, Shots
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.strictyaml import Place
from pytest_ftgate.files.wording import brief, describe, key, listed, nearest

_FORMS = ("system", "user", "text", "messages")
PASSAGES = "passages"
"""The one template field that no row fills."""


def read_prompt(reading: Reading, examples: Sequence[Example]) -> Prompt:
    """The task prompt, checked against the examples."""
    prompt = Prompt(**reading.document.data["prompt"])
    written = tuple(reading.document.data["prompt"])
    _check_templates(reading, ("prompt",), prompt, written, has_passages=False)
    _check_fields(reading, ("prompt",), prompt, written, examples)
    if prompt.messages is not None:
        _check_messages(reading, prompt, examples)
    return prompt


def read_baselines(reading: Reading, prompt: Prompt, examples: Sequence[Example]) -> tuple[Rung, ...]:
    """The rungs in file order, each with its whole prompt, its shots and its passages."""
    return tuple(
        _rung(reading, name, spec, prompt, examples)
        for name, spec in reading.document.data.get("baselines", {}).items()
    )


def _rung(reading: Reading, name: str, spec: Mapping[str, Json], prompt: Prompt, examples: Sequence[Example]) -> Rung:
    place = ("baselines", name)
    own = _inherited(spec, prompt)
    if "system" in spec and own.text is not None:
        fix = "give the rung its own `user`, or put the words into `text`"
        reading.report((*place, "system"), "expected no `system` beside the `text` of prompt, found one", fix)
    written = tuple(form for form in _FORMS if form in spec)
    _check_templates(reading, place, own, written, has_passages=PASSAGES in spec)
    _check_fields(reading, place, own, written, examples)
    if own.messages is not None and own.system is not None and prompt.system is None:
        _check_messages(reading, own, examples)
    shots = _shots(reading, name, spec["shots"], own) if "shots" in spec else None
    if shots:
        _check_shots(reading, own, shots, examples)
    passages = _passages(reading, name, spec[PASSAGES], own) if PASSAGES in spec else None
    return Rung(name, own, shots, passages)


def _inherited(spec: Mapping[str, Json], prompt: Prompt) -> Prompt:
    """A rung's prompt: what it does not give comes from the task prompt; its own user or text replaces the form."""
    given = {form: spec[form] for form in _FORMS if form in spec}
    base = {"system": prompt.system, "user": prompt.user, "text": prompt.text, "messages": prompt.messages}
    if "text" in given:
        return Prompt(text=given["text"])
    if "user" in given:
        return Prompt(system=given.get("system", prompt.system), user=given["user"])
    return Prompt(**{**base, **given})


def _shots(reading: Reading, rung: str, spec: Mapping[str, Json], prompt: Prompt) -> Shots:
    place = ("baselines", rung, "shots")
    if prompt.messages is not None:
        fix = "give the rung its own `user` template, or delete `shots`"
        reading.report(place, "expected a `user` or `text` template to write shots with, found `messages`", fix)
    pool = read_shots(reading, spec["from"], rung)
    _check_pool(reading, (*place, "n"), spec["n"], len(pool), spec["from"])
    return Shots(pool, int(spec["n"]), spec.get("select", "first"))


def _passages(reading: Reading, rung: str, spec: Mapping[str, Json], prompt: Prompt) -> Passages:
    place = ("baselines", rung, PASSAGES)
    templates = [t for t in (prompt.system, prompt.user, prompt.text) if t is not None]
    if not any("{" + PASSAGES + "}" in template for template in templates):
        fix = 'write it into the template, for example user: "{passages}\\n\\n{question}"'
        reading.report(place, "expected `{passages}` in the rung's prompt, found it nowhere", fix)
    notes, texts = RowProblems(), []
    for path, line, row in read_file_rows(reading, (*place, "from"), spec["from"]):
        text = row.get(spec["field"])
        if isinstance(text, str) and text.strip():
            texts.append(text)
        else:
            notes.add(path, line, spec["field"], f"expected a text, found {describe(text)}", "fill it in, or quote it")
    reading.problems.extend(notes.told())
    if not notes.groups:
        _check_pool(reading, (*place, "n"), spec["n"], len(texts), spec["from"])
    return Passages(tuple(texts), int(spec["n"]))


def _check_pool(reading: Reading, place: Place, n: int, found: int, file: str) -> None:
    if 0 < found < n:
        what = f"expected at least {n} rows in {brief(file)}, found {found}"
        reading.report(place, what, f"add rows, or write `n: {found}`")


def _check_templates(
    reading: Reading, place: Place, prompt: Prompt, written: Sequence[str], *, has_passages: bool
) -> None:
    """Report templates that are malformed, or show passages that nothing retrieves."""
    for form, template in _templates(prompt, written):
        try:
            names = template_fields(template)
        except ValueError as err:
            reading.report((*place, form), f"expected a template, but {err}", "write {field}, and {{ }} for braces")
            continue
        if PASSAGES in names and not has_passages:
            what = "expected fields of the rows, found `{passages}` without `passages` to fill it"
            reading.report((*place, form), what, "add `passages: {from: ..., field: ..., n: ...}` to the rung")
        if reading.document.data.get("target", "target") in names:
            what = "expected a question, found the field of the reference answer in it"
            reading.report((*place, form), what, "take it out: a model that is shown the answer was not asked")


def _check_fields(
    reading: Reading, place: Place, prompt: Prompt, forms: Sequence[str], rows: Sequence[Example]
) -> None:
    """Report template fields that no row has, and rows whose field cannot be put into the template."""
    notes, known = RowProblems(), sorted({name for row in rows for name in row.fields})
    named = {name: form for form, template in _templates(prompt, forms) for name in _fields_or_none(template)}
    for name, form in named.items():
        if name in known:
            for row in rows:
                if wrong := _unfit(reading, row, name):
                    notes.add(row.path, row.line, name, *wrong)
        elif rows:
            close = nearest(name, known)
            what = f"expected a field of the rows ({listed([key(k) for k in known])}), found {brief('{' + name + '}')}"
            fix = f"did you mean {{{close}}}?" if close else "name a field that the rows have"
            reading.report((*place, form), what, fix)
    reading.problems.extend(notes.told())


def _check_shots(reading: Reading, prompt: Prompt, shots: Shots, examples: Sequence[Example]) -> None:
    """Report shots without a field that the examples have and the template needs."""
    notes, known = RowProblems(), {name for example in examples for name in example.fields}
    for _, template in _templates(prompt, ("user", "text")):
        for name in _fields_or_none(template):
            for shot in shots.examples if name in known else ():
                if wrong := _unfit(reading, shot, name):
                    notes.add(shot.path, shot.line, name, *wrong)
    reading.problems.extend(notes.told())


def _templates(prompt: Prompt, forms: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(form, template) of the forms that are given."""
    for form, template in (("system", prompt.system), ("user", prompt.user), ("text", prompt.text)):
        if form in forms and template is not None:
            yield form, template


def _fields_or_none(template: str) -> tuple[str, ...]:
    """Fields of the rows that a template names; none of a malformed one, which is reported elsewhere."""
    try:
        return tuple(name for name in template_fields(template) if name != PASSAGES)
    except ValueError:
        return ()


def _unfit(reading: Reading, example: Example, name: str) -> tuple[str, str] | None:
    """(what, fix) where a field of one row cannot be put into a template."""
    value = example.fields.get(name)
    if value is None:
        return "expected a value for the prompt, found nothing", "fill it in"
    # In YAML, 1.50 is the number 1.5: what the author typed is lost.
    if example.path == reading.document.path and isinstance(value, bool | int | float):
        return f"expected a text for the prompt, found {describe(value)}", "quote this"
    return None


def _check_messages(reading: Reading, prompt: Prompt, examples: Sequence[Example]) -> None:
    notes, name = RowProblems(), prompt.messages or ""
    for example in examples:
        messages = read_messages(example.fields.get(name))
        if isinstance(messages, str):
            notes.add(example.path, example.line, name, messages, "write [{role, content}, ...]")
        elif messages[-1].role != "user":
            what = f"expected a user message last, found a {messages[-1].role} message"
            notes.add(example.path, example.line, name, what, "move the answer to the target field")
        elif prompt.system is not None and messages[0].role == "system":
            fix = "delete one of the two"
            notes.add(
                example.path, example.line, name, "expected one system turn, found `system` and one in the row", fix
            )
    reading.problems.extend(notes.told())
