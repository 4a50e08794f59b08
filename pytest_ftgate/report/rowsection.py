"""Examples in the HTML report: a few in plain HTML, and up to 2,000 as data for the page's script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import quote

from pytest_ftgate.files.sanitise import json_script
from pytest_ftgate.report.data import Answer, ExampleRow, ReportData, Tag
from pytest_ftgate.report.markup import Html, el, join
from pytest_ftgate.report.plots import short
from pytest_ftgate.report.rows import by_importance

MAX_ROWS = 2000
MAX_BYTES = 12_000_000
"""Of all rows together: a browser opens that at once, and answers of a megabyte each cannot make it more."""
MAX_TURNS = 12
TEXT_LIMIT = 2000
STATIC_ROWS = 8
STATIC_LIMIT = 400
Place = Callable[[str], int]
"""A text -> its place in the table of texts."""
TAGS: tuple[Tag, ...] = ("lost", "gained", "wrong", "format", "cut_off", "error")


def example_link(evalset: str, example_id: str) -> Html:
    """A link that opens the example further down."""
    name, id_ = (quote(text, safe="", errors="replace") for text in (evalset, example_id))
    return el("a", example_id, href=f"#example={name}/{id_}", limit=200)


def worst_rows(data: ReportData) -> Html:
    """The examples that the gates name, in plain HTML; gates that did not pass go first."""
    known = {(row.evalset, row.id): row for row in data.rows}
    cards: dict[tuple[str, str], Html] = {}
    judged = sorted(data.verdicts, key=lambda v: v.outcome == "PASS")
    # One of each gate, then the second of each: no gate crowds out the others.
    for place in range(STATIC_ROWS):
        for verdict in judged:
            key = (verdict.gate.partition("::")[0], verdict.worst[place] if place < len(verdict.worst) else "")
            if key in known and key not in cards and len(cards) < STATIC_ROWS:
                cards[key] = _card(known[key], verdict.gate)
    return join(cards.values())


def _card(row: ExampleRow, gate: str) -> Html:
    asked = row.prompt[-1][1] if row.prompt else ""
    boxes = [_box("reference", row.reference or "(none)")]
    boxes += [_box(short(a.system), a.text or _silence(a), score_words(a), _grade(a)) for a in row.answers]
    title = el("h3", example_link(row.evalset, row.id), el("small", f" named by {gate}"))
    return el("article", title, el("pre", asked, limit=STATIC_LIMIT), el("div", *boxes, class_="boxes"), class_="card")


def _box(title: str, text: str, score: str = "", grade: str = "") -> Html:
    heading = el("h4", title, el("small", f" {score}"))
    return el("div", heading, el("pre", text, limit=STATIC_LIMIT), class_=f"box {grade}".rstrip())


def _grade(answer: Answer) -> str:
    """Names the colour of an answer."""
    return "none" if answer.score is None else {1.0: "right", 0.0: "wrong"}.get(answer.score, "partly")


def _silence(answer: Answer) -> str:
    if answer.finish_reason == "spared":
        return "(not asked)"
    return "(no answer)" if answer.finish_reason in ("error", "missing") else "(empty)"


def score_words(answer: Answer) -> str:
    """`1.00, cut off`"""
    score = "not scored" if answer.score is None else f"{answer.score:.2f}"
    words = {"stop": score, "length": f"{score}, cut off", "spared": "not needed"}
    return words.get(answer.finish_reason, answer.finish_reason)


def rows_section(data: ReportData) -> Html:
    """Where the script builds the list, and the data it builds it from."""
    worst = [(v.gate.partition("::")[0], id_) for v in data.verdicts for id_ in v.worst]
    ordered = by_importance(data.rows, worst)
    encoded, shown = _encode(ordered)
    said = f"{shown} of {len(ordered)} examples."
    if shown < len(ordered):
        left = Counter(tag for row in ordered[shown:] for tag in row.tags)
        kinds = ", ".join(f"{left[tag]} {tag.replace('_', ' ')}" for tag in TAGS if left[tag])
        said += f" {len(ordered) - shown} are left out to keep this file small"
        said += f" ({kinds} among them)." if kinds else ": none of them was lost, wrong or cut off."
    need = el("noscript", el("p", "This list needs JavaScript; everything above does not.", class_="note"))
    holder = el("div", id="rows")
    return join([el("p", said), need, holder, el("script", encoded, type="application/json", id="data")])


def _encode(rows: Sequence[ExampleRow]) -> tuple[Html, int]:
    """JSON of as many rows as fit, and how many those are. Equal texts are written once."""
    strings: dict[str, int] = {}
    texts: list[str] = []
    size = 0

    def place(text: str) -> int:
        nonlocal size
        if text not in strings:
            strings[text] = len(texts)
            texts.append(json_script(text, limit=TEXT_LIMIT))
            size += len(texts[-1]) + 1
        return strings[text]

    written: list[str] = []
    for row in rows[:MAX_ROWS]:
        written.append(json_script(_record(row, place)))
        size += len(written[-1]) + 1
        if size > MAX_BYTES:
            break
    return Html(f'{{"strings":[{",".join(texts)}],"rows":[{",".join(written)}]}}'), len(written)


def _record(row: ExampleRow, place: Place) -> list[object]:
    turns = [[place(role), place(text)] for role, text in _shown_turns(row.prompt)]
    tags = [i for i, tag in enumerate(TAGS) if tag in row.tags]
    answers = [_answer(answer, place) for answer in row.answers]
    heading = [place(row.evalset), place(row.id), turns, place(row.reference), place(row.violation)]
    return [*heading, tags, answers]


def _answer(answer: Answer, place: Place) -> list[object]:
    read = None if answer.read is None else place(answer.read)
    system, finish = place(short(answer.system)), place(answer.finish_reason)
    return [system, place(answer.text), finish, answer.score, place(answer.explanation), read]


def _shown_turns(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if len(turns) <= MAX_TURNS:
        return list(turns)
    left_out = ("", f"{len(turns) - MAX_TURNS} turns left out")
    return [turns[0], left_out, *turns[-(MAX_TURNS - 1) :]]
