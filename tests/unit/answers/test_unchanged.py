"""Whether files are still the ones that were hashed, and what the stage stores where they are not."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from countingengine import KEY, CountingEngine, stage, work
from gateproject import Project

from pytest_ftgate.answers import side as asking
from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.store import Store
from pytest_ftgate.errors import IdentityError
from pytest_ftgate.files import digests
from pytest_ftgate.files.hashed_files import Hashed
from pytest_ftgate.model import base_digests as basecache
from pytest_ftgate.model.base_digests import base_digests
from pytest_ftgate.model.identity import Candidate, resolve_base
from pytest_ftgate.results import Generation

WEIGHTS = "model.safetensors"
TICK = 0.05
"""Seconds in which the file system's clock has surely gone on."""

# -- what shows --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A snapshot as in the hub cache: one file lies there, the other is a link."""
    made = tmp_path / "base"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (tmp_path / "blob").write_text("weights")
    (tmp_path / "another").write_text("WEIGHTS")
    (made / WEIGHTS).symlink_to("../blob")
    time.sleep(TICK)
    return made


def hashed(folder: Path) -> Hashed:
    return Hashed.read(folder, digests.BASE_PATTERNS, lambda: base_digests(folder, None))


def in_place(folder: Path) -> None:
    path = folder / "config.json"
    before = path.stat()
    path.write_text("[]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(folder: Path) -> None:
    (folder / "new").write_text("[]")
    (folder / "new").rename(folder / "config.json")


def replaced_and_put_back(folder: Path) -> None:
    (folder / "config.json").rename(folder / "aside")
    (folder / "config.json").write_text("[]")
    (folder / "aside").replace(folder / "config.json")


def link_turned_and_back(folder: Path) -> None:
    for target in ("../another", "../blob"):
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to(target)


def blob_written(folder: Path) -> None:
    (folder.parent / "blob").write_text("WEIGHTS")


def touched(folder: Path) -> None:
    (folder / "config.json").touch()


def gone(folder: Path) -> None:
    (folder / "config.json").unlink()


def one_more(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def all_gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (in_place, "config.json"),
        (replaced, "config.json"),
        (replaced_and_put_back, "config.json"),
        (link_turned_and_back, WEIGHTS),
        (blob_written, WEIGHTS),
        (touched, "config.json"),
        (gone, "config.json"),
        (one_more, "tokenizer.json"),
        (all_gone, "base"),
    ],
)
def test_a_changed_file_is_named(folder: Path, change: Callable[[Path], None], name: str) -> None:
    found = hashed(folder)
    assert found.changed() == found.changed(folders=True) == ""
    change(folder)
    assert found.changed() == found.changed(folders=True) == name


def came_and_went(folder: Path) -> None:
    one_more(folder)
    (folder / "tokenizer.json").unlink()


def moved_and_back(folder: Path) -> None:
    folder.rename(folder.parent / "away")
    (folder.parent / "away").rename(folder)


@pytest.mark.parametrize("change", [came_and_went, moved_and_back])
def test_what_leaves_no_trace_on_a_file_shows_on_its_folder(folder: Path, change: Callable[[Path], None]) -> None:
    found = hashed(folder)
    change(folder)
    assert found.changed() == ""
    assert found.changed(folders=True) == "base/"


def test_files_that_do_not_count_may_come_while_a_loaded_model_answers(folder: Path) -> None:
    found = hashed(folder)
    (folder / "README.md").write_text("no matter")
    assert found.changed() == ""


def test_a_change_while_hashing_shows(folder: Path) -> None:
    def read() -> dict[str, str]:
        found = base_digests(folder, None)
        in_place(folder)
        return found

    assert Hashed.read(folder, digests.BASE_PATTERNS, read).changed() == "config.json"


