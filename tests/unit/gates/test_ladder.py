"""The ladder's four answers, each on a case made for it, and how often each is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_ftgate.gates.ladder import Assessment, Climbed, Goal, assess

GOAL = Goal(0.85, "accuracy.min")


def climbed(
    name: str, right: int, n: int, *, retrieves: bool = False, follows: int | None = None, shift: int = 0
) -> Climbed:
    scores = list(np.roll([1.0] * right + [0.0] * (n - right), shift))
    obeys = None if follows is None else [True] * follows + [False] * (n - follows)
    return Climbed(name, retrieves, scores, obeys, 100.0, 10.0)


def assessed(*rungs: Climbed, goal: Goal = GOAL) -> Assessment:
    return assess(rungs, [None] * len(rungs[0].scores), goal)


def test_a_certified_prompt_is_enough() -> None:
    found = assessed(climbed("zero_shot", 120, 200), climbed("few_shot", 195, 200))
    assert found.answer == "PROMPT_ENOUGH"
    assert [rung.name for rung in found.rungs] == ["few_shot", "zero_shot"]
    assert found.sentence == (
        "a prompt is enough: few_shot scores 97.5% on the base model, certified to reach 85.0% (accuracy.min)"
    )


def test_only_retrieval_reaches_the_goal() -> None:
    found = assessed(climbed("few_shot", 80, 200), climbed("retrieval", 195, 200, retrieves=True))
    assert found.answer == "KNOWLEDGE"
    assert found.sentence.startswith("this looks like missing knowledge: retrieval closes it. retrieval scores 97.5%")
    assert found.gain is not None
    assert found.gain.delta == pytest.approx(0.575)


def test_a_prompt_that_does_as_well_as_retrieval_is_cheaper() -> None:
    found = assessed(climbed("few_shot", 190, 200), climbed("retrieval", 198, 200, retrieves=True))
    assert (found.answer, "few_shot" in found.sentence) == ("PROMPT_ENOUGH", True)


def test_every_rung_proven_short_is_a_gap() -> None:
    found = assessed(climbed("zero_shot", 76, 200), climbed("retrieval", 110, 200, retrieves=True))
    assert found.answer == "FINE_TUNE"
    assert found.sentence.startswith("a behaviour gap of 30.0 ± 7.1 points is left: fine-tune.")
    assert "passages bring +17.0 points over zero_shot" in found.sentence


def test_too_few_examples_say_how_many_more() -> None:
    found = assessed(climbed("zero_shot", 19, 20))
    assert found.answer == "TOO_FEW"
    assert found.needed is not None
    assert f"{found.needed - 20} more examples would tell" in found.sentence
    again = assessed(climbed("zero_shot", round(0.95 * found.needed), found.needed))
    assert again.answer == "PROMPT_ENOUGH"


@pytest.mark.parametrize("n", [1, 4, 6, 12])
def test_a_perfect_score_of_very_few_is_planned_for_as_a_score_above_the_goal(n: int) -> None:
    found = assessed(climbed("zero_shot", n, n), goal=Goal(0.9, "accuracy.min"))
    assert (found.answer, f"scores 100.0% (95% interval {found.rungs[0].rate.interval[0]:.1%}" in found.sentence) == (
        "TOO_FEW",
        True,
    )
    assert found.needed is not None
    supposed = max(0.95, 1 - 1 / (2 * n))
    assert found.sentence.endswith(f"if its true rate is {supposed:.1%}")
    again = assessed(climbed("zero_shot", round(supposed * found.needed), found.needed), goal=Goal(0.9, "accuracy.min"))
    assert again.answer == "PROMPT_ENOUGH"


def test_where_only_the_format_is_open_the_format_is_what_is_spoken_of() -> None:
    goal = Goal(0.85, "accuracy.min", follows=0.97)
    found = assessed(climbed("few_shot", 195, 200, follows=198), goal=goal)
    assert found.answer == "TOO_FEW"
    assert "few_shot obeys the format in 99.0% of its answers" in found.sentence
    assert "where 97.0% is wanted (format.min_rate)" in found.sentence
    assert found.needed is not None
    assert found.needed > 200
    again = assessed(climbed("few_shot", found.needed, found.needed, follows=round(0.99 * found.needed)), goal=goal)
    assert again.answer == "PROMPT_ENOUGH"


def test_too_few_is_said_of_the_rung_that_may_still_reach_the_goal() -> None:
    goal = Goal(0.85, "accuracy.min", follows=0.97)
    found = assessed(climbed("chatty", 98, 100, follows=40), climbed("few_shot", 90, 100, follows=100), goal=goal)
    assert (found.answer, found.rungs[0].name) == ("TOO_FEW", "chatty")
    assert "few_shot scores 90.0%" in found.sentence


def test_at_the_goal_no_number_is_promised() -> None:
    found = assessed(climbed("zero_shot", 170, 200))
    assert (found.answer, found.needed) == ("TOO_FEW", None)
    assert found.sentence.endswith("more examples alone are unlikely to tell")


def test_right_answers_in_a_wrong_format_are_not_enough() -> None:
    goal = Goal(0.85, "accuracy.min", follows=0.97)
    found = assessed(climbed("zero_shot", 199, 200, follows=120), goal=goal)
    assert found.answer == "FINE_TUNE"
    assert found.sentence.startswith("the answers are right but their format is not")
    assert assessed(climbed("zero_shot", 199, 200, follows=200), goal=goal).answer == "PROMPT_ENOUGH"


def test_one_rung_that_may_reach_the_goal_forbids_to_speak_of_a_gap() -> None:
    assert assessed(climbed("zero_shot", 76, 200), climbed("few_shot", 168, 200)).answer == "TOO_FEW"


def test_no_rung_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a rung"):
        assess([], [], GOAL)


@pytest.mark.parametrize("rungs", [1, 4])
def test_enough_is_wrongly_said_at_most_five_percent_of_the_time(rungs: int) -> None:
    """Every rung exactly at the goal, which is not above it: the worst case for the best of several."""
    rng = np.random.default_rng(3)
    runs, n, said = 400, 120, 0
    for _ in range(runs):
        made = [
            Climbed(f"r{k}", False, list(rng.binomial(1, GOAL.score, n).astype(float)), None, 1.0, 1.0)
            for k in range(rungs)
        ]
        said += assessed(*made).answer == "PROMPT_ENOUGH"
    # P(more than 34 of 400) < 0.1 % where each has 5 %.
    assert said <= 34
