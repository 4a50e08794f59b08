"""False greens of identity: what was judged is exactly what was named, on exactly its base (F31 to F48)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

from falsegreens import Row, conftest, edit, together
from gateproject import Project
from tinymodel import SPECIAL, make_adapter, make_base, make_tokenizer, record, vouch

from pytest_ftgate.files.digests import text_sha256

WEIGHTS = "adapter_model.safetensors"
JUDGED = "could not be judged"


def tensors(change: Callable[[dict[str, Any]], dict[str, Any]], file: str = f"runs/good/{WEIGHTS}") -> Any:
    """The weights changed and, as a trainer would have left them, the record in step with them."""

    def apply(project: Project) -> None:
        from safetensors.torch import load_file, save_file

        path = str(project.root / file)
        save_file({k: v.contiguous() for k, v in change(load_file(path)).items()}, path, {"format": "pt"})
        recorded(project)

    return apply


def recorded(project: Project) -> None:
    """ftgate.json written anew over what lies there now."""
    good = project.root / "runs" / "good"
    (good / "ftgate.json").unlink(missing_ok=True)
    record(good, project.root / "base", [project.root / "train.jsonl"])


def config(**changes: Any) -> Callable[[Project], None]:
    """Settings changed and, as a trainer would have left it, the record in step with them."""

    def apply(project: Project) -> None:
        edit(project.root / "runs" / "good" / "adapter_config.json", **changes)
        vouch(project.root / "runs" / "good")

    return apply


def spoiled(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(found: dict[str, Any]) -> dict[str, Any]:
        found[min(found)].view(-1)[0] = value
        return found

    return change


def other_base(project: Project) -> None:
    make_base(project.root / "other", seed=7)


def base_changed(project: Project) -> None:
    edit(project.root / "base" / "generation_config.json", eos_token_id=[1, 2])


def base_extended(project: Project) -> None:
    project.write("base/special_tokens_map.json", json.dumps({"eos_token": SPECIAL[2]}))


def template_added(project: Project) -> None:
    """transformers puts default.jinja of this folder in the place of chat_template.jinja."""
    project.write("base/additional_chat_templates/default.jinja", "{% for m in messages %}x{% endfor %}")


def hub_base(project: Project) -> None:
    base = {"id": "org/name", "local": None, "revision": "0" * 40, "files": {}}
    edit(project.root / "runs" / "good" / "ftgate.json", base=base)


def empty(project: Project) -> None:
    (project.root / "empty").mkdir()


def two_checkpoints(project: Project) -> None:
    shutil.copytree(project.root / "runs" / "good", project.root / "runs" / "checkpoint-20")


def base_as_candidate(project: Project) -> None:
    shutil.copytree(project.root / "base", project.root / "same")


def adapter_and_model(project: Project) -> None:
    """Which of the two is deployed depends on who loads the folder."""
    full = make_base(project.root / "full", seed=9)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(full / name, project.root / "runs" / "good" / name)


def base_with_an_adapter(project: Project) -> None:
    """transformers puts an adapter that lies in a model's folder on the model, without a word."""
    for name in ("adapter_config.json", WEIGHTS):
        shutil.copy(project.root / "runs" / "good" / name, project.root / "base" / name)


def pissa(project: Project) -> None:
    shutil.rmtree(project.root / "runs" / "good")
    record(
        make_adapter(project.root / "base", project.root / "runs" / "good", init_lora_weights="pissa"),
        project.root / "base",
    )


def larger_tokenizer(project: Project) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["the", " red", " a"])
    tokenizer.save_pretrained(project.root / "runs" / "good")


def own_template(project: Project) -> None:
    vouched(project, "{% for m in messages %}{{ m.content }} {% endfor %}", recorded=True)


def vouched(project: Project, template: str, *, recorded: bool = False) -> None:
    """The candidate brings this template; `recorded`: as one that was there at training time."""
    good = project.root / "runs" / "good"
    make_tokenizer(template=template).save_pretrained(good)
    if recorded:
        edit(good / "ftgate.json", chat_template_sha256=text_sha256(template))


def bomb(template: str) -> Callable[[Project], None]:
    """A chat template of the candidate's own that is out to harm."""

    def change(project: Project) -> None:
        vouched(project, template, recorded=True)

    return together(change, conftest(HURRY))


HURRY = "from pytest_ftgate.answers.engine import rendering\npatch.setattr(rendering, 'SECONDS', 0.5)\n"
FOR_EVER = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set n = namespace(s='aaaaaaaa') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}"


SWAPPED = """
import pathlib, shutil
from pytest_ftgate.answers.engine import hf_load
real, at = hf_load._load_model, pathlib.Path("base/model.safetensors")
def swapped(*args):
    at.rename("aside")
    shutil.copy("other/model.safetensors", at)
    try:
        return real(*args)
    finally:
        pathlib.Path("aside").replace(at)
patch.setattr(hf_load, "_load_model", swapped)
"""
"""Another base lies there for as long as it takes to load it."""


def renamed(old: str, new: str) -> Any:
    return tensors(lambda found: {k.replace(old, new): v for k, v in found.items()})


