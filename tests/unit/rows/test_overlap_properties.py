"""What must hold for any data: order, sharding, workers, more edits, unrelated rows, memory."""

import json
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.rows.overlap import Item, OverlapOptions, find_overlaps
from pytest_ftgate.rows.overlap.stream import as_sources, chunks
from pytest_ftgate.rows.types import TrainingRow

VOCABULARY = [a + b + c for a in "bdfgklmn" for b in ("ai", "o", "ee") for c in ("ck", "nd", "rt", "m")]
FAST = OverlapOptions(rephrase=False, pseudo_examples=0)


def words(rng, n):
    return [rng.choice(VOCABULARY) for _ in range(n)]


def pair(rng, low=5, high=60):
    return " ".join(words(rng, rng.randint(low, high))), rng.choice(("yes", "no", "maybe so"))


def training_rows(pairs, path="t.jsonl"):
    return [
        TrainingRow(path, i, (Message("user", a), Message("assistant", b)), "prompt_completion")
        for i, (a, b) in enumerate(pairs, 1)
    ]


def world(seed, n_rows=150, n_items=25):
    """Items and rows with leaks of all kinds among them."""
    rng = random.Random(seed)
    items = [Item(f"i{k}", *pair(rng)) for k in range(n_items)]
    rows = [pair(rng) for _ in range(n_rows)]
    for item in items[::2]:
        tokens = item.input.split()
        for p in rng.sample(range(len(tokens)), rng.randint(0, len(tokens) // 4)):
            tokens[p] = rng.choice(VOCABULARY)
        around = words(rng, rng.choice((0, 0, 5, 200)))
        rows += [(" ".join([*around, *tokens]), rng.choice((item.output, "other")))] * rng.randint(1, 3)
    # more equally good copies than are kept for one example, each in other surroundings
    rows += [(" ".join([items[1].input, *words(rng, 4)]), items[1].output) for _ in range(15)]
    return items, rows


def comparable(report):
    """A report without what may differ: places (rows were moved), time, options."""
    found = report.to_json()
    for key in ("seconds", "options"):
        del found[key]
    for group in found["training_duplicates"]["largest"]:
        group["rows"] = len(group["rows"])
    for value in found.values():
        for finding in value if isinstance(value, list) else ():
            if isinstance(finding, dict):
                del finding["file"], finding["row"]
                finding["others"] = [o["class"] for o in finding["others"]]
    return found


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_the_order_of_rows_changes_nothing(seed):
    items, rows = world(seed)
    before = find_overlaps(items, training_rows(rows))
    random.Random(seed).shuffle(rows)
    assert comparable(find_overlaps(items, training_rows(rows))) == comparable(before)
    assert before.leaks


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """(items, one file of 3000 rows, the same rows in four files)"""
    directory = tmp_path_factory.mktemp("rows")
    items, rows = world(1, n_rows=3000, n_items=60)
    random.Random(1).shuffle(rows)
    lines = [json.dumps({"id": i, "prompt": a, "completion": b}) for i, (a, b) in enumerate(rows)]
    whole = directory / "all.jsonl"
    whole.write_text("\n".join(lines) + "\n")
    parts = []
    for k in range(4):
        parts.append(directory / f"part{k}.jsonl")
        parts[-1].write_text("\n".join(lines[k::4]))
    return items, whole, parts


def test_sharding_changes_nothing(sharded):
    items, whole, parts = sharded
    one, four = find_overlaps(items, [whole]), find_overlaps(items, parts[::-1])
    assert comparable(one) == comparable(four)
    assert len(one.leaks) >= 10


def test_workers_change_nothing(sharded):
    items, whole, _ = sharded
    one = find_overlaps(items, [whole])
    two = find_overlaps(items, [whole], options=OverlapOptions(workers=2))
    for report in (one, two):
        assert report.n_rows > 3000
    assert one.findings == two.findings
    assert comparable(one) == comparable(two)
    assert one.training_duplicates == two.training_duplicates


def test_small_batches_change_nothing(sharded, monkeypatch):
    items, whole, _ = sharded
    before = find_overlaps(items, [whole])
    monkeypatch.setattr("pytest_ftgate.rows.overlap.stream._CHUNK_BYTES", 4000)
    monkeypatch.setattr("pytest_ftgate.rows.overlap.postings._EXPANSION", 50)
    assert len(list(chunks(as_sources([whole])))) > 80
    assert comparable(find_overlaps(items, [whole])) == comparable(before)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.text(min_size=1, max_size=80))
def test_a_row_equal_to_an_example_is_always_found(seed, text):
    if not text.strip():
        text = "x"
    items, rows = world(seed, n_rows=30, n_items=5)
    items.append(Item("it", text, "a"))
    report = find_overlaps(items, training_rows([*rows, (text, "a")]), options=FAST)
    (found,) = [f for f in report.leaks if f.example_id == "it"]
    assert (found.class_, found.identity) == ("exact", 1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(40)))
def test_more_edits_never_raise_score_or_identity(seed, order):
    rng = random.Random(seed)
    source = words(rng, 40)
    background = [pair(rng) for _ in range(30)]
    last_score, last_identity = 1.0, 1.0
    for n in (1, 3, 6, 12, 20):
        edited = [f"new{i}" if i in order[:n] else w for i, w in enumerate(source)]
        rows = training_rows([*background, (" ".join(edited), "a")])
        report = find_overlaps([Item("it", " ".join(source), "a")], rows, options=FAST)
        score = max((f.score for f in report.findings), default=0.0)
        identity = max((f.identity for f in report.findings), default=0.0)
        assert score <= last_score
        assert identity <= last_identity
        last_score, last_identity = score, identity


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_unrelated_rows_make_no_leak(seed):
    items, rows = world(seed, n_rows=40, n_items=15)
    before = {f.example_id for f in find_overlaps(items, training_rows(rows), options=FAST).leaks}
    unrelated = [("".join(f"u{w} " for w in a.split()), "none") for a, _ in world(seed + 1, n_rows=200)[1]]
    after = {f.example_id for f in find_overlaps(items, training_rows(rows + unrelated), options=FAST).leaks}
    assert after == before


def test_memory_does_not_grow_with_the_rows(tmp_path):
    rng = random.Random(0)
    items = [Item(f"i{k}", *pair(rng, 30, 60)) for k in range(20)]
    peaks = []
    for n in (1_000, 6_000):
        path = tmp_path / f"{n}.jsonl"
        with path.open("w") as stream:
            for _ in range(n):
                text, answer = pair(rng)
                stream.write(json.dumps({"prompt": text, "completion": answer}) + "\n")
        tracemalloc.start()
        report = find_overlaps(items, [path], options=OverlapOptions(pseudo_examples=100))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert report.n_rows == n
    assert peaks[1] < peaks[0] + 4 * 2**20
