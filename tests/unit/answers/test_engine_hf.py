"""The transformers engine on a real tiny model: what it answers, and that nothing is inherited or mixed up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tinymodel import CONTEXT, SPECIAL, World, make_adapter, make_base, make_tokenizer, questions, record, settings

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.answers.prompting import ChatPrompt, TextPrompt
from pytest_ftgate.errors import EngineError, FtgateError, IdentityError
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.files.digests import text_sha256
from pytest_ftgate.model.identity import resolve_candidate
from pytest_ftgate.model.manifest import read_manifest, write_manifest
from pytest_ftgate.results import Generation

NEW = 12


@pytest.fixture(scope="module")
def engine(world: World) -> HFEngine:
    return HFEngine(world.candidate(), settings(batch_size=7))


def engine_for(root: Path, model: str = "runs/good", base: str | None = None, **changes: Any) -> HFEngine:
    return HFEngine(resolve_candidate(model, base, root), settings(**changes))


def requests(engine: HFEngine, n: int = 20, *, tuned: bool = True, **changes: Any) -> list[TokenRequest]:
    prompts = [ChatPrompt((Message("system", "Answer."), Message("user", q))) for q in questions(n)]
    return [replace(TokenRequest(engine.encode(p, tuned=tuned), NEW), **changes) for p in prompts]


def answers(engine: HFEngine, asked: Sequence[TokenRequest], *, tuned: bool = True) -> list[Generation]:
    found = dict(engine.generate_from_tokens(asked, tuned=tuned))
    assert sorted(found) == list(range(len(asked)))
    return [found[i] for i in range(len(asked))]


def greedy(model: Any, prompt: Sequence[int], n: int) -> list[int]:
    """One prompt, one token at a time, without cache, padding or generate()."""
    import torch

    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(n):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == SPECIAL.index("<|end|>"):
                break
    return ids[len(prompt) :]


def bare_base(path: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path).eval()


def tuned_by_hand(world: World) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(bare_base(world.base), world.good).eval()


@pytest.mark.parametrize("tuned", [True, False])
def test_f53_batches_answer_as_one_by_one(world: World, engine: HFEngine, tuned: bool) -> None:
    asked = requests(engine, tuned=tuned)
    assert len({len(r.token_ids) for r in asked}) > 5  # so that padding matters
    by_hand = tuned_by_hand(world) if tuned else bare_base(world.base)
    found = answers(engine, asked, tuned=tuned)
    assert [list(g.token_ids) for g in found] == [greedy(by_hand, r.token_ids, NEW) for r in asked]
    assert len({g.text for g in found}) > 15


def test_the_batch_size_changes_no_answer(world: World, engine: HFEngine) -> None:
    asked = [*requests(engine), *requests(engine, 8, stop=("e", "a")), *requests(engine, 5, max_new_tokens=3)]
    wanted = answers(engine, asked)
    assert answers(engine_for(world.root, batch_size=1), asked) == wanted
    assert answers(engine_for(world.root, batch_size=64), asked) == wanted


def test_an_answer_is_cut_at_the_first_stop_string(engine: HFEngine) -> None:
    free = answers(engine, requests(engine))
    stopped = answers(engine, requests(engine, stop=("e", "re")))
    ended = 0
    for whole, cut in zip(free, stopped, strict=True):
        at = whole.text.find("e")
        assert cut.text == (whole.text if at < 0 else whole.text[: whole.text.replace("re", "e\0").find("e")])
        assert cut.finish_reason == ("stop" if at >= 0 else whole.finish_reason)
        assert whole.token_ids[: len(cut.token_ids)] == cut.token_ids  # nothing but what the model wrote
        ended += at >= 0
    assert ended > 5


def test_a_special_token_can_be_a_stop_string(world: World, engine: HFEngine, tmp_path: Path) -> None:
    """A chat model that never stops writes the next turn's mark; `<|user|>` is not in the decoded text."""
    plain = answers(engine, requests(engine))
    copy = world.copy(tmp_path)
    wanted = next(g for g in plain if len(set(g.token_ids[:4])) == 4)
    mark = wanted.token_ids[3]
    # The same model, where that token is now called a special one.
    tokenizer = json.loads((copy.base / "tokenizer.json").read_text())
    name = next(name for name, i in tokenizer["model"]["vocab"].items() if i == mark)
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": mark, "content": name})
    (copy.base / "tokenizer.json").write_text(json.dumps(tokenizer))
    (copy.good / "ftgate.json").unlink()
    other = engine_for(copy.root, base="base")
    asked = [replace(r, stop=(name,)) for r in requests(engine)]
    cut = answers(other, asked)[plain.index(wanted)]
    assert (cut.finish_reason, cut.token_ids) == ("stop", wanted.token_ids[:4])


