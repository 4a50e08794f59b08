"""False greens of selection and collection: what was not asked, or not collected, never ships (F1 to F13)."""

from __future__ import annotations

import shutil

from falsegreens import Row, conftest, replace
from gateproject import Project
from tinymodel import write_evalset

SUBSET = "not selected; a subset never ships"


def gates_gone(project: Project) -> None:
    shutil.rmtree(project.root / "evals")
    project.write("evals/test_other.py", "def test_other():\n    pass\n")


def suffix(new: str) -> object:
    def change(project: Project) -> None:
        path = project.root / "evals" / "general.eval.yaml"
        path.rename(path.with_name(f"general{new}"))

    return change


def link_to_nothing(project: Project) -> None:
    path = project.root / "evals" / "general.eval.yaml"
    path.unlink()
    path.symlink_to(project.root / "not_mounted" / "general.eval.yaml")


def in_addopts(options: str) -> object:
    def change(project: Project) -> None:
        project.write("pyproject.toml", f"[tool.pytest.ini_options]\naddopts = '{options}'\n")

    return change


def no_rows(project: Project) -> None:
    project.write("evals/target.jsonl", "")


def blank_rows(project: Project) -> None:
    project.write("evals/target.jsonl", "\n\n")


def header_only(project: Project) -> None:
    replace(project.root / "evals" / "target.eval.yaml", "target.jsonl", "target.csv")
    project.write("evals/target.csv", "id,q,target\n")


def no_gates(project: Project) -> None:
    path = project.root / "evals" / "target.eval.yaml"
    path.write_text(path.read_text().partition("gates:")[0] + "gates: {}\n")


def three_examples(project: Project) -> None:
    texts = project.world.texts["candidate"][:3]
    write_evalset(project.root / "few", "few", "accuracy: {min: 0.5}", texts)


def same_name(project: Project) -> None:
    shutil.copytree(project.root / "evals", project.root / "evals" / "again")


def same_id(project: Project) -> None:
    path = project.root / "evals" / "target.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text(first + first + "".join(rest))


def marked(mark: str) -> object:
    return conftest(f"def pytest_collection_modifyitems(items):\n    items[0].add_marker(pytest.mark.{mark})\n")


ROWS = [
    Row("f1_no_gate_collected_and_unit_tests_pass", "NOT_EVALUATED", "no gate was found", gates_gone),
    Row("f1_a_path_without_gates", "NOT_EVALUATED", "no gate was found", args=("runs",)),
    Row("f3_k", "PARTIAL", SUBSET, args=("evals", "-k", "accuracy")),
    Row("f3_k_that_matches_nothing", "PARTIAL", SUBSET, args=("evals", "-k", "no_such_name"), workers=False),
    Row("f3_m", "PARTIAL", SUBSET, args=("evals", "-m", "slow"), workers=False),
    Row("f3_deselect", "PARTIAL", SUBSET, args=("evals", "--deselect=evals/general.eval.yaml::forgetting")),
    Row("f3_ignore", "PARTIAL", SUBSET, args=("evals", "--ignore=evals/general.eval.yaml")),
    Row("f3_ignore_glob", "PARTIAL", SUBSET, args=("evals", "--ignore-glob=*gen*")),
    Row("f3_node_id", "PARTIAL", SUBSET, args=("evals/target.eval.yaml::accuracy",)),
    Row("f3_file", "PARTIAL", SUBSET, args=("evals/target.eval.yaml",)),
    Row("f3_collect_ignore", "PARTIAL", SUBSET, conftest('collect_ignore = ["general.eval.yaml"]')),
    Row(
        "f3_items_dropped_by_a_hook",
        "PARTIAL",
        SUBSET,
        conftest("def pytest_collection_modifyitems(items):\n    del items[1:]\n"),
    ),
    Row("f5_skip_marker", "NOT_EVALUATED", "no verdict was received", marked("skip(reason='no gpu')")),
    Row("f5_skipif", "NOT_EVALUATED", "no verdict was received", marked("skipif(True, reason='no gpu')")),
    Row(
        "f5_skip_at_setup",
        "NOT_EVALUATED",
        "no verdict was received",
        conftest("def pytest_runtest_setup(item):\n    pytest.importorskip('no_such_module')\n"),
    ),
    # Under workers, a gate that is marked is not judged.
    Row("f6_xfail", None, "xfail", marked("xfail(strict=False)"), in_workers="NOT_EVALUATED"),
    Row("f6_xfail_not_run", None, "xfail", marked("xfail(run=False)"), in_workers="NOT_EVALUATED"),
    Row("f7_no_examples", None, "expected at least one example, found none", no_rows),
    Row("f7_blank_lines_only", None, "expected at least one example, found none", blank_rows),
    Row("f7_header_only", None, "expected at least one example, found none", header_only),
    Row("f7_no_gates_in_the_file", None, "gates", no_gates),
    Row("f8_three_examples", "INCONCLUSIVE", "could not be certified", three_examples, args=("few",)),
    Row("f10_a_limit_of_examples", "PARTIAL", "(--ft-limit)", args=("evals", "--ft-limit=20")),
    Row("f10_a_limit_above_all_examples", "PARTIAL", "(--ft-limit)", args=("evals", "--ft-limit=1000")),
    Row("f10_a_limit_left_in_addopts", "PARTIAL", "(--ft-limit)", in_addopts("--ft-limit=20")),
    Row(
        "f10_a_limit_left_in_the_environment", "PARTIAL", "--ft-limit", environment={"PYTEST_ADDOPTS": "--ft-limit=20"}
    ),
    Row("f10_a_case_left_in_addopts", "PARTIAL", "--ft-case were asked (target:e1)", in_addopts("--ft-case=target:e1")),
    Row("f10_left_in_addopts", "PARTIAL", SUBSET, in_addopts("-k accuracy")),
    Row("f10_left_in_the_environment", "PARTIAL", SUBSET, environment={"PYTEST_ADDOPTS": "-k accuracy"}),
    Row(
        "f10_verdict_off_in_addopts_loses_to_the_command_line",
        "PARTIAL",
        SUBSET,
        in_addopts("--ft-verdict=off -k beats"),
    ),
    Row("f11_a_shard_of_files", "PARTIAL", SUBSET, args=("evals/shape.eval.yaml", "evals/target.eval.yaml")),
    Row("f13_two_sets_of_one_name", None, "two eval sets are called", same_name),
    Row("f13_two_examples_of_one_id", None, "id", same_id),
    Row("f80_the_ending_yml", None, "general.eval.yml", suffix(".eval.yml")),
    Row("f80_the_ending_in_capitals", None, "general.EVAL.yaml", suffix(".EVAL.yaml")),
    Row("f81_a_link_to_nothing", None, "general.eval.yaml", link_to_nothing),
    Row("f82_the_verdict_plugin_is_blocked", None, "ftgate-controller", args=("evals", "-p", "no:ftgate-controller")),
    Row("f83_an_empty_variable_as_model", None, "Fix:", model=""),
    Row("f83_an_empty_variable_as_base", None, "--ft-base=", args=("evals", "--ft-base=")),
]
