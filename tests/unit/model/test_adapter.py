"""Adapters as people have them: what can be judged is taken, and what cannot is told its first cause, without a base.

Every refusal here is of a few files, without torch, and within a second.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adapterfiles import CONFIG, LAYERS, folder, lora, save
from tinymodel import World, make_adapter, make_base, record, vouch

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.model.adapter import AdapterFolder
from pytest_ftgate.model.adapter_names import applies, is_plain
from pytest_ftgate.model.folder import MAX_ADDED_TOKENS, unneeded
from pytest_ftgate.model.identity import resolve_base, resolve_candidate

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 16777216\n"
EVIL = "(.*a){25}$"
WEIGHTS = "adapter_model.safetensors"


def refusal(path: Path, base: str | None = None) -> str:
    """What the gate says, without --ft-base unless one is given; in under a second of this process."""
    began = time.process_time()
    with pytest.raises(IdentityError) as caught:
        resolve_candidate(path.name, base, path.parent)
    assert time.process_time() - began < 1
    assert caught.value.fix
    assert len(str(caught.value)) < 700
    return str(caught.value)


# -- R5, R8, S20: the first cause, whether a base was named or not -----------------------------------------------------


def mlx(path: Path) -> None:
    (path / WEIGHTS).unlink()
    save(path / "adapters.safetensors", {"model.layers.0.self_attn.q_proj.lora_a": (32, 4)})
    (path / "adapter_config.json").write_text(json.dumps({"fine_tune_type": "lora", "num_layers": 2, "model": "x"}))


def mlx_weights_under_our_name(path: Path) -> None:
    save(path / WEIGHTS, {"model.layers.0.self_attn.q_proj.lora_a": (32, 4)})


def pointer_named_bin(path: Path) -> None:
    (path / WEIGHTS).unlink()
    (path / "adapter_model.bin").write_text(POINTER)


def pointer_behind_a_task(path: Path) -> None:
    config(task_type="SEQ_CLS", auto_mapping={"parent_library": "os"})(path)
    (path / WEIGHTS).write_text(POINTER)


def pointer_instead_of_the_config(path: Path) -> None:
    (path / "adapter_config.json").write_text(POINTER)


def cut_off_behind_auto_mapping(path: Path) -> None:
    config(auto_mapping={"base_model_class": "LlamaForSequenceClassification"}, task_type=None)(path)
    (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-7])


def config(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}))

    return change


def file(name: str, *, instead: bool = False) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        (path / name).write_bytes(b"some content")
        if instead:
            (path / WEIGHTS).unlink()

    return change


CAUSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "r5_mlx": (mlx, "is an MLX adapter"),
    "r5_mlx_weights_under_our_name": (mlx_weights_under_our_name, "none is the lora_A or lora_B of peft"),
    "r5_pointer_named_bin": (pointer_named_bin, "adapter_model.bin of it is a Git LFS pointer"),
    "r5_pointer_behind_a_task": (pointer_behind_a_task, "adapter_model.safetensors of it is a Git LFS pointer"),
    "r5_pointer_instead_of_the_config": (pointer_instead_of_the_config, "adapter_config.json of it is a Git LFS"),
    "r5_cut_off_behind_auto_mapping": (cut_off_behind_auto_mapping, "is cut off"),
    "r5_r_against_the_tensors": (config(r=8), f"r is 8 for '{LAYERS[0]}', and its tensors"),
    "r5_rank_pattern_against_the_tensors": (config(rank_pattern={"q_proj": 2}), "r is 2 for"),
    "r5_gguf": (file("lora.gguf", instead=True), "is an adapter in GGUF"),
    "r5_litgpt": (file("lit_model.pth.lora", instead=True), "is a LitGPT adapter"),
    "r5_torchtune": (file("adapter_0.pt", instead=True), "is a torchtune adapter"),
    "r5_nemo": (file("lora.nemo", instead=True), "is a NeMo archive"),
    "r5_megatron": (config(megatron_config={"a": 1}), "asks for layers of Megatron"),
    "r5_prompt_tuning": (config(peft_type="PROMPT_TUNING"), "peft_type is 'PROMPT_TUNING'; only LORA"),
    "s20_seq_cls": (config(task_type="SEQ_CLS"), "task_type is 'SEQ_CLS'; only CAUSAL_LM"),
    "s20_seq_2_seq": (config(task_type="SEQ_2_SEQ_LM"), "task_type is 'SEQ_2_SEQ_LM'; only CAUSAL_LM"),
    "s20_of_no_type": (config(task_type=7), "task_type is 7; only CAUSAL_LM"),
    "s20_class_of_another_head": (
        config(task_type=None, auto_mapping={"base_model_class": "LlamaForSequenceClassification"}),
        "it was trained on a 'LlamaForSequenceClassification'",
    ),
    "x5_base_is_a_number": (config(base_model_name_or_path=7), "base_model_name_or_path is the number 7"),
    "x5_base_is_a_list": (config(base_model_name_or_path=["x"]), "base_model_name_or_path is a list of 1"),
    "x5_auto_mapping_is_a_number": (config(auto_mapping=7), "auto_mapping is the number 7"),
    "s13_a_second_set": (file("adapter_model.bin"), "holds weights twice"),
    "s17_pissa_niter": (config(init_lora_weights="pissa_niter_4"), "each load is another model"),
    "s17_corda": (config(init_lora_weights="corda"), "each load is another model"),
    "s17_loftq": (config(init_lora_weights="loftq"), "each load is another model"),
    "s17_lora_ga": (config(init_lora_weights="lora_ga"), "each load is another model"),
    "s17_not_yet_invented": (config(init_lora_weights="next"), "init_lora_weights is 'next'"),
    "s17_a_number": (config(init_lora_weights=7), "init_lora_weights is 7"),
    "s17_a_list": (config(init_lora_weights=["pissa"]), "init_lora_weights is ['pissa']"),
    "r3_alpha_pattern": (config(alpha_pattern={"(q|k)_proj": 4}), "alpha_pattern holds '(q|k)_proj', a pattern"),
    "r3_modules_to_save": (config(modules_to_save=[EVIL]), "the file of weights holds q_proj"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_r8_the_first_cause_is_named_without_a_base(tmp_path: Path, name: str) -> None:
    change, message = CAUSES[name]
    change(folder(tmp_path / "it"))
    assert message in refusal(tmp_path / "it")


def test_r8_a_sound_adapter_is_asked_for_its_base(tmp_path: Path) -> None:
    assert "which base was it trained on?" in refusal(folder(tmp_path / "it"))


def test_r5_weights_without_their_config(tmp_path: Path) -> None:
    (folder(tmp_path / "it") / "adapter_config.json").unlink()
    assert "holds adapter_model.safetensors, and no adapter_config.json" in refusal(tmp_path / "it")


def test_r5_pointers_in_a_full_model_and_in_a_base(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        folder(tmp_path / "it")
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / "config.json").write_text("{}")
        (tmp_path / "base" / name).write_text(POINTER)
        assert f"{name} of base is a Git LFS pointer" in refusal(tmp_path / "base")
        assert f"{name} of base is a Git LFS pointer" in refusal(tmp_path / "it", "base")
        shutil.rmtree(tmp_path / "base")


def test_r5_a_shard_that_is_missing(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    save(tmp_path / "it" / "x.safetensors", {}).unlink()
    (tmp_path / "it" / "config.json").write_text("{}")
    (tmp_path / "it" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names 'model-00001-of-00002.safetensors', and there is no such file" in refusal(tmp_path / "it")


def test_s20_a_full_model_with_another_head(tmp_path: Path) -> None:
    save(tmp_path / "it" / "model.safetensors", {"a": (2,)})
    (tmp_path / "it" / "config.json").write_text('{"architectures": ["LlamaForSequenceClassification"]}')
    assert "it is a 'LlamaForSequenceClassification'; only models that write text" in refusal(tmp_path / "it")


# -- R1 to R3: what can be judged is taken -----------------------------------------------------------------------------

TAKEN: dict[str, dict[str, Any]] = {
    "r2_peft_without_a_task": {
        "task_type": None,
        "auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers.models.llama"},
    },
    "r2_unsloth": {"auto_mapping": {"base_model_class": "LlamaForCausalLM", "unsloth_fixed": True}},
    "r2_a_library_that_is_never_imported": {"auto_mapping": {"parent_library": "os", "base_model_class": "system"}},
    "r3_a_pattern": {"target_modules": r".*\.(q_proj|v_proj)"},
    "r3_a_pattern_that_never_ends": {"target_modules": EVIL},
    "r3_patterns_everywhere": {"target_modules": ["(a+)+$"], "exclude_modules": EVIL, "layers_pattern": "(a+)+$"},
    "r3_all_linear": {"target_modules": "all-linear"},
    "r3_none": {"target_modules": None},
    "s17_pissa": {"init_lora_weights": "pissa"},
    "s17_olora": {"init_lora_weights": "OLoRA"},
    "s17_eva": {"init_lora_weights": "eva"},
    "s17_gaussian": {"init_lora_weights": "gaussian"},
    "s17_none_of_them": {"init_lora_weights": False},
}


@pytest.mark.parametrize("name", TAKEN)
def test_adapters_as_people_have_them_are_taken(tmp_path: Path, name: str) -> None:
    AdapterFolder(folder(tmp_path / "it", **TAKEN[name])).check()


@pytest.mark.parametrize("name", [name for name in TAKEN if name.startswith("r3")])
def test_r3_peft_is_given_the_names_in_the_file_and_no_pattern(tmp_path: Path, name: str) -> None:
    settings = AdapterFolder(folder(tmp_path / "it", **TAKEN[name])).settings()
    assert settings["target_modules"] == sorted(LAYERS)
    assert (settings.get("exclude_modules"), settings.get("layers_pattern")) == (None, None)


def test_r3_a_plain_list_stays_what_it_is(tmp_path: Path) -> None:
    assert AdapterFolder(folder(tmp_path / "it")).settings()["target_modules"] == ["q_proj"]


def test_r3_ranks_and_alphas_under_anchored_names(tmp_path: Path) -> None:
    shapes = {**lora(LAYERS[:1], rank=2), **lora(LAYERS[1:], rank=4)}
    patterns = {f"^{LAYERS[0]}": 2}
    path = folder(tmp_path / "it", shapes=shapes, rank_pattern=patterns, alpha_pattern={f"^{LAYERS[0]}": 6})
    AdapterFolder(path).check()
    settings = AdapterFolder(path).settings()
    for key, value in (("rank_pattern", 2), ("alpha_pattern", 6)):
        assert [re.match(rf"(.*\.)?({key})$", LAYERS[0]) is not None for key in settings[key]] == [True]
        assert list(settings[key].values()) == [value]


def test_r3_ranks_of_a_pattern_are_those_of_the_tensors(tmp_path: Path) -> None:
    shapes = {**lora(LAYERS[:1], rank=2), **lora(LAYERS[1:], rank=4)}
    path = folder(tmp_path / "it", shapes=shapes, rank_pattern={"(a+)+$": 3})
    AdapterFolder(path).check()
    assert list(AdapterFolder(path).settings()["rank_pattern"].values()) == [2]


@pytest.mark.parametrize(
    "key", ["q_proj", "^q_proj", r"^model\.layers\.0\.self_attn\.q_proj$", r".*\.q_proj", "0.self_attn.q_proj", "proj"]
)
def test_r3_plain_names_mean_what_peft_makes_of_them(key: str) -> None:
    assert is_plain(key)
    for module in (*LAYERS, "q_proj", "x_q_proj", "model.layers.10.self_attn.q_proj"):
        theirs = re.match(rf"(.*\.)?({key})$", module) is not None
        if not (key.startswith(".*") and module == "q_proj"):
            assert applies({key: True}, module, False) is theirs, (key, module)


@pytest.mark.parametrize("key", ["(a+)+$", "q_proj|v_proj", "[qv]_proj", "q.*", "", "a{3}"])
def test_r3_patterns_are_not_taken_for_names(key: str) -> None:
    assert not is_plain(key)


def test_r1_conv1d_keeps_its_weights_the_other_way_round(tmp_path: Path) -> None:
    base = tmp_path / "base"
    save(base / "model.safetensors", {"h.0.attn.c_attn.weight": (32, 96)})
    (base / "config.json").write_text("{}")
    name = "base_model.model.h.0.attn.c_attn.lora_"
    shapes = {f"{name}A.weight": (4, 32), f"{name}B.weight": (96, 4)}
    folder(tmp_path / "it", shapes=shapes, target_modules=["c_attn"], fan_in_fan_out=True)
    assert resolve_candidate("it", "base", tmp_path).kind == "adapter"
    save(tmp_path / "it" / WEIGHTS, {f"{name}A.weight": (4, 32), f"{name}B.weight": (64, 4)})
    assert "does not fit base" in refusal(tmp_path / "it", "base")


def test_r5_a_base_with_fewer_layers(world: World, tmp_path: Path) -> None:
    make_base(tmp_path / "base", num_hidden_layers=1)
    folder(tmp_path / "it")
    assert f"the base has no '{LAYERS[1]}', only others like it" in refusal(tmp_path / "it", "base")


# -- S6, S7, S13, X5: what the files say beside the weights ------------------------------------------------------------


@pytest.fixture
def copy(world: World, tmp_path: Path) -> World:
    return world.copy(tmp_path)


def set_config(path: Path, **changes: Any) -> None:
    file = path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("named", "other"),
    [("/home/me/base", ""), ("Org/BASE", ""), (None, ""), ("", ""), ("C:\\models\\base", ""), ("org/x", "org/x")],
)
def test_s6_another_base_than_the_given_one_is_said(copy: World, named: str | None, other: str) -> None:
    (copy.good / "ftgate.json").unlink()
    set_config(copy.good, base_model_name_or_path=named)
    found = resolve_candidate("runs/good", "base", copy.root)
    assert found.named_base == other
    assert [note for note in found.notes if "names another base" in note] == (
        [f"adapter_config.json of good names another base ({other}) than base"] if other else []
    )


def test_s6_a_record_that_proves_the_base_outweighs_a_name(copy: World) -> None:
    set_config(copy.good, base_model_name_or_path="org/x")
    vouch(copy.good)
    assert resolve_candidate("runs/good", None, copy.root).named_base == ""


@pytest.mark.parametrize("names", [(), ("README.md",), ("adapter_config.json",)])
def test_s7_a_record_that_vouches_for_nothing_is_none(copy: World, names: tuple[str, ...]) -> None:
    path = copy.good / "ftgate.json"
    content = json.loads(path.read_text())
    content["weights"] = {name: content["weights"].get(name, "0" * 64) for name in names}
    path.write_text(json.dumps(content))
    assert "which base was good trained on?" in refusal(copy.good)
    found = resolve_candidate("runs/good", "base", copy.root)
    assert found.manifest is None
    assert any("does not vouch for" in note and WEIGHTS in note for note in found.notes)


def test_s13_what_no_loader_needs_is_named(copy: World) -> None:
    assert resolve_candidate("runs/good", None, copy.root).notes == ()
    for name in ("evil.py", "data.pkl", "x.so"):
        (copy.good / name).write_text("x")
    (note,) = resolve_candidate("runs/good", None, copy.root).notes
    assert "data.pkl, evil.py and x.so in good" in note
    assert unneeded(copy.good) == ["data.pkl", "evil.py", "x.so"]


@pytest.mark.parametrize("other", ["pytorch_model.bin", "model-00001-of-00001.safetensors", "model.gguf"])
def test_s13_a_full_model_with_two_sets_of_weights(tmp_path: Path, other: str) -> None:
    save(tmp_path / "it" / "model.safetensors", {"a": (2,)})
    shutil.copy(tmp_path / "it" / "model.safetensors", tmp_path / "it" / other)
    (tmp_path / "it" / "config.json").write_text("{}")
    assert f"{other}" in refusal(tmp_path / "it")
    assert "holds weights twice" in refusal(tmp_path / "it")


def test_x5_a_circle_of_links(copy: World) -> None:
    examples = copy.root / "evals" / "target.jsonl"
    examples.unlink()
    examples.symlink_to(examples.name)
    with pytest.raises(InputError, match="Too many levels of symbolic links"):
        load_evalset(copy.root / "evals" / "target.eval.yaml")
    (copy.root / "circle").symlink_to("circle")
    assert "--ft-model='circle' cannot be a path" in refusal(copy.root / "circle")


# -- H2, H3: sizes -----------------------------------------------------------------------------------------------------


def grow(path: Path, size: int = 2**40) -> None:
    """A sparse file: it takes no room, and a week to hash."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.truncate(size)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep no sparse files")
