"""Eval sets that come with the product: found by name, made by their generators, usable as they are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ftgate import cli
from pytest_ftgate.evalset.builtin import builtin_file, builtin_names, builtin_rows
from pytest_ftgate.evalset.loader import load_evalset
from pytest_ftgate.files.problems import EvalSetError

ROOT = Path(__file__).parents[3]
MINE = """\
version: 1
examples: builtin:general
prompt: {user: "Please: {prompt}"}
generation: {max_new_tokens: 16}
scorer: exact
gates:
  forgetting: {max_drop: 0.1}
"""


def test_each_has_its_folder_its_file_and_a_datasheet() -> None:
    assert "builtin:general" in builtin_names()
    for name in builtin_names():
        assert (builtin_file(name).parent / "README.md").is_file()
        evalset = load_evalset(builtin_file(name))
        assert len(evalset.examples) >= 200


def test_rows_are_what_the_generator_writes(tmp_path: Path) -> None:
    program = tmp_path / "generate.py"
    program.write_text((ROOT / "evalsets/general/generate.py").read_text())
    subprocess.run([sys.executable, str(program)], check=True, env={"PYTHONHASHSEED": "5", "PATH": ""})
    assert (tmp_path / "general.jsonl").read_bytes() == builtin_rows("builtin:general").read_bytes()


def test_an_eval_set_of_ones_own_takes_its_examples(tmp_path: Path) -> None:
    path = tmp_path / "mine.eval.yaml"
    path.write_text(MINE)
    evalset = load_evalset(path)
    assert len(evalset.examples) == len(load_evalset(builtin_file("builtin:general")).examples)


def test_a_misspelt_name_is_told_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "mine.eval.yaml"
    path.write_text(MINE.replace("builtin:general", "builtin:genral"))
    with pytest.raises(EvalSetError, match="did you mean builtin:general"):
        load_evalset(path)


def test_a_verb_takes_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "builtin:general"]) == 0
    assert "general::forgetting" in capsys.readouterr().out
