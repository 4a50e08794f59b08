"""What is said before anything is generated, more: noise that was measured, and slices that cannot be certified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from answered import answers_of, evalset, example, gate, yes
from gateproject import Project
from tinymodel import write_jsonl

from pytest_ftgate.answers.store import SCHEMA
from pytest_ftgate.commands import plan as plan_command
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet, Example, SliceSpec
from pytest_ftgate.gates.given import GateInput
from pytest_ftgate.gates.judge import judge
from pytest_ftgate.gates.measure import Levels
from pytest_ftgate.gates.noise import Noise, asked_digest, newest_noise, store_calibration
from pytest_ftgate.gates.power import (
    Assumed,
    Question,
    hopeless_verdict,
    needs_answers,
    slices_too_small,
    warnings_before,
)
from pytest_ftgate.model.identity import resolve_base


def noise(asked: EvalSet, flips: int, *, base: str = "b" * 64, n: int = 100, time: str = "2026-01-01") -> Noise:
    changed = "batch 64 -> 8"
    return Noise(asked.name, asked_digest(asked), base, "cpu", "float32", changed, n, flips, 0, flips, time=time)


HUNDRED = evalset([example(i) for i in range(100)])


def test_no_candidate_is_planned_steadier_than_its_base() -> None:
    asked = Question.of(HUNDRED, gate("forgetting", 0.05), 0.05)
    assert Assumed.of(asked, noise=0.2).flip_rate == 0.2
    assert Assumed.of(asked, noise=0.01).flip_rate == 0.05  # noise is the least that flips, not all of it
    assert Assumed.of(asked, 0.02, noise=0.2).flip_rate == 0.02  # what is told stands
    floor = Question.of(HUNDRED, gate("accuracy", 0.5), 0.05)
    assert Assumed.of(floor, noise=0.2) == Assumed.of(floor)
    known = [(HUNDRED, gate("forgetting", 0.05), 0.05)]
    assert "20% of the answers flip" in warnings_before(known, noise=lambda _: 0.2)[0]


def test_without_a_base_the_one_that_was_calibrated_last_counts() -> None:
    old, new = noise(HUNDRED, 30, base="a" * 64), noise(HUNDRED, 8, time="2026-02-02")
    worse = noise(HUNDRED, 9, time="2026-02-01")
    assert newest_noise([new, old, worse], HUNDRED) == worse
    assert newest_noise([old], evalset([example(1)])) is None


def calibrated(root: Path, flips: int) -> None:
    judged = load_evalset(root / "evals" / "general.eval.yaml")
    base = resolve_base("base", root).digest(tuned=False)
    store_calibration(
        root, [noise(judged, flips, base=base, n=60), noise(judged, 50, base="0" * 64, n=60, time="1999")]
    )


def test_a_run_warns_by_the_noise_of_its_base(project: Project) -> None:
    calibrated(project.root, 30)
    run = project.gates("evals", "-k", "general", "--collect-only", "-p", "no:cacheprovider")
    assert "answers flip" not in run.out  # nothing is judged
    run = project.gates("evals", "-k", "general")
    assert "if +0.0 points, 50% of the answers flip" in run.out
    (project.root / ".ftgate" / "calibration.json").write_text("{}")
    run = project.gates("evals", "-k", "general")
    assert run.outcomes == {"general::forgetting": "PASS"}
    assert "remove the file and run `pytest-ftgate calibrate` again" in run.out


def test_plan_uses_what_was_measured_and_says_so(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    assert plan_command.main(["evals/general.eval.yaml"]) == 0
    assert "+0.0 points, 5% of the answers flip" in capsys.readouterr().out
    calibrated(project.root, 12)
    assert plan_command.main(["evals/general.eval.yaml", "--base", "base", "--json", "p.json"]) == 0
    out = capsys.readouterr().out
    assert "+0.0 points, 20% of the answers flip" in out
    assert "general: the base differs from itself on 20.0% of 60 (batch 64 -> 8, base " in out
    assert "at least so many are assumed to flip" in out
    assert json.loads((project.root / "p.json").read_text())["gates"][0]["assumed_flip_rate"] == 0.2
    plan_command.main(["evals"])
    assert ", calibrated last, 2026-01-01)" in capsys.readouterr().out
    plan_command.main(["evals", "--flip-rate", "0.03"])
    out = capsys.readouterr().out
    assert "3% of the answers flip" in out
    assert "not used, as --flip-rate is given" in out
    assert plan_command.main(["evals", "--base", "nowhere"]) == 4
    assert "--base=nowhere is not a model directory" in capsys.readouterr().err


# -- slices ------------------------------------------------------------------------------------------------------------


def in_languages(
    kind: str, bound: float, own: float, german: int, *, rest: int = 100, answers: tuple[str, ...] = ("yes",)
) -> EvalSet:
    values = ["de"] * german + ["en"] * rest
    rows = [
        Example(f"e{i}", {"q": f"q {i}", "lang": v}, answers[i % len(answers)], None, "r", i + 1)
        for i, v in enumerate(values)
    ]
    spec = SliceSpec("lang", ("de", "en"), {kind: own}, 3)
    return replace(evalset(rows), gates=(gate(kind, bound),), slices=(spec,))


@pytest.mark.parametrize(
    ("kind", "bound", "own", "enough", "what"),
    [
        ("accuracy", 0.5, 0.8, 14, "cannot certify a floor of 80.0% whatever the model answers; 14 needed"),
        ("format", 0.5, 0.8, 14, "cannot certify a floor of 80.0% whatever the model answers; 14 needed"),
        ("forgetting", 0.1, 0.1, 29, "cannot pass within 10.0 points without improving on the base; 29 needed"),
        (
            "beats_baseline",
            0.05,
            0.3,
            7,
            "cannot certify a gain above 30.0 points whatever the model answers; 7 needed",
        ),
    ],
)
def test_a_slice_that_no_answer_certifies_costs_no_generation(
    kind: str, bound: float, own: float, enough: int, what: str
) -> None:
    short = in_languages(kind, bound, own, enough - 1, answers=("yes", "no", "later"))  # no guess reaches the floor
    gate_ = short.gates[0]
    said = f"slice lang=de of {enough - 1} {what}"
    assert slices_too_small(short, gate_, 0.05) == said
    lines = warnings_before([(short, gate_, 0.05)])
    assert lines[0] == f"ftgate: set::{kind}: {said}"
    assert "INCONCLUSIVE, which never ships" in lines[1]
    verdict = hopeless_verdict(short, gate_, 0.05)
    assert verdict is not None
    assert (verdict.outcome, verdict.reason, verdict.value) == ("INCONCLUSIVE", "CANNOT_PASS_AT_N", None)
    assert said in verdict.summary
    assert not needs_answers(short, gate_, 0.05, judge_hopeless=False)
    assert needs_answers(short, gate_, 0.05, judge_hopeless=True)
    full = in_languages(kind, bound, own, enough)
    assert (slices_too_small(full, gate_, 0.05), hopeless_verdict(full, gate_, 0.05)) == ("", None)
    assert needs_answers(full, gate_, 0.05, judge_hopeless=False)


def test_a_slice_that_may_lose_nothing_can_only_improve() -> None:
    asked = in_languages("forgetting", 0.1, 0.0, 500)
    said = slices_too_small(asked, asked.gates[0], 0.05)
    assert said.startswith(
        "slice lang=de of 500 cannot pass within 0.0 points without improving on the base; no number"
    )
    gain = in_languages("beats_baseline", 0.0, 0.0, 500)
    assert slices_too_small(gain, gain.gates[0], 0.05) == ""


def test_what_is_called_hopeless_is_so() -> None:
    """The gate itself, of the best answers: one example more and it passes."""
    for german, outcome in ((13, "INCONCLUSIVE"), (14, "PASS")):
        asked = in_languages("accuracy", 0.5, 0.8, german)
        best = answers_of(asked, {"candidate": yes(german + 100, german + 100)})
        assert judge(GateInput(asked, asked.gates[0], best, Levels())).outcome == outcome


def test_a_run_spends_nothing_on_it_and_the_plan_says_so(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    rows = [json.loads(line) for line in (project.root / "evals" / "target.jsonl").read_text().splitlines()]
    rows = [{**row, "language": "de" if i < 4 else "en"} for i, row in enumerate(rows)]
    write_jsonl(project.root / "evals" / "target.jsonl", rows)
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text().replace("gates:", "slices: [{field: language, accuracy: {min: 0.5}}]\ngates:"))
    said = (
        "target::accuracy: slice language=de of 4 cannot certify a floor of 50.0% whatever the model answers; 5 needed"
    )
    run = project.gates("evals", "-k", "target and accuracy", "--ft-verdict=require")
    assert f"ftgate: {said}" in run.out.split("evals/target.eval.yaml")[0]
    assert (run.code, run.verdict["counts"]) == (20, {})
    told = project.gates("evals", "-k", "target and accuracy", "--ft-judge-hopeless")
    assert told.verdict["counts"]["candidate"]["generated"] == 60
    assert plan_command.main(["evals", "--json", "p.json"]) == 1
    assert said in capsys.readouterr().out
    assert [g["can_pass"] for g in json.loads((project.root / "p.json").read_text())["gates"]].count(False) == 1


# -- the cap of the store ----------------------------------------------------------------------------------------------


def test_the_store_keeps_to_its_cap_and_to_what_this_run_used(project: Project) -> None:
    folder = project.root / ".ftgate" / "cache" / SCHEMA
    folder.mkdir(parents=True)
    old = folder / f"{'0' * 64}.jsonl"
    old.write_bytes(b"x" * 2**20)
    project.gates("evals", "-k", "accuracy")
    assert old.exists()
    mine = {path.name for path in folder.glob("*.jsonl")} - {old.name}
    assert len(mine) == 1
    with (folder / next(iter(mine))).open("ab") as file:
        file.write(b"\n" * 2**20)  # larger than the cap alone
    old.write_bytes(b"x" * 2**20)
    run = project.gates("evals", "-k", "accuracy", "--ft-cache-mib=1")
    assert {path.name for path in folder.glob("*.jsonl")} == mine
    assert run.verdict["counts"]["candidate"]["generated"] == 0
    other = project.run("--ft-model=runs/good", "evals", "--ft-cache-mib=0")
    assert (other.code, "above 0" in other.out) == (4, True)
