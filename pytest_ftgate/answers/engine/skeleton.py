"""What a chat template adds to the messages: the same for all messages with these roles, or the template is refused.

A template is a program. It can drop a turn, show it twice, lack the mark after which the answer begins, or look at the
question and write the answer beside it. So canaries, random words that no template can know, are rendered in the place
of each message. What stands between them is the skeleton, and every prompt of a run must be its skeleton with the
messages filled in, word for word. The one thing that a template may do to a message is to strip its ends, by the same
rule for all messages in that place.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from pytest_ftgate.answers.engine.rendering import TemplateRefused
from pytest_ftgate.errors import EngineError
from pytest_ftgate.files.sanitise import visible

Render = Callable[[Sequence[tuple[str, str]], bool], str]
"""((role, content) of each message, whether the answer is to follow) -> prompt; raises TemplateRefused, EngineError."""

TRIMS: Mapping[str, Callable[[str], str]] = {
    "kept": str,
    "stripped": str.strip,
    "stripped on the left": str.lstrip,
    "stripped on the right": str.rstrip,
    "newlines stripped": lambda text: text.strip("\n"),
    "newlines stripped on the left": lambda text: text.lstrip("\n"),
    "newlines stripped on the right": lambda text: text.rstrip("\n"),
}
"""What templates do to the ends of a message."""
PADDED = "\n {} \n"
"""A message that each of TRIMS leaves otherwise."""
CANARY_LETTERS = 20
SHOWN = 60
"""Characters of a prompt shown on each side of a difference."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The template's own text around the messages of one sequence of roles."""

    pieces: tuple[str, ...]
    """One more than there are messages: the text before, between and after them."""
    order: tuple[int, ...]
    """Index of the message in each place: some templates put the system turn into a later user turn."""
    trims: tuple[str, ...]
    """Key of TRIMS for each place."""
    canaries: tuple[str, ...]
    """What was filled in to find this."""

    def contents(self, messages: Sequence[str]) -> tuple[str, ...]:
        """The messages as they stand in each place."""
        return tuple(TRIMS[trim](messages[i]) for trim, i in zip(self.trims, self.order, strict=True))

    def text(self, contents: Sequence[str]) -> str:
        """The prompt with these contents (in the order of places)."""
        parts = [part for pair in zip(self.pieces, contents, strict=False) for part in pair]
        return "".join([*parts, self.pieces[-1]])


def learn(render: Render, roles: Sequence[str], owner: str) -> Skeleton:
    """The skeleton that the template of `owner` has for these roles.

    Raises EngineError where a turn is lost, shown twice, changed or out of order, or where no answer can follow.
    """
    canaries = [canary() for _ in roles]
    text = render(list(zip(roles, canaries, strict=True)), True)
    order = _order(text, roles, canaries, owner)
    pieces, rest = [], text
    for i in order:
        before, _, rest = rest.partition(canaries[i])
        pieces.append(before)
    pieces = [*pieces, rest]
    _require_generation_prompt(render, roles, canaries, text, owner)
    trims = _trims(render, roles, pieces, order, owner)
    return Skeleton(tuple(pieces), order, trims, tuple(canaries[i] for i in order))