def test_finish_reasons(world: World, engine: HFEngine, tmp_path: Path) -> None:
    found = answers(engine, requests(engine, max_new_tokens=3))
    cut = next(g for g in found if g.finish_reason == "length" and len(set(g.token_ids)) == 3)
    assert len(cut.token_ids) == 3
    # The same model where the third token ends an answer too: generation_config.json's list counts.
    copy = world.copy(tmp_path)
    (copy.good / "ftgate.json").unlink()
    path = copy.base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [1, cut.token_ids[2]]}))
    ended = answers(engine_for(copy.root, base="base"), requests(engine, max_new_tokens=6))[found.index(cut)]
    assert (ended.finish_reason, ended.token_ids) == ("stop", cut.token_ids)
    assert ended.text == make_tokenizer().decode(cut.token_ids[:2])


def test_a_prompt_that_does_not_fit_is_an_error_and_never_cut(engine: HFEngine) -> None:
    exactly = TokenRequest(tuple([7] * (CONTEXT - NEW)), NEW)
    over = TokenRequest(tuple([7] * (CONTEXT - NEW + 1)), NEW)
    fits, refused, other = answers(engine, [exactly, over, *requests(engine, 1)])
    assert (fits.finish_reason == "error", other.finish_reason == "error") == (False, False)
    assert (refused.finish_reason, refused.text, refused.token_ids) == ("error", "", ())
    assert refused.prompt_tokens == CONTEXT - NEW + 1
    assert f"exceed the context of {CONTEXT}" in refused.error


def test_an_empty_prompt_is_an_error_of_that_prompt_only(engine: HFEngine) -> None:
    empty, other = answers(engine, [TokenRequest((), NEW), *requests(engine, 1)])
    assert empty.finish_reason == "error"
    assert "empty" in empty.error
    assert other == answers(engine, requests(engine, 1))[0]


def test_f50_sampling_and_penalties_of_the_base_are_not_inherited(
    world: World, engine: HFEngine, tmp_path: Path
) -> None:
    asked = requests(engine)
    copy = world.copy(tmp_path)
    (copy.good / "ftgate.json").unlink()
    path = copy.base / "generation_config.json"
    wild = {"do_sample": True, "temperature": 5.0, "top_k": 50, "repetition_penalty": 9.0, "no_repeat_ngram_size": 1}
    path.write_text(json.dumps({**json.loads(path.read_text()), **wild, "min_new_tokens": 12, "max_length": 30}))
    other = engine_for(copy.root, base="base")
    for tuned in (True, False):
        assert answers(other, asked, tuned=tuned) == answers(engine, asked, tuned=tuned)


def test_label_logprobs_equal_a_naive_computation(world: World, engine: HFEngine) -> None:
    import torch

    tokenizer, labels = make_tokenizer(), ("green", "a big tree", "7")
    asked = requests(engine, 6, labels=labels)
    for tuned in (True, False):
        by_hand = tuned_by_hand(world) if tuned else bare_base(world.base)
        for request, found in zip(asked, answers(engine, asked, tuned=tuned), strict=True):
            assert found.label_logprobs is not None
            assert tuple(found.label_logprobs) == labels
            for label in labels:
                coded = tokenizer(label)["input_ids"]
                total, ids = 0.0, list(request.token_ids)
                for token in coded:
                    with torch.inference_mode():
                        logits = by_hand(torch.tensor([ids])).logits[0, -1]
                    total += float(torch.log_softmax(logits, -1)[token])
                    ids.append(token)
                assert found.label_logprobs[label] == pytest.approx(total, abs=1e-4)
        assert answers(engine, requests(engine, 1))[0].label_logprobs is None


def with_end_marks(copy: World, directory: Path, *marks: int) -> HFEngine:
    """The good adapter as a full model whose files say that answers end at these tokens."""
    path = merged(copy, directory) / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [1, *marks]}))
    return engine_for(copy.root, directory.name, base="base")


def test_f54_an_end_mark_of_the_candidate_cuts_no_answer_of_the_base(world: World, tmp_path: Path) -> None:
    """Whoever trains could choose words that the base needs, and its answers would look worse than they are."""
    copy = world.copy(tmp_path)
    asked = requests(engine_for(copy.root), 8)
    free = {tuned: told(answers(engine_for(copy.root), asked, tuned=tuned)) for tuned in (True, False)}
    word, its_own = free[False][0][0][1], free[True][0][0][1]
    engine = with_end_marks(copy, tmp_path / "full", word, its_own)
    assert told(answers(engine, asked, tuned=False)) == free[False]
    assert told(answers(engine, asked, tuned=True))[0] == (free[True][0][0][:2], "stop")
    assert engine.fingerprint(tuned=False) == engine_for(copy.root).fingerprint(tuned=False)
    assert engine.describe()["own_end_marks"] == [make_tokenizer().decode([t]) for t in sorted({word, its_own})]


