"""Writes general.jsonl: twelve skills, twenty questions each, every answer worked out here.

python evalsets/general/generate.py
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

SEED = 20_261_128
PER_SKILL = 20
_WORDS = """
apple bridge candle desert engine feather garden hammer island jacket kitchen ladder mirror needle orange pencil quarter
ribbon saddle temple umbrella village window yellow anchor basket circle dragon
"""
_OPPOSITES = """
hot/cold big/small fast/slow early/late full/empty open/closed heavy/light wet/dry strong/weak rich/poor loud/quiet
hard/soft deep/shallow wide/narrow young/old clean/dirty sharp/blunt true/false left/right up/down
"""
_CAPITALS = """
France/Paris Japan/Tokyo Italy/Rome Spain/Madrid Egypt/Cairo Canada/Ottawa Norway/Oslo Kenya/Nairobi Peru/Lima
Greece/Athens Portugal/Lisbon Austria/Vienna Ireland/Dublin Cuba/Havana Finland/Helsinki Sweden/Stockholm Poland/Warsaw
Hungary/Budapest Thailand/Bangkok Iceland/Reykjavik
"""
WORDS = _WORDS.split()
OPPOSITES = dict(pair.split("/") for pair in _OPPOSITES.split())
CAPITALS = dict(pair.split("/") for pair in _CAPITALS.split())
KINDS = {
    "animal": ["horse", "eagle", "salmon", "rabbit", "spider"],
    "fruit": ["banana", "cherry", "melon", "grape", "lemon"],
    "tool": ["saw", "drill", "wrench", "chisel", "pliers"],
    "vehicle": ["truck", "bicycle", "tram", "ferry", "helicopter"],
}
GOOD = ("The food was wonderful.", "I loved every minute.", "Great value, quick delivery.", "The staff were kind.")
BAD = ("The room was dirty.", "It broke after a day.", "A waste of money.", "I waited two hours for nothing.")
PLACES = ("Oslo", "Lima", "Rome", "Cairo", "Dublin")
NAMES = ("Anna", "Bilal", "Chen", "Dora", "Emeka")

Ask = Callable[[random.Random, int], tuple[str, str]]
"""Draws the n-th question of a skill and its answer."""


def _two(rng: random.Random, count: int = 2) -> str:
    return " ".join(rng.sample(WORDS, count))


def _kind(rng: random.Random, n: int) -> tuple[str, str]:
    word, kind = [(word, kind) for kind, words in KINDS.items() for word in words][n]
    return f"Is a {word} an animal, a fruit, a tool or a vehicle? Answer with one word.", kind


def _sentiment(rng: random.Random, n: int) -> tuple[str, str]:
    good, bad = GOOD[n % 4], BAD[n // 2 % 4]
    name, place = NAMES[n % 5], PLACES[n // 4]
    text, answer = (good, "positive") if n % 2 else (bad, "negative")
    return f"{name} wrote from {place}: {text} Is this positive or negative? Answer with one word.", answer


def _json(rng: random.Random, n: int) -> tuple[str, str]:
    name, place, age = NAMES[n % 5], PLACES[n // 4], 20 + n
    asked = f"{name} is {age} years old and lives in {place}. Write this as JSON with the keys name, age and city."
    return asked, json.dumps({"name": name, "age": age, "city": place})


def _sum(rng: random.Random, n: int) -> tuple[str, str]:
    a, b = rng.randrange(2, 10 ** (1 + n % 3)), rng.randrange(2, 10 ** (1 + n % 2))
    return f"What is {a} + {b}? Answer with the number.", str(a + b)


def _larger(rng: random.Random, n: int) -> tuple[str, str]:
    a, b = rng.sample(range(10, 10 ** (2 + n % 3)), 2)
    return f"Which number is larger, {a} or {b}? Answer with the number.", str(max(a, b))


def _picked(place: int, named: str) -> Ask:
    def ask(rng: random.Random, n: int) -> tuple[str, str]:
        words = _two(rng, 3 + n % 3)
        return f"What is the {named} word of this list? {words}", words.split()[place]

    return ask


def _from(table: dict[str, str], asked: str) -> Ask:
    def ask(rng: random.Random, n: int) -> tuple[str, str]:
        key = list(table)[n]
        return asked.format(key), table[key]

    return ask


def _repeat(rng: random.Random, n: int) -> tuple[str, str]:
    words = _two(rng, 2 + n % 3)
    return f"Repeat these words exactly: {words}", words


def _count(rng: random.Random, n: int) -> tuple[str, str]:
    words = _two(rng, 2 + n % 6)
    return f"How many words are in this list? Answer with the number. {words}", str(len(words.split()))


def _backwards(rng: random.Random, n: int) -> tuple[str, str]:
    words = rng.sample(WORDS, 2 + n % 2)
    return f"Write these words in the opposite order: {' '.join(words)}", " ".join(reversed(words))


SKILLS: dict[str, Ask] = {
    "repeat": _repeat,
    "order": _backwards,
    "count": _count,
    "first": _picked(0, "first"),
    "last": _picked(-1, "last"),
    "sum": _sum,
    "larger": _larger,
    "opposite": _from(OPPOSITES, "What is the opposite of {}? Answer with one word."),
    "capital": _from(CAPITALS, "What is the capital of {}? Answer with its name."),
    "kind": _kind,
    "sentiment": _sentiment,
    "json": _json,
}


def rows() -> Iterator[dict[str, str]]:
    """Every row, the same on each call."""
    for skill, ask in SKILLS.items():
        rng, seen = random.Random(f"{SEED}:{skill}"), set[str]()
        number = 0
        while len(seen) < PER_SKILL:
            prompt, target = ask(rng, number % PER_SKILL)
            number += 1
            if prompt not in seen:
                seen.add(prompt)
                yield {"id": f"{skill}-{len(seen):02d}", "skill": skill, "prompt": prompt, "target": target}


def main() -> None:
    """Write the file beside this one."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    Path(__file__).with_name("general.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
