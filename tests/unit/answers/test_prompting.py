"""How examples become prompts, and that no shot and no passage ever holds the example that is being asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.answers.prompting import (
    BASE,
    CANDIDATE,
    ChatPrompt,
    System,
    TextPrompt,
    build_prompts,
    plain_words,
    systems_for,
    target_text,
)
from pytest_ftgate.errors import PromptError
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet, Example, GenerationSettings, Message, Passages, Prompt, Rung, Shots


def example(i: int | str, target: Any = "t", **fields: Any) -> Example:
    return Example(f"e{i}", fields, target, None, "x.jsonl", 1)


def evalset(examples: Sequence[Example], prompt: Prompt, *rungs: Rung) -> EvalSet:
    return EvalSet("s", Path("s.eval.yaml"), tuple(examples), prompt, rungs, None, GenerationSettings(4), (), "")


def prompts(examples: Sequence[Example], prompt: Prompt, rung: Rung | None = None) -> list[ChatPrompt | TextPrompt]:
    system = System("baseline:r", False, rung) if rung else CANDIDATE
    return list(build_prompts(evalset(examples, prompt, *([rung] if rung else [])), system).prompts)


def withheld(examples: Sequence[Example], prompt: Prompt, rung: Rung) -> int:
    return build_prompts(evalset(examples, prompt, rung), System("baseline:r", False, rung)).withheld


def chat(*turns: tuple[Any, str]) -> ChatPrompt:
    return ChatPrompt(tuple(Message(role, content) for role, content in turns))


QUESTIONS = [example(0, q="the first question"), example(1, q="the second question")]
SHOTS = (
    example("a", "A", q="shot one"),
    example("b", {"k": "é"}, q="shot two"),
    example("c", ["C", "x"], q="shot three"),
)


def test_a_system_and_a_user_turn() -> None:
    prompt = Prompt(system="Answer {{}}.", user="Q: {q}")
    assert prompts(QUESTIONS, prompt)[0] == chat(("system", "Answer {}."), ("user", "Q: the first question"))


def test_without_a_system_turn_there_is_none() -> None:
    assert prompts(QUESTIONS, Prompt(user="{q}"))[1] == chat(("user", "the second question"))


def test_text_form() -> None:
    assert prompts(QUESTIONS, Prompt(text="Q: {q}\nA: "))[0] == TextPrompt("Q: the first question\nA: ")


def test_messages_form_keeps_the_turns_and_takes_the_rungs_system_turn() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    asked = [example(0, chat=turns)]
    assert prompts(asked, Prompt(messages="chat")) == [chat(("user", "a"), ("assistant", "b"), ("user", "c"))]
    rung = Rung("r", Prompt(system="S", messages="chat"))
    assert prompts(asked, Prompt(messages="chat"), rung) == [
        chat(("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"))
    ]


def test_shots_as_turns_and_as_text() -> None:
    rung = Rung("r", Prompt(system="S", user="{q}?"), Shots(SHOTS, 2, "first"))
    assert prompts(QUESTIONS, Prompt(user="{q}"), rung)[0] == chat(
        ("system", "S"),
        ("user", "shot one?"),
        ("assistant", "A"),
        ("user", "shot two?"),
        ("assistant", '{"k": "é"}'),
        ("user", "the first question?"),
    )
    rung = Rung("r", Prompt(text="Q {q}\nA "), Shots(SHOTS, 2, "first"))
    assert prompts(QUESTIONS, Prompt(text="{q}"), rung)[0] == TextPrompt(
        'Q shot one\nA A\n\nQ shot two\nA {"k": "é"}\n\nQ the first question\nA '
    )


@pytest.mark.parametrize(
    ("target", "text"),
    [("x", "x"), (["x", "y"], "x"), (7, "7"), (True, "true"), ({"a": [1, "é"]}, '{"a": [1, "é"]}'), ([], "")],
)
def test_target_text(target: Any, text: str) -> None:
    assert target_text(target) == text


def test_nearest_shots_stand_in_rising_order_of_likeness() -> None:
    texts = ("red car", "the blue house by the sea", "cat")
    pool = tuple(example(i, "A", q=text) for i, text in enumerate(texts))
    rung = Rung("r", Prompt(user="{q}"), Shots(pool, 2, "nearest"))
    (asked,) = prompts([example(0, q="a blue house near the sea")], Prompt(user="{q}"), rung)
    assert isinstance(asked, ChatPrompt)
    assert asked.messages[2] == Message("user", "the blue house by the sea")


@pytest.mark.parametrize("select", ["first", "nearest"])
@pytest.mark.parametrize(
    "copy",
    [
        "How do I get my money back?",
        "how do i get MY money back",
        "  How do I\nget my money back??  ",
        "Ｈow do I get my money back",
    ],
    ids=["exact", "case", "space", "wide"],
)
def test_a_shot_that_asks_the_same_is_withheld(select: Any, copy: str) -> None:
    asked = [example(0, q="How do I get my money back?"), QUESTIONS[0]]
    pool = (example("leak", "SECRET", q=copy), *SHOTS)
    rung = Rung("r", Prompt(user="{q}"), Shots(pool, 3, select))
    leaky, other = prompts(asked, Prompt(user="{q}"), rung)
    assert "SECRET" not in str(leaky)
    assert leaky.messages[-1].content == "How do I get my money back?"  # type: ignore[union-attr]
    assert len(leaky.messages) == len(other.messages) == 7  # type: ignore[union-attr]
    assert withheld(asked[:1], Prompt(user="{q}"), rung) == 1


def test_too_few_shots_left_is_an_error_and_not_a_shorter_prompt() -> None:
    rung = Rung("r", Prompt(user="{q}"), Shots(SHOTS, 3, "first"))
    with pytest.raises(PromptError, match="only 2 of 3 shots are left for example e0"):
        prompts([example(0, q="Shot one!")], Prompt(user="{q}"), rung)


words = st.lists(st.sampled_from(["red", "Red", "car", "car.", "12", "ß", "SS"]), min_size=1, max_size=3).map(" ".join)


@given(question=words, pool=st.lists(words, min_size=3, max_size=8), select=st.sampled_from(["first", "nearest"]))
def test_no_shot_ever_asks_the_evaluated_question(question: str, pool: list[str], select: Any) -> None:
    shots = Shots(tuple(example(i, f"answer {i}", q=q) for i, q in enumerate(pool)), 2, select)
    usable = sum(plain_words(q) != plain_words(question) for q in pool)
    rung = Rung("r", Prompt(user="{q}"), shots)
    try:
        (asked,) = prompts([example("x", q=question)], Prompt(user="{q}"), rung)
    except PromptError:
        assert usable < 2 or not any(plain_words(q) for q in pool)
        return
    assert isinstance(asked, ChatPrompt)
    shown = [m.content for m in asked.messages[:-1] if m.role == "user"]
    assert len(shown) == 2
    assert all(plain_words(q) != plain_words(question) for q in shown)


PASSAGES = (
    "Money: how do I get my money back from the shop? Write to us.",
    "The shop opens at nine and closes at five.",
    "Refunds take ten days.",
    "Parcels are sent on Mondays.",
)
RETRIEVAL = Prompt(user="{passages}\n\n{q}")


def retrieval(n: int = 2, shots: Shots | None = None) -> Rung:
    return Rung("r", RETRIEVAL, shots, Passages(PASSAGES, n))


def test_the_most_alike_passages_are_shown() -> None:
    (asked,) = prompts([example(0, q="when are parcels sent")], Prompt(user="{q}"), retrieval(1))
    assert asked == chat(("user", "Parcels are sent on Mondays.\n\nwhen are parcels sent"))


def test_a_passage_that_quotes_the_question_is_withheld() -> None:
    question = example(0, q="How do I get my money back from the shop?")
    (asked,) = prompts([question], Prompt(user="{q}"), retrieval(3))
    assert "Write to us" not in str(asked)
    assert withheld([question], Prompt(user="{q}"), retrieval(3)) == 1
    # Of few words it may stand in a passage by chance, and is withheld only where it is all of it.
    (short,) = prompts([example(0, q="money back")], Prompt(user="{q}"), retrieval(1))
    assert "Write to us" in str(short)
    (whole,) = prompts([example(0, q="refunds take TEN days")], Prompt(user="{q}"), retrieval(3))
    assert "Refunds take ten days." not in str(whole)


def test_the_passages_of_a_shot_do_not_quote_the_question_either() -> None:
    """The shot is alike, so it retrieves the very passage that holds the evaluated question and its answer."""
    question = example(0, q="How do I get my money back from the shop?")
    shots = Shots((example("s", "t", q="how do I get my money back"),), 1, "first")
    (asked,) = prompts([question], Prompt(user="{q}"), retrieval(1, shots))
    assert "Write to us" not in str(asked)


def test_who_must_answer() -> None:
    rungs = [Rung("zero_shot", Prompt(user="{q}")), Rung("few_shot", Prompt(user="{q}"))]
    given = evalset(QUESTIONS, Prompt(user="{q}"), *rungs)

    def names(*kinds: Any) -> list[str]:
        return [system.name for system in systems_for(given, kinds)]

    assert names("overlap") == []
    assert names("format") == names("accuracy") == ["candidate"]
    assert names("beats_baseline") == ["candidate", "baseline:zero_shot", "baseline:few_shot"]
    assert names("forgetting") == ["candidate", "base"]
    assert names("overlap", "accuracy", "beats_baseline", "forgetting")[-1] == "base"
    assert (CANDIDATE.tuned, BASE.tuned) == (True, False)
    assert not any(s.tuned for s in systems_for(given, ("beats_baseline", "forgetting")) if s.name != "candidate")


def test_the_base_is_asked_in_the_candidates_own_words() -> None:
    given = evalset(QUESTIONS, Prompt(system="S", user="{q}"), Rung("zero_shot", Prompt(user="other {q}")))
    assert build_prompts(given, BASE) == build_prompts(given, CANDIDATE)


def test_a_set_on_disk_with_every_rung(tmp_path: Path) -> None:
    def rows(name: str, *values: dict[str, Any]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(v) + "\n" for v in values))

    rows("x.jsonl", *({"id": f"e{i}", "q": f"question {i}", "target": "t"} for i in range(3)))
    rows("shots.jsonl", *({"id": f"s{i}", "q": f"Question {i}", "target": f"T{i}"} for i in range(4)))
    rows("docs.jsonl", *({"text": t} for t in PASSAGES))
    (tmp_path / "x.eval.yaml").write_text(
        "version: 1\nexamples: x.jsonl\nprompt: {system: S, user: '{q}'}\n"
        "baselines:\n"
        "  zero_shot: {system: Z}\n"
        "  few_shot: {shots: {from: shots.jsonl, n: 2, select: nearest}}\n"
        "  retrieval: {user: '{passages} {q}', passages: {from: docs.jsonl, field: text, n: 1}}\n"
        "generation: {max_new_tokens: 4}\nscorer: exact\ngates:\n  beats_baseline: {min_gain: 0.1}\n"
    )
    loaded = load_evalset(tmp_path / "x.eval.yaml")
    _, zero, few, found = systems_for(loaded, ("beats_baseline",))
    assert build_prompts(loaded, zero).prompts[0] == chat(("system", "Z"), ("user", "question 0"))
    for i, asked in enumerate(build_prompts(loaded, few).prompts):
        assert isinstance(asked, ChatPrompt)
        assert f"T{i}" not in str(asked)
        assert len(asked.messages) == 6
    assert build_prompts(loaded, few).withheld == 3  # the nearest shot of each asks its own question
    assert "S" in str(build_prompts(loaded, found).prompts[0])
