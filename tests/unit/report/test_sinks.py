"""Every sink turns the same report into text, and has an option of its name."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from pytest_ftgate.gates.decision import Decision
from pytest_ftgate.report.run_report import RunReport
from pytest_ftgate.report.sinks import SINKS, Sink
from pytest_ftgate.run.late import Late
from pytest_ftgate.run.options import OPTIONS
from pytest_ftgate.run.reporting import write_report
from pytest_ftgate.trust.policy.types import Policy, PolicyInForce

RUN = RunReport(Decision("BLOCK", "a::accuracy failed"), (), {}, {}, "pytest", PolicyInForce(Policy()), {}, {})


@pytest.mark.parametrize("sink", SINKS, ids=lambda sink: sink.name)
def test_every_sink_says_the_run_verdict_and_has_its_option(sink: Sink) -> None:
    assert "BLOCK" in sink.text(RUN)
    assert sink.option in {option.name for option in OPTIONS}


def test_what_one_sink_cannot_write_is_said_and_the_others_are_written(tmp_path: Path) -> None:
    (tmp_path / "v.json").mkdir()
    problems = write_report(RUN, {"json": tmp_path / "v.json", "html": tmp_path / "v.html"})
    assert len(problems) == 1
    assert problems[0].startswith("could not write v.json: ")
    assert "BLOCK" in (tmp_path / "v.html").read_text(encoding="utf-8")


def test_a_sink_that_breaks_is_a_sentence_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(run: RunReport) -> str:
        raise KeyError(run.command)

    monkeypatch.setattr(import_module("pytest_ftgate.report.machine"), "text", broken)
    assert write_report(RUN, {"json": tmp_path / "v.json"}) == ["could not write v.json: KeyError: 'pytest'"]


def test_the_file_for_programs_holds_what_the_report_holds() -> None:
    told = json.loads(SINKS[0].text(RUN))
    assert (told["verdict"], told["exit_code"], told["command"]) == ("BLOCK", 1, "pytest")


def test_who_looks_through_the_names_of_a_module_imports_nothing_late() -> None:
    """pytest asks every attribute of a plugin for `_pytestfixturefunction` and the like."""
    assert not hasattr(Late("no_such_module"), "_private")
    with pytest.raises(ModuleNotFoundError):
        assert Late("no_such_module").public
