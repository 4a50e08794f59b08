"""Training rows: three accepted shapes, everything else refused with file, line and fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.problems import Problem, TrainingDataError
from pytest_ftgate.rows.overlap import Item, find_overlaps
from pytest_ftgate.rows.reader import read_rows
from pytest_ftgate.rows.types import TrainingRow

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]


def write(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problem(tmp_path: Path, row: object) -> Problem:
    with pytest.raises(TrainingDataError) as caught:
        list(read_rows(write(tmp_path, row)))
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def test_the_three_shapes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"messages": CHAT, "id": 7},
        {"prompt": CHAT[:2], "completion": CHAT[2:]},
        {"prompt": "q", "completion": "c", "messages": None},
    )
    turns = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"))
    assert list(read_rows(str(path))) == [
        TrainingRow(str(path), 1, turns, "messages"),
        TrainingRow(str(path), 2, turns, "prompt_completion"),
        TrainingRow(str(path), 3, (Message("user", "q"), Message("assistant", "c")), "text_completion"),
    ]


@pytest.mark.parametrize(
    ("row", "key", "part"),
    [
        ({"text": "a"}, "", "one text"),
        ({"chosen": "a", "rejected": "b"}, "", "a preference pair without its prompt"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "completion": "c"}, "", "found `chosen`, `completion`"),
        ({"prompt": "q", "chosen": "a", "rejected": " "}, "rejected", "blank"),
        ({"prompt": "q", "chosen": 3, "rejected": "a"}, "chosen", "number 3"),
        ({"prompt": CHAT[:2], "chosen": CHAT[2:], "rejected": CHAT[:2]}, "rejected", "only assistant"),
        ({"conversations": []}, "", "ShareGPT"),
        ({"instruction": "a", "input": "", "output": "b"}, "", "Alpaca"),
        ({"a": 1}, "", "found `a`"),
        ({}, "", "no values"),
        ({"messages": CHAT, "prompt": "x"}, "", "found `messages` and `prompt`"),
        ({"messages": []}, "messages", "an empty list"),
        ({"messages": "u"}, "messages", "found the text"),
        ({"messages": CHAT[:2]}, "messages", "answer last"),
        ({"messages": CHAT[2:]}, "messages", "user message"),
        ({"messages": [*CHAT, CHAT[0]]}, "messages", "first place"),
        ({"messages": [{"role": "human", "content": "x"}]}, "messages", "'human'"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages", "role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages", "blank"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages", "number 3"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}, "messages", "`tool_calls`"),
        ({"messages": ["x"]}, "messages", "message 1"),
        ({"prompt": "a", "completion": " "}, "completion", "blank"),
        ({"prompt": "a", "completion": 3}, "completion", "number 3"),
        ({"prompt": CHAT[:2], "completion": "a"}, "prompt", "in the same form"),
        ({"prompt": CHAT, "completion": CHAT[2:]}, "prompt", "user message last"),
        ({"prompt": CHAT[:2], "completion": CHAT[1:]}, "completion", "only assistant"),
        ({"prompt": "a"}, "", "found `prompt`"),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, row: object, key: str, part: str) -> None:
    found = problem(tmp_path, row)
    assert (found.line, found.key) == (1, key)
    assert part in str(found)


def test_preference_pairs(tmp_path: Path) -> None:
    other = (Message("assistant", "b"),)
    path = write(
        tmp_path,
        {"prompt": "q", "chosen": "a", "rejected": "b", "score": 1},
        {"prompt": CHAT[:2], "chosen": CHAT[2:], "rejected": [{"role": "assistant", "content": "b"}]},
    )
    text, chat = read_rows(path)
    assert (text.form, text.input, text.output, text.rejected) == ("text_completion", "q", "a", other)
    assert (chat.form, chat.input, chat.output, chat.rejected) == ("prompt_completion", "u", "a", other)


def test_the_overlap_engine_reads_preference_pairs(tmp_path: Path) -> None:
    question = "how do i get my money back from the shop in the old town before the end of this month"
    path = write(tmp_path, {"prompt": question, "chosen": "here", "rejected": "there"})
    (leak,) = find_overlaps([Item("e1", question, "here")], [path]).leaks
    assert (leak.example_id, leak.row, leak.where) == ("e1", 1, "input+output")
    (leak,) = find_overlaps([Item("e1", question, "there")], [path]).leaks
    assert leak.label_conflict


def test_the_overlap_engine_refuses_what_is_both_a_pair_and_a_row(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"prompt": "q", "completion": "c", "chosen": "a", "rejected": "b"}, {"prompt": "q", "completion": "c"}
    )
    report = find_overlaps([Item("e1", "q", "c")], [path])
    assert (report.n_broken, report.is_judged) == (1, False)


def test_problems_of_rows_and_of_lines_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "q", "completion": "c"}, {"text": "x"})
    path.write_text(path.read_text() + '{"a":1,"a":2}\n')
    seen: list[int] = []
    with pytest.raises(TrainingDataError) as caught:
        seen.extend(row.row for row in read_rows(path))
    assert seen == [1]
    assert [p.line for p in caught.value.problems] == [2, 3]


def test_many_problems_stop_the_reading(tmp_path: Path) -> None:
    with pytest.raises(TrainingDataError) as caught:
        list(read_rows(write(tmp_path, *[{"text": "x"}] * 100)))
    assert len(caught.value.problems) == 20


@pytest.mark.parametrize("name", ["train.txt", "missing.jsonl", "empty.jsonl"])
def test_files_that_hold_no_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.txt").write_text("x")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(TrainingDataError, match="Fix: "):
        list(read_rows(tmp_path / name))


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion\nq1,c1\n'q2',\"c,2\"\n")
    (tmp_path / "a.json").write_text(json.dumps([{"messages": CHAT}]))
    assert [(r.row, r.input, r.output) for r in read_rows(tmp_path / "a.csv")] == [(1, "q1", "c1"), (2, "'q2'", "c,2")]
    assert [r.form for r in read_rows(tmp_path / "a.json")] == ["messages"]
