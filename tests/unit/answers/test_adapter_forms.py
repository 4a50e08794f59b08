"""Each form of adapter that people have, loaded from its files: it answers as the model in memory that was saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinymodel import CONTEXT, make_base, make_tokenizer, questions, settings

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.answers.engine.tokens import TokenRequest
from pytest_ftgate.answers.prompting import ChatPrompt
from pytest_ftgate.errors import EngineError, FtgateError, IdentityError
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.model.identity import resolve_candidate

NEW = 8
PROMPTS = [ChatPrompt((Message("user", question),)) for question in questions(6)]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama (tied embeddings), untied, gpt2 (Conv1D) and bnb (4 bits in its files), all with one tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel

    root, tokenizer = tmp_path_factory.mktemp("bases"), make_tokenizer()
    make_base(root / "llama", tokenizer=tokenizer, tie_word_embeddings=True)
    make_base(root / "untied", tokenizer=tokenizer)
    torch.manual_seed(0)
    shape: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": CONTEXT, "initializer_range": 0.4}
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **shape, **ends)).save_pretrained(root / "gpt2")
    tokenizer.save_pretrained(root / "gpt2")
    make_base(root / "wide", tokenizer=tokenizer, hidden_size=64, intermediate_size=128)
    form = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    AutoModelForCausalLM.from_pretrained(root / "wide", quantization_config=form).save_pretrained(root / "bnb")
    tokenizer.save_pretrained(root / "bnb")
    return root


def train(base: Path, out: Path, *, grow: int = 0, **lora: Any) -> Any:
    """An adapter in memory, as training leaves it, and its files in `out`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(3)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    if grow:
        tokenizer.add_tokens([f"<|new{i}|>" for i in range(grow)], special_tokens=True)
        model.resize_token_embeddings(len(tokenizer))
    tuned = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", **lora}))
    with torch.no_grad():
        for parameter in tuned.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    tuned.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return tuned.eval()


def engine(root: Path, base: str, **changes: Any) -> HFEngine:
    return HFEngine(resolve_candidate("it", base, root), settings(**changes))


def ours(engine: HFEngine, *, tuned: bool) -> list[list[int]]:
    asked = [TokenRequest(engine.encode(prompt, tuned=tuned), NEW) for prompt in PROMPTS]
    found = dict(engine.generate_from_tokens(asked, tuned=tuned))
    return [list(found[i].token_ids) for i in range(len(asked))]


def theirs(model: Any, engine: HFEngine, *, tuned: bool) -> list[list[int]]:
    """What `model.generate` writes, one prompt at a time."""
    import torch

    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([engine.encode(prompt, tuned=tuned)])
        with torch.inference_mode():
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=0
            )
        found.append(out[0, ids.shape[1] :].tolist())
    return found


Q = {"target_modules": ["q_proj"]}
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "r1_conv1d": ("gpt2", {"target_modules": ["c_attn"], "fan_in_fan_out": True}),
    "r1_conv1d_by_a_pattern": ("gpt2", {"target_modules": r".*\.(c_attn|c_fc)"}),
    "r2_no_task": ("llama", {**Q, "task_type": None}),
    "r3_a_pattern": ("llama", {"target_modules": r".*\.(q_proj|v_proj)"}),
    "r3_all_linear": ("llama", {"target_modules": "all-linear"}),
    "r3_anchored_ranks": (
        "llama",
        {**Q, "rank_pattern": {"^model.layers.0.self_attn.q_proj": 2}, "alpha_pattern": {r"^model\.layers\.1.*": 3}},
    ),
    "x6_lora_on_the_embedding": ("llama", {"target_modules": ["q_proj", "embed_tokens"]}),
    "x6_rows_of_the_embedding": ("llama", {**Q, "trainable_token_indices": [3, 4]}),
    "x6_rows_of_an_untied_embedding": ("untied", {**Q, "trainable_token_indices": [3, 4]}),
    "r4_added_whole": ("llama", {**Q, "grow": 2, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "r4_added_whole_untied": ("untied", {**Q, "grow": 2, "modules_to_save": ["embed_tokens", "lm_head"]}),
    "r4_added": ("llama", {**Q, "grow": 2}),
    "r4_added_untied": ("untied", {**Q, "grow": 2}),
    "s17_pissa": ("llama", {**Q, "init_lora_weights": "pissa"}),
    "s17_olora": ("llama", {**Q, "init_lora_weights": "olora"}),
    "s17_gaussian": ("llama", {**Q, "init_lora_weights": "gaussian"}),
    "s17_orthogonal": ("llama", {**Q, "init_lora_weights": "orthogonal"}),
    "dora_and_rslora": ("llama", {**Q, "use_dora": True, "use_rslora": True}),
    "saved_head": ("untied", {**Q, "modules_to_save": ["lm_head"]}),
    "bias": ("gpt2", {"target_modules": ["c_attn"], "bias": "all"}),
}
SPELLED_OUT = {"r3_anchored_ranks": {"alpha_pattern": {"^model.layers.1.self_attn.q_proj": 3}}}
"""What a person would write into the settings of an adapter whose pattern is refused."""


@pytest.mark.parametrize("name", FORMS)
def test_it_answers_as_in_memory_and_the_base_as_the_bare_base(bases: Path, tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM

    base, changes = FORMS[name]
    shutil.copytree(bases / base, tmp_path / "base")
    tuned = train(tmp_path / "base", tmp_path / "it", **changes)
    if name in SPELLED_OUT:
        file = tmp_path / "it" / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **SPELLED_OUT[name]}))
    loaded = engine(tmp_path, "base")
    assert ours(loaded, tuned=True) == theirs(tuned, loaded, tuned=True)
    bare = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    assert ours(loaded, tuned=False) == theirs(bare, loaded, tuned=False)
    assert ours(loaded, tuned=True) != ours(loaded, tuned=False)


