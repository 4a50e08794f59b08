"""Rows of files and datasets: nothing converted, nothing guessed, nothing fetched without a pinned commit."""

from __future__ import annotations

import builtins
import datetime
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.evalset.sources import read_dataset, read_table
from pytest_ftgate.files.problems import InputError

ROWS = [{"id": "a", "n": 1, "m": [{"role": "user", "content": "é"}]}, {"id": "b", "n": 2, "m": []}]


def refused(rows: Any, part: str) -> None:
    with pytest.raises(InputError) as caught:
        list(rows())
    assert part in str(caught.value)


def test_csv_values_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfid,text\r\n001,"a, ""b""\nc"\r\n\r\nno,NA\r\n')
    assert list(read_table(path)) == [(1, {"id": "001", "text": 'a, "b"\nc'}), (2, {"id": "no", "text": "NA"})]


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "empty file"),
        (b"a,a\n1,2\n", "each column once"),
        (b"a,\n1,2\n", "a name for each column"),
        (b"a,b\n1\n", "expected 2 values, as many as the header has, found 1"),
        (b"a,b\n1,2,3\n", "found more"),
        (b'a,b\n"1,2\n', "parser says"),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "field limit"),
        (b"a,b\n\xe9,1\n", "0xe9"),
        (b"PAR1", "parquet"),
    ],
)
def test_csv_refused(tmp_path: Path, data: bytes, part: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    refused(lambda: read_table(path), part)


def test_json_lists(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(ROWS))
    assert list(read_table(path)) == [(1, ROWS[0]), (2, ROWS[1])]
    path.write_text('{"a": 1}')
    refused(lambda: read_table(path), "expected a list of objects")
    path.write_text('[{"a": 1}, 3]')
    refused(lambda: read_table(path), "expected an object as item 2")


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    assert list(read_table(path)) == [(1, ROWS[0]), (2, ROWS[1])]
    bad = [{"d": datetime.date(2024, 1, 1), "f": 1.0, "b": b"x"}, {"d": None, "f": float("nan"), "b": None}]
    parquet.write_table(pyarrow.Table.from_pylist(bad), path)
    refused(
        lambda: read_table(path), "row 1: expected a text, a number, true, false, null, a list or an object, found a d"
    )
    refused(
        lambda: read_table(path), "row 2: expected a text, a number, true, false, null, a list or an object, found nan"
    )
    path.write_bytes(b"PAR1 not really PAR1")
    refused(lambda: read_table(path), "pyarrow says")
    path.write_text("a,b")
    refused(lambda: read_table(path), "pyarrow says")
    refused(lambda: read_table(tmp_path / "b.parquet"), "expected a file, found none")


def test_saved_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(ROWS)
    dataset.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": dataset, "test": dataset.select([1])}).save_to_disk(str(tmp_path / "two"))
    assert list(read_table(tmp_path / "one")) == [(1, ROWS[0]), (2, ROWS[1])]
    assert list(read_table(tmp_path / "two" / "test")) == [(1, ROWS[1])]

    def read(**spec: str) -> Any:
        return lambda: read_dataset(spec, directory=tmp_path, path="x.eval.yaml", line=3)

    assert [row["id"] for _, row in read(dataset="two", split="test")()] == ["b"]
    refused(read(dataset="two"), "`train` or `test`, found no choice")
    refused(read(dataset="two", split="tset"), "found the text 'tset'")
    refused(read(dataset="one", split="test"), "this dataset has none")
    refused(read(dataset="one", revision="0" * 40), "expected no `revision`")
    (tmp_path / "empty").mkdir()
    refused(read(dataset="empty"), "save_to_disk")
    (tmp_path / "one" / "dataset_info.json").write_text("{")
    refused(read(dataset="one"), "saved dataset")


def test_hub_ids_are_pinned_and_offline_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(**spec: str) -> Any:
        return lambda: read_dataset(spec, directory=tmp_path, path="x.eval.yaml", line=3)

    refused(read(dataset="foo/bar"), "expected `revision` and `split` beside a hub id")
    refused(read(dataset="./foo"), "expected a file that ends in")
    refused(read(dataset="foo.jsonl"), "found none")
    refused(read(dataset="foo.jsonl", split="x"), "expected no `split`")
    datasets = pytest.importorskip("datasets")

    def offline(*args: Any, **kwargs: Any) -> Any:
        assert (args, kwargs) == (("foo/bar", None), {"split": "test", "revision": "0" * 40})
        raise ConnectionError("Couldn't reach the Hub\nlong tail")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    refused(read(dataset="foo/bar", split="test", revision="0" * 40), "x.eval.yaml:3: examples.dataset: ")
    refused(read(dataset="foo/bar", split="test", revision="0" * 40), "no network; ConnectionError")


@pytest.mark.parametrize(("missing", "name"), [("pyarrow", "a.parquet"), ("datasets", "saved")])
def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, name: str) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    real = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.split(".")[0] == missing:
            raise ImportError(module)
        return real(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(lambda: read_table(tmp_path / name), 'pip install "pytest-ftgate[data]"')


@given(st.binary(), st.sampled_from([".csv", ".json"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str) -> None:
    path = (tmp_path_factory.getbasetemp() / "any").with_suffix(suffix)
    path.write_bytes(data)
    with suppress(InputError):
        list(read_table(path))
