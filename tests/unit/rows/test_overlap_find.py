"""The classes, on small fixtures made here."""

import random

import pytest

from pytest_ftgate.evalset.types import Message
from pytest_ftgate.rows.overlap import Item, OverlapOptions, find_overlaps, leaks_exceed
from pytest_ftgate.rows.types import TrainingRow

WORDS = [a + b + c for a in "bdfgklmnprst" for b in ("ai", "o", "ee", "u") for c in ("ck", "nd", "rt", "m", "ss", "ll")]


def text(seed, n=40):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n))


def rows(*pairs, path="train.jsonl"):
    return [
        TrainingRow(path, i, (Message("system", "Be kind."), Message("user", a), Message("assistant", b)), "messages")
        for i, (a, b) in enumerate(pairs, 1)
    ]


def background(n=200, seed=1000):
    return [(text(seed + i), text(9000 + seed + i, 12)) for i in range(n)]


def check(item_text, *pairs, answer="yes", fill=200, **options):
    """The one finding for one example (None if there is none), beside unrelated rows."""
    items = [Item("it", item_text, answer), *(Item(f"o{i}", text(500 + i), f"no {i}") for i in range(8))]
    report = find_overlaps(items, rows(*pairs, *background(fill)), options=OverlapOptions(**options))
    found = [f for f in report.findings if f.example_id == "it"]
    assert [f.example_id for f in report.leaks if f.example_id != "it"] == []
    return found[0] if found else None


def edited(source, positions):
    words = source.split()
    for p in positions:
        words[p] = f"zz{p}qq"
    return " ".join(words)


def test_a_clean_example_has_no_finding():
    assert check(text(1)) is None


def test_exact_verbatim():
    found = check(text(1), (text(1), "yes"))
    assert (found.class_, found.label, found.where, found.row, found.copies) == (
        "exact",
        "verbatim",
        "input+output",
        1,
        1,
    )
    assert found.identity == found.score == 1
    assert not found.label_conflict


def test_exact_in_other_case_and_punctuation():
    found = check(text(1), (text(1).upper().replace(" ", ", "), "yes"))
    assert (found.class_, found.label) == ("exact", "")


def test_exact_with_another_answer_is_a_conflict():
    found = check(text(1), (text(1), "no"))
    assert (found.class_, found.where, found.label_conflict) == ("exact", "input", True)
    assert found.is_leak


def test_all_copies_are_counted_and_the_agreeing_one_is_shown():
    found = check(text(1), *[(text(1), "no")] * 3, (text(1), "yes"), (text(1), "no"))
    assert (found.copies, found.row, found.where) == (5, 4, "input+output")
    assert "4 of 5 copies have another answer" in found.reason


def test_short_exact_is_still_found():
    found = check("Thanks!", ("thanks", "yes"))
    assert (found.class_, found.tokens) == ("exact", 1)


def test_texts_without_tokens_are_compared_by_their_characters():
    assert check("+ = ?", ("+=?", "yes")).class_ == "exact"
    assert check("+ = ?", ("- = ?", "yes")) is None


def test_other_operators_are_no_exact_copy():
    assert check("2 + 3 * 4", ("2 * 3 + 4", "yes"), fill=20).class_ == "short"


@pytest.mark.parametrize("positions", [(5,), (3, 17, 30), (2, 9, 16, 23, 30, 37)])
def test_edited_copies_are_near(positions):
    found = check(text(1), (edited(text(1), positions), "yes"))
    assert (found.class_, found.where) == ("near", "input+output")
    assert found.identity == pytest.approx(1 - len(positions) / 40)


def test_near_spans_point_into_both_texts():
    source = text(1)
    found = check(source, (f"Hello there. {edited(source, (10,))} Bye.", "yes"))
    assert found.class_ == "near"
    pieces = [source[slice(*s.example)] for s in found.spans]
    row = f"Hello there. {edited(source, (10,))} Bye."
    assert pieces == [row[slice(*s.row)] for s in found.spans]
    assert " ".join(pieces).split() == [w for i, w in enumerate(source.split()) if i != 10]


def test_embedded_in_a_long_row():
    row = f"{text(70, 400)} {text(1)} {text(71, 400)}"
    found = check(text(1), (row, "yes"))
    assert (found.class_, found.label) == ("near", "contained")
    assert row[slice(*found.spans[0].row)] == text(1)
    assert row[found.row_offset :].startswith(found.row_text)
    assert len(found.row_text) < 1000


def test_reordered_sentences():
    words = text(1).split()
    parts = [" ".join(words[i : i + 10]) for i in range(0, 40, 10)]
    found = check(text(1), (". ".join([parts[2], parts[0], parts[3], parts[1]]), "yes"))
    assert (found.class_, found.label) == ("near", "reordered")