@pytest.mark.parametrize("rehash", [False, True])
def test_a_remembered_digest_stands_for_the_file_that_lies_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehash: bool
) -> None:
    monkeypatch.setattr(basecache, "SETTLED_NS", -(10**12))  # files of a test are always young
    base = Candidate(folder, "base", folder, None, False, basecache.Memory(tmp_path / "cache.json", bytes(32)))
    honest = base.digest(tuned=False)
    base.check_unchanged()
    replaced(folder)
    with pytest.raises(IdentityError, match=r"files of the base changed while they were being used: config\.json"):
        base.check_unchanged()
    later = Candidate(folder, "base", folder, None, False, basecache.Memory(tmp_path / "cache.json", bytes(32)), rehash)
    assert later.digest(tuned=False) != honest
    later.check_unchanged()


def test_asking_reads_no_file_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = project.world.candidate()
    candidate.check_unchanged()

    def fail(*_: object) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(digests, "file_sha256", fail)
    monkeypatch.setattr(basecache, "file_sha256", fail)
    for _ in range(3):
        candidate.check_unchanged(while_loading=True)
    assert len(candidate.digest(tuned=True)) == 64


# -- the stage ---------------------------------------------------------------------------------------------------------


class Ending(CountingEngine):
    """Calls something after some answers."""

    def __init__(self, after: int, then: Callable[[], None]) -> None:
        super().__init__()
        self._after, self._then = after, then

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        for made, found in enumerate(super().generate(requests, tuned=tuned)):
            if made == self._after:
                self._then()
            yield found


class Files:
    """Files that change when they are told to."""

    def __init__(self) -> None:
        self.same, self.asked = True, 0

    def change(self) -> None:
        self.same = False

    def interrupt(self) -> None:
        self.same = False
        raise KeyboardInterrupt

    def unchanged(self) -> None:
        self.asked += 1
        if not self.same:
            raise IdentityError("changed")


def stored(root: Path, *, tuned: bool = False) -> dict[str, Generation]:
    return Store(root, CountingEngine().fingerprint(tuned=tuned), KEY).load()


@pytest.mark.parametrize(("flush", "kept"), [(1e9, 0), (0.0, 4)])
def test_only_what_was_flushed_before_the_change_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: float, kept: int
) -> None:
    monkeypatch.setattr(asking, "FLUSH_SECONDS", flush)
    files, root = Files(), tmp_path / "store"
    with pytest.raises(IdentityError):
        stage([work(tmp_path)], Ending(4, files.change), root, unchanged=files.unchanged)
    assert len(stored(root)) == kept
    assert stored(root, tuned=True) == {}


@pytest.mark.parametrize("changed", [True, False])
def test_a_run_that_is_interrupted_stays_interrupted(tmp_path: Path, changed: bool) -> None:
    files, root = Files(), tmp_path / "store"
    engine = Ending(4, files.interrupt)
    with pytest.raises(KeyboardInterrupt):
        stage([work(tmp_path)], engine, root, unchanged=files.unchanged if changed else lambda: None)
    assert len(stored(root)) == (0 if changed else 4)


def test_stored_answers_are_not_served_where_files_have_changed(tmp_path: Path) -> None:
    files, root, item = Files(), tmp_path / "store", work(tmp_path)
    first = stage([item], CountingEngine(), root, unchanged=files.unchanged)
    assert files.asked < 10  # not for every answer
    assert len(stored(root)) + len(stored(root, tuned=True)) == 24
    assert stage([item], CountingEngine(), root, unchanged=files.unchanged).generations == first.generations
    files.change()
    engine = CountingEngine()
    with pytest.raises(IdentityError):
        stage(
            [item, work(tmp_path / "more", name="two", asked=["another question"])],
            engine,
            root,
            unchanged=files.unchanged,
        )
    assert engine.asked == []


def test_a_base_alone_is_read_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = digests.directory_digests(project.root / "base", digests.BASE_PATTERNS)
    base = resolve_base("base", project.root)
    assert base.base_files == alone
    monkeypatch.setattr(digests, "file_sha256", None)
    assert base.files == alone
