"""What is said before anything is generated: who cannot pass, with which numbers, and `pytest-ftgate plan`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answered import NUMBER, evalset, example, gate, judged, pair, yes
from tinymodel import BASELINES, write_evalset

from pytest_ftgate import stats
from pytest_ftgate.cli import VERBS
from pytest_ftgate.commands import plan as plan_command
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.gates.power import Assumed, Question, hopeless_verdict, needs_answers, warnings_before, why_not

TICKETS = Path(__file__).parents[3] / "examples" / "tickets" / "evals"


def examples_set(n: int, **changes: Any) -> EvalSet:
    return replace(evalset([example(i) for i in range(n)]), **changes)


def question(kind: str, bound: float, n: int, **changes: Any) -> Question:
    return Question.of(examples_set(n, **changes), gate(kind, bound), 0.05)


def best(kind: str, bound: float, n: int) -> Any:
    """The gate's own Verdict of the best outcome."""
    if kind in ("format", "accuracy"):
        return judged(kind, bound, candidate=yes(n, n))
    table = pair(n, 0, n) if kind == "beats_baseline" else pair(0, 0, n)
    name = "zero_shot" if kind == "beats_baseline" else "base"
    return judged(kind, bound, **{"candidate": table["candidate"], name: table["reference"]})


@pytest.mark.parametrize(
    ("kind", "bound", "needed"),
    [("accuracy", 0.95, 59), ("format", 0.9, 29), ("forgetting", 0.02, 149), ("forgetting", 0.05, 59),
     ("beats_baseline", 0.3, 7)],
)  # fmt: skip
def test_can_pass_is_what_the_gate_itself_says_of_the_best_outcome(kind: str, bound: float, needed: int) -> None:
    for n in (needed - 1, needed):
        asked = question(kind, bound, n)
        verdict = best(kind, bound, n)
        assert asked.can_pass == (n == needed) == (verdict.outcome == "PASS")
        assert asked.best_p == pytest.approx(verdict.p_value)
        assert asked.needed_at_best == needed
        assert bool(why_not(asked)) == (n < needed)


def test_the_line_of_sixty_examples_and_two_points() -> None:
    asked = examples_set(60, name="general")
    lines = warnings_before([(asked, gate("forgetting", 0.02), 0.05)])
    assert lines[0] == (
        "ftgate: general::forgetting: 60 examples cannot pass within 2.0 points without "
        "improving on the base; 149 needed"
    )
    assert "--ft-judge-hopeless" in lines[1]
    assert len(warnings_before([(asked, gate("forgetting", 0.02), 0.05)], judge_hopeless=True)) == 1
    assert warnings_before([(asked, gate("forgetting", 0.1), 0.05), (asked, gate("overlap", 0), 0.05)]) == []


def test_the_verdict_of_a_hopeless_gate_is_exact_about_what_would_rescue_it() -> None:
    verdict = hopeless_verdict(examples_set(60), gate("forgetting", 0.02), 0.05)
    assert verdict is not None
    assert (verdict.outcome, verdict.reason, verdict.n) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N", 60)
    assert verdict.p_value == pytest.approx(0.98**60)
    assert "2 gained, none lost would pass" in verdict.summary
    assert stats.paired_p_value(2, 0, 60, delta0=-0.02) <= 0.05 < stats.paired_p_value(1, 0, 60, delta0=-0.02)
    assert "no answer was generated" in verdict.summary
    assert "use at least 149 examples, or a bound that 60 can certify (4.9 points)" in verdict.fix
    assert "could still FAIL, or pass by improving" in verdict.fix
    assert stats.paired_p_value(0, 0, 60, delta0=-0.049) <= 0.05 < stats.paired_p_value(0, 0, 60, delta0=-0.048)
    assert hopeless_verdict(examples_set(149), gate("forgetting", 0.02), 0.05) is None


def test_a_floor_that_no_outcome_reaches_says_so() -> None:
    verdict = hopeless_verdict(examples_set(58), gate("accuracy", 0.95), 0.05)
    assert verdict is not None
    assert "58 examples cannot certify a floor of 95.0% whatever the model answers; 59 needed" in verdict.summary
    assert verdict.fix.startswith("use at least 59 examples, or a bound that 58 can certify (94.9%)")


