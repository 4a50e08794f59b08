"""Rows of the files and datasets that a user names, as strict JSON objects. Nothing is guessed or converted.

.jsonl .ndjson   one object per line, streamed
.json            one list of objects
.csv             a header and rows; every value is a text (a CSV file has no types)
.parquet         streamed; needs pyarrow
a directory      written by `Dataset.save_to_disk`; needs datasets
a hub id         pinned to a commit; needs datasets, and the network unless it is cached
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_ftgate.files.disk import foreign, not_utf8, note_read, opened
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError, Problem
from pytest_ftgate.files.strictjson import MAX_PROBLEMS, read_json, read_jsonl
from pytest_ftgate.files.wording import brief, describe, key, listed, shown

Row = dict[str, Json]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


def read_table(path: Path) -> Iterator[tuple[int, Row]]:
    """Stream (1-based line (JSONL) or row number, object) of a file or of a directory written by save_to_disk.

    Raises InputError; problems of single rows only once the other rows have been yielded (see read_jsonl).
    """
    if path.is_dir():
        return _saved_dataset(path, None)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path)
    if suffix == ".json":
        return _json_rows(path)
    if suffix == ".csv":
        return _csv_rows(path)
    if suffix == ".parquet":
        return _parquet_rows(path)
    what = f"expected a file that ends in {listed(SUFFIXES, last='or')}, found {brief(path.name)}"
    raise InputError([Problem(shown(path), None, "", what, "rename or convert it")])


def read_dataset(spec: Mapping[str, Json], *, directory: Path, path: str, line: int) -> Iterator[tuple[int, Row]]:
    """Rows of `{dataset, split, revision, name}`: a file or directory below `directory`, or a hub id.

    `path` and `line` say where the spec is written. Raises InputError.
    """
    location, local = spec["dataset"], directory / spec["dataset"]
    here = (path, line)
    if local.is_dir():
        _refuse(spec, ("revision", "name"), "a directory has none", here)
        return _saved_dataset(local, spec.get("split"))
    if local.exists() or local.suffix.lower() in SUFFIXES or location.startswith((".", "/")):
        _refuse(spec, ("revision", "name", "split"), "a file has none", here)
        return read_table(local)
    missing = [name for name in ("revision", "split") if name not in spec]
    if missing:
        names = listed([f"`{name}`" for name in missing])
        what = f"expected {names} beside a hub id, found none ({brief(location)} is no file or directory here)"
        fix = "add `revision: <commit of 40 hex digits>` and `split: test`, or correct the path"
        raise InputError([Problem(path, line, "examples", what, fix)])
    return _hub_dataset(spec, here)


def _refuse(spec: Mapping[str, Json], names: Iterable[str], reason: str, here: tuple[str, int]) -> None:
    found = [f"`{name}`" for name in names if name in spec]
    if found:
        what = f"expected no {listed(found, last='or')} beside {brief(spec['dataset'])}: {reason}"
        raise InputError([Problem(here[0], here[1], "examples", what, "delete it")])


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    rows = read_json(path)
    name = shown(path)
    if not isinstance(rows, list):
        what = f"expected a list of objects, found {describe(rows)}"
        raise InputError([Problem(name, 1, "", what, "write [{...}, {...}], or use .jsonl")])
    problems = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, dict):
            yield number, row
        else:
            what = f"expected an object as item {number}, found {describe(row)}"
            problems.append(Problem(name, None, f"[{number - 1}]", what, 'write {"field": value, ...}'))
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])


def _csv_rows(path: Path) -> Iterator[tuple[int, Row]]:
    name = shown(path)
    with opened(path) as stream:
        if found := foreign(name, stream.read(4096)):
            raise InputError([found])
        stream.seek(0)
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.DictReader(text, strict=True)
        try:
            yield from _csv_objects(reader, name)
        except csv.Error as err:
            what = f"expected CSV as RFC 4180 has it, but the parser says: {brief(str(err))}"
            fix = "quote the value and double its quotes; for values beyond 131072 characters, use .jsonl"
            raise InputError([Problem(name, reader.line_num, "", what, fix)]) from err
        except UnicodeDecodeError as err:
            raise InputError([not_utf8(name, None, err)]) from err
        finally:
            text.detach()


def _csv_objects(reader: csv.DictReader[str], name: str) -> Iterator[tuple[int, Row]]:
    header = list(reader.fieldnames or ())
    problems = _header_problems(header, name)
    if problems:
        raise InputError(problems)
    for number, row in enumerate(reader, 1):
        values = list(row.values())
        if len(row) == len(header) and None not in values:
            yield number, dict(row)
            continue
        found = "more" if len(row) > len(header) else f"{len(header) - values.count(None)}"
        what = f"expected {len(header)} values, as many as the header has, found {found}"
        fix = "quote values that hold commas, or complete the row"
        problems.append(Problem(name, reader.line_num, "", what, fix))
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise InputError(problems)


def _header_problems(header: list[str], name: str) -> list[Problem]:
    if not header:
        return [Problem(name, 1, "", "expected a header and rows, found an empty file", "write the column names first")]
    problems = []
    if any(not column.strip() for column in header):
        what = f"expected a name for each column, found none for column {header.index('') + 1 if '' in header else 1}"
        problems.append(Problem(name, 1, "", what, "name the column in the first line"))
    for column in sorted({c for c in header if header.count(c) > 1}):
        what = "expected each column once, found it again in the header"
        problems.append(Problem(name, 1, key(column), what, "rename one of them"))
    return problems


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as err:
        raise InputError([_needs_package(shown(path), "pyarrow")]) from err
    name = shown(path)
    with opened(path):  # names a missing or unreadable file in our words
        pass
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            yield from _checked(rows, name)
    except (pyarrow.ArrowException, OSError) as err:
        what = f"expected a parquet file; pyarrow says: {brief(str(err))}"
        raise InputError([Problem(name, None, "", what, "write or download the file again")]) from err


def _saved_dataset(path: Path, split: Json) -> Iterator[tuple[int, Row]]:
    name = shown(path)
    if not any((path / marker).is_file() for marker in ("state.json", "dataset_dict.json")):
        what = "expected a directory written by Dataset.save_to_disk, found another one"
        raise InputError([Problem(name, None, "", what, "name a file in it, or save the dataset with save_to_disk")])
    for file in sorted(path.rglob("*")):
        if file.is_file():
            note_read(file)
    datasets = _datasets(name)
    import pyarrow

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as err:
        what = f"expected a saved dataset; the datasets library says: {brief(str(err))}"
        raise InputError([Problem(name, None, "", what, "save the dataset again")]) from err
    if isinstance(dataset, datasets.DatasetDict):
        if split not in dataset:
            found = f"found {describe(split)}" if split else "found no choice"
            what = f"expected one of its splits {listed([key(s) for s in dataset], last='or')}, {found}"
            fix = f"write `split: ...`, or name the directory of one split ({name}/{next(iter(dataset), 'train')})"
            raise InputError([Problem(name, None, "", what, fix)])
        dataset = dataset[split]
    elif split is not None:
        what = f"expected no `split`: this dataset has none, found {describe(split)}"
        raise InputError([Problem(name, None, "split", what, "delete it")])
    yield from _checked(_arrow_rows(dataset), name)


def _hub_dataset(spec: Mapping[str, Json], here: tuple[str, int]) -> Iterator[tuple[int, Row]]:
    path, line = here
    datasets = _datasets(path)
    try:
        dataset = datasets.load_dataset(
            spec["dataset"], spec.get("name"), split=spec["split"], revision=spec["revision"]
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as err:
        what = f"expected the dataset {brief(spec['dataset'])}, but it cannot be loaded: {_reason(err)}"
        fix = "go online once to fill the cache, or save the split with save_to_disk and name that directory"
        raise InputError([Problem(path, line, "examples.dataset", what, fix)]) from err
    yield from _checked(_arrow_rows(dataset), spec["dataset"])


def _reason(err: Exception) -> str:
    """The first line of another library's message; offline says so."""
    text = (str(err).splitlines() or [""])[0]
    prefix = "no network; " if isinstance(err, ConnectionError) or "offline" in text.casefold() else ""
    return f"{prefix}{type(err).__name__} {brief(text)}"


