"""The overlap gate: what the candidate was trained on, proved, against the examples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from answered import evalset, example

from pytest_ftgate.errors import IdentityError
from pytest_ftgate.evalset.types import EvalSet, GateSpec
from pytest_ftgate.files.digests import file_sha256
from pytest_ftgate.files.problems import InputError
from pytest_ftgate.gates.overlap import Overlaps, judge_overlap
from pytest_ftgate.model.identity import Candidate
from pytest_ftgate.model.manifest import BaseRecord, Manifest, TrainingFile
from pytest_ftgate.results import Verdict

WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jolly", "knoll", "larch")


def question(i: int, start: int = 0) -> str:
    """A sentence of its own for each i."""
    return " ".join(WORDS[(start + i * k + k * k) % 12] + str((i * 7 + k + start) % 97) for k in range(1, 13))


def row(text: str, answer: str = "yes") -> str:
    return json.dumps({"prompt": text, "completion": answer})


def asked(gate: GateSpec, n: int = 20) -> EvalSet:
    plain = evalset([example(i, question=question(i)) for i in range(n)])
    return EvalSet(**{**{k: getattr(plain, k) for k in plain.__slots__}, "gates": (gate,)})


def overlap(bound: float = 0, **options: Any) -> GateSpec:
    return GateSpec("overlap", bound, {"max_rate": False, "excess_only": False, "train": [], **options}, 3)


def candidate(folder: Path, training: list[TrainingFile] | None) -> Candidate:
    base = BaseRecord("org/base", None, None, {})
    manifest = None if training is None else Manifest(1, base, tuple(training), None, 0, "lora", {}, {}, ())
    return Candidate(folder, "adapter", folder, manifest, has_tokenizer=False)


def trained(tmp_path: Path, rows: list[str], name: str = "train.jsonl") -> Candidate:
    """A candidate beside its training file, as the trainer records it."""
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    path = tmp_path / name
    path.write_text("".join(f"{line}\n" for line in rows), encoding="utf-8")
    return candidate(folder, [TrainingFile(f"../{name}", file_sha256(path), len(rows))])


def judged(gate: GateSpec, who: Candidate, n: int = 20) -> Verdict:
    return judge_overlap(asked(gate, n), gate, Overlaps(who).report(asked(gate, n)))


CLEAN = [row(question(i, start=5000)) for i in range(40)]


def test_clean_training_data_passes(tmp_path: Path) -> None:
    verdict = judged(overlap(), trained(tmp_path, CLEAN))
    assert verdict.summary == "0 of 20 examples stand in the training data (40 rows); at most 0 allowed"
    assert (verdict.gate, verdict.outcome, verdict.value, verdict.bound, verdict.n) == (
        "set::overlap",
        "PASS",
        0,
        0,
        20,
    )
    assert (verdict.fix, verdict.worst, verdict.details["leaks"]) == ("", (), [])


def test_a_leak_fails_and_names_example_row_and_file(tmp_path: Path) -> None:
    rows = [*CLEAN[:6], row(question(3)), *CLEAN[6:], row(question(11))]
    verdict = judged(overlap(), trained(tmp_path, rows))
    assert verdict.outcome == "FAIL"
    assert (verdict.value, verdict.worst) == (2, ("e3", "e11"))
    assert "2 of 20 examples stand in the training data (42 rows); at most 0 allowed" in verdict.summary
    assert "for instance example e3 is row 7 of train.jsonl" in verdict.summary
    assert verdict.fix
    leaks = verdict.details["leaks"]
    assert isinstance(leaks, list)
    assert [(leak["example_id"], leak["file"], leak["row"]) for leak in leaks] == [
        ("e3", "train.jsonl", 7),
        ("e11", "train.jsonl", 42),
    ]
    json.dumps(dict(verdict.details), allow_nan=False)


@pytest.mark.parametrize(
    ("gate", "outcome", "value"),
    [
        (overlap(1), "FAIL", 2.0),
        (overlap(2), "PASS", 2.0),
        (overlap(0.09, max_rate=True), "FAIL", 0.1),
        (overlap(0.1, max_rate=True), "PASS", 0.1),
    ],
)
def test_as_many_as_allowed_pass(tmp_path: Path, gate: GateSpec, outcome: str, value: float) -> None:
    verdict = judged(gate, trained(tmp_path, [*CLEAN, row(question(3)), row(question(11))]))
    assert (verdict.outcome, verdict.value) == (outcome, value)
    assert math.isfinite(verdict.value or 0.0)
    allowed = {1: "1", 2: "2", 0.09: "9.0% of the examples", 0.1: "10.0% of the examples"}[gate.bound]
    assert f"at most {allowed} allowed" in verdict.summary


def test_what_only_excess_lets_pass_is_said(tmp_path: Path) -> None:
    """Each training row stands there twice: that examples stand there too is no excess."""
    rows = [row(question(i, start=3000)) for i in range(150)] * 2
    verdict = judged(overlap(excess_only=True), trained(tmp_path, [*rows, row(question(3))]))
    assert verdict.outcome == "PASS"
    assert "at most 0 allowed, but training rows repeat one another as often (p = " in verdict.summary
    assert judged(overlap(), trained(tmp_path, [*rows, row(question(3))])).outcome == "FAIL"


def test_a_training_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    who = trained(tmp_path, [*CLEAN, row(question(3))])
    (tmp_path / "train.jsonl").write_text("\n".join(CLEAN) + "\n", encoding="utf-8")
    with pytest.raises(IdentityError, match=r"train\.jsonl was changed after run was trained on it"):
        judged(overlap(), who)


def test_a_training_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    who = trained(tmp_path, CLEAN)
    (tmp_path / "train.jsonl").unlink()
    with pytest.raises(IdentityError, match=r"is not where ftgate\.json says"):
        judged(overlap(), who)


def test_unknown_training_data_is_refused_unless_the_gate_names_it(tmp_path: Path) -> None:
    trained(tmp_path, [*CLEAN, row(question(3))])
    who = candidate(tmp_path / "run", None)
    with pytest.raises(IdentityError, match=r"not known what run was trained on: it has no ftgate\.json") as caught:
        judged(overlap(), who)
    assert "train: [" in caught.value.fix
    assert judged(overlap(train=[str(tmp_path / "train.jsonl")]), who).outcome == "FAIL"
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        judged(overlap(train=[str(tmp_path / "gone.jsonl")]), who)


def test_a_file_named_in_the_gate_is_searched_beside_the_recorded_ones(tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text(row(question(4)) + "\n", encoding="utf-8")
    who = trained(tmp_path, CLEAN)
    verdict = judged(overlap(train=[str(more), str(tmp_path / "train.jsonl")]), who)
    assert (verdict.outcome, verdict.worst, verdict.details["rows"]) == ("FAIL", ("e4",), 41)


def test_a_manifest_that_records_no_training_file_knows_nothing(tmp_path: Path) -> None:
    """0 rows of 0 files hold no example: that must not be a PASS."""
    (tmp_path / "run").mkdir()
    with pytest.raises(IdentityError, match="names no training file"):
        judged(overlap(), candidate(tmp_path / "run", []))


def test_training_files_without_a_row_are_refused(tmp_path: Path) -> None:
    with pytest.raises((IdentityError, InputError)):
        judged(overlap(), trained(tmp_path, []))


@pytest.mark.parametrize("broken", ["{not json", '{"prompt": 3}', "[]"])
def test_a_row_that_cannot_be_read_is_refused(tmp_path: Path, broken: str) -> None:
    with pytest.raises(IdentityError, match=r"1 of 41 training rows cannot be read, first: .*train\.jsonl:8") as caught:
        judged(overlap(), trained(tmp_path, [*CLEAN[:7], broken, *CLEAN[7:]]))
    assert caught.value.fix == "repair these rows and train again"


def test_a_directory_of_training_data_is_known_by_its_digest(tmp_path: Path) -> None:
    """The digest that the trainer writes for a saved dataset: path_sha256 of the directory."""
    datasets = pytest.importorskip("datasets")
    from pytest_ftgate.files.digests import path_sha256

    rows = [json.loads(line) for line in [*CLEAN, row(question(3))]]
    folder = tmp_path / "saved"
    datasets.Dataset.from_list(rows).save_to_disk(str(folder))
    (tmp_path / "run").mkdir()
    who = candidate(tmp_path / "run", [TrainingFile("../saved", path_sha256(folder), len(rows))])
    assert judged(overlap(), who).worst == ("e3",)
    (folder / "extra.txt").write_text("x", encoding="utf-8")
    with pytest.raises(IdentityError, match="was changed"):
        judged(overlap(), who)


def test_one_search_serves_every_gate_and_leaks_are_told_to_them(tmp_path: Path) -> None:
    who = trained(tmp_path, [*CLEAN, row(question(3))])
    overlaps, known = Overlaps(who), asked(overlap())
    assert overlaps.report(known) is overlaps.report(known)
    assert overlaps.leaked(known) == {"e3"}


def test_without_an_overlap_gate_nothing_is_searched(tmp_path: Path) -> None:
    accuracy = GateSpec("accuracy", 0.5, {}, 4)
    assert Overlaps(trained(tmp_path, [row(question(3))])).leaked(asked(accuracy)) == frozenset()
    assert Overlaps(candidate(tmp_path / "run", None)).leaked(asked(overlap())) == frozenset()
