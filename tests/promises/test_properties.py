"""Properties of a whole run: answers -> gates -> run verdict. P7 (any changed byte fails) is in test_verify.py and
test_receipt_form.py, P8 (kill and run again) in test_faults.py, and each single gate has its own in test_gates.py."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser

import pytest
from answered import FAILED, NUMBER, example, judged
from falsegreens import OUTPUTS, verified
from gateproject import Project
from hypothesis import given, settings
from hypothesis import strategies as st
from tinymodel import HEAD, write_evalset

from pytest_ftgate.errors import ScoringError
from pytest_ftgate.evalset.types import Example
from pytest_ftgate.gates.decision import Decision, RunFacts, decide
from pytest_ftgate.results import Verdict

N = 40
GATES = {"accuracy": ("candidate",), "beats_baseline": ("candidate", "zero_shot"), "forgetting": ("candidate", "base")}
BOUNDS = {"accuracy": 0.5, "beats_baseline": 0.05, "forgetting": 0.1}
Answers = Mapping[str, Sequence[object]]
"""System -> what it said to each example."""


few = settings(max_examples=30)
"""Three gates each: dear; those of a single gate see many more."""


def run(answers: Answers, examples: Sequence[Example] = (), **bounds: float) -> Decision:
    """The verdict of a run with one gate of each kind."""
    verdicts = [
        judged(
            kind,
            {**BOUNDS, **bounds}[kind],
            examples=examples,
            **{name: answers[name] for name in systems},
        )
        for kind, systems in GATES.items()
    ]
    return decided(verdicts)


def decided(verdicts: Sequence[Verdict]) -> Decision:
    named = {f"{v.gate}{i}": v for i, v in enumerate(verdicts)}
    return decide(RunFacts(list(named), list(named), named))


sides = st.fixed_dictionaries(
    {
        "candidate": st.integers(N // 2, N),
        "base": st.integers(0, N),
        "zero_shot": st.integers(0, N // 2),
    }
).map(lambda right: {name: ["yes"] * n + ["no"] * (N - n) for name, n in right.items()})
"""Answers of which the first n are right: many such runs ship, and many do not."""


def test_some_of_these_runs_ship_and_some_do_not() -> None:
    ships = {"candidate": ["yes"] * N, "base": ["yes"] * N, "zero_shot": ["no"] * N}
    assert run(ships).verdict == "SHIP"
    assert run({**ships, "candidate": ["no"] * N}).verdict == "BLOCK"
    assert run({**ships, "zero_shot": ["yes"] * N}).verdict != "SHIP"


@few
@given(sides, st.data())
def test_p1_an_answer_that_becomes_an_error_never_ships(answers: Answers, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(answers)))
    lost = data.draw(st.sets(st.integers(0, N - 1), min_size=1))
    broken = [FAILED if i in lost else text for i, text in enumerate(answers[name])]
    assert run({**answers, name: broken}).verdict != "SHIP"


@few
@given(sides, st.permutations(range(N)))
def test_p2_the_order_of_examples_and_reports_changes_nothing(answers: Answers, order: Sequence[int]) -> None:
    examples = [example(i) for i in range(N)]
    mixed = {name: [texts[i] for i in order] for name, texts in answers.items()}
    assert run(mixed, [examples[i] for i in order]) == run(answers, examples)


@few
@given(sides, st.sampled_from(sorted(GATES)), st.booleans())
def test_p3_a_gate_that_is_dropped_never_ships(answers: Answers, kind: str, also_deselected: bool) -> None:
    kept = {k: systems for k, systems in GATES.items() if k != kind}
    verdicts = {k: judged(k, BOUNDS[k], **{name: answers[name] for name in names}) for k, names in kept.items()}
    selected = list(verdicts) if also_deselected else list(GATES)
    assert decide(RunFacts(list(GATES), selected, verdicts)).verdict != "SHIP"


@few
@given(sides, st.integers(2, 4), st.data())
def test_p4_copies_of_examples_never_ship_what_did_not(answers: Answers, copies: int, data: st.DataObject) -> None:
    copied = data.draw(st.sets(st.integers(0, N - 1)))
    places = [i for i in range(N) for _ in range(copies if i in copied else 1)]
    examples = [Example(f"c{n}", example(i).fields, "yes", None, "rows.jsonl", n + 1) for n, i in enumerate(places)]
    more = {name: [texts[i] for i in places] for name, texts in answers.items()}
    before, after = run(answers).verdict, run(more, examples).verdict
    assert after != "SHIP" or before == "SHIP"


@few
@given(sides, st.sampled_from(["nan", "inf", "-inf", "1e999"]), st.integers(0, N - 1), st.data())
def test_p5_nan_and_infinity_never_ship(answers: Answers, number: str, at: int, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(answers)))
    scores = {side: ["1" if text == "yes" else "0" for text in texts] for side, texts in answers.items()}
    scores[name][at] = number
    for kind, systems in GATES.items():
        if name in systems:
            with pytest.raises(ScoringError, match="finite"):  # which makes the gate an ERROR: see run.judge_gate
                judged(kind, BOUNDS[kind], scorer=NUMBER, **{side: scores[side] for side in systems})


@few
@given(sides, st.sampled_from(["accuracy", "beats_baseline"]), st.integers(0, 45))
def test_p10_a_higher_bound_never_ships_what_did_not(answers: Answers, kind: str, points: int) -> None:
    before = run(answers).verdict
    after = run(answers, **{kind: BOUNDS[kind] + points / 100}).verdict
    assert after != "SHIP" or before == "SHIP"


@few
@given(sides, st.integers(0, 9))
def test_p10_a_smaller_drop_never_ships_what_was_blocked(answers: Answers, points: int) -> None:
    """From BLOCK; where the base scores no more than max_drop, only a smaller one can be judged at all."""
    before = run(answers).verdict
    after = run(answers, forgetting=BOUNDS["forgetting"] - points / 100).verdict
    assert (before, after) != ("BLOCK", "SHIP")


# -- a few of real runs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("evals",), 0),
        (("bad",), 1),
        (("bad", "-k", "too_long"), 21),
        (("evals", "-k", "accuracy"), 22),
        (("evals", "--collect-only"), 22),
        (("evals", "--ft-base=nowhere"), 4),
    ],
    ids=str,
)
def test_p6_exit_code_0_is_a_receipt_that_verifies(project: Project, args: tuple[str, ...], code: int) -> None:
    found = project.run("--ft-model=runs/good", *OUTPUTS, *args)
    assert found.code == code
    assert (verified(project) == 0) == (code == 0)


HOSTILE = [
    "::error file=a,line=1::owned",
    "##vso[task.setvariable variable=a]b",
    "a\x1b[2J\x1b]0;title\x07b",
    "\u202ereversed\u2066",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "]]> </failure><testcase name='x'/>",
    "line one\nSHIP: all 4 gates passed\n::error::x",
    "x\ufeff\u2028\u2029\x85\x00",
    "a\u0301\u0301 \U000e0041 \u200b",
    "{{ 7 * 7 }} ${7*7} `id` $(id)",
]


SCORER = """
def score(example, generation):
    if example.id == {at!r}:
        raise ValueError(example.fields["q"])
    return 1.0
