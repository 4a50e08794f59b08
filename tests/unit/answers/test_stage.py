"""The one batched stage with an engine that counts: each prompt once, stored answers first, a failure once for all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from countingengine import CountingEngine, stage, work

from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import ChatPrompt
from pytest_ftgate.answers.shared_stage import shared_stage
from pytest_ftgate.answers.stage import Progress, StageResult, Stopping, Work
from pytest_ftgate.errors import EngineError, FtgateError
from pytest_ftgate.evalset.types import Message
from pytest_ftgate.results import Generation


def test_each_answer_reaches_its_example(tmp_path: Path) -> None:
    engine, item = CountingEngine(), work(tmp_path)
    found = stage([item], engine).generations["one"]
    assert list(found) == ["baseline:zero_shot", "baseline:few_shot", "base", "candidate"]
    for example in item.evalset.examples:
        prompt = ChatPrompt((Message("system", "Answer."), Message("user", example.fields["q"])))
        for system, tuned in (("candidate", True), ("base", False)):
            assert found[system][example.id] == engine.answer(Request(prompt, 4), tuned)


def test_only_what_the_selected_gates_need(tmp_path: Path) -> None:
    engine, item = CountingEngine(), work(tmp_path)
    assert list(stage([Work(item.evalset, ("accuracy",), ())], engine).generations["one"]) == ["candidate"]
    assert {tuned for tuned, _ in engine.asked} == {True}
    assert stage([Work(item.evalset, ("overlap",), ())], engine).generations == {}
    assert len(engine.asked) == 6


def test_the_same_prompt_is_asked_once_per_side(tmp_path: Path) -> None:
    engine, other = CountingEngine(), work(tmp_path / "b", gates="accuracy: {min: 0.5}", name="two")
    result = stage([work(tmp_path / "a"), other], engine)
    assert len(engine.asked) == len({(tuned, r.prompt) for tuned, r in engine.asked}) == 6 + 18
    assert result.counts["candidate"]["planned"] == 12
    assert result.counts["candidate"]["unique"] == 6
    assert result.generations["one"]["candidate"] == result.generations["two"]["candidate"]


def test_other_settings_are_another_request(tmp_path: Path) -> None:
    head = (tmp_path / "x").name  # a folder of its own each, the same questions
    short, engine = work(tmp_path / head, gates="accuracy: {min: 0.5}"), CountingEngine()
    labelled = Work(short.evalset, short.kinds, ("yes", "no"))
    stage([short, Work(labelled.evalset, labelled.kinds, labelled.labels)], engine)
    assert len(engine.asked) == 12


def test_stored_answers_are_not_asked_again(tmp_path: Path) -> None:
    root, item = tmp_path / "store", work(tmp_path)
    first = stage([item], CountingEngine(), root)
    again = CountingEngine()
    second = stage([item], again, root)
    assert again.asked == []
    assert second.generations == first.generations
    assert {side: c["stored"] for side, c in second.counts.items()} == {"candidate": 6, "base": 18}


@pytest.mark.parametrize(("cache", "asked"), [("all", set()), ("base", {True}), ("off", {True, False})])
def test_cache_modes(tmp_path: Path, cache: str, asked: set[bool]) -> None:
    root, item = tmp_path / "store", work(tmp_path)
    stage([item], CountingEngine(), root, cache="all")
    engine = CountingEngine()
    stage([item], engine, root, cache=cache)
    assert {tuned for tuned, _ in engine.asked} == asked


def test_without_a_cache_nothing_is_written(tmp_path: Path) -> None:
    stage([work(tmp_path)], CountingEngine(), tmp_path / "store", cache="off")
    stage([work(tmp_path)], CountingEngine(), None)
    assert not (tmp_path / "store").exists()


def test_another_model_never_gets_these_answers(tmp_path: Path) -> None:
    root, item = tmp_path / "store", work(tmp_path)
    stage([item], CountingEngine(), root)
    other = CountingEngine(name="two")
    found = stage([item], other, root).generations["one"]
    assert len(other.asked) == 24
    assert all(g.text.startswith("two") for answers in found.values() for g in answers.values())


def test_what_was_done_before_an_interrupt_is_kept(tmp_path: Path) -> None:
    root, item = tmp_path / "store", work(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        stage([item], CountingEngine(stop_after=4), root)
    engine = CountingEngine()
    resumed = stage([item], engine, root)
    assert len(engine.asked) == 24 - 4
    assert resumed.counts["base"]["stored"] == 4
    assert resumed.generations == stage([item], CountingEngine()).generations


def test_an_engine_that_loses_answers_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no answer for 2 of 18 prompts"):
        stage([work(tmp_path)], CountingEngine(lose=2))


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    seen: list[Progress] = []
    stage([work(tmp_path)], CountingEngine(), report=seen.append)
    for side, total in (("candidate", 6), ("base", 18)):
        of_side = [p for p in seen if p.side == side]
        assert [p.done for p in of_side] == list(range(total + 1))
        assert {p.total for p in of_side} == {total}
        assert of_side[-1].new_tokens == 2 * total


def test_a_stage_is_computed_once_for_all_who_ask(tmp_path: Path) -> None:
    calls: list[int] = []
    item = work(tmp_path)

    def compute() -> StageResult:
        calls.append(1)
        return stage([item], CountingEngine())

    results: list[StageResult] = []
    threads = [threading.Thread(target=lambda: results.append(shared_stage(tmp_path, compute))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert results[0] == results[1] == results[2] == stage([item], CountingEngine())


def test_a_failure_is_recorded_and_not_tried_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> StageResult:
        calls.append(1)
        raise EngineError("out of memory", fix="use a smaller batch")

    messages = set()
    for _ in range(3):
        with pytest.raises(FtgateError) as caught:
            shared_stage(tmp_path, compute)
        messages.add((caught.value.message, caught.value.fix))
    assert messages == {("out of memory", "use a smaller batch")}
    assert len(calls) == 1


def test_a_defect_in_the_stage_is_raised_here_and_reported_elsewhere(tmp_path: Path) -> None:
    def broken() -> StageResult:
        raise ZeroDivisionError("deep inside")

    with pytest.raises(ZeroDivisionError):
        shared_stage(tmp_path, broken)
    with pytest.raises(FtgateError, match="ZeroDivisionError: deep inside"):
        shared_stage(tmp_path, lambda: pytest.fail("tried again"))


# -- asking in rounds --------------------------------------------------------------------------------------------------


def rounds(item: Work, enough: int, seen: list[int], *, ends_first: bool = False) -> Work:
    """`item`, settled once the candidate has answered `enough`; `seen`: how many it had at each look."""
    order = tuple(e.id for e in reversed(item.evalset.examples))

    def settled(answers: Mapping[str, Mapping[str, Generation]]) -> bool:
        assert {name: len(found) for name, found in answers.items() if name != "candidate"} == dict.fromkeys(
            ("baseline:zero_shot", "baseline:few_shot", "base"), len(order)
        )
        assert list(answers["candidate"]) == list(order[: len(answers["candidate"])]) or ends_first
        seen.append(len(answers["candidate"]))
        return seen[-1] >= enough

    return replace(item, stopping=Stopping(order, settled, ends_first))


def test_the_candidate_is_asked_in_rounds_until_all_is_settled(tmp_path: Path) -> None:
    engine, seen, progress = CountingEngine(), [], []
    item = work(tmp_path, asked=[f"question {i}" for i in range(20)])
    result = stage([rounds(item, 7, seen)], engine, chunk=3, report=progress.append)
    assert seen == [3, 6, 9]
    assert result.stopped == {"one": 9}
    assert list(result.generations["one"]["candidate"]) == [f"e{i}" for i in range(11, 20)]
    assert {k: v for k, v in result.counts["candidate"].items() if k in ("unique", "generated", "spared")} == {
        "unique": 20, "generated": 9, "spared": 11,
    }  # fmt: skip
    assert result.counts["base"]["spared"] == 0
    assert sum(tuned for tuned, _ in engine.asked) == 9
    assert (progress[-1].done, progress[-1].total) == (9, 9)  # a live line ends where done is total
    whole = stage([item], CountingEngine()).generations["one"]
    assert all(whole["candidate"][i] == g for i, g in result.generations["one"]["candidate"].items())


def test_what_is_never_settled_is_asked_completely(tmp_path: Path) -> None:
    seen: list[int] = []
    item = work(tmp_path)
    result = stage([rounds(item, 99, seen)], CountingEngine(), chunk=4)
    assert (seen, result.stopped) == ([4], {})
    assert result.generations == stage([item], CountingEngine()).generations


def test_stored_answers_change_nothing_about_where_it_stops(tmp_path: Path) -> None:
    root, asked = tmp_path / "store", [f"question {i}" for i in range(20)]
    item = work(tmp_path, asked=asked)
    stage([item], CountingEngine(), root)
    engine = CountingEngine()
    result = stage([rounds(item, 7, [])], engine, root, chunk=3)
    assert (result.stopped, engine.asked) == ({"one": 9}, [])
    assert result.counts["candidate"]["stored"] == 9


def test_an_interrupt_between_rounds_keeps_what_was_done(tmp_path: Path) -> None:
    root, item = tmp_path / "store", work(tmp_path, asked=[f"question {i}" for i in range(20)])
    with pytest.raises(KeyboardInterrupt):
        stage([rounds(item, 7, [])], CountingEngine(stop_after=60 + 5), root, chunk=3)
    engine = CountingEngine()
    result = stage([rounds(item, 7, [])], engine, root, chunk=3)
    assert len(engine.asked) == 9 - 5
    assert result == replace(stage([rounds(item, 7, [])], CountingEngine(), chunk=3), counts=result.counts)


def test_one_eval_set_stops_and_another_goes_on(tmp_path: Path) -> None:
    asked = [f"question {i}" for i in range(20)]
    one, two = work(tmp_path / "a", asked=asked), work(tmp_path / "b", asked=asked[10:], name="two")
    result = stage([rounds(one, 3, []), two], CountingEngine(), chunk=3)
    assert result.stopped == {"one": 3}
    assert len(result.generations["two"]["candidate"]) == 10
    assert len(result.generations["one"]["candidate"]) == 3  # not what the other set happened to ask as well


def test_the_longest_and_the_shortest_prompt_go_first(tmp_path: Path) -> None:
    engine, asked = CountingEngine(), [f"question {i}" for i in range(20)]
    asked[5], asked[8] = "a very long question, longer than all the others", "q"
    item = work(tmp_path, asked=asked)
    result = stage([rounds(item, 2, [], ends_first=True)], engine, chunk=3)
    assert set(result.generations["one"]["candidate"]) == {"e5", "e8", "e19"}


def test_rounds_survive_the_way_through_a_file(tmp_path: Path) -> None:
    item = work(tmp_path, asked=[f"question {i}" for i in range(20)])
    result = shared_stage(tmp_path, lambda: stage([rounds(item, 7, [])], CountingEngine(), chunk=3))
    assert result.stopped == {"one": 9}
