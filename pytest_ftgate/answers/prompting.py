"""EvalSet x System -> prompts. Pure: no model, no tokenizer; scikit-learn only where a rung retrieves."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pytest_ftgate.errors import PromptError
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.templates import as_text, render, render_parts, template_fields
from pytest_ftgate.evalset.types import EvalSet, Example, Message, Passages, Prompt, Rung, Shots
from pytest_ftgate.files.json_value import Json


@dataclass(frozen=True, slots=True)
class System:
    """Who answers."""

    name: str
    """`candidate` · `base` · `baseline:<rung>` · `candidate:reference` · `base:reference`"""
    tuned: bool
    """True: the candidate's weights; False: the base's."""
    rung: Rung | None = None
    """The rung whose prompt is used; None: the task prompt of the EvalSet."""


QUOTED_WORDS = 6
"""A passage may contain a shorter question by chance ("refund"); a longer one is a quotation."""

CANDIDATE = System("candidate", tuned=True)
BASE = System("base", tuned=False)
CANDIDATE_REFERENCE = System("candidate:reference", tuned=True)
BASE_REFERENCE = System("base:reference", tuned=False)
"""The last two answer nothing: how likely is the reference to them, after the task prompt?"""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt for a chat template."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """A prompt for a completion model: tokenised as it is, but for control tokens in the data."""

    text: str
    data: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """(start, end) of what comes from rows, shots and passages: no control token may come from there."""

    def parts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(wording before, between and after the data, the data)"""
        ends = [0, *(place for span in self.data for place in span), len(self.text)]
        cuts = [self.text[a:b] for a, b in pairwise(ends)]
        return tuple(cuts[::2]), tuple(cuts[1::2])


AnyPrompt = ChatPrompt | TextPrompt


@dataclass(frozen=True, slots=True)
class PromptSet:
    """The prompts of one System on one EvalSet, in the order of the examples."""

    prompts: tuple[AnyPrompt, ...]
    withheld: int
    """Shots and passages left out because they hold the evaluated example."""


def systems_for(evalset: EvalSet, kinds: Sequence[str]) -> tuple[System, ...]:
    """The Systems that must answer so that gates of these kinds can be judged, candidate first."""
    rows = [KINDS[kind] for kind in kinds]
    references = {row.references for row in rows}
    systems: list[System] = []
    if any(row.asks_model for row in rows):
        systems.append(CANDIDATE)
    wanted = {rung.name for gate in evalset.gates if gate.kind in kinds for rung in evalset.rungs_of(gate)}
    if "rungs" in references:
        wanted.update(rung.name for rung in evalset.baselines)
    rungs = [rung for rung in evalset.baselines if rung.name in wanted]
    systems += [System(f"baseline:{rung.name}", tuned=False, rung=rung) for rung in rungs]
    if "base" in references:
        systems.append(BASE)
    return tuple(systems)


def target_text(target: Json) -> str:
    """The reference answer as a model would write it; of a list of accepted strings, the first.

    Objects become `json.dumps` with its default separators: the form that training rows should use too.
    """
    if isinstance(target, list):
        target = target[0] if target else ""
    return target if isinstance(target, str) else json.dumps(target, ensure_ascii=False)


def build_prompts(evalset: EvalSet, system: System) -> PromptSet:
    """Render every example of `evalset` as `system` is asked it.

    Raises PromptError where a rung has too few shots left after those that hold the evaluated example are withheld.
    """
    rung = system.rung
    if rung is None:
        return PromptSet(tuple(_assemble(evalset.prompt, ex, (), "") for ex in evalset.examples), 0)
    shots = _Shots(rung.prompt, rung.shots) if rung.shots else None
    passages = _Passages(rung.prompt, rung.passages) if rung.passages else None
    prompts, withheld = [], 0
    for example in evalset.examples:
        chosen: Sequence[Example] = ()
        if shots:
            chosen, skipped = shots.choose(example)
            withheld += skipped
        found: list[str] = []
        for asked in (*chosen, example):
            text, skipped = passages.choose(asked, example) if passages else ("", 0)
            found.append(text)
            withheld += skipped
        worked = list(zip(chosen, found, strict=False))
        prompts.append(_assemble(rung.prompt, example, worked, found[-1]))
    return PromptSet(tuple(prompts), withheld)


