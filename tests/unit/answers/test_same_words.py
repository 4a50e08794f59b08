"""A candidate's tokenizer may add tokens; what the base's words are it may not change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tinymodel import make_tokenizer

from pytest_ftgate.answers.engine.same_words import require_same_words
from pytest_ftgate.errors import IdentityError

PROMPT = "<|user|>what is the name of the house, and 7 é❤ <|im_end|> red\n<|end|><|assistant|>"


def changed(change: Callable[[dict[str, Any]], None]) -> Any:
    """The base's tokenizer with another tokenizer.json."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    content = json.loads(make_tokenizer().backend_tokenizer.to_str())
    change(content)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token="<|end|>", pad_token="<|pad|>"
    )


def rewrites(content: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "the house"}, "content": "the tree"}


def rewrites_and_hides_it(content: dict[str, Any]) -> None:
    rewrites(content)
    back = {"type": "Replace", "pattern": {"String": "the tree"}, "content": "the house"}
    content["decoder"] = {"type": "Sequence", "decoders": [content["decoder"], {"type": "Fuse"}, back]}


def drops(content: dict[str, Any]) -> None:
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "^[^h]*"}, "content": ""}


def swaps_words(content: dict[str, Any]) -> None:
    vocab = content["model"]["vocab"]
    vocab["7"], vocab["5"] = vocab["5"], vocab["7"]


def drops_by_pre_tokeniser(content: dict[str, Any]) -> None:
    removed = {"type": "Split", "pattern": {"String": "name"}, "behavior": "Removed", "invert": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [removed, content["pre_tokenizer"]]}


@pytest.mark.parametrize("change", [rewrites, rewrites_and_hides_it, drops, swaps_words, drops_by_pre_tokeniser])
def test_s2_a_tokenizer_that_reads_other_words_is_refused(change: Callable[[dict[str, Any]], None]) -> None:
    with pytest.raises(IdentityError, match=r"tokenizer of good reads other words .*expected .*found "):
        require_same_words(PROMPT, changed(change), make_tokenizer(), "good")


def other_cuts(content: dict[str, Any]) -> None:
    content["model"]["merges"] = []


@pytest.mark.parametrize("change", [lambda content: None, other_cuts])
def test_other_cuts_of_the_same_words_are_the_candidates_own_affair(change: Callable[[dict[str, Any]], None]) -> None:
    require_same_words(PROMPT, changed(change), make_tokenizer(), "good")


def test_added_tokens_are_read_as_their_text() -> None:
    tuned = make_tokenizer()
    tuned.add_tokens([" red", "the", "❤"])
    tuned.add_special_tokens({"additional_special_tokens": ["<|im_end|>"]})
    assert len(tuned) > len(make_tokenizer())
    require_same_words(PROMPT, tuned, make_tokenizer(), "good")


def test_a_reserved_place_of_the_base_may_get_a_name() -> None:
    base, tuned = make_tokenizer(extra=["<|reserved|>"]), make_tokenizer(extra=["<|im_end|>"])
    assert base.convert_tokens_to_ids("<|reserved|>") == tuned.convert_tokens_to_ids("<|im_end|>")
    require_same_words(PROMPT, tuned, base, "good")
