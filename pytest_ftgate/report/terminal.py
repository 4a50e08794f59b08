"""Tables and sentences for the terminal, as plain text. Model text comes through sanitise only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.sanitise import visible
from pytest_ftgate.gates.measure import APPROXIMATE
from pytest_ftgate.results import Comparison, SliceResult, Verdict

TABLE_HEADERS = ("gate", "candidate", "reference", "delta", "95% interval", "needs", "n", "p", "verdict")

SLICE_HEADERS = ("slice", "measured", "95% interval", "needs", "n", "p", "verdict")
SLICE_ROWS = 24
"""Rows of a gate's slices in a terminal; the JSON file and the HTML report hold all."""

SHOWN_ENDS = 6


def gate_table(verdicts: Sequence[Verdict]) -> str:
    """One line per gate, and one per rung of beats_baseline."""
    rows = [[visible(cell, limit=80) for cell in row] for verdict in verdicts for row in _rows(verdict)]
    return tabulate(rows, headers=TABLE_HEADERS, tablefmt="simple", disable_numparse=True)


def slice_table(verdicts: Sequence[Verdict]) -> str:
    """One line per gate and slice, those that keep a gate from passing first. Empty where there is no slice."""
    rows: list[list[str]] = []
    left_out = 0
    for verdict in verdicts:
        ordered = sorted(verdict.slices, key=lambda one: one.outcome not in ("FAIL", "INCONCLUSIVE"))
        rows += [_slice_row(verdict, one) for one in ordered[:SLICE_ROWS]]
        left_out += max(0, len(ordered) - SLICE_ROWS)
    if not rows:
        return ""
    shown = [[visible(cell, limit=80) for cell in row] for row in rows]
    table = tabulate(shown, headers=SLICE_HEADERS, tablefmt="simple", disable_numparse=True)
    more = f"\n{left_out} more slices are in --ft-json and --ft-html" if left_out else ""
    return f"{table}{more}"


def explain(verdict: Verdict) -> str:
    """The message of a gate that did not pass: what was measured, against what, on how many, what to do."""
    reason = f" ({verdict.reason})" if verdict.reason else ""
    lines = [f"{verdict.outcome}{reason} {verdict.gate}: {verdict.summary}"]
    if len(verdict.comparisons) > 1:
        lines += ["", gate_table([verdict]), ""]
    if any(one.required for one in verdict.slices):
        lines += ["", slice_table([verdict]), ""]
    if verdict.worst:
        lines.append(f"look at: {', '.join(verdict.worst)}")
    if verdict.fix:
        lines.append(f"do: {verdict.fix}")
    return "\n".join(visible(line, limit=1000) for text in lines for line in text.split("\n"))


def identity_lines(engine: Mapping[str, Json]) -> list[str]:
    """Who was judged, on what."""
    if not engine:
        return []
    digest, base = str(engine.get("digest", ""))[:12], str(engine.get("base_digest", ""))[:12]
    return [
        visible(f"candidate {engine.get('model')} ({engine.get('kind')}, {digest})", limit=200),
        visible(f"base      {engine.get('base_model')} ({base}); {engine.get('base')}", limit=200),
        visible(
            f"run       {engine.get('device')}, {engine.get('dtype')}, quantize {engine.get('quantize')}, "
            f"batch {engine.get('batch_size')}",
            limit=200,
        ),
        *(f"template  {line}" for line in template_sentences(engine)),
        *(f"end marks {line}" for line in end_mark_sentences(engine)),
        *(f"noise     {line}" for line in noise_sentences(engine)),
    ]


def template_sentences(engine: Mapping[str, Json]) -> list[str]:
    """Which chat template each side was asked with, where that is not simply the base's."""
    told = engine.get("chat_templates")
    if not isinstance(told, Mapping):
        return []
    lines = []
    if told.get("candidate") != told.get("base"):
        lines.append(
            "the candidate is asked with its own chat template, which ftgate.json records; the base with the base's; "
            "serve each with its own"
        )
    elif told.get("candidate") == "the candidate's":
        lines.append("the base has no chat template: both sides are asked with the candidate's")
    if told.get("not_used_sha256"):
        lines.append(
            "the candidate brings a chat template that no ftgate.json records: both sides are asked with the base's; "
            "serve it with this one"
        )
    if told.get("difference"):
        lines.append(f"the two templates differ: {told['difference']}")
    return [visible(line, limit=500) for line in lines]


def end_mark_sentences(engine: Mapping[str, Json]) -> list[str]:
    """Where the candidate's answers end at tokens that are text to the base: what was judged ends there too."""
    marks = engine.get("own_end_marks")
    ends = [repr(str(mark)) for mark in marks] if isinstance(marks, list) else []
    if not ends:
        return []
    tokens = "1 token" if len(ends) == 1 else f"{len(ends)} tokens"
    shown = ", ".join(ends[:SHOWN_ENDS]) + (", ..." if len(ends) > SHOWN_ENDS else "")
    sentence = f"the candidate's answers end at {tokens} that the base writes as text ({shown}); serve it so"
    return [visible(sentence, limit=300)]


