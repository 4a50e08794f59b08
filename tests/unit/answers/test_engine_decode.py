"""Shared prefixes, own decoding and packed labels give what one prompt at a time gives, and do less work."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_engine_hf import answers, bare_base, engine_for, tuned_by_hand
from tinymodel import CONTEXT, World, make_tokenizer, settings

from pytest_ftgate.answers.engine import decode, labels, plain, support
from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.kv import PrefixStore, survivors
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.errors import EngineError
from pytest_ftgate.results import Generation

END, VOCABULARY = 1, 150
LABELS = ("green", "a big tree", "7", "", "on the old house", "green")
STOPS = ((), ("e",), ("re", "a b"), ("<|user|>",))


@pytest.fixture(scope="module")
def engine(world: World) -> HFEngine:
    made = HFEngine(world.candidate(), settings(batch_size=64))
    assert made.describe()["decode"] == "shared-prefix"
    return made


def prompts(n: int, seed: int = 0, *, shots: Sequence[int] = (90, 40, 0)) -> list[tuple[int, ...]]:
    """Random prompts; thirds of them share prefixes of `shots` tokens, as rungs with worked examples do."""
    rng = random.Random(seed)

    def some(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(5, VOCABULARY) for _ in range(count))

    prefixes = [some(count) for count in shots]
    return [prefixes[i % len(shots)] + some(rng.randrange(1, 30)) for i in range(n)]


def one_by_one(model: Any, request: TokenRequest) -> tuple[tuple[int, ...], str, str]:
    """(tokens, text, finish reason) by `model.generate`, without padding; stop strings afterwards."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=request.max_new_tokens, do_sample=False, eos_token_id=END, pad_token_id=0, bos_token_id=None
    )
    ids = torch.tensor([request.token_ids])
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    row, tokenizer = out[0, ids.shape[1] :].tolist(), make_tokenizer()
    for n in range(1, len(row) + 1):
        said, shown = (tokenizer.decode(row[:n], skip_special_tokens=skip) for skip in (False, True))
        if row[n - 1] == END:
            return tuple(row[:n]), shown, "stop"
        if any(stop in said for stop in request.stop):
            cut = min((shown.find(stop) for stop in request.stop if stop in shown), default=len(shown))
            return tuple(row[:n]), shown[:cut], "stop"
    return tuple(row), tokenizer.decode(row, skip_special_tokens=True), "length"


def told(found: Sequence[Generation]) -> list[tuple[tuple[int, ...], str, str]]:
    return [(g.token_ids, g.text, g.finish_reason) for g in found]


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_the_answers_are_those_of_model_generate_one_by_one(world: World, size: int, tuned: bool) -> None:
    by_hand = tuned_by_hand(world) if tuned else bare_base(world.base)
    asked = [TokenRequest(ids, (3, 24)[i % 2], STOPS[i % 4]) for i, ids in enumerate(prompts(30, seed=size))]
    found = answers(engine_for(world.root, batch_size=size), asked, tuned=tuned)
    assert told(found) == [one_by_one(by_hand, request) for request in asked]
    assert {g.finish_reason for g in found} == {"stop", "length"}
    assert [g.prompt_tokens for g in found] == [len(r.token_ids) for r in asked]


@pytest.fixture(scope="module")
def whole(engine: HFEngine) -> tuple[list[TokenRequest], list[Generation]]:
    asked = [TokenRequest(ids, 10, STOPS[i % 2], LABELS[:2] if i % 3 else ()) for i, ids in enumerate(prompts(30))]
    return asked, answers(engine, asked)


@given(st.lists(st.integers(0, 3), min_size=30, max_size=30), st.randoms(use_true_random=False))
@hypothesis_settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_cut_into_calls_gives_the_same(
    engine: HFEngine, whole: tuple[list[TokenRequest], list[Generation]], calls: list[int], rng: random.Random
) -> None:
    asked, wanted = whole
    order = list(range(30))
    rng.shuffle(order)
    for call in sorted(set(calls)):
        part = [i for i in order if calls[i] == call]
        found = answers(engine, [asked[i] for i in part])
        assert told(found) == told([wanted[i] for i in part])
        for i, generation in zip(part, found, strict=True):
            assert generation.label_logprobs == pytest.approx(wanted[i].label_logprobs, abs=1e-4)


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("new", [0, 5])
def test_labels_packed_in_one_row_weigh_as_one_row_each(
    world: World, monkeypatch: pytest.MonkeyPatch, tuned: bool, new: int
) -> None:
    import torch

    monkeypatch.setattr(labels, "LOGIT_BYTES", 20_000)  # several slices of positions
    by_hand, tokenizer = tuned_by_hand(world) if tuned else bare_base(world.base), make_tokenizer()
    asked = [TokenRequest(ids, new, (), LABELS) for ids in prompts(20)]
    engine = engine_for(world.root, batch_size=8)
    found = answers(engine, asked, tuned=tuned)
    coded = [tuple(tokenizer(label)["input_ids"]) for label in LABELS]
    assert max(map(len, coded)) > 4 > 1 == min(len(ids) for ids in coded if ids)
    for request, generation in zip(asked, found, strict=True):
        with torch.inference_mode():
            wanted = dict(zip(LABELS, plain.label_logprobs(by_hand, request.token_ids, coded), strict=True))
        given = generation.label_logprobs
        assert given is not None
        assert given == pytest.approx(wanted, abs=1e-4)
        assert max(given, key=given.__getitem__) == max(wanted, key=wanted.__getitem__)
    unlabelled = answers(engine, [replace(request, labels=()) for request in asked], tuned=tuned) if new else found
    assert told(found) == told(unlabelled)  # weighing leaves no trace in the answers


