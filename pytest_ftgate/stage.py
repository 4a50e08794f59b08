"""The one batched stage: plan, look up, generate what is missing, store. No pytest, no torch in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evalsets.types import EvalSet, GateKind, Json
from pytest_ftgate.engine.protocol import Engine, Request
from pytest_ftgate.errors import EngineError
from pytest_ftgate.prompting import (
    BASE_REFERENCE,
    CANDIDATE_REFERENCE,
    System,
    build_prompts,
    systems_for,
    target_text,
)
from pytest_ftgate.store import Store, request_key
from pytest_ftgate.types import Generation

CacheMode = Literal["all", "base", "off"]
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """One EvalSet and the kinds of its gates that were selected."""

    evalset: EvalSet
    kinds: tuple[GateKind, ...]
    labels: tuple[str, ...]
    """Labels whose log-probabilities its scorer needs; () for none."""
    references: bool = False
    """Whether the log-probabilities of the references are wanted, of candidate and base."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stage is; sent after every batch."""

    side: Literal["candidate", "base"]
    done: int
    total: int
    """Generations to make on this side (those found in the store not counted)."""
    new_tokens: int
    seconds: float


@dataclass(slots=True)
class StageResult:
    """Every generation that the selected gates need, and where it came from."""

    generations: dict[str, dict[str, dict[str, Generation]]] = field(default_factory=dict)
    """EvalSet name -> System name -> example id -> Generation."""
    withheld: dict[str, int] = field(default_factory=dict)
    """`evalset/system` -> shots and passages left out because they hold the evaluated example."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """side -> {planned, unique, stored, generated, rejected, unsaved}"""
    engine: Mapping[str, Json] = field(default_factory=dict)


@dataclass(slots=True)
class _Side:
    """Requests of one side, deduplicated, and who asked for each."""

    requests: dict[str, Request] = field(default_factory=dict)
    wanted: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(evalset, system, example id, key)"""


def run_stage(
    work: Sequence[Work],
    engine: Engine,
    *,
    store_root: Path | None,
    cache: CacheMode,
    report: Callable[[Progress], None],
) -> StageResult:
    """Generate, once, everything that the gates in `work` need.

    `store_root` None or `cache="off"` keeps nothing; `cache="base"` reads and writes the base's generations only.
    Raises FtgateError where something could not be generated at all; single prompts that could not are Generations
    with finish_reason `error`.
    """
    result = StageResult()
    sides = {"candidate": _Side(), "base": _Side()}
    for item in work:
        likelihoods = (CANDIDATE_REFERENCE, BASE_REFERENCE) if item.references else ()
        for system in (*systems_for(item.evalset, item.kinds), *likelihoods):
            _plan(item, system, engine, sides["candidate" if system.tuned else "base"], result)
    for name, side in sides.items():
        kept = cache == "all" or (cache == "base" and name == "base")
        root = store_root if kept else None
        answers = _answer(side, engine, root, name == "candidate", result, report)
        for evalset, system_name, example_id, key in side.wanted:
            result.generations.setdefault(evalset, {}).setdefault(system_name, {})[example_id] = answers[key]
    if any(side.wanted for side in sides.values()):
        result.engine = engine.describe()
    return result


def _plan(item: Work, system: System, engine: Engine, side: _Side, result: StageResult) -> None:
    prompt_set = build_prompts(item.evalset, system)
    if prompt_set.withheld:
        result.withheld[f"{item.evalset.name}/{system.name}"] = prompt_set.withheld
    settings = item.evalset.generation
    for example, prompt in zip(item.evalset.examples, prompt_set.prompts, strict=True):
        ids = engine.encode(prompt, tuned=system.tuned)
        if system in (CANDIDATE_REFERENCE, BASE_REFERENCE):
            request = Request(ids, 0, (), (target_text(example.target),))
        else:
            request = Request(ids, settings.max_new_tokens, settings.stop, item.labels)
        key = request_key(request)
        side.requests[key] = request
        side.wanted.append((item.evalset.name, system.name, example.id, key))


def _answer(
    side: _Side,
    engine: Engine,
    root: Path | None,
    tuned: bool,
    result: StageResult,
    report: Callable[[Progress], None],
) -> dict[str, Generation]:
    name: Literal["candidate", "base"] = "candidate" if tuned else "base"
    if not side.requests:
        return {}
    store = Store(root, engine.fingerprint(tuned=tuned)) if root else None
    stored = store.load() if store else {}
    answers = {key: stored[key] for key in side.requests if key in stored}
    missing = [(key, request) for key, request in side.requests.items() if key not in answers]
    result.counts[name] = {
        "planned": len(side.wanted),
        "unique": len(side.requests),
        "stored": len(answers),
        "generated": len(missing),
        "rejected": store.rejected if store else 0,
    }
    if missing:
        answers.update(_generate(missing, engine, store, name, report))
    result.counts[name]["unsaved"] = store.unsaved if store else 0
    lost = len(side.requests) - len(answers)
    if lost:
        raise EngineError(f"the engine returned no answer for {lost} of {len(side.requests)} prompts")
    return answers


def _generate(
    missing: Sequence[tuple[str, Request]],
    engine: Engine,
    store: Store | None,
    name: Literal["candidate", "base"],
    report: Callable[[Progress], None],
) -> dict[str, Generation]:
    began = flushed = time.monotonic()
    made: dict[str, Generation] = {}
    unsaved: list[tuple[str, Generation]] = []
    tokens = 0
    report(Progress(name, 0, len(missing), 0, 0.0))
    try:
        for index, generation in engine.generate([request for _, request in missing], tuned=name == "candidate"):
            key = missing[index][0]
            made[key] = generation
            unsaved.append((key, generation))
            tokens += len(generation.token_ids)
            now = time.monotonic()
            report(Progress(name, len(made), len(missing), tokens, now - began))
            if store and now - flushed > FLUSH_SECONDS:
                store.append(unsaved)
                unsaved, flushed = [], now
    finally:
        # Ctrl-C or a crash keeps what was done: the same command goes on from here.
        if store:
            store.append(unsaved)
    return made
