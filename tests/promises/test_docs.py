"""Snippets in the documents run, and what they name exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from pytest_ftgate.cli import VERBS
from pytest_ftgate.commands.verify import verify_parser
from pytest_ftgate.evalset.loader import evalset_schema
from pytest_ftgate.files.schema import schema_problems
from pytest_ftgate.files.strictyaml import parse_yaml
from pytest_ftgate.run.options import OPTIONS
from pytest_ftgate.trust.policy.file import parse_policy, policy_schema
from training.config import training_schema

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [
    *(ROOT / name for name in NAMES),
    *sorted(path for path in ROOT.glob("docs/**/*.md") if path.parent.name != "measured"),
    *sorted(ROOT.glob("examples/*/README.md")),
]
FOREIGN = ("pip", "cd", "openssl", "gh", "jq")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTEST_OPTIONS = ("-k", "-n", "--junitxml", "-m", "--lf", "-x")


def snippets(language: str) -> list[tuple[str, str]]:
    """(document and number, text) of every fenced block in that language."""
    found = []
    for document in DOCUMENTS:
        blocks = [text for kind, text in FENCE.findall(document.read_text()) if kind == language]
        found += [(f"{document.parent.name}/{document.name}-{number}", text) for number, text in enumerate(blocks)]
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
        runs = [step["run"] for job in yaml.safe_load(text)["jobs"].values() for step in job["steps"] if "run" in step]
        assert runs
        for run in runs:
            check_command(run)


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in snippets("toml")])
def test_toml_snippets_are_policies(text: str) -> None:
    parse_policy(text, name="snippet", directory=ROOT)
    # Every key is shown, so that nobody has to read the schema.
    tables = policy_schema()["properties"]
    keys = {key for table in ("policy", "runtime") for key in tables[table]["properties"]}
    for name in ("floors", "ceilings"):
        keys |= set(tables["policy"]["properties"][name]["properties"])
    assert {key for key in keys if key not in text} == set()


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
        elif program == "pytest-ftgate":
            assert words[0] in VERBS, command
            if words[0] == "verify":
                verify_parser().parse_args(words[1:])
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
            assert program in FOREIGN, command


def test_every_option_of_the_plugin_explains_itself() -> None:
    assert all(option.name.startswith("--ft-") and len(option.help) > 30 for option in OPTIONS)


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


QUOTE = re.compile(r"^<!-- quoted from (\S+) -->\n((?:\|.*\n)+)", re.MULTILINE)


def misquoted(text: str) -> list[str]:
    """Lines of tables marked `<!-- quoted from FILE -->` that do not stand in that file word for word."""
    found = []
    for source, table in QUOTE.findall(text):
        written = (ROOT / source).read_text().splitlines()
        found += [line for line in table.splitlines() if line not in written]
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_quoted_tables_stand_in_the_document_that_a_command_wrote(document: Path) -> None:
    assert misquoted(document.read_text()) == []


def test_documents_quote_what_commands_wrote() -> None:
    quoted = {source for document in DOCUMENTS for source, _ in QUOTE.findall(document.read_text())}
    assert quoted == {"docs/measured/performance.md", "docs/measured/statistics.md"}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_every_page_is_two_clicks_away() -> None:
    """The README links pages; they and docs/README.md link the rest."""
    clicked = {ROOT / "README.md"}
    for _ in range(2):
        clicked |= {
            (page.parent / target).resolve()
            for page in clicked
            if page.suffix == ".md"
            for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
        }
    assert [str(p) for p in ROOT.glob("docs/**/*.md") if p not in clicked] == []


def test_a_misquoted_table_is_seen() -> None:
    row = next(
        line for line in (ROOT / "docs/measured/statistics.md").read_text().splitlines() if "exact (ours)" in line
    )
    assert misquoted(f"<!-- quoted from docs/measured/statistics.md -->\n{row}\n") == []
    wrong = row.replace(".0", ".1")
    assert misquoted(f"<!-- quoted from docs/measured/statistics.md -->\n{row}\n{wrong}\n") == [wrong]
