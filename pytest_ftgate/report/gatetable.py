"""The gate table of the HTML report, and what lies behind each number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.gates.measure import APPROXIMATE
from pytest_ftgate.report.markup import Html, el, join
from pytest_ftgate.report.plots import bound_text, is_share, percent, points, short
from pytest_ftgate.report.terminal import units
from pytest_ftgate.results import Comparison, Outcome, Verdict

TITLES = ("gate", "candidate", "reference", "delta", "95% interval", "needs", "n", "p", "verdict")
MARKS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "ERROR": "!"}
Link = Callable[[str, str], Html]
"""(EvalSet name, example id) -> a link to that example."""


def gate_table(verdicts: Sequence[Verdict], link: Link) -> Html:
    """One body per gate: a row for each thing compared, then the sentence, the fix and the examples to look at."""
    head = el("tr", *(el("th", title, scope="col", class_=_class(title)) for title in TITLES))
    return el("table", el("thead", head), *(_body(v, link) for v in verdicts), class_="gates cards")


def _body(verdict: Verdict, link: Link) -> Html:
    said = [el("p", verdict.summary)]
    if verdict.fix:
        said.append(el("p", el("b", "Do: "), verdict.fix))
    if verdict.worst:
        name = verdict.gate.partition("::")[0]
        links = [piece for id_ in verdict.worst for piece in (Html(" "), link(name, id_))]
        said.append(el("p", el("b", "Look at:"), *links))
    rows = [el("tr", *_cells(values)) for values in _rows(verdict)]
    return el("tbody", *rows, el("tr", el("td", *said, colspan=len(TITLES)), class_="said"))


def _cells(values: Sequence[Html | str]) -> list[Html]:
    pairs = zip(TITLES, values, strict=True)
    return [el("td", value, data_label=title, class_=_class(title, value)) for title, value in pairs]


def _class(title: str, value: str = "-") -> str | None:
    names = ["num"] * (title not in ("gate", "verdict")) + ["empty"] * (not value)
    return " ".join(names) or None


def _rows(verdict: Verdict) -> list[list[Html | str]]:
    mark = outcome_mark(verdict.outcome)
    reason = el("small", f" {verdict.reason}") if verdict.reason else Html()
    gate, outcome = el("b", verdict.gate), join([mark, reason])
    n = units(verdict, verdict.n) if verdict.n else "-"
    if verdict.comparisons:
        return [
            _pair(c, units(verdict, c.n), gate if i == 0 else "", outcome if i == 0 else "")
            for i, c in enumerate(verdict.comparisons)
        ]
    if verdict.value is None or verdict.bound is None:
        found = "not judged" if verdict.outcome == "PASS" else "-"
        if verdict.details.get("sealed") is True:
            found = "sealed"
        return [[gate, found, "", "", "", "", n, "", outcome]]
    if KINDS[verdict.kind].shown == "leaks":
        found = f"{percent(verdict.value) if is_share(verdict) else f'{verdict.value:.0f}'} leaked"
        bound = bound_text(verdict.bound, above=False, signed=False) if is_share(verdict) else f"≤ {verdict.bound:.0f}"
        return [[gate, found, "", "", "", bound, n, "", outcome]]
    interval = "" if verdict.interval is None else interval_text(verdict.interval, percent)
    above = not KINDS[verdict.kind].lower_is_stricter
    bound = bound_text(verdict.bound, above=above, signed=False)
    p = p_text(verdict.p_value, str(verdict.details.get("method", "")))
    return [[gate, percent(verdict.value), "", "", interval, bound, n, p, outcome]]


def outcome_mark(outcome: Outcome) -> Html:
    """`✓ PASS` in its colour."""
    return el("span", f"{MARKS[outcome]} {outcome}", class_=f"outcome {outcome.lower()}")


def _pair(c: Comparison, n: str, gate: Html | str, outcome: Html | str) -> list[Html | str]:
    return [
        gate,
        percent(c.candidate),
        join([percent(c.base), el("small", f" {short(c.reference)}")]),
        f"{points(c.delta)} points",
        interval_text(c.interval, points),
        bound_text(c.delta0, above=True, signed=True),
        n,
        p_text(c.p_good, c.method),
        outcome,
    ]


def interval_text(interval: tuple[float, float], form: Callable[[float], str]) -> str:
    """`[81.0%, 92.4%]`"""
    return f"[{form(interval[0])}, {form(interval[1])}]"


def p_text(value: float | None, method: str = "") -> str:
    """`0.0123`; `0.0123 approximate` where the test's error rate is not guaranteed."""
    if value is None:
        return ""
    return ("<0.0001" if value < 1e-4 else f"{value:.4f}") + (" approximate" if method == APPROXIMATE else "")


