"""The command line around the gate: each verb passes its own options on, and says how it ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tinymodel import write_jsonl

from pytest_ftgate import __version__, cli

SENTENCE = "how do i get my money back from the shop in the old town before the end of this month"


def run(*args: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    try:
        code = cli.main(args)
    except SystemExit as error:
        code = int(error.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_names_every_verb_and_the_gate_itself(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run("--help", capsys=capsys)
    assert code == 0
    assert all(verb in out for verb in cli.VERBS)
    assert "pytest --ft-model=" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", capsys=capsys)[1] == f"pytest-ftgate {__version__}\n"


def test_ctrl_c_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pytest_ftgate.commands.plan.main", interrupted)
    assert run("plan", "evals", capsys=capsys) == (130, "", "\npytest-ftgate plan: interrupted\n")


@pytest.mark.parametrize("args", [(), ("nonsense",), ("--nonsense",)])
def test_what_is_no_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str], args: tuple[str, ...]) -> None:
    code, _, err = run(*args, capsys=capsys)
    assert code == 4
    assert "usage: pytest-ftgate" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
@pytest.mark.parametrize("args", [(), ("--no-such-option",), ("x", "--no-such-option"), ("x", "--json", "--root")])
def test_misuse_of_any_verb_is_exit_code_4(
    capsys: pytest.CaptureFixture[str], verb: str, args: tuple[str, ...]
) -> None:
    code, out, err = run(verb, *args, capsys=capsys)
    assert (code, out) == (4, "")
    assert f"usage: pytest-ftgate {verb}" in err
    assert "error: " in err


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    code, out, _ = run(verb, "--help", capsys=capsys)
    assert code == 0
    assert "usage:" in out


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_gets_its_options_untouched(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    seen: list[list[str]] = []
    module = SimpleNamespace(main=lambda argv: seen.append(list(argv)) or 7)
    monkeypatch.setitem(sys.modules, f"pytest_ftgate.{cli.VERBS[verb][0]}", module)  # type: ignore[arg-type]
    assert cli.main([verb, "--help", "-x", "a b", "--", "--version"]) == 7
    assert seen == [["--help", "-x", "a b", "--", "--version"]]


def test_overlap_finds_a_leaked_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(tmp_path / "x.jsonl", [{"id": "e1", "q": SENTENCE, "target": "t"}])
    (tmp_path / "x.eval.yaml").write_text(
        "version: 1\nexamples: x.jsonl\nprompt: {user: '{q}'}\ngeneration: {max_new_tokens: 4}\n"
        "scorer: exact\ngates:\n  overlap: {max: 0}\n"
    )
    train = write_jsonl(tmp_path / "train.jsonl", [{"prompt": SENTENCE, "completion": "t"}])
    code, out, err = run("overlap", "--evals", str(tmp_path / "x.eval.yaml"), str(train), capsys=capsys)
    assert code == 1, err
    assert "e1" in out


def test_a_broken_training_file_is_one_clear_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("version: 1\nbase: {id\n")
    code, out, err = run("train", str(config), capsys=capsys)
    assert code == 4
    assert "train.yaml" in out + err
    assert "Traceback" not in out + err


def test_help_needs_no_torch() -> None:
    program = "import sys; from pytest_ftgate.cli import main\n"
    program += "try: main(['--help'])\nexcept SystemExit: pass\n"
    program += "assert not {'torch', 'transformers', 'numpy', 'pytest', 'yaml'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
