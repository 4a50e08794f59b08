"""Digests of the base are remembered; no memory, however odd, makes another base look like this one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_ftgate.files import digests
from pytest_ftgate.model import base_digests as basecache
from pytest_ftgate.model.base_digests import Memory, base_digests

KEY = bytes(32)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setattr(basecache, "SETTLED_NS", -(10**12))  # files of a test are always young
    return Memory(tmp_path / ".ftgate" / "base-digests.json", KEY)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    seen: list[str] = []

    def read(path: Path) -> str:
        seen.append(path.name)
        return digests.file_sha256(path)

    monkeypatch.setattr(basecache, "file_sha256", read)
    return seen


def test_the_second_run_reads_nothing(base: Path, cache: Memory, reads: list[str]) -> None:
    first = base_digests(base, cache)
    assert reads == ["config.json", "model.safetensors"]
    assert base_digests(base, cache) == first == digests.base_digests(base)
    assert len(reads) == 2


def test_a_changed_file_is_read_even_with_its_old_time(base: Path, cache: Memory, reads: list[str]) -> None:
    base_digests(base, cache)
    path = base / "model.safetensors"
    before = path.stat()
    path.write_text("MODEL.SAFETENSORS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert base_digests(base, cache) == digests.base_digests(base)
    assert reads[2:] == ["model.safetensors"]


def test_a_file_put_in_its_place_is_read(base: Path, cache: Memory, reads: list[str], tmp_path: Path) -> None:
    base_digests(base, cache)
    (tmp_path / "new").write_text("MODEL.SAFETENSORS")
    os.replace(tmp_path / "new", base / "model.safetensors")
    assert base_digests(base, cache) == digests.base_digests(base)


def test_a_link_to_another_blob_is_read(base: Path, cache: Memory, tmp_path: Path) -> None:
    """F37: the hub cache moves on by changing links."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").symlink_to(base / "config.json")
    first = base_digests(snapshot, cache)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(base / "model.safetensors")
    second = base_digests(snapshot, cache)
    assert first != second == digests.base_digests(snapshot)


def test_rehash_does_not_believe_the_memory(base: Path, cache: Memory, reads: list[str]) -> None:
    good = base_digests(base, cache)
    assert base_digests(base, cache, rehash=True) == good
    assert len(reads) == 4
    assert base_digests(base, cache) == good
    assert len(reads) == 4


def test_s4_a_digest_that_another_hand_wrote_is_not_believed(base: Path, cache: Memory, reads: list[str]) -> None:
    good = base_digests(base, cache)
    theirs = Memory(cache.path, b"other" * 8)
    content = json.loads(cache.path.read_text())
    forged = {**content, "files": {p: [*e[:-2], "0" * 64, e[-1]] for p, e in content["files"].items()}}
    swapped = {**content, "files": dict(zip(content["files"], reversed(content["files"].values()), strict=True))}
    for text in (json.dumps(forged), json.dumps(swapped)):
        cache.path.write_text(text)
        assert base_digests(base, cache) == good
    cache.path.unlink()
    base_digests(base, theirs)
    read = len(reads)
    assert base_digests(base, cache) == good
    assert len(reads) == read + 2


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 1}', '{"version": 2, "files": []}', '{"version": 1, "files": {}}', '{"a": NaN}'],
)
def test_an_odd_memory_is_none(base: Path, cache: Memory, text: str) -> None:
    cache.path.parent.mkdir()
    cache.path.write_text(text)
    assert base_digests(base, cache) == digests.base_digests(base)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        [1, 2, 3, 4, 5, "x"],
        [True, 1, 1, 1, 1, "0" * 64, "0" * 64],
        [1, 1, 1, 1, 1, "0" * 64, "\ud800"],
        "0" * 64,
    ],
)
def test_odd_entries_are_none(base: Path, cache: Memory, entry: object) -> None:
    cache.path.parent.mkdir()
    cache.path.write_text(json.dumps({"version": 2, "files": {str(base / "config.json"): entry}}))
    assert base_digests(base, cache) == digests.base_digests(base)


def test_what_cannot_be_remembered_is_read_again(base: Path, tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert base_digests(base, Memory(tmp_path / "file" / "cache.json", KEY)) == digests.base_digests(base)
    assert len(reads) == 4


def test_a_file_that_was_just_written_is_not_remembered(base: Path, tmp_path: Path, reads: list[str]) -> None:
    cache = Memory(tmp_path / "cache.json", KEY)
    base_digests(base, cache)
    assert not cache.path.exists()
    base_digests(base, cache)
    assert len(reads) == 4
