"""`pytest-ftgate cache`, and the cap on what is stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ftgate.answers import store as storing
from pytest_ftgate.answers.store import SCHEMA, Store, side_files, trim
from pytest_ftgate.commands.cache import main
from pytest_ftgate.files.own_key import own_key
from pytest_ftgate.results import Generation


def key() -> bytes:
    secret = own_key(Path.cwd()).secret
    assert secret is not None
    return secret


def stored(root: Path, side: str, count: int, *, age: float = 0.0) -> Path:
    store = Store(root, side * 64, key())
    store.append((f"key{i}", Generation(f"text {i}", (1, 2), "stop", 3)) for i in range(count))
    path = root / SCHEMA / f"{side * 64}.jsonl"
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
    assert "1 line is not sound" in capsys.readouterr().out


def test_clear_removes_only_what_is_old(tmp_path: Path) -> None:
    new, old = stored(tmp_path, "a", 5), stored(tmp_path, "b", 7, age=3 * 86_400)
    assert main(["clear", "--root", str(tmp_path), "--older-than", "2"]) == 0
    assert (new.exists(), old.exists()) == (True, False)
    assert main(["clear", "--root", str(tmp_path)]) == 0
    assert list((tmp_path / SCHEMA).iterdir()) == []


def test_files_of_others_are_neither_counted_nor_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / SCHEMA / "train.jsonl"
    rows.parent.mkdir()
    rows.write_text("{}\n")
    for action in ("info", "verify", "clear"):
        assert main([action, "--root", str(tmp_path)]) == 0
        assert capsys.readouterr().out == f"nothing is stored in {tmp_path}\n"
    trim(tmp_path, 0)
    assert rows.read_text() == "{}\n"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["info", "--older-than", "5"], "--older-than is for clear; info looks at everything"),
        (["clear", "--older-than", "x"], "expected a number of days, 0 or more, found 'x'"),
        (["clear", "--older-than", "-1"], "expected a number of days, 0 or more, found '-1'"),
    ],
)
def test_options_that_mean_nothing_are_refused(args: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="4"):
        main(args)
    assert told in capsys.readouterr().err


def test_a_file_that_another_process_holds_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storing, "LOCK_SECONDS", 0.2)
    path = stored(tmp_path, "a", 5)
    holding = "import sys, filelock as f; x = f.FileLock(sys.argv[1]); x.acquire(); print('', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", holding, f"{path}.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        other.stdout.readline()
        assert main(["clear", "--root", str(tmp_path)]) == 4
        assert "cannot be removed: another process holds it" in capsys.readouterr().err
        store = Store(tmp_path, "a" * 64, key())
        store.append([("new", Generation("text", (1,), "stop", 3))])
        assert (store.unsaved, len(store.load())) == (1, 5)
        other.communicate("\n")


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
    Store(tmp_path, "a" * 64, key()).load()
    assert [file.path for file in side_files(tmp_path, key())] == [read, other]


def test_without_a_key_no_line_counts_as_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, "a", 2)
    monkeypatch.setenv("CI", "1")
    assert main(["verify", "--root", str(tmp_path)]) == 1
    assert "no line can be authenticated here, and none is used: the environment variable CI is set" in (
        capsys.readouterr().out
    )