def canary() -> str:
    """A word that no text holds: letters of both cases, so that a change of case shows."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(CANARY_LETTERS))


def require_filled(skeleton: Skeleton, messages: Sequence[str], text: str, owner: str) -> tuple[str, ...]:
    """The contents of `text` in the order of places; EngineError where it is not the skeleton with `messages` in it."""
    contents = skeleton.contents(messages)
    wanted = skeleton.text(contents)
    if text != wanted:
        raise EngineError(
            f"the chat template of {owner} writes other text for these messages than for others of the same roles: "
            f"{difference(wanted, text)}",
            fix="correct chat_template.jinja: what a template adds may depend on roles, never on what a message says",
        )
    return contents


def difference(expected: str, found: str, names: tuple[str, str] = ("expected", "found")) -> str:
    """Where two prompts part, escaped: `expected ...'abc', found ...'abd'`."""
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(expected, found, strict=False)))
    start = max(0, same - SHOWN // 3)
    parts = []
    for name, text in zip(names, (expected, found), strict=True):
        before = "..." if start else ""
        parts.append(f"{name} {before}'{_shown(text[start : start + SHOWN])}'")
    return ", ".join(parts)


def _shown(text: str) -> str:
    return visible(text.replace("\\", "\\\\").replace("\n", "\\n"), limit=4 * SHOWN)


def _order(text: str, roles: Sequence[str], canaries: Sequence[str], owner: str) -> tuple[int, ...]:
    for place, (role, word) in enumerate(zip(roles, canaries, strict=True), 1):
        if (found := text.count(word)) != 1:
            what = f"shows the {role} turn (message {place} of {len(roles)}) {found} times" if found else ""
            if not found and word.casefold() in text.casefold():
                what = f"changes the letters of the {role} turn (message {place} of {len(roles)})"
            what = what or f"drops the {role} turn (message {place} of {len(roles)})"
            raise EngineError(f"the chat template of {owner} {what}; expected it once, as it is", fix=_cure(role))
    order = tuple(sorted(range(len(roles)), key=lambda i: text.index(canaries[i])))
    turns = [i for i in order if roles[i] != "system"]
    if turns != sorted(turns):
        said = ", ".join(f"{roles[i]} (message {i + 1})" for i in order)
        raise EngineError(
            f"the chat template of {owner} puts the turns into another order: {said}",
            fix="correct chat_template.jinja of this model",
        )
    return order


def _cure(role: str) -> str:
    if role == "system":
        return "leave `system` out of the eval set and begin `user` with its words, or correct chat_template.jinja"
    return "correct chat_template.jinja: a model that is not shown the turn was not asked"


def _require_generation_prompt(
    render: Render, roles: Sequence[str], canaries: Sequence[str], text: str, owner: str
) -> None:
    """The prompt must end where an answer begins in a conversation.

    Many templates need no `add_generation_prompt`: the user turn ends with a mark, and the answer follows at once. So
    the end of the prompt is compared with what stands before the answer where the same conversation holds one. A
    reasoning template may add to the one or the other (`<think>`), and must then honour add_generation_prompt.
    """
    asked = list(zip(roles, canaries, strict=True))
    tail = _tail(text, canaries[-1])
    without = _tail(_without_answer(render, asked), canaries[-1])
    before = _before_answer(render, asked)
    adds = tail.rstrip() != without.rstrip()
    if before is None:
        fits = adds
    elif adds:
        fits = tail.rstrip().startswith(before.rstrip()) or before.rstrip().startswith(tail.rstrip())
    else:
        fits = tail.rstrip() == before.rstrip()
    if not fits:
        after = "" if before is None else _shown(before[-SHOWN:])
        expected = f", and an answer in a conversation begins after '{after}'" if after else ""
        raise EngineError(
            f"the chat template of {owner} lacks the generation prompt: its prompt ends in "
            f"'{_shown(tail[-SHOWN:])}'{expected}",
            fix="correct chat_template.jinja: end with the mark of the assistant turn if add_generation_prompt is set",
        )


def _without_answer(render: Render, asked: Sequence[tuple[str, str]]) -> str:
    try:
        return render(asked, False)
    except TemplateRefused:  # made to be asked, and for nothing else
        return ""


def _tail(text: str, word: str) -> str:
    return text.rpartition(word)[2]


def _before_answer(render: Render, asked: Sequence[tuple[str, str]]) -> str | None:
    """What stands between the last message and an answer to it; None where the template does not say."""
    answer = canary()
    try:
        text = render([*asked, ("assistant", answer)], False)
    except TemplateRefused:  # a template for questions alone is odd, but no reason to refuse
        return None
    question = asked[-1][1]
    if text.count(question) != 1 or text.count(answer) != 1 or text.index(question) > text.index(answer):
        return None
    return text[text.index(question) + len(question) : text.index(answer)]


def _trims(
    render: Render, roles: Sequence[str], pieces: Sequence[str], order: Sequence[int], owner: str
) -> tuple[str, ...]:
    padded = [PADDED.format(canary()) for _ in roles]
    text = render(list(zip(roles, padded, strict=True)), True)
    trims, rest = [], text
    for place, i in enumerate(order):
        for name, trim in TRIMS.items():
            start = pieces[place] + trim(padded[i])
            last = place == len(order) - 1
            if rest == start + pieces[-1] if last else rest.startswith(start + pieces[place + 1]):
                trims.append(name)
                rest = rest[len(start) :]
                break
        else:
            raise EngineError(
                f"the chat template of {owner} changes more than the ends of the {roles[i]} turn, or writes other text "
                f"for other words: {difference(pieces[place] + padded[i], rest)}",
                fix="correct chat_template.jinja: messages must stand in the prompt as they are",
            )
    return tuple(trims)
