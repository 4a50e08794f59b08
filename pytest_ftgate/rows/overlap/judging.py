"""Turns the candidates of a scan into findings: the strongest of each Doc, aligned and classified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pytest_ftgate.rows.overlap.answers import same_answer
from pytest_ftgate.rows.overlap.frequency import rare_words
from pytest_ftgate.rows.overlap.items import Item
from pytest_ftgate.rows.overlap.rephrase import LEAST_TOKENS
from pytest_ftgate.rows.overlap.report import CLASSES, Finding, Span, Where
from pytest_ftgate.rows.overlap.scan import ANSWER_LANE, LANES, Candidate, Exact, Found, SegmentKind
from pytest_ftgate.rows.overlap.text import located_tokens
from pytest_ftgate.rows.overlap.verify import (
    LEAST_IDENTITY,
    SHORT,
    Alignment,
    Class,
    Judgement,
    Label,
    Reference,
    align,
    judge,
    reference,
)
from pytest_ftgate.rows.overlap.work import Job

LEAST_REPEATED = 0.9  # of a Doc's own tokens, in a row that repeats it
_KIN = ("sibling", "template", "partial")
_COPIES_CAP = 10  # of one sampled row in the baseline: one very frequent row must not be the whole rate


class Match(NamedTuple):
    """One candidate, judged."""

    class_: Class
    judgement: Judgement
    kind: SegmentKind
    candidate: Candidate
    spans: tuple[Span, ...]
    conflict: bool


class Nature(NamedTuple):
    """How a sampled training row overlaps the other rows."""

    copies: int
    exact: bool
    near: bool
    rephrased: bool


class Judge:
    """Judges the Docs of a Job's index by what a scan found."""

    def __init__(self, job: Job, found: Found) -> None:
        self.job, self.index, self._found = job, job.index, found
        self._own = _own_tokens(job)
        self._references: dict[int, Reference] = {}
        self._judged: dict[int, list[Match]] = {}

    def findings(self, d: int, items: Sequence[Item]) -> Iterator[Finding]:
        """Findings of the examples of one Doc."""
        doc = self.index.docs[d]
        if doc.pseudo:
            return
        matches = sorted(self._matches(d), key=_strength)
        if doc.kind == "output":
            matches = [m for m in matches if m.class_ in ("exact", "near")]
        if not matches:
            return
        best = matches[0]
        others = tuple((m.class_, *m.candidate.place) for m in matches[1:3])
        for i in doc.examples:
            yield self._finding(d, best, items[i].id, others)

    def is_leaked(self, d: int) -> bool:
        """Whether a gate counts the Doc's examples."""
        return any(m.class_ in ("exact", "near") for m in self._matches(d))

    def nature(self, d: int) -> Nature:
        """How a pseudo Doc overlaps; it does not count as its own copy."""
        exact = self._found.exact.get((d, "input"))
        copies = exact.copies if exact is not None else 1
        near = any(m.class_ == "near" and m.kind == "input" for m in self._near(d))
        alike = any(self._rephrased(d))
        return Nature(min(copies, _COPIES_CAP), copies > 1, near, alike and copies == 1 and not near)

    def near_rows(self, d: int) -> list[int]:
        """Rows that are near copies of the Doc in their input."""
        return [m.candidate.place[1] for m in self._near(d) if m.class_ == "near" and m.kind == "input"]

    def repeating_rows(self, d: int) -> list[int]:
        """Rows that a reader would take for the Doc's input again, however common it is.

        A gate is more careful: it lets fills of a template pass, and what many rows have in common. Who divides rows
        loses nothing by keeping those together.
        """
        return [
            m.candidate.place[1]
            for m in self._near(d)
            if m.kind == "input"
            and (m.class_ == "near" or (m.class_ in _KIN and m.judgement.identity >= LEAST_REPEATED))
        ]

    def _matches(self, d: int) -> list[Match]:
        if d not in self._judged:
            self._judged[d] = self._judge(d)
        return self._judged[d]

    def _judge(self, d: int) -> list[Match]:
        kinds: tuple[SegmentKind, ...] = ("input", "output")
        exact = [self._exact(d, kind, self._found.exact[d, kind]) for kind in kinds if (d, kind) in self._found.exact]
        if self._n_own(d) < SHORT:  # a short answer may be anybody's words
            exact = [m for m in exact if m.kind == "input"]
        if exact:
            return exact
        near = self._near(d)
        # A row that has the very words needs no other explanation.
        known = [m.candidate.text for m in near if m.class_ != "partial" or m.judgement.identity < LEAST_IDENTITY]
        return near + [m for m in self._rephrased(d) if not any(t in m.candidate.text for t in known)]

    def _n_own(self, d: int) -> int:
        first = self.index.batch.first
        return int(self._own[first[d] : first[d + 1]].sum())

    def _reference(self, d: int) -> Reference:
        if d not in self._references:
            mates = list(self.job.frequencies.families.get(d, {}).values())
            if len(mates) < 3:
                near = [c for lane in (0, 1) for c in self._found.near.get((d, lane), {}).values()]
                mates += [c.text for c in sorted(near, key=lambda c: c.digest)]
            first = self.index.batch.first
            text = self.index.docs[d].text
            (rare,) = rare_words(self.job.frequencies, [text])
            self._references[d] = reference(text, self._own[first[d] : first[d + 1]], mates, rare)
        return self._references[d]

    def _near(self, d: int) -> list[Match]:
        doc = self.index.docs[d]
        candidates = [(lane, c) for lane in LANES for c in self._found.near.get((d, lane), {}).values()]
        if not candidates:
            return []
        ours = self._reference(d)
        matches: list[Match] = []
        rare = rare_words(self.job.frequencies, [c.text for _, c in candidates])
        for (lane, candidate), content in zip(candidates, rare, strict=True):
            alignment = align(ours, candidate.text, content)
            same = same_answer(doc.output, candidate.output) if lane != ANSWER_LANE else None
            verdict = judge(ours, alignment, candidate.score, same)
            if verdict.class_:
                spans = _spans(ours, alignment, candidate)
                kind: SegmentKind = "output" if lane == ANSWER_LANE else "input"
                matches.append(Match(verdict.class_, verdict, kind, candidate, spans, same is False))
        return matches

    def _rephrased(self, d: int) -> Iterator[Match]:
        for candidate in self._found.alike.get(d, {}).values():
            ours = self._reference(d)
            if ours.own.sum() < LEAST_TOKENS:
                continue
            alignment = align(ours, candidate.text, *rare_words(self.job.frequencies, [candidate.text]))
            identity = round(float(alignment.found[ours.own].mean()), 4)
            reason = f"other words, same content: likeness of the word stems {candidate.score:.2f}"
            verdict = Judgement("rephrased", identity, "", reason)
            yield Match("rephrased", verdict, "input", candidate, _spans(ours, alignment, candidate), False)

    def _exact(self, d: int, kind: SegmentKind, exact: Exact) -> Match:
        doc = self.index.docs[d]
        label: Label = "verbatim" if exact.text == doc.text else ""
        conflict = kind == "input" and not exact.agreeing and same_answer(doc.output, exact.output) is False
        reason = "the same text" if label else "the same words (case, punctuation and spacing apart)"
        if 0 < exact.agreeing < exact.copies:
            reason += f"; {exact.copies - exact.agreeing} of {exact.copies} copies have another answer"
        candidate = Candidate(1.0, 0, exact.place, exact.copies, 0, exact.text, exact.output)
        ours, theirs = located_tokens(doc.text)[1], located_tokens(exact.text)[1]
        spans = (Span((0, len(doc.text)), (0, len(exact.text))),)
        if ours and theirs:
            spans = (Span((ours[0][0], ours[-1][1]), (theirs[0][0], theirs[-1][1])),)
        return Match("exact", Judgement("exact", 1.0, label, reason), kind, candidate, spans, conflict)

    def _finding(self, d: int, match: Match, example_id: str, others: tuple[tuple[Class, str, int], ...]) -> Finding:
        doc, candidate, verdict = self.index.docs[d], match.candidate, match.judgement
        first = self.index.batch.first
        n = int(first[d + 1] - first[d])
        boilerplate = n - self._n_own(d)
        reason = verdict.reason
        if boilerplate:
            reason += f"; {boilerplate} of {n} tokens are shared prompt and do not count"
        return Finding(
            example_id=example_id,
            class_=match.class_,
            label=verdict.label,
            file=candidate.place[0],
            row=candidate.place[1],
            where=_where(doc.kind, match.kind, same_answer(doc.output, candidate.output)),
            label_conflict=match.conflict,
            identity=verdict.identity,
            score=candidate.score,
            copies=candidate.copies,
            tokens=n,
            boilerplate_tokens=boilerplate,
            spans=match.spans,
            example_text=doc.text,
            row_text=candidate.text,
            row_offset=candidate.offset,
            reason=reason,
            others=others,
        )


