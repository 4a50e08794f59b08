"""`pytest-ftgate calibrate`: the base against itself, with a real model and with answers made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import pytest
from answered import FAILED, evalset, example, said, yes
from gateproject import Project
from tinymodel import World, settings

from pytest_ftgate import cli
from pytest_ftgate.answers.engine.hf_load import Settings
from pytest_ftgate.answers.engine.protocol import Request
from pytest_ftgate.answers.prompting import ChatPrompt
from pytest_ftgate.commands import calibrate
from pytest_ftgate.errors import EngineError, ScoringError
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.evalset.types import EvalSet
from pytest_ftgate.files.json_value import Json
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.noise import (
    CALIBRATION,
    Noise,
    asked_digest,
    measure_noise,
    noise_of,
    noise_of_batches,
    read_calibration,
    store_calibration,
)
from pytest_ftgate.model.identity import resolve_base
from pytest_ftgate.report.terminal import noise_sentences
from pytest_ftgate.results import Generation

TEN = evalset([example(i) for i in range(10)])
CHANGE = {"base": "b" * 64, "device": "cpu", "dtype": "float32", "changed": "batch 64 -> 8"}


def answers(texts: Sequence[object], of: EvalSet = TEN) -> dict[str, Generation]:
    return {e.id: t if isinstance(t, Generation) else said(t) for e, t in zip(of.examples, texts, strict=True)}


def noise(**changes: Any) -> Noise:
    return replace(measure_noise(TEN, answers(yes(6, 10)), answers(yes(8, 10)), **CHANGE), **changes)


# -- counting and storing ----------------------------------------------------------------------------------------------


def test_texts_and_scores_that_flip_are_counted_apart() -> None:
    first = ["yes"] * 5 + ["no"] * 5
    second = ["yes", "yes", "Yes", "maybe", "no", "yes", "nope", "no", "no", "no"]
    found = measure_noise(TEN, answers(first), answers(second), **CHANGE)
    assert (found.n, found.differ, found.gains, found.losses, found.flips) == (10, 5, 1, 3, 4)
    assert found.interval(4) == pytest.approx((0.1216, 0.7376), abs=1e-4)  # Clopper & Pearson, 4 of 10
    silent = replace(TEN, scorer=None)
    assert measure_noise(silent, answers(first), answers(second), **CHANGE).flips is None


def test_what_could_not_be_asked_is_no_noise() -> None:
    with pytest.raises(ScoringError, match="1 of 10 examples of set could not be answered, first e9"):
        measure_noise(TEN, answers([*yes(9, 9), FAILED]), answers(yes(9, 10)), **CHANGE)


def test_what_was_measured_is_stored_once_and_read_back(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) == ()
    store_calibration(tmp_path, [noise(), noise(changed="float32 -> bfloat16")])
    newer = noise(differ=3)
    store_calibration(tmp_path, [newer, noise(device="cuda", gains=None, losses=None)])
    found = read_calibration(tmp_path)
    assert len(found) == 3
    assert found[0] == newer


@pytest.mark.parametrize(
    "change",
    [{"n": 0}, {"differ": 11}, {"gains": -1}, {"gains": 1.0}, {"gains": None}, {"base": 1}, {"more": 1}, {"n": True}],
)
def test_a_stored_file_that_is_another_is_a_clear_error(tmp_path: Path, change: Mapping[str, Json]) -> None:
    store_calibration(tmp_path, [noise()])
    path = tmp_path / CALIBRATION
    content = json.loads(path.read_text())
    content["noise"][0].update(change)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"calibration\.json: expected a calibration of version 2"):
        read_calibration(tmp_path)
    path.write_text(json.dumps({**content, "version": 1}))
    with pytest.raises(InputError):
        store_calibration(tmp_path, [noise()])


def test_planning_gets_the_largest_flip_rate_that_fits(tmp_path: Path) -> None:
    base = CHANGE["base"]
    found = [
        noise(),
        noise(changed="float32 -> bfloat16", gains=3),
        noise(changed="none -> nf4", gains=4),
        noise(base="other", gains=4),
        noise(asked="other", gains=4),
        noise(gains=None, losses=None),
    ]
    best = noise_of(found, TEN, base=base)
    assert best == found[1]
    assert noise_of(found, replace(TEN, gates=(), digest="moved bounds"), base=base) == best
    assert noise_of(found, evalset([example(i) for i in range(9)]), base=base) is None
    assert asked_digest(TEN) != asked_digest(replace(TEN, scorer=None))


# -- the command -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """An engine whose answers are those of its settings."""

    settings: Settings
    texts: Mapping[object, Sequence[str]]

    def fingerprint(self, *, tuned: bool) -> str:
        return "f"

    def generate(self, requests: Sequence[Request], *, tuned: bool) -> Iterator[tuple[int, Generation]]:
        key = (self.settings.batch_size, self.settings.dtype, self.settings.quantize)
        if key not in self.texts:
            raise EngineError("this device cannot do that")
        for index in reversed(range(len(requests))):
            prompt = requests[index].prompt
            assert isinstance(prompt, ChatPrompt)
            yield index, said(self.texts[key][int(prompt.messages[-1].content.split()[-1])])

    def describe(self) -> Mapping[str, Json]:
        return {"dtype": "float32", "device": "cpu"}


def test_each_change_is_compared_with_how_candidates_are_judged(world: World) -> None:
    texts = {
        (64, "auto", "none"): yes(6, 10),
        (8, "auto", "none"): yes(6, 10),
        (64, "bfloat16", "none"): yes(4, 10),
    }
    judged = settings(dtype="auto")
    variants = [judged, replace(judged, batch_size=8), replace(judged, dtype="other"), replace(judged, quantize="nf4")]
    base = resolve_base("base", world.root)
    found, left_out = calibrate.calibrate([TEN], base, variants, lambda _: None, lambda s: Told(s, texts))
    assert [(n.changed, n.differ, n.gains, n.losses) for n in found] == [
        ("batch 64 -> 8", 0, 0, 0),
        ("float32 -> bfloat16", 2, 0, 2),
    ]
    assert left_out == ["none -> nf4: this device cannot do that"]
    assert {n.base for n in found} == {base.digest(tuned=False)}
    table = calibrate.noise_table(found)
    assert "20.0% (2.5% to 55.6%)" in table
    assert "no scorer" in calibrate.noise_table([noise(gains=None, losses=None)])


def test_a_real_base_is_asked_and_the_result_can_be_planned_with(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world.copy(tmp_path / "project").root
    (root / "evals" / "inside").mkdir()
    monkeypatch.chdir(root / "evals" / "inside")
    assert cli.main(["calibrate", "../general.eval.yaml", "--base", "../../base", "--device", "cpu"]) == 0
    out, err = capsys.readouterr()
    assert "general     float32 -> bfloat16  60" in out
    assert "asking again: batch 64 -> 8" in err
    found = read_calibration(root)  # the root of the project, not the folder that it was called in
    assert [n.changed for n in found] == ["batch 64 -> 8", "float32 -> bfloat16"]
    assert all((n.n, n.device) == (60, "cpu") for n in found)
    assert 0 < found[1].differ <= 30  # bfloat16 is another model to a random one, but not a stranger
    judged = load_evalset(root / "evals" / "general.eval.yaml")
    assert noise_of(found, judged, base=world.candidate().digest(tuned=False)) == found[1]


# -- what the report of a run says of it -------------------------------------------------------------------------------


def test_the_report_names_what_was_measured_of_this_engine_and_these_examples() -> None:
    engine = {"base_digest": "b" * 64, "device": "cpu", "dtype": "float32", "quantize": "none"}
    other = evalset([example(i) for i in range(11)])
    measured = [
        noise(),
        noise(changed="float32 -> bfloat16"),
        *(noise(**change) for change in ({"base": "c" * 64}, {"device": "cuda"}, {"dtype": "bfloat16"})),
    ]
    found = noise_of_batches(measured, engine, [TEN, other])
    assert found == [{"evalset": "set", "n": 10, "differ": 2, "flips": 2, "changed": "batch 64 -> 8"}]
    assert noise_of_batches(measured, engine, [other]) == []
    assert noise_of_batches(measured, {**engine, "quantize": "nf4"}, [TEN]) == []
    said = "set: 2 of 10 texts and 2 scores of the base change with batch 64 -> 8 in float32 (pytest-ftgate calibrate)"
    assert noise_sentences({**engine, "noise": found}) == [said]
    silent = noise_of_batches([noise(gains=None, losses=None)], engine, [TEN])
    assert noise_sentences({**engine, "noise": silent}) == [said.replace(" and 2 scores", "")]


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ({"dtype": "float32", "quantize": "none", "noise": []}, ""),
        ({}, ""),
        ({"model": "an engine that does not say"}, ""),
        (
            {"dtype": "bfloat16", "quantize": "none", "noise": []},
            "in bfloat16 a text can depend on what else is in its",
        ),
        ({"dtype": "bfloat16", "quantize": "nf4", "noise": []}, "in nf4 a text can depend on what else is in its"),
        ({"dtype": "float16", "quantize": "none", "noise": "?"}, "batch; not measured: pytest-ftgate calibrate"),
    ],
)
def test_what_was_not_measured_is_said_where_it_matters(engine: Mapping[str, Json], told: str) -> None:
    found = noise_sentences(engine)
    assert told in "".join(found)
    assert bool(found) == bool(told)


def test_a_run_says_what_the_calibration_before_it_found(project: Project) -> None:
    assert cli.main(["calibrate", "evals/general.eval.yaml", "--base", "base", "--device", "cpu"]) == 0
    run = project.gates("evals", "--ft-html=r.html")
    line = (
        "general: 0 of 60 texts and 0 scores of the base change with batch 64 -> 8 in float32 (pytest-ftgate calibrate)"
    )
    assert f"noise     {line}" in run.out
    assert escape(line) in project.root.joinpath("r.html").read_text()
    assert run.verdict["engine"]["noise"] == [
        {"evalset": "general", "n": 60, "differ": 0, "flips": 0, "changed": "batch 64 -> 8"}
    ]
    project.root.joinpath(".ftgate", "calibration.json").write_text("[]")
    assert "noise     " not in project.gates("evals").out
    assert "noise     in bfloat16 a text can depend" in project.gates("evals", "--ft-dtype=bfloat16").out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["nowhere.eval.yaml", "--base", "base"], "expected a file, found none"),
        (["evals", "--base", "nowhere"], "--base=nowhere is not a model directory"),
        (["runs", "--base", "base"], "no *.eval.yaml file lies below runs"),
        (["evals", "--base", "base", "--batch-size", "0"], "expected a whole number above 0, found '0'"),
    ],
)
def test_what_cannot_be_used_is_told(
    world: World, args: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world.root)
    try:
        code = calibrate.main(args)
    except SystemExit as error:
        code = int(error.code or 0)
    assert code in (2, 4)
    assert told in capsys.readouterr().err
