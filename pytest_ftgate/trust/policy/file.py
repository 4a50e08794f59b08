"""ftgate.toml: found, read and checked; every problem at once, nothing guessed."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.files.disk import read_text
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.lookalike import skeleton
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.schema import schema_problems
from pytest_ftgate.files.strictyaml import Document, Place
from pytest_ftgate.files.wording import dotted, shown
from pytest_ftgate.trust.policy.types import BasePin, Policy

POLICY_NAME = "ftgate.toml"
MAX_BYTES = 2**20

_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")
_AT_LINE = re.compile(r"at line (\d+)")


def policy_schema() -> dict[str, Any]:
    """The JSON Schema of ftgate.toml, as shipped for editors."""
    text = files("pytest_ftgate.trust.policy").joinpath("policy.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def find_policy(option: str | None, directory: Path, root: Path) -> Path | None:
    """The policy file: the one that `--ft-policy` names, else the nearest ftgate.toml; None where there is none.

    It is looked for from where pytest was started and from pytest's root upwards, never beyond a git repository.
    Raises PolicyError where the two ways lead to two files.
    """
    if option is not None:
        return (directory / option).resolve()
    found = {path for start in (directory, root) if (path := _nearest(start.resolve())) is not None}
    if len(found) > 1:
        names = " and ".join(sorted(shown(path) for path in found))
        raise PolicyError(f"two policies could be meant: {names}", fix="name the one that counts with --ft-policy=FILE")
    return found.pop() if found else None


def _nearest(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        # Whatever has the name is meant as the policy: a directory, a link to nothing or a pipe is refused on reading.
        if _is_there(folder / POLICY_NAME):
            return folder / POLICY_NAME
        if like := _look_alikes(folder):
            raise PolicyError(
                f"{shown(folder / like[0])} (its name is {like[0]!a}) looks like a policy and is none",
                fix=f"call it {POLICY_NAME}, or remove it",
            )
        if (folder / ".git").exists():
            return None
    return None


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise PolicyError(
            f"whether there is a policy {shown(path)} cannot be told: {error.strerror}", fix="correct the permissions"
        ) from error
    return True


def _look_alikes(folder: Path) -> list[str]:
    """Names there that a reader takes for that of a policy; of a folder that cannot be listed, none."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [name for name in names if skeleton(name) == skeleton(POLICY_NAME)]


def load_policy(path: Path) -> Policy:
    """Read one policy file. Raises InputError with every problem found."""
    return parse_policy(read_text(path, max_bytes=MAX_BYTES), name=shown(path), directory=path.parent)


def parse_policy(text: str, *, name: str, directory: Path) -> Policy:
    """The policy that a TOML text holds; its paths start at `directory`. Raises InputError, which calls it `name`."""
    document = parse_toml(text, path=name)
    problems = [*_not_finite(document, document.data, ()), *schema_problems(document, policy_schema())]
    if problems:
        raise InputError(problems)
    data = document.data
    rules = data.get("policy", {})
    # Keys of the file are the fields of Policy; where a collection is wanted, it is put into its form here.
    plain = ("floors", "ceilings", "confidence", "min_n", "cache", "unknown_training_data")
    return Policy(
        required=frozenset(rules.get("required", ())),
        evalsets=frozenset((directory / name).resolve() for name in rules.get("evalsets", ())),
        bases=(BasePin(**data["base"]),) if "base" in data else (),
        runtime={key: frozenset(allowed) for key, allowed in data.get("runtime", {}).items()},
        **{key: rules[key] for key in plain if key in rules},
    )


def parse_toml(text: str, *, path: str) -> Document:
    """TOML as a Document whose lines are known where keys stand at the beginning of one. Raises InputError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        at = _AT_LINE.search(str(err))
        what = f"expected TOML; the parser says: {str(err).partition(' (at ')[0][:120]!r}"
        fix = "check the quotes, brackets and `=` around this line; each key may stand once"
        line = int(at[1]) if at else len(text.splitlines()) or 1
        raise InputError([Problem(path, line, "", what, fix)]) from None
    except ValueError:  # Python converts no longer digits than sys.get_int_max_str_digits()
        what, fix = "expected numbers of a few digits, found one of thousands", "write a number that can be meant"
        raise InputError([Problem(path, _longest_number(text), "", what, fix)]) from None
    except RecursionError:
        what = "expected flat tables and lists, found hundreds of nested brackets"
        raise InputError([Problem(path, None, "", what, "flatten the value")]) from None
    return Document(path, data, _lines(text, data))


def _longest_number(text: str) -> int:
    """The line with the most digits in a row."""
    runs = [
        max((len(run) for run in re.findall(r"[0-9a-fA-FxobXOB_]+", line)), default=0) for line in text.splitlines()
    ]
    return runs.index(max(runs)) + 1


def _lines(text: str, data: Json) -> dict[Place, int]:
    """Line of each table and key, read off the text: the parser does not tell."""
    lines: dict[Place, int] = {(): 1}
    seen: set[Place] = set()
    doubtful: set[Place] = set()
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.fullmatch(line):
            table = _place(header[1])
            place = table
        elif written := _KEY.match(line):
            place = (*table, *_place(written[1]))
        else:
            continue
        if place in seen:
            doubtful.add(place)
        elif _stands(data, place):
            seen.add(place)
            for end in range(1, len(place) + 1):
                lines.setdefault(place[:end], number)
    # No key stands twice in TOML: one of the two lines belongs to a longer text.
    return {place: number for place, number in lines.items() if place not in doubtful}


def _place(written: str) -> Place:
    return tuple(next(part for part in parts if part) for parts in _PART.findall(written) if any(parts))


def _stands(data: Json, place: Sequence[str | int]) -> bool:
    for part in place:
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _not_finite(document: Document, value: Json, place: Place) -> Iterator[Problem]:
    """TOML has nan and inf; a comparison with nan is never true, so no schema refuses it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(document, inner, (*place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(document, inner, (*place, index))
    elif isinstance(value, float) and not math.isfinite(value):
        what = f"expected a finite number, found {value}"
        yield Problem(document.path, document.line(place), dotted(place), what, "write a finite number")
