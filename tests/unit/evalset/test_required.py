"""Which gates must be judged: what lies on disk where pytest looks, however little of it was selected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_ftgate.evalset.discovery import EvalSetFile, files_on_disk, read_files
from pytest_ftgate.evalset.types import GateSpec
from pytest_ftgate.files.problems import EvalSetError, InputError
from pytest_ftgate.gates.decision import RunFacts, decide
from pytest_ftgate.results import Verdict

NORECURSE = ["*.egg", ".*", "build", "dist", "node_modules", "venv", "{arch}"]
YAML = """version: 1
examples: rows.jsonl
prompt: {user: "{q}"}
baselines:
  zero_shot: {system: "Answer."}
  few_shot: {shots: {from: rows.jsonl, n: 1}}
generation: {max_new_tokens: 4}
scorer: exact
gates:
  overlap: {max: 0}
  accuracy: {min: 0.8}
  beats_baseline: {min_gain: 0.05}
"""


def write(root: Path, *names: str, text: str = YAML) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def found(root: Path, *args: str, norecursedirs: list[str] = NORECURSE) -> list[str]:
    return [p.relative_to(root).as_posix() for p in files_on_disk(args, root, norecursedirs)]


def test_a_directory_is_searched_to_the_bottom(tmp_path: Path) -> None:
    write(tmp_path, "a.eval.yaml", "evals/b.eval.yaml", "evals/deep/er/c.eval.yaml", "evals/x.yaml", "evals/y.yml")
    everything = ["a.eval.yaml", "evals/b.eval.yaml", "evals/deep/er/c.eval.yaml"]
    assert found(tmp_path, ".") == everything
    assert found(tmp_path, str(tmp_path)) == everything
    assert found(tmp_path, "evals", "evals/deep") == everything[1:]
    assert found(tmp_path, "evals/../evals/deep") == everything[2:]


@pytest.mark.parametrize("arg", ["evals/a.eval.yaml", "evals/a.eval.yaml::accuracy", "evals/gone.eval.yaml::accuracy"])
def test_a_file_or_node_id_stands_for_all_in_its_directory(tmp_path: Path, arg: str) -> None:
    write(tmp_path, "evals/a.eval.yaml", "evals/b.eval.yaml", "evals/deep/c.eval.yaml", "other.eval.yaml")
    assert found(tmp_path, arg) == ["evals/a.eval.yaml", "evals/b.eval.yaml"]


def test_other_arguments_name_no_gate(tmp_path: Path) -> None:
    write(tmp_path, "a.eval.yaml")
    write(tmp_path, "test_x.py", text="")
    assert found(tmp_path, "test_x.py", "test_x.py::test_a", "nowhere", "no/where/b.eval.yaml") == []
    assert found(tmp_path) == []


def test_directories_that_pytest_skips_are_skipped(tmp_path: Path) -> None:
    write(tmp_path, "evals/a.eval.yaml", "build/b.eval.yaml", ".git/c.eval.yaml", "x.egg/d.eval.yaml")
    write(tmp_path, "evals/venv/e.eval.yaml", "__pycache__/f.eval.yaml", "env/lib/g.eval.yaml", "conda/h.eval.yaml")
    write(tmp_path, "env/pyvenv.cfg", "conda/conda-meta/history", text="")
    assert found(tmp_path, ".") == ["evals/a.eval.yaml"]
    # One that is named is searched, as pytest does.
    assert found(tmp_path, "build") == ["build/b.eval.yaml"]


def test_norecursedirs_are_those_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, "build/a.eval.yaml", "tests/data/b.eval.yaml", "data/c.eval.yaml", "old1/d.eval.yaml")
    assert found(tmp_path, ".", norecursedirs=["old?", "tests/data"]) == ["build/a.eval.yaml", "data/c.eval.yaml"]
    absolute = str(tmp_path / "data")
    assert "data/c.eval.yaml" not in found(tmp_path, ".", norecursedirs=[absolute])


def test_a_directory_called_like_an_eval_set_is_none(tmp_path: Path) -> None:
    (tmp_path / "odd.eval.yaml").mkdir()
    write(tmp_path, "odd.eval.yaml/a.eval.yaml", "b.eval.yaml")
    assert found(tmp_path, ".") == ["b.eval.yaml", "odd.eval.yaml/a.eval.yaml"]
    assert found(tmp_path, "b.eval.yaml") == ["b.eval.yaml"]


def test_links_are_followed_as_pytest_follows_them(tmp_path: Path) -> None:
    write(tmp_path, "shared/a.eval.yaml", "shared/deep/b.eval.yaml", "project/evals/c.eval.yaml")
    project = tmp_path / "project"
    (project / "evals/shared").symlink_to(tmp_path / "shared", target_is_directory=True)
    (project / "evals/d.eval.yaml").symlink_to(tmp_path / "shared/a.eval.yaml")
    assert found(project, "evals") == [
        "evals/c.eval.yaml",
        "evals/d.eval.yaml",
        "evals/shared/a.eval.yaml",
        "evals/shared/deep/b.eval.yaml",
    ]


def test_a_link_to_nothing_and_a_directory_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "evals/a.eval.yaml", "evals/deep/b.eval.yaml")
    scandir = os.scandir

    def denied(path: str) -> object:
        if path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", denied)
        with pytest.raises(InputError, match="expected a readable directory, found: Permission denied"):
            found(tmp_path, "evals")
    (tmp_path / "evals/dangling.eval.yaml").symlink_to(tmp_path / "gone.eval.yaml")
    with pytest.raises(InputError, match="found a link to nothing"):
        found(tmp_path, "evals")


def test_a_link_to_a_directory_above_does_not_go_round_in_circles(tmp_path: Path) -> None:
    write(tmp_path, "evals/deep/a.eval.yaml")
    (tmp_path / "evals/deep/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "evals/deep/self").symlink_to(tmp_path / "evals/deep", target_is_directory=True)
    assert found(tmp_path, "evals") == ["evals/deep/a.eval.yaml"]


def test_pytest_itself_finds_the_same_files(pytester: pytest.Pytester) -> None:
    """Against pytest's own walk: a conftest that collects every *.eval.yaml and prints it."""
    root = pytester.path
    write(root, "evals/a.eval.yaml", "build/b.eval.yaml", "x/venv/c.eval.yaml", ".d/d.eval.yaml", "env/e.eval.yaml")
    write(root, "env/pyvenv.cfg", text="")
    write(root, "tests/data/f.eval.yaml", "old1/g.eval.yaml", "__pycache__/h.eval.yaml", "data/i.eval.yaml")
    (root / "evals/link").symlink_to(root / "data", target_is_directory=True)
    (root / "evals/one.eval.yaml").symlink_to(root / "data/i.eval.yaml")
    pytester.makeini("[pytest]\nnorecursedirs = .* venv build tests/data old?\n")
    pytester.makeconftest(
        """
        import pytest
        class Item(pytest.Item):
            def runtest(self): pass
        class File(pytest.File):
            def collect(self): yield Item.from_parent(self, name="gate")
        def pytest_collect_file(file_path, parent):
            if file_path.name.endswith(".eval.yaml"):
                return File.from_parent(parent, path=file_path)
        """
    )
    result = pytester.runpytest_inprocess("--collect-only", "-q", "-p", "no:ftgate", ".")
    collected = sorted(line.partition("::")[0] for line in result.outlines if "::gate" in line)
    assert "evals/link/i.eval.yaml" in collected
    assert found(root, ".", norecursedirs=[".*", "venv", "build", "tests/data", "old?"]) == collected