def _strength(match: Match) -> tuple[int, int, float, float, int]:
    """Sort key: strongest class first; an agreeing answer, then the best match, decides among equals."""
    return (
        CLASSES.index(match.class_),
        match.conflict,
        -match.judgement.identity,
        -match.candidate.score,
        match.candidate.digest,
    )


def _where(doc_kind: str, row_part: SegmentKind, same: bool | None) -> Where:
    if doc_kind == "output":
        return "output"
    if row_part == "output":
        return "cross"
    return "input+output" if same else "input"


def _spans(ours: Reference, alignment: Alignment, candidate: Candidate) -> tuple[Span, ...]:
    """The runs that both hold in the same order, in characters."""
    return tuple(
        Span(
            (ours.spans[a][0], ours.spans[a + size - 1][1]),
            (candidate.offset + alignment.spans[b][0], candidate.offset + alignment.spans[b + size - 1][1]),
        )
        for a, b, size in alignment.blocks
    )


def _own_tokens(job: Job) -> NDArray[np.bool_]:
    """[T] tokens of the Docs that are in a 3-gram with weight, or in no 3-gram at all."""
    index = job.index
    n_docs = max(len(index.docs), 1)
    position = np.flatnonzero(index.position_gram >= 0)
    doc = index.batch.segment[position]
    entry = np.searchsorted(index.entry_gram * n_docs + index.entry_doc, index.position_gram[position] * n_docs + doc)
    weighty = position[job.weights[entry] > 0]
    own = np.zeros(len(index.position_gram), np.bool_)
    for shift in range(3):
        own[weighty + shift] = True
    own[index.lengths[index.batch.segment] < 3] = True
    return own
