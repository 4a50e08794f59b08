"""`ftgate cache`, and the cap on what is stored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ftgate.cache_command import main
from pytest_ftgate.store import Store, side_files, trim
from pytest_ftgate.types import Generation


def stored(root: Path, side: str, count: int, *, age: float = 0.0) -> Path:
    store = Store(root, side * 64)
    store.append((f"key{i}", Generation(f"text {i}", (1, 2), "stop", 3)) for i in range(count))
    path = root / "v1" / f"{side * 64}.jsonl"
    then = path.stat().st_mtime - age
    os.utime(path, (then, then))
    return path


def test_info_counts_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored(tmp_path, "a", 5)
    stored(tmp_path, "b", 7, age=3 * 86_400)
    assert main(["info", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["aaaaaaaaaaaa", "5", "0", "0.0", "today"]
    assert lines[3].split() == ["bbbbbbbbbbbb", "7", "0", "0.0", "3", "days", "ago"]
    assert lines[-1].startswith("2 sides")


def test_verify_finds_a_changed_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stored(tmp_path, "a", 5)
    assert main(["verify", "--root", str(tmp_path)]) == 0
    path.write_bytes(path.read_bytes().replace(b"text 3", b"text 4"))
    assert main(["verify", "--root", str(tmp_path)]) == 1
    assert "1 lines fail their checksum" in capsys.readouterr().out


def test_clear_removes_only_what_is_old(tmp_path: Path) -> None:
    new, old = stored(tmp_path, "a", 5), stored(tmp_path, "b", 7, age=3 * 86_400)
    assert main(["clear", "--root", str(tmp_path), "--older-than", "2"]) == 0
    assert (new.exists(), old.exists()) == (True, False)
    assert main(["clear", "--root", str(tmp_path)]) == 0
    assert list((tmp_path / "v1").iterdir()) == []


def test_no_such_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--root", str(tmp_path / "none")]) == 4
    assert "expected a folder with stored generations" in capsys.readouterr().err


def test_the_cap_removes_what_was_used_longest_ago(tmp_path: Path) -> None:
    oldest, older, newest = (stored(tmp_path, side, 50, age=age) for side, age in (("a", 300), ("b", 200), ("c", 100)))
    most = newest.stat().st_size + older.stat().st_size
    assert trim(tmp_path, most) == 1
    assert [path.exists() for path in (oldest, older, newest)] == [False, True, True]
    assert trim(tmp_path, most) == 0


def test_reading_is_a_use(tmp_path: Path) -> None:
    read, other = stored(tmp_path, "a", 5, age=300), stored(tmp_path, "b", 5, age=100)
    Store(tmp_path, "a" * 64).load()
    assert [file.path for file in side_files(tmp_path)] == [read, other]
