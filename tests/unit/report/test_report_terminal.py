"""What people read in a terminal: aligned tables, plain sentences, nothing that a terminal would obey."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from answered import FAILED, judged, yes
from hypothesis import given
from hypothesis import strategies as st

from pytest_ftgate.answers.stage import Progress
from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.gates.given import error_verdict
from pytest_ftgate.report.progress import progress_line
from pytest_ftgate.report.run_report import decision_line
from pytest_ftgate.report.terminal import (
    TABLE_HEADERS,
    counts_line,
    end_mark_sentences,
    explain,
    gate_table,
    identity_lines,
)
from pytest_ftgate.results import Verdict

HOSTILE = "x\x1b[2J\x1b]0;owned\x07\r\n::error::\u202egnp\u2028\x9b\u200b"


def leaks(value: float, bound: float, *, share: bool) -> Verdict:
    return Verdict(
        "set::overlap", "overlap", "FAIL", "some leaked", "train again", 240, value, None, bound, None, worst=("e17",),
        details={"share": share},
    )  # fmt: skip


@pytest.fixture(scope="module")
def run() -> list[Verdict]:
    n = 240
    return [
        leaks(2.0, 0.0, share=False),
        judged("format", 0.97, candidate=["yes"] * 236 + ["no"] * 4),
        judged("accuracy", 0.85, candidate=yes(215, n)),
        judged(
            "beats_baseline", 0.05, candidate=yes(210, n), zero_shot=yes(120, n),
            few_shot=["no"] * 10 + yes(190, 230), retrieval=yes(170, n),
        ),
        judged("forgetting", 0.02, candidate=yes(60, 60), base=yes(60, 60)),
        judged("accuracy", 0.85, candidate=[FAILED, *yes(39, 39)]),
    ]  # fmt: skip


TABLE = """\
gate                 candidate    reference        delta    95% interval      needs    n    p        verdict
-------------------  -----------  ---------------  -------  ----------------  -------  ---  -------  ------------
set::overlap         2 leaked                                                 <= 0     240           FAIL
set::format          0.983                                  [0.958, 0.995]    >= 0.97  240  0.1515   INCONCLUSIVE
set::accuracy        0.896                                  [0.850, 0.931]    >= 0.85  240  0.0248   PASS
set::beats_baseline  0.875        0.500 zero_shot  +0.375   [+0.316, +0.438]  > +0.05  240  <0.0001  PASS
                     0.875        0.792 few_shot   +0.083   [+0.055, +0.125]  > +0.05  240  0.0185
                     0.875        0.708 retrieval  +0.167   [+0.125, +0.219]  > +0.05  240  <0.0001