def noise_sentences(engine: Mapping[str, Json]) -> list[str]:
    """Whether a text can depend on what else is in its batch, and how much that was where it was measured."""
    measured = engine.get("noise")
    found = [one for one in measured if isinstance(one, Mapping)] if isinstance(measured, list) else []
    dtype, quantize = engine.get("dtype"), engine.get("quantize")
    if not found and "dtype" in engine and (dtype, quantize) != ("float32", "none"):
        form = dtype if quantize == "none" else quantize
        cure = "not measured: pytest-ftgate calibrate" if quantize == "none" else "both sides are asked alike"
        return [visible(f"in {form} a text can depend on what else is in its batch; {cure}", limit=200)]
    return [
        visible(
            f"{one['evalset']}: {one['differ']} of {one['n']} texts"
            + ("" if one["flips"] is None else f" and {one['flips']} scores")
            + f" of the base change with {one['changed']} in {dtype} (pytest-ftgate calibrate)",
            limit=300,
        )
        for one in found
    ]


def counts_line(counts: Mapping[str, Mapping[str, int]]) -> str:
    """How many answers were generated and how many were known already."""
    parts = [
        f"{side}: {c['generated']} generated, {c['stored']} from the store"
        + (f", {c['spared']} not needed" if c.get("spared") else "")
        + (f", {c['rejected']} stored lines ignored (broken, or of another key)" if c.get("rejected") else "")
        + (f", {c['unsaved']} could not be stored in .ftgate/cache" if c.get("unsaved") else "")
        for side, c in counts.items()
    ]
    return "; ".join(parts)


def _rows(verdict: Verdict) -> list[list[str]]:
    if verdict.comparisons:
        return [_pair_row(verdict, c, first=i == 0) for i, c in enumerate(verdict.comparisons)]
    if verdict.value is None or verdict.bound is None:
        found = "not judged" if verdict.outcome == "PASS" else "-"
        if verdict.details.get("sealed") is True:
            found = "sealed"
        return [[verdict.gate, found, "", "", "", _needs(verdict), str(verdict.n or "-"), "", verdict.outcome]]
    if KINDS[verdict.kind].shown == "leaks":
        share = verdict.details.get("share") is True
        found = f"{verdict.value:.1%} leaked" if share else f"{verdict.value:.0f} leaked"
        bound = f"<= {100 * verdict.bound:g}%" if share else f"<= {verdict.bound:.0f}"
        return [[verdict.gate, found, "", "", "", bound, str(verdict.n), "", verdict.outcome]]
    return [
        [
            verdict.gate,
            f"{verdict.value:.3f}",
            "",
            "",
            _interval(verdict.interval, "{:.3f}"),
            _needs(verdict),
            units(verdict, verdict.n),
            _p(verdict.p_value, str(verdict.details.get("method", ""))),
            verdict.outcome,
        ]
    ]


def _needs(verdict: Verdict) -> str:
    """The bound of a gate on answers, also of one that was not judged. Empty where there is none."""
    if verdict.bound is None:
        return ""
    row = KINDS[verdict.kind]
    sign = "<=" if row.lower_is_stricter else ">="
    forms = {"leaks": "", "share": f"{sign} {{:g}}", "difference": "> {:+g}", "ratio": f"{sign} {{:g}}"}
    return forms[row.shown].format(verdict.bound)


def _slice_row(verdict: Verdict, one: SliceResult) -> list[str]:
    rate = "{:+.3f}" if one.reference else "{:.3f}"
    reference = f" to {one.reference.removeprefix('baseline:')}" if one.reference else ""
    return [
        f"{verdict.gate} {one.field}={one.value}",
        "-" if one.measured is None else f"{rate.format(one.measured)}{reference}",
        _interval(one.interval, rate),
        f"> {one.bound:+g}" if one.reference else f">= {one.bound:g}",
        str(one.n or one.examples),
        _p(one.p_value, one.method),
        one.outcome or "(shown)",
    ]


def _pair_row(verdict: Verdict, c: Comparison, *, first: bool) -> list[str]:
    return [
        verdict.gate if first else "",
        f"{c.candidate:.3f}",
        f"{c.base:.3f} {c.reference.removeprefix('baseline:')}",
        f"{c.delta:+.3f}",
        _interval(c.interval, "{:+.3f}"),
        f"> {c.delta0:+g}",
        units(verdict, c.n),
        _p(c.p_good, c.method),
        verdict.outcome if first else "",
    ]


def units(verdict: Verdict, n: int) -> str:
    """`320`; `120 of 320` where the rest could change nothing and was not asked."""
    planned = verdict.details.get("planned")
    return f"{n} of {planned}" if isinstance(planned, int) and planned > n else str(n)


def _interval(interval: tuple[float, float] | None, form: str) -> str:
    return "" if interval is None else f"[{form.format(interval[0])}, {form.format(interval[1])}]"


def _p(value: float | None, method: str) -> str:
    if value is None:
        return ""
    return ("<0.0001" if value < 1e-4 else f"{value:.4f}") + (" approximate" if method == APPROXIMATE else "")
