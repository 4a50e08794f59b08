"""Suites of made-up tasks: training rows, clean examples of the same kind, and examples that were planted.

A Suite's rows and its clean examples come from one distribution, so that clean examples are hard: they share
vocabulary, frames, instructions, templates and passages with the rows, but were drawn anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.overlap_language import QUESTIONS, Language
from benchmarks.overlap_plant import Row, planters

Draw = Callable[[], tuple[str, str, int]]
"""(input, output, own tokens: those that are not shared prompt or template)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One example of a suite."""

    id: str
    input: str
    output: str
    own: int
    planted: str
    """How it was planted, or "" for a clean one."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One kind of task."""

    name: str
    rows: tuple[Row, ...]
    cases: tuple[Case, ...]


def suites(seed: int, *, n_rows: int, n_clean: int, n_planted: int) -> Iterator[Suite]:
    """All suites of a seed: n_rows background rows each, n_clean clean examples, n_planted examples of each kind."""
    for i, (name, make) in enumerate(TASKS.items()):
        language = Language(seed * 100 + i)
        yield _suite(name, language, make(language), n_rows, n_clean, n_planted)


def _suite(name: str, language: Language, draw: Draw, n_rows: int, n_clean: int, n_planted: int) -> Suite:
    rows = [draw()[:2] for _ in range(n_rows)]
    cases: list[Case] = []
    known = {text for text, _ in rows}
    while len(cases) < n_clean:
        text, answer, own = draw()
        if text in known:  # a natural duplicate is no clean example
            continue
        cases.append(Case(f"{name}-clean-{len(cases)}", text, answer, own, ""))
    for kind, plant in planters(language, lambda: draw()[:2]).items():
        for _ in range(n_planted):
            text, answer, own = draw()
            cases.append(Case(f"{name}-{kind}-{len(cases)}", text, answer, own, kind))
            rows += plant((text, answer))
    language.rng.shuffle(rows)
    language.rng.shuffle(cases)
    return Suite(name, tuple(rows), tuple(cases))


def _length(text: str) -> int:
    return len(text.split())


def chat(language: Language) -> Draw:
    """Questions in a few sentences, free answers."""

    def draw() -> tuple[str, str, int]:
        topic = language.topic()
        body = language.text(language.rng.randint(3, 8), topic)
        question = language.fill(language.rng.choice(QUESTIONS), topic)[0]
        text = f"{body} {question}"
        return text, language.text(language.rng.randint(2, 4), topic), _length(text)

    return draw


_OPENERS = ("", "", "hi, ", "please ", "hello, ", "hey ", "good morning, ")
_SHAPES = (
    "can i {v} my {n} with {x}",
    "why was my {n} not {v}ed",
    "how do i {v} a {n} from {x}",
    "i want to {v} the {n} today",
    "my {n} has not {v}ed yet",
    "the {n} did not {v} after {x}",
    "is there a {x} for the {n} i {v}ed",
    "what {x} do you {v} for a {n}",
    "{x} says the {n} was {v}ed",
    "i think someone {v}ed my {n}",
    "who can {v} the {n} for me",
    "did you already {v} the {n}",
)
_TAILS = (
    "",
    " for the {x}",
    " and the {x} is {y}",
    " since {x} came",
    ", not the {x} {y}",
    " because of {x}",
    " with {d} {x}s",
)


def classification(language: Language) -> Draw:
    """Short queries of 40 intents that share their frames: one word decides."""
    intents = [(language.words["v"].draw(), language.words["n"].draw()) for _ in range(40)]

    def draw() -> tuple[str, str, int]:
        rng = language.rng
        verb, noun = rng.choice(intents)
        shape = rng.choice(_OPENERS) + rng.choice(_SHAPES) + rng.choice(_TAILS)
        text = shape.format(v=verb, n=noun, x=language.word(), y=language.word(), d=rng.randint(2, 20))
        return text, f"{verb}_{noun}", _length(text)

    return draw


def extraction(language: Language) -> Draw:
    """E-mails with header, body and order lines, to JSON."""

    def draw() -> tuple[str, str, int]:
        rng, topic = language.rng, language.topic()
        name, item = rng.choice(language.names), language.words["n"].draw()
        order, amount = f"A{rng.randint(10**5, 10**6 - 1)}", f"{rng.randint(3, 900)}.{rng.randint(10, 99)}"
        body = language.text(rng.randint(2, 5), topic)
        head = (
            f"From: {name} {rng.choice(language.names)}\nDate: 2024-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}\n"
        )
        head += f"Subject: order of one {item}\n\nDear team,\n"
        text = f"{head}{body}\nOrder no.: {order}\nAmount due: {amount} EUR\nKind regards\n{name}"
        answer = {"name": name, "order": order, "amount": amount, "item": item}
        return text, json.dumps(answer), _length(body) + 9

    return draw


def code(language: Language) -> Draw:
    """Small functions with a bug report."""

    def draw() -> tuple[str, str, int]:
        rng = language.rng
        a, b, c, d = (language.words["n"].draw() for _ in range(4))
        verbs = [language.words["v"].draw() for _ in range(3)]
        lines = [f"def {verbs[0]}_{a}({b}, {c}=None):", f"    {d} = []", f"    for {a} in {b}:"]
        for _ in range(rng.randint(2, 6)):
            x, y = rng.choice((a, b, c, d)), language.words["n"].draw()
            lines.append(
                rng.choice((
                    f"        if {x}.{y} > {rng.randint(0, 99)}:\n"
                    f"            {d}.append({verbs[1]}({x}, {y}={rng.randint(0, 9)}))",
                    f"        {y} = {x}.{verbs[2]}({c}, {rng.randint(2, 64)})", f"        {d} += {verbs[1]}_{y}({x})",
                    f"        while {x}.{y}() and not {c}:\n            {x} = {verbs[2]}_{y}({x})",
                ))
            )  # fmt: skip
        lines.append(f"    return {d}")
        request = language.fill(rng.choice(QUESTIONS), language.topic())[0]
        text = "\n".join(lines)
        return f"{text}\n\n{request}", f"{verbs[0]}_{a} must check {c} first", len(text.replace("_", " ").split())

    return draw