def test_f54_a_control_token_ends_both_sides(world: World, tmp_path: Path) -> None:
    """Else the base, which was never told to stop there, runs on and looks worse by its length alone."""
    copy = world.copy(tmp_path)
    control = {token for token in make_tokenizer().all_special_ids if token != 1}
    asked = requests(engine_for(copy.root), 60)
    free = told(answers(engine_for(copy.root), asked, tuned=False))
    row, place = next((r, p) for r, (ids, _) in enumerate(free) for p, token in enumerate(ids) if token in control)
    engine = with_end_marks(copy, tmp_path / "full", free[row][0][place])
    assert told(answers(engine, asked, tuned=False))[row] == (free[row][0][: place + 1], "stop")
    # and so what the base answered to the one is not what it answered to the other
    assert engine.fingerprint(tuned=False) != engine_for(copy.root).fingerprint(tuned=False)
    assert engine.describe()["own_end_marks"] == []


def told(found: Sequence[Generation]) -> list[tuple[tuple[int, ...], str]]:
    return [(g.token_ids, g.finish_reason) for g in found]


def merged(world: World, directory: Path) -> Path:
    """A full model directory: the adapter merged into the base."""
    model = tuned_by_hand(world).merge_and_unload()
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory


def test_a_full_model_is_a_candidate_too(world: World, engine: HFEngine, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    merged(copy, tmp_path / "full")
    full = engine_for(copy.root, "full", base="base")
    asked = requests(engine)
    assert [g.text for g in answers(full, asked)] == [g.text for g in answers(engine, asked)]
    assert answers(full, asked, tuned=False) == answers(engine, asked, tuned=False)
    assert full.describe()["kind"] == "model"
    assert full.describe()["base"] == "loaded separately"


def test_a_full_model_with_other_tokens_can_be_judged(world: World, tmp_path: Path) -> None:
    """A vocabulary that grew in training is normal; its logits have another shape than the base's."""
    tokenizer = make_tokenizer(extra=("<|tool|>",))
    make_base(tmp_path / "grown", seed=3, tokenizer=tokenizer)
    copy = world.copy(tmp_path / "w")
    engine = engine_for(copy.root, "../grown", base="base")
    assert len(answers(engine, requests(engine, 2))) == 2
    json.dumps(dict(engine.describe()), allow_nan=False)


@pytest.mark.parametrize(
    "change",
    [{}, {"bias": "lora_only"}, {"bias": "all"}, {"init_lora_weights": "pissa"}, {"init_lora_weights": "olora"}],
    ids=["plain", "bias", "bias_all", "pissa", "olora"],
)
def test_the_base_answers_as_the_bare_base(world: World, tmp_path: Path, change: dict[str, Any]) -> None:
    copy = world.copy(tmp_path)
    base = copy.base
    if "bias" in change:
        base = make_base(tmp_path / "biased", attention_bias=True)
    record(make_adapter(base, tmp_path / "runs" / "odd", **change), base)
    engine = engine_for(copy.root, "runs/odd")
    asked = requests(engine, 6)
    by_hand = bare_base(base)
    found = answers(engine, asked, tuned=False)
    assert [list(g.token_ids) for g in found] == [greedy(by_hand, r.token_ids, NEW) for r in asked]
    assert [g.text for g in found] != [g.text for g in answers(engine, asked)]
    separate = bool(change)
    assert ("loaded separately" in str(engine.describe()["base"])) == separate


PLAIN = "{% for m in messages %}{{ m.content }} {% endfor %}"


def recorded_template(adapter: Path, template: str | None) -> None:
    """ftgate.json as a trainer would have written it that rendered the rows with this template."""
    manifest = read_manifest(adapter)
    assert manifest is not None
    digest = None if template is None else text_sha256(template)
    write_manifest(adapter, replace(manifest, chat_template_sha256=digest))


def test_s2_a_template_that_no_record_vouches_for_is_not_used(world: World, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    make_tokenizer(template=PLAIN).save_pretrained(copy.good)
    engine = engine_for(copy.root)
    prompt = ChatPrompt((Message("user", "the red car"),))
    assert engine.encode(prompt, tuned=True) == engine.encode(prompt, tuned=False)
    told = engine.describe()["chat_templates"]
    assert isinstance(told, dict)
    assert (told["candidate"], told["base"]) == ("the base's", "the base's")
    assert told["not_used_sha256"] == text_sha256(PLAIN)


def test_s2_another_template_than_the_recorded_one_is_an_error(world: World, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    make_tokenizer(template=PLAIN).save_pretrained(copy.good)
    recorded_template(copy.good, PLAIN + "x")
    with pytest.raises(IdentityError, match=r"records the chat template of the training .* found another one"):
        engine_for(copy.root).encode(ChatPrompt((Message("user", "the red car"),)), tuned=True)


def test_s2_the_base_s_template_is_held_to_the_record_too(world: World, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    recorded_template(copy.good, PLAIN)
    with pytest.raises(IdentityError, match=r"found another one .* in base"):
        engine_for(copy.root).encode(ChatPrompt((Message("user", "the red car"),)), tuned=True)


def test_a_tokenizer_beside_the_adapter_is_used_for_the_candidate_only(world: World, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    make_tokenizer(template=PLAIN).save_pretrained(copy.good)
    recorded_template(copy.good, PLAIN)
    engine = engine_for(copy.root)
    prompt = ChatPrompt((Message("user", "the red car"),))
    tokenizer = make_tokenizer()
    assert list(engine.encode(prompt, tuned=True)) == tokenizer("the red car ")["input_ids"]
    assert list(engine.encode(prompt, tuned=False)) == tokenizer("<|user|>the red car<|end|><|assistant|>")["input_ids"]
    told = engine.describe()["chat_templates"]
    assert isinstance(told, dict)
    assert (told["candidate"], told["base"]) == ("the candidate's", "the base's")


def test_a_text_prompt_is_tokenised_as_it_is(engine: HFEngine) -> None:
    assert (
        list(engine.encode(TextPrompt("the red car\n"), tuned=True)) == make_tokenizer()("the red car\n")["input_ids"]
    )


def no_template(world: World) -> None:
    make_tokenizer(template=None).save_pretrained(world.base)
    (world.base / "chat_template.jinja").unlink(missing_ok=True)


def refusing_template(world: World) -> None:
    make_tokenizer(template="{{ raise_exception('system role not supported') }}").save_pretrained(world.base)


def broken_tokenizer(world: World) -> None:
    (world.base / "tokenizer.json").write_text("{")


def broken_config(world: World) -> None:
    (world.base / "config.json").write_text("[]")


def longer_weights(world: World) -> None:
    path = world.base / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"trailing")


def missing_layer(world: World) -> None:
    path = world.base / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_hidden_layers": 3}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_template, "has no chat template"),
        (refusing_template, "system role not supported"),
        (broken_tokenizer, "cannot load a tokenizer"),
        (broken_config, "cannot load a model"),
        (longer_weights, "is larger than its tensors"),
        (missing_layer, "not in its files"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_cannot_be_loaded_is_one_clear_error(
    world: World, tmp_path: Path, change: Callable[[World], None], message: str
) -> None:
    copy = world.copy(tmp_path)
    (copy.good / "ftgate.json").unlink()
    change(copy)
    with pytest.raises(FtgateError) as caught:
        answers_of_chat(engine_for(copy.root, base="base"))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def answers_of_chat(engine: HFEngine) -> list[Generation]:
    return answers(engine, requests(engine, 2), tuned=False)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(world: World, tmp_path: Path) -> None:
    copy = world.copy(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["theredcar"])
    tokenizer.save_pretrained(copy.good)
    with pytest.raises(IdentityError, match="more tokens"):
        engine_for(copy.root).encode(TextPrompt("the theredcar"), tuned=True)


def test_a_device_that_is_not_there(world: World) -> None:
    with pytest.raises(EngineError, match="cannot be used"):
        engine_for(world.root, device="cuda:7").fingerprint(tuned=True)
    with pytest.raises(EngineError, match="cannot be used"):
        engine_for(world.root, device="nonsense").fingerprint(tuned=True)


def test_bfloat16_runs_and_is_another_fingerprint(world: World, engine: HFEngine) -> None:
    half = engine_for(world.root, dtype="bfloat16")
    assert len(answers(half, requests(half, 4))) == 4
    assert half.describe()["dtype"] == "bfloat16"
    assert half.fingerprint(tuned=True) != engine.fingerprint(tuned=True)
    assert engine.fingerprint(tuned=False) != engine.fingerprint(tuned=True)


def test_nf4_runs_on_the_cpu(world: World, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    copy = world.copy(tmp_path)
    base = make_base(tmp_path / "wide", hidden_size=64)
    record(make_adapter(base, tmp_path / "runs" / "wide"), base)
    engine = engine_for(copy.root, "runs/wide", quantize="nf4")
    asked = requests(engine, 3)
    assert {g.finish_reason for g in answers(engine, asked)} <= {"stop", "length"}
    assert engine.describe()["quantize"] == "nf4"
    plain = engine_for(copy.root, "runs/wide")
    assert engine.fingerprint(tuned=True) != plain.fingerprint(tuned=True)
    assert "bitsandbytes" in engine.describe()["versions"]


def test_nothing_is_loaded_before_it_is_needed(world: World) -> None:
    copy = HFEngine(world.candidate(), settings(device="nonsense"))
    assert copy  # making one loads nothing, so a static gate never pays for torch
