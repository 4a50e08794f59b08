"""The report to read in a browser: one file, nothing loaded from elsewhere, no script needed for what decides.

Text of models, data sets and adapters can become text only: markup comes from `markup.el`, which escapes every other
string; the rows are JSON that the page's script shows through `textContent`; and the content security policy lets run
that one script, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from pytest_ftgate import __version__
from pytest_ftgate.report.data import ReportData
from pytest_ftgate.report.gatetable import gate_details, gate_table
from pytest_ftgate.report.markup import Html, el, join
from pytest_ftgate.report.plots import flips_matrix, forest_plot
from pytest_ftgate.report.rows import flips_of
from pytest_ftgate.report.rowsection import example_link, rows_section, worst_rows
from pytest_ftgate.report.slicetable import slice_tables
from pytest_ftgate.report.terminal import counts_line, template_sentences
from pytest_ftgate.results import RunVerdict

MARKS: dict[RunVerdict, str] = {"SHIP": "✓", "BLOCK": "✕", "INCONCLUSIVE": "?", "NOT_EVALUATED": "!", "PARTIAL": "◐"}
COMMAND_LIMIT = 20_000


def render_html(data: ReportData) -> str:
    """The whole page. Pure."""
    style, script = _packaged("report.css"), _packaged("report.js")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{data.decision.verdict} · {data.engine.get('model', 'no model judged')} · ftgate", limit=200),
        el("link", rel="icon", href="data:,"),
        el("style", Html(style)),
    )
    body = el("body", el("main", *_sections(data)), _footer(), el("script", Html(script)))
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _packaged(name: str) -> str:
    return files("pytest_ftgate.report").joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"


def _sections(data: ReportData) -> list[Html]:
    flips = flips_of(data.rows)
    parts = [_banner(data), _identity(data)]
    parts += [el("p", note, class_="note") for note in data.notes]
    if data.verdicts:
        parts.append(_section("gates", "Gates", gate_table(data.verdicts, example_link), gate_details(data.verdicts)))
        parts.append(_section("plot", "How far from the bounds", forest_plot(data.verdicts)))
    if slices := slice_tables(data.verdicts):
        parts.append(_section("slices", "By slice", slices))
    if flips:
        matrices = el("div", *(flips_matrix(f) for f in flips), class_="matrices")
        parts.append(_section("flips", "Candidate against each reference, example by example", matrices))
    if worst := worst_rows(data):
        parts.append(_section("worst", "Look at these first", worst))
    parts += [_section("hygiene", "How the answers were obtained", _hygiene(data)), _reproduce(data)]
    if data.rows:
        parts.append(_section("examples", "Examples", rows_section(data)))
    return parts


def _section(name: str, title: str, *content: Html) -> Html:
    return el("section", el("h2", title), *content, id=name)


def _banner(data: ReportData) -> Html:
    verdict = data.decision.verdict
    word = el("h1", el("span", MARKS[verdict], aria_hidden="true"), f" {verdict}")
    return el("header", word, el("p", data.decision.reason), class_=f"banner {verdict.lower()}")


def _identity(data: ReportData) -> Html:
    engine = data.engine
    if not engine:
        return el("p", "No model was loaded in this run.", class_="note")
    model = join([el("b", _fact(data, "model", "unnamed")), f" {_fact(data, 'kind')} ", _digest(engine.get("digest"))])
    base = el("b", _fact(data, "base_model", "unnamed"))
    base = join([base, " ", _digest(engine.get("base_digest")), f" {_fact(data, 'base')}"])
    named = [("", "device"), ("", "dtype"), ("quantize ", "quantize"), ("batch ", "batch_size")]
    runtime = [f"{words}{engine[name]}" for words, name in named if name in engine]
    versions = engine.get("versions")
    if isinstance(versions, dict):
        runtime += [f"{name} {version}" for name, version in versions.items()]
    pairs: list[tuple[str, str]] = [("Candidate", model), ("Base", base), ("Runtime", ", ".join(runtime))]
    pairs += [("Chat template", "; ".join(template_sentences(engine))), ("Proved", _proofs(data))]
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in pairs if value), class_="identity")


def _fact(data: ReportData, name: str, default: str = "") -> str:
    return str(data.engine.get(name, default))


def _proofs(data: ReportData) -> str:
    found = []
    if (tensors := data.engine.get("read_back_tensors")) is not None:
        found.append(f"{tensors} tensors read back equal to the file")
    if isinstance(effect := data.engine.get("effect"), float):
        found.append(f"weights change the probe logits by up to {effect:.3g}")
    if data.engine.get("training_known") is False:
        found.append("what it was trained on is not recorded")
    return "; ".join(found)


def _digest(value: object) -> Html:
    text = str(value or "no digest")
    return el("code", text[:12], title=text)


def _hygiene(data: ReportData) -> Html:
    line = el("p", counts_line(data.counts) + ".") if data.counts else Html()
    if not data.rows:
        return line or el("p", "No answers were needed or obtained.")
    titles = ("eval set", "asked", "examples", "mean score", "no answer", "cut off", "not scored", "withheld")
    head = el("tr", *(el("th", title, scope="col", class_="num" if i > 1 else None) for i, title in enumerate(titles)))
    lines = [el("tr", *_cells(titles, values)) for values in _tallies(data)]
    halvings = data.engine.get("batch_halvings")
    withheld = "Withheld: shots and passages left out of a prompt because they hold the example that is asked."
    more = el("p", f"The batch was halved {halvings} time(s) for lack of memory.") if halvings else Html()
    table = el("table", el("thead", head), el("tbody", *lines), class_="cards")
    return join([line, more, table, el("p", withheld, class_="quiet")])


def _cells(titles: Sequence[str], values: Sequence[str]) -> list[Html]:
    pairs = enumerate(zip(titles, values, strict=True))
    return [el("td", value, data_label=title, class_="num" if i > 1 else None) for i, (title, value) in pairs]


def _tallies(data: ReportData) -> list[list[str]]:
    by_system: dict[tuple[str, str], list[tuple[str, float | None]]] = {}
    for row in data.rows:
        for answer in row.answers:
            by_system.setdefault((row.evalset, answer.system), []).append((answer.finish_reason, answer.score))
    found = []
    for (evalset, system), answers in by_system.items():
        scores = [score for _, score in answers if score is not None]
        lost = sum(reason in ("error", "missing") for reason, _ in answers)
        cut = sum(reason == "length" for reason, _ in answers)
        mean = f"{sum(scores) / len(scores):.3f}" if scores else "-"
        withheld = data.withheld.get(f"{evalset}/{system}", 0)
        asked = sum(reason != "spared" for reason, _ in answers)
        total = f"{asked} of {len(answers)}" if asked < len(answers) else asked
        counts = [total, mean, lost, cut, asked - lost - len(scores), withheld]
        found.append([evalset, system, *map(str, counts)])
    return found


def _reproduce(data: ReportData) -> Html:
    code = el("pre", el("code", data.command, id="command", limit=COMMAND_LIMIT))
    told = el("p", f"Exit code where a verdict is required (--ft-verdict=require): {data.decision.exit_code}.")
    return _section("reproduce", "How to repeat this run", code, told)


def _footer() -> Html:
    return el(
        "footer", el("p", f"Written by pytest-ftgate {__version__}. Nothing in this file was loaded from elsewhere.")
    )
