"""Write the training rows, the shots, the handbook passages and the eval sets, byte for byte the same every time.

    python examples/tickets/make_data.py [--out DIR]

No training input is a duplicate or a near duplicate of an eval input, and none repeats inside its file; the only
exception is data/tickets_leaky.jsonl, whose purpose is to hold eval rows.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from rapidfuzz.distance import Indel
from rapidfuzz.process import extractOne
from skills import SKILLS, distinct
from world import Ticket, policies, review, ticket

HERE = Path(__file__).resolve().parent
SEED = 11

N_TRAIN = 800
N_TICKETS_EVAL = 320
N_REVIEWS_EVAL = 320
N_SHOTS = 12
N_CANDIDATES = 1000
"""Texts drawn for eval set and shots together, before those that look like a training row are left out."""
N_EVAL_PER_SKILL = 36
N_REPLAY_PER_SKILL = 40
FEWER_REPLAY = {"capital": 20, "kind": 22, "upper": 38}
"""Closed tables: what the eval set leaves of them."""
N_LEAKED = 60
NEAR = 0.8
"""Shared words (multiset Dice) from which two inputs count as near duplicates; a one-word edit is above 0.9."""
ALIKE = 0.28
"""Share of the particular word runs of an eval input that may stand in one training row."""

LOOKALIKES = ("Our 43 lamps run on the free plan. I sent the Torch back and want my money this morning at home",)
"""Parts of the candidates that `pytest-ftgate overlap` still calls near copies of a training row."""

TICKET_SYSTEM = "Triage the ticket."
REVIEW_SYSTEM = "Label the review as positive or negative."

Row = dict[str, Any]
Split = tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]


def bag(text: str) -> list[str]:
    """Sorted lower-case words and numbers: blind to case, punctuation and order."""
    return sorted(re.findall(r"[a-z0-9]+", text.lower()))


class Fresh:
    """Lets a text through only when it is no near duplicate of one that it let through before."""

    def __init__(self) -> None:
        self.bags: list[list[str]] = []

    def admits(self, text: str) -> bool:
        mine = bag(text)
        if self.bags and extractOne(mine, self.bags, scorer=Indel.normalized_similarity, score_cutoff=NEAR):
            return False
        self.bags.append(mine)
        return True


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def unlike(candidates: list[str], trained: list[str]) -> list[bool]:
    """Whether each candidate shares less than ALIKE of what is particular to it with every training text.

    A run of three words counts 1 / (number of texts that hold it): set phrases weigh next to nothing.
    """
    spread = Counter(gram for text in (*candidates, *trained) for gram in trigrams(text))
    holders: dict[tuple[str, ...], list[int]] = {}
    for number, text in enumerate(trained):
        for gram in trigrams(text):
            holders.setdefault(gram, []).append(number)

    def fits(text: str) -> bool:
        shared: dict[int, float] = defaultdict(float)
        for gram in sorted(trigrams(text)):
            for number in holders.get(gram, ()):
                shared[number] += 1 / spread[gram]
        return max(shared.values(), default=0) < ALIKE * sum(1 / spread[gram] for gram in sorted(trigrams(text)))

    return [fits(text) for text in candidates]


def split(drawn: list[Any], text_of: Callable[[Any], str], n_eval: int) -> Split:
    """(eval set, shots, training) of a list whose head are candidates for the first two, and whose tail is trained."""
    trained, candidates = drawn[-N_TRAIN:], drawn[:-N_TRAIN]
    candidates = [one for one in candidates if not any(part in text_of(one) for part in LOOKALIKES)]
    fit = unlike([text_of(one) for one in candidates], [text_of(one) for one in trained])
    kept = [one for one, good in zip(candidates, fit, strict=True) if good]
    if len(kept) < n_eval + N_SHOTS:
        raise RuntimeError(f"expected {n_eval + N_SHOTS} candidates unlike the training rows, found {len(kept)}")
    return tuple(kept[:n_eval]), tuple(kept[n_eval : n_eval + N_SHOTS]), tuple(trained)


@cache
def all_tickets() -> Split:
    """Tickets for (eval set, shots, training); half of them in house phrases."""
    rng, fresh = random.Random(f"{SEED} tickets"), Fresh()
    found: list[Ticket] = []
    while len(found) < N_CANDIDATES + N_TRAIN:
        drawn = ticket(rng, house=len(found) % 2 == 1)
        if fresh.admits(drawn.text):
            found.append(drawn)
    return split(found, lambda one: one.text, N_TICKETS_EVAL)


@cache
def all_reviews() -> Split:
    """(review, label) for (eval set, shots, training)."""
    rng, fresh = random.Random(f"{SEED} reviews"), Fresh()
    found: list[tuple[str, str]] = []
    while len(found) < N_CANDIDATES + N_TRAIN:
        drawn = review(rng)
        if fresh.admits(drawn[0]):
            found.append(drawn)
    return split(found, lambda one: one[0], N_REVIEWS_EVAL)


def ticket_row(name: str, number: int, one: Ticket) -> Row:
    return {
        "id": f"{name}-{number:04d}", "ticket": one.text, "plan": one.plan,
        "phrase": "house" if one.house else "common", "target": one.target,
    }  # fmt: skip


def tickets_eval() -> list[Row]:
    return [ticket_row("ticket", i, one) for i, one in enumerate(all_tickets()[0], 1)]


def ticket_shots() -> list[Row]:
    return [ticket_row("shot", i, one) for i, one in enumerate(all_tickets()[1], 1)]


def reviews_eval() -> list[Row]:
    rows = enumerate(all_reviews()[0], 1)
    return [{"id": f"review-{i:04d}", "review": text, "target": label} for i, (text, label) in rows]


def review_shots() -> list[Row]:
    rows = enumerate(all_reviews()[1], 1)
    return [{"id": f"shot-{i:04d}", "review": text, "target": label} for i, (text, label) in rows]


@cache
def skill_keys() -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """General eval rows and replay rows: for each skill, no question is asked twice, in whatever wording."""
    held_out: list[Row] = []
    replay: list[Row] = []
    for skill in SKILLS:
        drawn = distinct(skill, random.Random(f"{SEED} {skill}"), set())
        for number in range(1, N_EVAL_PER_SKILL + FEWER_REPLAY.get(skill, N_REPLAY_PER_SKILL) + 1):
            one = next(drawn)
            row = {"id": f"{skill}-{number:04d}", "skill": skill, "prompt": one.prompt, "target": one.target}
            (held_out if number <= N_EVAL_PER_SKILL else replay).append(row | {"key": one.key})
    return tuple(held_out), tuple(replay)


def general_eval() -> list[Row]:
    """Rows with their `key`, which is not written to the file."""
    return list(skill_keys()[0])


def training_row(system: str, user: str, answer: str) -> Row:
    """Prompt and completion as messages: the loss is on the completion."""
    prompt = [{"role": "system", "content": system}] if system else []
    prompt.append({"role": "user", "content": user})
    return {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]}


def tickets_train() -> list[Row]:
    return [training_row(TICKET_SYSTEM, one.text, json.dumps(one.target)) for one in all_tickets()[2]]


def reviews_train() -> list[Row]:
    return [training_row(REVIEW_SYSTEM, text, label) for text, label in all_reviews()[2]]


def replay() -> list[Row]:
    return [training_row("", row["prompt"], row["target"]) for row in skill_keys()[1]]


def tickets_leaky() -> list[Row]:
    """The training rows with N_LEAKED of them replaced by eval rows: verbatim, other case or marks, one word off."""
    rng = random.Random(f"{SEED} leak")
    rows = tickets_train()[N_LEAKED:]
    for number, leaked in enumerate(rng.sample(tickets_eval(), N_LEAKED)):
        text = edited(leaked["ticket"], number, rng)
        rows.append(training_row(TICKET_SYSTEM, text, json.dumps(leaked["target"])))
    rng.shuffle(rows)
    return rows


def edited(text: str, number: int, rng: random.Random) -> str:
    """A light edit: every third text stays as it is, every third changes case or marks, every third one word."""
    if number % 3 == 0:
        return text
    if number % 3 == 1:
        return rng.choice((text.lower(), text.upper(), text.replace(".", " !")))
    words = text.split()
    names = [i for i, word in enumerate(words) if word in ("My", "Our", "We", "I", "the", "a", "on", "is", "are")]
    words[rng.choice(names)] = rng.choice(("This", "that", "your", "some"))
    return " ".join(words)


def files() -> dict[str, list[Row]]:
    """Every file that this script writes, by its path under the example's folder."""
    public = [{key: value for key, value in row.items() if key != "key"} for row in general_eval()]
    return {
        "data/tickets_train.jsonl": tickets_train(),
        "data/tickets_leaky.jsonl": tickets_leaky(),
        "data/reviews_train.jsonl": reviews_train(),
        "data/replay.jsonl": replay(),
        "evals/tickets.jsonl": tickets_eval(),
        "evals/shots.jsonl": ticket_shots(),
        "evals/kb.jsonl": [{"id": f"kb-{i:02d}", "text": text} for i, text in enumerate(policies(), 1)],
        "evals/general.jsonl": public,
        "evals_pointless/reviews.jsonl": reviews_eval(),
        "evals_pointless/shots.jsonl": review_shots(),
    }


def lines(rows: list[Row]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder that receives data/, evals/ and evals_pointless/"
    )
    out: Path = parser.parse_args().out
    for name, rows in files().items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines(rows)), encoding="utf-8", newline="\n")
        print(f"{len(rows):5d} rows  {name}")


if __name__ == "__main__":
    main()
