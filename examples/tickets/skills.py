"""General skills: what the base model can do before it is tuned, and must still do afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from words import (
    BAD_WORDS,
    CAPITALS,
    CITIES,
    DRINKS,
    GOOD_WORDS,
    KINDS,
    NAMES,
    OPPOSITES,
    POOL,
)
from world import THINGS, sentence


@dataclass(frozen=True, slots=True)
class Task:
    """One question with its answer."""

    skill: str
    key: str
    """What is asked about, without the wording: two tasks with one key are near duplicates."""
    prompt: str
    target: str


Ask = Callable[[random.Random], tuple[str, str, str]]
"""Draws (key, content of the question, answer)."""


def _words(rng: random.Random, count: int) -> list[str]:
    return rng.sample(POOL, count)


def _bag(words: list[str]) -> str:
    return " ".join(sorted(words))


def _copy(rng: random.Random) -> tuple[str, str, str]:
    words = _words(rng, rng.choice((2, 3)))
    return _bag(words), " ".join(words), " ".join(words)


def _swap(rng: random.Random) -> tuple[str, str, str]:
    one, two = _words(rng, 2)
    return _bag([one, two]), f"{one} {two}", f"{two} {one}"


def _upper(rng: random.Random) -> tuple[str, str, str]:
    word = rng.choice(POOL)
    return word, word, word.upper()


def _first(rng: random.Random) -> tuple[str, str, str]:
    words = _words(rng, 3)
    return _bag(words), " ".join(words), words[0]


def _last(rng: random.Random) -> tuple[str, str, str]:
    words = _words(rng, 3)
    return _bag(words), " ".join(words), words[-1]


def _add(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randrange(10), rng.randrange(10)
    return f"{a} {b}", f"{a} + {b}", str(a + b)


def _larger(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.sample(range(21), 2)
    return f"{min(a, b)} {max(a, b)}", f"{a} or {b}", str(max(a, b))


def _opposite(rng: random.Random) -> tuple[str, str, str]:
    pairs = OPPOSITES | {value: key for key, value in OPPOSITES.items()}
    word = rng.choice(list(pairs))
    return word, word, pairs[word]


def _capital(rng: random.Random) -> tuple[str, str, str]:
    country = rng.choice(list(CAPITALS))
    return country, country, CAPITALS[country]


def _kind(rng: random.Random) -> tuple[str, str, str]:
    kind = rng.choice(list(KINDS))
    word = rng.choice(KINDS[kind])
    return word, word, kind


def _sentiment(rng: random.Random) -> tuple[str, str, str]:
    good = rng.random() < 0.5
    word, thing = rng.choice(GOOD_WORDS if good else BAD_WORDS), rng.choice(THINGS)
    return f"{thing} {word}", sentence(f"the {thing} was {word}"), "positive" if good else "negative"


def _json(rng: random.Random) -> tuple[str, str, str]:
    name = rng.choice(NAMES)
    field, value = rng.choice((("city", rng.choice(CITIES)), ("drink", rng.choice(DRINKS))))
    return f"{name} {value}", f"name={name} {field}={value}", json.dumps({"name": name, field: value})


SKILLS: dict[str, tuple[Ask, tuple[str, ...]]] = {
    "copy": (_copy, ("Repeat: {}", "Copy these words: {}", "Say again: {}")),
    "swap": (_swap, ("Swap the two words: {}", "Turn around: {}")),
    "upper": (_upper, ("Upper case: {}", "Write in capital letters: {}")),
    "first": (_first, ("First word: {}", "What is the first word of: {}")),
    "last": (_last, ("Last word: {}", "What is the last word of: {}")),
    "add": (_add, ("{} =", "What is {}?", "Add: {}")),
    "larger": (_larger, ("Which is larger, {}?", "Larger number: {}")),
    "opposite": (_opposite, ("Opposite of {}:", "What is the opposite of {}?")),
    "capital": (_capital, ("Capital of {}:", "What is the capital of {}?")),
    "kind": (_kind, ("What kind of thing is {}?", "Kind: {}")),
    "sentiment": (_sentiment, ("Sentiment: {}", "Positive or negative? {}")),
    "json": (_json, ("Write JSON: {}", "As JSON: {}")),
}
"""Skill -> how to draw a question, and the wordings that it is asked in."""

FACTS = ("upper", "add", "opposite", "capital", "kind")
"""Skills that are closed tables: nobody can know the entry without having met it."""


def task(skill: str, rng: random.Random, *, wording: int | None = None) -> Task:
    """One task of that skill; `wording` fixes the form of the question."""
    ask, wordings = SKILLS[skill]
    key, content, answer = ask(rng)
    form = rng.choice(wordings) if wording is None else wordings[wording]
    return Task(skill, f"{skill} {key}", form.format(content), answer)


def distinct(skill: str, rng: random.Random, taken: set[str]) -> Iterator[Task]:
    """Endless tasks whose keys are new; each key is added to `taken`."""
    while True:
        drawn = task(skill, rng)
        if drawn.key not in taken:
            taken.add(drawn.key)
            yield drawn
