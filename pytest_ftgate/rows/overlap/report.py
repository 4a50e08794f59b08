"""The result of an overlap check: frozen dataclasses, and the JSON that other tools read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import Problem
from pytest_ftgate.rows.overlap.verify import Class, Label

Where = Literal["input+output", "input", "output", "cross"]

CLASSES: tuple[Class, ...] = ("exact", "near", "rephrased", "sibling", "template", "context", "short", "partial")
"""Strongest first. `exact` and `near` are leaks, wherever the example's input stands in a row."""


@dataclass(frozen=True, slots=True)
class OverlapOptions:
    """How to look."""

    workers: int = 1
    """Processes that share the rows of files; the result is the same for any number."""
    allow_broken_rows: bool = False
    """Judge although some rows could not be read."""
    rephrase: bool = True
    """Also look for the same content in other words (advisory)."""
    pseudo_examples: int = 500
    """Training rows that play examples, at most a tenth of the rows: they measure the natural rate. 0: do not."""
    texts: bool = True
    """Keep texts in the report. False: ids, offsets and numbers only, for private data."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch that both texts hold, in characters: [start, end)."""

    example: tuple[int, int]
    """In the example's text (`Finding.example_text`)."""
    row: tuple[int, int]
    """In that part of the row: all user turns, or all assistant turns, joined by newlines."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One example and the training row that overlaps it most."""

    example_id: str
    class_: Class
    label: Label
    """verbatim: equal character for character; contained: all of it in a longer text; reordered: in pieces."""
    file: str
    row: int
    """1-based line (JSONL) or row number in `file`."""
    where: Where
    """What is in the row: the input with the same answer, the input, only the answer, or the input in an answer."""
    label_conflict: bool
    """The row gives the input another answer."""
    identity: float
    """Share of the example's own tokens that are found in the row, in [0, 1]."""
    score: float
    """Weighted share of its 3-grams (rephrased: likeness of the stems), in [0, 1]."""
    copies: int
    """Rows that hold it: all of them for `exact`, those with the same stretch and answer for the other classes."""
    tokens: int
    """Length of the example's text."""
    boilerplate_tokens: int
    """How many of them are shared prompt and do not count."""
    spans: tuple[Span, ...]
    example_text: str
    row_text: str
    """The part of the row around the match, cut from `row_offset`."""
    row_offset: int
    reason: str
    """Why this class, in words; holds no text of the data."""
    others: tuple[tuple[Class, str, int], ...] = ()
    """(class, file, row) of the next two candidates."""

    @property
    def is_leak(self) -> bool:
        """Whether a gate counts it: exact or near, and not the answer alone."""
        return self.class_ in ("exact", "near") and self.where != "output"

    def to_json(self) -> dict[str, Json]:
        """Strict JSON; `class_` is written `class`, a span as [example start, end, row start, end]."""
        out: dict[str, Json] = asdict(self)
        out["class"] = out.pop("class_")
        out["spans"] = [[*s.example, *s.row] for s in self.spans]
        out["others"] = [{"class": c, "file": file, "row": row} for c, file, row in self.others]
        return out


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % Wilson interval."""

    n: int
    flagged: int
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """flagged / n; 0 where n is 0."""
        return self.flagged / self.n if self.n else 0.0

    def to_json(self) -> dict[str, Json]:
        """n, flagged, rate, interval."""
        return {"n": self.n, "flagged": self.flagged, "rate": self.value, "interval": list(self.interval)}


@dataclass(frozen=True, slots=True)
class Baseline:
    """How often training rows overlap other training rows: what overlap is natural in this data."""

    examples: Rate
    """Distinct examples that are leaked."""
    training: Rate
    """Sampled training rows with an exact or near copy among the other rows."""
    training_exact: Rate
    """Those of them whose copy is exact."""
    p_excess: float
    """One-sided Fisher p-value of "the examples overlap no more than training rows do"."""
    rephrased: Rate
    """Sampled rows that the rephrase rule would report: above 2 % the rule says nothing here."""

    def to_json(self) -> dict[str, Json]:
        """Nested rates and the p-value."""
        return {
            "examples": self.examples.to_json(),
            "training": self.training.to_json(),
            "training_exact": self.training_exact.to_json(),
            "p_excess": self.p_excess,
            "rephrased": self.rephrased.to_json(),
        }


@dataclass(frozen=True, slots=True)
class TrainingDuplicates:
    """Training rows with the same words in input and output: a complete count."""

    groups: int
    extra_rows: int
    """Rows beyond the first of each group."""
    largest: tuple[tuple[int, tuple[tuple[str, int], ...]], ...]
    """(copies, up to five (file, row)) of the largest groups."""


@dataclass(frozen=True, slots=True)
class EvalDuplicates:
    """Examples that repeat one another."""

    exact: tuple[tuple[str, ...], ...]
    """Groups of ids with the same input."""
    near: tuple[tuple[str, str], ...]
    """Pairs of ids with nearly the same input and the same answer."""


@dataclass(frozen=True, slots=True)
class OverlapReport:
    """Everything an overlap check found."""

    findings: tuple[Finding, ...]
    """By example, in the order of the eval set; at most one for the input and one for the answer of each."""
    n_examples: int
    n_rows: int
    """Training rows, broken ones included."""
    eval_duplicates: EvalDuplicates
    training_duplicates: TrainingDuplicates
    baseline: Baseline | None
    """None where there are too few rows to sample."""
    rephrase_decides: bool
    """False: `rephrased` is information only, since the rule also fires on more than 2 % of the training rows."""
    n_broken: int
    broken_rows: tuple[Problem, ...]
    """The first twenty."""
    options: OverlapOptions
    seconds: float

    @property
    def leaks(self) -> tuple[Finding, ...]:
        """exact and near, by example."""
        return tuple(f for f in self.findings if f.is_leak)

    @property
    def is_judged(self) -> bool:
        """Whether every row was read, or the missing ones are allowed to miss."""
        return not self.n_broken or self.options.allow_broken_rows

    def of_class(self, class_: Class) -> tuple[Finding, ...]:
        """Findings of one class that are no leaks (for exact and near: answers found alone)."""
        return tuple(f for f in self.findings if f.class_ == class_ and not f.is_leak)

    def to_json(self) -> dict[str, Json]:
        """`overlaps`: the leaks. Other classes lie under their own keys; `output_only`: answers found alone."""
        out: dict[str, Json] = {"overlaps": [f.to_json() for f in self.leaks]}
        for name in CLASSES[2:]:
            out[name] = [f.to_json() for f in self.of_class(name) if f.where != "output"]
        out["output_only"] = [f.to_json() for f in self.findings if f.where == "output"]
        duplicates = self.training_duplicates
        out |= {
            "n_examples": self.n_examples,
            "n_rows": self.n_rows,
            "n_broken": self.n_broken,
            "broken_rows": [str(p) for p in self.broken_rows],
            "judged": self.is_judged,
            "eval_duplicates": {
                "exact": [list(g) for g in self.eval_duplicates.exact],
                "near": [list(p) for p in self.eval_duplicates.near],
            },
            "training_duplicates": {
                "groups": duplicates.groups,
                "extra_rows": duplicates.extra_rows,
                "largest": [{"copies": n, "rows": [list(p) for p in places]} for n, places in duplicates.largest],
            },
            "baseline": self.baseline.to_json() if self.baseline else None,
            "rephrase_decides": self.rephrase_decides,
            "options": asdict(self.options),
            "seconds": self.seconds,
        }
        return out
