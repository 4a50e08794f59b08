"""Generations on disk: a killed, changed or shared file costs time and never gives a wrong answer."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.answers.engine.protocol import ChatPrompt, Request, TextPrompt
from pytest_ftgate.answers.store import Store, from_json, request_key, to_json
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.own_key import tag
from pytest_ftgate.results import Generation

KEY = bytes(32)
REQUEST = Request(ChatPrompt((Message("user", "one"), Message("user", "two"))), 8, ("\n",), ("yes", "no"))


def generation(i: int) -> Generation:
    return Generation(f"answer {i} \u2028 é \x00", (i, i + 1), "stop", 3, {"yes": -0.25, "no": -1.5} if i % 2 else None)


def filled(root: Path, n: int = 4) -> dict[str, Generation]:
    entries = {f"{i:064x}": generation(i) for i in range(n)}
    Store(root, "side", KEY).append(entries.items())
    return entries


def file_of(root: Path) -> Path:
    return next(root.rglob("side.jsonl"))


def test_what_was_stored_is_found_again(tmp_path: Path) -> None:
    assert Store(tmp_path, "side", KEY).load() == {}
    assert list(tmp_path.iterdir()) == []  # reading makes nothing
    entries = filled(tmp_path)
    assert Store(tmp_path, "side", KEY).load() == entries
    assert Store(tmp_path, "other side", KEY).load() == {}


def test_a_file_cut_off_at_any_byte_gives_no_wrong_answer_and_goes_on(tmp_path: Path) -> None:
    entries = filled(tmp_path)
    path, keys = file_of(tmp_path), list(entries)
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for size in range(last, len(whole)):
        path.write_bytes(whole[:size])
        store = Store(tmp_path, "side", KEY)
        found = store.load()
        complete = size >= len(whole) - 1  # all but the newline
        assert found == {k: entries[k] for k in (keys if complete else keys[:-1])}
        assert store.rejected == (not complete and size > last)
        # The next run adds to it, and nothing is lost but the broken line.
        store.append([(keys[-1], entries[keys[-1]])])
        assert Store(tmp_path, "side", KEY).load() == entries


def test_a_changed_byte_is_never_believed(tmp_path: Path) -> None:
    entries = filled(tmp_path, 2)
    path = file_of(tmp_path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        changed = bytes([whole[place] ^ 1])
        path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        found = Store(tmp_path, "side", KEY).load()
        assert found.items() <= entries.items()
        assert len(found) <= 2
    path.write_bytes(b"\xff\x00 nonsense\n\n{}\n" + whole)
    store = Store(tmp_path, "side", KEY)
    assert store.load() == entries
    assert store.rejected == 3


def test_errors_are_not_kept(tmp_path: Path) -> None:
    failed = Generation("", (), "error", 3, error="out of memory")
    Store(tmp_path, "side", KEY).append([("a" * 64, failed)])
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_counts_what_it_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "below", "side", KEY)
    store.append([("a" * 64, generation(1)), ("b" * 64, generation(2))])
    assert store.unsaved == 2
    assert store.load() == {}


def test_processes_that_append_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from pytest_ftgate.answers.store import Store\n"
        "from pytest_ftgate.results import Generation\n"
        "root, me = Path(sys.argv[1]), int(sys.argv[2])\n"
        "for i in range(30):\n"
        "    text = f'{me}-{i} ' * 2000\n"
        "    Store(root, 'side', bytes(32)).append([(f'{me}-{i}', Generation(text, (me, i), 'stop', 1))])\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(me)]) for me in (1, 2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    store = Store(tmp_path, "side", KEY)
    found = store.load()
    assert store.rejected == 0
    assert {key: g.token_ids for key, g in found.items()} == {f"{me}-{i}": (me, i) for me in (1, 2) for i in range(30)}


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, prompt=ChatPrompt((Message("user", "one"),))),
        replace(REQUEST, prompt=ChatPrompt((Message("user", "one"), Message("assistant", "two")))),
        replace(REQUEST, prompt=ChatPrompt((Message("user", "onetwo"),))),
        replace(REQUEST, prompt=TextPrompt("one")),
        replace(REQUEST, prompt=TextPrompt('[["user","one"],["user","two"]]')),
        replace(REQUEST, max_new_tokens=9),
        replace(REQUEST, stop=()),
        replace(REQUEST, stop=("\n", "yes")),
        replace(REQUEST, labels=("yes",)),
        replace(REQUEST, labels=()),
    ],
)
def test_the_key_covers_all_of_a_request(other: Request) -> None:
    assert request_key(other) != request_key(REQUEST)
    assert request_key(replace(REQUEST)) == request_key(REQUEST)
    assert len({request_key(REQUEST, ids) for ids in (None, (), (1, 2), (12,), (1, 2, 3))}) == 5


@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
    tokens=st.lists(st.integers(0, 2**31), max_size=5),
    logprob=st.none() | st.floats(allow_nan=False, allow_infinity=False, max_value=0),
)
def test_any_generation_survives_the_way_through_json(text: str, tokens: list[int], logprob: float | None) -> None:
    made = Generation(text, tuple(tokens), "length", 7, None if logprob is None else {text: logprob})
    assert from_json(json.loads(json.dumps(to_json(made), allow_nan=False))) == made


def test_f89_a_line_of_another_side_is_not_this_ones(tmp_path: Path) -> None:
    """No HMAC is forged for this: two files are put together, or change places."""
    mine, theirs = (Store(tmp_path, name, KEY) for name in ("mine", "theirs"))
    mine.append([("a", generation(0))])
    theirs.append([("a", generation(1)), ("b", generation(2))])
    first, second = (tmp_path.rglob(f"{name}.jsonl").__next__() for name in ("mine", "theirs"))
    first.write_bytes(first.read_bytes() + second.read_bytes())
    assert mine.load() == {"a": generation(0)}
    assert mine.rejected == 2
    second.replace(first)
    assert mine.load() == {}


@pytest.mark.parametrize(
    "value",
    [
        [],
        "7",
        {"text": None},
        {"text": 7},
        {"token_ids": "12"},
        {"token_ids": [1.0]},
        {"token_ids": [True]},
        {"finish_reason": "error"},
        {"finish_reason": "shipped"},
        {"error": "no"},
        {"prompt_tokens": "3"},
        {"prompt_tokens": True},
        {"new_tokens": "3"},
        {"label_logprobs": [1]},
        {"label_logprobs": {"yes": "1"}},
        {"more": 1},
    ],
)
def test_a_line_that_holds_no_answer_is_passed_over_whoever_wrote_it(tmp_path: Path, value: object) -> None:
    filled(tmp_path, 1)
    content = {**to_json(generation(1)), **value} if isinstance(value, dict) else value
    with file_of(tmp_path).open("ab") as file:
        for body in (["k", content], [["k"], to_json(generation(1))], {"k": 1}, [1]):
            file.write(line_of("side", json.dumps(body)))
        file.write(line_of("side", "[" * 200_000))
    store = Store(tmp_path, "side", KEY)
    assert list(store.load()) == [f"{0:064x}"]
    assert store.rejected == 5


def line_of(side: str, body: str) -> bytes:
    return f"{tag(KEY, f'generation {side}', body.encode())} {body}\n".encode()


def test_a_sound_line_written_by_hand_is_read(tmp_path: Path) -> None:
    """Else the test above would pass for another reason."""
    filled(tmp_path, 1)
    with file_of(tmp_path).open("ab") as file:
        file.write(line_of("side", json.dumps(["k", to_json(generation(1))])))
    assert Store(tmp_path, "side", KEY).load()["k"] == generation(1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    path = file_of(tmp_path)
    path.unlink()
    os.mkfifo(path)
    store = Store(tmp_path, "side", KEY)
    assert store.load() == {}
    store.append([("k", generation(1))])
    assert store.unsaved == 1


def test_s4_a_line_of_another_key_or_with_a_plain_checksum_is_not_believed(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    Store(tmp_path, "side", b"other" * 8).append([("theirs", generation(1))])
    body = json.dumps(["plain", to_json(generation(2))])
    with file_of(tmp_path).open("ab") as file:
        file.write(f"{hashlib.sha256(f'side {body}'.encode()).hexdigest()} {body}\n".encode())
    store = Store(tmp_path, "side", KEY)
    assert list(store.load()) == [f"{0:064x}"]
    assert store.rejected == 2