def _assemble(prompt: Prompt, example: Example, worked: Sequence[tuple[Example, str]], passages: str) -> AnyPrompt:
    if prompt.text is not None:
        return _one_text(prompt.text, example, worked, passages)
    messages: list[Message] = []
    if prompt.system is not None:
        messages.append(Message("system", _fill(prompt.system, example, passages)))
    if prompt.messages is not None:
        messages += [Message(m["role"], m["content"]) for m in example.fields[prompt.messages]]
        return ChatPrompt(tuple(messages))
    user = prompt.user or ""
    for shot, text in worked:
        messages.append(Message("user", _fill(user, shot, text)))
        messages.append(Message("assistant", target_text(shot.target)))
    messages.append(Message("user", _fill(user, example, passages)))
    return ChatPrompt(tuple(messages))


def _one_text(template: str, example: Example, worked: Sequence[tuple[Example, str]], passages: str) -> TextPrompt:
    parts: list[tuple[str, bool]] = []
    for shot, text in worked:
        parts += [*_parts(template, shot, text), (target_text(shot.target), True), ("\n\n", False)]
    text, data = "", []
    for part, is_data in [*parts, *_parts(template, example, passages)]:
        if is_data:
            data.append((len(text), len(text) + len(part)))
        text += part
    return TextPrompt(text, tuple(data))


def _parts(template: str, example: Example, passages: str) -> list[tuple[str, bool]]:
    return render_parts(template, {**example.fields, "passages": passages})


def _fill(template: str, example: Example, passages: str) -> str:
    return render(template, {**example.fields, "passages": passages})


def question_text(prompt: Prompt, example: Example) -> str:
    """What is asked, without the wording around it: the example's own values in the user or text template."""
    if prompt.messages is not None:
        return "\n".join(m["content"] for m in example.fields[prompt.messages] if m["role"] == "user")
    names = template_fields(prompt.user if prompt.user is not None else prompt.text or "")
    return "\n".join(as_text(example.fields[name]) for name in names if name != "passages")


class _Shots:
    """Worked examples for one rung; never one whose question is the evaluated one."""

    def __init__(self, prompt: Prompt, shots: Shots) -> None:
        self._prompt, self._shots = prompt, shots
        texts = [question_text(prompt, shot) for shot in shots.examples]
        self._keys = [plain_words(text) for text in texts]
        self._rank = _ranker(texts) if shots.select == "nearest" else None

    def choose(self, example: Example) -> tuple[Sequence[Example], int]:
        question = question_text(self._prompt, example)
        key, pool = plain_words(question), self._shots.examples
        order = self._rank(question) if self._rank else range(len(pool))
        chosen: list[Example] = []
        skipped = 0
        for index in order:
            if self._keys[index] == key:
                skipped += 1
            else:
                chosen.append(pool[index])
            if len(chosen) == self._shots.n:
                break
        if len(chosen) < self._shots.n:
            raise PromptError(
                f"only {len(chosen)} of {self._shots.n} shots are left for example {example.id} "
                "after those that ask the same question were withheld",
                fix="add shots that are not in the eval set, or lower shots.n",
            )
        # The most similar shot stands next to the question.
        return (chosen[::-1] if self._rank else chosen), skipped


class _Passages:
    """Reference texts for one rung; never one that holds the evaluated question itself."""

    def __init__(self, prompt: Prompt, passages: Passages) -> None:
        self._prompt, self._passages = prompt, passages
        self._keys = [plain_words(text) for text in passages.texts]
        self._rank = _ranker(passages.texts)

    def choose(self, asked: Example, example: Example) -> tuple[str, int]:
        """Passages for `asked`, a shot or `example` itself, in the prompt of `example`."""
        question = question_text(self._prompt, asked)
        keys = {plain_words(question), plain_words(question_text(self._prompt, example))}
        chosen: list[str] = []
        skipped = 0
        for index in self._rank(question):
            if any(_holds(self._keys[index], key) for key in keys):
                skipped += 1
            else:
                chosen.append(self._passages.texts[index])
            if len(chosen) == self._passages.n:
                break
        return "\n\n".join(chosen), skipped


def _holds(passage: str, question: str) -> bool:
    """Whether the passage is the question, or quotes it; a question of few words is only compared as a whole."""
    if question.count(" ") + 1 < QUOTED_WORDS:
        return passage == question
    return f" {question} " in f" {passage} "


def plain_words(text: str) -> str:
    """NFKC, case-folded, everything that is not a letter or digit one space: the form in which questions are equal."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"[^\W_]+", folded))


def _ranker(texts: Sequence[str]) -> Callable[[str], list[int]]:
    """Indices of `texts` by falling TF-IDF cosine similarity to a query; ties in the order given."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise PromptError(
            "the texts to retrieve from hold no words", fix="give shots or passages with text in them"
        ) from error

    def rank(query: str) -> list[int]:
        similarity = np.asarray((matrix @ vectorizer.transform([query]).T).todense()).ravel()
        return [int(i) for i in np.argsort(-similarity, kind="stable")]

    return rank
