"""Eval sets and answers made by hand: one short question per example, and what each system said to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import settings

from pytest_ftgate.evalset.types import EvalSet, Example, GateSpec, GenerationSettings, Prompt, Rung, ScorerSpec
from pytest_ftgate.gates.examples_needed import Shortfall
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.results import Generation, Verdict

HERE = Path(__file__).parent
EXACT = ScorerSpec("exact", {})
NUMBER = ScorerSpec("function", {"path": "answered:number"})
"""The score is the number that the answer holds."""
FORMAT = {"choices": ["yes", "maybe"]}
quick = settings(max_examples=25, deadline=None)
unplanned = mock.patch(
    "pytest_ftgate.gates.paired.paired_shortfall", mock.Mock(return_value=Shortfall("UNDERPOWERED", "why", "fix"))
)
"""Planning how many examples would do is the slow part of an INCONCLUSIVE pair."""
RATES = ("format", "accuracy")
KINDS = (*RATES, "beats_baseline", "forgetting")


def number(example: Example, generation: Generation) -> float:
    return float(generation.text)


def example(i: int, *, question: str = "", target: Any = "yes", cluster: str | None = None) -> Example:
    return Example(f"e{i}", {"q": question or f"question {i}"}, target, cluster, "rows.jsonl", i + 1)


def evalset(
    examples: Sequence[Example], *, scorer: ScorerSpec | None = EXACT, rungs: Sequence[str] = ("zero_shot",)
) -> EvalSet:
    prompt = Prompt(user="{q}")
    baselines = tuple(Rung(name, prompt) for name in rungs)
    return EvalSet(
        "set", HERE / "set.eval.yaml", tuple(examples), prompt, baselines, scorer, GenerationSettings(8), (), "0" * 64
    )


def said(text: object, finish_reason: Any = "stop") -> Generation:
    return Generation(str(text), (1,), finish_reason, 5)


FAILED = Generation("", (), "error", 5, error="the prompt has 900 tokens, the model takes 512")


def gate(kind: Any, bound: float) -> GateSpec:
    return GateSpec(kind, bound, FORMAT if kind == "format" else {}, 9)


def judged(
    kind: str,
    bound: float,
    *,
    levels: Levels | None = None,
    examples: Sequence[Example] = (),
    scorer: ScorerSpec = EXACT,
    **systems: Sequence[object],
) -> Verdict:
    """The Verdict where each system (`candidate`, `base`, or a rung by name) gave these texts or Generations."""
    n = len(next(iter(systems.values())))
    asked = evalset(examples or [example(i) for i in range(n)], scorer=scorer, rungs=rungs_of(systems))
    return judge(GateInput(asked, gate(kind, bound), answers_of(asked, systems), levels or Levels()))


def rungs_of(systems: Mapping[str, object]) -> list[str]:
    return [name for name in systems if name not in ("candidate", "base")]


def answers_of(asked: EvalSet, systems: Mapping[str, Sequence[object]]) -> dict[str, dict[str, Generation]]:
    named = {name if name in ("candidate", "base") else f"baseline:{name}": texts for name, texts in systems.items()}
    return {
        name: {
            e.id: text if isinstance(text, Generation) else said(text)
            for e, text in zip(asked.examples, texts, strict=True)
        }
        for name, texts in named.items()
    }


def yes(right: int, n: int) -> list[str]:
    """`right` right answers, then wrong ones."""
    return ["yes"] * right + ["no"] * (n - right)


def pair(gains: int, losses: int, n: int, *, ties_right: bool = True) -> dict[str, list[str]]:
    """(candidate, reference) answers with this table."""
    ties = ["yes" if ties_right else "no"] * (n - gains - losses)
    return {
        "candidate": ["yes"] * gains + ["no"] * losses + ties,
        "reference": ["no"] * gains + ["yes"] * losses + ties,
    }


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"[-+]?\d+\.?\d*", text)]


def p_of(text: str) -> float:
    found = re.search(r"\(p = ([\d.e-]+)\)", text)
    assert found is not None, text
    return float(found[1])


def forgetting(losses: int, n: int, margin: float, *, gains: int = 0, **more: Any) -> Verdict:
    table = pair(gains, losses, n)
    return judged("forgetting", margin, candidate=table["candidate"], base=table["reference"], **more)


def beats(gains: int, losses: int, n: int, min_gain: float, *, ties_right: bool = True, **more: Any) -> Verdict:
    table = pair(gains, losses, n, ties_right=ties_right)
    return judged("beats_baseline", min_gain, candidate=table["candidate"], zero_shot=table["reference"], **more)