ROWS = [
    Row("f31_renamed_keys", "NOT_EVALUATED", JUDGED, renamed("model.layers", "model.blocks"), also=["read-back: 12"]),
    Row(
        "f31_an_extra_prefix",
        "NOT_EVALUATED",
        JUDGED,
        renamed("base_model.model.", "base_model.model.base_model.model."),
    ),
    Row(
        "f32_layers_are_missing",
        "NOT_EVALUATED",
        JUDGED,
        tensors(lambda found: {k: v for k, v in found.items() if ".layers.1." not in k}),
        also=["read-back: 0 tensors of the adapter file are not in the model, 6 in the model"],
    ),
    Row("f32_narrowed_target_modules", "NOT_EVALUATED", JUDGED, config(target_modules=["q_proj"]), also=["read-back"]),
    Row("f32_layers_to_transform", "NOT_EVALUATED", JUDGED, config(layers_to_transform=[0]), also=["read-back"]),
    Row(
        "f34_lora_b_is_zero",
        "NOT_EVALUATED",
        JUDGED,
        tensors(lambda found: {k: v * 0 if "lora_B" in k else v for k, v in found.items()}),
        also=["has no effect"],
    ),
    Row("f35_nan_in_the_weights", "NOT_EVALUATED", JUDGED, tensors(spoiled(float("nan"))), also=["NaN or infinity"]),
    Row("f35_inf_in_the_weights", "NOT_EVALUATED", JUDGED, tensors(spoiled(float("inf"))), also=["NaN or infinity"]),
    Row("f35_alpha_is_nan", None, "NaN", config(lora_alpha=float("nan"))),
    Row("f35_alpha_is_0", None, "lora_alpha is 0", config(lora_alpha=0)),
    Row("f35_scaling_overflows", "NOT_EVALUATED", JUDGED, config(lora_alpha=1e300), also=["NaN or infinity"]),
    Row(
        "f36_base_of_other_weights", None, "was trained on another base", other_base, args=("evals", "--ft-base=other")
    ),
    Row("f37_base_moved", None, "was trained on another base: generation_config.json", base_changed),
    Row("f37_a_file_was_added_to_the_base", None, "another base: special_tokens_map.json", base_extended),
    Row("f37_a_template_was_added", None, "another base: additional_chat_templates/default.jinja", template_added),
    Row("f37_base_of_the_hub_that_is_not_here", None, "is not in the local hub cache", hub_base),
    Row("f38_nowhere", None, "does not exist", model="runs/god"),
    Row("f38_a_hub_id", None, "does not exist", model="org/name"),
    Row("f38_a_file", None, "is a file", model=f"runs/good/{WEIGHTS}"),
    Row("f38_an_empty_folder", None, "neither adapter_config.json", empty, model="empty"),
    Row(
        "f38_the_parent_of_checkpoints",
        None,
        "choose one of the adapters inside it: checkpoint-20, good",
        two_checkpoints,
        model="runs",
    ),
    Row(
        "f38_the_base_itself",
        "NOT_EVALUATED",
        JUDGED,
        base_as_candidate,
        ("evals", "--ft-base=base"),
        "same",
        ["has no effect"],
    ),
    Row("f38_an_adapter_and_a_model_in_one_folder", None, "both", adapter_and_model),
    Row("f41_another_adapter_name", None, "none is the lora_A or lora_B of peft", renamed(".weight", ".lora.weight")),
    Row("f41_an_adapter_in_the_folder_of_the_base", None, "adapter_config.json", base_with_an_adapter),
    Row("f42_adapter_off_is_not_the_base", "BLOCK", "failed", pissa, also=["loaded separately"]),
    Row(
        "f44_more_tokens_than_the_model", "NOT_EVALUATED", JUDGED, larger_tokenizer, also=["more tokens than the model"]
    ),
    Row("f45_the_candidate_brings_a_chat_template", "BLOCK", "failed", own_template, also=["its own chat template"]),
    Row(
        "f48_no_fall_back_to_the_cpu",
        "NOT_EVALUATED",
        JUDGED,
        args=("evals", "--ft-device=cuda:7"),
        also=["cannot be used"],
    ),
    Row("f88_a_template_that_never_ends", "NOT_EVALUATED", JUDGED, bomb(FOR_EVER), also=["no prompt after 0.5"]),
    Row("f88_a_template_that_grows", "NOT_EVALUATED", JUDGED, bomb(DOUBLING), also=["could not be rendered"]),
    Row("f88_a_template_that_counts", "NOT_EVALUATED", JUDGED, bomb("{{ 9 ** 999999999 }}"), also=["could not be"]),
    Row(
        "f91_another_base_while_it_is_loaded",
        "NOT_EVALUATED",
        JUDGED,
        together(other_base, conftest(SWAPPED)),
        also=["the files of the base changed while they were being used: model.safetensors"],
    ),
    Row(
        "f85_a_base_that_cannot_count",
        "NOT_EVALUATED",
        JUDGED,
        tensors(spoiled(float("nan")), "base/model.safetensors"),
        also=["the base's logits hold NaN"],
    ),
]
