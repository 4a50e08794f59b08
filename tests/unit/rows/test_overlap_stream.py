"""Reading training rows: every format, broken rows, and agreement with pytest_ftgate.rows.reader."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.rows.overlap import Item, OverlapOptions, find_overlaps, leaks_exceed
from pytest_ftgate.rows.overlap.stream import as_sources, chunks
from pytest_ftgate.rows.reader import read_rows
from pytest_ftgate.rows.types import TrainingRow

CHAT = {
    "id": 7,
    "messages": [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "four"},
        {"role": "assistant", "content": "five"},
    ],
}
PAIR = {"prompt": "one two", "completion": "three", "score": 1.5}
LISTS = {"prompt": [{"role": "user", "content": "one"}], "completion": [{"role": "assistant", "content": "two"}]}


def read(*paths):
    found = [chunk.rows() for chunk in chunks(as_sources(paths))]
    places = [p for rows in found for p in rows.places]
    texts = [t for rows in found for t in zip(rows.inputs, rows.outputs, strict=True)]
    return places, texts, [str(p) for rows in found for p in rows.problems]


def write(path, *lines):
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines) + b"\n")
    return path


def test_rows_agree_with_read_rows(tmp_path):
    path = write(tmp_path / "a.jsonl", CHAT, b"", PAIR, b"  ", LISTS, {**PAIR, "messages": None})
    places, texts, problems = read(path)
    expected = list(read_rows(path))
    assert places == [(str(path), r.row) for r in expected]
    assert texts == [(r.input, r.output) for r in expected]
    assert texts[0] == ("one\ntwo\nfour", "three\nfive")
    assert problems == []


VALUES = st.sampled_from(
    ["", " ", "text", None, 1, [], [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}]]
    + [
        [{"role": "user", "content": "q"}, {"role": r, "content": c}]
        for r in ("assistant", "user", "tool")
        for c in ("", "a")
    ]
    + [
        [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a", "x": 1},
        ]
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["messages", "prompt", "completion", "text"]), VALUES))
def test_any_row_is_accepted_exactly_if_read_rows_accepts_it(tmp_path_factory, row):
    path = write(tmp_path_factory.mktemp("r") / "a.jsonl", PAIR, row)
    _, texts, problems = read(path)
    expected, refused = [], []
    try:
        for accepted in read_rows(path):
            expected.append((accepted.input, accepted.output))
    except InputError as err:
        refused = [str(p) for p in err.problems]
    assert texts == expected
    assert problems == refused


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt": "a", "completion": "b"',
        b'{"prompt": "a", "prompt": "c", "completion": "b"}',
        b'{"prompt": "a", "completion": "b", "x": NaN}',
        b'{"prompt": "a", "completion": "b", "x": 1e999}',
        b'{"prompt": "a", "completion": "b", "x": 99999999999999999999}',
        b'{"prompt": "a\\ud800", "completion": "b"}',
        b'{"prompt": "a", "completion": "b"} {}',
        b'{"prompt": "a", "completion": "' + b"\xff" + b'"}',
        b'{"prompt": "a", "completion": "b", "x": ' + b"[" * 80 + b"]" * 80 + b"}",
        b"[1, 2]",
    ],
)
def test_a_broken_row_is_named_and_counted_and_others_are_read(tmp_path, line):
    path = write(tmp_path / "a.jsonl", PAIR, line, PAIR)
    _, texts, problems = read(path)
    assert len(texts) == 2
    assert len(problems) == 1
    assert "a.jsonl:2:" in problems[0]
    with pytest.raises(InputError):
        list(read_rows(path))


def test_an_overlong_line_is_one_broken_row(tmp_path):
    path = write(tmp_path / "a.jsonl", PAIR, b'{"prompt": "' + b"x" * (5 * 2**20) + b'"}', PAIR)
    places, _, problems = read(path)
    assert [row for _, row in places] == [1, 3]
    assert len(problems) == 1
    assert "4 MiB" in problems[0]


def test_broken_rows_fail_the_gate_unless_allowed(tmp_path):
    path = write(tmp_path / "a.jsonl", *[PAIR] * 30, b"{", b"{")
    items = [Item("a", "something else", None)]
    report = find_overlaps(items, [path])
    assert (report.n_rows, report.n_broken, report.is_judged) == (32, 2, False)
    assert [p.line for p in report.broken_rows] == [31, 32]
    assert leaks_exceed(report, bound=1000)
    allowed = find_overlaps(items, [path], options=OverlapOptions(allow_broken_rows=True))
    assert not leaks_exceed(allowed, bound=0)


def rows_of(*pairs):
    return [
        TrainingRow("t", i, (Message("user", a), Message("assistant", b)), "messages")
        for i, (a, b) in enumerate(pairs, 1)
    ]


QUESTION = "which of the seven wooden boats in the harbour was painted last by the old man with the red cap"


def formats(directory):
    rows = [{"prompt": f"{QUESTION} {i}" if i == 3 else f"text {i}", "completion": str(i)} for i in range(5)]
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    (directory / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines)
    (directory / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (directory / "a.json").write_text(json.dumps(rows))
    (directory / "a.csv").write_text(
        "prompt,completion\n" + "".join(f'"{r["prompt"]}",{r["completion"]}\n' for r in rows)
    )
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, directory / "a.parquet")
    with pyarrow.CompressedOutputStream(str(directory / "a.jsonl.zst"), "zstd") as stream:
        stream.write(lines)


def test_every_format_gives_the_same_findings(tmp_path):
    formats(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) >= 4
    for path in files:
        report = find_overlaps([Item("it", QUESTION, None)], [path])
        (leak,) = report.leaks
        assert (leak.class_, leak.file, leak.row) == ("near", str(path), 4), path.name
        assert report.n_rows == 5


def test_a_saved_dataset_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([PAIR, {"prompt": QUESTION, "completion": "x", "score": 0.0}]).save_to_disk(
        tmp_path / "d"
    )
    (leak,) = find_overlaps([Item("it", QUESTION, None)], [tmp_path / "d"]).leaks
    assert (leak.class_, leak.row) == ("exact", 2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b""),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"', mtime=0)[:-9]),
        ("a.txt", b"x"),
        ("a.csv.gz", b"x"),
    ],
    ids=["empty", "cut_off", "no_rows", "no_gzip"],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_overlaps([Item("it", QUESTION, None)], [tmp_path / name])
    assert name in str(caught.value)
    with pytest.raises(InputError):
        find_overlaps([Item("it", QUESTION, None)], [tmp_path / "missing.jsonl"])


def test_one_path_alone_is_refused():
    with pytest.raises(TypeError, match=r"write \[path\]"):
        find_overlaps([], "train.jsonl")


def test_rows_in_memory_may_come_from_a_generator():
    report = find_overlaps([Item("it", QUESTION, None)], (r for r in rows_of((QUESTION, "a"))))
    assert len(report.leaks) == 1