def test_r4_rows_that_are_in_no_file_are_refused(bases: Path, tmp_path: Path) -> None:
    """The embedding was saved, the head that grew with it was not: its new rows would be drawn at random."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(bases / "untied", tmp_path / "base")
    train(tmp_path / "base", tmp_path / "it", grow=2, **Q)
    path = tmp_path / "it" / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if "lm_head" not in k}, path, {"format": "pt"})
    with pytest.raises(IdentityError, match="the new rows are in no file"):
        ours(engine(tmp_path, "base"), tuned=True)


def copied(change: Callable[[Any, Any], None], bases: Path, tmp_path: Path) -> HFEngine:
    """A full model made from `wide`, beside it as its base."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(bases / "wide", tmp_path / "base")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(bases / "wide"),
        AutoTokenizer.from_pretrained(bases / "wide"),
    )
    change(model, tokenizer)
    model.save_pretrained(tmp_path / "it")
    tokenizer.save_pretrained(tmp_path / "it")
    return engine(tmp_path, "base")


def test_a_full_model_that_only_has_more_tokens_has_no_effect(bases: Path, tmp_path: Path) -> None:
    """Asked with other tokens, any two models differ."""

    def grown(model: Any, tokenizer: Any) -> None:
        tokenizer.add_tokens(["<|new|>"], special_tokens=True)
        model.resize_token_embeddings(len(tokenizer))

    with pytest.raises(IdentityError, match="has no effect"):
        ours(copied(grown, bases, tmp_path), tuned=True)


def test_s16_a_base_in_4_bits_is_said(bases: Path, tmp_path: Path) -> None:
    shutil.copytree(bases / "bnb", tmp_path / "base")
    train(tmp_path / "base", tmp_path / "it", **Q)
    found = engine(tmp_path, "base", quantize="none").describe()
    assert (found["quantize"], found["base_quantize"]) == ("nf4", "nf4")
    assert "bitsandbytes" in str(found["versions"])


def test_s16_a_full_model_in_4_bits_beside_a_base_that_is_not(bases: Path, tmp_path: Path) -> None:
    shutil.copytree(bases / "wide", tmp_path / "base")
    shutil.copytree(bases / "bnb", tmp_path / "it")
    found = engine(tmp_path, "base", quantize="none").describe()
    assert (found["quantize"], found["base_quantize"]) == ("nf4", "none")


def test_s16_the_form_that_was_asked_for_is_read_back_too(bases: Path, tmp_path: Path) -> None:
    shutil.copytree(bases / "wide", tmp_path / "base")
    train(tmp_path / "base", tmp_path / "it", **Q)
    assert engine(tmp_path, "base", quantize="nf4").describe()["quantize"] == "nf4"
    assert engine(tmp_path, "base", quantize="none").describe()["quantize"] == "none"


def test_s17_the_start_that_is_random_is_refused_before_anything_is_loaded(bases: Path, tmp_path: Path) -> None:
    shutil.copytree(bases / "llama", tmp_path / "base")
    train(tmp_path / "base", tmp_path / "it", **Q, init_lora_weights="pissa_niter_4")
    with pytest.raises(FtgateError, match="each load is another model") as caught:
        resolve_candidate("it", "base", tmp_path)
    assert not isinstance(caught.value, EngineError)
    assert "path_initial_model_for_weight_conversion" in caught.value.fix