def gate_details(verdicts: Sequence[Verdict]) -> Html:
    """What the gates counted on their way, folded; nothing where they counted nothing."""
    found = [(v, _tables(v.details)) for v in verdicts]
    folded = [el("details", el("summary", f"{v.gate}: details"), *tables) for v, tables in found if tables]
    return join(folded)


def _tables(details: Mapping[str, object]) -> list[Html]:
    """Details hold strict JSON of known keys; a value of another shape is not shown."""
    found: list[Html] = []
    match details.get("fields"):
        case dict() as fields:
            rows = [[str(name), f"{rate:.1%}"] for name, rate in fields.items()]
            found.append(_table("Right by field", ["field", "right"], rows))
    match details.get("violations"):
        case dict() as violations if violations:
            rows = [[str(what), str(count)] for what, count in violations.items()]
            found.append(_table("Most frequent violations", ["violation", "answers"], rows))
    match details.get("leaks"):
        case [*leaks] if leaks:
            keys = ["example_id", "class", "file", "row", "reason"]
            rows = [[str(leak.get(key, "")) for key in keys] for leak in leaks[:50] if isinstance(leak, dict)]
            found.append(_table("In the training data", keys, rows))
    match details.get("classification"):
        case {"labels": [*labels], "matrix": [*matrix], "macro_f1": float() as f1}:
            rows = [[str(label), *map(str, counts)] for label, counts in zip(labels, matrix, strict=True)]
            titles = ["right label", *map(str, labels), "no label"]
            found.append(_table(f"Answered label by right label (macro F1 {f1:.3f})", titles, rows))
    match details.get("contamination"):
        case dict() as contamination:
            found += _contamination(contamination)
    if "method" in details:
        found.append(el("p", f"Method: {details['method']}.", class_="quiet"))
    return found


def _contamination(details: Mapping[str, object]) -> list[Html]:
    """What the gate says with and without the examples that stand in the training data."""
    rows: list[list[str]] = []
    for title, part in (("all", details.get("all")), ("without leaked ones", details.get("clean"))):
        match part:
            case {"outcome": str() as outcome, "n": n, "value": float() as value, "p": float() as p}:
                rows.append([title, outcome, str(n), f"{value:.3f}", p_text(p)])
    caption = f"{details.get('leaked_examples')} examples stand in the training data"
    found = [_table(caption, ["examples", "outcome", "n", "value", "p"], rows)]
    gaps: list[list[str]] = []
    match details.get("differences"):
        case [*differences]:
            for gap in differences:
                match gap:
                    case {"reference": str() as name, "leaked": leaked, "clean": clean, "excess": excess, "p_value": p}:
                        gaps.append([short(name), points(leaked), points(clean), points(excess), p_text(p)])
    if gaps:
        titles = ["reference", "gain on leaked", "gain on clean", "excess", "p"]
        found.append(_table("Gain in points where the example leaked, and where not", titles, gaps))
    return found


def _table(caption: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    head = el("tr", *(el("th", title, scope="col", limit=80) for title in titles))
    body = [el("tr", *(el("td", cell, limit=200) for cell in row)) for row in rows]
    return el("div", el("table", el("caption", caption), el("thead", head), el("tbody", *body)), class_="wide")
