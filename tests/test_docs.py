"""Snippets in the documents run, and what they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from evalsets.loader import evalset_schema
from evalsets.schema import schema_problems
from evalsets.strictyaml import parse_yaml
from pytest_ftgate.cli import VERBS
from pytest_ftgate.options import OPTIONS
from training.config import training_schema

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/training.md")]
DOCUMENTS += sorted(ROOT.glob("examples/*/README.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTEST_OPTIONS = ("-k", "-n", "--junitxml", "-m", "--lf", "-x")


def snippets(language: str) -> list[tuple[str, str]]:
    """(document and number, text) of every fenced block in that language."""
    found = []
    for document in DOCUMENTS:
        blocks = [text for kind, text in FENCE.findall(document.read_text()) if kind == language]
        found += [(f"{document.name}-{number}", text) for number, text in enumerate(blocks)]
    return found


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets("python")])
def test_python_snippets_run(text: str) -> None:
    exec(compile(text, "snippet", "exec"), {})


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets("yaml")])
def test_yaml_snippets_are_what_they_say(text: str) -> None:
    first = text.splitlines()[0]
    if first.endswith(".eval.yaml"):
        assert schema_problems(parse_yaml(text, path="snippet"), evalset_schema()) == []
    elif first == "# train.yaml":
        assert schema_problems(parse_yaml(text, path="snippet"), training_schema()) == []
    else:
        assert ".github/workflows" in first
        check_command(yaml.safe_load(text)["jobs"]["gate"]["steps"][-1]["run"])


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets("console")])
def test_commands_name_what_exists(text: str) -> None:
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert commands, "a console block without a command"
    for command in commands:
        check_command(command)


def check_command(command: str) -> None:
    for part in command.split("&&"):
        program, *words = shlex.split(part)
        if program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), command
        elif program == "ftgate":
            assert words[0] in VERBS, command
        elif program == "pytest":
            known = {option.name for option in OPTIONS} | set(PYTEST_OPTIONS)
            options = [word.split("=")[0] for word in words if word.startswith("-")]
            assert set(options) <= known, command
        elif program == "python":
            assert words[:2] == ["-m", "training"] or (ROOT / words[0]).is_file(), command
        elif program == "accelerate":
            assert words[0] == "launch", command
            assert words[words.index("-m") + 1] == "training", command
        else:
            assert program in ("pip", "cd"), command


def test_every_option_of_the_plugin_explains_itself() -> None:
    assert all(option.name.startswith("--ft-") and len(option.help) > 30 for option in OPTIONS)


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
