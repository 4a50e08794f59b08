"""What is not a gate, and tricks of a conftest: nothing that keeps a gate from judging makes a model ship."""

from __future__ import annotations

import textwrap

import pytest
from gateproject import SHIPPING, OneGate, Project


def test_other_tests_that_fail_keep_the_model_from_shipping(project: Project) -> None:
    project.write("evals/test_other.py", "def test_other():\n    assert 1 == 2\n")
    run = project.gates("evals", "--ft-verdict=require")
    assert (run.code, run.verdict["verdict"]) == (1, "BLOCK")
    assert run.verdict["reason"] == "1 other test(s) failed"


def test_other_tests_that_pass_do_not(project: Project) -> None:
    project.write("evals/test_other.py", "def test_other():\n    assert 1 == 1\n")
    assert project.gates("evals", "--ft-verdict=require").code == 0


TRICKS = {
    "exit_zero_at_setup": """
        def pytest_runtest_setup(item):
            if item.name == "accuracy":
                pytest.exit("enough", returncode=0)
    """,
    "exit_zero_at_collection": """
        def pytest_collection_modifyitems(items):
            pytest.exit("enough", returncode=0)
    """,
    "own_verdict": """
        @pytest.fixture
        def ft_verdict():
            class Verdict:
                outcome = "PASS"
            return Verdict()
    """,
    "no_run_at_all": """
        def pytest_runtest_protocol(item, nextitem):
            return True
    """,
    "gate_teardown_breaks": """
        @pytest.fixture(autouse=True)
        def broken():
            yield
            raise RuntimeError("teardown")
    """,
    "gate_call_breaks": """
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_call(item):
            raise RuntimeError("call")
    """,
    "loop_replaced": """
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtestloop(session):
            return True
    """,
    "engine_breaks": """
        @pytest.fixture(scope="session")
        def ft_engine():
            raise RuntimeError("no engine")
    """,
}


REFUSED = {"xfail_no_run"}
"""Usage errors: nothing is judged."""
BLOCKED = {"gate_call_breaks", "gate_teardown_breaks"}


@pytest.mark.parametrize("trick", sorted(TRICKS))
def test_tricks_of_a_conftest_do_not_ship(project: Project, trick: str) -> None:
    project.write("evals/conftest.py", "import pytest\n" + textwrap.dedent(TRICKS[trick]))
    run = project.run("--ft-model=runs/good", "evals", "--ft-verdict=require")
    expected = 4 if trick in REFUSED else 1 if trick in BLOCKED else 21
    assert run.code == expected, run.out
    assert "SHIP:" not in run.out
    assert "INTERNALERROR" not in run.out


def test_a_gate_that_failed_stays_failed_whatever_its_report_says(project: Project, only: OneGate) -> None:
    folder = only("accuracy_fail")
    trick = """
        import pytest
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.outcome = "passed"
            return report
    """
    project.write(f"{folder}/conftest.py", textwrap.dedent(trick))
    assert project.gates(folder, "--ft-verdict=require").code == 1


def test_collection_errors_elsewhere_do_not_ship(project: Project) -> None:
    project.write("evals/test_broken.py", "import nothing_of_this_name\n")
    assert project.run("--ft-model=runs/good", "evals", "--ft-verdict=require").code == 2
    run = project.gates("evals", "--ft-verdict=require", "--continue-on-collection-errors")
    assert (run.code, run.verdict["verdict"]) == (1, "BLOCK")


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan", "--setup-only", "--fixtures"])
def test_options_that_judge_nothing_do_not_ship(project: Project, option: str) -> None:
    run = project.run("--ft-model=runs/good", "bad", "--ft-verdict=require", option)
    assert "SHIP:" not in run.out
    if option in ("--setup-plan", "--setup-only"):
        assert run.code not in (0, 5)


def test_an_eval_set_behind_a_link_counts_as_well(project: Project) -> None:
    (project.root / "elsewhere").mkdir()
    for path in sorted((project.root / "evals").glob("general.*")):
        path.rename(project.root / "elsewhere" / path.name)
    (project.root / "evals" / "linked").symlink_to(project.root / "elsewhere", target_is_directory=True)
    assert project.gates("evals", "--ft-verdict=require").outcomes == SHIPPING
    run = project.gates("evals", "--ft-verdict=require", "-k", "not forgetting")
    assert (run.code, run.verdict["verdict"]) == (22, "PARTIAL")


def test_warnings_as_errors_are_for_the_users_own_code(project: Project) -> None:
    project.write("pyproject.toml", "[tool.pytest.ini_options]\nfilterwarnings = ['error']\n")
    assert project.gates("evals", "--ft-verdict=require").outcomes == SHIPPING


def test_a_store_that_cannot_be_written_does_not_change_the_verdict(project: Project) -> None:
    project.write(".ftgate", "a file where a folder is wanted")
    run = project.gates("evals", "--ft-verdict=require")
    assert run.outcomes == SHIPPING
    assert run.code == 0
    assert "Traceback" not in run.out