"""


class Tags(HTMLParser):
    """Elements and handlers of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.images, self.handlers = 0, 0, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.images += tag == "img"
        self.handlers += any(name.startswith("on") for name, _ in attrs)


def page_of(project: Project, asked: Sequence[str]) -> Tags:
    """One run over these questions, whose scorer says in its exception what was asked; every sink is checked."""
    head = HEAD.replace("scorer: exact", "scorer: own_scorer:score")
    write_evalset(project.root / "hostile", "hostile", "accuracy: {min: 0.5}", asked, asked=asked, head=head)
    tags = Tags()
    for number in range(len(asked)):
        project.write("hostile/own_scorer.py", SCORER.format(at=f"e{number}"))
        found = project.run("--ft-model=runs/good", *OUTPUTS, "--ft-html=h.html", "--ft-judge-hopeless", "hostile")
        assert found.code == 21, found.out
        for line in found.out.splitlines():
            assert not re.match(r"\s*(::|##)", line), line
            assert line.isprintable(), ascii(line)
        assert [line for line in found.out.splitlines() if line.startswith("SHIP")] == []
        assert len(found.junit) == 2
        assert "ftgate.verdict" in found.junit
        assert found.verdict["verdict"] == "NOT_EVALUATED"
        tags = Tags()
        tags.feed((project.root / "h.html").read_text(encoding="utf-8"))
    return tags


def test_p9_no_hostile_text_reaches_a_sink_as_it_is(project: Project) -> None:
    plain = page_of(project, ["a plain question"])
    hostile = page_of(project, HOSTILE)
    assert (hostile.scripts, hostile.images, hostile.handlers) == (plain.scripts, plain.images, plain.handlers)
