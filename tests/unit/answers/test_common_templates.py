"""Chat templates built as those in wide use are: taken, or refused for what they really do.

The structure is theirs, the words are not. Each is asked with the role patterns that prompts of an eval set have.
"""

from __future__ import annotations

import pytest
from tinymodel import make_tokenizer

from pytest_ftgate.answers.engine.hf_prompts import chat_ids
from pytest_ftgate.answers.prompting import ChatPrompt
from pytest_ftgate.errors import EngineError
from pytest_ftgate.evalset.types import Message, Role

PATTERNS: dict[str, tuple[Role, ...]] = {
    "user": ("user",),
    "system": ("system", "user"),
    "shots": ("user", "assistant", "user"),
    "system and shots": ("system", "user", "assistant", "user", "assistant", "user"),
}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATED = (
    "{{- bos_token }}{%- if date_string is not defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- if messages[0].role == 'system' %}{%- set told = messages[0].content | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set told = '' %}{%- endif %}"
    "{{- '<|head|>system<|/head|>\n\nToday: ' + date_string + '\n\n' + told + '<|eot|>' }}"
    "{%- for m in messages %}{{- '<|head|>' + m.role + '<|/head|>\n\n' + m.content | trim + '<|eot|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\n\n' }}{%- endif %}"
)
INST = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set told = messages[0].content + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
    "[INST] {{ (told if loop.first else '') + m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}" + CHATML
TEMPLATES = {
    "chatml": CHATML,
    "chatml with a default system turn": DEFAULT_SYSTEM,
    "headers and the date": DATED,
    "instruction brackets": INST,
    "no system role": NO_SYSTEM,
    "thinking": THINKING,
}


def prompt(roles: tuple[Role, ...]) -> ChatPrompt:
    return ChatPrompt(tuple(Message(role, f"words {i} of {role}") for i, role in enumerate(roles)))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_common_templates(name: str, pattern: str) -> None:
    tokenizer, roles = make_tokenizer(template=TEMPLATES[name]), PATTERNS[pattern]
    if name == "no system role" and "system" in roles:
        with pytest.raises(EngineError, match=r"refuses the messages \(system, .*no system role") as caught:
            chat_ids(tokenizer, prompt(roles), "m")
        assert "begin `user` with its words" in str(caught.value)
        return
    text = tokenizer.decode(chat_ids(tokenizer, prompt(roles), "m"))
    assert [text.count(m.content) for m in prompt(roles).messages] == [1] * len(roles)


def test_a_template_that_drops_old_answers_is_refused() -> None:
    """A shot whose answer is not shown teaches nothing: the rung would be weaker than it is written."""
    drops = CHATML.replace("{{ m['content'] }}", "{% if m.role != 'assistant' %}{{ m['content'] }}{% endif %}")
    with pytest.raises(EngineError, match=r"drops the assistant turn \(message 2 of 3\)"):
        chat_ids(make_tokenizer(template=drops), prompt(PATTERNS["shots"]), "m")
