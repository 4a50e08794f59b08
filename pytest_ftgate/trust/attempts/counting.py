"""Counts attempts on the same examples, and shares the error rate among them. Pure.

Judged again and again on the same examples, some unfit model passes by luck: at alpha each, one of k with up to
k * alpha. Where a candidate depends on earlier ones through their verdicts alone (`feedback: sealed`) and the first to
pass is the last, its past can only be "not passed, ..., not passed": candidates are then fixed in advance, so sharing
alpha among attempts bounds the chance that any unfit one ships, for an adaptive developer too (union bound; the idea of
ease.ml/ci, Renggli et al. 2019). Where answers were shown, nothing bounds a model that was tuned on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytest_ftgate.answers.prompting import plain_words
from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.evalset.types import AttemptPolicy, EvalSet, Example
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.results import Outcome
from pytest_ftgate.trust.attempts.ledger import Entry, Ledger

SKETCH = 128
"""Hashes kept of an eval set: up to so many questions, what two sets share is exact, above it about 4 points off."""
SAME = 0.5
"""From this share of examples that were used before, an eval set carries on the count of attempts."""


NOT_BEGUN = "there is no ledger that a run has begun for eval sets that share alpha, so earlier attempts may be missing"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate on one eval set, and what the ledger says of it."""

    entry: Entry
    """What this run would add to the ledger; `outcomes` is empty."""
    known: Mapping[str, Outcome]
    """Gate kind -> outcome, where the same candidate was judged on the same inputs before."""
    repeated: bool
    """Whether it was."""
    changed: str
    """What changed in the eval set since this candidate was judged on these examples. Empty where nothing did."""
    uncovered: int
    """Earlier attempts that spent no alpha."""
    problem: str
    """Why attempts cannot be counted. Empty where they can."""
    refused: str = ""
    """Why gates that were judged do not count although this was an attempt. Empty where they do."""
    looks: int = 0
    """How often a part of these examples was looked at, by whichever candidate; with this run, where it is a look."""
    made: int = 0
    """Attempts on these examples that were made before."""
    is_look: bool = False
    """Whether this run was a look, which is no attempt."""

    @property
    def spends(self) -> bool:
        """Whether alpha is shared among attempts."""
        return self.entry.spend != "none"

    @property
    def look_is_free(self) -> bool:
        """Whether a look at a part costs nothing: no alpha is shared, and answers may be shown."""
        return not (self.spends or self.sealed)

    @property
    def sealed(self) -> bool:
        """Whether nothing but verdict and reason may be shown."""
        return self.entry.feedback == "sealed"

    def to_json(self) -> dict[str, Json]:
        """Strict JSON, for other processes and for reports."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Attempt:
        """What `to_json` made."""
        entry = {**value["entry"], **{name: tuple(value["entry"][name]) for name in ("sketch", "form")}}
        return cls(**{**value, "entry": Entry(**entry)})


def is_counted(kind: str) -> bool:
    """Whether a gate of this kind tests a hypothesis, so that judging it is an attempt."""
    return KINDS[kind].counted


def draft_entry(evalset: EvalSet, *, candidate: str, form: Sequence[str], alpha: float) -> Entry:
    """What the ledger holds of a candidate on an eval set, before it is counted (index 0).

    The gates are those that are judged, with the bounds and the alpha of a policy.
    """
    policy = evalset.attempts
    hashes = sorted({_question_hash(example) for example in evalset.examples})
    gates = [alpha, [[gate.kind, gate.bound, dict(gate.options)] for gate in evalset.gates]]
    return Entry(
        evalset=evalset.name,
        examples=hashlib.sha256("".join(hashes).encode()).hexdigest(),
        n=len(hashes),
        sketch=tuple(hashes[:SKETCH]),
        content=evalset.digest,
        gates=hashlib.sha256(json.dumps(gates, sort_keys=True).encode()).hexdigest(),
        candidate=candidate,
        form=tuple(form),
        index=0,
        spend=policy.spend if policy.budget is None else f"{policy.spend}:{policy.budget}",
        alpha=0.0,
        feedback=policy.feedback,
        outcomes={},
    )


def count_attempt(draft: Entry, ledger: Ledger, *, beside: Iterable[str], alpha: float) -> Attempt:
    """The Attempt that `draft` is, given everything that was judged before.

    The same candidate on the same inputs is the same attempt. `beside`: names of all eval sets of this run; the same
    candidate on another of them is no further attempt, since it must pass all of them.
    """
    family = [entry for entry in ledger.entries if shared_share(draft, entry) >= SAME]
    same = [entry for entry in family if _key(entry) == _key(draft)]
    siblings = set(beside) - {draft.evalset}
    others = [
        entry
        for entry in family
        if _key(entry) != _key(draft) and not (_who(entry) == _who(draft) and entry.evalset in siblings)
    ]
    spent: dict[int, float] = {}
    for entry in others:
        spent[entry.index] = max(spent.get(entry.index, 0.0), entry.alpha if entry.spend != "none" else 0.0)
    index = same[-1].index if same else 1 + max(spent, default=0)
    level = same[-1].alpha if same else alpha_at(policy_of(draft), index, alpha=alpha, spent=sum(spent.values()))
    known: dict[str, Outcome] = {}
    for entry in same:
        if entry.index == index:
            known.update(entry.outcomes)
    return Attempt(
        entry=replace(draft, index=index, alpha=level),
        known=known,
        repeated=bool(same),
        changed=_changed(draft, others) if not same else "",
        looks=sum(shared_share(draft, look) >= SAME for look in ledger.looks),
        made=max((entry.index for entry in family), default=0),
        uncovered=len({e.index for e in others if e.spend == "none" and e.index < index}),
        problem=ledger.problem or ("" if ledger.declared or draft.spend == "none" else NOT_BEGUN),
    )


def policy_of(entry: Entry) -> AttemptPolicy:
    """The policy that an entry was made under."""
    spend, _, budget = entry.spend.partition(":")
    return AttemptPolicy(spend, int(budget) if budget else None, entry.feedback)  # type: ignore[arg-type]


def alpha_at(policy: AttemptPolicy, index: int, *, alpha: float, spent: float = 0.0) -> float:
    """Level of attempt `index` (from 1), where `spent` was spent by the others; 0.0 where nothing is left.

    harmonic: alpha / (j (j + 1)), which sums to alpha over all j; fixed-budget: alpha / H for j <= H.
    """
    if policy.spend == "none":
        return alpha
    if policy.spend == "harmonic":
        level = alpha / (index * (index + 1))
    else:
        budget = policy.budget or 1
        level = alpha / budget if index <= budget else 0.0
    left = alpha - spent
    return level if left >= level * (1 - 1e-9) else max(0.0, left)


def shared_share(mine: Entry, other: Entry) -> float:
    """Share of my questions that the other eval set holds, in [0, 1]; from bottom-k sketches (Broder 1997)."""
    if mine.examples == other.examples:
        return 1.0
    union = sorted({*mine.sketch, *other.sketch})[:SKETCH]
    both = set(mine.sketch) & set(other.sketch)
    jaccard = sum(h in both for h in union) / len(union)
    return min(1.0, jaccard / (1.0 + jaccard) * (mine.n + other.n) / mine.n)


def _question_hash(example: Example) -> str:
    """Hash of what is asked: neither a new id, nor a corrected reference, nor another spelling makes it fresh."""
    target = example.target if isinstance(example.target, dict) else {}
    asked = {
        name: value
        for name, value in example.fields.items()
        if str(value) != example.id and value != example.target and target.get(name, _NO) != value
    }
    text = json.dumps(asked or dict(example.fields), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256((plain_words(text) or text).encode("utf-8", "surrogatepass")).hexdigest()[:12]


_NO = object()


def _who(entry: Entry) -> tuple[object, ...]:
    return entry.candidate, entry.form


def _key(entry: Entry) -> tuple[object, ...]:
    return *_who(entry), entry.content, entry.gates


def _changed(draft: Entry, others: Sequence[Entry]) -> str:
    mine = [entry for entry in others if _who(entry) == _who(draft)]
    if not mine:
        return ""
    return "gates" if mine[-1].gates != draft.gates else "examples, references, prompts, scorer, slices or policy"
