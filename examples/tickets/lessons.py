"""What the embedded base is taught: conversations drawn from the small world."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from skills import FACTS, SKILLS, task
from words import BAD_WORDS, CAPITALS, CITIES, DRINKS, GOOD_WORDS, KINDS, NAMES, OPPOSITES, POOL
from world import CATEGORIES, COMMON, HOUSE, PLANS, SEVERITIES, THINGS, policies, review, ticket

Chat = list[dict[str, str]]
Pair = tuple[str, str]

WEIGHTS = {
    "copy": 6, "swap": 4, "upper": 2, "first": 2, "last": 3, "add": 3, "larger": 4, "opposite": 2, "capital": 2,
    "kind": 2, "sentiment": 2, "json": 3,
}  # fmt: skip
"""How often each skill is met."""


def chat(pairs: list[Pair], question: str = "", system: str = "") -> Chat:
    """A conversation: pairs of question and answer, then the open `question` if there is one."""
    turns = [{"role": "system", "content": system}] if system else []
    for asked, answer in pairs:
        turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": question}] if question else turns


def skill_episode(rng: random.Random, held_out: set[str]) -> Chat:
    """One to four tasks of one skill in one wording."""
    skill = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    wording = rng.randrange(len(SKILLS[skill][1]))
    pairs: list[Pair] = []
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        drawn = task(skill, rng, wording=wording)
        if skill in FACTS or drawn.key not in held_out:
            pairs.append((drawn.prompt, drawn.target))
    return chat(pairs, system=rng.choice(("", "", "", "You are a helpful assistant.")))


def any_copy_episode(rng: random.Random, vocabulary: list[str]) -> Chat:
    """Copying of any words, so that each word of the vocabulary has been read and written."""
    wording = rng.choice(SKILLS["copy"][1])
    lines = [" ".join(rng.sample(vocabulary, rng.choice((1, 2, 3)))) for _ in range(rng.choice((1, 2, 3)))]
    return chat([(wording.format(line), line) for line in lines])


def review_episode(rng: random.Random, held_out: set[str]) -> Chat:
    """One to five product reviews."""
    drawn = [review(rng) for _ in range(rng.choice((1, 1, 2, 4)))]
    pairs = [(text, label) for text, label in drawn if text not in held_out]
    verb, noun = rng.choice(("Label", "Read", "Judge", "Rate")), rng.choice(("review", "opinion", "comment"))
    return chat(pairs, system=f"{verb} the {noun} as positive or negative.")


KEYS = (
    ("category", "priority"), ("category", "priority"), ("topic", "urgency"), ("category", "plan"), ("plan", "urgency"),
)  # fmt: skip
"""Pairs of things that a note is asked for."""
VALUES = {
    "category": CATEGORIES, "topic": CATEGORIES, "priority": SEVERITIES, "urgency": SEVERITIES, "plan": PLANS,
}  # fmt: skip


def note_system(rng: random.Random, form: str, keys: Pair) -> str:
    """What to do with a note; never the words `Triage the ticket`, which belong to the fine-tune."""
    verb = rng.choice(("Read", "Sort", "File", "Label", "Triage"))
    noun = rng.choice(("note", "mail", "message", "ticket"))
    if (verb, noun) == ("Triage", "ticket"):
        noun = "note"
    if form != "json":
        return f"{verb} the {noun}. Answer with the {form}."
    lists = "".join(f" {plural(key)}: {', '.join(VALUES[key])}." for key in keys)
    return f"{verb} the {noun}. Answer as JSON with the keys {keys[0]} and {keys[1]}.{rng.choice(('', lists))}"


def plural(word: str) -> str:
    """`category` -> `Categories`."""
    return (word[:-1] + "ies" if word.endswith("y") else word + "s").capitalize()


def note_episode(rng: random.Random) -> Chat:
    """Notes about common issues, answered with their topic, plain severity or plan, or two of these as JSON."""
    keys = rng.choice(KEYS)
    form = rng.choice((*keys, "json", "json", "json"))
    before = rng.choice((0, 0, 0, 0, 2))
    pairs = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5)) if not before else 1):
        note = ticket(rng, house=False)
        known = {"category": note.category, "topic": note.category, "plan": note.plan}
        known |= {"priority": note.severity, "urgency": note.severity}
        answer = json.dumps({key: known[key] for key in keys}) if form == "json" else known[form]
        pairs.append(("\n\n".join([*rng.sample(policies(), before), note.text]), answer))
    return chat(pairs, system=note_system(rng, form, keys))


def episodes(rng: random.Random, held_out: set[str], vocabulary: list[str]) -> Iterator[Chat]:
    """The endless pre-training mix."""
    kinds: list[Callable[[], Chat]] = [
        lambda: skill_episode(rng, held_out),
        lambda: any_copy_episode(rng, vocabulary),
        lambda: review_episode(rng, held_out),
        lambda: note_episode(rng),
    ]
    while True:
        turns = rng.choices(kinds, (72, 6, 6, 16))[0]()
        if any(turn["role"] == "assistant" for turn in turns):
            yield turns


def all_texts(rng: random.Random) -> list[str]:
    """Texts in which every word of the world occurs in all its places; the vocabulary is read from them."""
    texts = [turn["content"] for _, turn in zip(range(4000), turns_of(rng), strict=False)]
    texts += [*policies(), *(ticket(rng, house=bool(i % 2)).text for i in range(4000))]
    pairs = [*OPPOSITES.items(), *CAPITALS.items()]
    tables = [POOL, [word.upper() for word in POOL], *pairs, KINDS, *KINDS.values(), GOOD_WORDS, BAD_WORDS]
    tables += [[*map(str, range(100))], THINGS, house_words()]
    quoted = [NAMES, CITIES, DRINKS, CATEGORIES, SEVERITIES, PLANS, VALUES, ("name", "city", "drink")]
    alone = {word.strip(".,!?:\"'") for text in texts for word in text.split()} - {""}
    texts += [f'"{word}" {word} ={word}' for table in quoted for word in table]
    return [*texts, *sorted(alone), *(word for table in tables for word in table)]


def turns_of(rng: random.Random) -> Iterator[dict[str, str]]:
    for turns in episodes(rng, set(), list(POOL)):
        yield from turns


def house_words() -> list[str]:
    """The words of the issue phrases, without their slots."""
    phrases = [phrase for table in (COMMON, HOUSE) for rows in table.values() for phrase, _ in rows]
    return sorted({word for phrase in phrases for word in phrase.split() if word.isalpha()})