def test_a_drop_of_nothing_cannot_pass_with_any_number() -> None:
    asked = question("forgetting", 0.0, 500)
    assert (asked.can_pass, asked.needed_at_best) == (False, None)
    assert why_not(asked).endswith("no number of examples would do")


def test_copies_and_clusters_count_once() -> None:
    copies = tuple(example(i, question=f"q{i % 30}") for i in range(60))
    assert (question("forgetting", 0.05, 0, examples=copies).n, question("forgetting", 0.05, 60).n) == (30, 60)
    clusters = tuple(example(i, cluster=f"c{i % 7}") for i in range(60))
    few = question("accuracy", 0.5, 0, examples=clusters)
    assert (few.n, few.too_few, few.can_pass) == (7, True, False)
    assert why_not(few) == "7 clusters are too few to judge; at least 8 needed"
    asked = examples_set(0, examples=clusters)
    assert hopeless_verdict(asked, gate("accuracy", 0.5), 0.05) is None  # an ERROR of its own
    assert not needs_answers(asked, gate("accuracy", 0.5), 0.05, judge_hopeless=True)


def test_early_stop_and_a_smaller_alpha_need_more() -> None:
    assert question("accuracy", 0.95, 59).can_pass
    assert not question("accuracy", 0.95, 59, early_stop=True).can_pass
    assert not Question.of(examples_set(59), gate("accuracy", 0.95), 0.025).can_pass


def test_graded_scores_can_pass_only_where_bets_can() -> None:
    asked = question("forgetting", 0.05, 60, scorer=NUMBER)
    assert not asked.exact
    assert asked.can_pass  # if all scores happen to be 0 or 1
    needed = asked.needed_at_best
    assert needed is not None
    lines = warnings_before([(examples_set(60, scorer=NUMBER), gate("forgetting", 0.05), 0.05)])
    assert lines == [
        "ftgate: set::forgetting: 60 examples with graded scores pass only where it improves on the base; "
        f"about {needed} needed"
    ]
    assert Assumed.of(asked).power(asked) is None
    assert question("format", 0.9, 60, scorer=NUMBER).exact


@pytest.mark.parametrize(("kind", "bound"), [("accuracy", 0.85), ("forgetting", 0.05), ("beats_baseline", 0.05)])
def test_power_and_examples_agree(kind: str, bound: float) -> None:
    asked = question(kind, bound, 60)
    assumed = Assumed.of(asked)
    needed = assumed.examples(asked)
    assert needed is not None
    power = {n: assumed.power(replace(asked, n=n)) for n in (needed - 1, needed)}
    assert power[needed - 1] < 0.8 <= power[needed]  # type: ignore[operator]


def test_a_measured_flip_rate_is_used() -> None:
    asked = question("forgetting", 0.05, 100)
    assert Assumed.of(asked, 0.2).flip_rate == 0.2
    assert Assumed.of(asked, 0.2).power(asked) < Assumed.of(asked).power(asked)  # type: ignore[operator]
    lines = warnings_before([(examples_set(100), gate("forgetting", 0.05), 0.05)], flip_rate=0.2)
    assert "if +0.0 points, 20% of the answers flip; about 507 needed for 80%" in lines[0]


def test_approximate_power_beyond_the_exact_plan() -> None:
    for delta, flips in ((0.0, 0.05), (0.0, 0.2)):
        exact = stats.paired_power(500, delta0=-0.03, delta=delta, flip_rate=flips)
        about = stats.paired_power_approximate(500, delta0=-0.03, delta=delta, flip_rate=flips)
        assert about == pytest.approx(exact, abs=0.03)
    asked = question("forgetting", 0.01, 1000)
    assert 0.2 < (Assumed.of(asked).power(asked) or 0) < 0.5
    assert stats.examples_approximate(delta0=-0.05, delta=0.0, flip_rate=0.05) == 167
    assert stats.examples_approximate(delta0=0.05, delta=0.05, flip_rate=0.2) is None


# --- pytest-ftgate plan ---


