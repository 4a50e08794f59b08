"""Which model is judged, and is the base the base: every doubt is an error that names its cause and the way out."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinymodel import World, make_adapter, make_base, record, settings, vouch

from pytest_ftgate.answers.engine.hf import HFEngine
from pytest_ftgate.errors import FtgateError, IdentityError
from pytest_ftgate.files.digests import directory_digests
from pytest_ftgate.model.identity import resolve_candidate

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def copy(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy to be broken, where any connection is a failure."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"a connection was tried: {args!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return world.copy(tmp_path)


def refusal(root: Path, model: str = "runs/good", base: str | None = None) -> str:
    with pytest.raises(IdentityError) as caught:
        resolve_candidate(model, base, root)
    assert caught.value.fix
    return str(caught.value)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    if path.name == "adapter_config.json":
        vouch(path.parent)


# -- what --ft-model may be --------------------------------------------------------------------------------------------


def test_a_path_that_does_not_exist_names_its_neighbours(copy: World) -> None:
    assert "--ft-model=runs/god does not exist" in refusal(copy.root, "runs/god")
    assert "beside it: good" in refusal(copy.root, "runs/god")
    assert "nowhere/ does not exist either" in refusal(copy.root, "nowhere/at/all/nowhere/x")


@pytest.mark.parametrize("name", ["org/name", "https://example.org/x", "hf://org/name", "~/x", "*", "-x"])
def test_what_is_no_directory_never_becomes_a_hub_id(copy: World, name: str) -> None:
    assert "expected the directory" in refusal(copy.root, name)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000], ids=["nul", "long"])
def test_what_can_be_no_path(copy: World, name: str) -> None:
    assert len(refusal(copy.root, name)) < 200
    assert "cannot be a path" in refusal(copy.root, base=name)


def test_a_file_is_not_a_directory(copy: World) -> None:
    assert "is a file" in refusal(copy.root, f"runs/good/{WEIGHTS}")


def test_an_empty_directory_and_the_parent_of_runs(copy: World) -> None:
    (copy.root / "empty").mkdir()
    assert "neither adapter_config.json" in refusal(copy.root, "empty")
    shutil.copytree(copy.good, copy.root / "runs" / "checkpoint-20")
    assert "choose one of the adapters inside it: checkpoint-20, good" in refusal(copy.root, "runs")


def test_a_trailing_slash_spaces_and_letters_are_fine(copy: World) -> None:
    shutil.copytree(copy.good, copy.root / "runs" / "mein Modell ü")
    assert resolve_candidate("runs/mein Modell ü/", None, copy.root).digest(tuned=True)
    assert resolve_candidate(str(copy.good), None, Path("/")).path == copy.good.resolve()


# -- the adapter's files -----------------------------------------------------------------------------------------------


def test_pickled_weights_are_refused(copy: World) -> None:
    (copy.good / WEIGHTS).rename(copy.good / "adapter_model.bin")
    assert "a pickle, which can run code" in refusal(copy.root)


def test_missing_weights(copy: World) -> None:
    (copy.good / WEIGHTS).unlink()
    assert "holds no adapter_model.safetensors" in refusal(copy.root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda raw: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (lambda raw: b"", "too few for a header"),
        (lambda raw: raw[:-10], "cut off"),
        (lambda raw: raw[:100], "longer than the file"),
    ],
    ids=["lfs", "empty", "cut", "cut_in_header"],
)
def test_damaged_weights(copy: World, content: Callable[[bytes], bytes], message: str) -> None:
    path = copy.good / WEIGHTS
    path.write_bytes(content(path.read_bytes()))
    assert message in refusal(copy.root)


def test_no_tensor_at_all(copy: World) -> None:
    (copy.good / WEIGHTS).write_bytes(b"\x02" + bytes(7) + b"{}")
    assert "holds no tensor" in refusal(copy.root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_alpha": 0}, "lora_alpha is 0"),
        ({"lora_alpha": -8}, "lora_alpha is -8"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'"),
        ({"lora_alpha": True}, "lora_alpha is True"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": float("nan")}, "NaN"),
        ({"lora_alpha": float("inf")}, "Infinity"),
        ({"r": 0}, "r is 0"),
        ({"r": 10**9}, "r is 1000000000"),
        ({"r": 4.0}, "r is 4.0"),
        ({"r": "4"}, "r is '4'"),
        ({"peft_type": "XLORA"}, "only LORA"),
        ({"peft_type": None}, "only LORA"),
        ({"peft_type": ["LORA"]}, "only LORA"),
        ({"layer_replication": [[0, 9999]]}, "layer_replication"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"target_modules": {"q_proj": 1}}, "target_modules"),
        ({"target_modules": [7]}, "target_modules"),
        ({"modules_to_save": ["(a+)+$"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 10**9}}, "rank_pattern"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
        ({"alpha_pattern": {"(a+)+$": 4}}, "alpha_pattern"),
        ({"alpha_pattern": {"q_proj": float("1e400")}}, "Infinity"),
        ({"alpha_pattern": {"q_proj": 0}}, "alpha_pattern"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_adapter_config_is_checked_before_peft_reads_it(copy: World, change: dict[str, Any], message: str) -> None:
    edit(copy.good / "adapter_config.json", **change)
    began = time.monotonic()
    assert message in refusal(copy.root)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"r": 4, "r": 8}', "\ufeff{", '{"r": "\\ud800"}'])
def test_an_adapter_config_that_is_no_object(copy: World, text: str) -> None:
    (copy.good / "adapter_config.json").write_text(text, encoding="utf-8")
    assert "adapter_config.json" in refusal(copy.root)


# -- the base ----------------------------------------------------------------------------------------------------------


def test_without_ftgate_json_the_base_must_be_given(copy: World) -> None:
    (copy.good / "ftgate.json").unlink()
    message = refusal(copy.root)
    assert "which base was good trained on?" in message
    assert "--ft-base=" in message
    assert resolve_candidate("runs/good", "base", copy.root).base_path == copy.base.resolve()


def test_the_base_named_in_adapter_config_is_not_believed(copy: World) -> None:
    (copy.good / "ftgate.json").unlink()
    edit(copy.good / "adapter_config.json", base_model_name_or_path=str(copy.base))
    assert "which base" in refusal(copy.root)


def test_a_base_that_changed_after_training(copy: World) -> None:
    edit(copy.base / "tokenizer_config.json", eos_token="<|user|>")
    message = refusal(copy.root)
    assert "was trained on another base: tokenizer_config.json of base differ" in message


def test_weights_that_were_replaced_after_the_run(copy: World) -> None:
    edit(copy.good / "ftgate.json", weights=directory_digests(copy.good, ("adapter_config.json", WEIGHTS)))
    resolve_candidate("runs/good", None, copy.root)
    content = bytearray((copy.good / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy.good / WEIGHTS).write_bytes(content)
    assert "adapter_model.safetensors of good is not what ftgate.json describes" in refusal(copy.root)


def test_whoever_only_collects_does_not_hash_the_base_and_whoever_loads_does(copy: World) -> None:
    edit(copy.base / "tokenizer_config.json", eos_token="<|user|>")
    candidate = resolve_candidate("runs/good", None, copy.root, prove_base=False)
    assert "hashed_base" not in vars(candidate)
    with pytest.raises(IdentityError, match="was trained on another base"):
        HFEngine(candidate, settings()).fingerprint(tuned=True)


def test_a_base_of_other_weights_with_the_same_shapes(copy: World) -> None:
    make_base(copy.root / "other", seed=7)
    assert "was trained on another base: model.safetensors of other differ" in refusal(copy.root, base="other")


def test_a_base_of_another_shape(copy: World) -> None:
    make_base(copy.root / "wide", hidden_size=48)
    (copy.good / "ftgate.json").unlink()
    message = refusal(copy.root, base="wide")
    assert "does not fit wide" in message
    assert "is [48, 64] in the base, and the adapter expects 32 where the base has 48" in message


@pytest.mark.parametrize("base", ["nowhere", "runs/good", "org/name", "org/name@main", "base/config.json"])
def test_a_base_that_is_no_model_directory(copy: World, base: str) -> None:
    assert f"--ft-base={base} is not a model directory" in refusal(copy.root, base=base)


def test_a_base_from_the_hub_that_is_not_in_the_cache(copy: World) -> None:
    revision = "0" * 40
    message = refusal(copy.root, base=f"org/name@{revision}")
    assert "base org/name@000000000000 is not in the local hub cache" in message
    assert f"hf download org/name --revision {revision}" in message
    edit(copy.good / "ftgate.json", base={"id": "org/name", "local": None, "revision": revision, "files": {}})
    assert "is not in the local hub cache" in refusal(copy.root)


def test_a_broken_manifest(copy: World) -> None:
    (copy.good / "ftgate.json").write_text('{"version": 1, "base": {}}')
    assert all(f"ftgate.json: {key}: expected" in refusal(copy.root) for key in ("base.local", "training", "seed"))
    (copy.good / "ftgate.json").write_text("{")
    assert "ftgate.json" in refusal(copy.root)


def test_digests_cover_what_decides_the_answers(copy: World) -> None:
    def digests() -> tuple[str, str]:
        candidate = resolve_candidate("runs/good", "base", copy.root)
        return candidate.digest(tuned=True), candidate.digest(tuned=False)

    (copy.good / "ftgate.json").unlink()
    tuned, base = digests()
    (copy.good / "README.md").write_text("no matter")
    assert digests() == (tuned, base)
    edit(copy.good / "adapter_config.json", lora_alpha=16)
    assert digests()[0] != tuned
    assert digests()[1] == base
    tuned = digests()[0]
    (copy.good / "chat_template.jinja").write_text("{{ messages }}")
    assert digests()[0] != tuned
    edit(copy.base / "generation_config.json", eos_token_id=[1, 2])
    assert digests()[1] != base


# -- what only the loaded model shows ----------------------------------------------------------------------------------


def load(world: World, model: str = "runs/good", base: str | None = None) -> HFEngine:
    engine = HFEngine(resolve_candidate(model, base, world.root), settings())
    engine.fingerprint(tuned=True)
    return engine


def loading(world: World, **arguments: Any) -> str:
    with pytest.raises(FtgateError) as caught:
        load(world, **arguments)
    assert "\n" not in caught.value.message
    return str(caught.value)


def change_tensors(world: World, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    path = str(world.good / WEIGHTS)
    save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path, {"format": "pt"})
    vouch(world.good)


def test_a_sound_adapter_loads_without_a_connection(copy: World) -> None:
    facts = load(copy).describe()
    assert facts["read_back_tensors"] == 12
    assert facts["effect"] > 0


def test_renamed_keys(copy: World) -> None:
    change_tensors(copy, lambda t: {k.replace("model.layers", "model.blocks"): v for k, v in t.items()})
    assert "read-back: 12 tensors of the adapter file are not in the model, 12 in the model" in loading(copy)


def test_an_extra_prefix(copy: World) -> None:
    change_tensors(copy, lambda t: {f"base_model.model.{k}": v for k, v in t.items()})
    assert "read-back: 12 tensors" in loading(copy)


def test_missing_layers(copy: World) -> None:
    change_tensors(copy, lambda t: {k: v for k, v in t.items() if ".layers.1." not in k})
    assert "read-back: 0 tensors of the adapter file are not in the model, 6 in the model" in loading(copy)


def test_settings_that_this_peft_does_not_know(copy: World) -> None:
    """It would leave them out, with a warning, and compute something else than was trained."""
    edit(copy.good / "adapter_config.json", use_new_arithmetic=True)
    assert "does not know 'use_new_arithmetic'" in loading(copy)


def test_narrowed_target_modules(copy: World) -> None:
    edit(copy.good / "adapter_config.json", target_modules=["q_proj"])
    assert "read-back: 8 tensors" in loading(copy)


def test_layers_to_transform(copy: World) -> None:
    edit(copy.good / "adapter_config.json", layers_to_transform=[0])
    assert "read-back: 6 tensors" in loading(copy)


def test_lora_b_is_zero(copy: World) -> None:
    change_tensors(copy, lambda t: {k: v * 0 if "lora_B" in k else v for k, v in t.items()})
    assert "has no effect" in loading(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(copy: World, value: float) -> None:
    def spoil(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors[min(tensors)][0, 0] = value
        return tensors

    change_tensors(copy, spoil)
    assert "NaN or infinity" in loading(copy)


def test_an_alpha_so_large_that_logits_overflow(copy: World) -> None:
    edit(copy.good / "adapter_config.json", lora_alpha=1e300)
    assert "NaN or infinity" in loading(copy)


def test_another_rank_than_the_weights_have(copy: World) -> None:
    edit(copy.good / "adapter_config.json", r=8)
    assert "r is 8 for 'model.layers.0.mlp.down_proj', and its tensors in adapter_model.safetensors have rank 4" in (
        refusal(copy.root)
    )


def test_data_that_the_reference_reader_refuses(copy: World) -> None:
    path = copy.good / WEIGHTS
    path.write_bytes(path.read_bytes() + b"more")
    assert "adapter" in loading(copy)


def test_whole_numbers_instead_of_weights(copy: World) -> None:
    change_tensors(copy, lambda t: {k: (v * 10).char() for k, v in t.items()})
    assert "is stored as I8, expected 16, 32 or 64 bit floating point" in refusal(copy.root)


def test_the_base_itself_is_no_candidate(copy: World) -> None:
    shutil.copytree(copy.base, copy.root / "same")
    assert "has no effect" in loading(copy, model="same", base="base")


def test_a_full_model_whose_weights_are_missing(copy: World) -> None:
    """transformers fills them with random numbers, and only warns."""
    from safetensors.torch import load_file, save_file

    full = make_base(copy.root / "full", seed=5)
    tensors = load_file(str(full / "model.safetensors"))
    renamed = {k.replace("layers.1", "blocks.1"): v for k, v in tensors.items()}
    save_file(renamed, str(full / "model.safetensors"), {"format": "pt"})
    assert "9 weights of full are not in its files" in loading(copy, model="full", base="base")


def test_a_full_model_that_was_cut_off(copy: World) -> None:
    path = make_base(copy.root / "full", seed=5) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "full" in loading(copy, model="full", base="base")


def test_pickled_weights_of_a_full_model(copy: World) -> None:
    import torch

    full = make_base(copy.root / "full", seed=5)
    (full / "model.safetensors").unlink()
    torch.save({}, full / "pytorch_model.bin")
    assert "cannot load a model" in loading(copy, model="full", base="base")


def test_code_beside_a_model_is_not_run(copy: World) -> None:
    full = make_base(copy.root / "full", seed=5)
    (full / "evil.py").write_text(f"open({str(copy.root / 'ran')!r}, 'w')\nclass Evil: pass\n")
    names = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    edit(full / "config.json", model_type="evil", auto_map=names)
    assert "cannot load" in loading(copy, model="full", base="base")
    assert not (copy.root / "ran").exists()


def test_an_adapter_with_saved_modules_is_judged_as_it_is(copy: World) -> None:
    """modules_to_save replaces whole layers: the base must still answer as the base."""
    record(make_adapter(copy.base, copy.root / "runs" / "head", modules_to_save=["lm_head"]), copy.base)
    facts = load(copy, "runs/head").describe()
    assert facts["read_back_tensors"] == 13
