"""JSON and JSONL are read strictly; foreign and broken files are named for what they are."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import loads, read_json, read_jsonl


def rows(tmp_path: Path, data: bytes | str) -> list[tuple[int, dict[str, object]]]:
    path = tmp_path / "t.jsonl"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_jsonl(path))


def problems(tmp_path: Path, data: bytes | str) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        rows(tmp_path, data)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("", []),
        ("\n\n", []),
        ('{"a":1}', [(1, {"a": 1})]),
        ('\ufeff{"a":1}\r\n\r\n{"b":[1.5,null,true]}\r\n', [(1, {"a": 1}), (3, {"b": [1.5, None, True]})]),
        ('{"a":"x\u2028y\\ud83d\\ude00"}\n', [(1, {"a": "x\u2028y\U0001f600"})]),
        (' {"a":\t1} \n', [(1, {"a": 1})]),
    ],
)
def test_good_files(tmp_path: Path, data: str, expected: object) -> None:
    assert rows(tmp_path, data) == expected


@pytest.mark.parametrize(
    ("data", "line", "part"),
    [
        ('{"a":1}\n{"a":', 2, "line 2, the last one, is cut off"),
        ('{"a":1}\n{"a": "xx', 2, "cut off"),
        ('{"a":"é"}'.encode()[:-3], 1, "cut off"),
        ('{"a":1}\n{"a":\n{"b":1}\n', 2, "not closed on its line"),
        ('{\n "a": 1\n}\n', 1, "not closed on its line"),
        ('[{"a":1}]\n', 1, "an array"),
        ('[\n{"a":1}\n]\n', 1, "an array"),
        ('{"a":1}\r{"a":2}\r', 1, "bare CR"),
        ("id,text\n1,2\n", 1, "CSV"),
        ('// hi\n{"a":1}\n', 1, "a comment"),
        ('<<<<<<< HEAD\n{"a":1}\n', 1, "git conflict"),
        ('{"a":1}'.encode("utf-16"), None, "UTF-16"),
        ('{"a":1}'.encode("utf-16-le"), None, "NUL"),
        (b"\x1f\x8b123", None, "gzip"),
        (b"PAR1123", None, "parquet"),
        (b"PK\x03\x04", None, "zip"),
        (b"version https://git-lfs.github.com/spec/v1\n", None, "git-lfs"),
        ('{"a":1}\n{"a":"é"}\n'.encode("latin-1"), 2, "0xe9"),
        ('{"a":"\\ud800"}\n', 1, "surrogate"),
        ('{"a":' + "9" * 5000 + "}\n", 1, "64 bits"),
        ('{"a":9223372036854775808}\n', 1, "64 bits"),
        ('{"a":1e999}\n', 1, "finite"),
        ('{"a":NaN}\n', 1, "found NaN"),
        ('{"a":-Infinity}\n', 1, "found -Infinity"),
        ('{"a":1,"a":2}\n', 1, "each key once"),
        ('{"b":{"a":1,"a":2}}\n', 1, "each key once"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}\n", 1, "64 levels"),
        ('{"a":' + "[" * 100_000 + "}\n", 1, "64 levels"),
        ("3\n", 1, "found the number 3"),
        ('"x"\n', 1, "found the text 'x'"),
        ("{'a':1}\n", 1, "double quotes"),
        ('{"a":1} {"b":2}\n', 1, "extra data"),
        (b'{"a":"' + b"x" * (4 * 2**20) + b'"}', 1, "4 MiB"),
    ],
)
def test_refused(tmp_path: Path, data: bytes | str, line: int | None, part: str) -> None:
    found = problems(tmp_path, data)[0]
    assert part in found.what
    assert found.line == line
    assert found.fix


def test_surrogates_are_found_by_place(tmp_path: Path) -> None:
    found = problems(tmp_path, '{"a":{"b":[1,"\\udc00"]},"c":"\\ud800"}\n')
    assert [p.key for p in found] == ["a.b[1]", "c"]


def test_good_rows_stream_on_and_all_problems_come_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a":1}\n{"b" 1}\n{"c":2}\n{"d":1,"d":2}\n{"e":3}\n')
    seen: list[int] = []
    with pytest.raises(InputError) as caught:
        seen.extend(line for line, _ in read_jsonl(path))
    assert seen == [1, 3, 5]
    assert [p.line for p in caught.value.problems] == [2, 4]


def test_at_most_twenty_problems(tmp_path: Path) -> None:
    assert len(problems(tmp_path, '{"a" 1}\n' * 1000)) == 20


def test_a_file_is_never_one_row_short(tmp_path: Path) -> None:
    data = "".join(json.dumps({"id": str(i), "t": "x" * i}) + "\n" for i in range(30)).encode()
    ends = {i + 1 for i, byte in enumerate(data) if byte == ord("\n")}
    for cut in range(1, len(data)):
        if cut in ends or cut + 1 in ends:
            assert rows(tmp_path, data[:cut])
        else:
            assert "cut off" in problems(tmp_path, data[:cut])[-1].what


@pytest.mark.parametrize("name", ["", "missing.jsonl", "pipe"])
def test_not_a_regular_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="expected a file"):
        list(read_jsonl(tmp_path / name))


def test_json_problems_know_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{\n "a": 1,\n "b": True\n}\n')
    with pytest.raises(InputError, match=r"a\.json:3: .*looks like Python"):
        read_json(path)


def test_several_problems_in_one_text() -> None:
    with pytest.raises(InputError) as caught:
        loads('{"a": NaN, "b": 1, "b": 1e999}', path="x.json")
    assert len(caught.value.problems) == 3


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@given(json_values, st.booleans())
def test_what_json_writes_is_read_back(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(
    st.binary()
    | st.lists(st.sampled_from([b"{", b"}", b'"a"', b":", b"1", b"\n", b"\r", b",", b"[", b"]", b"\\ud800"])).map(
        b"".join
    )
)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    for read in (lambda p: list(read_jsonl(p)), read_json):
        with suppress(InputError):
            read(path)