def plan(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = plan_command.main([str(arg) for arg in args])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_plan_of_the_example(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    began = time.monotonic()
    code, out, _ = plan(capsys, TICKETS, "--json", tmp_path / "plan.json")
    assert time.monotonic() - began < 10
    assert code == 0
    assert "283 of 320 right" in out
    assert "at most 13 lost" in out
    assert "24 gained, none lost" in out
    row = next(line for line in out.splitlines() if line.startswith("5.0 points"))
    assert row.split()[2:] == ["107", "167", "274", "507"]
    written = json.loads((tmp_path / "plan.json").read_text())
    gates = {g["gate"]: g for g in written["gates"]}
    assert gates["general::forgetting"]["n"] == 432
    assert gates["general::forgetting"]["examples_for_power"] == 161
    assert "tickets::overlap" not in gates


def test_plan_says_who_cannot_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_evalset(tmp_path, "small", "accuracy: {min: 0.95}; forgetting: {max_drop: 0.02}", ["x"] * 50)
    code, out, _ = plan(capsys, tmp_path / "small.eval.yaml")
    assert code == 1
    assert "small::accuracy: 50 examples cannot certify a floor of 95.0% whatever the model answers; 59 needed" in out
    assert "small::forgetting: 50 examples cannot pass within 2.0 points without improving on the base" in out
    assert "only by improving" in out
    assert plan(capsys, tmp_path, "--alpha", "0.2")[0] == 1
    assert plan(capsys, tmp_path, "--alpha", "0.4")[0] == 0


def test_plan_takes_alpha_power_and_flip_rate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_evalset(tmp_path, "one", "beats_baseline: {min_gain: 0.05}", ["x"] * 60, baselines=BASELINES)
    _, usual, _ = plan(capsys, tmp_path)
    _, other, _ = plan(capsys, tmp_path, "--power", "0.9", "--flip-rate", "0.25", "--alpha", "0.025")
    assert "n for 80%" in usual
    assert "n for 90%" in other
    assert "25% flip" in other
    assert usual.split() != other.split()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere.eval.yaml"], "nowhere.eval.yaml"),
        (["."], "no *.eval.yaml file lies below ."),
        (["broken.eval.yaml"], "broken.eval.yaml:1"),
    ],
)
def test_plan_of_what_cannot_be_read_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty" if args == ["."] else tmp_path)
    (tmp_path / "broken.eval.yaml").write_text("gates: 3\n")
    code, out, err = plan(capsys, *args)
    assert (code, out) == (4, "")
    assert said in err
    assert "Traceback" not in err


def test_plan_counts_on_the_alpha_of_the_first_attempt(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_evalset(tmp_path, "shared", "forgetting: {max_drop: 0.05}", ["x"] * 60)
    assert plan(capsys, path)[0] == 0
    path.write_text(path.read_text() + "attempts: {spend: harmonic}\n")
    code, out, _ = plan(capsys, path)
    assert code == 1
    assert "60 examples cannot pass within 5.0 points without improving on the base; 79 needed" in out
    assert "shared: attempt 1 at alpha 0.025 (harmonic)" in out


@pytest.mark.parametrize("alpha", [0.05, 0.025, 0.0083, 0.0025])
@pytest.mark.parametrize("n", [20, 60, 200])
def test_the_strictest_bound_is_what_the_test_certifies_at_every_alpha(n: int, alpha: float) -> None:
    said = Question.of(examples_set(n), gate("forgetting", 0.01), alpha).certifiable
    margin = float(said.removesuffix(" points")) / 100
    assert stats.paired_p_value(0, 0, n, delta0=-margin) <= alpha < stats.paired_p_value(0, 0, n, delta0=0.001 - margin)


@pytest.mark.parametrize("tiny", [1e-9, 1e-300, 5e-324])
def test_plan_of_a_bound_next_to_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: float) -> None:
    gates = f"accuracy: {{min: {tiny}}}; beats_baseline: {{min_gain: {tiny}}}; forgetting: {{max_drop: {tiny}}}"
    write_evalset(tmp_path, "one", gates, ["x"] * 60, baselines=BASELINES)
    code, out, _ = plan(capsys, tmp_path)
    assert code == 1
    assert "without improving on the base; no number of examples would do" in out


def test_plan_refuses_a_share_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan_command.main([str(TICKETS), "--alpha", "5"])
    assert "expected a number between 0 and 1, found '5'" in capsys.readouterr().err


def test_plan_is_a_verb() -> None:
    assert VERBS["plan"][0] == "commands.plan"
