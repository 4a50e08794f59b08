"""An eval set is loaded once a process as long as its files stay what they are, and anew as soon as one changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ftgate.evalset import loaded
from pytest_ftgate.evalset.loader import load_evalset, read_header
from pytest_ftgate.files import strictyaml
from pytest_ftgate.files.problems import InputError

YAML = """\
version: 1
examples: rows.jsonl
id: "@row"
prompt: {user: "{question}"}
scorer: exact
generation: {max_new_tokens: 4}
gates: {accuracy: {min: 0.5}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"question": "1+1", "target": "2"}\n{"question": "1+2", "target": "3"}\n')
    (tmp_path / "sums.eval.yaml").write_text(YAML)
    return tmp_path / "sums.eval.yaml"


@pytest.fixture
def parses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    parse = strictyaml.parse_yaml

    def counted(text: str, *, path: str) -> strictyaml.Document:
        found.append(path)
        return parse(text, path=path)

    monkeypatch.setattr(strictyaml, "parse_yaml", counted)
    return found


def test_unchanged_files_give_the_same_eval_set_after_one_parse(path: Path, parses: list[str]) -> None:
    assert read_header(path).name == "sums"
    first = load_evalset(path)
    assert load_evalset(path) is first
    assert len(parses) == 1


def test_a_changed_row_is_seen_whatever_the_times_of_the_file_say(path: Path) -> None:
    first, rows = load_evalset(path), path.parent / "rows.jsonl"
    before = rows.stat()
    rows.write_text(rows.read_text().replace('"3"', '"4"'))
    os.utime(rows, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = load_evalset(path)
    assert [e.target for e in again.examples] == ["2", "4"]
    assert again.digest != first.digest


def test_a_changed_gate_is_seen(path: Path) -> None:
    load_evalset(path)
    path.write_text(YAML.replace("0.5", "0.6"))
    assert load_evalset(path).gates[0].bound == 0.6
    assert read_header(path).gates[0].bound == 0.6


def test_a_row_file_that_is_gone_is_said(path: Path) -> None:
    load_evalset(path)
    (path.parent / "rows.jsonl").unlink()
    with pytest.raises(InputError, match="expected a file, found none"):
        load_evalset(path)


def test_a_file_that_changes_while_it_is_loaded_is_not_kept(path: Path) -> None:
    cache = loaded.Loaded()

    def load(where: Path) -> object:
        evalset = load_evalset.__globals__["_load"](where)
        where.write_text(YAML.replace("0.5", "0.9"))
        return evalset

    first = cache.get(path, load)  # type: ignore[arg-type]
    assert first.gates[0].bound == 0.5
    assert cache.get(path, load_evalset).gates[0].bound == 0.9


def test_the_eval_set_that_was_not_asked_for_longest_is_given_up(
    path: Path, parses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "MOST", 1)
    cache, other = loaded.Loaded(), path.with_name("other.eval.yaml")
    other.write_text(YAML)
    first = cache.get(path, load_evalset.__globals__["_load"])
    cache.get(other, load_evalset.__globals__["_load"])
    assert cache.get(path, load_evalset.__globals__["_load"]) is not first
