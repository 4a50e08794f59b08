"""The ledger file: whatever is done to it by hand is seen, and nothing is ever repaired."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_ftgate.trust.attempts.ledger import Entry, Ledger, append_entries, begin_ledger, read_ledger

LINES = 5
"""In `written`: how it was begun, and four attempts."""


def entry(number: int = 1, **changes: Any) -> Entry:
    given: dict[str, Any] = {
        "evalset": "tickets",
        "examples": "e" * 64,
        "n": 2,
        "sketch": ("aaaaaaaaaaaa", "bbbbbbbbbbbb"),
        "content": "c" * 64,
        "gates": "d" * 64,
        "candidate": f"{number:064d}",
        "form": ("auto", "none"),
        "index": number,
        "spend": "none",
        "alpha": 0.05,
        "feedback": "full",
        "outcomes": {"accuracy": "PASS"},
    }
    return Entry(**{**given, **changes})


def add(root: Path, *entries: Entry) -> Ledger:
    return append_entries(root, lambda _: entries)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    begin_ledger(tmp_path)
    for index in range(1, LINES):
        add(tmp_path, entry(index))
    return tmp_path


def ledger(root: Path) -> Path:
    return root / ".ftgate" / "ledger.jsonl"


def head(root: Path) -> Path:
    return root / ".ftgate" / "ledger.head"


def lines(root: Path) -> list[bytes]:
    return ledger(root).read_bytes().splitlines(keepends=True)


def rewrite(root: Path, kept: Sequence[bytes]) -> None:
    ledger(root).write_bytes(b"".join(kept))


def test_what_was_written_is_read(written: Path) -> None:
    found = read_ledger(written)
    assert found.problem == ""
    assert [e.index for e in found.entries] == [1, 2, 3, 4]
    assert found.entries[0] == entry(1, time=found.entries[0].time)
    assert json.loads(head(written).read_text()) == {"count": LINES, "sha256": found.hashes[-1]}


def test_where_nothing_was_written_there_is_nothing_to_doubt(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == Ledger()
    assert not (tmp_path / ".ftgate").exists()
    assert begin_ledger(tmp_path).is_new
    again = begin_ledger(tmp_path)
    assert (again.is_new, again.problem, len(again.hashes)) == (False, "", 1)


@pytest.mark.parametrize("place", range(LINES))
@pytest.mark.parametrize(
    "damage",
    [
        lambda found, i: [*found[:i], found[i].replace(b'"kind"', b' "kind"'), *found[i + 1 :]],
        lambda found, i: [*found[:i], found[i].replace(b"1", b"2", 1), *found[i + 1 :]],
        lambda found, i: [*found[:i], *found[i + 1 :]],
        lambda found, i: [*found[:i], b"\n", *found[i:]],
        lambda found, i: [*found[:i], found[i], found[i], *found[i + 1 :]],
        lambda found, i: [*found[:i], *reversed(found[i : i + 2]), *found[i + 2 :]],
        lambda found, i: found[:i],
        lambda found, i: [*found[:i], found[i][: len(found[i]) // 2]],
        lambda found, i: [*found[:i], found[i][:-1]],
        lambda found, i: [*found[:i], b"\xff\xfe" + found[i], *found[i + 1 :]],
    ],
    ids=["blank", "digit", "removed", "empty_line", "doubled", "swapped", "rewound", "cut", "no_newline", "bytes"],
)
def test_a_line_that_was_touched_is_reported(
    written: Path, place: int, damage: Callable[[list[bytes], int], list[bytes]]
) -> None:
    before = lines(written)
    after = damage(before, place)
    rewrite(written, after)
    if after == before:  # the last line has none to be swapped with
        assert read_ledger(written).problem == ""
        return
    assert "ledger" in read_ledger(written).broken
    # What is judged meanwhile is still written down, and heals nothing; but where only the last newline was lost,
    # nothing needs to be healed.
    add(written, entry(9))
    assert read_ledger(written).broken or b"".join(after) == b"".join(before)[:-1]
    assert 9 in [e.index for e in read_ledger(written).entries]


@pytest.mark.parametrize(
    "text",
    [None, "", "{}", "[]", '{"count": 0, "sha256": ""}', '{"count": 3.0, "sha256": "x"}', '{"count": 5}', "\x00"],
)
def test_a_head_that_is_missing_or_damaged_is_reported(written: Path, text: str | None) -> None:
    if text is None:
        head(written).unlink()
    else:
        head(written).write_text(text)
    assert "ledger.head" in read_ledger(written).broken
    add(written, entry(9))
    assert read_ledger(written).broken


def test_a_rewound_ledger_is_not_healed_by_new_attempts(written: Path) -> None:
    rewrite(written, lines(written)[:2])
    for index in range(2, 8):
        add(written, entry(index, candidate="another"))
    assert "is not the one in" in read_ledger(written).broken


def test_a_ledger_that_was_removed_is_reported_for_good(written: Path) -> None:
    ledger(written).unlink()
    assert "is missing" in begin_ledger(written).problem
    add(written, entry(1))
    assert read_ledger(written).problem
    head(written).unlink()  # the line that began it anew remembers
    assert read_ledger(written).problem


def test_answers_without_a_ledger_are_reported_for_good(tmp_path: Path) -> None:
    store = tmp_path / ".ftgate" / "cache" / "v3" / "x.jsonl"
    store.parent.mkdir(parents=True)
    store.write_text("")
    assert "holds answers of earlier runs" in begin_ledger(tmp_path).doubt
    found = add(tmp_path, entry(1))
    assert (found.broken, bool(found.doubt)) == ("", True)
    rewrite(tmp_path, lines(tmp_path)[:1])  # the head goes on counting
    assert read_ledger(tmp_path).broken


def test_a_crash_between_line_and_head_is_no_problem(written: Path) -> None:
    old = head(written).read_bytes()
    add(written, entry(5))
    head(written).write_bytes(old)
    assert read_ledger(written).problem == ""
    assert add(written, entry(6)).problem == ""


@pytest.mark.parametrize(
    "change",
    [{"index": 0}, {"index": True}, {"alpha": 1}, {"n": -1}, {"sketch": "x"}, {"outcomes": {"accuracy": "MAYBE"}}],
)
def test_a_line_of_another_shape_is_no_attempt(written: Path, change: dict[str, Any]) -> None:
    found = add(written, entry(5, **change))
    assert "is not an attempt" in found.broken
    assert [e.index for e in found.entries] == [1, 2, 3, 4]


def test_a_ledger_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / ".ftgate").write_text("a file where a folder is wanted")
    assert read_ledger(tmp_path) == Ledger()
    with pytest.raises(OSError):
        add(tmp_path, entry(1))


PROGRAM = """
import sys
from pathlib import Path
from test_ledger import add, entry
for _ in range(15):
    add(Path(sys.argv[1]), entry(1))
"""


def test_two_processes_write_one_chain(tmp_path: Path) -> None:
    begin_ledger(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=Path(__file__).parent) for _ in range(2)]
    assert [p.wait(timeout=120) for p in running] == [0, 0]
    found = read_ledger(tmp_path)
    assert (found.problem, len(found.entries)) == ("", 30)


def test_s12_only_a_run_that_says_so_begins_a_ledger_for_sets_that_share_alpha(tmp_path: Path) -> None:
    begin_ledger(tmp_path)
    add(tmp_path, entry(1))
    assert not read_ledger(tmp_path).declared  # an attempt that spent nothing proves nothing
    assert not begin_ledger(tmp_path, declared=True).declared  # as found; from here on it is
    assert (read_ledger(tmp_path).declared, read_ledger(tmp_path).problem) == (True, "")
    assert begin_ledger(tmp_path, declared=True).hashes == read_ledger(tmp_path).hashes


def test_s12_a_declaration_heals_no_doubt(written: Path) -> None:
    ledger(written).unlink()
    begin_ledger(written, declared=True)
    assert read_ledger(written).problem
