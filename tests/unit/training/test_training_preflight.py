"""Each check: caught on data that has the fault, silent on data that has not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_base import CONFIG, TEMPLATE, Rows, chat_row, color_rows, make_base, make_project

from pytest_ftgate.files.problems import TrainingDataError
from pytest_ftgate.model.manifest import TrainingFile, write_manifest
from training.config import load_config
from training.device import Device, require_memory
from training.manifest import build_manifest
from training.preflight import Checked, check, describe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny") / "base", taught=False)


def checked(here: Path, base: Path, rows: Rows | None = None, *, config: str = CONFIG) -> Checked:
    return check(load_config(make_project(here, base, config=config, rows=rows)))


def problems_of(here: Path, base: Path, rows: Rows | None = None, *, config: str = CONFIG) -> str:
    with pytest.raises(TrainingDataError) as caught:
        checked(here, base, rows, config=config)
    return str(caught.value)


def many(n: int = 240) -> Rows:
    """Rows that have no fault."""
    return color_rows(n)


def test_good_data_gives_no_warning(tmp_path: Path, base: Path) -> None:
    result = checked(tmp_path, base, many())
    assert result.warnings == ()
    assert len(result.encoded) == 240


def test_the_report_shows_numbers_and_one_row_with_its_mask(tmp_path: Path, base: Path) -> None:
    result = checked(tmp_path, base, many())
    text = describe(result)
    assert "240 (240 target, 0 replay)" in text
    assert 'context  <|user|>the red car 0<|assistant|>\ntrained  {"color": "red"}<|end|>' in text
    lengths = [len(one.input_ids) for one in result.encoded]
    assert f"tokens   {sum(lengths)}, " in text
    assert f"max {max(lengths)}" in text


def test_control_characters_of_rows_reach_no_terminal(tmp_path: Path, base: Path) -> None:
    text = describe(checked(tmp_path, base, [chat_row("\x1b[2Jred\u202e", "x\r\n::error::y"), *many()]))
    assert "\\x1b[2Jred\\u202e" in text
    assert "\\r\\n::error::" in text
    assert not {c for c in text if not c.isprintable()} - {"\n"}


def test_few_rows_are_said(tmp_path: Path, base: Path) -> None:
    (warning,) = checked(tmp_path, base, many(40)).warnings
    assert "40 target rows: too few" in warning


def test_a_hundred_rows_are_advised(tmp_path: Path, base: Path) -> None:
    (warning,) = checked(tmp_path, base, many(120)).warnings
    assert "120 target rows: enough for small changes" in warning


def test_copies_are_counted_and_named(tmp_path: Path, base: Path) -> None:
    rows = many()
    (warning,) = checked(tmp_path, base, [*rows, rows[3], rows[3]]).warnings
    assert "2 rows are exact copies of earlier rows" in warning
    assert "train.jsonl:4, " in warning
    assert "train.jsonl:242" in warning


def test_conflicting_answers_are_counted_and_named(tmp_path: Path, base: Path) -> None:
    rows = many()
    prompt = rows[7]["messages"][0]["content"]
    (warning,) = checked(tmp_path, base, [*rows, chat_row(prompt, '{"color": "mauve"}')]).warnings
    assert "1 prompts have several different answers (0.8% of rows)" in warning
    assert "train.jsonl:8 and " in warning


def test_empty_answers_stop_the_run(tmp_path: Path, base: Path) -> None:
    rows = [*many(), {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": " "}]}]
    assert "train.jsonl:241:" in problems_of(tmp_path, base, rows)


def test_some_cut_answers_are_a_warning_many_are_an_error(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("max_length: 64", "max_length: 40")
    long = [chat_row(f"copy {i}", json.dumps({"color": "red car " * 30})) for i in range(50)]
    (warning,) = checked(tmp_path / "a", base, [*many(), *long[:10]], config=config).warnings
    assert "10 of 250 answers are cut at max_length 40" in warning
    assert "train.jsonl:241" in warning
    found = problems_of(tmp_path / "b", base, [*many(), *long], config=config)
    assert "at most 10% of answers cut at 40 tokens, found 50 of 290" in found


def test_rows_that_would_vanish_stop_the_run(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("max_length: 64", "max_length: 40")
    found = problems_of(tmp_path, base, [*many(), chat_row("red car " * 60, "red")], config=config)
    assert "a trained token within 40 tokens in every row, found none in 1 of 241" in found


def test_max_length_beyond_the_context_stops_the_run(tmp_path: Path, base: Path) -> None:
    found = problems_of(tmp_path, base, config=CONFIG.replace("max_length: 64", "max_length: 512"))
    assert "sft.max_length: expected at most the base's context of 256 tokens, found 512" in found


OPEN_ENDED = TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}")
END_OUTSIDE = TEMPLATE.replace("<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>")
UNMARKED = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
EVERY_TURN = CONFIG.replace("seed: 0", "seed: 0, assistant_only_loss: true")


def test_answers_that_break_the_form_of_the_others_are_named(tmp_path: Path, base: Path) -> None:
    rows = [*many(), chat_row("the red car x", "red"), chat_row("the red car y", '{"colour": "red"}')]
    not_json, other_keys = checked(tmp_path, base, rows).warnings
    assert "1 of 242 answers are no JSON object, unlike the others: " in not_json
    assert "train.jsonl:241" in not_json
    assert "1 of 242 answers have other JSON keys than most: " in other_keys
    assert "train.jsonl:242" in other_keys


def test_free_text_answers_are_no_broken_json(tmp_path: Path, base: Path) -> None:
    rows = [chat_row(f"say {i}", f"{i}" if i % 2 else f'{{"n": {i}}}') for i in range(240)]
    assert checked(tmp_path, base, rows).warnings == ()


@pytest.mark.parametrize(
    "lora",
    [
        "{r: 8}",
        "{r: 4, use_dora: true}",
        "{r: 8, target_modules: [q_proj, v_proj]}",
        "{r: 8, exclude_modules: [down_proj]}",
        "{r: 8, target_modules: [q_proj], layers_to_transform: [1]}",
        "{r: 8, target_modules: [mlp.up_proj]}",
    ],
)
def test_trained_parameters_are_counted_as_peft_has_them(tmp_path: Path, base: Path, lora: str) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    result = checked(tmp_path, base, config=CONFIG.replace("{r: 8, lora_alpha: 16}", lora))
    model = AutoModelForCausalLM.from_pretrained(base)
    weights = sum(parameter.numel() for parameter in model.parameters())
    adapted = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **(result.config.lora or {})))
    assert result.memory.trained == adapted.get_nb_trainable_parameters()[0]
    assert result.memory.weights == weights


def test_memory_by_method(tmp_path: Path, base: Path) -> None:
    lora = checked(tmp_path / "lora", base).memory
    assert lora.bytes == lora.weights * 2 + lora.trained * 16
    qlora = checked(tmp_path / "q", base, config=CONFIG.replace("method: lora", "method: qlora")).memory
    assert qlora.bytes < lora.bytes + lora.weights * 2
    config = CONFIG.replace("method: lora", "method: full").replace("lora: {r: 8, lora_alpha: 16}\n", "")
    full = checked(tmp_path / "full", base, config=config).memory
    assert (full.trained, full.bytes) == (full.weights, 16 * full.weights)


def test_a_gpu_that_is_too_small_is_refused_before_loading(tmp_path: Path, base: Path) -> None:
    result = checked(tmp_path, base)
    small = Device(cuda=True, bf16=True, name="small GPU", free_bytes=result.memory.bytes - 1)
    with pytest.raises(TrainingDataError, match=r"GiB of free GPU memory for lora, found .* on 'small GPU'"):
        require_memory(result, small, bf16=True)
    require_memory(result, Device(True, True, "fits", result.memory.bytes), bf16=True)
    require_memory(result, Device(False, False, "cpu"), bf16=False)


@pytest.mark.parametrize("data", [b"version https://git-lfs.github.com/spec/v1\n", b"\x02" + bytes(7) + b"[]", b""])
def test_weights_that_are_no_safetensors_are_refused(tmp_path: Path, base: Path, data: bytes) -> None:
    path = make_project(tmp_path, base)
    (tmp_path / "base" / "model.safetensors").write_bytes(data)
    with pytest.raises(TrainingDataError, match=r"base\.id: expected weights in safetensors files, found"):
        check(load_config(path))


@pytest.mark.parametrize(
    ("template", "config", "expected"),
    [
        (TEMPLATE, CONFIG, None),
        (TEMPLATE, EVERY_TURN, None),
        (UNMARKED, CONFIG, None),
        (END_OUTSIDE, CONFIG, None),
        (OPEN_ENDED, CONFIG, "each trained answer to end with '<|end|>', found 120 of 120 that do not"),
        (END_OUTSIDE, EVERY_TURN, "each trained answer to end with '<|end|>', found 120 of 120 that do not"),
        (UNMARKED, EVERY_TURN, "expected {% generation %} in the chat template"),
        (None, CONFIG, "train.jsonl:1: expected a base with a chat template for chat rows"),
    ],
)
def test_an_end_mark_that_is_not_taught_stops_the_run(
    tmp_path: Path, base: Path, template: str | None, config: str, expected: str | None
) -> None:
    path = make_project(tmp_path, base, config=config)
    file = tmp_path / "base" / "chat_template.jinja"
    file.write_text(template) if template else file.unlink()
    if expected is None:
        check(load_config(path))
    else:
        with pytest.raises(TrainingDataError) as caught:
            check(load_config(path))
        assert expected in str(caught.value)


def test_an_end_mark_of_the_generation_config_counts(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base)
    (tmp_path / "base" / "chat_template.jinja").write_text(TEMPLATE.replace("<|end|>", "<|system|>"))
    with pytest.raises(TrainingDataError, match="to end with"):
        check(load_config(path))
    settings = tmp_path / "base" / "generation_config.json"
    system = check_tokenizer(tmp_path).convert_tokens_to_ids("<|system|>")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token_id": [1, system]}))
    check(load_config(path))


def check_tokenizer(here: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(here / "base")


def test_plain_text_on_a_chat_model_is_a_warning(tmp_path: Path, base: Path) -> None:
    rows = [{"prompt": f"the red car {i}: ", "completion": "red"} for i in range(240)]
    warnings = checked(tmp_path, base, rows).warnings
    assert any("240 of 240 rows are plain text, but the base has a chat template" in text for text in warnings)


def test_a_prompt_that_inference_would_not_see_is_a_warning(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base, rows=many())
    thinking = TEMPLATE.replace("%}<|assistant|>{% endif", "%}<|assistant|>think{% endif")
    (tmp_path / "base" / "chat_template.jinja").write_text(thinking)
    (warning,) = check(load_config(path)).warnings
    assert "240 of 240 prompts are tokenized differently alone" in warning


def test_a_shared_pad_and_end_mark_is_a_warning(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base, rows=many())
    settings = tmp_path / "base" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "pad_token": "<|end|>"}))
    (warning,) = check(load_config(path)).warnings
    assert "pad and end mark are one token" in warning


def test_a_template_that_refuses_a_row_is_an_error(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base)
    (tmp_path / "base" / "chat_template.jinja").write_text("{{ raise_exception('no system turns') }}" + TEMPLATE)
    with pytest.raises(TrainingDataError, match=r"train\.jsonl:1: messages: .*no system turns"):
        check(load_config(path))


def test_lm_head_is_refused_and_embeddings_are_a_warning(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("r: 8", "r: 8, target_modules: [q_proj, lm_head]")
    assert "lora.target_modules" in problems_of(tmp_path / "a", base, config=config)
    config = CONFIG.replace("r: 8", "r: 8, modules_to_save: [embed_tokens]")
    (warning,) = checked(tmp_path / "b", base, many(), config=config).warnings
    assert "embed_tokens trained" in warning


def test_a_module_that_the_base_has_not_is_warned_of(tmp_path: Path, base: Path) -> None:
    config = CONFIG.replace("r: 8", "r: 8, target_modules: [q_proj, v_porj], modules_to_save: [embed_tokens]")
    (first, *_) = checked(tmp_path / "a", base, many(), config=config).warnings
    assert first.startswith("the base's weight files name no module 'v_porj' (did you mean v_proj?): peft adapts only")
    config = CONFIG.replace("r: 8", "r: 8, target_modules: [q_proj, self_attn.v_proj, mlp.gate_proj]")
    assert not checked(tmp_path / "b", base, many(), config=config).warnings


def test_what_the_base_was_trained_on_is_recorded_too(tmp_path: Path, base: Path) -> None:
    """Else two runs hide what one shows: a full one on the eval examples, then an adapter on its result."""
    path = make_project(tmp_path, base)
    first = build_manifest(check(load_config(path)), hyperparameters={}, warnings=())
    assert [file.path for file in first.training] == ["../../train.jsonl"]
    elsewhere = TrainingFile("../old/leaky.jsonl", "0" * 64, 7)
    again = replace(first.training[0], path="../train.jsonl")
    write_manifest(tmp_path / "base", replace(first, training=(elsewhere, again)))
    second = build_manifest(check(load_config(path)), hyperparameters={}, warnings=())
    assert second.training == (*first.training, replace(elsewhere, path="../../old/leaky.jsonl"))


def test_a_base_without_safetensors_is_refused(tmp_path: Path, base: Path) -> None:
    path = make_project(tmp_path, base)
    weights = tmp_path / "base" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(TrainingDataError, match=r"expected weights as \*\.safetensors, found none"):
        check(load_config(path))
    (tmp_path / "base" / "config.json").unlink()
    with pytest.raises(TrainingDataError, match=r"config\.json, found none"):
        check(load_config(path))
    (tmp_path / "base" / "adapter_config.json").write_text("{}")
    with pytest.raises(TrainingDataError, match=r"config\.json, found an adapter\. Fix: merge it into its base first"):
        check(load_config(path))


def test_a_hub_base_that_is_not_here_is_one_message_without_the_network(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    config = CONFIG.replace("{id: base}", f"{{id: nobody/nothing, revision: '{'a' * 40}'}}")
    found = problems_of(tmp_path, base, config=config)
    assert "base.id: expected 'nobody/nothing' in the hub cache or on the network, found neither" in found


EVALS = """\
version: 1
examples: held.jsonl
prompt: {user: "{q}"}
generation: {max_new_tokens: 8}
gates: {overlap: {max: 0}}
"""
HELD = [
    "which colour does the old lorry behind the northern harbour warehouse have today in the rain",
    "which colour has the small boat that my uncle painted last summer near the quiet lake",
]


def held_out(here: Path, *lines: dict[str, str]) -> str:
    (here / "held.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (here / "held.eval.yaml").write_text(EVALS)
    return CONFIG.replace("max_length: 64", "max_length: 128") + "evals: [held.eval.yaml]\n"


def test_a_row_that_an_eval_set_holds_is_said_before_training(tmp_path: Path, base: Path) -> None:
    examples = [{"id": f"h{i}", "q": q, "target": "red"} for i, q in enumerate(HELD)]
    clean, leaky = tmp_path / "clean", tmp_path / "leaky"
    for place in (clean, leaky):
        place.mkdir()
    assert checked(clean, base, many(), config=held_out(clean, *examples)).warnings == ()
    rows = [*many(), chat_row(HELD[1], "red")]
    warnings = checked(leaky, base, rows, config=held_out(leaky, *examples)).warnings
    (warning,) = [w for w in warnings if "held" in w]
    assert warning.startswith("1 of 2 examples of held stand in the training files")
    assert "h1 (exact, " in warning
    assert ":241)" in warning


def test_an_eval_set_that_cannot_be_read_stops_the_run(tmp_path: Path, base: Path) -> None:
    assert "id" in problems_of(tmp_path, base, many(), config=held_out(tmp_path, {"q": "x", "target": "y"}))
