"""A made-up language: English function words, invented content words, Zipf frequencies, topics, sentence frames.

Every seed is another language, so nothing that was tuned on one seed can be known on another.
"""

from __future__ import annotations

import random
from itertools import accumulate

_ONSETS = (
    *(
        "b",
        "bl",
        "br",
        "c",
        "ch",
        "cl",
        "cr",
        "d",
        "dr",
        "f",
        "fl",
        "fr",
        "g",
        "gl",
        "gr",
        "h",
        "j",
        "k",
        "l",
        "m",
        "n",
    ),
    *(
        "p",
        "pl",
        "pr",
        "qu",
        "r",
        "s",
        "sc",
        "sh",
        "sk",
        "sl",
        "sm",
        "sn",
        "sp",
        "st",
        "str",
        "t",
        "th",
        "tr",
        "v",
        "w",
    ),
    "z",
)
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oa", "oo", "ou")
_CODAS = (
    *("b", "ck", "d", "ft", "g", "l", "ll", "lt", "m", "mp", "n", "nd", "ng", "nk", "nt", "p", "pt", "r", "rd", "rk"),
    *("rm", "rn", "rt", "s", "sk", "sp", "ss", "st", "t", "th", "x"),
)

# Each frame has other wordings of the same content: paraphrases use another one of the row.
FRAMES = (
    (
        "The {a} {n} {v}s the {n2} before the {n3} {v2}s.",
        "Before the {n3} {v2}s, the {n2} is {v}ed by the {a} {n}.",
        "It is the {a} {n} that {v}s the {n2}, ahead of the {n3} {v2}ing.",
    ),
    (
        "{p} {v}ed {d} {n}s and gave {d2} of them to {p2}.",
        "Of the {d} {n}s that {p} {v}ed, {p2} got {d2}.",
        "{p2} received {d2} {n}s from {p}, who had {v}ed {d}.",
    ),
    (
        "When {p} came to the {n}, the {n2} was {a}.",
        "The {n2} was {a} by the time {p} reached the {n}.",
        "{p} arrived at the {n} and found a {a} {n2}.",
    ),
    (
        "My {n} has not {v}ed since {p} {v2}ed it {d} days ago.",
        "{d} days ago {p} {v2}ed my {n}, and it stopped {v}ing.",
        "Since {p} {v2}ed it, {d} days back, my {n} no longer {v}s.",
    ),
    (
        "There are {d} {a} {n}s in every {n2}, and each {n} costs {d2} coins.",
        "Each {n} is sold at {d2} coins; a {n2} holds {d} {a} ones.",
        "A {n2} contains {d} {a} {n}s priced {d2} coins apiece.",
    ),
    (
        "Most {n}s {v} because their {n2} is {a} and {a2}.",
        "A {a}, {a2} {n2} makes most {n}s {v}.",
        "As the {n2} is both {a} and {a2}, {n}s usually {v}.",
    ),
    (
        "If the {n} {v}s too early, nobody can {v2} the {n2} again.",
        "Nobody will {v2} the {n2} any more once the {n} {v}s too soon.",
        "The {n2} cannot be {v2}ed again when a {n} {v}s early.",
    ),
    (
        "{p} wrote that the {n} of the {n2} must be {v}ed with a {a} {n3}.",
        "According to {p}, a {a} {n3} is needed to {v} the {n} of a {n2}.",
        "To {v} the {n2}'s {n}, take a {a} {n3}, says {p}.",
    ),
    (
        "In the {a} part of the {n}, {p} keeps {d} {n2}s and a {n3}.",
        "{p} stores a {n3} and {d} {n2}s in the {n}, in its {a} part.",
        "The {a} side of the {n} is where {d} {n2}s and one {n3} of {p} are kept.",
    ),
    (
        "We {v}ed the {n} twice, but the {a} {n2} still {v2}s.",
        "Even after the {n} was {v}ed two times, the {a} {n2} {v2}s.",
        "The {a} {n2} goes on {v2}ing although the {n} has been {v}ed twice.",
    ),
    (
        "Later {p} sold {d} of the {n}s to the {a} {n2} for {d2} coins each.",
        "The {a} {n2} paid {p} {d2} coins for each of {d} {n}s.",
        "For {d2} coins apiece, {d} {n}s went from {p} to the {a} {n2}.",
    ),
    (
        "It takes {d} hours to {v} a {n}, unless the {n2} is {a}.",
        "Unless its {n2} is {a}, a {n} is {v}ed in {d} hours.",
        "{v}ing a {n} needs {d} hours, except with a {a} {n2}.",
    ),
)
QUESTIONS = (
    ("How should I {v} the {n} then?", "What is the right way to {v} that {n}?"),
    ("Why does the {n} {v} when it is {a}?", "What makes a {a} {n} {v}?"),
    ("How many {n}s are left in the end?", "What is the final number of {n}s?"),
    ("Which {n} would you {v} first, and why?", "What {n} comes first if one has to {v}?"),
    ("Can you tell me whether {p} may {v} it?", "Is {p} allowed to {v} it?"),
)


class Language:
    """Words of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._taken: set[str] = set()
        self.words = {kind: _Zipf(self.rng, [self._word() for _ in range(n)]) for kind, n in _SIZES.items()}
        self.names = [self._word().capitalize() for _ in range(400)]
        self.synonyms = {w: self._word() for zipf in self.words.values() for w in zipf.items}

    def topic(self) -> dict[str, list[str]]:
        """A few words of each kind that the texts on one subject prefer."""
        return {kind: [self.rng.choice(zipf.items) for _ in range(8)] for kind, zipf in self.words.items()}

    def fill(self, frames: tuple[str, ...], topic: dict[str, list[str]]) -> list[str]:
        """All wordings of one frame with the same content."""
        values: dict[str, str] = {}
        for slot in ("a", "a2", "n", "n2", "n3", "v", "v2"):
            kind = slot[0]
            values[slot] = self.rng.choice(topic[kind]) if self.rng.random() < 0.5 else self.words[kind].draw()
        values |= {slot: self.rng.choice(self.names) for slot in ("p", "p2")}
        values |= {slot: str(self.rng.randint(2, 99)) for slot in ("d", "d2")}
        return [f.format(**values) for f in frames]

    def sentences(self, n: int, topic: dict[str, list[str]]) -> list[list[str]]:
        """n sentences, each in all its wordings."""
        return [self.fill(self.rng.choice(FRAMES), topic) for _ in range(n)]

    def text(self, n: int, topic: dict[str, list[str]]) -> str:
        """n sentences as running text."""
        return " ".join(s[0] for s in self.sentences(n, topic))

    def word(self) -> str:
        """Any content word, by frequency."""
        return self.words[self.rng.choice("anv")].draw()

    def _word(self) -> str:
        while True:
            syllables = self.rng.choice((1, 2, 2, 2, 3))
            parts = [self.rng.choice(_ONSETS) + self.rng.choice(_NUCLEI) for _ in range(syllables)]
            word = "".join(parts) + self.rng.choice(_CODAS)
            if word not in self._taken and len(word) > 2:
                self._taken.add(word)
                return word


_SIZES = {"n": 1500, "v": 700, "a": 600}


class _Zipf:
    def __init__(self, rng: random.Random, items: list[str]) -> None:
        self.items, self._rng = items, rng
        self._weights = list(accumulate(1 / (i + 5) for i in range(len(items))))

    def draw(self) -> str:
        return self._rng.choices(self.items, cum_weights=self._weights)[0]