def _arrow_rows(dataset: Any) -> Iterator[Row]:
    """Rows straight from arrow: no decoding of images or audio, whatever format the dataset was saved with."""
    for batch in dataset.with_format("arrow").iter(batch_size=1024):
        yield from batch.to_pylist()


def _datasets(name: str) -> Any:
    try:
        import datasets
    except ImportError as err:
        raise InputError([_needs_package(name, "datasets")]) from err
    return datasets


def _needs_package(name: str, package: str) -> Problem:
    what = f"expected the package {package}, which reads this, found none"
    return Problem(name, None, "", what, 'run `pip install "pytest-ftgate[data]"`, or use .jsonl')


def _checked(rows: Iterable[Row], name: str) -> Iterator[tuple[int, Row]]:
    """Number the rows and refuse values that strict JSON cannot hold (dates, bytes, NaN)."""
    problems: list[Problem] = []
    for number, row in enumerate(rows, 1):
        bad = [(column, odd) for column, value in row.items() if (odd := _not_json(value))]
        if not bad:
            yield number, row
            continue
        for column, odd in bad:
            what = f"row {number}: expected a text, a number, true, false, null, a list or an object, found {odd}"
            problems.append(Problem(name, None, key(column).strip("`"), what, "convert the column to text"))
        if len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise InputError(problems[:MAX_PROBLEMS])


def _not_json(value: Any) -> str:
    """What a value holds that JSON cannot, or ""."""
    if value is None or isinstance(value, bool | int | str):
        return ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else brief(value)
    if isinstance(value, list):
        return next((odd for item in value if (odd := _not_json(item))), "")
    if isinstance(value, dict):
        return next((odd for item in value.values() if (odd := _not_json(item))), "")
    return f"a {type(value).__name__}"
