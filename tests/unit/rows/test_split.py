"""Train and held-out rows: what repeats stays together, and the search of the overlap gate agrees."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate import cli
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.rows.overlap import Item, find_overlaps, items_of
from pytest_ftgate.rows.overlap.repeats import repeats
from pytest_ftgate.rows.split import hold_out, quotas

WORDS = [f"{a}{b}" for a in ("bar", "lum", "tor", "nes", "kif", "dra", "pol", "sym") for b in ("en", "ow", "ig", "ua")]


def texts(n: int, *, seed: int = 0) -> list[str]:
    """Texts of 20 words that have nothing in common but the words."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(WORDS) + str(draw.randrange(10)) for _ in range(20)) for _ in range(n)]


def edited(text: str, seed: int) -> str:
    """The text with one word replaced."""
    words = text.split()
    words[random.Random(seed).randrange(len(words))] = f"other{seed}"
    return " ".join(words)


def families(n: int, copies: int) -> list[Item]:
    """n distinct texts, each followed by edited copies of it; the answer is the family's number."""
    return [
        Item("", text if c == 0 else edited(text, c), str(f % 3))
        for f, text in enumerate(texts(n))
        for c in range(copies)
    ]


def test_near_copies_are_never_on_both_sides() -> None:
    items = families(40, 4)
    split = hold_out(items, 0.2, seed=0)
    sides = [{(i in split.held) for i in range(4 * f, 4 * f + 4)} for f in range(40)]
    assert all(len(side) == 1 for side in sides)
    assert (len(split.held), split.groups, split.together, split.largest) == (32, 40, 160, 4)


def test_copies_stay_together_whatever_their_answers_and_signs() -> None:
    lone = texts(30, seed=5)
    items = [Item("", text, "a") for text in lone]
    items += [Item("", lone[3].upper() + "!!", "b"), Item("", edited(lone[4], 1), "quite another answer")]
    assert {(3, 30), (4, 31)} <= {tuple(sorted(pair)) for pair in repeats(items)}
    for seed in range(10):
        held = hold_out(items, 0.3, seed=seed).held
        assert (3 in held) == (30 in held)
        assert (4 in held) == (31 in held)


def test_a_chain_of_near_copies_is_one_group() -> None:
    """Each is near the next, the first is not near the last."""
    chain = [texts(1, seed=9)[0].split()]
    for step in (0, 1):
        words = list(chain[-1])
        words[9 * step + 1 : 9 * step + 3] = [f"new{step}{c}" for c in "ab"]
        chain.append(words)
    items = [Item("", " ".join(words), None) for words in chain] + [Item("", text, None) for text in texts(60)]
    assert {tuple(sorted(pair)) for pair in repeats(items)} == {(0, 1), (1, 2)}
    for seed in range(5):
        assert len({i in hold_out(items, 0.25, seed=seed).held for i in range(3)}) == 1


def test_more_copies_than_the_engine_keeps_are_still_together() -> None:
    items = families(3, 11) + [Item("", text, None) for text in texts(1200, seed=3)]
    for seed in (1, 2):
        split = hold_out(items, 0.3, seed=seed)
        assert [len({i in split.held for i in range(f, f + 11)}) for f in (0, 11, 22)] == [1, 1, 1]


def test_a_text_that_many_rows_share_is_a_prompt_and_keeps_nothing_together() -> None:
    asked = texts(120, seed=4)
    items = [Item("", "read the message below and say which desk it is for: " + text, None) for text in asked]
    assert hold_out(items, 0.2, seed=0).largest == 1


def test_the_overlap_engine_finds_nothing_between_the_parts() -> None:
    from pytest_ftgate.rows.overlap.repeats import rows_of

    items = [Item(str(i), item.input, item.output) for i, item in enumerate(families(90, 2))]
    split = hold_out(items, 0.2, seed=3)
    rest = [i for i in range(len(items)) if i not in split.held]
    assert find_overlaps([items[i] for i in split.held], rows_of(items, rest)).leaks == ()
    mixed = random.Random(0).sample(range(len(items)), 36)  # the naive split of the same rows does leak
    rest = [i for i in range(len(items)) if i not in mixed]
    assert len(find_overlaps([items[i] for i in mixed], rows_of(items, rest)).leaks) > 18


def test_clusters_stay_together() -> None:
    items = [Item("", text, None) for text in texts(90)]
    clusters = [i % 30 for i in range(90)]
    split = hold_out(items, 0.2, seed=0, clusters=clusters)
    sides = Counter((clusters[i], i in split.held) for i in range(90))
    assert set(sides.values()) == {3}
    assert len(split.held) == 18


def test_strata_are_held_out_alike() -> None:
    items = [Item("", text, None) for text in texts(200)]
    strata = ["rare" if i % 10 == 0 else "often" for i in range(200)]
    split = hold_out(items, 0.25, seed=0, strata=strata)
    assert [(s.name, s.rows, s.held) for s in split.strata] == [("often", 180, 45), ("rare", 20, 5)]


