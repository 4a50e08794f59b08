"""Runs to look at, and the page that was made of one, read back."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from pytest_ftgate.evalset.types import EvalSet, Example, GateSpec, GenerationSettings, Prompt, Rung, ScorerSpec
from pytest_ftgate.gates.decision import Decision, RunFacts, decide
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.report.data import Answer, ExampleRow, ReportData
from pytest_ftgate.report.rows import example_rows
from pytest_ftgate.results import Generation, Verdict

Answers = dict[str, dict[str, Generation]]
VOID = {"meta", "link", "br", "input"}

# --- A run to look at -------------------------------------------------------------------------------------------------

CATEGORIES = {
    "billing": ["I was charged twice for order {n}.", "The invoice {n} shows a wrong VAT rate, please correct it."],
    "login": ["I cannot log in since the update, it says error {n}.", "The reset mail for account {n} never arrives."],
    "shipping": ["Parcel {n} is stuck in customs for nine days.", "Order {n} came without the second box."],
    "refund": ["Please refund order {n}, the jacket does not fit.", "I sent back {n} weeks ago and saw no money yet."],
}
RUNGS = ("zero_shot", "few_shot", "retrieval")


def said(text: str, finish: str = "stop") -> Generation:
    return Generation(text, tuple(range(8)), finish, 120, error="the prompt is too long" if finish == "error" else "")  # type: ignore[arg-type]


def tickets(n: int, bounds: Mapping[str, float]) -> EvalSet:
    rng = random.Random(7)
    examples = []
    for i in range(n):
        category = rng.choice(list(CATEGORIES))
        text = rng.choice(CATEGORIES[category]).format(n=4000 + i)
        target = {"category": category, "priority": rng.choice(["low", "normal", "high"])}
        examples.append(Example(f"t-{i:04d}", {"ticket": text}, target, None, "tickets.jsonl", i + 1))
    prompt = Prompt(system="Triage the ticket. Answer as JSON with category and priority.", user="{ticket}")
    gates = [GateSpec(kind, bound, {}, i + 10) for i, (kind, bound) in enumerate(bounds.items())]
    gates = [replace(g, options={"regex": r"\{.*\}"}) if g.kind == "format" else g for g in gates]
    return EvalSet(
        name="tickets",
        path=Path("evals/tickets.eval.yaml"),
        examples=tuple(examples),
        prompt=prompt,
        baselines=tuple(Rung(name, prompt) for name in RUNGS),
        scorer=ScorerSpec("json_fields", {"fields": ["category", "priority"]}),
        generation=GenerationSettings(64),
        gates=tuple(gates),
        digest="0" * 64,
    )


def answers_for(evalset: EvalSet, rates: Mapping[str, float], *, seed: int = 3) -> Answers:
    rng, found = random.Random(seed), {}
    for system, rate in rates.items():
        found[system] = {e.id: _answer(rng, e, right=rng.random() < rate) for e in evalset.examples}
    return found


def _answer(rng: random.Random, asked: Example, *, right: bool) -> Generation:
    if right:
        return said(json.dumps(asked.target))
    kind = rng.random()
    if kind < 0.1:
        return said('{"category": "billing", "priority": "the customer writes that the', "length")
    if kind < 0.3:
        return said(f"Sure! Here is the triage:\n```json\n{json.dumps({**asked.target, 'priority': 'urgent'})}\n```")
    return said(json.dumps({**asked.target, "category": rng.choice(["other", "sales"])}))


def general(n: int) -> EvalSet:
    examples = [Example(f"g-{i:03d}", {"q": f"What is {i} + {i + 1}?"}, str(2 * i + 1), None, "g", i) for i in range(n)]
    evalset = tickets(1, {"forgetting": 0.05})
    scorer = ScorerSpec("exact", {})
    prompt = Prompt(user="{q}")
    path = Path("evals/general.eval.yaml")
    return replace(
        evalset, name="general", path=path, examples=tuple(examples), prompt=prompt, baselines=(), scorer=scorer
    )


def make_run(*, ship: bool) -> ReportData:
    """Two eval sets, five gates, three rungs; the judges are the real ones."""
    bounds = {"format": 0.9, "accuracy": 0.85, "beats_baseline": 0.05}
    asked, quiz = tickets(240, bounds), general(200)
    rates = {"candidate": 0.97 if ship else 0.82, "baseline:zero_shot": 0.55}
    rates |= {"baseline:few_shot": 0.79, "baseline:retrieval": 0.71}
    generations = {"tickets": answers_for(asked, rates)}
    plain = {e.id: said(str(e.target)) for e in quiz.examples}
    tuned = {**plain, **{f"g-{i:03d}": said("I don't know") for i in ((3,) if ship else range(0, 60, 3))}}
    generations["general"] = {"candidate": tuned, "base": plain}
    leaked = () if ship else ("t-0004", "t-0017")
    details: dict[str, object] = {"rows": 3120, "share": False, "leaks": [_leak(i) for i in leaked]}
    summary = f"{len(leaked)} of 240 examples stand in the training data (3120 rows of 1 file(s)); at most 0 allowed"
    overlap = Verdict(
        "tickets::overlap", "overlap", "FAIL" if leaked else "PASS", summary, "remove these rows" if leaked else "",
        240, float(len(leaked)), None, 0.0, None, worst=leaked, details=details,
    )  # fmt: skip
    levels = Levels(0.05, 6)
    verdicts = [overlap]
    for evalset in (asked, quiz):
        verdicts += [judge(GateInput(evalset, g, generations[evalset.name], levels)) for g in evalset.gates]
    names = [v.gate for v in verdicts]
    return ReportData(
        decision=decide(RunFacts(names, names, {v.gate: v for v in verdicts})),
        verdicts=tuple(verdicts),
        engine=ENGINE,
        counts={"candidate": count(440, 440, 0), "base": count(920, 0, 904)},
        withheld={"tickets/baseline:few_shot": 5},
        command="pytest evals/ --ft-model=runs/tickets-lora --ft-html=report.html --ft-verdict=require",
        rows=example_rows([asked, quiz], generations),
    )


def _leak(example_id: str) -> dict[str, object]:
    return {
        "example_id": example_id,
        "class": "input",
        "file": "train.jsonl",
        "row": 81,
        "identity": 1.0,
        "reason": "same words",
    }


def count(planned: int, generated: int, stored: int) -> dict[str, int]:
    unique = generated + stored
    return {"planned": planned, "unique": unique, "stored": stored, "generated": generated, "rejected": 0}


ENGINE = {
    "model": "tickets-lora",
    "kind": "adapter",
    "digest": "3f2a9c1e" * 8,
    "base_model": "Qwen/Qwen3-0.6B",
    "base_digest": "77ab01de" * 8,
    "training_known": True,
    "device": "cuda",
    "dtype": "bfloat16",
    "quantize": "none",
    "batch_size": 64,
    "batch_halvings": 0,
    "effect": 4.0625,
    "read_back_tensors": 392,
    "base": "adapter off (probe logits equal the bare base's bit by bit)",
    "versions": {"torch": "2.10.0", "transformers": "5.3.0", "peft": "0.20.0"},
}


# --- Reading it back --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with attributes in order, and the text of each element that can be told apart by tag, id or class."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:60]!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data[:60]!r}")

    def handle_data(self, data: str) -> None:
        for name in self.open:
            self.texts.setdefault(name, []).append(data)

    def text(self, name: str) -> str:
        return "".join(self.texts.get(name, []))

    @property
    def data(self) -> dict[str, list[object]]:
        return json.loads(self.text("data"))


def report(rows: tuple[ExampleRow, ...] = (), **changes: object) -> ReportData:
    plain = ReportData(Decision("BLOCK", "x failed"), (), {}, {}, {}, "pytest", rows)
    return replace(plain, **changes)  # type: ignore[arg-type]


def plain_rows(n: int, score: Callable[[int], tuple[float, float]], text: str = "ok") -> tuple[ExampleRow, ...]:
    rows = []
    for i in range(n):
        mine, theirs = score(i)
        answers = (Answer("candidate", f"{text}{i}", "stop", mine, "why"), Answer("base", text, "stop", theirs, "why"))
        rows.append(ExampleRow("big", f"e-{i}", (("user", f"question {i}"),), "yes", answers))
    return tuple(rows)