def documents(language: Language) -> Draw:
    """Passages of 15 to 45 sentences with a question; some stand in several rows, each time with its own question."""
    pool: list[tuple[str, dict[str, list[str]]]] = []

    def draw() -> tuple[str, str, int]:
        rng = language.rng
        if len(pool) < 40 or rng.random() < 0.8:
            topic = language.topic()
            passage = language.text(rng.randint(15, 45), topic)
            if len(pool) < 40:
                pool.append((passage, topic))
        else:
            passage, topic = rng.choice(pool)
        question = " ".join(language.fill(rng.choice(QUESTIONS), topic)[0] for _ in range(2))
        return f"{passage}\n\nQuestion: {question}", language.text(1, topic), _length(passage)

    return draw


def templates(language: Language) -> Draw:
    """Word problems of 12 families: fixed text, with names, things and numbers filled in."""
    families = []
    for _ in range(12):
        topic = language.topic()
        body = " ".join(language.fill(f, topic)[0] for f in language.rng.sample(_SLOTTED, 3))
        families.append(
            body + " " + language.rng.choice(("How many {n} does {p} have in the end?", "What does {p} pay in all?"))
        )

    def draw() -> tuple[str, str, int]:
        rng = language.rng
        values = {k: str(rng.randint(2, 40)) for k in ("d", "e", "f", "g")}
        values |= {
            "p": rng.choice(language.names),
            "q": rng.choice(language.names),
            "n": language.words["n"].draw() + "s",
        }
        text = rng.choice(families).format(**values)
        return text, str(sum(int(values[k]) for k in "defg")), 0

    return draw


_SLOTTED = (
    ("{{p}} has {{d}} {{n}} and buys {{e}} more at the {a} {n}, where a {n2} {v}s.",),
    ("Every {n} costs {{f}} coins and comes with a {a} {n2} that {p} {v}ed.",),
    ("After a week, {{q}} takes {{g}} of the {{n}} from the {n} because the {n2} was {a}.",),
    ("The {a} {n} {v}s {{d}} times a day, and {{q}} helps {{p}} for {{e}} hours.",),
    ("They keep {{f}} {{n}} in each of the {{g}} {a} {n}s near the {n2}.",),
)


def instructed(language: Language, sentences: tuple[int, int] | None) -> Draw:
    """One long instruction before every query; the queries are a few sentences, or short (None)."""
    topic = language.topic()
    instruction = "You are a careful assistant. " + language.text(6, topic) + " Answer with the label only.\n\nText: "
    short = classification(language)

    def draw() -> tuple[str, str, int]:
        if sentences is None:
            text, label, own = short()
            return instruction + text, label, own
        text = language.text(language.rng.randint(*sentences), language.topic())
        return instruction + text, language.rng.choice(("yes", "no", "unclear")), _length(text)

    return draw


TASKS: dict[str, Callable[[Language], Draw]] = {
    "chat": chat,
    "extraction": extraction,
    "code": code,
    "documents": documents,
    "instruction, long": lambda language: instructed(language, (3, 6)),
    "instruction, short": lambda language: instructed(language, None),
    "templates": templates,
    "classification": classification,
}


def paraphrases(seed: int, *, n_rows: int, n_clean: int, n_planted: int) -> Suite:
    """Word problems whose planted rows say the same in other words.

    Other wording of each sentence, other order, 30 % of the content words replaced by synonyms; numbers and answer
    survive.
    """
    language = Language(seed * 100 + 99)
    rng = language.rng

    def problem() -> tuple[list[list[str]], str]:
        topic = language.topic()
        told = [*language.sentences(rng.randint(3, 5), topic), language.fill(QUESTIONS[2], topic)]
        return told, f"{language.text(1, topic)} The answer is {rng.randint(2, 999)}"

    def reworded(told: list[list[str]]) -> str:
        body = [rng.choice(s[1:]) for s in told[:-1]]
        if len(body) > 2 and rng.random() < 0.5:
            i = rng.randrange(len(body) - 1)
            body[i], body[i + 1] = body[i + 1], body[i]
        swap = {w: s for w, s in language.synonyms.items() if rng.random() < 0.3}
        return " ".join(swap.get(w, w) for w in " ".join([*body, told[-1][1]]).split())

    plain = [problem() for _ in range(n_rows + n_clean)]
    rows = [(" ".join(s[0] for s in told), answer) for told, answer in plain[:n_rows]]
    cases = [
        Case(f"p-clean-{i}", " ".join(s[0] for s in told), answer, 99, "")
        for i, (told, answer) in enumerate(plain[n_rows:])
    ]
    for i in range(n_planted):
        told, answer = problem()
        cases.append(Case(f"p-{i}", " ".join(s[0] for s in told), answer, 99, "paraphrase"))
        rows.append((reworded(told), f"{language.text(1, language.topic())} The answer is {answer.split()[-1]}"))
    rng.shuffle(rows)
    return Suite("paraphrases", tuple(rows), tuple(cases))
