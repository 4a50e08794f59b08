"""Digests of the base are remembered; no memory, however odd, makes another base look like this one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_ftgate.files import digests
from pytest_ftgate.model import base_digests as basecache
from pytest_ftgate.model.base_digests import base_digests


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(basecache, "SETTLED_NS", -(10**12))  # files of a test are always young
    return tmp_path / ".ftgate" / "base-digests.json"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    seen: list[str] = []

    def read(path: Path) -> str:
        seen.append(path.name)
        return digests.file_sha256(path)

    monkeypatch.setattr(basecache, "file_sha256", read)
    return seen


def test_the_second_run_reads_nothing(base: Path, cache: Path, reads: list[str]) -> None:
    first = base_digests(base, cache)
    assert reads == ["config.json", "model.safetensors"]
    assert base_digests(base, cache) == first == digests.base_digests(base)
    assert len(reads) == 2


def test_a_changed_file_is_read_even_with_its_old_time(base: Path, cache: Path, reads: list[str]) -> None:
    base_digests(base, cache)
    path = base / "model.safetensors"
    before = path.stat()
    path.write_text("MODEL.SAFETENSORS")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert base_digests(base, cache) == digests.base_digests(base)
    assert reads[2:] == ["model.safetensors"]


def test_a_file_put_in_its_place_is_read(base: Path, cache: Path, reads: list[str], tmp_path: Path) -> None:
    base_digests(base, cache)
    (tmp_path / "new").write_text("MODEL.SAFETENSORS")
    os.replace(tmp_path / "new", base / "model.safetensors")
    assert base_digests(base, cache) == digests.base_digests(base)


def test_a_link_to_another_blob_is_read(base: Path, cache: Path, tmp_path: Path) -> None:
    """F37: the hub cache moves on by changing links."""
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").symlink_to(base / "config.json")
    first = base_digests(snapshot, cache)
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").symlink_to(base / "model.safetensors")
    second = base_digests(snapshot, cache)
    assert first != second == digests.base_digests(snapshot)


def test_rehash_does_not_believe_the_memory_and_corrects_it(base: Path, cache: Path, reads: list[str]) -> None:
    good = base_digests(base, cache)
    content = json.loads(cache.read_text())
    for entry in content["files"].values():
        entry[-1] = "0" * 64
    cache.write_text(json.dumps(content))
    assert base_digests(base, cache) != good  # what --ft-rehash is for
    assert base_digests(base, cache, rehash=True) == good
    assert base_digests(base, cache) == good


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"version": 1}', '{"version": 1, "files": []}', '{"version": 2, "files": {}}', '{"a": NaN}'],
)
def test_an_odd_memory_is_none(base: Path, cache: Path, text: str) -> None:
    cache.parent.mkdir()
    cache.write_text(text)
    assert base_digests(base, cache) == digests.base_digests(base)


@pytest.mark.parametrize("entry", [None, [], [1, 2, 3, 4, 5, "x"], [True, 1, 1, 1, 1, "0" * 64], "0" * 64])
def test_odd_entries_are_none(base: Path, cache: Path, entry: object) -> None:
    cache.parent.mkdir()
    cache.write_text(json.dumps({"version": 1, "files": {str(base / "config.json"): entry}}))
    assert base_digests(base, cache) == digests.base_digests(base)


def test_what_cannot_be_remembered_is_read_again(base: Path, tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert base_digests(base, tmp_path / "file" / "cache.json") == digests.base_digests(base)
    assert len(reads) == 4


def test_a_file_that_was_just_written_is_not_remembered(base: Path, tmp_path: Path, reads: list[str]) -> None:
    cache = tmp_path / "cache.json"
    base_digests(base, cache)
    assert not cache.exists()
    base_digests(base, cache)
    assert len(reads) == 4