@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer_config.json", "tokenizer.json", "adapter_config.json", "odd.bin"])
def test_h2_a_file_of_a_terabyte_is_refused_before_it_is_hashed(tmp_path: Path, name: str) -> None:
    grow(folder(tmp_path / "it") / name)
    assert name in refusal(tmp_path / "it")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems keep no sparse files")
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer_config.json", "chat_template.jinja"])
def test_h2_in_the_base(tmp_path: Path, name: str) -> None:
    folder(tmp_path / "it")
    save(tmp_path / "base" / "model.safetensors", {"a.weight": (2, 2)})
    (tmp_path / "base" / "config.json").write_text("{}")
    grow(tmp_path / "base" / name)
    assert name in refusal(tmp_path / "it", "base")
    with pytest.raises(IdentityError, match=name):
        resolve_base("base", tmp_path)


def test_h3_a_hundred_thousand_tensors(tmp_path: Path) -> None:
    folder(tmp_path / "it", shapes={f"t{i}": () for i in range(100_000)})
    message = refusal(tmp_path / "it")
    assert "holds 100,000 tensors; at most 50,000" in message or "has a header of" in message


def test_h3_metadata_of_99_megabytes(tmp_path: Path) -> None:
    folder(tmp_path / "it")
    save(tmp_path / "it" / WEIGHTS, lora(), __metadata__={"x": "y" * 99_000_000})
    assert "has a header of 99,000," in refusal(tmp_path / "it")


