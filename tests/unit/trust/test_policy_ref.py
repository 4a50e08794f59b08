"""Policy and eval sets at a git ref: what is read there, and what is said of the difference."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_ftgate.errors import PolicyError
from pytest_ftgate.evalset.discovery import files_on_disk, read_files
from pytest_ftgate.trust.policy import gitref
from pytest_ftgate.trust.policy.gitref import open_tree
from pytest_ftgate.trust.policy.load import Where, load_in_force
from pytest_ftgate.trust.policy.types import PolicyInForce

YAML = """version: 1
examples: rows.jsonl
prompt: {user: "{q}"}
baselines:
  zero_shot: {system: "Answer."}
  few_shot: {shots: {from: shots.jsonl, n: 1}}
generation: {max_new_tokens: 4}
scorer: "scoring:right"
gates:
  accuracy: {min: 0.85}
  beats_baseline: {min_gain: 0.05}
"""
ROWS = "".join(f'{{"id": "e{i}", "q": "question {i}", "target": "yes"}}\n' for i in range(6))


def git(directory: Path, *args: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *args], cwd=directory, check=True, capture_output=True)


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose commit `main` holds a policy and one eval set."""
    root = tmp_path / "repo"
    root.mkdir()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    write(root, ftgate_dot_toml='version = 1\n[policy]\nrequired = ["accuracy"]\nmin_n = 3\n')
    write(root, evals__tickets_dot_eval_dot_yaml=YAML, evals__rows_dot_jsonl=ROWS)
    write(root, evals__shots_dot_jsonl='{"q": "shot", "target": "no"}\n')
    write(root, evals__scoring_dot_py="def right(example, generation):\n    return 1.0\n")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def in_force(root: Path, ref: str | None = "main", *args: str, start: Path | None = None) -> PolicyInForce:
    args = args or ("evals",)
    files = read_files(files_on_disk(args, root, []))
    return load_in_force(Where(None, ref, start or root, root, args, True), files, compare=True)