def test_gates_and_hypotheses_are_read_without_the_examples(tmp_path: Path) -> None:
    write(tmp_path, "tickets.eval.yaml")
    (read,) = read_files(files_on_disk(["."], tmp_path, NORECURSE))
    assert read.gate_names == ("tickets::overlap", "tickets::accuracy", "tickets::beats_baseline")
    # accuracy, and beats_baseline for each of two rungs; overlap has no error rate.
    assert (read.rungs, read.hypotheses) == (2, 3)


def test_every_kind_counts_its_hypotheses() -> None:
    kinds = ("overlap", "format", "accuracy", "beats_baseline", "forgetting")
    gates = tuple(GateSpec(kind, 0.1, {}, 1) for kind in kinds)  # type: ignore[arg-type]
    assert EvalSetFile(Path("a"), "a", gates, 4).hypotheses == 0 + 1 + 1 + 4 + 1


def test_a_broken_file_is_an_error_even_beside_good_ones(tmp_path: Path) -> None:
    write(tmp_path, "a.eval.yaml")
    write(tmp_path, "b.eval.yaml", text="gates: [")
    with pytest.raises(EvalSetError, match=r"b\.eval\.yaml"):
        read_files(files_on_disk(["."], tmp_path, NORECURSE))
    # Also where the other one was asked for: what must be judged is not known without it.
    with pytest.raises(EvalSetError, match=r"b\.eval\.yaml"):
        read_files(files_on_disk(["a.eval.yaml"], tmp_path, NORECURSE))


def test_two_eval_sets_of_one_name_never_ship(tmp_path: Path) -> None:
    write(tmp_path, "one/tickets.eval.yaml", "two/tickets.eval.yaml")
    files = read_files(files_on_disk(["."], tmp_path, NORECURSE))
    names = [name for file in files for name in file.gate_names]
    assert len(names) == 6
    passed = {n: Verdict(n, "accuracy", "PASS", "measured", "", 9, None, None, None, None) for n in names}
    assert decide(RunFacts(names, names, passed)).verdict == "NOT_EVALUATED"
    write(tmp_path, "two/tickets.eval.yaml", text=YAML + "name: other\n")
    assert [file.name for file in read_files(files_on_disk(["."], tmp_path, NORECURSE))] == ["tickets", "other"]
