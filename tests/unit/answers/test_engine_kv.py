"""The cache of one batch serves the next: no memory asked for anew, no prefix written again, no answer changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from test_engine_decode import END, generate_plainly, model_of, never, prompts

from pytest_ftgate.answers.engine import decode
from pytest_ftgate.answers.engine.kv import PrefixStore

ENDS = {END, 2, 3, 7}


@pytest.fixture(scope="module")
def model() -> Any:
    return model_of("llama", num_key_value_heads=2)


def answer(model: Any, store: PrefixStore, asked: Sequence[tuple[int, ...]], *, prefix: int, more: int = 16) -> Any:
    """Check the batch against prompts asked alone; the cache that it was made with."""
    import torch

    with torch.inference_mode():
        batch = decode.prefill(model, store, asked, prefix=prefix, more=more, tuned=True)
        found = decode.greedy(model, batch, max_new_tokens=16, ends=ENDS, ended=never)
        assert found == [generate_plainly(model, [ids])[0] for ids in asked]
    assert len({len(row) for row in found}) > 1  # rows left, so that others moved
    return batch.kv


def test_batches_on_one_prefix_take_over_the_memory_and_the_prefix(model: Any) -> None:
    store, asked = PrefixStore(), sorted(prompts(24, seed=3, shots=(60,)), key=len, reverse=True)
    first = answer(model, store, asked[:8], prefix=60)
    filled = [(keys.clone(), values.clone()) for keys, values in store.layers]
    store.layers = []  # the prefix is in every row already: nobody reads it from here again
    for start in (8, 16):
        assert answer(model, store, asked[start : start + 8], prefix=60) is first
    assert answer(model, store, asked[20:], prefix=60) is first, "fewer rows fit too"
    store.layers = filled
    assert answer(model, store, asked, prefix=60) is not first, "more rows do not"


def test_another_prefix_or_a_longer_answer_gets_a_cache_of_its_own(model: Any) -> None:
    store = PrefixStore()
    asked, others = (prompts(8, seed=seed, shots=(60,)) for seed in (4, 5))
    answer(model, store, asked, prefix=60)
    before = store.batch
    answer(model, store, others, prefix=60)
    assert store.batch is not before
    assert store.ids == others[0][:60]
    before = store.batch
    answer(model, store, others, prefix=60, more=200)
    assert store.batch is not before
    before = store.batch
    answer(model, store, others, prefix=59)
    assert store.batch is not before


def test_a_batch_without_a_prefix_follows_another(model: Any) -> None:
    store, asked = PrefixStore(), sorted(prompts(16, seed=6, shots=(0,)), key=len, reverse=True)
    first = answer(model, store, asked[:8], prefix=0)
    assert answer(model, store, asked[8:], prefix=0) is first
    assert store.batch
    assert store.held_bytes() == 2 * sum(layer.all_keys.nbytes for layer in store.batch.kv.layers)


def test_the_memory_is_given_back_when_the_answers_are_made(model: Any) -> None:
    store, asked = PrefixStore(), prompts(8, seed=7, shots=(60,))
    with store.lending():
        answer(model, store, asked, prefix=60)
        assert store.held_bytes() > 0
    assert store.held_bytes() == 0
    assert store.known(tuned=True) == asked[0][:60]
