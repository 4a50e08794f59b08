"""The slices of every gate in the HTML report: a table and the same intervals drawn."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_ftgate.report.gatetable import interval_text, outcome_mark, p_text
from pytest_ftgate.report.markup import Html, el, join
from pytest_ftgate.report.plots import Strip, bound_text, percent, points, short, strip_group
from pytest_ftgate.results import SliceResult, Verdict

TITLES = ("slice", "measured", "reference", "95% interval", "needs", "n", "p", "verdict")


def slice_tables(verdicts: Sequence[Verdict]) -> Html:
    """A table and a plot for each gate that has slices; empty where none has."""
    parts = [piece for v in verdicts if v.slices for piece in (_table(v), _plot(v))]
    if not parts:
        return Html()
    legend = (
        "A slice with a bound of its own is part of its gate: the gate passes only where each of them is certified, "
        "and fails where one is proven to miss its bound (corrected by Holm over the bounded slices of the gate). The "
        "others are shown against the bound of the gate, and decide nothing."
    )
    return join([*parts, el("p", legend, class_="quiet")])


def _table(verdict: Verdict) -> Html:
    head = el("tr", *(el("th", title, scope="col", class_=_class(title)) for title in TITLES))
    rows = [el("tr", *_cells(one)) for one in verdict.slices]
    return el("table", el("caption", verdict.gate), el("thead", head), el("tbody", *rows), class_="cards slices")


def _cells(one: SliceResult) -> list[Html]:
    form = points if one.reference else percent
    values: list[str] = [
        f"{one.field} = {one.value}",
        el("small", one.note) if one.measured is None else form(one.measured),
        short(one.reference),
        "" if one.interval is None else interval_text(one.interval, form),
        bound_text(one.bound, above=True, signed=bool(one.reference)),
        str(one.n or one.examples),
        p_text(one.p_value, one.method),
        outcome_mark(one.outcome) if one.outcome else el("small", "shown only"),
    ]
    pairs = zip(TITLES, values, strict=True)
    return [el("td", value, data_label=title, class_=_class(title), limit=200) for title, value in pairs]


def _class(title: str) -> str | None:
    return None if title in ("slice", "verdict") else "num"


def _plot(verdict: Verdict) -> Html:
    rates: list[Strip] = []
    differences: list[Strip] = []
    for one in verdict.slices:
        if one.measured is not None:
            label, outcome = f"{one.field} = {one.value}", one.outcome or "shown"
            strip = Strip(label, outcome, one.measured, one.interval, one.bound, True)
            (differences if one.reference else rates).append(strip)
    return join(
        [
            strip_group(f"{verdict.gate}: by slice", rates, percent, low=0.0, high=1.0),
            strip_group(
                f"{verdict.gate}: by slice, in percentage points", differences, points, low=-1.0, high=1.0, zero=True
            ),
        ]
    )
