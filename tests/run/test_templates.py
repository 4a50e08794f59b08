"""Chat templates and tokenizers that a model's folder brings, the whole way through a run (S1, S2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gateproject import SHIPPING, Project, Run
from tinymodel import TEMPLATE, make_tokenizer, questions, record

from pytest_ftgate.files.digests import text_sha256

DROPS_USER = TEMPLATE.replace("{{ m.content }}", "{% if m.role != 'user' %}{{ m.content }}{% endif %}")
NO_PROMPT = TEMPLATE.partition("{% if add_generation_prompt")[0]
OWN = TEMPLATE.replace("{{ m.content }}", "{{ m.content }}.")


def brings(project: Project, template: str, *, recorded: str | None) -> None:
    """The candidate gets this template; `recorded`: the one that its ftgate.json tells of."""
    good = project.world.good
    make_tokenizer(template=template).save_pretrained(good)
    path = good / "ftgate.json"
    told = {**json.loads(path.read_text()), "chat_template_sha256": recorded and text_sha256(recorded)}
    path.write_text(json.dumps(told))


def judged_nothing(run: Run) -> bool:
    """No gate that asks a model came to a decision."""
    return run.verdict["verdict"] == "NOT_EVALUATED" and not set(run.outcomes.values()) & {"PASS", "FAIL"}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (DROPS_USER, "the chat template of base drops the user turn (message 2 of 2)"),
        (NO_PROMPT, "the chat template of base lacks the generation prompt"),
    ],
)
def test_s1_a_base_that_is_not_asked_the_question_is_an_error(project: Project, template: str, said: str) -> None:
    (project.world.base / "chat_template.jinja").write_text(template)
    record(project.world.good, project.world.base)  # as the trainer would have, on this base
    brings(project, TEMPLATE, recorded=TEMPLATE)
    run = project.gates("evals", "--ft-verdict=require")
    assert said in run.out
    assert judged_nothing(run), run.out
    assert run.code not in (0, 5)


def table(of: int) -> str:
    """TEMPLATE with answers beside the questions it knows."""
    known = json.dumps({question: f"Repeat: answer {i}" for i, question in enumerate(questions()[:of])})
    return TEMPLATE.replace("{{ m.content }}", "{{ m.content }}{{ " + known + ".get(m.content, '') }}")


def test_s2_a_table_of_answers_is_an_error_even_where_it_is_recorded(project: Project) -> None:
    brings(project, table(60), recorded=table(60))
    run = project.gates("evals")
    assert "the chat template of good writes other text for these messages than for others" in run.out
    assert judged_nothing(run), run.out


def test_s2_a_table_of_answers_that_is_not_recorded_is_not_used(project: Project) -> None:
    brings(project, table(60), recorded=None)
    run = project.gates("evals")
    assert run.outcomes == SHIPPING  # what the candidate can without it
    assert "brings a chat template that no ftgate.json records: both sides are asked with the base's" in run.out
    assert run.verdict["engine"]["chat_templates"]["not_used_sha256"] == text_sha256(table(60))


def test_s2_a_recorded_template_is_used_and_said_everywhere(project: Project) -> None:
    brings(project, OWN, recorded=OWN)
    run = project.gates("evals", "--ft-html=report.html", "--ft-receipt=r.json")
    told = run.verdict["engine"]["chat_templates"]
    assert (told["candidate"], told["base"]) == ("the candidate's", "the base's")
    assert (told["candidate_sha256"], told["base_sha256"]) == (text_sha256(OWN), text_sha256(TEMPLATE))
    said = "the candidate is asked with its own chat template, which ftgate.json records"
    assert said in run.out
    assert "the two templates differ: for system + user: the base's" in run.out
    assert said in Path("report.html").read_text()
    receipt = json.loads(Path("r.json").read_text())
    assert receipt["predicate"]["runtime"]["chatTemplates"] == told


def test_s2_another_template_than_the_recorded_one_is_an_error(project: Project) -> None:
    brings(project, OWN, recorded=TEMPLATE)
    run = project.gates("evals")
    assert "ftgate.json records the chat template of the training" in run.out
    assert judged_nothing(run), run.out


def test_s2_a_tokenizer_that_rewrites_the_questions_is_an_error(project: Project) -> None:
    from tokenizers.normalizers import Replace

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = Replace("house", "car")
    tokenizer.save_pretrained(project.world.good)
    assert any("house" in question for question in questions())
    run = project.gates("evals")
    assert "the tokenizer of good reads other words in a prompt than the base's" in run.out
    assert judged_nothing(run), run.out