@pytest.mark.parametrize("name", ["tokenizer.json", "added_tokens.json"])
def test_h3_two_hundred_thousand_added_tokens(tmp_path: Path, name: str) -> None:
    tokens = [{"id": i, "content": f"<{i}>", "single_word": False} for i in range(200_000)]
    content: Any = {"added_tokens": tokens} if name == "tokenizer.json" else {f"<{i}>": i for i in range(200_000)}
    (folder(tmp_path / "it") / name).write_text(json.dumps(content))
    assert f"{name} of it adds 200,000 tokens to the vocabulary, expected at most 20,000" in refusal(tmp_path / "it")


def test_h3_many_added_tokens_are_counted_across_pieces(tmp_path: Path) -> None:
    tokens = [{"id": i, "content": "x" * 100} for i in range(MAX_ADDED_TOKENS + 1)]
    (folder(tmp_path / "it") / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
    assert "adds 20,001 tokens" in refusal(tmp_path / "it")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_refusal_takes_little_memory_and_no_torch(tmp_path: Path) -> None:
    import subprocess

    folder(tmp_path / "it")
    save(tmp_path / "it" / WEIGHTS, lora(), __metadata__={"x": "y" * 99_000_000})
    program = (
        "import sys, pathlib\n"
        "from pytest_ftgate.errors import IdentityError\n"
        "from pytest_ftgate.model.identity import resolve_candidate\n"
        "try:\n    resolve_candidate('it', None, pathlib.Path())\n"
        "except IdentityError: pass\n"
        "assert not {'torch', 'peft', 'transformers'} & set(sys.modules)\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert int(done.stdout) < 300_000


def test_s18_the_form_that_it_was_trained_in(copy: World) -> None:
    assert resolve_candidate("runs/good", None, copy.root).trained_form == "none"
    path = copy.good / "ftgate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "method": "qlora"}))
    assert resolve_candidate("runs/good", None, copy.root).trained_form == "nf4"


def test_r5_dora_and_rslora_are_lora(copy: World) -> None:
    record(make_adapter(copy.base, copy.root / "runs" / "dora", use_dora=True, use_rslora=True), copy.base)
    assert resolve_candidate("runs/dora", None, copy.root).kind == "adapter"
