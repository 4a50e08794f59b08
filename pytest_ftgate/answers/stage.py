"""The one batched stage: plan, look up, generate what is missing, store. No pytest, no torch in here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pytest_ftgate.answers.engine.protocol import Encodes, Engine, Request, text_length
from pytest_ftgate.answers.prompting import (
    BASE_REFERENCE,
    CANDIDATE,
    CANDIDATE_REFERENCE,
    System,
    build_prompts,
    systems_for,
    target_text,
)
from pytest_ftgate.answers.side import Asking, Progress, SideName
from pytest_ftgate.answers.store import Store, request_key
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.results import Generation, Score, Unscored

__all__ = ["CacheMode", "Progress", "StageResult", "Stopping", "Work", "run_stage"]

CacheMode = Literal["all", "base", "off"]
ROUNDS = 8
"""At most so many looks at the answers of one EvalSet: each round loses a little speed."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """When the candidate need not be asked the rest of one EvalSet."""

    order: tuple[str, ...]
    """Example ids in the order in which they are asked."""
    settled: Callable[[Mapping[str, Mapping[str, Generation]]], bool]
    """(System name -> example id -> Generation so far) -> whether no gate needs another answer."""
    ends_first: bool
    """Ask the longest and the shortest prompt first: where these can be answered, all can."""


@dataclass(frozen=True, slots=True)
class Work:
    """One EvalSet and the kinds of its gates that were selected."""

    evalset: EvalSet
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    """Labels whose log-probabilities its scorer needs; () for none."""
    references: bool = False
    """Whether the log-probabilities of the references are wanted, of candidate and base."""
    stopping: Stopping | None = None
    """None: every example is asked."""
    systems: tuple[System, ...] = ()
    """Who is asked, besides those that the gates need."""


@dataclass(slots=True)
class StageResult:
    """Every generation that the selected gates need, and where it came from."""

    generations: dict[str, dict[str, dict[str, Generation]]] = field(default_factory=dict)
    """EvalSet name -> System name -> example id -> Generation."""
    withheld: dict[str, int] = field(default_factory=dict)
    """`evalset/system` -> shots and passages left out because they hold the evaluated example."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """side -> {planned, unique, stored, generated, spared, rejected, unsaved}"""
    stopped: dict[str, int] = field(default_factory=dict)
    """EvalSet name -> examples that the candidate answered, where the rest could change no gate."""
    engine: Mapping[str, Json] = field(default_factory=dict)
    scores: dict[str, dict[str, dict[str, Score | Unscored]]] = field(default_factory=dict)
    """EvalSet name -> System name -> example id -> what its scorer said; what is missing was not scored yet."""


@dataclass(slots=True)
class _Side:
    """Requests of one side, deduplicated, and who asked for each."""

    requests: dict[str, Request] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """key -> length of the prompt: in tokens where the engine tells them, else in characters."""
    wanted: list[tuple[str, str, str, str]] = field(default_factory=list)
    """(evalset, system, example id, key)"""


def run_stage(
    work: Sequence[Work],
    engine: Engine,
    *,
    store_root: Path | None,
    store_key: bytes | None,
    cache: CacheMode,
    report: Callable[[Progress], None],
    chunk: int = 64,
    unchanged: Callable[[], None] = lambda: None,
) -> StageResult:
    """Generate, once, everything that the gates in `work` need.

    `chunk`: fewest examples of an EvalSet between two looks at whether its gates are settled.

    `store_root` or `store_key` (files.own_key) None, or `cache="off"`, keeps nothing; `cache="base"` reads and writes
    the base's generations only.
    `unchanged`: raises IdentityError where the models' files are not those that the engine's fingerprints stand for; it
    is asked before anything is generated or stored, and when a side is done (Candidate.check_unchanged).
    Raises FtgateError where something could not be generated at all; single prompts that could not are Generations
    with finish_reason `error`.
    """
    result = StageResult()
    sides = {"candidate": _Side(), "base": _Side()}
    for item in work:
        likelihoods = (CANDIDATE_REFERENCE, BASE_REFERENCE) if item.references else ()
        for system in (*systems_for(item.evalset, item.kinds), *likelihoods, *item.systems):
            _plan(item, system, engine, sides["candidate" if system.tuned else "base"], result)
    if any(side.requests for side in sides.values()):
        unchanged()
    # The base first: its answers tell what the candidate can still gain and lose.
    names: tuple[SideName, ...] = ("base", "candidate")
    rounds = work, chunk
    for name in names:
        if sides[name].requests:
            store = None
            if store_root is not None and store_key is not None and _keeps(cache, name):
                store = Store(store_root, engine.fingerprint(tuned=name == "candidate"), store_key)
            _ask(
                name, sides[name], Asking(name, sides[name].requests, engine, store, report, unchanged), rounds, result
            )
            unchanged()  # also where nothing is stored
    if any(side.wanted for side in sides.values()):
        result.engine = engine.describe()
    return result


def _keeps(cache: CacheMode, name: SideName) -> bool:
    return cache == "all" or (cache == "base" and name == "base")


def _ask(name: SideName, side: _Side, asking: Asking, rounds: tuple[Sequence[Work], int], result: StageResult) -> None:
    """Answer one side; of the candidate, no more than its gates need."""
    work, chunk = rounds
    queues = [_Queue.of(item, side, chunk) for item in work if item.stopping] if name == "candidate" else []
    in_rounds = {(queue.name, CANDIDATE.name) for queue in queues}
    asking.ask(key for evalset, system, _, key in side.wanted if (evalset, system) not in in_rounds)
    while any(queue.is_open for queue in queues):
        asking.ask([key for queue in queues for key in queue.next_chunk()])
        for queue in queues:
            queue.look(asking.answers, result.generations.get(queue.name, {}))
    result.stopped = {**result.stopped, **{q.name: q.asked for q in queues if q.asked < len(q.places)}}
    wanted = {id_ for queue in queues for id_ in queue.asked_ids()}
    for evalset, system, example_id, key in side.wanted:
        if (evalset, system) not in in_rounds or (evalset, example_id) in wanted:
            result.generations.setdefault(evalset, {}).setdefault(system, {})[example_id] = asking.answers[key]
    result.counts[name] = asking.counts(len(side.wanted))


@dataclass(slots=True)
class _Queue:
    """The examples of one EvalSet that the candidate is asked in rounds."""

    name: str
    stopping: Stopping
    places: list[tuple[str, str]]
    """(example id, key) in the order in which they are asked."""
    chunk: int
    """Examples a round."""
    asked: int = 0
    settled: bool = False

    @classmethod
    def of(cls, item: Work, side: _Side, least: int) -> _Queue:
        name, stopping = item.evalset.name, item.stopping
        if stopping is None:
            raise ValueError(f"{name} is not asked in rounds")
        keys = {i: key for evalset, system, i, key in side.wanted if (evalset, system) == (name, CANDIDATE.name)}
        places = [(i, keys[i]) for i in stopping.order]
        if stopping.ends_first and len(places) > 2:
            length = [side.sizes[key] for _, key in places]
            ends = {length.index(max(length)), length.index(min(length))}
            places = [places[i] for i in sorted(ends)] + [p for i, p in enumerate(places) if i not in ends]
        return cls(name, stopping, places, max(least, -(-len(places) // ROUNDS)))

    @property
    def is_open(self) -> bool:
        return not self.settled and self.asked < len(self.places)

    def next_chunk(self) -> list[str]:
        if not self.is_open:
            return []
        taken = self.places[self.asked : self.asked + self.chunk]
        self.asked += len(taken)
        return [key for _, key in taken]

    def look(self, answers: Mapping[str, Generation], others: Mapping[str, Mapping[str, Generation]]) -> None:
        """Whether what was asked settles the gates; after the last example nothing is left to settle."""
        if self.is_open:
            mine = {i: answers[key] for i, key in self.places[: self.asked]}
            self.settled = self.stopping.settled({**others, CANDIDATE.name: mine})

    def asked_ids(self) -> list[tuple[str, str]]:
        return [(self.name, i) for i, _ in self.places[: self.asked]]


def _plan(item: Work, system: System, engine: Engine, side: _Side, result: StageResult) -> None:
    prompt_set = build_prompts(item.evalset, system)
    if prompt_set.withheld:
        result.withheld[f"{item.evalset.name}/{system.name}"] = prompt_set.withheld
    settings = item.evalset.generation
    # Labels that are weighed need no text; other gates do, and what is asked must not depend on what is selected.
    weighed_only = bool(item.labels) and not any(gate.row.reads_texts for gate in item.evalset.gates)
    new_tokens = 0 if weighed_only else settings.max_new_tokens
    for example, prompt in zip(item.evalset.examples, prompt_set.prompts, strict=True):
        # Before anything is generated: a prompt that the chat template refuses is found here.
        ids = engine.encode(prompt, tuned=system.tuned) if isinstance(engine, Encodes) else None
        if system in (CANDIDATE_REFERENCE, BASE_REFERENCE):
            request = Request(prompt, 0, (), (target_text(example.target),))
        else:
            request = Request(prompt, new_tokens, settings.stop, item.labels)
        key = request_key(request, ids)
        side.requests[key] = request
        side.sizes[key] = text_length(prompt) if ids is None else len(ids)
        side.wanted.append((item.evalset.name, system.name, example.id, key))