def test_scripts_without_spaces():
    rng = random.Random(5)
    han = "".join(chr(rng.randrange(0x4E00, 0x5E00)) for _ in range(40))
    found = check(han, (f"请看：{han[:20]}的{han[21:]}。", "yes"))
    assert (found.class_, found.tokens) == ("near", 40)


def test_input_inside_an_answer_is_a_cross_leak():
    found = check(text(1), (text(70), f"Well: {text(1)}"))
    assert (found.class_, found.where, found.is_leak) == ("near", "cross", True)


def test_a_long_answer_found_alone_is_no_leak():
    found = check(text(1), (text(70), text(2, 30)), answer=text(2, 30))
    assert (found.class_, found.where, found.is_leak) == ("exact", "output", False)


def test_a_short_answer_found_alone_is_nothing():
    assert check(text(1), (text(70), "yes")) is None


def test_another_answer_makes_a_sibling():
    found = check(text(1), (edited(text(1), (5,)), "no"))
    assert (found.class_, found.label_conflict, found.is_leak) == ("sibling", True, False)


def test_shared_passage_with_another_question_is_context():
    passage = text(3, 60)
    found = check(f"{passage} {text(4, 20)}", (f"{passage} {text(5, 20)}", "yes"))
    assert (found.class_, found.is_leak) == ("context", False)


def test_short_and_partial():
    words = text(1, 7)
    assert check(words, (f"{words} zzz", "yes")).class_ == "short"
    half = text(6, 16)
    found = check(f"{half} {text(7, 24)}", (f"{text(8, 10)} {half} {text(9, 14)}", "yes"))
    assert found.class_ == "partial"


def problem(rng):
    names, things = [w.capitalize() for w in WORDS[:60]], WORDS[60:120]
    a, b, c = (rng.randint(2, 99) for _ in range(3))
    return (
        f"{rng.choice(names)} has {a} {rng.choice(things)} in the old wooden box and buys {b} more at the corner shop "
        f"before {rng.choice(names)} takes {c} of them home. How many are left in the box at the end of the day?"
    )


def test_another_fill_of_a_template_is_never_a_leak_but_a_copy_is():
    rng = random.Random(0)
    fills = [(problem(rng), str(i)) for i in range(300)]
    items = [Item(f"i{i}", problem(rng), "7") for i in range(40)] + [Item("copy", fills[17][0], "17")]
    report = find_overlaps(items, rows(*fills))
    assert [f.example_id for f in report.leaks] == ["copy"]
    assert {f.class_ for f in report.findings if f.example_id != "copy"} <= {"template", "partial"}


def letter(values):
    name, thing, colour, town, day = values
    return (
        f"Dear {name}, thank you for your order. The {thing} in {colour} that you chose last week will be sent to our "
        f"shop in {town} and you can fetch it there from {day} on if you bring this letter with you."
    )


def test_slots_of_words_are_known_from_the_mates():
    rng = random.Random(0)
    fills = [[rng.choice(WORDS) for _ in range(5)] for _ in range(400)]
    others = [[*fill[:2], *(rng.choice(WORDS) for _ in range(2)), fill[4]] for fill in fills[:30]]
    items = [Item(f"i{i}", letter(fill), "ok") for i, fill in enumerate(others)]
    report = find_overlaps(items, rows(*((letter(fill), "ok") for fill in fills), *background(100)))
    assert report.leaks == ()
    assert len([f for f in report.findings if f.class_ == "template" and "slots" in f.reason]) > 20


def test_a_template_with_one_example_is_known_from_the_training_rows():
    rng = random.Random(0)
    items = [Item("it", problem(rng), "7"), *(Item(f"o{i}", text(500 + i), "x") for i in range(8))]
    report = find_overlaps(items, rows(*((problem(rng), str(i)) for i in range(300)), *background(300)))
    assert report.leaks == ()


INSTRUCTION = text(77, 60)


def test_a_shared_instruction_is_boilerplate():
    pairs = [(f"{INSTRUCTION} {text(2000 + i, 10)}", "yes") for i in range(200)]
    items = [Item(f"i{i}", f"{INSTRUCTION} {text(3000 + i, 10)}", "no") for i in range(20)]
    items.append(Item("copy", pairs[5][0] + " mm", "yes"))
    report = find_overlaps(items, rows(*pairs))
    assert [f.example_id for f in report.leaks] == ["copy"]
    (leak,) = report.leaks
    assert 55 <= leak.boilerplate_tokens <= 60
    assert f"{leak.boilerplate_tokens} of 71 tokens are shared prompt" in leak.reason


