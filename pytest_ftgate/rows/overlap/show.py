"""A report as text for a terminal. Data set text is untrusted: it goes through `visible` and is cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tabulate import tabulate

from pytest_ftgate.rows.overlap.report import CLASSES, Baseline, Finding, OverlapReport, Rate
from pytest_ftgate.rows.overlap.text import visible

_SHOWN_LEAKS = 10
_SHOWN_ROWS = 5
_BESIDE = 40  # characters of unmatched text shown at either end
_TEXT = 600

_MEANING = {
    "exact": "the same words: leak",
    "near": "an edited or embedded copy: leak",
    "rephrased": "other words, same content: look at it",
    "sibling": "nearly the same text, another answer",
    "template": "another fill of the same template",
    "context": "a shared passage, another question",
    "short": "alike, but too short to tell from chance",
    "partial": "something in common",
}


def render(report: OverlapReport) -> str:
    """The whole report: table, leaks with both texts, baseline, duplicates, broken rows."""
    return "\n".join(_lines(report))


def marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text with its matched spans in «», made visible, cut in the unmatched parts and to about 600 characters."""
    out: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start < at:
            continue
        out.append(_gap(text[at:start], first=at == 0, last=False))
        out.append(f"«{visible(text[start:end])}»")
        at = end
    out.append(_gap(text[at:], first=not spans, last=True))
    whole = "".join(out)
    return whole if len(whole) <= _TEXT else whole[:_TEXT] + " …"


def _gap(text: str, *, first: bool, last: bool) -> str:
    """An unmatched part, its middle (or far end) left out where it is long."""
    if len(text) <= 2 * _BESIDE:
        return visible(text)
    head = "" if first else visible(text[:_BESIDE])
    tail = "" if last else visible(text[-_BESIDE:])
    return f"{head} … {tail}" if head or tail else visible(text[: 2 * _BESIDE]) + " …"


def _lines(report: OverlapReport) -> Iterator[str]:
    yield f"{report.n_examples} examples against {report.n_rows} training rows, {report.seconds:.1f} s"
    yield ""
    yield _table(report)
    leaks = report.leaks
    for finding in leaks[:_SHOWN_LEAKS]:
        yield ""
        yield from _finding(finding)
    if len(leaks) > _SHOWN_LEAKS:
        yield f"\n... and {len(leaks) - _SHOWN_LEAKS} more leaks (--json FILE holds all of them)"
    yield ""
    yield from _context(report)


def _table(report: OverlapReport) -> str:
    rows = []
    for name in CLASSES:
        found = [f for f in report.findings if f.class_ == name and f.where != "output"]
        if found:
            where = ", ".join(f"{sum(f.where == w for f in found)} {w}" for w in sorted({f.where for f in found}))
            conflicts = sum(f.label_conflict for f in found)
            rows.append([name, len(found), where, conflicts or "", _MEANING[name]])
    answers = sum(f.where == "output" for f in report.findings)
    if answers:
        rows.append(["answer only", answers, "output", "", "a long answer stands in a row without its question"])
    if not rows:
        return "no overlap of any class"
    return tabulate(rows, headers=["class", "examples", "found in", "other answer", "meaning"])


def _finding(finding: Finding) -> Iterator[str]:
    label = f" ({finding.label})" if finding.label else ""
    times = f", {finding.copies} copies" if finding.copies > 1 else ""
    place = f"{visible(finding.file)}:{finding.row}"
    yield f"{finding.class_}{label}: example {visible(finding.example_id)} = {place} [{finding.where}]{times}"
    yield f"  why: {finding.reason}"
    if finding.label_conflict:
        yield "  the row gives it another answer"
    if finding.example_text:
        yield f"  example: {marked(finding.example_text, [s.example for s in finding.spans])}"
        shift = finding.row_offset
        yield f"  row:     {marked(finding.row_text, [(s.row[0] - shift, s.row[1] - shift) for s in finding.spans])}"
    if finding.others:
        yield "  also: " + ", ".join(f"{visible(file)}:{row} ({name})" for name, file, row in finding.others)


def _context(report: OverlapReport) -> Iterator[str]:
    if report.baseline is not None:
        yield from _baseline(report.baseline, report)
    duplicates = report.training_duplicates
    if duplicates.groups:
        yield f"training data: {duplicates.extra_rows} rows repeat an earlier one ({duplicates.groups} groups)"
    for copies, places in duplicates.largest[:3]:
        rows = ", ".join(f"{visible(file)}:{row}" for file, row in places)
        yield f"  {copies} copies: {rows}{', ...' if copies > len(places) else ''}"
    for group in report.eval_duplicates.exact[:_SHOWN_ROWS]:
        yield f"eval set: the same input in {', '.join(visible(i) for i in group[:8])}"
    if report.eval_duplicates.near:
        pairs = ", ".join(f"{visible(a)}/{visible(b)}" for a, b in report.eval_duplicates.near[:_SHOWN_ROWS])
        yield f"eval set: {len(report.eval_duplicates.near)} pairs are nearly the same: {pairs}"
    if report.n_broken:
        fate = "left out, as allowed" if report.is_judged else "nothing is proven while they are unread"
        yield f"{report.n_broken} broken rows: {fate}"
        yield from (f"  {visible(str(p))}" for p in report.broken_rows[:_SHOWN_ROWS])


def _baseline(found: Baseline, report: OverlapReport) -> Iterator[str]:
    yield f"leaked examples: {_rate(found.examples)}; natural rate (training rows with a copy): {_rate(found.training)}"
    yield f"more than natural? Fisher p = {found.p_excess:.2g}"
    if not report.rephrase_decides and report.of_class("rephrased"):
        yield f"rephrased is information only: the rule also fires on {_rate(found.rephrased)} training rows"


def _rate(rate: Rate) -> str:
    return f"{rate.value:.1%} [{rate.interval[0]:.1%}, {rate.interval[1]:.1%}] of {rate.n}"
