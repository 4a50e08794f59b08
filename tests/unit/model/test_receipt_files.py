"""Which files of a candidate count, what is refused, and copies that are checked while they are made."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receipts import make_candidate

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.model import directory as files


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_candidate(tmp_path).path


def test_every_file_counts_but_a_few_that_no_loader_reads(adapter: Path) -> None:
    for name in ("README.md", "optimizer.pt", "receipt.intoto.json", ".git/config", "checkpoint-10/adapter_model.bin"):
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_text("x")
    counted = ("adapter_model.bin", "extra.txt", ".hidden", "sub/README.md", "sub/checkpoint-1/x", "readme.md.bin")
    for name in counted:
        (adapter / name).parent.mkdir(parents=True, exist_ok=True)
        (adapter / name).write_text("x")
    expected = sorted(["adapter_config.json", "adapter_model.safetensors", *counted])
    assert files.counted_files(adapter) == expected
    assert files.digests(adapter)["extra.txt"] == hashlib.sha256(b"x").hexdigest()


def test_the_hash_of_the_directory_is_one_that_coreutils_make(adapter: Path) -> None:
    (adapter / "README.md").unlink()
    (adapter / "sub").mkdir()
    (adapter / "sub" / "a b").write_text("x")
    command = "find . -type f -printf '%P\\0' | sort -z | xargs -0 sha256sum | sha256sum"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=adapter,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert files.dir_hash(files.digests(adapter)) == done.stdout.split()[0]


def test_the_hash_of_the_directory_covers_names() -> None:
    assert files.dir_hash({"a": "0" * 64}) != files.dir_hash({"b": "0" * 64})


def odd_entries(adapter: Path) -> dict[str, object]:
    return {
        "link": lambda: (adapter / "x").symlink_to("adapter_config.json"),
        "dangling link": lambda: (adapter / "x").symlink_to("nothing"),
        "link to a folder": lambda: (adapter / "x").symlink_to("/tmp"),
        "pipe": lambda: os.mkfifo(adapter / "x"),
        "newline": lambda: (adapter / "a\nb").write_text("x"),
        "escape": lambda: (adapter / "a\x1bb").write_text("x"),
        "backslash": lambda: (adapter / "a\\b").write_text("x"),
        "not utf-8": lambda: Path(os.fsdecode(os.fsencode(adapter) + b"/a\xff")).write_text("x"),
        "case": lambda: (adapter / "Adapter_Config.json").write_text("x"),
        "bidi": lambda: (adapter / "a\u202eb").write_text("x"),
    }


@pytest.mark.parametrize("kind", sorted(odd_entries(Path())))
def test_what_a_listing_cannot_say_without_doubt_is_refused(adapter: Path, kind: str) -> None:
    odd_entries(adapter)[kind]()  # type: ignore[operator]
    with pytest.raises(IdentityError, match="Fix: ") as error:
        files.counted_files(adapter)
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_sockets_are_refused(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(adapter)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("x")
        with pytest.raises(IdentityError, match="no regular file"):
            files.counted_files(adapter)


def test_names_that_differ_in_unicode_form_only_are_refused(adapter: Path) -> None:
    for form in ("NFC", "NFD"):
        (adapter / unicodedata.normalize(form, "caf\u00e9.txt")).write_text("x")
    with pytest.raises(IdentityError, match="one file on some file systems"):
        files.counted_files(adapter)


def test_odd_entries_among_what_is_ignored_do_not_matter(adapter: Path) -> None:
    (adapter / ".git").mkdir()
    (adapter / ".git" / "x").symlink_to("nothing")
    (adapter / "optimizer.pt").symlink_to("nothing")
    assert len(files.digests(adapter)) == 2


def test_a_file_that_becomes_a_link_after_it_was_listed(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (adapter / "x").symlink_to("adapter_config.json")
    monkeypatch.setattr(files, "counted_files", lambda _: ["x"])
    with pytest.raises(IdentityError, match="cannot read"):
        files.digests(adapter)


def test_a_file_that_becomes_a_pipe_does_not_hang(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(adapter / "x")
    monkeypatch.setattr(files, "counted_files", lambda _: ["x"])
    with pytest.raises(IdentityError, match="no regular file"):
        files.digests(adapter)


def test_a_copy_is_what_was_hashed(adapter: Path, tmp_path: Path) -> None:
    (adapter / "sub").mkdir()
    (adapter / "sub" / "x").write_text("x")
    found = files.copy(adapter, tmp_path / "there")
    assert found == files.digests(adapter) == files.digests(tmp_path / "there")
    assert not (tmp_path / "there" / "README.md").exists()


@given(
    st.lists(st.sampled_from(["a", "b", "..", ".", "", "x\n", "\u202e", "c d", "README.md"]), min_size=1, max_size=4)
)
def test_a_name_is_refused_or_stays_below_the_directory(parts: list[str]) -> None:
    name = "/".join(parts)
    if not files.name_problem(name):
        root = Path("/r")
        assert root in (root / name).parents
        assert (root / name).relative_to(root).as_posix() == name