@pytest.mark.parametrize("n", [20, 200])
def test_many_copies_do_not_hide_themselves(n):
    same = [(edited(text(1), (7, 19)), "yes")] * n
    rng = random.Random(3)
    different = [(edited(text(2), rng.sample(range(40), 4)), "yes") for _ in range(n)]
    items = [Item("same", text(1), "yes"), Item("different", text(2), "yes"), Item("clean", text(3), "yes")]
    report = find_overlaps(items, rows(*same, *different, *background(2000)))
    assert {f.example_id: f.class_ for f in report.leaks} == {"same": "near", "different": "near"}
    assert next(f for f in report.leaks if f.example_id == "same").copies == n


def test_the_same_content_in_other_words_is_advisory():
    item = "Mara buys 12 crates of pears for 30 coins each and sells every crate to the harbour market for 45 coins."
    row = "To the market at the harbour Mara sold all crates for 45 coins each; 12 crates of pears had cost her 30."
    found = check(item, (row, "profit 180"), answer="she earns 180")
    assert (found.class_, found.is_leak) == ("rephrased", False)
    other = row.replace("45", "50").replace("30", "31")
    assert check(item, (other, "profit 180"), answer="she earns 180") is None
    assert check(item, (row, "profit 180"), answer="she earns 180", rephrase=False) is None


def test_baseline_measures_natural_overlap():
    twins = [(text(5000 + i // 2), "yes") for i in range(200)]  # every row has an exact twin
    clean = find_overlaps([Item(f"i{i}", text(i), "yes") for i in range(50)], rows(*twins))
    assert clean.baseline.training.value == 1
    assert clean.baseline.training_exact.value == 1
    assert clean.training_duplicates.groups == clean.training_duplicates.extra_rows == 100
    leaky = [Item(f"i{i}", text(5000 + i if i < 10 else i), "yes") for i in range(50)]
    natural = find_overlaps(leaky, rows(*twins))
    assert natural.baseline.p_excess > 0.9
    assert not leaks_exceed(natural, bound=0, excess_only=True)
    assert leaks_exceed(natural, bound=0)
    unnatural = find_overlaps(leaky, rows(*twins[::2], *background(400)))
    assert unnatural.baseline.p_excess < 0.001
    assert leaks_exceed(unnatural, bound=0, excess_only=True)
    assert not leaks_exceed(unnatural, bound=0.2, is_rate=True)
    assert leaks_exceed(unnatural, bound=0.19, is_rate=True)
    assert not leaks_exceed(unnatural, bound=10)


def test_duplicates_inside_the_eval_set():
    items = [Item("a", text(1), "x"), Item("b", text(1).upper(), "y"), Item("c", edited(text(1), (4,)), "x")]
    report = find_overlaps(items, rows(*background(50)))
    assert report.eval_duplicates.exact == (("a", "b"),)
    assert report.eval_duplicates.near == (("a", "c"),)


def test_every_duplicate_of_an_example_is_reported():
    items = [Item("a", text(1), "x"), Item("b", text(1), "x"), Item("c", text(1), "y")]
    report = find_overlaps(items, rows((text(1), "x"), *background(50)))
    assert [(f.example_id, f.label_conflict) for f in report.leaks] == [("a", False), ("b", False), ("c", True)]


def test_shots_are_checked_like_any_rows():
    shots = rows((text(1), "yes"), (text(2), "no"), path="shots.jsonl")
    report = find_overlaps([Item("a", text(1), "yes"), Item("b", text(3), "no")], shots)
    assert [(f.example_id, f.file) for f in report.leaks] == [("a", "shots.jsonl")]
    assert report.baseline is None


def test_nothing_to_compare():
    assert find_overlaps([], rows(*background(30))).findings == ()
    assert find_overlaps([Item("a", "", None)], rows(*background(30))).findings == ()
    assert find_overlaps([Item("a", text(1), None)], []).n_rows == 0


def test_a_whole_copy_with_another_answer_is_a_leak_with_a_conflict():
    found = check(text(1), (f"First of all: {text(1)} {text(70, 20)}", "no"))
    assert (found.class_, found.label, found.label_conflict, found.where) == ("near", "contained", True, "input")


def test_one_other_content_word_in_a_short_text_is_no_leak():
    source = "please show me the expiry date of my brown card"
    found = check(source, (source.replace("brown card", "brown purse"), "yes"))
    assert found.class_ == "short"
    assert "a word that carries content is another" in found.reason
    assert check(source, (source.removeprefix("please "), "yes")).class_ == "near"
