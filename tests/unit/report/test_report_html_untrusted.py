"""No text of a model, a data set or a file name acts in the HTML report."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pages import Page

from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.report.data import Answer, ExampleRow, ReportData
from pytest_ftgate.report.html import render_html
from pytest_ftgate.report.markup import Html, el
from pytest_ftgate.results import Verdict

# --- Untrusted text ---------------------------------------------------------------------------------------------------

ATTACKS = [
    "</script><img src=x onerror=alert(1)>",
    "</SCRIPT ><svg/onload=1><!-- <script>",
    "<!--<script>",
    "]]><![CDATA[<?php",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus='1",
    "</textarea></title></style></pre></main><base href=//e.org>",
    "::error::boo\n##[error]boo",
    "\x1b[31mred\x1b]8;;http://x\x1b\\\x9b",
    "\u202egnp.exe\u2066\u2028\u2029\u200b",
    "\ud800 half \udfff \x00",
    "&lt;script&gt; &#60;b&#62; javascript:alert(1)",
    "{{constructor}} ${1} %s {x}",
    "<" * 5000,
]


def hostile(text: str) -> ReportData:
    """A run in which every string that others wrote is `text`."""
    answers = tuple(
        Answer(system, text, finish, score, text, text)
        for system, finish, score in (("candidate", "length", 0.0), (f"baseline:{text}", "error", None))
    )
    rows = (ExampleRow(text, text, ((text, text), ("user", text)), text, answers, text),)
    details: dict[str, object] = {
        "fields": {text: 0.5},
        "violations": {text: 3},
        "leaks": [{"example_id": text, "file": text, "class": text, "row": 1, "reason": text}],
        "classification": {"labels": [text], "matrix": [[1, 2]], "macro_f1": 0.5, "n": 3},
        "method": text,
        "contamination": {
            "all": {"outcome": text, "n": 1, "value": 0.5, "p": 0.5},
            "leaked_examples": text,
            "differences": [{"reference": text, "leaked": 0.1, "clean": 0.1, "excess": 0.0, "p_value": 0.5}],
        },
    }
    verdicts = tuple(
        Verdict(f"{text}::{kind}", kind, "FAIL", text, text, 1, 0.5, (0.4, 0.6), 0.5, 0.1, (text,), text, (), details)
        for kind in ("accuracy", "overlap")
    )
    engine = {"model": text, "kind": text, "digest": text, "base": text, "base_model": text, "versions": {text: text}}
    return ReportData(
        Decision("BLOCK", text),
        verdicts,
        {**engine, "device": text},
        {},
        {text: 1},
        text,
        rows,
        (text,),
    )


HARMLESS = render_html(hostile("word"))
SHAPE = Page(HARMLESS).shape
TEXT = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(st.characters(exclude_categories=[]), min_size=1, max_size=30),
    st.text("<>/!-&'\"= \n\r\x00\x1bscriptonerr\u202e\ud800", min_size=1, max_size=40),
)


@settings(max_examples=30, deadline=None)
@given(text=TEXT)
@example(text=ATTACKS[0])
@example(text=ATTACKS[2])
@example(text=ATTACKS[-1])
def test_no_element_and_no_attribute_comes_from_data(text: str) -> None:
    page = Page(render_html(hostile(text)))
    # A gate is `name::kind`: with `::` in the name, or `:` at its end, no example is found, so it has no card.
    assert page.shape == SHAPE if "::" not in f"{text}:" else set(page.shape) <= set(SHAPE)


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_invisible_and_no_log_command_reaches_the_file(text: str) -> None:
    source = render_html(hostile(text))
    source.encode("utf-8")
    odd = {c for c in source if not c.isprintable()} - {"\n"}
    assert odd == set()
    assert not re.search(r"(?m)^\s*::\w|##\[", source)


@pytest.mark.parametrize("text", ATTACKS)
def test_links_lead_only_into_the_page(text: str) -> None:
    page = Page(render_html(hostile(text)))
    links = [value or "" for tag, name, value in page.attributes if name in ("href", "action") and tag != "link"]
    assert links
    assert all(re.fullmatch(r"#example=[A-Za-z0-9%._/~-]+.*", link) for link in links)


def test_what_was_written_can_be_read_back_from_the_data() -> None:
    page = Page(render_html(hostile("</script><b>")))
    assert "</script><b>" in page.data["strings"]


def test_policy_lets_run_only_the_script_and_style_of_the_page(blocked: ReportData) -> None:
    source = render_html(blocked)
    policy = next(value for _, name, value in Page(source).attributes if name == "content" and "default-src" in value)
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert source.index("Content-Security-Policy") < source.index("<style>")


def test_nothing_is_loaded_from_elsewhere(blocked: ReportData) -> None:
    source = render_html(blocked)
    assert not re.search(r"https?://|url\(|@import|\bsrc=", source)
    links = [value for tag, name, value in Page(source).attributes if tag == "link" and name == "href"]
    assert links == ["data:,"]


def test_the_script_writes_text_only() -> None:
    script = HARMLESS.rsplit("<script>", 1)[1]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|Function\(|setHTML", script)


def test_a_string_becomes_markup_only_where_we_made_it() -> None:
    assert el("p", "<b>", el("i", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<i>&amp;</i></p>'
    assert el("p", Html("<b>") + "<i>") == "<p>&lt;b&gt;&lt;i&gt;</p>"
    assert el("meta", name="a", content=None) == '<meta name="a">'


def test_environment_secrets_do_not_reach_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijkl")
    source = render_html(hostile("see hf_abcdefghijkl"))
    assert "hf_abcdefghijkl" not in source
    assert "[redacted HF_TOKEN]" in source
