"""The one door for untrusted text: whatever goes in, every sink gets text that stays text."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.files import sanitise
from pytest_ftgate.files.sanitise import (
    html_text,
    json_script,
    redact,
    visible,
)

ATTACKS = [
    "::error::boo",
    "  ::add-mask::x",
    "\n::stop-commands::t\r\n::set-output name=a::b",
    "##[error]x and ##vso[task.complete]",
    "\x1b[2K\rPASSED\x1b]52;c;aGk=\x07\x1b]8;;http://x\x1b\\y",
    "\x9b31m\x7f\x00\ufeff\u202egnp.exe\u2066\u2028\u2029\u200b\u00ad",
    "<script>alert(1)</script><img src=x onerror=alert(1)><!--]]>",
    "</script></SCRIPT ><![CDATA[",
    "'\"><svg/onload=1> javascript:x &lt; &amp;lt;",
    "a|b\\|c `code` **bold** [l](javascript:x) @user #1 https://e.org www.e.org GH-1 ~~x~~",
    "```\n# out of the fence\n````\n~~~",
    '=HYPERLINK("http://x")',
    "+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    "'=1",
    "\uff1d1",
    "\ud800 half \udfff",
    "tag\U000e0041\U000e0042 selector\U000e0100 \u3164",
    "100%, 5:3 %0A%25",
    "",
]
TEXT = st.one_of(
    st.sampled_from(ATTACKS),
    st.text(max_size=80),
    st.text(st.characters(exclude_categories=[]), max_size=40),
    st.text("\n\r:#[ |`<>&\"'=\x1b\u202e\ud800a%,", max_size=40),
)
SINKS = [visible, html_text]


@given(TEXT)
def test_no_sink_lets_an_unprintable_character_through(text: str) -> None:
    for sink in SINKS:
        shown = sink(text)
        assert all(c.isprintable() or c == "\n" for c in shown), sink
        shown.encode("utf-8")
    assert "\n" not in visible(text)


@given(TEXT)
def test_no_line_is_a_command_of_the_ci(text: str) -> None:
    for sink in SINKS:
        for line in sink(text).split("\n"):
            assert not line.strip().startswith("::"), sink
            assert "##[" not in line
            assert "##vso[" not in line


@given(TEXT)
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    plain = "".join(c for c in text if c.isascii() and c.isprintable())
    if "::" not in plain and "##" not in plain:
        assert visible(plain) == plain


def test_what_cannot_be_seen_is_spelled_out() -> None:
    assert visible("a\nb\t\x1b[0m\x7f\x9b") == "a\\x0ab\\x09\\x1b[0m\\x7f\\x9b"
    assert visible("\u202e\u2028\ufeff\ud800\U000e0041\xa0") == "\\u202e\\u2028\\ufeff\\ud800\\U000e0041\\xa0"
    assert visible("\u00e9 \u5317\u4eac \U0001f600") == "\u00e9 \u5317\u4eac \U0001f600"
    assert visible("a\U000e0100b\u3164c\u034f") == "a\\U000e0100b\\u3164c\\u034f"
    assert visible("::error::x") == "\\x3a:error::x"


@given(st.text("ab\n\x1b", max_size=300), st.integers(0, 50))
def test_length_is_bounded_and_said(text: str, limit: int) -> None:
    shown = visible(text, limit=limit)
    if len(text) > limit:
        assert shown.endswith(f" ... {len(text) - limit} more characters")
        assert html_text(text, limit=limit).endswith(f"{len(text) - limit} more characters")
    else:
        assert "more characters" not in shown
    assert len(shown) <= 10 * limit + 60


class Reader(HTMLParser):
    """Text, tags and attributes, as a browser would see them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.title = "", [], ""
        self.feed(page)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.title += dict(attrs).get("title") or ""

    def handle_comment(self, data: str) -> None:
        self.tags.append("!--")


def lines(text: str) -> str:
    """The text made printable line by line."""
    return "\n".join(visible(line, limit=10_000) for line in text.replace("\r\n", "\n").split("\n"))


@given(TEXT)
def test_html_parses_back_to_the_visible_text(text: str) -> None:
    page = Reader(f'<p title="{html_text(text)}">{html_text(text)}</p>')
    assert page.tags == ["p"]
    assert page.text == lines(text)
    assert page.title == lines(text)
    assert Reader(f"<p title='{html_text(text)}'>").title == lines(text)


@given(TEXT)
def test_json_stays_inside_its_script_and_reads_back(text: str) -> None:
    shown = json_script({"answers": [text, 1, 0.5, True, None, (text,)]})
    assert not set("<>&\u2028\u2029") & set(shown)
    assert shown.isascii()
    assert json.loads(shown) == {"answers": [lines(text), 1, 0.5, True, None, [lines(text)]]}
    page = Reader(f"<script>{shown}</script><p>")
    assert page.tags == ["script", "p"]


def test_json_script_refuses_what_is_not_json() -> None:
    for value in (float("nan"), float("inf"), {1}, object(), {"\x1b": 1, "\\x1b": 2}):
        with pytest.raises((ValueError, TypeError)):
            json_script(value)


def test_secrets_never_leave() -> None:
    environ = {
        "HF_TOKEN": "hf_abcdefgh",
        "my_secret": "s3cr3t.+value",
        "AWS_KEY_ID": "hf_abcdefgh-and-more",
        "DB_PASSWORD": "short",
        "HOME": "/home/someone",
    }
    text = "x hf_abcdefgh y hf_abcdefgh-and-more z s3cr3t.+value short /home/someone"
    shown = redact(text, environ=environ)
    assert shown == "x [redacted HF_TOKEN] y [redacted AWS_KEY_ID] z [redacted my_secret] short /home/someone"
    assert redact(text, environ={}) == text


def test_every_sink_redacts_before_it_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTGATE_TEST_TOKEN", "Tr0ub4dor&3")
    for sink in SINKS:
        shown = sink("my Tr0ub4dor&3 leaks", limit=8)
        assert "Tr0" not in shown, sink
        assert "reda" in shown
    assert "Tr0" not in json_script({"Tr0ub4dor&3": ["Tr0ub4dor&3"]})


def test_every_public_function_is_tested_here() -> None:
    public = {
        name for name, value in vars(sanitise).items() if callable(value) and value.__module__ == sanitise.__name__
    }
    tested = {sink.__name__ for sink in SINKS} | {"redact", "json_script"}
    assert {name for name in public if not name.startswith("_")} == tested
