"""Rows of an eval set as Examples: ids, targets, clusters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from pytest_ftgate.evalset.builtin import builtin_rows, is_builtin
from pytest_ftgate.evalset.reading import Reading, RowProblems
from pytest_ftgate.evalset.sources import Row, read_dataset, read_table
from pytest_ftgate.evalset.types import Example
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.wording import brief, describe, key, listed, nearest, shown

ROW_IDS = "@row"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNREADABLE: tuple[Example, ...] = ()


def read_examples(reading: Reading, *, target_needed: bool) -> tuple[Example, ...]:
    """The examples of the eval set; problems go to `reading`. Empty where they cannot be read."""
    data = reading.document.data
    try:
        rows = list(_rows(reading))
    except InputError as err:
        reading.problems.extend(_with_origin(reading, err))
        return _UNREADABLE
    if not rows:
        reading.report(("examples",), "expected at least one example, found none", "add rows")
        return _UNREADABLE
    known = sorted({name for _, _, row in rows for name in row})
    unknown = [name for name in ("id", "target", "cluster") if _names_nothing(reading, name, known)]
    notes = RowProblems()
    id_field = data.get("id", "id")
    examples = tuple(
        Example(
            id=f"row-{line}" if "id" in unknown else _id(id_field, row, path, line, notes),
            fields=row,
            target=None if "target" in unknown else _target(data, row, path, line, notes, needed=target_needed),
            cluster=None if "cluster" in unknown else _cluster(data, row, path, line, notes),
            path=path,
            line=line,
        )
        for path, line, row in rows
    )
    if not notes.groups:
        _note_twins(examples, notes)
    reading.problems.extend(notes.told())
    return examples


def read_shots(reading: Reading, file: str, rung: str) -> tuple[Example, ...]:
    """The pool of worked examples of a rung; their ids are row numbers, their targets are required."""
    place = ("baselines", rung, "shots", "from")
    rows = read_file_rows(reading, place, file)
    notes = RowProblems()
    shots = tuple(
        Example(
            f"row-{line}", row, _target(reading.document.data, row, path, line, notes, needed=True), None, path, line
        )
        for path, line, row in rows
    )
    reading.problems.extend(notes.told())
    return shots


def read_file_rows(reading: Reading, place: tuple[str, ...], file: str) -> list[tuple[str, int, Row]]:
    """(path, line, row) of a file that the eval set names at `place`; problems go to `reading`."""
    path = reading.directory / file
    try:
        rows = [(shown(path), line, row) for line, row in read_table(path)]
    except InputError as err:
        reading.problems.extend(_placed(reading, place, path, err))
        return []
    if not rows:
        reading.report(place, f"expected rows in {brief(file)}, found none", "add rows, or delete the key")
    return rows


def _rows(reading: Reading) -> Iterator[tuple[str, int, Row]]:
    document, source = reading.document, reading.document.data["examples"]
    if isinstance(source, list):
        for index, row in enumerate(source):
            yield document.path, document.line(("examples", index)), row
    elif isinstance(source, str):
        path = builtin_rows(source) if is_builtin(source) else reading.directory / source
        for line, row in read_table(path):
            yield shown(path), line, row
    else:
        here = document.line(("examples",))
        local = reading.directory / source["dataset"]
        name = shown(local) if local.exists() else source["dataset"]
        for line, row in read_dataset(source, directory=reading.directory, path=document.path, line=here):
            yield name, line, row


def _with_origin(reading: Reading, err: InputError) -> list[Problem]:
    source = reading.document.data["examples"]
    file = source if isinstance(source, str) else source.get("dataset", "")
    return _placed(reading, ("examples",), reading.directory / file, err)


def _placed(reading: Reading, place: tuple[str, ...], path: Path, err: InputError) -> list[Problem]:
    """Problems of a whole file are told at the line that names it: that is where a misspelt name is corrected."""
    line, name = reading.document.line(place), shown(path)
    placed = []
    for p in err.problems:
        if p.path == name and p.line is None and not p.key:
            p = Problem(reading.document.path, line, ".".join(place), f"{brief(name)}: {p.what}", p.fix)
        placed.append(p)
    return placed


def _names_nothing(reading: Reading, role: str, known: list[str]) -> bool:
    """Whether a field that the YAML names is in no row at all: one problem there, not one for each row."""
    spec = reading.document.data.get(role)
    names = [name for name in (spec if isinstance(spec, list) else [spec]) if isinstance(name, str)]
    missing = [name for name in names if name not in known and not (role == "id" and name == ROW_IDS)]
    for name in missing:
        close = nearest(name, known)
        what = f"expected a field of the rows ({listed([key(k) for k in known])}), found {key(name)}"
        reading.report((role,), what, f"did you mean {key(close)}?" if close else "name a field that the rows have")
    return bool(missing)


def _id(name: str, row: Row, path: str, line: int, notes: RowProblems) -> str:
    if name == ROW_IDS:
        return f"row-{line}"
    value = row.get(name)
    if isinstance(value, str) and _ID.fullmatch(value):
        return value
    if value is None:
        what, fix = (
            "expected an id, found none",
            'give each row an id, or write `id: FIELD` or `id: "@row"` in the eval set',
        )
    elif isinstance(value, str):
        what = f"expected an id of at most 128 letters, digits, `.`, `_` and `-`, found {describe(value)}"
        fix = "rename it; it must start with a letter or digit"
    else:
        what, fix = f"expected a text as id, found {describe(value)}", "quote this"
    notes.add(path, line, name, what, fix)
    return f"row-{line}"


def _note_twins(examples: tuple[Example, ...], notes: RowProblems) -> None:
    """Ids that are equal, or differ only in case (ids are ASCII, so no other normal form can make them equal)."""
    first: dict[str, Example] = {}
    for example in examples:
        twin = first.setdefault(example.id.casefold(), example)
        if twin is not example:
            same = "again" if twin.id == example.id else f"beside {brief(twin.id)}"
            what = f"expected each id once, found {brief(example.id)} {same} (first on line {twin.line})"
            notes.add(example.path, example.line, "id", what, "rename or delete one of the two")


def _target(data: Json, row: Row, path: str, line: int, notes: RowProblems, *, needed: bool) -> Json:
    spec = data.get("target", "target")
    if spec is None:
        return None
    names = spec if isinstance(spec, list) else [spec]
    missing = [name for name in names if row.get(name) is None]
    if missing and (needed or "target" in data):
        fix = "add the reference answer; another field can be named with `target: FIELD` in the eval set"
        notes.add(path, line, missing[0], "expected a reference answer, found none", fix)
    if isinstance(spec, list):
        return {name: row.get(name) for name in names}
    return row.get(spec)


def _cluster(data: Json, row: Row, path: str, line: int, notes: RowProblems) -> str | None:
    name = data.get("cluster")
    if name is None:
        return None
    value = row.get(name)
    if isinstance(value, str) and value.strip():
        return value
    fix = "quote this" if isinstance(value, bool | int | float) else "name the cluster of this row"
    notes.add(path, line, name, f"expected a text as cluster, found {describe(value)}", fix)
    return None
