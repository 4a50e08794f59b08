"""Types of an eval set: frozen dataclasses, standard library only.

Names follow one rule: YAML key = field = report key = word in the docs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_ftgate.evalset.kinds import KINDS, KindRow
from pytest_ftgate.files.json_value import Json

Role = Literal["system", "user", "assistant"]
Rigor = Literal["guaranteed", "approx"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that a model is asked, with its reference answer."""

    id: str
    """Unique in its EvalSet; matches `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`."""
    fields: Mapping[str, Json]
    """The row as written: the values that prompt templates name."""
    target: Json
    """Reference answer: a string, a number, an object (json_fields), a list of accepted strings, or None."""
    cluster: str | None
    """Examples of one cluster are not independent; None where the eval set names no cluster."""
    path: str
    """File that the row came from."""
    line: int
    """1-based line (JSONL) or row number (parquet, csv, datasets) in that file."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """How an Example becomes a prompt. Exactly one of `user`, `text`, `messages` is set."""

    system: str | None = None
    """System turn template (chat form only)."""
    user: str | None = None
    """User turn template: `{field}` is replaced by the Example's field; `{{` is a brace."""
    text: str | None = None
    """Completion form, for models without a chat template: the whole prompt as one template."""
    messages: str | None = None
    """Name of the field that already holds a list of chat messages."""


@dataclass(frozen=True, slots=True)
class Shots:
    """Worked examples placed before the question."""

    examples: tuple[Example, ...]
    """The pool, in file order."""
    n: int
    """How many are shown."""
    select: Literal["first", "nearest"]
    """`first`: the first n of the pool; `nearest`: the n most similar inputs by TF-IDF."""


@dataclass(frozen=True, slots=True)
class Passages:
    """Reference text placed in the prompt as `{passages}`."""

    texts: tuple[str, ...]
    n: int
    """How many of the most similar texts (TF-IDF) are shown."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to prompt the base model: a rung of the ladder that a fine-tune must beat."""

    name: str
    """`zero_shot`, `few_shot`, `retrieval`, or another lower-case name."""
    prompt: Prompt
    shots: Shots | None = None
    passages: Passages | None = None


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Greedy decoding limits, the same for every System of the EvalSet."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()
    """Strings that end an answer; they are cut from the text."""


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """Which scorer turns (Example, Generation) into a Score."""

    kind: str
    """exact · includes · choice · regex · numeric · json_fields · similarity · function"""
    options: Mapping[str, Json]
    """The options of that kind, as written (with defaults filled in by the scorer)."""


@dataclass(frozen=True, slots=True)
class GateSpec:
    """One gate of an EvalSet: its kind, its bound, and where it is written. Raises UnknownGateKind."""

    kind: str
    """A name in KINDS."""
    bound: float
    """overlap.max · format.min_rate · accuracy.min · beats_baseline.min_gain · forgetting.max_drop"""
    options: Mapping[str, Json]
    """Everything else that the gate's mapping holds."""
    line: int
    """1-based line of the gate in the eval-set file."""

    def __post_init__(self) -> None:
        _ = self.row  # a gate of a kind that nobody knows is made nowhere

    @property
    def row(self) -> KindRow:
        """What its kind is."""
        return KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class AttemptPolicy:
    """What happens when models are judged on the same examples again and again."""

    spend: Literal["none", "harmonic", "fixed-budget"] = "none"
    """How the error rate is shared among attempts; `none`: each has all of it, and the report says so."""
    budget: int | None = None
    """How many attempts there are; None unless `spend` is fixed-budget."""
    feedback: Literal["full", "sealed"] = "full"
    """`sealed`: only the verdict and its reason code are shown, nowhere a number, an example or an answer."""


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """One field by whose values every judged gate of an EvalSet is reported too."""

    field: str
    values: tuple[str, ...]
    """Every value that the rows hold, as text, sorted: a slice stays known where its examples are left out."""
    bounds: Mapping[str, float]
    """Gate kind -> bound that each slice of this field must keep; {}: the slices are shown and decide nothing."""
    line: int
    """1-based line in the eval-set file."""


@dataclass(frozen=True, slots=True)
class EvalSet:
    """A loaded eval-set file."""

    name: str
    path: Path
    examples: tuple[Example, ...]
    prompt: Prompt
    baselines: tuple[Rung, ...]
    scorer: ScorerSpec | None
    """None only where no gate scores answers (format or overlap alone)."""
    generation: GenerationSettings
    gates: tuple[GateSpec, ...]
    digest: str
    """sha256 over the canonical content: examples, prompts, shots, passages, scorer, generation, gates; and slices,
    rigor and attempts where they are written."""
    slices: tuple[SliceSpec, ...] = ()
    rigor: Rigor = "guaranteed"
    """How graded scores and clusters are tested: `guaranteed` (betting) or `approx` (Student's t, labelled)."""
    attempts: AttemptPolicy = AttemptPolicy()

    early_stop: bool = False
    """Whether gates may be decided before the last example, at the price of a stricter test at the last one."""

    def gate(self, kind: str) -> GateSpec:
        """Its gate of this kind. Raises KeyError where it has none."""
        return {gate.kind: gate for gate in self.gates}[kind]

    def rungs_of(self, gate: GateSpec) -> tuple[Rung, ...]:
        """The rungs that a gate of this eval set compares the candidate with."""
        if gate.row.references == "named rung":
            return tuple(rung for rung in self.baselines if rung.name == gate.options["of"])
        return self.baselines if gate.row.references == "rungs" else ()

    def bounded_slices(self, kind: str) -> tuple[SliceSpec, ...]:
        """Slices whose own bound is part of the gate of this kind: each must be certified for it to pass."""
        return tuple(one for one in self.slices if kind in one.bounds)
