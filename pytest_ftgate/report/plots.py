"""Plots as inline SVG. Horizontal places are percentages: one drawing fits every width, and its text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_ftgate.evalset.kinds import KINDS
from pytest_ftgate.gates.examples_needed import exact_percent, exact_points
from pytest_ftgate.report.markup import Html, el, join
from pytest_ftgate.report.rows import Flips
from pytest_ftgate.results import Verdict

STRIP_HEIGHT = 26
AXIS_HEIGHT = 20


@dataclass(frozen=True, slots=True)
class Strip:
    """One line of a forest plot."""

    label: str
    outcome: str
    """Outcome of the gate; names the colour."""
    value: float
    interval: tuple[float, float] | None
    bound: float
    above: bool
    """True: values above the bound are good; False: those below."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis."""

    low: float
    high: float
    step: float
    """Distance of two ticks."""

    def place(self, value: float) -> float:
        """Percent of the width, 0 to 100."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def ticks(self) -> list[float]:
        """Multiples of the step from low to high."""
        first = math.ceil(self.low / self.step - 1e-9)
        last = math.floor(self.high / self.step + 1e-9)
        return [i * self.step for i in range(first, last + 1)]


def percent(value: float) -> str:
    """0.8625 -> `86.2%`"""
    return f"{value:.1%}"


def points(value: float) -> str:
    """A difference in percentage points: 0.05 -> `+5.0`"""
    return f"{100 * value:+.1f}"


def bound_text(bound: float, *, above: bool, signed: bool) -> str:
    """`≥ 85.0%`, `≤ 2.0%`, `> +5.0 points`; a bound is never rounded."""
    if signed:
        return f"> {'-' if bound < 0 else '+'}{exact_points(abs(bound))}"
    return f"{'≥' if above else '≤'} {exact_percent(bound)}"


def scale_for(values: Sequence[float], *, low: float, high: float) -> Scale:
    """About five ticks around the values, within [low, high]."""
    smallest, largest = min(values), max(values)
    margin = 0.06 * max(largest - smallest, 0.05)
    smallest, largest = smallest - margin, largest + margin
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
    step = next((s for s in steps if (largest - smallest) / s <= 6), float(math.ceil((largest - smallest) / 5)))
    return Scale(max(low, math.floor(smallest / step) * step), min(high, math.ceil(largest / step) * step), step)


def forest_plot(verdicts: Sequence[Verdict]) -> Html:
    """Value, interval and bound of every gate, and of every rung of beats_baseline, by what is measured."""
    rates, differences, leaks, ratios = _strips(verdicts)
    unjudged = [v.gate for v in verdicts if v.value is None and "sealed" not in v.details]
    legend = (
        "Dot: measured. Bar: its two-sided 95% interval. Dashed line: the bound; the shaded side is not good enough. "
        "A gate passes on a one-sided test at 5%, so the bar of a gate that passed may just reach the bound."
    )
    groups = [
        strip_group("Share of examples that must be high enough", rates, percent, low=0.0, high=1.0),
        strip_group(
            "Candidate minus reference, in percentage points", differences, points, low=-1.0, high=1.0, zero=True
        ),
        strip_group("Share of examples found in the training data", leaks, percent, low=0.0, high=1.0, zero=True),
        strip_group("Candidate by reference", ratios, percent, low=0.0, high=math.inf, zero=True),
    ]
    if unjudged:
        groups.append(el("p", f"Not judged, so not drawn: {', '.join(unjudged)}."))
    return join([*groups, el("p", legend, class_="quiet")])


def _strips(verdicts: Sequence[Verdict]) -> tuple[list[Strip], ...]:
    rates: list[Strip] = []
    differences: list[Strip] = []
    leaks: list[Strip] = []
    ratios: list[Strip] = []
    for v in verdicts:
        if v.comparisons:
            differences += [
                Strip(f"{v.gate} · {short(c.reference)}", v.outcome, c.delta, c.interval, c.delta0, True)
                for c in v.comparisons
            ]
        elif v.value is not None and v.bound is not None and KINDS[v.kind].shown == "leaks":
            units = 1 if is_share(v) else max(1, v.n)
            leaks.append(Strip(v.gate, v.outcome, v.value / units, None, v.bound / units, False))
        elif v.value is not None and v.bound is not None and KINDS[v.kind].shown == "ratio":
            ratios.append(Strip(v.gate, v.outcome, v.value, None, v.bound, False))
        elif v.value is not None and v.bound is not None:
            rates.append(Strip(v.gate, v.outcome, v.value, v.interval, v.bound, True))
    return rates, differences, leaks, ratios


def is_share(verdict: Verdict) -> bool:
    """Whether an overlap Verdict gives a share of the examples (overlap.max_rate) or counts them (overlap.max)."""
    return verdict.details.get("share") is True


def short(reference: str) -> str:
    """`baseline:few_shot` -> `few_shot`"""
    return reference.removeprefix("baseline:")


def strip_group(
    title: str, strips: Sequence[Strip], form: Callable[[float], str], *, low: float, high: float, zero: bool = False
) -> Html:
    """Strips over one axis under a title; nothing where there are no strips. `low`, `high`: ends of what can be."""
    if not strips:
        return Html()
    shown = [x for s in strips for x in (s.value, s.bound, *(s.interval or ()))]
    scale = scale_for([*shown, 0.0] if zero else shown, low=low, high=high)
    lines = [_line(strip, scale, form) for strip in strips]
    axis = el("div", el("span"), _axis(scale, form), el("span"), class_="strip axis", aria_hidden="true")
    return el("div", el("h3", title), *lines, axis, class_="forest")


def _line(strip: Strip, scale: Scale, form: Callable[[float], str]) -> Html:
    value, needs = form(strip.value), bound_text(strip.bound, above=strip.above, signed=form is points)
    spread = "" if strip.interval is None else f" [{form(strip.interval[0])}, {form(strip.interval[1])}]"
    words = el("span", el("b", value), f"{spread} needs {needs}", class_="numbers")
    drawn = _strip_svg(strip, scale, f"{strip.label}: {value}{spread}, needs {needs}")
    return el("div", el("span", strip.label, class_="label"), drawn, words, class_="strip")


def _strip_svg(strip: Strip, scale: Scale, said: str) -> Html:
    middle, bound = STRIP_HEIGHT / 2, scale.place(strip.bound)
    start, width = (0.0, bound) if strip.above else (bound, 100 - bound)
    parts = [el("rect", x=f"{start}%", y=0, width=f"{width:.2f}%", height=STRIP_HEIGHT, class_="bad-side")]
    parts += [_upright(scale.place(tick), "grid zero" if abs(tick) < 1e-9 else "grid") for tick in scale.ticks()]
    parts.append(_upright(bound, "bound"))
    if strip.interval is not None:
        low, high = (f"{scale.place(x)}%" for x in strip.interval)
        parts.append(el("line", x1=low, x2=high, y1=middle, y2=middle, class_="spread"))
    parts.append(el("circle", cx=f"{scale.place(strip.value)}%", cy=middle, r=5, class_="point"))
    colour = f"plot {strip.outcome.lower()}"
    return el("svg", *parts, class_=colour, height=STRIP_HEIGHT, width="100%", role="img", aria_label=said)


def _upright(place: float, class_: str) -> Html:
    return el("line", x1=f"{place}%", x2=f"{place}%", y1=0, y2=STRIP_HEIGHT, class_=class_)


def _axis(scale: Scale, form: Callable[[float], str]) -> Html:
    marks = []
    for tick in scale.ticks():
        place = scale.place(tick)
        anchor = "start" if place < 3 else "end" if place > 97 else "middle"
        words = form(tick).replace(".0", "") if abs(tick) > 1e-9 else "0"
        marks.append(el("text", words, x=f"{place}%", y=13, text_anchor=anchor))
    return el("svg", *marks, class_="plot", height=AXIS_HEIGHT, width="100%")


def flips_matrix(flips: Flips) -> Html:
    """Four counts as a table: candidate right or wrong by reference right or wrong."""
    name, n = short(flips.reference), flips.both_right + flips.gained + flips.lost + flips.both_wrong
    titles = [el("td"), el("th", f"{name} right", scope="col"), el("th", f"{name} wrong", scope="col")]
    first = [_count("both right", flips.both_right, n, "same"), _count("gained", flips.gained, n, "gained")]
    second = [_count("lost", flips.lost, n, "lost"), _count("both wrong", flips.both_wrong, n, "same")]
    notes = [f"net {flips.gained - flips.lost:+d} of {n}"]
    if flips.graded:
        notes.append("scores are graded: right is 1, gained is higher, lost is lower")
    if flips.unscored:
        notes.append(f"{flips.unscored} not asked, or without a score, left out")
    return el(
        "table",
        el("caption", f"{flips.evalset}: candidate against {name}", el("small", "; ".join(notes))),
        el("tr", *titles),
        el("tr", el("th", "candidate right", scope="row"), *first),
        el("tr", el("th", "candidate wrong", scope="row"), *second),
        class_="flips",
    )


def _count(what: str, count: int, n: int, class_: str) -> Html:
    share = count / n if n else 0.0
    bar = el("rect", x=0, y=0, height=5, width=f"{100 * share:.2f}%", class_="bar")
    drawn = el("svg", bar, class_="plot", height=5, width="100%", aria_hidden="true")
    return el("td", el("b", str(count)), f" {what} ({share:.1%})", drawn, class_=class_)
