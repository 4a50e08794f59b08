"""Chat templates in a process of their own: the prompts that transformers makes, and an end to those without one."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import pytest
from tinymodel import TEMPLATE, make_tokenizer

from pytest_ftgate.answers.engine import rendering
from pytest_ftgate.answers.engine.hf_prompts import chat_ids
from pytest_ftgate.answers.prompting import ChatPrompt, Message
from pytest_ftgate.errors import EngineError

ASKED = [
    {"role": "system", "content": "Answer."},
    {"role": "user", "content": "the red car, é \u2028 ❤ {{ x }} <|end|>"},
]
TEMPLATES = {
    "own": TEMPLATE,
    "special": "{{ eos_token }}{% for m in messages %}[{{ m['role'] | upper }}] {{ m.content | trim }}\n{% endfor %}",
    "tojson": "{{ messages | tojson(indent=2) }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "loops": "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_are_those_of_transformers(name: str) -> None:
    tokenizer = make_tokenizer(template=TEMPLATES[name])
    wanted = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False)
    assert rendered(TEMPLATES[name], tokenizer.special_tokens_map) == wanted


def test_token_ids_are_those_of_transformers_where_no_message_holds_a_control_token() -> None:
    tokenizer = make_tokenizer()
    asked = [{**m, "content": m["content"].replace("<|end|>", "<end>")} for m in ASKED]
    wanted = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=True, return_dict=True)
    prompt = ChatPrompt(tuple(Message(m["role"], m["content"]) for m in asked))
    assert chat_ids(tokenizer, prompt, "good") == tuple(wanted["input_ids"])


def rendered(template: str, special: dict[str, Any] | None = None) -> str:
    return rendering.render(template, ASKED, special or {}, "good")


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** 999999999 }}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{{ 'a' * 99999999999 }}",
        "{{ 'a' * 10000001 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ messages[7].content }}",
        r"{{ '\ud800' }}",
        "{{ messages | attr(7) }}",
    ],
    ids=["loops", "power", "doubling", "repeat", "long", "recursion", "undefined", "surrogate", "attr"],
)
def test_a_template_that_would_not_end_ends_and_the_next_prompt_is_made(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1.5)
    began = time.monotonic()
    with pytest.raises((EngineError, rendering.TemplateRefused)):
        rendered(template)
    assert time.monotonic() - began < 30
    monkeypatch.setattr(rendering, "SECONDS", 20.0)
    assert rendered("{{ messages[0].content }}") == "Answer."


def test_a_template_reaches_no_file_and_no_insides() -> None:
    for template in ("{{ ''.__class__.__mro__ }}", "{% include '/etc/passwd' %}", "{{ messages.append(1) }}"):
        try:
            said = rendered(template)
        except (EngineError, rendering.TemplateRefused):
            continue
        assert said == "", template


def test_x5_half_a_character_in_a_prompt_is_an_error_that_names_it() -> None:
    with pytest.raises(EngineError, match=r"chat template of good .*surrogate U\+D800"):
        rendered(r"{{ 'a\ud800' }}{{ messages[0].content }}")


def test_the_date_in_a_prompt_is_the_same_on_every_day() -> None:
    assert rendered("{{ strftime_now('%d %b %Y') }}") == "26 Jul 2024"


def test_what_a_template_says_in_refusing_is_passed_on() -> None:
    with pytest.raises(rendering.TemplateRefused, match="no system turn"):
        rendered("{{ raise_exception('no system turn') }}")


def _render_in_the_fork() -> None:
    rendered("{{ messages[0].content }}")


def test_a_forked_process_renders_with_a_child_of_its_own() -> None:
    assert rendered("{{ messages[0].content }}") == "Answer."
    forked = multiprocessing.get_context("fork").Process(target=_render_in_the_fork)
    forked.start()
    forked.join(60)
    assert forked.exitcode == 0
    assert rendered("{{ messages[0].role }}") == "system"
