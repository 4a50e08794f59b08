"""Tokens: one definition, in Python and in numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.rows.overlap.answers import same_answer
from pytest_ftgate.rows.overlap.hashing import batch_of, grams
from pytest_ftgate.rows.overlap.text import located_tokens, normalise, numbers, symbols, tokens, visible

ODD = st.text(alphabet=st.sampled_from("aB1 é\u0301ßﬁＡ我们ไทยнет한\u1100\u1161,.-+\n\u00a0😀\u200b२"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("  a--b\n\n3.14 ", ["a", "b", "3", "14"]),
        ("STRASSE Straße ﬁne Ａ１", ["strasse", "strasse", "fine", "a1"]),
        ("e\u0301te\u0301 = été", ["été", "été"]),
        ("我们today去", ["我", "们", "today", "去"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("+?! 😀", []),
    ],
)
def test_tokens(text, expected):
    assert tokens(text) == expected


@given(st.one_of(st.text(max_size=40), ODD))
def test_located_tokens_agree_and_point_at_their_source(text):
    words, spans = located_tokens(text)
    assert words == tokens(text)
    for word, (start, end) in zip(words, spans, strict=True):
        assert 0 <= start < end <= len(text)
        assert word in normalise(text[start:end])


@given(st.lists(st.one_of(st.text(max_size=25), ODD), min_size=1, max_size=6))
def test_hashed_tokens_agree_with_tokens(texts):
    batch = batch_of(texts)
    listed = [tokens(t) for t in texts]
    assert np.diff(batch.first).tolist() == [len(words) for words in listed]
    flat = [w for words in listed for w in words]
    assert len(set(flat)) == len(set(batch.tokens.tolist()))
    assert len(set(zip(flat, batch.tokens.tolist(), strict=True))) == len(set(flat))
    assert len({w[:5] for w in flat}) == len(set(batch.stems.tolist()))


@given(st.lists(st.one_of(st.text(max_size=25), ODD), min_size=2, max_size=6))
def test_hashes_do_not_depend_on_the_batch(texts):
    together = batch_of(texts)
    for i, text in enumerate(texts):
        alone = batch_of([text])
        part = slice(together.first[i], together.first[i + 1])
        assert together.tokens[part].tolist() == alone.tokens.tolist()
        assert together.digests[i] == alone.digests[0]


def test_equal_words_have_equal_digests_and_blank_text_has_none():
    same = batch_of(["The cat, sat.", "the CAT sat", "the cat sat down", "", " \n", "+ = ?", "+=?", "- = ?"]).digests
    assert same[0] == same[1] != same[2]
    assert same[3] == same[4] == 0
    assert same[5] == same[6] != same[7]


def test_grams_never_cross_texts():
    _, inside = grams(batch_of(["a b c d", "e f", "g h i"]))
    assert inside.tolist() == [True, True, False, False, False, False, True]


def test_symbols_tell_apart_what_equal_words_do_not():
    assert tokens("2 + 3 * 4") == tokens("2 * 3 + 4")
    assert symbols("2 + 3 * 4") != symbols("2 * 3 + 4")
    assert symbols("It is, well... fine!") == symbols("it is well fine") == []
    assert symbols("good 😀") != symbols("good 😡")


def test_numbers_without_separators():
    assert numbers("1,234.50 and 007 and 3.0") == ["1234.5", "7", "3"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("A cat.", "a CAT", True),
        ("the answer is 12", "so it must be 12", True),
        ("the answer is 12", "the answer is 13", False),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', True),
        ('{"a": 1, "b": 2}', '{"a": 5, "b": 7}', False),
        ("refund_card", "lost_card", False),
        ("+", "-", False),
        (None, "x", None),
    ],
)
def test_same_answer(first, second, expected):
    assert same_answer(first, second) is expected


def test_visible_leaves_nothing_that_acts():
    shown = visible("a\x1b[31mb\u202ec\u200bd\re\nf\tg\x9b")
    assert shown.isprintable()
    assert "<U+001B>" in shown
    assert "<U+202E>" in shown
    assert "\n" not in shown
    assert visible("Grüße, 我们 😀") == "Grüße, 我们 😀"