def replaced(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_nothing_changed_says_nothing(repo: Path) -> None:
    found = in_force(repo)
    assert found.changes == ()
    assert not found.changed_in_this_change
    assert found.policy.min_n == 3
    assert found.uri.startswith("git:main@")
    assert found.uri.endswith("#ftgate.toml")
    assert found.digest == in_force(repo, None).digest


EVALSET = "evals/tickets.eval.yaml"
CHANGES = {
    "bound": (EVALSET, "min: 0.85", "min: 0.6", "tickets::accuracy.min 0.85 -> 0.6; the stricter 0.85 was used"),
    "bound_raised": (EVALSET, "min: 0.85", "min: 0.9", "tickets::accuracy.min 0.85 -> 0.9; the stricter 0.9 was used"),
    "gate_deleted": (EVALSET, "  accuracy: {min: 0.85}\n", "", "tickets::accuracy was deleted"),
    "renamed": (EVALSET, "version: 1\n", "version: 1\nname: other\n", "tickets (evals/tickets.eval.yaml) was deleted"),
    "generation": (EVALSET, "tokens: 4", "tokens: 40", "tickets: generation settings changed"),
    "prompt": (EVALSET, '"{q}"', '"{q}!"', "tickets: prompt changed"),
    "rung_gone": (
        EVALSET,
        '  zero_shot: {system: "Answer."}\n',
        "",
        "tickets: rung zero_shot of the baselines removed",
    ),
    "rung": (EVALSET, '"Answer."', '"Answer badly."', "tickets: rung zero_shot of the baselines changed"),
    "cluster": (EVALSET, "generation:", "cluster: q\ngeneration:", "tickets: 6 examples changed"),
    "rigor": (EVALSET, "generation:", "rigor: approx\ngeneration:", "tickets: rigor changed"),
    "slices": (EVALSET, "generation:", "slices: [q]\ngeneration:", "tickets: slices changed"),
    "scorer": (EVALSET, '"scoring:right"', "exact", "tickets: scorer changed"),
    "scorer_code": ("evals/scoring.py", "1.0", "2.0", "tickets: scoring.py changed"),
    "hard_case": ("evals/rows.jsonl", ROWS.splitlines(keepends=True)[5], "", "tickets: 1 example removed"),
    "swapped": ("evals/rows.jsonl", '"e1"', '"e9"', "tickets: 1 example removed and 1 example added"),
    "target": (
        "evals/rows.jsonl",
        '"question 2", "target": "yes"',
        '"question 2", "target": "no"',
        "1 example changed",
    ),
    "shots": ("evals/shots.jsonl", '"no"', '"wrong"', "tickets: rung few_shot of the baselines changed"),
    "min_n": ("ftgate.toml", "min_n = 3", "min_n = 1", "min_n 3 -> 1; the stricter 3 was used"),
    "required": ("ftgate.toml", '"accuracy"', '"overlap"', 'required ["accuracy"] -> ["overlap"]; the stricter '),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_told_and_does_not_loosen(repo: Path, change: str) -> None:
    name, old, new, said = CHANGES[change]
    replaced(repo, name, old, new)
    found = in_force(repo)
    assert found.changed_in_this_change
    assert any(said in told for told in found.changes), found.changes
    assert found.policy.min_n == 3
    assert "accuracy" in found.policy.required
    assert found.gates["tickets::accuracy"].bound == 0.85
    if change in ("gate_deleted", "renamed"):
        assert "tickets::accuracy" in found.deleted
    else:
        assert found.deleted == ()


def test_what_was_deleted_stays_in_force(repo: Path) -> None:
    (repo / "ftgate.toml").unlink()
    (repo / "evals/tickets.eval.yaml").rename(repo / "evals/tickets.txt")
    found = in_force(repo)
    assert found.policy.required == {"accuracy"}
    assert found.deleted == ("tickets::accuracy", "tickets::beats_baseline")
    assert 'required ["accuracy"] -> (not set)' in found.changes[1]


def test_a_policy_in_a_directory_below_does_not_hide_the_one_at_the_ref(repo: Path) -> None:
    write(repo, evals__ftgate_dot_toml="version = 1\n")
    files = read_files(files_on_disk(["evals"], repo, []))
    where = Where("evals/ftgate.toml", "main", repo, repo, ["evals"], True)
    assert load_in_force(where, files, compare=False).policy.min_n == 3


def test_examples_that_git_does_not_hold_are_told(repo: Path) -> None:
    git(repo, "rm", "-q", "--cached", "evals/rows.jsonl")
    git(repo, "commit", "-q", "-m", "rows elsewhere")
    (told,) = in_force(repo).changes
    assert told.startswith("tickets: its examples at main cannot be compared")


def test_an_eval_set_that_is_new_here_is_told(repo: Path) -> None:
    write(repo, evals__more_dot_eval_dot_yaml=YAML)
    assert in_force(repo).changes == ("more is new",)


def test_other_directories_of_the_ref_are_not_asked_for(repo: Path) -> None:
    write(repo, other__more_dot_eval_dot_yaml=YAML, evals__deep__x_dot_eval_dot_yaml=YAML)
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "more")
    for path in ("other/more.eval.yaml", "evals/deep/x.eval.yaml"):
        (repo / path).unlink()
    assert in_force(repo).deleted == ("x::accuracy", "x::beats_baseline")
    assert in_force(repo, "main", "evals/tickets.eval.yaml::accuracy").deleted == ()
    assert in_force(repo, "main", ".").deleted == (
        *("x::accuracy", "x::beats_baseline"),
        *("more::accuracy", "more::beats_baseline"),
    )


# -- git itself --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ref", ["", "-h", "--output=x", "a b", "a\nb", "main:ftgate.toml", "\x1b[2J", "x" * 300])
def test_what_is_no_ref_is_refused(repo: Path, ref: str) -> None:
    with pytest.raises(PolicyError, match="is not the name of a branch, tag or commit"):
        open_tree(ref, repo)


@pytest.mark.parametrize("ref", ["origin/main", "nothing", "main^{tree}", "HEAD~9", "0" * 40])
def test_a_ref_that_is_not_there_says_how_to_get_it(repo: Path, ref: str) -> None:
    with pytest.raises(PolicyError, match=r"holds no such commit.*Fix: fetch it first"):
        open_tree(ref, repo)


@pytest.mark.parametrize("ref", ["main", "HEAD", "refs/heads/main", "v1"])
def test_names_of_commits(repo: Path, ref: str) -> None:
    git(repo, "tag", "-a", "v1", "-m", "one")
    tree = open_tree(ref, repo / "evals")
    assert len(tree.commit) == 40
    assert tree.top == repo.resolve()
    assert (tree.read("evals/rows.jsonl") or b"").decode() == ROWS
    assert tree.read("nothing") is None


def test_a_link_at_the_ref_is_not_followed(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text("version = 1\n")
    (repo / "ftgate.toml").unlink()
    (repo / "ftgate.toml").symlink_to(tmp_path / "outside.toml")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "link")
    assert "ftgate.toml" not in open_tree("main", repo).blobs


def test_a_textconv_or_filter_of_the_repository_is_not_run(repo: Path, tmp_path: Path) -> None:
    write(repo, _dot_gitattributes="*.jsonl diff=evil filter=evil\n")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "attributes")
    for key in ("diff.evil.textconv", "filter.evil.smudge"):
        git(repo, "config", key, f"touch {tmp_path / 'run'}; cat")
    assert open_tree("main", repo).read("evals/rows.jsonl") == ROWS.encode()
    assert not (tmp_path / "run").exists()


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(PolicyError, match=r"git rev-parse failed.*Fix: run pytest inside a git repository"):
        open_tree("main", tmp_path)


def test_without_git(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PolicyError, match="which is not installed"):
        open_tree("main", repo)


def test_a_git_that_hangs(repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec /bin/sleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(slow.parent))
    monkeypatch.setattr(gitref, "SECONDS", 0.1)
    with pytest.raises(PolicyError, match="did not answer"):
        open_tree("main", repo)


def test_a_policy_at_the_ref_that_is_broken_stops_the_run(repo: Path) -> None:
    from pytest_ftgate.files.problems import InputError

    replaced(repo, "ftgate.toml", "min_n", "min_m")
    git(repo, "commit", "-q", "-a", "-m", "broken")
    replaced(repo, "ftgate.toml", "min_m", "min_n")
    with pytest.raises(InputError, match=r"main:ftgate\.toml:4: policy\.min_m"):
        in_force(repo)