def test_references_of_different_length_are_weighed_in_one_batch(world: World, engine: HFEngine) -> None:
    import torch

    tokenizer, by_hand = make_tokenizer(), tuned_by_hand(world)
    texts = ["the red car", "a", "name the old house near the big green tree now", "", "blue"]
    asked = [TokenRequest(ids, 0, (), (text,)) for ids, text in zip(prompts(5, shots=(50,)), texts, strict=True)]
    for request, generation in zip(asked, answers(engine, asked), strict=True):
        ids = tuple(tokenizer(request.labels[0])["input_ids"])
        with torch.inference_mode():
            (wanted,) = plain.label_logprobs(by_hand, request.token_ids, [ids])
        assert generation.label_logprobs == pytest.approx({request.labels[0]: wanted}, abs=1e-4)
        assert (generation.text, generation.token_ids, generation.finish_reason) == ("", ids, "stop")


def test_an_answer_to_weigh_that_does_not_fit_is_an_error(engine: HFEngine) -> None:
    fits, over = answers(engine, [TokenRequest((7,) * n, 0, (), ("7",)) for n in (CONTEXT - 1, CONTEXT)])
    assert (fits.finish_reason, over.finish_reason) == ("stop", "error")
    assert f"of the answer to weigh exceed the context of {CONTEXT}" in over.error