set::forgetting      1.000        1.000 base       +0.000   [-0.060, +0.060]  > -0.02  60   0.2976   INCONCLUSIVE
set::accuracy        -                                                                 40            ERROR"""


def test_a_table_as_it_is_read(run: list[Verdict]) -> None:
    assert [line.rstrip() for line in gate_table(run).splitlines()] == TABLE.splitlines()


def test_every_cell_stands_under_its_header(run: list[Verdict]) -> None:
    lines = gate_table(run).splitlines()
    assert max(map(len, lines)) < 120
    spans = [match.span() for match in re.finditer("-+", lines[1])]
    assert tuple(lines[0][start:end].strip() for start, end in spans) == TABLE_HEADERS
    for line in lines:
        cells = [line[start:end] for start, end in spans]
        assert "  ".join(cells).rstrip() == line.rstrip()
        assert not any(cell.startswith(" ") and cell.strip() for cell in cells)


@pytest.mark.parametrize(
    ("verdict", "found", "needs"),
    [
        (leaks(0.0, 0.0, share=False), "0 leaked", "<= 0"),
        (leaks(1.0, 3.0, share=False), "1 leaked", "<= 3"),
        (leaks(1.0, 0.5, share=True), "100.0% leaked", "<= 50%"),
        (leaks(0.0, 0.0125, share=True), "0.0% leaked", "<= 1.25%"),
        (leaks(0.25, 0.0, share=True), "25.0% leaked", "<= 0%"),
    ],
)
def test_leaks_are_a_count_or_a_share_as_the_bound_is(verdict: Verdict, found: str, needs: str) -> None:
    row = gate_table([verdict]).splitlines()[2]
    assert found in row
    assert needs in row


def test_a_p_value_is_never_shown_as_zero(run: list[Verdict]) -> None:
    verdict = replace(run[2], p_value=1e-30)
    assert "<0.0001" in gate_table([verdict])
    assert "0.0001 " in gate_table([replace(run[2], p_value=1e-4)])


def test_a_verdict_is_explained_with_what_to_look_at_and_what_to_do() -> None:
    verdict = judged("forgetting", 0.02, candidate=yes(60, 60), base=yes(60, 60))
    assert explain(verdict) == (
        "INCONCLUSIVE (CANNOT_PASS_AT_N) set::forgetting: 100.0% against 100.0% of base on 60 examples: +0.0 points "
        "(95% interval -6.0 to +6.0; 0 gained, 0 lost); a loss below 2.0 points needed, not certified (p = 0.3): "
        "60 examples cannot certify a loss below 2.0 points without improving on the base\n"
        "do: use at least 149 examples"
    )
    failed = explain(judged("accuracy", 0.85, candidate=yes(36, 40) + ["no"] * 20))
    assert failed.splitlines()[1:] == [
        "look at: e36, e37, e38, e39, e40, e41, e42, e43",
        "do: read the worst answers, then train on other rows of that kind, or correct their references",
    ]


def test_rungs_are_shown_where_there_are_several(run: list[Verdict]) -> None:
    text = explain(run[3])
    assert all(f"{name}" in text for name in ("zero_shot", "few_shot", "retrieval", "95% interval"))
    one = explain(judged("beats_baseline", 0.05, candidate=yes(30, 30), zero_shot=yes(0, 30)))
    assert "verdict" not in one
    assert "\n" not in one


def hostile(verdict: Verdict) -> Verdict:
    comparisons = tuple(replace(c, reference=f"baseline:{HOSTILE}") for c in verdict.comparisons)
    return replace(
        verdict, gate=f"{HOSTILE}::accuracy", summary=HOSTILE * 300, fix=HOSTILE, reason=HOSTILE,
        worst=(HOSTILE, HOSTILE), comparisons=comparisons,
    )  # fmt: skip


def obeyed(text: str) -> bool:
    """Whether a terminal or a CI log would do more than print it."""
    lines = text.split("\n")
    return not all(line.isprintable() for line in lines) or any(line.lstrip().startswith("::") for line in lines)


def test_no_control_character_reaches_the_terminal(run: list[Verdict]) -> None:
    for verdict in [*run, error_verdict(HOSTILE, "accuracy", HOSTILE, HOSTILE, reason=HOSTILE)]:
        bad = hostile(verdict)
        assert not obeyed(explain(bad))
        assert not obeyed(gate_table([bad]))
        assert len(gate_table([bad]).splitlines()) == 2 + max(1, len(verdict.comparisons))
        assert all(len(line) < 4000 for line in explain(bad).splitlines())


@given(st.text())
def test_no_text_is_obeyed_or_breaks_a_line(text: str) -> None:
    assert not obeyed(decision_line(Decision("BLOCK", text)))
    assert decision_line(Decision("BLOCK", text)).startswith("BLOCK: ")
    for line in identity_lines({"model": text, "kind": text, "base_model": text, "base": text, "digest": text}):
        assert not obeyed(line)
    row = gate_table([error_verdict(text, "accuracy", text, text, reason=text)]).splitlines()
    assert len(row) == 3


def test_who_was_judged() -> None:
    engine = {
        "model": "run7", "kind": "adapter", "digest": "ab" * 32, "base_model": "org/base", "base_digest": "cd" * 32,
        "base": "adapter off", "device": "cpu", "dtype": "float32", "quantize": "none", "batch_size": 8,
    }  # fmt: skip
    assert identity_lines(engine) == [
        "candidate run7 (adapter, abababababab)",
        "base      org/base (cdcdcdcdcdcd); adapter off",
        "run       cpu, float32, quantize none, batch 8",
    ]
    assert identity_lines({}) == []


def test_counts_and_damage() -> None:
    counts = {"candidate": {"generated": 9, "stored": 0}, "base": {"generated": 1, "stored": 8, "rejected": 2}}
    assert counts_line(counts) == (
        "candidate: 9 generated, 0 from the store; base: 1 generated, 8 from the store, "
        "2 stored lines ignored (broken, or of another key)"
    )
    assert counts_line({}) == ""


def test_progress_at_its_ends() -> None:
    def line(done: int, tokens: int, seconds: float) -> str:
        return progress_line(Progress("candidate", done, 700, tokens, seconds))

    assert line(0, 0, 0.0) == "ftgate: candidate 0/700 answers, 0 tokens/s"
    assert line(128, 6930, 3.0) == "ftgate: candidate 128/700 answers, 2,310 tokens/s, 13 s left"
    assert line(700, 6930, 3.0) == "ftgate: candidate 700/700 answers, 2,310 tokens/s"


def test_end_marks_of_the_candidate_alone_are_named_and_harmless() -> None:
    assert end_mark_sentences({}) == end_mark_sentences({"own_end_marks": []}) == []
    [line] = end_mark_sentences({"own_end_marks": ["city"]})
    assert line == "the candidate's answers end at 1 token that the base writes as text ('city'); serve it so"
    [line] = end_mark_sentences({"own_end_marks": [HOSTILE, *"abcdefgh"]})
    assert "at 9 tokens" in line
    assert "'e', ...)" in line
    assert "\x1b" not in line
    assert "end marks the candidate's answers end at 1 token" in "\n".join(identity_lines({"own_end_marks": ["city"]}))
