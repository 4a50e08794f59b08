"""YAML is read as it looks, or refused with line and fix."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictyaml import Document, parse_yaml, read_yaml


def problems(text: str) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, path="x.yaml")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("010", "010"),
        ("0x1F", "0x1F"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("+5", "+5"),
        ("=", "="),
        (".", "."),
        ("1e", "1e"),
        ("inf", "inf"),
        ("~", None),
        ("null", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-12", -12),
        ("1e3", 1000.0),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_plain_scalars_follow_yaml_1_2_core(written: str, value: object) -> None:
    found = parse_yaml(f"a: {written}\n", path="x.yaml").data["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "again (first on line 1)"),
        ("a: {b: 1, b: 2}\n", 1, "again"),
        ("a: &x 1\n", 1, "anchor '&x'"),
        ("a: 1\nb: *x\n", 2, "alias '*x'"),
        ("a:\n  <<: {b: 1}\n", 2, "merge key"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "!!python/object/apply"),
        ("a: !x 1\n", 1, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "second"),
        ("a: 1\n1: a\n", 2, "expected a text as key, found the number 1"),
        ("no: a\ntrue: b\n", 2, "found true"),
        ("? [a]\n: b\n", 1, "another kind of value"),
        ("a: 1\nb: .nan\n", 2, "finite"),
        ("a: -.inf\n", 1, "finite"),
        ("a: 1e999\n", 1, "finite"),
        ("a: 9223372036854775808\n", 1, "64 bits"),
        ("a: " + "9" * 5000, 1, "64 bits"),
        ("a: " + "[" * 100 + "]" * 100, 1, "64 levels"),
        ("[" * 100_000, 1, "64 levels"),
        ("a:\n\tb: 1\n", 2, "a tab"),
        ("a: b: c\n", 1, "second `:`"),
        ('a: "x\\q"\n', 1, "escape"),
        ("a: 'x\n", 2, "not closed"),
        ("a: @row\n", 1, "starts with @"),
        ("", 1, "empty"),
        ("# only a comment\n", 2, "empty"),
        ('a: "\\ud800"\n', 1, "surrogate"),
        ("a: 1\nb: \x07\n", 2, "U+0007"),
        ('a: "\\UFFFFFFFF"\n', 1, "cannot be represented"),
    ],
)
def test_refused(text: str, line: int, part: str) -> None:
    found = problems(text)
    assert part in found[0].what
    assert found[0].line == line
    assert found[0].fix


def test_several_problems_at_once() -> None:
    found = problems("a: &x 1\nb: *x\na: 2\nc: .nan\n")
    assert [p.line for p in found] == [1, 2, 3, 4]
    assert [p.key for p in found] == ["a", "b", "a", "c"]


def test_a_second_value_does_not_move_the_line_of_the_first() -> None:
    found = problems("a: {b: 1}\na: {b: 2}\na: {b: 3}\n")
    assert ["first on line 1" in p.what for p in found] == [True, True]


def test_alias_bombs_are_refused_without_expanding_them() -> None:
    lines = ["a0: &a0 [x, x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert len(problems("\n".join(lines))) == 20


def test_lines_of_keys_and_items() -> None:
    document = parse_yaml("# c\na:\n  b:\n    - x\n    - {c: 1,\n       d: 2}\ne: 1\n", path="x.yaml")
    assert document.data == {"a": {"b": ["x", {"c": 1, "d": 2}]}, "e": 1}
    assert [document.line(p) for p in [(), ("a",), ("a", "b"), ("a", "b", 1), ("a", "b", 1, "d"), ("e",)]] == [
        2,
        2,
        3,
        5,
        6,
        7,
    ]
    assert document.line(("a", "b", 1, "missing")) == 5


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "a.yaml"
    good.write_bytes(b"\xef\xbb\xbfa: \xc3\xa9\r\nb: 1\r\n")
    assert read_yaml(good).data == {"a": "é", "b": 1}
    bad = {
        b"a: 1\nb: \xe9\n": "0xe9",
        b"\x1f\x8b\x08": "gzip",
        "a: 1".encode("utf-16"): "UTF-16",
        b"version https://git-lfs.github.com/spec/v1\n": "git-lfs",
        b"a: 1\n" + b"#" * (8 * 2**20): "8 MiB",
    }
    for content, part in bad.items():
        good.write_bytes(content)
        with pytest.raises(InputError, match=part):
            read_yaml(good)


@pytest.mark.parametrize("name", ["missing.yaml", "", "nodir/a.yaml", "a\0b"])
def test_files_that_are_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / name)
    assert caught.value.problems[0].fix


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "tickets.yaml").write_text("a: 1")
    with pytest.raises(InputError, match=r"did you mean 'tickets\.yaml'"):
        read_yaml(tmp_path / "tikets.yaml")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text("abc:# -'\"", max_size=5), children),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_as_json(value: object) -> None:
    import json

    document = parse_yaml(json.dumps({"v": value}, ensure_ascii=False), path="x.yaml")
    assert document.data == {"v": value}


@given(st.text(st.sampled_from("ab:-? \n\t[]{},&*!|>'\"%@`#<~0.1e_\\xU\ud7ff\x00\x07é")) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InputError):
        assert isinstance(parse_yaml(text, path="x.yaml"), Document)


@given(st.binary())
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with suppress(InputError):
        read_yaml(path)