def test_the_same_seed_gives_the_same_split_another_seed_another() -> None:
    items = families(30, 2)
    first, again, other = (hold_out(items, 0.2, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.held != other.held


def test_large_groups_are_held_out_no_more_often_than_their_share() -> None:
    """Taken by size, the largest groups would always be held out."""
    items = [Item("", text, None) for text in texts(40, seed=8)]
    clusters = [0] * 8 + list(range(1, 33))
    times = sum(0 in hold_out(items, 0.3, seed=seed, clusters=clusters).held for seed in range(30))
    assert 2 <= times <= 16


def test_rows_that_cannot_be_divided_are_an_error() -> None:
    with pytest.raises(InputError, match="12 rows of which 12 repeat one another"):
        hold_out([Item("", texts(1)[0], None)] * 12, 0.2, seed=0)


@given(
    rows=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(1, 500), min_size=1), share=st.floats(0.01, 0.9)
)
def test_quotas_add_up_and_are_each_within_one_row(rows: dict[str, int], share: float) -> None:
    found = quotas(Counter(rows), share, 0)
    assert sum(found.values()) == max(1, round(share * sum(rows.values())))
    assert all(-1e-9 <= found[name] <= rows[name] for name in rows)
    assert all(abs(found[name] - share * n) <= 1 for name, n in rows.items())


def test_among_strata_of_one_row_chance_decides_and_not_the_alphabet() -> None:
    rows = Counter({f"{i:02}": 1 for i in range(60)})
    drawn = [tuple(name for name, n in quotas(rows, 0.1, seed).items() if n) for seed in range(40)]
    assert all(len(names) == 6 for names in drawn)
    assert len(set(drawn)) > 30
    assert len({name for names in drawn for name in names}) > 45
    assert quotas(rows, 0.1, 3) == quotas(rows, 0.1, 3)


# The command


def rows_file(path: Path, n: int = 60) -> Path:
    lines = [
        json.dumps({"prompt": text, "completion": json.dumps({"kind": "ab"[i % 2]}), "who": i // 2, "é": 'ü"'})
        for i, text in enumerate(texts(n))
    ]
    path.write_bytes("\r\n".join(lines).encode())  # no newline at the end
    return path


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    try:
        code = cli.main(["split", *map(str, args)])
    except SystemExit as error:  # misuse of the command line
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_lines_are_copied_as_they_are_in_their_order(tmp_path: Path, capsys: Any) -> None:
    path = rows_file(tmp_path / "rows.jsonl")
    code, out, err = run(capsys, path, "--out", tmp_path / "out", "--held-out", "0.2", "--stratify", "answer.kind")
    assert (code, err) == (0, "")
    assert "held out  12 (20.00%; asked: 20.00%)" in out
    assert "'a'" in out
    train, held = (
        (tmp_path / "out" / name).read_bytes().splitlines(True) for name in ("train.jsonl", "held_out.jsonl")
    )
    before = (path.read_bytes() + b"\n").splitlines(True)
    assert [line for line in before if line in held] == held
    assert [line for line in before if line not in held] == train
    assert sorted(train + held) == sorted(before)
    report = json.loads((tmp_path / "out" / "split.json").read_text())
    assert (report["asked"], report["obtained"], report["groups"], report["kept_together"]) == (0.2, 0.2, 60, 0)
    assert [file["rows"] for file in report["written"]] == [48, 12]
    assert report["strata"] == [{"name": "a", "rows": 30, "held": 6}, {"name": "b", "rows": 30, "held": 6}]


def test_the_two_files_pass_an_overlap_gate(tmp_path: Path, capsys: Any) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"prompt": i.input, "completion": i.output, "id": f"r{n}"}) + "\n"
            for n, i in enumerate(families(50, 3))
        )
    )
    assert run(capsys, rows, "--out", tmp_path / "out", "--held-out", "0.2")[0] == 0
    evals = tmp_path / "out" / "held.eval.yaml"
    evals.write_text(
        "version: 1\nexamples: held_out.jsonl\nprompt: {user: '{prompt}'}\ntarget: completion\n"
        "generation: {max_new_tokens: 4}\nscorer: exact\ngates: {overlap: {max: 0}}\n"
    )
    assert cli.main(["overlap", str(tmp_path / "out" / "train.jsonl"), "--evals", str(evals)]) == 0
    from pytest_ftgate.evalset.loader import load_evalset

    assert len(items_of(load_evalset(evals))) == 30


def test_a_cluster_and_another_kind_of_rows(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps({"q": t, "a": "x", "who": i // 3}) + "\n\n" for i, t in enumerate(texts(60))),
        encoding="utf-8",
    )
    args = (path, "--out", tmp_path / "out", "--cluster", "who", "--input", "q")
    assert run(capsys, *args)[0] == 0
    held = [json.loads(line)["who"] for line in (tmp_path / "out" / "held_out.jsonl").read_text().splitlines()]
    assert set(Counter(held).values()) == {3}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--out", "full"), "expected a new or an empty directory"),
        (("--held-out", "1.5"), "expected a share between 0 and 1"),
        (("--stratify", "nothing"), "rows.jsonl:1: nothing: expected a text or a number, found nothing"),
        (("--stratify", "answer.nothing"), "expected an answer that is a JSON object with `nothing`"),
        (("--cluster", "nothing"), "name a field that every row has"),
        (("--input", "who"), "rows.jsonl:1: who: expected a text in `who`"),
    ],
)
def test_mistakes_are_one_message_and_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, args: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows_file(tmp_path / "rows.jsonl")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    code, _, err = run(capsys, "rows.jsonl", "--out", "new", *args)
    assert code == 4
    assert said in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "rows.jsonl"]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_rows_that_are_no_rows_are_named(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"q": "x"}\n')
    code, _, err = run(capsys, path, "--out", tmp_path / "out")
    assert code == 4
    assert "--input" in err
    assert run(capsys, path, path, "--out", tmp_path / "out", "--input", "q")[0] == 4
    assert run(capsys, tmp_path / "rows.csv", "--out", tmp_path / "out")[0] == 4


def test_the_same_mistake_in_every_row_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": f"what is {i}", "a": str(i)}) + "\n" for i in range(60)))
    code, _, err = run(capsys, path, "--out", tmp_path / "out")
    assert code == 4
    assert err.count("\n") == 1
    assert "found `a` and `q` (again on line 2, 3, 4, 5, ...). Fix:" in err