# How much is done


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(rows, tokens of each) of every forward of the model from now on."""
    from transformers import LlamaForCausalLM

    seen: list[tuple[int, int]] = []
    forward = LlamaForCausalLM.forward

    def counted(self: Any, input_ids: Any = None, **kwargs: Any) -> Any:
        seen.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    return seen


def test_a_prefix_is_computed_once_and_ended_rows_leave(engine: HFEngine, forwards: list[tuple[int, int]]) -> None:
    asked = [TokenRequest(ids, 24, ("e", "t")) for ids in prompts(16, seed=5, shots=(120,))]
    found = answers(engine, asked)
    assert forwards[0] == (1, 120)
    tail = max(len(r.token_ids) for r in asked) - 120
    assert forwards[1] == (16, tail)
    assert {tokens for _, tokens in forwards[2:]} == {1}
    # each token but an answer's first costs one row of one step, and no more
    assert sum(rows for rows, _ in forwards[2:]) == sum(len(g.token_ids) - 1 for g in found)
    assert len({len(g.token_ids) for g in found}) > 3
    before = len(forwards)
    assert told(answers(engine, asked[:2])) == told(found[:2])
    assert forwards[before][0] == 2  # the prefix was at hand from the call before
    before = len(forwards)
    answers(engine, asked[:9], tuned=False)
    assert forwards[before] == (1, 120)  # but never the other side's


def test_a_longer_prefix_goes_on_from_the_one_at_hand(engine: HFEngine, forwards: list[tuple[int, int]]) -> None:
    system = prompts(1, seed=8, shots=(100,))[0][:100]
    answers(engine, [TokenRequest((*system, i), 2) for i in range(5, 15)])
    shots = (*system, *range(20, 100))
    before = len(forwards)
    found = answers(engine, [TokenRequest((*shots, i), 2) for i in range(5, 15)])
    assert forwards[before] == (1, 80)
    engine._prefix.clear()
    assert told(answers(engine, [TokenRequest((*shots, i), 2) for i in range(5, 15)])) == told(found)


def test_labels_of_one_token_cost_nothing(engine: HFEngine, forwards: list[tuple[int, int]]) -> None:
    answers(engine, [TokenRequest(ids, 0, (), ("7", "<|user|>", "<|end|>")) for ids in prompts(8, seed=4, shots=(60,))])
    assert len(forwards) == 2


@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_survivors(case: tuple[int, set[int]]) -> None:
    rows, gone = case
    kept = survivors(rows, list(gone))
    assert sorted(kept) == sorted(set(range(rows)) - gone)
    assert all(source == target or source >= len(kept) for target, source in enumerate(kept))


# Memory


def test_memory_that_runs_out_halves_the_batch(world: World, engine: HFEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    other, sizes, step = engine_for(world.root, batch_size=16), [], decode.step
    asked = [TokenRequest(ids, 12) for ids in prompts(20, shots=(60,))]

    def small_memory(model: Any, batch: Any, chosen: Any) -> Any:
        sizes.append(len(chosen))
        if sizes[-1] > 4:
            raise torch.OutOfMemoryError("out of memory")
        return step(model, batch, chosen)

    assert other.describe()["batch_halvings"] == 0  # loaded, and tried
    monkeypatch.setattr(decode, "step", small_memory)
    assert told(answers(other, asked)) == told(answers(engine_for(world.root, batch_size=4), asked))
    assert other.describe()["batch_halvings"] == 2
    assert max(sizes[2:]) == 4  # kept for all later batches

    def no_memory(*_: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(decode, "step", no_memory)
    with pytest.raises(EngineError, match="single prompt"):
        answers(other, asked)


def test_free_memory_bounds_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    config = SimpleNamespace(num_hidden_layers=10)
    model = SimpleNamespace(
        device=torch.device("cuda:0"),
        get_input_embeddings=lambda: torch.nn.Embedding(1000, 100, device="meta"),
        config=SimpleNamespace(get_text_config=lambda decoder: config),
    )
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**34))
    for name in ("memory_reserved", "memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 2**20)
    # 1,000 tokens of 2 x 10 layers x 100 values x 4 bytes, 100 of them read, and the logits
    row = 8_000_000 + 100 * 24 * 100 * 4 + 8 * 1000
    assert support.rows_that_fit(model, 1000, 100, held=0) == int(0.7 * 2**30 / row)
    assert support.rows_that_fit(model, 1000, 100, held=2**30) == int(0.7 * 2**31 / row)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 2**34))
    assert support.rows_that_fit(model, 1000, 100, held=0) == 1


# Other kinds of models

SMALL: dict[str, Any] = {
    "vocab_size": 160,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
GPT2 = {"vocab_size": 160, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.4}


def model_of(name: str, *, attention: str = "sdpa", **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **(GPT2 if name == "gpt2" else {**SMALL, **changes}))
    made = AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()
    made.generation_config = GenerationConfig()
    return made


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama", {"num_key_value_heads": 2}),
        ("llama", {"num_key_value_heads": 2, "attention": "eager"}),
        ("qwen3", {"num_key_value_heads": 2, "head_dim": 8}),
        ("gpt2", {}),
        ("mistral", {"num_key_value_heads": 2, "sliding_window": None}),
    ],
    ids=["llama", "eager", "qwen3", "gpt2", "mistral"],
)
def test_other_models_share_prefixes_too(name: str, changes: dict[str, Any]) -> None:
    import torch

    model = model_of(name, **changes)
    assert support.why_not_shared(model, model) == ""
    asked = prompts(9, seed=2, shots=(60,))
    given = [((5, 9, 30), (11,), (80, 81))] * 9
    with torch.inference_mode():
        batch = decode.prefill(model, PrefixStore(), asked, prefix=60, more=16, tuned=True)
        sums = labels.score(model, batch, given)
        found = decode.greedy(model, batch, max_new_tokens=16, ends={END, 2, 3, 7}, ended=never)
        assert found == [generate_plainly(model, [ids])[0] for ids in asked]
        for row, ids in enumerate(asked):
            assert sums[row] == pytest.approx(plain.label_logprobs(model, ids, given[row]), abs=1e-4)


def never(answer: list[int]) -> bool:
    return False


def generate_plainly(model: Any, asked: Sequence[tuple[int, ...]]) -> list[list[int]]:
    return plain.generate(model, asked, max_new_tokens=16, pad=0, ends={END, 2, 3, 7}, ended=never)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("mistral", {"sliding_window": 16}, "layers of another kind"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "on the length"),
        ("bloom", {"attention": "eager"}, "takes no position_ids"),
        ("falcon", {"alibi": True}, "refuses"),
    ],
)
def test_models_that_cannot_are_asked_plainly(name: str, changes: dict[str, Any], reason: str) -> None:
    model = model_of(name, **changes)
    assert reason in support.why_not_shared(model, model)


def ignores_positions(forward: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(forward)
    def wrong(self: Any, position_ids: Any = None, **kwargs: Any) -> Any:
        return forward(self, **kwargs)

    return wrong


def test_a_model_that_computes_something_else_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    model = model_of("llama")
    monkeypatch.setattr(LlamaForCausalLM, "forward", ignores_positions(LlamaForCausalLM.forward))
    assert "other numbers" in support.why_not_shared(model, model)


def test_the_plain_way_gives_the_same_answers(world: World, monkeypatch: pytest.MonkeyPatch, engine: HFEngine) -> None:
    monkeypatch.setattr(support, "why_not_shared", lambda model, core: "a reason")
    other = engine_for(world.root, batch_size=5)
    assert other.describe()["decode"] == "plain: a reason"
    assert other.fingerprint(tuned=True) != engine.fingerprint(tuned=True)
    asked = [TokenRequest(ids, (3, 24)[i % 2], STOPS[i % 4], LABELS[: i % 3]) for i, ids in enumerate(prompts(30))]
    asked += [TokenRequest(ids, 0, (), ("the old car",)) for ids in prompts(3)]
    for tuned in (True, False):
        found, wanted = answers(other, asked, tuned=tuned), answers(engine, asked, tuned=tuned)
        assert told(found) == told(wanted)
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.label_logprobs == pytest.approx(theirs.label_logprobs, abs=1e-4)
